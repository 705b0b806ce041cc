// The page's end of the worker. It is started when it is first needed, and anew when its device is lost.

import type { Reply, Request, Stopped } from './worker.js';

type Progress = { measured: number; all: number; next: string };

let worker: Worker | undefined;
let opened: Promise<unknown> | undefined;
let last = 0;
const waiting = new Map<number, { done: (result: never) => void; failed: (error: Error) => void; tell?: (progress: Progress) => void }>();

function start(): Worker {
  const started = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  const end = (why: string) => {
    if (worker === started) worker = opened = undefined;
    started.terminate();
    for (const { failed } of waiting.values()) failed(new Error(why));
    waiting.clear();
  };
  started.addEventListener('message', ({ data }: MessageEvent<Reply | Stopped>) => {
    if ('stopped' in data) return end(data.stopped);
    const call = waiting.get(data.id);
    if (!call) return;
    if ('progress' in data) return call.tell?.(data.progress);
    waiting.delete(data.id);
    if ('error' in data) {
      if (data.lost) opened = undefined;
      call.failed(new Error(data.error));
    } else call.done(data.result as never);
  });
  started.addEventListener('error', (event) => end(event.message || 'the worker stopped'));
  return started;
}

function post<T>(request: Request, tell?: (progress: Progress) => void): Promise<T> {
  worker ??= start();
  const id = ++last;
  return new Promise<T>((done, failed) => {
    waiting.set(id, { done, failed, tell });
    worker?.postMessage({ id, request });
  });
}

/** The profile that plans must not exceed, from the page's address: `?as=webgpu-baseline`. */
export const profile = new URLSearchParams(location.search).get('as') ?? undefined;

/** Asks the worker, which opens a device first. */
export async function ask<T>(request: Request, tell?: (progress: Progress) => void): Promise<T> {
  opened ??= post({ what: 'open', as: profile }).catch((error: unknown) => {
    opened = undefined;
    throw error;
  });
  await opened;
  return post<T>(request, tell);
}
