// The operations: which tensors a call takes in order, which results it gives at least, and which options it knows.
// `tilewise run OPERATION --help` describes tensors and options at length; names are the same but for their case.

/** What every operation takes beside its own options. */
export interface CommonOptions {
  /**
   * Sizes of the tensors that are given as bare typed arrays: for all of them that have so many elements, or one by one by
   * the tensors' names.
   */
  shape?: readonly number[] | Readonly<Record<string, readonly number[]>>;
  /** What 16-bit words in an `Uint16Array` are: `f16` by default. */
  dtype?: 'f16' | 'bf16';
  /** Tensors that the operation can do without, such as biases, states and gradients, by name. */
  tensors?: Readonly<Record<string, import('./tensors.js').Input | undefined>>;
  /** Where results are wanted: copied into typed arrays, or left on the device. */
  output?: 'host' | 'device';
}

type Seen = number | null;

/** Options of attention. */
export interface AttentionOptions extends CommonOptions {
  /** A query sees only keys up to its own position, counted from the ends. */
  causal?: boolean;
  /** Keys that a query sees before and after its position; `null` is unbounded. */
  window?: readonly [Seen, Seen];
  /** Cap scores softly at ± this number. */
  softcap?: number;
  /** Factor of the scores; by default one over the root of the head dimension. */
  scale?: number;
  /** Drop that share of the weights. */
  dropout?: number;
  /** The seed of the dropout. */
  seed?: number | bigint;
  /** Also give `p`, the weights of the values. */
  probabilities?: boolean;
  /** Turn neighbouring elements together, where `rotary_cos` and `rotary_sin` are given. */
  rotaryInterleaved?: boolean;
  /** WGSL that changes scores. */
  scoreMod?: string | readonly string[];
  /** WGSL that hides keys. */
  maskMod?: string | readonly string[];
  /** Names of tensors that mods read. */
  buffer?: string | readonly string[];
  /**
   * Queries and keys of a block of the tensor `block_mask`; by default the one size that divides the length evenly or is a
   * power of two.
   */
  block?: readonly [number, number];
}

/** Options of a butterfly product. */
export interface ButterflyOptions extends CommonOptions {
  /** The first block's strides grow; without, they fall. */
  increasingStride?: boolean;
  /** The transposed product. */
  transposed?: boolean;
}

/** Options of a butterfly layer. */
export interface ButterflyLinearOptions extends CommonOptions {
  /** Width of a row of `y`, which `bias` and `dy` say too; by default all outputs of the stacks. */
  outFeatures?: number;
  /** The first block's strides fall; without, they grow. */
  decreasingStride?: boolean;
}

/** Options of a block-sparse layer. */
export interface BlockSparseOptions extends CommonOptions {
  /** Columns of the weight, where the last blocks overhang it and there is no `dy` that says so. */
  out?: number;
}

/** In which order a scan takes steps, and what it gives of them. */
export interface DirectionOptions extends CommonOptions {
  /** Take steps from the last to the first. */
  reverse?: boolean;
  /** Give what comes before each step. */
  exclusive?: boolean;
}

/** Options of a linear recurrence. */
export interface LinearScanOptions extends DirectionOptions {
  /** Factors, terms and states are complex: tensors end in one more dimension of 2. */
  complex?: boolean;
}

/** Options of a running sum or maximum. */
export interface AssociativeScanOptions extends DirectionOptions {
  /** What steps are combined by: `sum` by default. */
  op?: 'sum' | 'max';
}

/** Options of linear attention and of the delta rule. */
export interface LinearAttentionOptions extends CommonOptions {
  /** Steps of a chunk; planned where not given. */
  chunk?: number;
  /** Factor of the result; by default one over the root of the key dimension. */
  scale?: number;
}

/** Options of state-space duality. */
export interface SsdOptions extends CommonOptions {
  /** Steps of a chunk; planned where not given. */
  chunk?: number;
  /** Pass `dt` through a softplus. */
  dtSoftplus?: boolean;
  /** Keep `dt`, after bias and softplus, between two limits. */
  dtLimits?: readonly [number, number];
}

