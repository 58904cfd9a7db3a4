'use strict';
const SVG = 'http://www.w3.org/2000/svg';
const data = JSON.parse(document.getElementById('data').textContent);
const tip = document.getElementById('tip');

function make(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (parent) parent.append(element);
  return element;
}

// A colour for each key; the golden angle keeps neighbours apart.
const colours = new Map();
function colour(key) {
  if (!colours.has(key)) colours.set(key, `hsl(${(colours.size * 137.508 + 212) % 360} 58% ${46 + 9 * (colours.size % 3)}%)`);
  return colours.get(key);
}

function clock(seconds) {
  const whole = Math.floor(seconds), hours = Math.floor(whole / 3600), two = value => String(value).padStart(2, '0');
  const rest = (seconds % 60).toFixed(1).padStart(4, '0');
  return `${hours ? hours + ':' + two(Math.floor(whole / 60) % 60) : Math.floor(whole / 60)}:${rest}`;
}

function say(event, text) {
  tip.textContent = text;
  tip.hidden = !text;
  tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 6) + 'px';
  tip.style.top = Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 6) + 'px';
}

// Bars of one group share a lane where they do not meet in time.
function lanes(bars, gap) {
  const ends = [];
  return bars.map(bar => {
    const [start, end] = bar.span;
    let lane = ends.findIndex(last => last + gap < start);
    if (lane < 0) lane = ends.push(0) - 1;
    ends[lane] = end;
    return lane;
  });
}

function steps(span, wanted) {
  const raw = span / wanted, unit = 10 ** Math.floor(Math.log10(raw));
  for (const factor of span > 90 ? [1, 1.5, 3, 6] : [1, 2, 5, 10]) if (unit * factor >= raw) return unit * factor;
  return unit * 10;
}

