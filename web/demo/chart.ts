// Two lines on logarithmic axes, drawn as they are measured.

/** A measured point. */
export interface Point {
  x: number;
  y: number;
}

/** A line of a chart: its points, and where it ended and why. */
export interface Line {
  name: 'fused' | 'unfused';
  points: Point[];
  end?: { x: number; why: string };
}

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [440, 260, 62, 30];

/** What a vertical axis shows: how a value is written, and by how much the marked ones differ. */
export interface Axis {
  unit: (value: number) => string;
  base: number;
}

/** Draws the chart anew. */
export function draw(figure: Element, title: string, lines: Line[], { unit, base }: Axis): void {
  const points = lines.flatMap(({ points }) => points);
  const ends = lines.flatMap(({ end }) => (end ? [end.x] : []));
  if (points.length === 0) return figure.replaceChildren();
  const xs = [...points.map(({ x }) => x), ...ends];
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)].map(Math.log2) as [number, number];
  const ys = points.map(({ y }) => y);
  const log = (y: number) => Math.log(y) / Math.log(base);
  const y0 = Math.floor(log(Math.min(...ys)));
  const y1 = Math.max(Math.ceil(log(Math.max(...ys))), y0 + 1);
  const px = (x: number) => LEFT + ((Math.log2(x) - x0) / Math.max(x1 - x0, 1)) * (WIDTH - LEFT - 16);
  const py = (y: number) => 24 + (1 - (log(y) - y0) / (y1 - y0)) * (HEIGHT - BOTTOM - 24);
  const parts: string[] = [`<text x="4" y="14">${title}</text>`];
  for (let power = y0; power <= y1; power++) {
    const y = py(base ** power);
    parts.push(`<line class="axis" x1="${LEFT}" x2="${WIDTH - 8}" y1="${y}" y2="${y}"/>`);
    parts.push(`<text x="${LEFT - 6}" y="${y + 4}" text-anchor="end">${unit(base ** power)}</text>`);
  }
  for (const x of new Set(xs)) {
    parts.push(`<text x="${px(x)}" y="${HEIGHT - 10}" text-anchor="middle">${x}</text>`);
  }
  // The name of the upper line, as far as both go, stands above its end, that of the lower one below.
  const common = Math.min(...lines.map(({ points }) => points.length));
  const height = ({ points }: Line) => points[common - 1]?.y ?? 0;
  const upper = lines.reduce((one, other) => (height(other) > height(one) ? other : one));
  for (const line of lines) {
    const { name, points, end } = line;
    const path = points.map(({ x, y }, i) => `${i ? 'L' : 'M'}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join('');
    parts.push(`<path class="${name}" d="${path}"/>`);
    for (const { x, y } of points) {
      parts.push(
        `<circle class="${name}" r="3.5" cx="${px(x).toFixed(1)}" cy="${py(y).toFixed(1)}" data-line="${name}" ` +
          `data-x="${x}" data-y="${y}"><title>${name}, length ${x}: ${unit(y)}</title></circle>`,
      );
    }
    const last = points.at(-1);
    if (last) parts.push(`<text class="${name}" stroke="none" x="${px(last.x) - 6}" y="${py(last.y) + (line === upper ? -10 : 20)}" text-anchor="end">${name}</text>`);
    if (end) {
      const [x, y] = [px(end.x), py(base ** y1)];
      parts.push(`<g class="end" data-end="${name}"><path d="M${x - 5} ${y - 5}L${x + 5} ${y + 5}M${x + 5} ${y - 5}L${x - 5} ${y + 5}"/><title></title></g>`);
    }
  }
  const label = `${title}: ${lines.map(({ name, points }) => `${name}, ${points.length} lengths`).join('; ')}`;
  figure.innerHTML = `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img">${parts.join('')}</svg>`;
  figure.querySelector('svg')?.setAttribute('aria-label', label);
  for (const { name, end } of lines) {
    const titled = figure.querySelector(`[data-end="${name}"] title`);
    if (titled && end) titled.textContent = `${name} does not fit at length ${end.x}: ${end.why}`;
  }
}
