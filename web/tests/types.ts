// Compiled, never run: the package's types as a page's author meets them.

import { Tilewise, type DeviceTensor, type Elements } from '../js/tilewise.js';

export async function typed(device: GPUDevice, buffer: GPUBuffer): Promise<void> {
  using tilewise = await Tilewise.create({ device });
  const [q, shape] = [new Float32Array(64), [1, 4, 2, 8]];

  const { o, lse, shapes, plans } = await tilewise.attention(q, q, q, { shape, causal: true, window: [4, null] });
  const host: [Elements, Elements, readonly number[] | undefined, string[]] = [o, lse, shapes.o, plans];

  const onDevice = { data: buffer, shape: [1, 3, 5], dtype: 'f32' } as const;
  const { h } = await tilewise.linearScan(onDevice, onDevice, { reverse: true, output: 'device' });
  using kept: DeviceTensor = h;
  await tilewise.linearScan(kept, { data: q, shape: [1, 3, 5] }, { tensors: { h0: q }, shape: { h0: [1, 3] } });

  // @ts-expect-error a tensor is missing
  await tilewise.attention(q, q, { shape });
  // @ts-expect-error no such option
  await tilewise.attention(q, q, q, { shape, causl: true });
  // @ts-expect-error a buffer says no type
  await tilewise.attention({ data: buffer, shape }, q, q, { shape });
  // @ts-expect-error no such operation
  await tilewise.atention(q, q, q, { shape });
  // @ts-expect-error results on the device are read first
  const early: Elements = h;
  void [host, early];
}
