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
  /** Queries and keys of a block of the tensor `block_mask`. */
  block?: readonly [number, number];
}

/** Options of an operation that are not described here: as for the command line, in camel case. */
export interface OtherOptions extends CommonOptions {
  [option: string]: unknown;
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
  linearScan: op(['a', 'b'], ['h', 'last_state']),
  longConv: op(['u', 'k'], ['y']),
  ssd: op(['x', 'dt', 'A', 'B', 'C'], ['out', 'final_states']),
  gla: op(['q', 'k', 'v', 'g'], ['o', 'final_states']),
  retnet: op(['q', 'k', 'v', 'g'], ['o', 'final_states']),
  conv1d: op(['x', 'weight'], ['y', 'last_state']),
  selectiveScan: op(['u', 'delta', 'A', 'B', 'C'], ['out', 'last_state']),
} as const;

/** The name of an operation. */
export type Operation = keyof typeof OPERATIONS;

/** The options of an operation. */
export type OptionsOf<Name extends Operation> = Name extends 'attention' ? AttentionOptions : OtherOptions;