/** Options of the core of a Mamba-2 block. */
export interface Mamba2Options extends SsdOptions {
  /** Columns of a head's state. It must be given. */
  stateDim?: number;
  /** Groups of heads that share B and C: 1 by default. */
  groups?: number;
}

/** Options of a short convolution. */
export interface Conv1dOptions extends CommonOptions {
  /** Pass the outputs through silu. */
  silu?: boolean;
  /** `x` is (batch, length, channels), as what a projection gives; `cu_seqlens` needs that. */
  channelsLast?: boolean;
}

/** Options of a selective scan and of the core of a Mamba block. */
export interface SelectiveScanOptions extends CommonOptions {
  /** Pass `delta` through a softplus. */
  deltaSoftplus?: boolean;
}

/** Options of a diagonal state-space model. */
export interface S4dOptions extends CommonOptions {
  /** Discretise with the bilinear transform instead of holding inputs between steps. */
  bilinear?: boolean;
}

/** The options of operations that have any of their own. */
interface Options {
  attention: AttentionOptions;
  butterfly: ButterflyOptions;
  blockSparse: BlockSparseOptions;
  butterflyLinear: ButterflyLinearOptions;
  linearScan: LinearScanOptions;
  associativeScan: AssociativeScanOptions;
  ssd: SsdOptions;
  gla: LinearAttentionOptions;
  retnet: LinearAttentionOptions;
  deltaRule: LinearAttentionOptions;
  s4d: S4dOptions;
  mamba: SelectiveScanOptions;
  mamba2: Mamba2Options;
  conv1d: Conv1dOptions;
  selectiveScan: SelectiveScanOptions;
}

const op = <const Tensors extends readonly string[], const Results extends readonly string[]>(
  tensors: Tensors,
  results: Results,
) => ({ tensors, results });

/** The tensors that every call of an operation gives, in order, and the results that it always has. */
export const OPERATIONS = {
  attention: op(['q', 'k', 'v'], ['o', 'lse']),
  merge: op(['o_a', 'lse_a', 'o_b', 'lse_b'], ['o', 'lse']),
  butterfly: op(['x', 'twiddle'], ['y']),
  monarch: op(['x', 'w1', 'w2'], ['y']),
  blockSparse: op(['x', 'w', 'mask'], ['y']),
  pixelfly: op(['x', 'w', 'mask', 'u', 'v'], ['y']),
  butterflyLinear: op(['x', 'twiddle'], ['y']),
  linearScan: op(['a', 'b'], ['h', 'last_state']),
  associativeScan: op(['x'], ['y', 'last_state']),
  longConv: op(['u', 'k'], ['y']),
  ssd: op(['x', 'dt', 'A', 'B', 'C'], ['out', 'final_states']),
  gla: op(['q', 'k', 'v', 'g'], ['o', 'final_states']),
  retnet: op(['q', 'k', 'v', 'g'], ['o', 'final_states']),
  deltaRule: op(['q', 'k', 'v', 'beta'], ['o', 'final_states']),
  s4d: op(['u', 'log_dt', 'log_A_real', 'A_imag', 'C'], ['y']),
  h3: op(['q', 'k', 'v', 'shift', 'D_k', 'log_dt', 'log_A_real', 'A_imag', 'C', 'D'], ['out']),
  hyena: op(
    ['q', 'k', 'v', 'q_weight', 'q_bias', 'k_weight', 'k_bias', 'v_weight', 'v_bias', 'h', 'D'],
    ['y'],
  ),
  mamba: op(['x', 'weight', 'delta', 'A', 'B', 'C'], ['out', 'conv_last_state', 'last_state']),
  mamba2: op(['xBC', 'weight', 'dt', 'A'], ['out', 'conv_last_state', 'final_states']),
  conv1d: op(['x', 'weight'], ['y', 'last_state']),
  selectiveScan: op(['u', 'delta', 'A', 'B', 'C'], ['out', 'last_state']),
} as const;

/** The name of an operation. */
export type Operation = keyof typeof OPERATIONS;

/** The options of an operation. */
export type OptionsOf<Name extends Operation> = Name extends keyof Options ? Options[Name] : CommonOptions;
