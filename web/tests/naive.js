// In the page: operations that no golden has, beside loops that are easy to read and beside the operations they consist of.

/** Values that look random and are the same every time. */
const values = (seed, count, scale = 1) =>
  Float32Array.from({ length: count }, (_, i) => scale * Math.sin(12.9898 * (i + 1) + 78.233 * seed));

/** Rows of that length, convolved with the taps of their channel: what comes before a row is 0. */
const causal = (rows, length, taps, width) =>
  rows.map((_, at) => {
    const [row, t] = [Math.floor(at / length), at % length];
    let sum = 0;
    for (let n = 0; n < Math.min(width, t + 1); n++) sum += taps[row * width + n] * rows[at - n];
    return sum;
  });

/** Times a number for each row, added to what there is. */
const plus = (sums, rows, length, factor) => sums.map((sum, at) => sum + factor[Math.floor(at / length)] * rows[at]);

const times = (one, other) => one.map((value, i) => value * other[i]);

/** (rows, columns) to (columns, rows). */
const transposed = (matrix, columns) =>
  matrix.map((_, i) => matrix[(i % (matrix.length / columns)) * columns + Math.floor(i / (matrix.length / columns))]);

/** Taps of a diagonal state-space model, held between steps. */
function kernels({ log_dt, log_A_real, A_imag, C }, channels, pairs, length) {
  const taps = new Float32Array(channels * length);
  for (let channel = 0; channel < channels; channel++) {
    const dt = Math.exp(log_dt[channel]);
    for (let pair = channel * pairs; pair < (channel + 1) * pairs; pair++) {
      const [re, im] = [-Math.exp(log_A_real[pair]), A_imag[pair]];
      const power = (t) => [Math.exp(re * dt * t) * Math.cos(im * dt * t), Math.exp(re * dt * t) * Math.sin(im * dt * t)];
      const multiply = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
      const [one, norm] = [power(1), re * re + im * im];
      const held = multiply([one[0] - 1, one[1]], [re / norm, -im / norm]);
      const weight = multiply([C[2 * pair], C[2 * pair + 1]], held);
      for (let t = 0; t < length; t++) taps[channel * length + t] += 2 * multiply(weight, power(t))[0];
    }
  }
  return taps;
}

const [CHANNELS, LENGTH, PAIRS] = [3, 37, 2];
const ROWS = [1, CHANNELS, LENGTH];
const rows = (seed) => ({ data: values(seed, CHANNELS * LENGTH), shape: ROWS });
const per = (seed, ...more) => {
  const shape = [CHANNELS, ...more];
  return { data: values(seed, shape.reduce((a, b) => a * b), 0.5), shape };
};
const model = () => ({ log_dt: per(1), log_A_real: per(2, PAIRS), A_imag: per(3, PAIRS), C: per(4, PAIRS, 2) });
const data = (tensors) => Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, tensor.data]));

/** Linear attention whose states decay: by a gate a step, or by a constant. */
async function decaying(tw, name) {
  const [length, width, scale, constant] = [37, 4, 0.5, name === 'retnet'];
  const shape = [1, length, 1, width];
  const [q, k, v] = [1, 2, 3].map((seed) => values(seed, length * width));
  const g = values(4, constant ? 1 : length, 0.5).map((value) => -Math.abs(value));
  const { o } = await tw[name](q, k, v, { data: g, shape: constant ? [1] : [1, length, 1] }, { shape, scale });
  const [state, expected] = [new Float64Array(width * width), new Float32Array(length * width)];
  for (let t = 0; t < length; t++) {
    for (let at = 0; at < state.length; at++) {
      const [row, i] = [Math.floor(at / width), at % width];
      state[at] = Math.exp(g[constant ? 0 : t]) * state[at] + v[t * width + row] * k[t * width + i];
      expected[t * width + row] += scale * state[at] * q[t * width + i];
    }
  }
  return { o: [o, expected] };
}

