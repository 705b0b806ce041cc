// The acceptance grids, family by family, against the oracles.

import { $, element, visible, words } from './page.js';
import { ask } from './remote.js';

interface Outcome {
  tensor: string;
  error: number | null;
  allowed: number;
}

interface Checked {
  case: string;
  passed?: boolean;
  outcomes?: Outcome[];
  refused?: string;
}

/** How many milliseconds a family may take before the page asks whether to go on; from the page's address: `?patience=2000`. */
const PATIENCE = Number(new URLSearchParams(location.search).get('patience') ?? 8000);

/** Makes a card for each family. */
export function begin(): void {
  for (const family of ['attention', 'butterfly', 'scan']) $('#families').append(card(family));
}

function card(family: string): HTMLElement {
  const button = element('button', { type: 'button' }, `Check ${family}`) as HTMLButtonElement;
  const progress = element('progress', { max: '1', value: '0', 'aria-label': `${family} checked` }) as HTMLProgressElement;
  const said = element('p', { class: 'figure', role: 'status' });
  const wrong = element('ul', { class: 'bad' });
  const state = { done: 0, outputs: 0, wrong: 0, refused: 0, worst: 0 };
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      const { length: all } = await ask<string[]>({ what: 'cases', family });
      progress.max = all;
      const stride = strideOf(all);
      const begun = performance.now();
      while (state.done < all && performance.now() - begun < PATIENCE) {
        await visible();
        const index = (state.done * stride) % all;
        const checked = await ask<Checked>({ what: 'check', family, index });
        state.done += 1;
        count(checked);
        progress.value = state.done;
        said.textContent = summary(all);
      }
      if (state.done < all) button.textContent = 'Go on';
      else button.textContent = 'All checked';
      button.disabled = state.done === all;
    } catch (error) {
      said.textContent = words(error);
      button.disabled = false;
    }
  });
  const count = ({ case: name, passed, outcomes = [], refused }: Checked) => {
    if (refused !== undefined) state.refused += 1;
    state.outputs += outcomes.length;
    // What is not a number comes as null.
    for (const { error, allowed } of outcomes) {
      if (error !== 0) state.worst = Math.max(state.worst, (error ?? Infinity) / allowed);
    }
    if (passed === false) {
      state.wrong += 1;
      wrong.append(element('li', {}, name));
    }
  };
  const summary = (all: number) => {
    const cases = `${state.outputs} outputs of ${state.done} cases (${all} in the grid)`;
    const small = state.refused ? `, ${state.refused} more than this adapter holds` : '';
    if (state.wrong) return `${cases}${small}: ${state.wrong} WRONG`;
    if (!state.outputs) return `${cases}${small}: nothing was compared`;
    return `${cases}${small}: right, the worst error is ${(100 * state.worst).toFixed(0)} % of what is allowed`;
  };
  return element('article', { 'data-family': family }, element('h3', {}, family), element('p', {}, button, ' ', progress), said, wrong);
}

/** A stride without a common factor visits every case once, far apart from the one before. */
function strideOf(all: number): number {
  const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));
  let stride = Math.max(Math.floor(all / 3), 1);
  while (gcd(stride, all) !== 1) stride += 1;
  return stride;
}
