// The page: finds the GPU, shows, and starts again when the device is lost.

import { Tilewise } from '../js/tilewise.js';
import * as bench from './bench.js';
import * as checks from './checks.js';
import * as machine from './machine.js';
import { $, notice, withdraw, words } from './page.js';
import * as race from './race.js';
import { profile } from './remote.js';
import * as sights from './sights.js';

/** A device that is lost more often than that is not opened again: something is wrong with it. */
const OPENINGS = 5;

async function open(): Promise<Tilewise> {
  const opened = await Tilewise.create({ as: profile });
  machine.tell(opened);
  return opened;
}

async function begin(): Promise<void> {
  let stage: sights.Stage;
  try {
    stage = { tilewise: await open() };
  } catch (error) {
    return nothing(words(error));
  }
  Object.assign(globalThis, { stage });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) notice('hidden', 'This tab was hidden: what is measured here waits until it is seen.');
    else setTimeout(() => withdraw('hidden'), 4000);
  });
  checks.begin();
  race.begin();
  bench.begin();
  void recover(stage);
  await sights.begin(stage);
  await machine.plan();
  document.body.dataset.ready = 'true';
}

/** Opens another device whenever one is lost. */
async function recover(stage: sights.Stage): Promise<void> {
  for (let openings = 1; openings < OPENINGS; openings++) {
    const reason = await stage.tilewise.lost;
    notice('lost', `The GPU device was lost (${reason}). Opening another …`);
    try {
      stage.tilewise.free();
      stage.tilewise = await open();
    } catch (error) {
      return notice('lost', `The GPU device was lost, and no other could be opened: ${words(error)}. Reload the page to try again.`);
    }
    await sights.redraw();
    notice('lost', `The GPU device was lost (${reason}); another was opened, and all is shown anew.`);
  }
  await stage.tilewise.lost;
  notice('lost', 'The GPU device was lost again and again. Reload the page to try once more.');
}

/** Without a GPU the page says what to do. */
function nothing(reason: string): void {
  $('#status').textContent = 'No GPU was found that this page may use.';
  $('#no-webgpu-reason').textContent = reason;
  $('#no-webgpu').hidden = false;
  for (const section of document.querySelectorAll<HTMLElement>('[data-needs-gpu]')) section.hidden = true;
  document.body.dataset.ready = 'none';
}

void begin();