/** Each gives what the operation found and what it should have found, by name. */
export const CASES = {
  async associativeScan(tw) {
    const x = rows(5);
    const { y } = await tw.associativeScan(x, { op: 'max', reverse: true });
    const largest = (_, at) => Math.max(...x.data.slice(at, (Math.floor(at / LENGTH) + 1) * LENGTH));
    return { y: [y, x.data.map(largest)] };
  },

  async butterflyLinear(tw) {
    const [x, bias] = [{ data: values(1, 12), shape: [3, 4] }, { data: values(2, 4), shape: [4] }];
    const twiddle = { data: values(3, 16), shape: [1, 1, 2, 2, 2, 2] };
    const { y } = await tw.butterflyLinear(x, twiddle, { tensors: { bias } });
    const product = await tw.butterfly({ ...x, shape: [3, 1, 4] }, twiddle, { increasingStride: true });
    return { y: [y, product.y.map((value, i) => value + bias.data[i % 4])] };
  },

  async deltaRule(tw) {
    const [length, width, scale] = [37, 4, 0.5];
    const shape = [1, length, 1, width];
    const [q, k, v] = [1, 2, 3].map((seed) => values(seed, length * width, 0.7));
    const beta = values(4, length, 0.4).map(Math.abs);
    const { o } = await tw.deltaRule(q, k, v, { data: beta, shape: [1, length, 1] }, { shape, scale });
    const [state, expected] = [new Float64Array(width * width), new Float32Array(length * width)];
    for (let t = 0; t < length; t++) {
      const at = (list, i) => list[t * width + i];
      for (let row = 0; row < width; row++) {
        let known = 0;
        for (let i = 0; i < width; i++) known += state[row * width + i] * at(k, i);
        for (let i = 0; i < width; i++) state[row * width + i] += beta[t] * (at(v, row) - known) * at(k, i);
        for (let i = 0; i < width; i++) expected[t * width + row] += scale * state[row * width + i] * at(q, i);
      }
    }
    return { o: [o, expected] };
  },

  gla: (tw) => decaying(tw, 'gla'),
  retnet: (tw) => decaying(tw, 'retnet'),

  async merge(tw) {
    const [shape, half] = [[1, 6, 2, 8], [1, 3, 2, 8]];
    const [q, k, v] = [1, 2, 3].map((seed) => values(seed, 96));
    const whole = await tw.attention(q, k, v, { shape });
    const part = (from) => tw.attention({ data: q, shape }, k.slice(from, from + 48), v.slice(from, from + 48), { shape: half });
    const [a, b] = [await part(0), await part(48)];
    const [o, lse] = [{ shape: a.shapes.o }, { shape: a.shapes.lse }];
    const merged = await tw.merge({ ...o, data: a.o }, { ...lse, data: a.lse }, { ...o, data: b.o }, { ...lse, data: b.lse });
    return { o: [merged.o, whole.o], lse: [merged.lse, whole.lse] };
  },

  async pixelfly(tw) {
    const [batch, side, rank] = [3, 8, 2];
    const [inputs, outputs] = [2 * side, side];
    const x = { data: values(1, batch * inputs), shape: [batch, inputs] };
    // Of the two blocks of W only the second is there.
    const w = { data: values(2, side * side), shape: [1, side, side] };
    const mask = { data: new Float32Array([0, 1]), shape: [1, 2] };
    const [u, v] = [{ data: values(3, inputs * rank), shape: [inputs, rank] }, { data: values(4, rank * outputs), shape: [rank, outputs] }];
    const { y } = await tw.pixelfly(x, w, mask, u, v);
    const expected = new Float32Array(batch * outputs);
    for (let at = 0; at < expected.length; at++) {
      const [row, column] = [Math.floor(at / outputs) * inputs, at % outputs];
      for (let i = 0; i < side; i++) expected[at] += 0.5 * x.data[row + side + i] * w.data[column * side + i];
      for (let i = 0; i < inputs * rank; i++) {
        expected[at] += 0.5 * x.data[row + Math.floor(i / rank)] * u.data[i] * v.data[(i % rank) * outputs + column];
      }
    }
    return { y: [y, expected] };
  },

  async s4d(tw) {
    const [u, parameters] = [rows(6), model()];
    const dy = { data: new Float32Array(CHANNELS * LENGTH).fill(1), shape: ROWS };
    const found = await tw.s4d(u, ...Object.values(parameters), { tensors: { dy } });
    const convolved = (given) => causal(u.data, LENGTH, kernels(given, CHANNELS, PAIRS, LENGTH), LENGTH);
    // The gradient of the sum of all outputs, by differences.
    const sum = (shift) => {
      const moved = convolved({ ...data(parameters), log_dt: parameters.log_dt.data.map((value) => value + shift) });
      return Array.from({ length: CHANNELS }, (_, row) =>
        moved.slice(row * LENGTH, (row + 1) * LENGTH).reduce((a, b) => a + b, 0),
      );
    };
    const [more, less] = [sum(0.01), sum(-0.01)];
    return {
      y: [found.y, convolved(data(parameters))],
      dlog_dt: [found.dlog_dt, more.map((value, i) => (value - less[i]) / 0.02), 2e-3],
    };
  },

  async h3(tw) {
    const [q, k, v] = [7, 8, 9].map(rows);
    const [parameters, shift, ofK, skip] = [model(), per(10, 5), per(11), per(12)];
    const { out } = await tw.h3(q, k, v, shift, ofK, ...Object.values(parameters), skip);
    const shifted = plus(causal(k.data, LENGTH, shift.data, 5), k.data, LENGTH, ofK.data);
    const s = times(v.data, shifted);
    const kernel = kernels(data(parameters), CHANNELS, PAIRS, LENGTH);
    return { out: [out, times(q.data, plus(causal(s, LENGTH, kernel, LENGTH), s, LENGTH, skip.data))] };
  },

  async hyena(tw) {
    const [projections, filter, skip] = [[1, 2, 3].map((seed) => [rows(seed), per(seed + 3, 3), per(seed + 6)]), per(10, 9), per(11)];
    const parameters = projections.flatMap(([, weight, bias]) => [weight, bias]);
    const { y } = await tw.hyena(...projections.map(([x]) => x), ...parameters, filter, skip);
    const [q, k, v] = projections.map(([x, { data: weight }, bias]) => {
      // The last tap meets the newest sample.
      const taps = weight.map((_, i) => weight[i - (i % 3) + 2 - (i % 3)]);
      return causal(x.data, LENGTH, taps, 3).map((sum, at) => sum + bias.data[Math.floor(at / LENGTH)]);
    });
    const product = times(k, v);
    return { y: [y, times(q, plus(causal(product, LENGTH, filter.data, 9), product, LENGTH, skip.data))] };
  },

  async mamba(tw) {
    const [states, tensors] = [4, { z: rows(20), bias: per(21), D: per(22) }];
    const [x, delta] = [rows(23), { data: rows(24).data.map(Math.abs), shape: ROWS }];
    const weight = per(25, 4);
    const a = { data: per(26, states).data.map((value) => -Math.exp(value)), shape: [CHANNELS, states] };
    const [b, c] = [27, 28].map((seed) => ({ data: values(seed, states * LENGTH), shape: [1, states, LENGTH] }));
    const { out } = await tw.mamba(x, weight, delta, a, b, c, { tensors });
    const { z, bias, D } = tensors;
    const conv = await tw.conv1d(x, weight, { silu: true, tensors: { bias } });
    const scan = await tw.selectiveScan({ data: conv.y, shape: ROWS }, delta, a, b, c, { tensors: { z, D } });
    return { out: [out, scan.out] };
  },

  async mamba2(tw) {
    const [length, heads, width, stateDim] = [21, 2, 4, 3];
    const channels = heads * width + 2 * stateDim;
    const xBC = { data: values(30, length * channels), shape: [1, length, channels] };
    const weight = { data: values(31, channels * 4, 0.5), shape: [channels, 4] };
    const dt = { data: values(32, length * heads).map(Math.abs), shape: [1, length, heads] };
    const a = { data: new Float32Array([-0.3, -0.8]), shape: [heads] };
    const { out } = await tw.mamba2(xBC, weight, dt, a, { stateDim });
    const conv = await tw.conv1d({ data: transposed(xBC.data, channels), shape: [1, channels, length] }, weight, { silu: true });
    const steps = transposed(conv.y, length);
    const part = (first, count, shape) => ({
      data: Float32Array.from({ length: length * count }, (_, i) => steps[Math.floor(i / count) * channels + first + (i % count)]),
      shape: [1, length, ...shape],
    });
    const x = part(0, heads * width, [heads, width]);
    const [b, c] = [0, stateDim].map((more) => part(heads * width + more, stateDim, [1, stateDim]));
    const duality = await tw.ssd(x, dt, a, b, c);
    return { out: [out, duality.out] };
  },
};
