// Tensors as a page has them, and as the WebAssembly takes them.

/** How elements are stored. */
export type DType = 'f32' | 'f16' | 'bf16' | 'i8' | 'i32' | 'u32';

/** Typed arrays that hold a tensor's elements. 16-bit words are f16 unless an option says bf16. */
export type Elements = Float32Array | Uint16Array | Int8Array | Int32Array | Uint32Array | Float16ArrayLike;

/** A `Float16Array`, where the browser has them. */
export interface Float16ArrayLike extends ArrayBufferView {
  readonly BYTES_PER_ELEMENT: number;
  readonly length: number;
  [index: number]: number;
}

/** A tensor in a typed array, with its sizes. */
export interface HostTensor {
  data: Elements;
  shape: readonly number[];
  /** Only needed for bf16. */
  dtype?: DType;
}

/**
 * A tensor in a buffer of the device. Its usage has `STORAGE` and `COPY_SRC`; its size is that of the elements, rounded up
 * to a multiple of 16 bytes.
 */
export interface BufferTensor {
  data: GPUBuffer;
  shape: readonly number[];
  dtype: DType;
}

/** What an operation takes as a tensor. */
export type Input = Elements | HostTensor | BufferTensor | DeviceTensor;

/** A tensor for the WebAssembly. */
export interface Given {
  name: string;
  dtype: DType;
  shape: readonly number[];
  data: Uint8Array | GPUBuffer;
}

/** A result of the WebAssembly. */
export type Found = Given;

const dispose: typeof Symbol.dispose = Symbol.dispose ?? (Symbol.for('Symbol.dispose') as never);

/** A result that stayed on the device. It is yours: free it when it is no longer needed. */
export class DeviceTensor implements BufferTensor {
  readonly data: GPUBuffer;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly #device: GPUDevice;

  /** @internal */
  constructor(device: GPUDevice, { data, shape, dtype }: BufferTensor) {
    this.#device = device;
    [this.data, this.shape, this.dtype] = [data, shape, dtype];
  }

  /** Waits for the device, and copies the elements. */
  async read(): Promise<Elements> {
    const count = this.shape.reduce((product, size) => product * size, 1);
    const bytes = count * BYTES[this.dtype];
    const size = Math.ceil(bytes / 4) * 4;
    if (size === 0) return elements(new Uint8Array(0), this.dtype);
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    const staging = this.#device.createBuffer({ size, usage });
    try {
      const encoder = this.#device.createCommandEncoder();
      encoder.copyBufferToBuffer(this.data, 0, staging, 0, size);
      this.#device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      return elements(new Uint8Array(staging.getMappedRange().slice(0, bytes)), this.dtype);
    } finally {
      staging.destroy();
    }
  }

  /** Frees the buffer. */
  free(): void {
    this.data.destroy();
  }

  [dispose](): void {
    this.free();
  }
}

const BYTES: Record<DType, number> = { f32: 4, f16: 2, bf16: 2, i8: 1, i32: 4, u32: 4 };

const float16 = (globalThis as { Float16Array?: new (buffer: ArrayBufferLike) => Float16ArrayLike }).Float16Array;

/** Bytes as the typed array of their type. */
export function elements(bytes: Uint8Array, dtype: DType): Elements {
  const whole = bytes.byteOffset === 0 && bytes.byteLength === bytes.buffer.byteLength;
  const buffer = whole ? bytes.buffer : bytes.slice().buffer;
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer);
    case 'f16':
      return float16 ? new float16(buffer) : new Uint16Array(buffer);
    case 'bf16':
      return new Uint16Array(buffer);
    case 'i8':
      return new Int8Array(buffer);
    case 'i32':
      return new Int32Array(buffer);
    case 'u32':
      return new Uint32Array(buffer);
  }
}

/** The type of a typed array's elements. */
function typeOf(data: Elements, words: 'f16' | 'bf16'): DType | undefined {
  if (data instanceof Float32Array) return 'f32';
  if (float16 && data instanceof float16) return 'f16';
  if (data instanceof Uint16Array) return words;
  if (data instanceof Int8Array) return 'i8';
  if (data instanceof Int32Array) return 'i32';
  if (data instanceof Uint32Array) return 'u32';
  return undefined;
}

/** How a call says the sizes of bare arrays. */
export interface Sizes {
  shape?: readonly number[] | Readonly<Record<string, readonly number[]>>;
  dtype?: 'f16' | 'bf16';
}

/** A tensor of a call, or an error that says what it lacks. */
export function given(name: string, input: unknown, { shape, dtype: words = 'f16' }: Sizes): Given {
  if (ArrayBuffer.isView(input)) {
    return given(name, { data: input, shape: shapeOf(name, (input as Elements).length, shape) }, { dtype: words });
  }
  const tensor = (input ?? {}) as Partial<HostTensor & BufferTensor>;
  if (!Array.isArray(tensor.shape)) {
    throw new TypeError(`${name} is no tensor: expected a typed array, or { data, shape }`);
  }
  const sizes = tensor.shape as readonly number[];
  if (ArrayBuffer.isView(tensor.data)) {
    const data = tensor.data as Elements;
    const dtype = tensor.dtype ?? typeOf(data, words);
    if (!dtype) throw new TypeError(`${name} is a ${data.constructor.name}, which holds no tensor`);
    return { name, dtype, shape: sizes, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
  }
  if (tensor.data && typeof tensor.data === 'object' && 'mapState' in tensor.data) {
    if (!tensor.dtype) throw new TypeError(`${name} is in a GPUBuffer and needs a dtype`);
    return { name, dtype: tensor.dtype, shape: sizes, data: tensor.data };
  }
  throw new TypeError(`${name} has no data: expected a typed array or a GPUBuffer`);
}

function shapeOf(name: string, count: number, shape: Sizes['shape']): readonly number[] {
  if (shape === undefined) {
    throw new TypeError(`${name} needs a shape: give options.shape, or { data, shape } as the tensor`);
  }
  if (!isSizes(shape)) {
    const named = shape[name];
    if (!named) throw new TypeError(`${name} needs a shape: options.shape has ${Object.keys(shape).join(', ')}`);
    return named;
  }
  const expected = shape.reduce((product, size) => product * size, 1);
  if (expected !== count) {
    throw new RangeError(
      `${name} has ${count} elements, but options.shape [${shape.join(', ')}] has ${expected}; ` +
        `give each tensor's shape by its name`,
    );
  }
  return shape;
}

const isSizes = (shape: NonNullable<Sizes['shape']>): shape is readonly number[] => Array.isArray(shape);
