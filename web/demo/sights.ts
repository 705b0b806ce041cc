// Attention, Monarch and scan at work on something one can see. All of it goes through the package's public surface.

import type { Tilewise } from '../js/tilewise.js';
import { $, element, milliseconds, notice, withdraw, words } from './page.js';
import { SIDE, decibels, noisy, opened, painted, show } from './picture.js';

/** What is shown now; a lost device is replaced in it. */
export interface Stage {
  tilewise: Tilewise;
}

const PIXELS = SIDE * SIDE;

let picture = painted();

/** Shows all sights, and again whenever the visitor changes something. */
export async function begin(stage: Stage): Promise<void> {
  const [soon, last] = [[smooth(stage), letters(stage), compress(stage)], denoise(stage)];
  // Together, as their kernels compile beside each other: what is ready first is seen first. Taking noise out comes last; a
  // software adapter works on that for seconds, and on nothing else.
  redraw = async () => {
    await Promise.all(soon.map((sight) => sight()));
    await last();
  };
  $<HTMLInputElement>('#picture').addEventListener('change', async ({ target }) => {
    const file = (target as HTMLInputElement).files?.[0];
    if (!file) return;
    try {
      picture = await opened(file);
      withdraw('picture');
    } catch (error) {
      return notice('picture', `${file.name} is no picture that this browser can open: ${words(error)}`);
    }
    await redraw();
  });
  await redraw();
}

/** Shows all sights anew, on another device. */
export let redraw: () => Promise<void> = async () => {};

/** A sight that is shown once at a time: changes that come meanwhile are shown after it, and only the last of them. */
function alone(card: string, work: () => Promise<string>): () => Promise<void> {
  let running: Promise<void> | undefined;
  let again = false;
  const figure = () => $('.figure', $(card));
  const show = async () => {
    do {
      again = false;
      const before = performance.now();
      try {
        const said = await work();
        figure().textContent = `${said} · ${milliseconds(performance.now() - before)} ms`;
        figure().classList.remove('bad');
        document.body.dataset.firstResult ??= performance.now().toFixed(0);
      } catch (error) {
        figure().textContent = words(error);
        figure().classList.add('bad');
      }
    } while (again);
    running = undefined;
  };
  return () => {
    again = running !== undefined;
    return (running ??= show());
  };
}

// -- letters ------------------------------------------------------------------------------------------------------------

/** A letter is known by itself and by its neighbours: a vector of 3 × 32 in which each of the three has its own part. */
const WIDTH = 96;

function embedded(text: string): Float32Array {
  const vectors = new Float32Array(text.length * WIDTH);
  const code = (i: number) => (text.charCodeAt(i) || 0) & 31;
  for (let i = 0; i < text.length; i++) {
    const at = i * WIDTH;
    vectors[at + code(i)] = 2;
    if (i > 0) vectors[at + 32 + code(i - 1)] = 1;
    if (i + 1 < text.length) vectors[at + 64 + code(i + 1)] = 1;
  }
  return vectors;
}

function letters(stage: Stage): () => Promise<void> {
  const [input, list] = [$<HTMLInputElement>('#text-input'), $('#letters')];
  let weights: ArrayLike<number> = [];
  let chosen = 0;
  const choose = (index: number) => {
    const spans = [...list.children] as HTMLElement[];
    chosen = Math.min(Math.max(index, 0), spans.length - 1);
    spans.forEach((span, i) => {
      const weight = weights[chosen * spans.length + i] ?? 0;
      span.setAttribute('aria-selected', String(i === chosen));
      span.dataset.weight = String(weight);
      span.title = `${(100 * weight).toFixed(1)} %`;
      span.style.background = `color-mix(in srgb, var(--fused) ${(100 * Math.sqrt(weight)).toFixed(0)}%, transparent)`;
    });
    list.setAttribute('aria-activedescendant', `letter-${chosen}`);
  };
  const sight = alone('#text', async () => {
    const text = input.value || ' ';
    const shape = [1, text.length, 1, WIDTH];
    const vectors = embedded(text);
    const { p } = await stage.tilewise.attention(vectors, vectors, vectors, { shape, scale: 1, probabilities: true });
    weights = p ?? [];
    const span = (letter: string, i: number) => element('span', { role: 'option', id: `letter-${i}` }, letter);
    list.replaceChildren(...[...text].map(span));
    choose(chosen);
    return `${text.length} × ${text.length} weights`;
  });
  input.addEventListener('input', () => void sight());
  const pointed = ({ target }: Event) => {
    const index = [...list.children].indexOf(target as Element);
    if (index >= 0) choose(index);
  };
  list.addEventListener('pointerover', pointed);
  list.addEventListener('click', pointed);
  list.addEventListener('keydown', (event) => {
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    choose(chosen + step);
  });
  return sight;
}

// -- pictures -----------------------------------------------------------------------------------------------------------

interface Card {
  before: HTMLCanvasElement;
  after: HTMLCanvasElement;
  level: () => number;
}

/** A card with two pictures and a slider. */
function card(id: string, work: (card: Card) => Promise<string>): () => Promise<void> {
  const root = $(id);
  const slider = $<HTMLInputElement>('[data-role=level]', root);
  const parts = {
    before: $<HTMLCanvasElement>('[data-role=before]', root),
    after: $<HTMLCanvasElement>('[data-role=after]', root),
    level: () => Number(slider.value) / 100,
  };
  const sight = alone(id, () => work(parts));
  slider.addEventListener('input', () => void sight());
  return sight;
}

