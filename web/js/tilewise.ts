// tilewise for pages: operations on typed arrays and on buffers of the page's own device.
//
//     const tw = await Tilewise.create();
//     const { o, lse } = await tw.attention(q, k, v, { shape: [1, 1024, 8, 64], causal: true });

import { kebab, optionLine, openDevice, type OpenOptions } from './device.js';
import init, { Engine, watchers } from './wasm/tilewise_web.js';
import { OPERATIONS, type CommonOptions, type Operation, type OptionsOf } from './ops.js';
import { DeviceTensor, elements, given, type DType, type Elements, type Found, type Input } from './tensors.js';

export { DeviceTensor, OPERATIONS };
export type * from './ops.js';
export type { BufferTensor, DType, Elements, Float16ArrayLike, HostTensor, Input } from './tensors.js';

/** How to open a device. */
export interface CreateOptions extends OpenOptions {
  /** Plan as if the adapter could do no more than this profile, such as `webgpu-baseline`. */
  as?: string;
  /** Where the WebAssembly lies; by default beside this module. */
  wasm?: string | URL | Response | Promise<Response> | BufferSource | WebAssembly.Module;
}

/** Results in typed arrays, with their shapes. Of gradients and states those are there that were asked for. */
export type HostResults<Names extends string> = { [name in Names]: Elements } & {
  [name: string]: Elements | undefined;
} & {
  shapes: Record<string, readonly number[]>;
  /** How it ran on this adapter, and which limit bound that. */
  plans: string[];
};

/** Results on the device. */
export type DeviceResults<Names extends string> = { [name in Names]: DeviceTensor } & {
  [name: string]: DeviceTensor;
};

type Inputs<Tensors extends readonly string[]> = { -readonly [I in keyof Tensors]: Input };
type InputsOf<Name extends Operation> = Inputs<(typeof OPERATIONS)[Name]['tensors']>;
type ResultsOf<Name extends Operation> = (typeof OPERATIONS)[Name]['results'][number];

/** The methods, one an operation. */
export type Operations = {
  [Name in Operation]: {
    (...call: [...InputsOf<Name>, OptionsOf<Name> & { output: 'device' }]): Promise<DeviceResults<ResultsOf<Name>>>;
    (...call: [...InputsOf<Name>, OptionsOf<Name>?]): Promise<HostResults<ResultsOf<Name>>>;
  };
};

/** What an adapter is and can do. */
export interface Description {
  adapter: { name: string; backend: string; driver: string; device_type: string };
  caps: {
    workgroup_bytes: number;
    workgroup_lanes: number;
    storage_buffers: number;
    binding_bytes: number;
    buffer_bytes: number;
    f16: boolean;
    subgroups: { min: number; max: number } | null;
    timestamps: boolean;
  };
}

const dispose: typeof Symbol.dispose = Symbol.dispose ?? (Symbol.for('Symbol.dispose') as never);

let loaded: Promise<unknown> | undefined;

/** The WebAssembly, loaded once. */
function load(wasm: CreateOptions['wasm']): Promise<unknown> {
  loaded ??= init(wasm === undefined ? undefined : { module_or_path: wasm }).catch((error: unknown) => {
    loaded = undefined;
    throw error;
  });
  return loaded;
}

/** Why the WebAssembly stopped inside, which is a bug: nothing of it can be relied on from then on. */
let stopped: Error | undefined;

/** How calls that wait are rejected. */
const waiting = new Set<(error: Error) => void>();

watchers.add((cause) => {
  const words = cause instanceof Error ? cause.message : String(cause);
  stopped ??= new Error(`tilewise stopped inside (${words}): a bug of it, please report it; reload the page to go on`, { cause });
  for (const reject of waiting) reject(stopped);
});

/** A promise of the WebAssembly, which keeps none once it has stopped. */
function kept<T>(begin: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    if (stopped) throw stopped;
    waiting.add(reject);
    const end = () => waiting.delete(reject);
    (async () => begin())().then(resolve, reject).then(end, end);
  });
}

/** A device with everything that was compiled for it. */
export class Tilewise {
  /** The device: yours, or the one that was opened. */
  readonly device: GPUDevice;
  /** Resolves to the reason when the device is lost. Calls reject from then on; `create` opens another. */
  readonly lost: Promise<string>;
  #engine: Engine | undefined;
  readonly #owned: boolean;
  #lostBy: string | undefined;

