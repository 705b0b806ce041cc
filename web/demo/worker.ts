// What takes long runs here: oracles in double precision, races and benchmarks, on a device of their own.

import { Tilewise } from '../js/tilewise.js';
import { cases } from '../js/wasm/tilewise_web.js';

/** What the page asks for. */
export type Request =
  | { what: 'open'; as?: string }
  | { what: 'cases'; family: string }
  | { what: 'check'; family: string; index: number }
  | { what: 'race'; length: number }
  | { what: 'bench'; family?: string; quick: boolean };

/** What it gets: progress any number of times, then a result or an error. */
export type Reply = { id: number } & (
  | { progress: { measured: number; all: number; next: string } }
  | { result: unknown }
  | { error: string; lost: boolean }
);

let tilewise: Tilewise | undefined;
let lostBy: string | undefined;

async function answer(request: Request, tell: (progress: { measured: number; all: number; next: string }) => void) {
  if (request.what === 'open') {
    tilewise?.free();
    const opened = await Tilewise.create({ as: request.as });
    lostBy = undefined;
    opened.lost.then((reason) => {
      if (opened === tilewise) lostBy = reason;
    });
    tilewise = opened;
    return opened.describe();
  }
  if (!tilewise) throw new Error('no device was opened');
  const { engine } = tilewise;
  switch (request.what) {
    case 'cases':
      return cases(request.family);
    case 'check':
      return JSON.parse(await engine.check(request.family, request.index));
    case 'race':
      return JSON.parse(await engine.race(request.length));
    case 'bench': {
      const date = () => new Date().toISOString().replace(/\.\d+Z$/, 'Z');
      const progress = (measured: number, all: number, next: string) => tell({ measured, all, next });
      return engine.bench(request.family, request.quick, date, progress);
    }
  }
}

addEventListener('message', async ({ data: { id, request } }: MessageEvent<{ id: number; request: Request }>) => {
  const reply = (message: Omit<Reply, 'id'>) => postMessage({ id, ...message });
  try {
    reply({ result: await answer(request, (progress) => reply({ progress } as never)) } as never);
  } catch (error) {
    // Browsers tell a loss a little after what fails by it.
    await new Promise((resolve) => setTimeout(resolve, 50));
    const message = error instanceof Error ? error.message : String(error);
    const words = lostBy === undefined ? message : `the GPU device was lost: ${lostBy}`;
    reply({ error: words, lost: lostBy !== undefined } as never);
  }
});