/** Non-local means (Buades et al. 2005) as attention: with q = (patch, 1) and k = (patch, -|patch|²/2) a query's scores are
 * the squared distances of its patch to all others, but for a constant, which softmax does not see. */
function denoise(stage: Stage): () => Promise<void> {
  const [radius, width] = [2, 26];
  return card('#denoise', async ({ before, after, level }) => {
    const deviation = level();
    const given = noisy(picture, deviation);
    show(before, given);
    const [q, k] = [new Float32Array(PIXELS * width), new Float32Array(PIXELS * width)];
    const near = (x: number) => Math.min(Math.max(x, 0), SIDE - 1);
    for (let pixel = 0; pixel < PIXELS; pixel++) {
      const [row, column] = [Math.floor(pixel / SIDE), pixel % SIDE];
      let [at, square] = [pixel * width, 0];
      for (let y = row - radius; y <= row + radius; y++) {
        for (let x = column - radius; x <= column + radius; x++) {
          const value = given[near(y) * SIDE + near(x)] ?? 0;
          q[at] = k[at] = value;
          square += value * value;
          at++;
        }
      }
      q[at] = 1;
      k[at] = -square / 2;
    }
    const shape = { q: [1, PIXELS, 1, width], k: [1, PIXELS, 1, width], v: [1, PIXELS, 1, 1] };
    const reach = Math.max(25 * deviation * deviation * 0.5, 1e-3);
    const { o } = await stage.tilewise.attention(q, k, given, { shape, scale: 1 / reach });
    show(after, o);
    return `${decibels(given, picture).toFixed(1)} → ${decibels(o, picture).toFixed(1)} dB`;
  });
}

/** Rows of the orthonormal cosine transform. */
function cosines(): Float32Array {
  const entry = (_: unknown, i: number) => {
    const [frequency, place] = [Math.floor(i / SIDE), i % SIDE];
    const norm = Math.sqrt((frequency === 0 ? 1 : 2) / SIDE);
    return norm * Math.cos((Math.PI * (2 * place + 1) * frequency) / (2 * SIDE));
  };
  return Float32Array.from({ length: PIXELS }, entry);
}

/** The same block for each row or column of a picture: a Monarch factor. */
const blocks = (block: Float32Array) => Float32Array.from({ length: SIDE * PIXELS }, (_, i) => block[i % PIXELS] ?? 0);

function compress(stage: Stage): () => Promise<void> {
  const forth = cosines();
  const back = forth.map((_, i) => forth[(i % SIDE) * SIDE + Math.floor(i / SIDE)] ?? 0);
  const [there, home] = [blocks(forth), blocks(back)];
  const transform = async (values: Float32Array, factor: Float32Array) => {
    const square = [SIDE, SIDE, SIDE];
    const shape = { x: [1, PIXELS], w1: square, w2: square };
    const { y } = await stage.tilewise.monarch(values, factor, factor, { shape });
    return y as Float32Array;
  };
  return card('#compress', async ({ before, after, level }) => {
    const coefficients = await transform(picture, there);
    const sizes = coefficients.map(Math.abs).sort().reverse();
    const kept = Math.max(Math.round(level() * PIXELS), 1);
    const least = sizes[kept - 1] ?? 0;
    const few = coefficients.map((value) => (Math.abs(value) >= least ? value : 0));
    show(before, few.map((value) => Math.sqrt(Math.abs(value) / 4)));
    const again = await transform(few, home);
    show(after, again);
    return `${kept} of ${PIXELS} numbers, ${decibels(again, picture).toFixed(1)} dB`;
  });
}

const transposed = (values: Float32Array) =>
  values.map((_, i) => values[(i % SIDE) * SIDE + Math.floor(i / SIDE)] ?? 0);
const reversed = (values: Float32Array) =>
  values.map((_, i) => values[Math.floor(i / SIDE) * SIDE + SIDE - 1 - (i % SIDE)] ?? 0);

/** The recursive filter of the domain transform (Gastal and Oliveira 2011): a step of the recurrence between two pixels
 * remembers a^d, where d grows with how much they differ. */
function smooth(stage: Stage): () => Promise<void> {
  const pass = async (values: Float32Array, guide: Float32Array, reach: number) => {
    const a = guide.map((value, i) => {
      if (i % SIDE === 0) return 0;
      const distance = 1 + 12 * reach * Math.abs(value - (guide[i - 1] ?? 0));
      return Math.exp((-Math.SQRT2 / reach) * distance);
    });
    const b = values.map((value, i) => (1 - (a[i] ?? 0)) * value);
    const { h } = await stage.tilewise.linearScan(a, b, { shape: [1, SIDE, SIDE] });
    return h as Float32Array;
  };
  return card('#smooth', async ({ before, after, level }) => {
    const given = noisy(picture, 0.06);
    show(before, given);
    let [values, guide] = [given, noisy(picture, 0.02)];
    for (let round = 0; round < 4; round++) {
      const reach = 100 * level() * 0.6 ** Math.floor(round / 2);
      values = reversed(await pass(reversed(await pass(values, guide, reach)), reversed(guide), reach));
      [values, guide] = [transposed(values), transposed(guide)];
    }
    show(after, values);
    return `8 scans of 64 rows, ${decibels(given, picture).toFixed(1)} → ${decibels(values, picture).toFixed(1)} dB`;
  });
}
