for (const table of document.querySelectorAll('table.sortable')) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.firstChild.addEventListener('click', () => {
    const falling = column > 0 ? head.ariaSort !== 'descending' : head.ariaSort === 'ascending';
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.ariaSort = falling ? 'descending' : 'ascending';
    const value = row => column > 0 ? Number(row.cells[column].dataset.v) : row.cells[0].textContent;
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => {
      const x = value(a), y = value(b);
      return (column > 0 ? x - y : x.localeCompare(y)) * (falling ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  }));
}
for (const box of document.querySelectorAll('.legend input'))
  box.addEventListener('change', () => document.body.classList.toggle('no-' + box.dataset.kind, !box.checked));
for (const table of document.querySelectorAll('.matrix')) {
  const heads = [...table.tHead.rows[0].cells], told = document.getElementById('cell'), usual = told.textContent;
  const at = cell => {
    heads.forEach(head => head.classList.remove('on'));
    if (cell) heads[cell.cellIndex].classList.add('on');
    told.textContent = cell ? cell.title : usual;
  };
  table.addEventListener('mouseover', event => at(event.target.closest('td')));
  table.addEventListener('mouseleave', () => at(null));
}
