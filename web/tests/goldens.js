// In the page: cases computed by others in double precision, through the module.

/** The tensors of a safetensors file, and its metadata. */
export function safetensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__: metadata, ...header } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const types = { F32: Float32Array, I32: Int32Array, U32: Uint32Array, I8: Int8Array };
  const tensor = ([name, { dtype, shape, data_offsets: [begin, end] }]) => {
    const type = types[dtype];
    if (!type && dtype !== 'I64') throw new Error(`${name} holds ${dtype}`);
    const bytes = buffer.slice(8 + length + begin, 8 + length + end);
    return [name, { shape, data: type ? new type(bytes) : Int32Array.from(new BigInt64Array(bytes), Number) }];
  };
  return { metadata, tensors: Object.fromEntries(Object.entries(header).map(tensor)) };
}

/** The command line's words as the module takes them. */
function options(words) {
  const found = {};
  for (let i = 0; i < words.length; i++) {
    const value = words[i + 1];
    if (value === undefined || value.startsWith('--')) found[camel(words[i].slice(2))] = true;
    else {
      const numbers = value.split(',').map(Number);
      found[camel(words[i].slice(2))] = numbers.length > 1 ? numbers : numbers[0];
      i++;
    }
  }
  return found;
}

const camel = (command) => command.replace(/-(.)/g, (_, letter) => letter.toUpperCase());

/** The operations of all cases. */
export const operationsOf = ({ metadata }) => Object.values(metadata).map((line) => camel(line.trim().split(/\s+/)[0]));

/** The first case of each operation. */
export function firstOfEach({ metadata, tensors }) {
  const first = new Map(Object.entries(metadata).toReversed().map(([name, line]) => [camel(line.trim().split(/\s+/)[0]), name]));
  return { tensors, metadata: Object.fromEntries([...first.values()].map((name) => [name, metadata[name]])) };
}

/** The largest difference as a share of the largest value; NaN where an infinity is out of place. */
export function error(ours, reference) {
  if (ours.length !== reference.length) return NaN;
  let [difference, largest] = [0, 0];
  for (let i = 0; i < reference.length; i++) {
    if (Object.is(ours[i], reference[i])) continue;
    const one = Math.abs(ours[i] - reference[i]);
    if (!Number.isFinite(one)) return NaN;
    difference = Math.max(difference, one);
  }
  for (const value of reference) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  return difference / largest;
}

/** The cases as calls: an operation, its tensors by name, its options, and the results that are expected. */
export function callsOf({ metadata, tensors }) {
  return Object.entries(metadata).map(([name, line]) => {
    const [command, ...words] = line.split(/\s+/).filter(Boolean);
    const own = Object.entries(tensors).filter(([tensor]) => tensor.startsWith(`${name}/`));
    const given = own.map(([tensor, value]) => [tensor.slice(name.length + 1), value]);
    const [results, inputs] = [true, false].map((out) => given.filter(([tensor]) => tensor.startsWith('out.') === out));
    const expected = results.map(([tensor, value]) => [tensor.slice('out.'.length), value]);
    return { name, operation: camel(command), tensors: Object.fromEntries(inputs), options: options(words), expected };
  });
}

/** Calls an operation with tensors by name. */
export function call(tw, OPERATIONS, { operation, tensors, options }) {
  const order = OPERATIONS[operation].tensors;
  const more = Object.entries(tensors).filter(([tensor]) => !order.includes(tensor));
  return tw[operation](...order.map((tensor) => tensors[tensor]), { ...options, tensors: Object.fromEntries(more) });
}

/** Runs every case; the error of each of its results. */
export async function run(tw, OPERATIONS, file) {
  const found = [];
  for (const one of callsOf(file)) {
    const results = await call(tw, OPERATIONS, one).catch((refused) => refused);
    if (results instanceof Error) {
      found.push({ case: one.name, refused: results.message });
      continue;
    }
    for (const [tensor, { shape, data }] of one.expected) {
      const same = JSON.stringify(results.shapes[tensor]) === JSON.stringify(shape);
      found.push({ case: one.name, tensor, error: same ? error(results[tensor], data) : NaN });
    }
  }
  return found;
}
