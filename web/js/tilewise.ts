// tilewise for pages: operations on typed arrays and on buffers of the page's own device.
//
//     const tw = await Tilewise.create();
//     const { o, lse } = await tw.attention(q, k, v, { shape: [1, 1024, 8, 64], causal: true });

import init, { Engine } from './wasm/tilewise_web.js';
import { OPERATIONS, type CommonOptions, type Operation, type OptionsOf } from './ops.js';
import { DeviceTensor, elements, given, type DType, type Elements, type Found, type Input } from './tensors.js';

export { DeviceTensor, OPERATIONS };
export type { AttentionOptions, CommonOptions, Operation, OptionsOf, OtherOptions } from './ops.js';
export type { BufferTensor, DType, Elements, Float16ArrayLike, HostTensor, Input } from './tensors.js';

/** How to open a device. */
export interface CreateOptions {
  /** A device of the page, whose limits and features decide the plans. By default one with all that the adapter has. */
  device?: GPUDevice;
  /** Which adapter to ask for, where no device is given. */
  powerPreference?: GPUPowerPreference;
  /** Plan as if the adapter could do no more than this profile, such as `webgpu-baseline`. */
  as?: string;
  /** Where the WebAssembly lies; by default beside this module. */
  wasm?: string | URL | Response | Promise<Response> | BufferSource | WebAssembly.Module;
}

/** Results in typed arrays, with their shapes. Of gradients and states those are there that were asked for. */
export type HostResults<Names extends string> = { [name in Names]: Elements } & { [name: string]: Elements } & {
  shapes: Record<string, readonly number[]>;
};

/** Results on the device. */
export type DeviceResults<Names extends string> = { [name in Names]: DeviceTensor } & {
  [name: string]: DeviceTensor;
};

type Tensors<Name extends Operation> = { -readonly [I in keyof (typeof OPERATIONS)[Name]['tensors']]: Input };
type Names<Name extends Operation> = (typeof OPERATIONS)[Name]['results'][number];

/** The methods, one an operation. */
export type Operations = {
  [Name in Operation]: {
    (...call: [...Tensors<Name>, OptionsOf<Name> & { output: 'device' }]): Promise<DeviceResults<Names<Name>>>;
    (...call: [...Tensors<Name>, OptionsOf<Name>?]): Promise<HostResults<Names<Name>>>;
  };
};

/** How an operation of given sizes runs on an adapter. */
export interface Plans {
  operation: string;
  spec: unknown;
  note: string | null;
  plans: { pass: string; explanation: string; plan: unknown; kernels: Footprint[] }[];
}

/** What a kernel takes. */
export interface Footprint {
  kernel: string;
  lanes: number;
  workgroup_bytes: number;
  storage_buffers: number;
}

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
    const { device, info } = options.device
      ? { device: options.device, info: options.device.adapterInfo }
      : await request(options.powerPreference);
    await loading;
    const known = { vendor: '', architecture: '', device: '', description: '', subgroupMinSize: 4, subgroupMaxSize: 128 };
    // The attributes of a GPUAdapterInfo are its class's, and spreading would not see them.
    for (const key of Object.keys(known)) Object.assign(known, (info as never)?.[key] === undefined ? {} : { [key]: info[key as never] });
    const engine = await Engine.open(device, { ...known, isFallbackAdapter: isSoftware(info) }, !options.device, options.as);
    return new Tilewise(device, engine, !options.device);
  }

  /** @internal What the demo page measures with. */
  get engine(): Engine {
    if (!this.#engine) throw new Error('this Tilewise was freed');
    return this.#engine;
  }

  /** Bytes that tensors and scratch take on the device, buffers of the page not counted. */
  get memory(): number {
    return this.engine.memory;
  }

  /** How many kernels were compiled. */
  get kernels(): number {
    return this.engine.kernels;
  }

  /** The adapter, and what plans are made from. */
  describe(): Description {
    return JSON.parse(this.engine.describe());
  }

  /** How an operation of these sizes would run here: `tw.plan('attention', { headDim: 128, causal: true })`. */
  plan(operation: Operation, sizes: Record<string, unknown> = {}): Plans {
    return JSON.parse(this.engine.plan(kebab(operation), argumentsOf(sizes).line));
  }

  /** @internal One call of any operation. */
  async run(operation: Operation, inputs: readonly unknown[], options: CommonOptions): Promise<unknown> {
    const { tensors } = OPERATIONS[operation];
    const { shape, dtype, tensors: more = {}, output = 'host', ...own } = options;
    const named = [...tensors.map((name, i) => [name, inputs[i]] as const), ...Object.entries(more)];
    const list = named
      .filter(([, input]) => input !== undefined)
      .map(([name, input]) => given(name, input, { shape, dtype }));
    const { line, texts } = argumentsOf(own);
    try {
      const found = (await this.engine.call(kebab(operation), line, list, texts, output === 'device')) as Found[];
      return output === 'device' ? this.#onDevice(found) : onHost(found);
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
    this.#engine?.free();
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

/** Limits that kernels profit from. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupsPerDimension',
] as const;

async function request(powerPreference: GPUPowerPreference = 'high-performance') {
  if (!navigator.gpu) throw new Error('no WebGPU: this browser does not have it, or not on this page');
  const adapter = await navigator.gpu.requestAdapter({ powerPreference });
  if (!adapter) throw new Error('no WebGPU adapter: the browser found no GPU that it lets pages use');
  const requiredFeatures = (['shader-f16'] as const).filter((feature) => adapter.features.has(feature));
  const requiredLimits = Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]]));
  const device = await adapter.requestDevice({ label: 'tilewise', requiredFeatures, requiredLimits });
  return { device, info: adapter.info };
}

/** Whether the adapter is a processor that poses as a GPU. */
function isSoftware(info: GPUAdapterInfo | undefined): boolean {
  const words = `${info?.vendor} ${info?.architecture} ${info?.description}`;
  return info?.isFallbackAdapter === true || /llvmpipe|lavapipe|swiftshader/i.test(words);
}

const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Options that are texts of programs. */
const TEXTS = new Set(['scoreMod', 'maskMod']);

/** Options as the command line writes them. */
function argumentsOf(options: object): { line: string[]; texts: [string, string][] } {
  const line: string[] = [];
  const texts: [string, string][] = [];
  for (const [option, value] of Object.entries(options)) {
    const flag = `--${kebab(option)}`;
    if (value === undefined || value === null || value === false) continue;
    if (value === true) line.push(flag);
    else if (TEXTS.has(option)) {
      for (const text of [value].flat()) {
        const name = `${option} ${texts.length + 1}`;
        texts.push([name, String(text)]);
        line.push(`${flag}=${name}`);
      }
    } else if (Array.isArray(value) && value.some((element) => typeof element === 'string')) {
      for (const element of value) line.push(`${flag}=${element}`);
    } else line.push(`${flag}=${Array.isArray(value) ? value.map((side) => side ?? '').join(',') : String(value)}`);
  }
  return { line, texts };
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
