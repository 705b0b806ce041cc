// The device, and options as the WebAssembly takes them.

/** Which device. */
export interface OpenOptions {
  /** A device of the page, whose limits and features decide the plans. By default one with all that the adapter has. */
  device?: GPUDevice;
  /** Which adapter to ask for, where no device is given. */
  powerPreference?: GPUPowerPreference;
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

/** A device of the page's, or one with all that the adapter has; and what is known of its adapter. */
export async function openDevice({ device, powerPreference = 'high-performance' }: OpenOptions) {
  if (device) return { device, info: known(device.adapterInfo) };
  if (!navigator.gpu) throw new Error('no WebGPU: this browser does not have it, or not on this page');
  const adapter = await navigator.gpu.requestAdapter({ powerPreference });
  if (!adapter) throw new Error('no WebGPU adapter: the browser found no GPU that it lets pages use');
  const requiredFeatures = (['shader-f16'] as const).filter((feature) => adapter.features.has(feature));
  const requiredLimits = Object.fromEntries(LIMITS.map((limit) => [limit, adapter.limits[limit]]));
  const opened = await adapter.requestDevice({ label: 'tilewise', requiredFeatures, requiredLimits });
  return { device: opened, info: known(adapter.info) };
}

/** What a browser tells of an adapter. Some tell less than wgpu asks for. */
function known(info: GPUAdapterInfo | undefined) {
  const { vendor = '', architecture = '', device = '', description = '' } = info ?? {};
  const { subgroupMinSize = 4, subgroupMaxSize = 128 } = info ?? {};
  const names = { vendor, architecture, device, description };
  return { ...names, subgroupMinSize, subgroupMaxSize, isFallbackAdapter: isSoftware(info) };
}

/** Whether the adapter is a processor that poses as a GPU. */
function isSoftware(info: GPUAdapterInfo | undefined): boolean {
  const words = `${info?.vendor} ${info?.architecture} ${info?.description}`;
  return info?.isFallbackAdapter === true || /llvmpipe|lavapipe|swiftshader/i.test(words);
}

/** The name of an operation or an option as the command line has it. */
export const kebab = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** Options that are texts of programs. */
const TEXTS = new Set(['scoreMod', 'maskMod']);

/** An option's value. Numbers that are not whole are f32 in the library: rounded here, they are read as they are. */
const written = (value: unknown) =>
  typeof value === 'number' && !Number.isInteger(value) ? String(Math.fround(value)) : String(value ?? '');

/** Options as the command line writes them. */
export function optionLine(options: object): { line: string[]; texts: [string, string][] } {
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
    } else line.push(`${flag}=${[value].flat().map(written).join(',')}`);
  }
  return { line, texts };
}

