// The package in real browsers: the goldens, buffers of the page, errors, a thousand calls.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { open } from './harness.mjs';

const BROWSERS = ['chromium', 'firefox'];

for (const name of BROWSERS) {
  describe(`the module in ${name}`, () => {
    let session;
    let page;
    before(async () => {
      session = await open(name);
      page = await session.page('/blank');
      await page.evaluate(async () => {
        const [module, goldens, shaders] = await Promise.all([
          import('/package/tilewise.js'),
          import('/tests/goldens.js'),
          import('/tests/shaders.js'),
        ]);
        const buffer = await (await fetch('/fixtures/goldens.safetensors')).arrayBuffer();
        const tw = await module.Tilewise.create();
        Object.assign(globalThis, { ...module, ...goldens, ...shaders, tw, file: goldens.safetensors(buffer) });
      });
    });
    after(() => session?.close());

    test('has an adapter in software, with f16 on lavapipe alone', async () => {
      const { adapter, caps } = await page.evaluate(() => tw.describe());
      assert.equal(adapter.backend, 'webgpu');
      assert.equal(caps.f16, name === 'firefox');
    });

    test('has every operation of the library', async () => {
      const [named, methods] = await page.evaluate(async () => {
        const { operations } = await import('/package/wasm/tilewise_web.js');
        const camel = (name) => name.replace(/-(.)/g, (_, letter) => letter.toUpperCase());
        return [operations().map(camel), Object.keys(OPERATIONS).filter((name) => typeof tw[name] === 'function')];
      });
      assert.deepEqual(methods.sort(), named.sort());
    });

    test('computes the goldens', { timeout: 600_000 }, async () => {
      // On the slower adapter one case of each operation.
      const thin = name === 'chromium';
      const found = await page.evaluate((thin) => run(tw, OPERATIONS, thin ? firstOfEach(file) : file), thin);
      const bad = found.filter(({ error }) => !(error < 1e-4));
      assert.deepEqual(bad, []);
      assert.ok(found.length > (thin ? 25 : 100), `${found.length} results compared`);
    });

    test('computes what no golden has as loops and the parts do', { timeout: 600_000 }, async () => {
      const [cases, worst] = await page.evaluate(async () => {
        const { CASES } = await import('/tests/naive.js');
        const found = [];
        for (const [name, compute] of Object.entries(CASES)) {
          for (const [tensor, [ours, reference, allowed = 1e-5]] of Object.entries(await compute(tw))) {
            found.push({ name, tensor, share: error(ours, reference) / allowed });
          }
        }
        return [Object.keys(CASES), found];
      });
      assert.deepEqual(worst.filter(({ share }) => !(share < 1)), []);
      const golden = await page.evaluate(() => operationsOf(file));
      const all = await page.evaluate(() => Object.keys(OPERATIONS));
      assert.deepEqual([...new Set([...golden, ...cases])].sort(), all.sort(), 'every operation is computed');
    });

    test('compiles every shader that a page can lead to', { timeout: 600_000 }, async (t) => {
      if (name === 'firefox') return t.skip('its compiler is naga, which the Rust tests give every shader');
      if (!session.shaders) return t.skip('no list of shaders: TILEWISE_WRITE_SHADERS names none');
      const { tried, refused } = await page.evaluate(async () => compile(await (await fetch('/shaders.json')).json()));
      assert.deepEqual(refused, []);
      assert.ok(tried > 500, `${tried} shaders compiled`);
    });

    test('takes halves in 16-bit words, with and without shader-f16', async () => {
      const [f16, bf16] = await page.evaluate(async () => {
        const { q, k, v } = Object.fromEntries(['q', 'k', 'v'].map((t) => [t, file.tensors[`attention-plain/${t}`]]));
        const expected = file.tensors['attention-plain/out.o'].data;
        const words = new Uint32Array(1);
        const single = new Float32Array(words.buffer);
        const toBf16 = (value) => ((single[0] = value), (words[0] + 0x7fff + ((words[0] >> 16) & 1)) >> 16);
        const fromBf16 = (word) => ((words[0] = word << 16), single[0]);
        // Normal numbers and zeros are all that is needed here.
        const toF16 = (value) => {
          single[0] = value;
          const exponent = ((words[0] >> 23) & 255) - 112;
          if (exponent <= 0) return (words[0] >> 16) & 0x8000;
          return ((words[0] >> 16) & 0x8000) + (((exponent << 10) + ((words[0] >> 13) & 1023)) + ((words[0] >> 12) & 1));
        };
        const fromF16 = (word) => ((words[0] = ((word & 0x8000) << 16) | (word & 0x7fff ? ((word & 0x7fff) << 13) + (112 << 23) : 0)), single[0]);
        const errors = [];
        for (const [dtype, to, from] of [['f16', toF16, fromF16], ['bf16', toBf16, fromBf16]]) {
          const half = ({ data, shape }) => ({ data: Uint16Array.from(data, to), shape, dtype });
          const { o } = await tw.attention(half(q), half(k), half(v));
          const values = o instanceof Uint16Array ? Array.from(o, from) : [...o];
          errors.push(Math.max(...values.map((value, i) => Math.abs(value - expected[i]))));
        }
        return errors;
      });
      assert.ok(f16 > 0 && f16 < 5e-3, `f16 ${f16}`);
      assert.ok(bf16 > 0 && bf16 < 5e-2, `bf16 ${bf16}`);
    });

    test("works on buffers of the page's own device, and leaves results there", async () => {
      const found = await page.evaluate(async () => {
        const adapter = await navigator.gpu.requestAdapter();
        const device = await adapter.requestDevice();
        let errors = 0;
        device.addEventListener('uncapturederror', () => errors++);
        const own = await Tilewise.create({ device });
        const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
        const onDevice = (values, shape) => {
          const data = device.createBuffer({ size: Math.ceil(values.byteLength / 16) * 16, usage });
          device.queue.writeBuffer(data, 0, values);
          return { data, shape, dtype: 'f32' };
        };
        const shape = [1, 3, 5];
        const [a, b] = [0.5, 1].map((value) => new Float32Array(15).fill(value));
        const once = await own.linearScan(onDevice(a, shape), onDevice(b, shape), { output: 'device' });
        // What is on the device goes into the next call as it is.
        const twice = await own.linearScan(onDevice(a, shape), once.h, { output: 'device' });
        const [h, again] = [await once.h.read(), await twice.h.read()];
        const host = await own.linearScan(a, h, { shape });
        const kept = device.limits.maxStorageBuffersPerShaderStage === own.describe().caps.storage_buffers;
        for (const tensor of [once.h, once.last_state, twice.h, twice.last_state]) tensor.free();
        own.free();
        const refused = await own.linearScan(a, b, { shape }).catch((error) => error.message);
        // The page's device outlives what used it.
        device.queue.submit([]);
        await device.queue.onSubmittedWorkDone();
        return { h: [...h.slice(0, 5)], again: [...again], host: [...host.h], kept, errors, refused };
      });
      assert.deepEqual(found.h, [1, 1.5, 1.75, 1.875, 1.9375]);
      assert.deepEqual(found.again, found.host);
      assert.ok(found.kept);
      assert.equal(found.errors, 0);
      assert.equal(found.refused, 'this Tilewise was freed');
    });

    test('frees what is used no longer', async () => {
      // As a text, since Node.js 20 does not know `using`.
      const [during, after, message] = await page.evaluate(`(async () => {
        const [x, options] = [new Float32Array(15), { shape: [1, 3, 5], output: 'device' }];
        const destroyed = [];
        const { destroy } = GPUBuffer.prototype;
        let [outside, kept, during] = [];
        {
          using own = await Tilewise.create();
          const results = await own.linearScan(x, x, options);
          using h = results.h;
          using last = results.last_state;
          GPUBuffer.prototype.destroy = function () { destroyed.push(this); return destroy.call(this); };
          [outside, kept, during] = [own, [h.data, last.data], destroyed.length];
        }
        Object.assign(GPUBuffer.prototype, { destroy });
        const message = await outside.linearScan(x, x, options).catch((error) => error.message);
        return [during, kept.every((buffer) => destroyed.includes(buffer)), message];
      })()`);
      assert.equal(during, 0);
      assert.ok(after, 'tensors on the device are freed at the end of their block');
      assert.equal(message, 'this Tilewise was freed');
    });

    test("rejects with the library's messages", async () => {
      const messages = await page.evaluate(async () => {
        const q = new Float32Array(64);
        const shape = [1, 4, 2, 8];
        const refused = (call) => call.then(() => 'no error', (error) => error.message);
        return {
          shape: await refused(tw.attention(q, q, { data: q, shape: [1, 4, 2, 4] }, { shape })),
          count: await refused(tw.attention(q, q, q, { shape: [1, 4, 2, 9] })),
          none: await refused(tw.attention(q, q, q)),
          option: await refused(tw.attention(q, q, q, { shape, causl: true })),
          value: await refused(tw.attention(q, q, q, { shape, softcap: -1 })),
          extra: await refused(tw.attention(q, q, q, { shape, tensors: { x: { data: q, shape } } })),
          mod: await refused(tw.attention(q, q, q, { shape, scoreMod: 'fn score_mod(' })),
          type: await refused(tw.attention({ data: new Uint8Array(64), shape }, q, q, { shape })),
          after: (await tw.attention(q, q, q, { shape })).o.length,
        };
      });
      assert.match(messages.shape, /v has shape|\bv\b.*\[1, 4, 2, 4\]|elements do not fill/);
      assert.match(messages.count, /64 elements, but options.shape \[1, 4, 2, 9\] has 72/);
      assert.match(messages.none, /needs a shape/);
      assert.match(messages.option, /attention has no option causl/);
      assert.match(messages.value, /softcap is -1, expected/);
      assert.match(messages.extra, /ignored, as the operation does not read them: x/);
      assert.match(messages.mod, /score_mod|scoreMod/);
      assert.match(messages.type, /Uint8Array/);
      assert.equal(messages.after, 64);
    });

    test('refuses in words whatever it is given, and goes on', { timeout: 600_000 }, async (t) => {
      // Each call may compile other kernels, which the slower adapter takes long for.
      const rounds = name === 'chromium' ? 6 : 25;
      const messages = await page.evaluate(async (rounds) => {
        const { wrong } = await import('/tests/fuzz.js');
        const found = [];
        for (const right of callsOf(firstOfEach(file))) found.push(...(await wrong(tw, OPERATIONS, right, rounds)));
        return found;
      }, rounds);
      const refused = messages.filter(Boolean);
      t.diagnostic(`${refused.length} calls of ${messages.length} were refused`);
      assert.ok(refused.length > messages.length / 3 && refused.length < messages.length, `${refused.length} of ${messages.length}`);
      assert.deepEqual(refused.filter((message) => /stopped inside|unreachable|a bug of tilewise|no words|GPU refused/.test(message)), []);
      const after = await page.evaluate(() => run(tw, OPERATIONS, firstOfEach(file)));
      assert.deepEqual(after.filter(({ error }) => !(error < 1e-4)), []);
    });

    test('says so when the WebAssembly stops, and keeps nobody waiting', async () => {
      const own = await session.page('/blank', { tolerant: true });
      const messages = await own.evaluate(async () => {
        const { Tilewise } = await import('/package/tilewise.js');
        const tw = await Tilewise.create();
        const memory = Object.values(await (await import('/package/wasm/tilewise_web.js')).default()).find((shared) => shared instanceof WebAssembly.Memory);
        const q = new Float32Array(64);
        const call = () => tw.attention(q, q, q, { shape: [1, 4, 2, 8] }).then(() => 'no error', (error) => error.message);
        const waits = call();
        // No call of a page can do that; a bug of ours could.
        new Uint8Array(memory.buffer).fill(255);
        const messages = [await waits, await call(), await Tilewise.create().then(() => 'no error', (error) => error.message)];
        tw.free();
        return messages;
      });
      for (const message of messages) assert.match(message, /^tilewise stopped inside \(.+\): a bug of it, please report it; reload the page/);
      await own.reload();
      const length = await own.evaluate(async () => {
        const tw = await (await import('/package/tilewise.js')).Tilewise.create();
        const q = new Float32Array(64);
        return (await tw.attention(q, q, q, { shape: [1, 4, 2, 8] })).o.length;
      });
      assert.equal(length, 64);
      await own.close();
    });

    test('gives the mods of the page to attention', async () => {
      const [modded, builtIn] = await page.evaluate(async () => {
        const { q, k, v } = Object.fromEntries(['q', 'k', 'v'].map((t) => [t, file.tensors[`attention-plain/${t}`]]));
        const offset = k.shape[1] - q.shape[1];
        const maskMod = `fn mask_mod(b: u32, h: u32, i: u32, j: u32) -> bool { return i32(j) <= i32(i) + ${offset}; }`;
        const [one, other] = [await tw.attention(q, k, v, { maskMod }), await tw.attention(q, k, v, { causal: true })];
        return [[...one.o], [...other.o]];
      });
      const worst = Math.max(...modded.map((value, i) => Math.abs(value - builtIn[i])));
      assert.ok(modded.length > 0 && worst < 1e-5, `differs by ${worst}`);
    });

    test('compiles once what calls at the same time have in common', async () => {
      const [begun, kernels] = await page.evaluate(async () => {
        const own = await Tilewise.create();
        let begun = 0;
        const { createComputePipelineAsync } = GPUDevice.prototype;
        GPUDevice.prototype.createComputePipelineAsync = function (descriptor) {
          begun++;
          return createComputePipelineAsync.call(this, descriptor);
        };
        const x = new Float32Array(15);
        const scan = () => own.linearScan(x, x, { shape: [1, 3, 5] });
        await Promise.all([scan(), scan(), own.associativeScan(x, { shape: [1, 3, 5] }), scan(), scan()]);
        await scan();
        Object.assign(GPUDevice.prototype, { createComputePipelineAsync });
        const { kernels } = own;
        own.free();
        return [begun, kernels];
      });
      assert.ok(kernels >= 2, `${kernels} kernels`);
      assert.equal(begun, kernels);
    });

    test('makes 1,000 calls without growing', { timeout: 600_000 }, async (t) => {
      const [warmUp, calls] = [5, 1000];
      const found = await page.evaluate(async ([warmUp, calls]) => {
        const init = (await import('/package/wasm/tilewise_web.js')).default;
        const memory = Object.values(await init()).find((shared) => shared instanceof WebAssembly.Memory);
        const [q, shape] = [new Float32Array(512).map((_, i) => Math.sin(i)), [1, 8, 2, 32]];
        let created = 0;
        let destroyed = 0;
        const { createBuffer } = GPUDevice.prototype;
        const { destroy } = GPUBuffer.prototype;
        const large = new WeakSet();
        const call = () => tw.attention(q, q, q, { shape, causal: true });
        for (let i = 0; i < warmUp; i++) await Promise.all(Array.from({ length: 20 }, call));
        GPUDevice.prototype.createBuffer = function (descriptor) {
          const buffer = createBuffer.call(this, descriptor);
          if (descriptor.size >= 1024) large.add(buffer), created++;
          return buffer;
        };
        GPUBuffer.prototype.destroy = function () {
          if (large.delete(this)) destroyed++;
          return destroy.call(this);
        };
        const state = () => ({ device: tw.memory, kernels: tw.kernels, wasm: memory.buffer.byteLength });
        const [begin, before] = [state(), performance.now()];
        for (let i = 0; i < calls / 20; i++) await Promise.all(Array.from({ length: 20 }, call));
        const seconds = (performance.now() - before) / 1e3;
        Object.assign(GPUDevice.prototype, { createBuffer });
        Object.assign(GPUBuffer.prototype, { destroy });
        return { begin, end: state(), created, destroyed, seconds };
      }, [warmUp, calls]);
      t.diagnostic(`${calls} calls in ${found.seconds.toFixed(1)} s`);
      assert.deepEqual(found.end, found.begin);
      assert.ok(found.created >= 4 * calls, `${found.created} tensors were made`);
      assert.equal(found.destroyed, found.created);
    });

    test('says that a device was lost, and opens another', async () => {
      const found = await page.evaluate(async () => {
        const lost = await Tilewise.create();
        const q = new Float32Array(64);
        const call = (tilewise) => tilewise.attention(q, q, q, { shape: [1, 4, 2, 8] });
        await call(lost);
        lost.device.destroy();
        const reason = await lost.lost;
        const message = await call(lost).then(() => 'no error', (error) => error.message);
        const other = await Tilewise.create();
        const { o } = await call(other);
        other.free();
        return { reason, message, count: o.length };
      });
      assert.ok(found.reason.length > 0);
      assert.match(found.message, /^the GPU device was lost/);
      assert.equal(found.count, 64);
    });
  });
}

test('the package has types and no path of this machine', () => {
  const types = readFileSync(new URL('../dist/tilewise.d.ts', import.meta.url), 'utf8');
  assert.match(types, /static create\(options\?: CreateOptions\): Promise<Tilewise>/);
  const { exports: paths } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  for (const path of Object.values(paths['.'])) readFileSync(new URL(`../${path}`, import.meta.url));
});