function section(root, lane) {
  const span = lane.end - lane.start, groups = Object.keys(lane.curves);
  const video = root.querySelector('video'), moments = root.querySelector('.moments');
  const keyed = lane.bars.every(bar => bar.parts.every(part => part[2] === bar.group));
  groups.forEach(colour);
  if (keyed || groups.length > 1)
    for (const group of groups) {
      const item = document.createElement('span'), swatch = document.createElement('i');
      const count = lane.bars.filter(bar => bar.group === group).length;
      swatch.style.background = colour(group);
      if (keyed) item.append(swatch);
      item.append(`${group}: ${count} track${count === 1 ? '' : 's'}`);
      root.querySelector('.keys').append(item);
    }

  const shown = lane.moments.map(moment => {
    const figure = document.createElement('div'), image = new Image(), when = document.createElement('time');
    figure.className = 'moment';
    image.src = moment.picture;
    when.textContent = clock(moment.time);
    const over = make('svg', {viewBox: `0 0 ${moment.size[0]} ${moment.size[1]}`, preserveAspectRatio: 'none'});
    for (const [x1, y1, x2, y2, bar] of moment.boxes) {
      const rect = make('rect', {x: x1, y: y1, width: x2 - x1, height: y2 - y1, 'data-bar': bar}, over);
      rect.style.stroke = colour(lane.bars[bar].group);
    }
    figure.append(image, over, when);
    moments.append(figure);
    return figure;
  });
  if (video) moments.remove();

  const cursors = [];
  function point(time, bar) {
    for (const [cursor, at] of cursors) {
      cursor.setAttribute('x1', at(time));
      cursor.setAttribute('x2', at(time));
      cursor.style.display = '';
    }
    let near = 0;
    lane.moments.forEach((moment, place) => {
      if (Math.abs(moment.time - time) < Math.abs(lane.moments[near].time - time)) near = place;
    });
    shown.forEach((figure, place) => {
      figure.classList.toggle('near', place === near);
      figure.classList.toggle('one', bar !== undefined);
      for (const rect of figure.querySelectorAll('rect')) rect.classList.toggle('this', Number(rect.dataset.bar) === bar);
    });
  }

  function frame(holder, height, width) {
    holder.replaceChildren();
    const svg = make('svg', {width, height, viewBox: `0 0 ${width} ${height}`}, null);
    holder.append(svg);
    const left = 34, at = time => left + (time - lane.start) / span * (width - left - 10);
    const axis = make('g', {class: 'axis'}, svg), step = steps(span, Math.max(width / 110, 2));
    for (let tick = Math.ceil(lane.start / step) * step; tick <= lane.end + 1e-9; tick += step) {
      make('line', {x1: at(tick), x2: at(tick), y1: 0, y2: height - 16}, axis);
      make('text', {x: at(tick), y: height - 4, 'text-anchor': 'middle'}, axis).textContent = clock(tick);
    }
    svg.addEventListener('mousemove', event => {
      const x = event.clientX - svg.getBoundingClientRect().left;
      const time = lane.start + (x - left) / (width - left - 10) * span;
      const bar = event.target.closest('.bar');
      if (time >= lane.start && time <= lane.end) point(time, bar ? Number(bar.dataset.bar) : undefined);
    });
    svg.addEventListener('mouseleave', () => { tip.hidden = true; });
    if (video)
      svg.addEventListener('click', event => {
        const x = event.clientX - svg.getBoundingClientRect().left;
        video.currentTime = Math.max(0, (x - left) / (width - left - 10) * span);
      });
    return [svg, at, left];
  }

  function draw() {
    cursors.length = 0;
    const width = Math.max(root.querySelector('.bars').clientWidth, 320), high = 15;
    let top = 4;
    const placed = [];
    for (const group of groups) {
      const own = lane.bars.map((bar, index) => [bar, index]).filter(([bar]) => bar.group === group);
      own.sort((a, b) => a[0].span[0] - b[0].span[0]);
      const rows = lanes(own.map(pair => pair[0]), span / 400);
      if (groups.length > 1) top += 14;
      placed.push([group, top]);
      own.forEach(([bar, index], place) => placed.push([bar, index, top + rows[place] * high]));
      top += (Math.max(-1, ...rows) + 1) * high + 6;
    }
    const [svg, at, left] = frame(root.querySelector('.bars'), top + 18, width);
    for (const [bar, index, y] of placed) {
      if (typeof bar === 'string') {
        if (groups.length > 1) make('text', {x: left, y: index - 3, class: 'group'}, svg).textContent = bar;
        continue;
      }
      const item = make('g', {class: 'bar', 'data-bar': index}, svg), [begun, ended] = bar.span, first = bar.parts[0];
      make('line', {class: 'way', x1: at(begun), x2: at(ended), y1: y + 6, y2: y + 6}, item);
      for (const [start, end, key] of bar.parts) {
        const part = make('rect', {class: 'part', x: at(start), y, width: Math.max(at(end) - at(start), 1.5), height: 12, rx: 2}, item);
        part.style.fill = colour(key);
      }
      if (first && at(first[1]) - at(first[0]) > 7 * bar.name.length + 6)
        make('text', {x: at(first[0]) + 4, y: y + 9.5}, item).textContent = bar.name;
      for (const [time] of bar.marks) make('circle', {class: 'mark', cx: at(time), cy: y + 6, r: 3.5}, item);
      item.addEventListener('mousemove', event => {
        const marks = bar.marks.length ? '\n' + bar.marks.slice(0, 6).map(([time, text]) => `${clock(time)} ${text}`).join('\n') : '';
        tip.style.whiteSpace = 'pre-line';
        say(event, `${bar.group} ${bar.name}: ${(ended - begun).toFixed(1)} s, from ${clock(begun)} to ${clock(ended)}${bar.about ? '\n' + bar.about : ''}${marks}`);
      });
      item.addEventListener('mouseleave', () => { tip.hidden = true; });
    }
    cursors.push([make('line', {class: 'now', y1: 0, y2: top, style: 'display:none'}, svg), at]);

    const tall = 130, [curve, x, edge] = frame(root.querySelector('.curve'), tall + 18, width);
    const most = Math.max(1, ...groups.flatMap(group => lane.curves[group].map(pair => pair[1])));
    const y = count => tall - 4 - count / most * (tall - 14);
    for (const count of [0, most]) make('text', {x: edge - 6, y: y(count) + 4, 'text-anchor': 'end', class: 'group'}, curve).textContent = count;
    for (const group of groups) {
      const way = lane.curves[group].map(([time, count], place) => `${place ? 'L' : 'M'}${x(time).toFixed(1)} ${y(count).toFixed(1)}`);
      make('path', {d: way.join(''), 'data-group': group}, curve).style.stroke = colour(keyed ? group : 'in view');
    }
    curve.addEventListener('mousemove', event => {
      const place = event.clientX - curve.getBoundingClientRect().left;
      const time = lane.start + (place - edge) / (width - edge - 10) * span;
      if (time < lane.start || time > lane.end) return;
      const counts = groups.map(group => {
        const rows = lane.curves[group];
        return `${rows[Math.min(Math.round((time - lane.start) / span * (rows.length - 1)), rows.length - 1)][1]} ${group}`;
      });
      tip.style.whiteSpace = 'pre-line';
      say(event, `${clock(time)}\n${counts.join('\n')}`);
    });
    cursors.push([make('line', {class: 'now', y1: 0, y2: tall, style: 'display:none'}, curve), x]);
  }
  draw();
  if (video) video.addEventListener('timeupdate', () => point(lane.start + video.currentTime));
  return draw;
}

const redraw = [...document.querySelectorAll('[data-lane]')].map(root => section(root, data[Number(root.dataset.lane)]));
let waiting = 0;
addEventListener('resize', () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(() => redraw.forEach(draw => draw())); });
