// A click on a heading sorts its table, numbers as numbers; another turns the order around.
for (const heading of document.querySelectorAll('th')) {
  heading.querySelector('button').addEventListener('click', () => {
    const table = heading.closest('table');
    const column = heading.cellIndex;
    const ascending = heading.getAttribute('aria-sort') !== 'ascending';
    for (const other of table.querySelectorAll('th')) other.removeAttribute('aria-sort');
    heading.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
    const key = (row) => {
      const cell = row.cells[column];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    const numeric = heading.classList.contains('number');
    const before = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (!numeric) return String(x).localeCompare(String(y), undefined, { numeric: true });
      // Cells without a number come last either way.
      const [of, and] = [x, y].map((value) => (typeof value === 'number' ? value : ascending ? Infinity : -Infinity));
      return of === and ? 0 : of - and;
    };
    const body = table.tBodies[0];
    const rows = [...body.rows].sort(before);
    body.append(...(ascending ? rows : rows.reverse()));
  });
}
