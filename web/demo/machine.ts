// What the adapter is, and which plan each operation gets on it.

import { OPERATIONS, type Operation, type Tilewise } from '../js/tilewise.js';
import { $, bytes, element, row, words } from './page.js';

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
    row('lanes of a workgroup', caps.workgroup_lanes),
    row('storage buffers of a kernel', caps.storage_buffers),
    row('bound at once', bytes(caps.binding_bytes)),
    row('f16 in shaders', caps.f16 ? 'yes' : 'no: unpacked from words'),
    row('subgroups', caps.subgroups ? `${caps.subgroups.min} to ${caps.subgroups.max}` : 'no: lanes meet in workgroup memory'),
  );
  $('#plans').replaceChildren(...(Object.keys(OPERATIONS) as Operation[]).map((name) => planOf(tilewise, name)));
}

function planOf(tilewise: Tilewise, operation: Operation): HTMLElement {
  let planned;
  try {
    planned = tilewise.plan(operation);
  } catch (error) {
    return element('details', { 'data-operation': operation }, element('summary', {}, operation), element('p', { class: 'bad' }, words(error)));
  }
  const { caps } = tilewise.describe();
  const passes = planned.plans.map(({ pass, explanation, kernels }) => {
    const kernel = (k: (typeof kernels)[number]) =>
      row(k.kernel, k.lanes, `${bytes(k.workgroup_bytes)} of ${bytes(caps.workgroup_bytes)}`, k.storage_buffers);
    const head = element('tr', {}, ...['kernel', 'lanes', 'workgroup memory', 'buffers'].map((name) => element('th', {}, name)));
    return element('div', {}, element('p', {}, `${pass}: ${explanation}`), element('table', {}, head, ...kernels.map(kernel)));
  });
  return element('details', { 'data-operation': operation }, element('summary', {}, planned.operation), ...passes);
}
