'use strict';
(() => {
const el = id => document.getElementById(id);
const meta = JSON.parse(el('meta').textContent);
const K = meta.panels.length, CLASSES = meta.classes;
const SVG = 'http://www.w3.org/2000/svg';
const number = value => value.toLocaleString('en');
const plural = (count, one, several) => number(count) + ' ' + (count === 1 ? one : several || one + 's');

// The records, as columns: of item i and panel k the boxes start[k][i] to start[k][i + 1].
const files = [], sizes = [], ranks = [], times = new Map(), frames = new Map(), addresses = new Map();
const panels = meta.panels.map(() => ({start: [0], cls: [], score: [], box: [], shape: new Map(), error: new Map(),
  seconds: new Map(), proposals: new Map(), proposed: new Map(), marks: new Map()}));
for (const element of document.querySelectorAll('script.part')) {
  const part = JSON.parse(element.textContent), first = files.length;
  const spread = (from, to, offset) => { for (const key in from) to.set(offset + Number(key), from[key]); };
  for (const name of part.f) files.push(name);
  for (const value of part.wh) sizes.push(value);
  for (const value of part.k) ranks.push(value);
  spread(part.t, times, first); spread(part.fr, frames, first); spread(part.u, addresses, first);
  part.p.forEach((from, k) => {
    const to = panels[k], before = to.cls.length;
    for (const count of from.n) to.start.push(to.start[to.start.length - 1] + count);
    for (const value of from.c) to.cls.push(value);
    for (const value of from.s) to.score.push(value);
    for (const value of from.b) to.box.push(value);
    spread(from.x, to.shape, before); spread(from.e, to.error, first); spread(from.sec, to.seconds, first);
    spread(from.p, to.proposals, first); spread(from.np, to.proposed, first); spread(from.m, to.marks, first);
  });
  element.remove();
}
const N = files.length;
const name = i => files[i] + (frames.has(i) ? `  ${clock(times.get(i))}` : '');
const clock = seconds => { const m = Math.floor(seconds / 60); return `${m}:${(seconds - 60 * m).toFixed(2).padStart(5, '0')}`; };
const failed = i => panels.every(panel => panel.error.has(i));

// Small pictures, in parts that may not be there yet while the page is being read.
const parts = new Map();
function small(series, i) {
  const id = series + Math.floor(i / meta.part);
  if (!parts.has(id)) {
    const element = el(id);
    if (!element || (!complete && !element.nextSibling)) return '';
    parts.set(id, element.textContent.split(','));
  }
  const data = parts.get(id)[i % meta.part];
  return data ? `data:${meta.mime};base64,${data}` : '';
}
let complete = document.readyState !== 'loading';
const original = i => addresses.get(i) ||
  (meta.base && !frames.has(i) ? meta.base + files[i].split('/').map(encodeURIComponent).join('/') : '');

// What is asked for.
const state = {text: '', status: 'all', sort: 'order', score: meta.score, classes: new Set()};
const layers = {boxes: true, proposals: false, heat: false};
let order = [], at = 0, counts = new Float64Array(N);
const shown = (panel, d) => panel.score[d] >= state.score && (!state.classes.size || state.classes.has(panel.cls[d]));

function apply() {
  const text = state.text.toLowerCase(), best = new Float64Array(N), least = new Float64Array(N).fill(2);
  const totals = new Float64Array(CLASSES.length), chosen = state.classes.size > 0;
  const kept = order[at];
  order = [];
  let boxes = 0;
  for (let i = 0; i < N; i++) {
    let count = 0, all = 0;
    const named = !text || files[i].toLowerCase().includes(text);
    for (const panel of panels) {
      for (let d = panel.start[i]; d < panel.start[i + 1]; d++) {
        const score = panel.score[d];
        if (score < state.score) continue;
        all++;
        if (named) totals[panel.cls[d]]++;
        if (chosen && !state.classes.has(panel.cls[d])) continue;
        count++;
        if (score > best[i]) best[i] = score;
        if (score < least[i]) least[i] = score;
      }
    }
    counts[i] = count;
    const fits = state.status === 'failed' ? failed(i) : state.status === 'some' ? count > 0 :
      state.status === 'none' ? !count && !failed(i) : !chosen || count > 0;
    if (named && fits) { order.push(i); boxes += count; }
  }
  const by = {
    name: (a, b) => files[a] < files[b] ? -1 : files[a] > files[b] ? 1 : a - b,
    many: (a, b) => counts[b] - counts[a] || a - b,
    few: (a, b) => counts[a] - counts[b] || a - b,
    best: (a, b) => best[b] - best[a] || a - b,
    doubt: (a, b) => least[a] - least[b] || a - b,
    rank: (a, b) => ranks[b] - ranks[a] || a - b,
  }[state.sort];
  if (by) order.sort(by);
  at = Math.max(order.indexOf(kept), 0);
  el('counted').textContent = `${order.length === N ? '' : `${number(order.length)} of `}${plural(N, 'picture')}` +
    (K > 1 ? '' : `, ${plural(boxes, 'box', 'boxes')}`);
  el('empty').hidden = order.length > 0;
  chips(totals);
  layout();
}

// The classes, the most frequent first.
const FEW = 40;
let everyClass = false;
function chips(totals) {
  const rows = CLASSES.map((_, c) => c).sort((a, b) => totals[b] - totals[a] || a - b);
  const list = everyClass ? rows : rows.filter((c, place) => place < FEW || state.classes.has(c));
  const buttons = list.map(c => {
    const button = document.createElement('button');
    button.type = 'button'; button.dataset.c = c; button.title = CLASSES[c];
    button.setAttribute('aria-pressed', state.classes.has(c));
    const dot = document.createElement('i'), count = document.createElement('b');
    dot.style.background = meta.colours[c]; count.textContent = number(totals[c]);
    const label = document.createElement('span');
    label.textContent = CLASSES[c];
    button.append(dot, label, count);
    return button;
  });
  if (list.length < rows.length) {
    const more = document.createElement('button');
    more.type = 'button'; more.dataset.more = 1; more.textContent = `${rows.length - list.length} more`;
    buttons.push(more);
  }
  const focused = document.activeElement && document.activeElement.dataset.c;
  el('classes').replaceChildren(...buttons);
  if (focused !== undefined) buttons.find(button => button.dataset.c === focused)?.focus();
}

// Where things stand: all items are of one size, and only those in view are there.
const grid = el('grid'), GAP = 12, LEAST = 200;
let columns = 1, width = LEAST, height = 200, inner = {columns: 1, width: LEAST, tall: 150};
function layout() {
  const style = getComputedStyle(grid);
  const room = grid.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  if (K === 1) {
    columns = Math.max(1, Math.floor((room + GAP) / (LEAST + GAP)));
    width = (room - GAP * (columns - 1)) / columns;
    inner = {columns: 1, width, tall: width * 0.75};
    height = inner.tall + 40 + GAP;
  } else {
    const least = 170, most = Math.max(1, Math.floor((room + GAP) / (least + GAP)));
    const lines = Math.ceil(K / most);
    inner.columns = Math.ceil(K / lines);
    inner.width = Math.min((room - GAP * (inner.columns - 1)) / inner.columns, 420);
    inner.tall = inner.width * 0.75;
    columns = 1; width = room;
    height = 24 + lines * (inner.tall + 44) + GAP;
  }
  grid.style.height = `${Math.ceil(order.length / columns) * height}px`;
  render(true);
}
const there = new Map();
function render(anew) {
  if (anew) { for (const item of there.values()) item.remove(); there.clear(); }
  const top = -grid.getBoundingClientRect().top;
  const first = Math.max(Math.floor(top / height) - 1, 0) * columns;
  const last = Math.min((Math.ceil((top + innerHeight) / height) + 1) * columns, order.length);
  for (const [place, item] of there) if (place < first || place >= last) { item.remove(); there.delete(place); }
  const made = document.createDocumentFragment();
  for (let place = first; place < last; place++) {
    if (there.has(place)) continue;
    const item = makeItem(place);
    there.set(place, item); made.append(item);
  }
  grid.append(made);
  mark();
}
function mark() {
  for (const [place, item] of there) {
    item.classList.toggle('at', place === at);
    item.setAttribute('aria-selected', place === at);
  }
  if (there.has(at)) grid.setAttribute('aria-activedescendant', `item-${at}`);
}
function div(kind, text) {
  const made = document.createElement('div');
  made.className = kind;
  if (text !== undefined) { made.textContent = text; made.title = text; }
  return made;
}
function makeItem(place) {
  const i = order[place], item = div('item');
  item.id = `item-${place}`; item.dataset.place = place; item.setAttribute('role', 'option');
  const padding = parseFloat(getComputedStyle(grid).paddingLeft);
  item.style.cssText = `left:${padding + (place % columns) * (width + GAP)}px;width:${width}px;` +
    `top:${Math.floor(place / columns) * height}px;height:${height - GAP}px`;
  if (K > 1) item.append(div('name', name(i)));
  meta.panels.forEach((about, k) => {
    const cell = div(K > 1 ? 'row' : '');
    if (K > 1) cell.style.cssText = `width:${inner.width}px;left:${(k % inner.columns) * (inner.width + GAP)}px;` +
      `top:${22 + Math.floor(k / inner.columns) * (inner.tall + 44)}px`;
    cell.dataset.panel = k;
    const frame = div('frame');
    frame.style.height = `${inner.tall}px`;
    frame.append(...picture(i, k, false));
    cell.append(frame);
    if (K > 1) {
      const head = div('name'), model = document.createElement('span');
      model.className = 'model'; model.textContent = about.name;
      head.append(model, told(i, k)); head.title = head.textContent;
      cell.append(head, div('said', panels[k].marks.get(i) || summary(i, k)));
    } else cell.append(div('name', name(i)), div('said', summary(i, k)));
    item.append(cell);
  });
  item.setAttribute('aria-label', `${name(i)}: ${failed(i) ? panels[0].error.get(i) : plural(counts[i], 'box', 'boxes')}`);
  return item;
}
function told(i, k) {
  const panel = panels[k], texts = [];
  if (panel.seconds.has(i)) texts.push(`${panel.seconds.get(i).toPrecision(2)} s`);
  if (panel.proposed.has(i)) texts.push(plural(panel.proposed.get(i), 'proposal'));
  return texts.length ? `  ${texts.join(', ')}` : '';
}
function summary(i, k) {
  const panel = panels[k], found = new Map();
  if (panel.error.has(i)) return 'not read';
  for (let d = panel.start[i]; d < panel.start[i + 1]; d++)
    if (shown(panel, d)) found.set(panel.cls[d], (found.get(panel.cls[d]) || 0) + 1);
  return [...found].sort((a, b) => b[1] - a[1]).map(([c, count]) => `${number(count)} ${CLASSES[c]}`).join(', ') || 'nothing';
}

// A picture and what is drawn on it. Of a small one all boxes of a class are one path.
function picture(i, k, large) {
  const panel = panels[k];
  if (panel.error.has(i)) return [div('why', panel.error.get(i))];
  const list = [], url = small('s', i), heat = layers.heat && meta.heats.includes(k) ? small(`h${k}-`, i) : '';
  if (heat || url) {
    const image = document.createElement('img');
    image.alt = ''; image.decoding = 'async'; image.draggable = false;
    image.src = heat || url;
    if (large && !heat && original(i)) {  // sharp, where it still lies there and is of a kind that browsers show
      const sharp = new Image();
      sharp.onload = () => { image.src = sharp.src; };
      sharp.src = original(i);
    }
    list.push(image);
  }
  if (sizes[2 * i]) list.push(drawing(i, k, large));
  return list;
}
function node(tag, attributes, parent) {
  const made = document.createElementNS(SVG, tag);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (parent) parent.append(made);
  return made;
}
const ring = p => { let d = ''; for (let j = 0; j < p.length; j += 2) d += `${j ? 'L' : 'M'}${p[j]} ${p[j + 1]}`; return d + 'Z'; };
const box = (b, d) => `M${b[4 * d]} ${b[4 * d + 1]}H${b[4 * d + 2]}V${b[4 * d + 3]}H${b[4 * d]}Z`;
function bones(points) {
  let d = '';
  if (points.length === 51) for (const [a, b] of meta.bones)
    if (points[3 * a + 2] > 0.5 && points[3 * b + 2] > 0.5)
      d += `M${points[3 * a]} ${points[3 * a + 1]}L${points[3 * b]} ${points[3 * b + 1]}`;
  return d;
}
function outlineOf(panel, d) {
  const shape = panel.shape.get(d) || {};
  return shape.q ? ring(shape.q) : box(panel.box, d);
}
function drawing(i, k, large) {
  const panel = panels[k], w = sizes[2 * i], h = sizes[2 * i + 1], unit = Math.max(w, h) / (large ? 1000 : 300);
  const svg = node('svg', {viewBox: `0 0 ${w} ${h}`});
  if (layers.proposals && panel.proposals.has(i)) {
    const p = panel.proposals.get(i);
    let d = '';
    for (let j = 0; j < p.length / 4; j++) d += box(p, j);
    node('path', {d, class: 'proposal'}, svg);
  }
  if (!layers.boxes) return svg;
  const chosen = [];
  for (let d = panel.start[i + 1] - 1; d >= panel.start[i]; d--) if (shown(panel, d)) chosen.push(d);
  chosen.sort((a, b) => panel.score[a] - panel.score[b]);
  const groups = large ? chosen.map(d => [panel.cls[d], [d]]) : [...chosen.reduce((all, d) => {
    if (!all.has(panel.cls[d])) all.set(panel.cls[d], []);
    all.get(panel.cls[d]).push(d);
    return all;
  }, new Map())];
  for (const [c, rows] of groups) {
    const colour = meta.colours[c], group = node('g', {'data-d': rows[0]}, svg);
    let lines = '', tints = '', skeleton = '', dots = '';
    for (const d of rows) {
      const shape = panel.shape.get(d) || {};
      lines += outlineOf(panel, d);
      if (shape.m) for (const one of shape.m) tints += ring(one);
      if (shape.k) {
        skeleton += bones(shape.k);
        for (let j = 0; j < shape.k.length; j += 3) if (shape.k[j + 2] > 0.5)
          dots += `M${shape.k[j]} ${shape.k[j + 1]}h0`;
      }
    }
    if (tints) node('path', {d: tints, class: 'tint', fill: colour, style: `fill:${colour};fill-rule:evenodd`}, group);
    node('path', {d: lines + skeleton, class: 'back'}, group);
    node('path', {d: lines + tints + skeleton, class: 'line', stroke: colour}, group);
    if (dots) node('path', {d: dots, stroke: colour, 'stroke-width': large ? 8 : 4, 'stroke-linecap': 'round'}, group);
    if (!large) continue;
    const d = rows[0], label = `${CLASSES[c]} ${panel.score[d].toFixed(2)}`;
    node('title', {}, group).textContent = label;
    const size = 15 * unit, y = panel.box[4 * d + 1];
    node('text', {x: Math.max(panel.box[4 * d], 0) + 2 * unit, y: y > size * 1.2 ? y - 4 * unit : y + size,
      'font-size': size, 'stroke-width': 3 * unit}, group).textContent = label;
  }
  return svg;
}

// One picture, large.
const large = el('large');
let tab = 0;
function open(place) {
  if (!order.length) return;
  at = Math.min(Math.max(place, 0), order.length - 1);
  const i = order[at], panel = panels[tab];
  el('large-name').textContent = name(i);
  el('large-tabs').replaceChildren(...(K > 1 ? meta.panels.map((one, k) => {
    const button = document.createElement('button');
    button.type = 'button'; button.textContent = one.name; button.setAttribute('aria-pressed', k === tab);
    button.onclick = () => { tab = k; open(at); };
    return button;
  }) : []));
  el('large-picture').replaceChildren(...picture(i, tab, true));
  const lines = [];
  if (!panel.error.has(i)) for (let d = panel.start[i]; d < panel.start[i + 1]; d++) if (shown(panel, d)) lines.push(d);
  lines.sort((a, b) => panel.score[b] - panel.score[a]);
  el('large-list').replaceChildren(...lines.map(d => {
    const line = document.createElement('li'), dot = document.createElement('i');
    dot.style.background = meta.colours[panel.cls[d]];
    line.append(dot, `${CLASSES[panel.cls[d]]} ${panel.score[d].toFixed(2)}`);
    line.onmouseenter = () => dim(d); line.onmouseleave = () => dim(-1);
    return line;
  }));
  if (!large.open) large.showModal();
  show();
}
function dim(kept) {
  for (const group of large.querySelectorAll('svg g')) group.classList.toggle('dim', kept >= 0 && Number(group.dataset.d) !== kept);
}
function show() {
  const top = grid.getBoundingClientRect().top + scrollY + Math.floor(at / columns) * height;
  const bar = el('bar').getBoundingClientRect(), covered = getComputedStyle(el('bar')).position === 'sticky' ? bar.height : 0;
  if (top - covered < scrollY) scrollTo(0, top - covered - 8);
  else if (top + height > scrollY + innerHeight) scrollTo(0, top + height - innerHeight);
  render(false);
}
function go(place) { at = Math.min(Math.max(place, 0), Math.max(order.length - 1, 0)); show(); }

addEventListener('keydown', event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches('input[type=search]'), key = event.key;
  if (key === '/' && !typing && !large.open) { el('search').focus(); el('search').select(); event.preventDefault(); return; }
  if (typing) {
    if (key === 'Escape' || key === 'Enter' || key === 'ArrowDown') {
      if (key === 'Escape') { el('search').value = ''; ask({text: ''}); }
      grid.focus({preventScroll: true}); event.preventDefault();
    }
    return;
  }
  if (event.target.matches('select, input')) return;
  const page = Math.max(Math.floor(innerHeight / height), 1) * columns;
  const steps = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page,
    Home: -Infinity, End: Infinity};
  if (large.open) {
    if (K > 1 && (key === 'ArrowDown' || key === 'ArrowUp')) {
      tab = (tab + (key === 'ArrowDown' ? 1 : K - 1)) % K; open(at); event.preventDefault(); return;
    }
    const step = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity}[key];
    if (step) { open(at + step); event.preventDefault(); }
    return;
  }
  if (event.target.matches('button, summary, a') && (key === 'Enter' || key === ' ')) return;
  if (key in steps) { grid.focus({preventScroll: true}); go(at + steps[key]); event.preventDefault(); }
  else if (key === 'Enter') { open(at); event.preventDefault(); }
});
grid.addEventListener('click', event => {
  const item = event.target.closest('.item');
  if (!item) return;
  const cell = event.target.closest('[data-panel]');
  if (cell) tab = Number(cell.dataset.panel);
  open(Number(item.dataset.place));
});
el('close').onclick = () => large.close();
large.addEventListener('click', event => { if (event.target === large) large.close(); });
large.addEventListener('close', () => grid.focus({preventScroll: true}));

