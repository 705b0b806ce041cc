// What the adapter is, and which plan each operation gets on it.

import { OPERATIONS, type Operation, type Tilewise } from '../js/tilewise.js';
import { $, bytes, element, row, words } from './page.js';
import { ask } from './remote.js';

/** Says what was found. */
export function tell(tilewise: Tilewise): void {
  const { adapter, caps } = tilewise.describe();
  const info = tilewise.device.adapterInfo;
  const parts = [info?.vendor, info?.architecture, info?.device, info?.description];
  const name = [...new Set(parts.filter(Boolean))].join(' ') || adapter.name || 'a GPU that the browser does not name';
  const software = adapter.device_type.startsWith('software') ? ' (software: everything here is slow)' : '';
  $('#status').textContent = `Found ${name}${software}.`;
  $('#status').dataset.found = name;
  $('#caps tbody').replaceChildren(
    row('workgroup memory', bytes(caps.workgroup_bytes)),
    row('lanes of a workgroup', String(caps.workgroup_lanes)),
    row('storage buffers of a kernel', String(caps.storage_buffers)),
    row('bound at once', bytes(caps.binding_bytes)),
    row('f16 in shaders', caps.f16 ? 'yes' : 'no: unpacked from words'),
    row('subgroups', caps.subgroups ? `${caps.subgroups.min} to ${caps.subgroups.max}` : 'no: lanes meet in workgroup memory'),
  );
}

/** What a plan needs of a kernel. */
interface Footprint {
  kernel: string;
  lanes: number;
  workgroup_bytes: number;
  storage_buffers: number;
}

/** How an operation runs here. */
interface Planned {
  operation: string;
  plans: { pass: string; explanation: string; kernels: Footprint[] }[];
}

/** Says how each operation is planned here. */
export async function plan(): Promise<void> {
  const plans = (Object.keys(OPERATIONS) as Operation[]).map(planOf);
  $('#plans').replaceChildren(...(await Promise.all(plans)));
}

async function planOf(operation: Operation): Promise<HTMLElement> {
  const details = (summary: string, ...content: Node[]) =>
    element('details', { 'data-operation': operation }, element('summary', {}, summary), ...content);
  try {
    const { operation: words, plans } = await ask<Planned>({ what: 'plan', operation });
    const passes = plans.map(({ pass, explanation, kernels }) => {
      const kernel = (k: Footprint) => row(k.kernel, k.lanes, bytes(k.workgroup_bytes), k.storage_buffers);
      const names = ['kernel', 'lanes', 'workgroup memory', 'buffers'].map((name) => element('th', {}, name));
      const table = element('table', {}, element('tr', {}, ...names), ...kernels.map(kernel));
      return element('div', {}, element('p', {}, `${pass}: ${explanation}`), table);
    });
    return details(words, ...passes);
  } catch (error) {
    return details(operation, element('p', { class: 'bad' }, words(error)));
  }
}
