// In the page: calls that nobody should make. Each must be refused in words, or computed; none may stop the WebAssembly.

import { call } from './goldens.js';

/** The same numbers at every run (mulberry32). */
function random(seed) {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const SIZES = [0, 1, 2, 3, 5, 17, -1, 1.5, NaN, 2 ** 16, 2 ** 31, 2 ** 32 + 1];

const VALUES = [NaN, -1, 0, 1e400, 2 ** 53, '', 'x', '-', [], [1, 2, 3], [0], true, {}, '1,', 'fn score_mod() {}'];

const OPTIONS = ['causal', 'window', 'softcap', 'scale', 'dropout', 'seed', 'scoreMod', 'maskMod', 'buffer', 'block', 'out',
  'outFeatures', 'increasingStride', 'reverse', 'exclusive', 'complex', 'op', 'chunk', 'dtLimits', 'stateDim', 'groups', 'silu',
  'bilinear', 'deltaSoftplus', 'none'];

/** Elements as they are given, repeated or cut to fill a shape. */
function filled(data, shape) {
  const count = shape.reduce((product, size) => product * size, 1);
  if (!(Number.isInteger(count) && count >= 0 && count <= 1 << 16)) return data;
  return data.constructor.from({ length: count }, (_, i) => data[i % data.length] ?? 0);
}

/** What is changed about a call: its tensors, `{ data, shape }` by name, and its options. */
const CHANGES = [
  // A size of all tensors that have it.
  (call, pick) => {
    const sizes = [...new Set(Object.values(call.tensors).flatMap(({ shape }) => shape))];
    const [old, size] = [sizes[pick(sizes.length)], SIZES[pick(6)]];
    for (const tensor of Object.values(call.tensors)) {
      tensor.shape = tensor.shape.map((one) => (one === old ? size : one));
      tensor.data = filled(tensor.data, tensor.shape);
    }
  },
  // A size of one.
  (call, pick) => {
    const tensor = one(call, pick);
    tensor.shape = tensor.shape.with(pick(tensor.shape.length), SIZES[pick(SIZES.length)]);
    if (pick(2)) tensor.data = filled(tensor.data, tensor.shape);
  },
  (call, pick) => { const tensor = one(call, pick); tensor.shape = pick(2) ? tensor.shape.slice(1) : [...tensor.shape, 1]; },
  (call, pick) => { const tensor = one(call, pick); tensor.data = tensor.data.subarray(pick(2) ? 1 : tensor.data.length); },
  (call, pick) => { const tensor = one(call, pick); tensor.data = [Int32Array, Uint32Array, Int8Array, Uint16Array][pick(4)].from(tensor.data); },
  (call, pick) => { const names = Object.keys(call.tensors); delete call.tensors[names[pick(names.length)]]; },
  (call, pick) => { one(call, pick).data.fill([NaN, Infinity, -1e30, 0][pick(4)]); },
  (call, pick) => { call.options[OPTIONS[pick(OPTIONS.length)]] = VALUES[pick(VALUES.length)]; },
];

const one = ({ tensors }, pick) => Object.values(tensors)[pick(Object.keys(tensors).length)];

/** Makes wrong calls of a right one; what came of each. */
export async function wrong(tw, OPERATIONS, right, rounds) {
  const pick = random([...right.name].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0), 7));
  const found = [];
  for (let round = 0; round < rounds; round++) {
    const tensors = Object.entries(right.tensors).map(([name, { data, shape }]) => [name, { data: data.slice(), shape: [...shape] }]);
    const changed = { ...right, tensors: Object.fromEntries(tensors), options: { ...right.options } };
    for (let change = pick(3); change >= 0 && Object.keys(changed.tensors).length; change--) CHANGES[pick(CHANGES.length)](changed, pick);
    found.push(await call(tw, OPERATIONS, changed).then(() => '', (error) => error.message || 'no words'));
  }
  return found;
}
