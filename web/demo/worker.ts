// What takes long runs here: oracles in double precision, races and benchmarks, on a device of their own.

import { kebab, openDevice, optionLine } from '../js/device.js';
import init, { Engine, cases, watchers } from './lab/tilewise_web.js';

/** What the page asks for. */
export type Request =
  | { what: 'open'; as?: string }
  | { what: 'plan'; operation: string; sizes?: object }
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

/** What it gets when the WebAssembly stopped inside: the worker is then of no more use. */
export interface Stopped {
  stopped: string;
}

let engine: Engine | undefined;
let opened: GPUDevice | undefined;
let lostBy: string | undefined;

async function answer(request: Request, tell: (progress: { measured: number; all: number; next: string }) => void) {
  if (request.what === 'open') {
    engine?.free();
    await init();
    const { device, info } = await openDevice({});
    [opened, lostBy] = [device, undefined];
    device.lost.then(({ reason, message }) => {
      if (device === opened) lostBy = message || reason;
    });
    engine = await Engine.open(device, info, true, request.as);
    return undefined;
  }
  if (!engine) throw new Error('no device was opened');
  switch (request.what) {
    case 'plan':
      return JSON.parse(engine.plan(kebab(request.operation), optionLine(request.sizes ?? {}).line));
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

watchers.add((error) => {
  const words = error instanceof Error ? error.message : String(error);
  postMessage({ stopped: `tilewise stopped inside (${words}): a bug of it, please report it` } satisfies Stopped);
});

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
