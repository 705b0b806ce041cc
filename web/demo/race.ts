// Fused against unfused attention, longer and longer.

import { draw, type Line } from './chart.js';
import { $, bytes, milliseconds, row, visible, words } from './page.js';
import { ask } from './remote.js';

interface Figures {
  ms: number;
  bytes: number;
}

interface Step {
  length: number;
  head_dim: number;
  fused: Figures;
  unfused: Figures | { refused: string };
}

const [FIRST, LAST] = [128, 1 << 17];

/** How long the fused version may take for the next length: four times as long as for the one before. */
const PATIENCE = 60_000;

/** Connects the button. */
export function begin(): void {
  const button = $<HTMLButtonElement>('#race-start');
  button.addEventListener('click', async () => {
    button.disabled = true;
    const steps: Step[] = [];
    try {
      for (let length = FIRST; length <= LAST; length *= 2) {
        say(`measuring length ${length} …`);
        await visible();
        const step = await ask<Step>({ what: 'race', length });
        steps.push(step);
        $('#race-width').textContent = String(step.head_dim);
        drawn(steps);
        if ('refused' in step.unfused) {
          say(`Unfused does not fit at length ${length}: ${step.unfused.refused}. Fused does.`);
          break;
        }
        if (4 * step.fused.ms > PATIENCE) {
          say(`Stopped at length ${length}: the next would take this adapter too long.`);
          break;
        }
      }
    } catch (error) {
      say(words(error));
    }
    button.disabled = false;
    button.textContent = 'Race again';
  });
}

const time = { unit: (ms: number) => (ms >= 1000 ? `${Number((ms / 1000).toPrecision(3))} s` : `${Number(ms.toPrecision(3))} ms`), base: 10 };

const say = (text: string) => ($('#race-state').textContent = text);

function drawn(steps: Step[]): void {
  const line = (name: 'fused' | 'unfused', value: (figures: Figures) => number): Line => {
    const ran = steps.flatMap(({ length, [name]: found }) => ('ms' in found ? [{ x: length, y: value(found) }] : []));
    const stopped = steps.find(({ [name]: found }) => 'refused' in found);
    const why = stopped && 'refused' in stopped.unfused ? stopped.unfused.refused : '';
    return { name, points: ran, end: stopped && { x: stopped.length, why } };
  };
  const lines = (value: (figures: Figures) => number) => [line('fused', value), line('unfused', value)];
  draw($('#race-time'), 'time', lines(({ ms }) => ms), time);
  draw($('#race-memory'), 'memory beyond the inputs', lines(({ bytes }) => bytes), { unit: bytes, base: 4 });
  const table = $('#race-table');
  table.hidden = false;
  const cells = ({ length, fused, unfused }: Step) =>
    'ms' in unfused
      ? row(length, Number(milliseconds(fused.ms)), Number(milliseconds(unfused.ms)), bytes(fused.bytes), bytes(unfused.bytes))
      : row(length, Number(milliseconds(fused.ms)), 'none', bytes(fused.bytes), 'does not fit');
  $('tbody', table).replaceChildren(...steps.map(cells));
}