let asked = 0;
function ask(change) {
  Object.assign(state, change);
  if (!asked) asked = requestAnimationFrame(() => { asked = 0; apply(); });
}
el('search').oninput = event => ask({text: event.target.value});
el('status').onchange = event => ask({status: event.target.value});
el('sort').onchange = event => ask({sort: event.target.value});
const slider = el('score');
let lowest = 1;
for (const panel of panels) for (const score of panel.score) if (score < lowest) lowest = score;
slider.min = Math.min(Math.floor(lowest * 100) / 100, state.score);
slider.value = state.score = Math.max(state.score, Number(slider.min));
const shownScore = () => { el('score-shown').textContent = Number(slider.value).toFixed(2); };
slider.oninput = () => { shownScore(); ask({score: Number(slider.value)}); };
el('classes').onclick = event => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.more) { everyClass = true; ask({}); return; }
  const c = Number(button.dataset.c), classes = new Set(state.classes);
  if (!classes.delete(c)) classes.add(c);
  ask({classes});
};
el('reset').onclick = () => {
  el('search').value = ''; el('status').value = 'all'; slider.value = slider.min; shownScore();
  ask({text: '', status: 'all', classes: new Set(), score: Number(slider.min)});
};
addEventListener('scroll', () => render(false), {passive: true});
addEventListener('resize', () => layout());
document.addEventListener('DOMContentLoaded', () => { complete = true; render(true); });