  private constructor(device: GPUDevice, engine: Engine, owned: boolean) {
    this.device = device;
    this.#engine = engine;
    this.#owned = owned;
    this.lost = device.lost.then(({ reason, message }) => (this.#lostBy = message || reason));
  }

  /** Opens a device, or takes the page's own. Rejects where there is no WebGPU. */
  static async create(options: CreateOptions = {}): Promise<Tilewise> {
    const loading = load(options.wasm);
    // Both are waited for together; without this a failure of the one would be nobody's while the other is awaited.
    loading.catch(() => {});
    const { device, info } = await openDevice(options);
    await loading;
    const engine = await kept(() => Engine.open(device, info, !options.device, options.as));
    return new Tilewise(device, engine, !options.device);
  }

  get #live(): Engine {
    if (stopped) throw stopped;
    if (!this.#engine) throw new Error('this Tilewise was freed');
    return this.#engine;
  }

  /** Bytes that tensors and scratch take on the device, buffers of the page not counted. */
  get memory(): number {
    return this.#live.memory;
  }

  /** How many kernels were compiled. */
  get kernels(): number {
    return this.#live.kernels;
  }

  /** The adapter, and what plans are made from. */
  describe(): Description {
    return this.#live.describe() as Description;
  }

  /** @internal One call of any operation. */
  async run(operation: Operation, inputs: readonly unknown[], options: CommonOptions): Promise<unknown> {
    const { tensors } = OPERATIONS[operation];
    const { shape, dtype, tensors: more = {}, output = 'host', ...own } = options;
    const named = [...tensors.map((name, i) => [name, inputs[i]] as const), ...Object.entries(more)];
    const list = named
      .filter(([, input]) => input !== undefined)
      .map(([name, input]) => given(name, input, { shape, dtype }));
    const { line, texts } = optionLine(own);
    const engine = this.#live;
    try {
      const made = await kept<unknown>(() => engine.call(kebab(operation), line, list, texts, output === 'device'));
      const { results, plans } = made as { results: Found[]; plans: string[] };
      return output === 'device' ? this.#onDevice(results) : { ...onHost(results), plans };
    } catch (error) {
      throw await this.#explained(error);
    }
  }

  #onDevice(found: Found[]): Record<string, DeviceTensor> {
    return Object.fromEntries(
      found.map(({ name, data, ...tensor }) => {
        // Results that are computed on the host stay there.
        if (data instanceof Uint8Array) throw new TypeError(`${name} is computed on the host; ask for output: 'host'`);
        return [name, new DeviceTensor(this.device, { ...tensor, data })];
      }),
    );
  }

  /** Of an error on a lost device the loss is the reason, which browsers tell a little later. */
  async #explained(error: unknown): Promise<unknown> {
    await Promise.race([this.lost, new Promise((resolve) => setTimeout(resolve, 50))]);
    if (this.#lostBy === undefined) return error;
    return new Error(`the GPU device was lost: ${this.#lostBy}`, { cause: error });
  }

  /** Frees the kernels, and the device unless it is the page's. */
  free(): void {
    if (!stopped) this.#engine?.free();
    this.#engine = undefined;
    if (this.#owned) this.device.destroy();
  }

  [dispose](): void {
    this.free();
  }
}

/** Every operation is a method. */
export interface Tilewise extends Operations {}

for (const name of Object.keys(OPERATIONS) as Operation[]) {
  const count = OPERATIONS[name].tensors.length;
  const method = async function (this: Tilewise, ...call: unknown[]): Promise<unknown> {
    if (call.length > count + 1) {
      throw new TypeError(`${name} takes ${OPERATIONS[name].tensors.join(', ')} and options`);
    }
    return this.run(name, call.slice(0, count), (call[count] ?? {}) as CommonOptions);
  };
  Object.defineProperty(Tilewise.prototype, name, { value: method, configurable: true, writable: true });
}

function onHost(found: Found[]): Record<string, unknown> {
  const results: Record<string, unknown> = {};
  const shapes: Record<string, readonly number[]> = {};
  for (const { name, dtype, shape, data } of found) {
    results[name] = elements(data as Uint8Array, dtype as DType) satisfies Elements;
    shapes[name] = shape;
  }
  return { ...results, shapes };
}
