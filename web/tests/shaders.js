// In the page: what the browser's shader compiler says against each shader.

/** Compiles `[label, source]` pairs; the messages of those that are refused. */
export async function compile(shaders) {
  const adapter = await navigator.gpu.requestAdapter();
  const requiredFeatures = ['shader-f16'].filter((feature) => adapter.features.has(feature));
  const device = await adapter.requestDevice({ requiredFeatures });
  const tried = shaders.filter(([, source]) => requiredFeatures.length || !/^enable f16;/m.test(source));
  const refused = [];
  for (const [label, code] of tried) {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ label, code });
    const [error, { messages }] = await Promise.all([device.popErrorScope(), module.getCompilationInfo()]);
    const first = messages.find(({ type }) => type === 'error');
    if (error || first) refused.push({ label, message: first?.message ?? error.message, line: code.split('\n')[first?.lineNum - 1] });
  }
  device.destroy();
  return { tried: tried.length, refused };
}