// The head of the page.
el('title').textContent = meta.title;
el('facts').append(el('about').content);
let found = 0, nothing = 0, unread = 0;
for (let i = 0; i < N; i++) {
  const count = panels[0].start[i + 1] - panels[0].start[i];
  found += count;
  if (failed(i)) unread++; else if (!count) nothing++;
}
el('summary').textContent = K > 1 ? `${plural(N, 'picture')}; date, models, settings` :
  `${plural(N, 'picture')}, ${plural(found, 'box', 'boxes')} of ${plural(CLASSES.length, 'class', 'classes')}` +
  (nothing ? `; nothing in ${number(nothing)}` : '') + (unread ? `; ${number(unread)} could not be read` : '') +
  '; date, model, settings';
el('note').textContent = meta.note +
  (meta.left_out ? ` ${plural(meta.left_out, 'picture')} shown without the picture itself, as the page would be too large.` : '');
el('note').hidden = !el('note').textContent;
if (meta.table.length) {
  const table = document.createElement('table');
  meta.table.forEach((row, place) => {
    const line = (place ? table.tBodies[0] || table.createTBody() : table.createTHead()).insertRow();
    row.forEach((text, column) => {
      const cell = document.createElement(place && column ? 'td' : 'th');
      if (place && !column) cell.scope = 'row';
      if (column === 1) cell.className = 'w';
      cell.textContent = text; cell.title = text; line.append(cell);
    });
  });
  el('models').append(table);
}
function layer(key, text) {
  const label = document.createElement('label'), tick = document.createElement('input');
  tick.type = 'checkbox'; tick.checked = layers[key]; tick.id = `layer-${key}`;
  tick.onchange = () => { layers[key] = tick.checked; render(true); };
  label.append(tick, text);
  el('layers').append(label);
}
if (K > 1) {
  el('sort').options[0].text = 'order of the pictures';
  const rank = new Option('largest difference', 'rank');
  if (ranks.some(Boolean)) { el('sort').add(rank, 0); el('sort').value = state.sort = 'rank'; }
  layer('boxes', 'boxes');
  if (panels.some(panel => panel.proposals.size)) layer('proposals', 'proposals');
  if (meta.heats.length) {
    layer('heat', 'heat maps');
    const scale = document.createElement('span'), bar = document.createElement('i');
    scale.className = 'scale';
    bar.style.background = `linear-gradient(90deg,${meta.scale.join(',')})`;
    scale.append('0', bar, '1 (0.25 in the middle)');
    el('layers').append(scale);
  }
}
shownScore();
apply();
})();
