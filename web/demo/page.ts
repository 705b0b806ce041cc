// Small help with the page.

/** The element of that selector, which the page has. */
export function $<T extends Element = HTMLElement>(selector: string, within: ParentNode = document): T {
  const found = within.querySelector<T>(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

/** An element with these children. */
export function element(name: string, attributes: Record<string, string>, ...children: (Node | string)[]): HTMLElement {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  made.append(...children);
  return made;
}

/** A row of a table: numbers to the right. */
export function row(...cells: (string | number)[]): HTMLElement {
  const cell = (content: string | number) =>
    element('td', typeof content === 'number' ? { class: 'number' } : {}, String(content));
  return element('tr', {}, ...cells.map(cell));
}

/** Shows what a person should know, once. */
export function notice(key: string, text: string): void {
  const notices = $('#notices');
  const shown = notices.querySelector(`[data-key="${key}"]`);
  const made = element('p', { 'data-key': key }, text);
  if (shown) shown.replaceWith(made);
  else notices.append(made);
}

/** Takes a notice back. */
export const withdraw = (key: string): void => $('#notices').querySelector(`[data-key="${key}"]`)?.remove();

/** The words of an error. */
export const words = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Three digits that say something. */
export function milliseconds(ms: number): string {
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3);
}

/** Bytes in binary units. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const unit = Math.min(Math.floor(Math.log2(Math.max(count, 1)) / 10), units.length - 1);
  const scaled = count / 2 ** (10 * unit);
  return `${Number.isInteger(scaled) ? scaled : scaled.toFixed(1)} ${units[unit]}`;
}

/** Waits until somebody sees the page: what is measured in a hidden tab says nothing. */
export async function visible(): Promise<void> {
  while (document.hidden) {
    await new Promise((resolve) => document.addEventListener('visibilitychange', resolve, { once: true }));
  }
}
