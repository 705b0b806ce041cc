// The benchmark suite, and its record to take home.

import { $, bytes, milliseconds, notice, row, visible, withdraw, words } from './page.js';
import { ask } from './remote.js';

interface Figures {
  timing: { device: { median_ms: number } | null; wall: { median_ms: number } };
  peak_bytes: number;
  flops_per_second: number;
}

interface Record {
  date: string;
  reports: { workload: string; fused: Figures; yardsticks: { name: string; measured: { figures: Figures } | { refused: string } }[] }[];
  refused: { workload: string; reason: string }[];
  failed: { workload: string; reason: string }[];
}

/** Connects the button. */
export function begin(): void {
  const [button, progress, link] = [
    $<HTMLButtonElement>('#bench-start'),
    $<HTMLProgressElement>('#bench-progress'),
    $<HTMLAnchorElement>('#bench-download'),
  ];
  button.addEventListener('click', async () => {
    button.disabled = true;
    progress.hidden = false;
    link.hidden = true;
    withdraw('hidden-bench');
    const family = $<HTMLSelectElement>('#bench-family').value || undefined;
    const quick = $<HTMLSelectElement>('#bench-depth').value === 'quick';
    const hidden = () => document.hidden && notice('hidden-bench', 'The page was hidden while it measured: browsers slow what nobody sees, so measure again.');
    document.addEventListener('visibilitychange', hidden);
    try {
      await visible();
      const tell = ({ measured, all, next }: { measured: number; all: number; next: string }) => {
        progress.max = Math.max(all, 1);
        progress.value = measured;
        say(all ? `${measured} of ${all}: ${next}` : next);
      };
      const text = await ask<string>({ what: 'bench', family, quick }, tell);
      offer(link, text);
      report(JSON.parse(text) as Record);
    } catch (error) {
      say(words(error));
    }
    document.removeEventListener('visibilitychange', hidden);
    progress.hidden = true;
    button.disabled = false;
  });
}

const say = (text: string) => ($('#bench-state').textContent = text);

function offer(link: HTMLAnchorElement, text: string): void {
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
  link.download = `tilewise-${new Date().toISOString().slice(0, 10)}.json`;
  link.hidden = false;
}

function report({ reports, refused, failed }: Record): void {
  const table = $('#bench-table');
  table.hidden = false;
  const line = (workload: string, version: string, { timing, peak_bytes, flops_per_second }: Figures) => {
    const { median_ms } = timing.device ?? timing.wall;
    return row(workload, version, Number(milliseconds(median_ms)), bytes(peak_bytes), Number((flops_per_second / 1e9).toPrecision(2)));
  };
  const rows = reports.flatMap(({ workload, fused, yardsticks }) => [
    line(workload, 'fused', fused),
    ...yardsticks.map(({ name, measured }) =>
      'figures' in measured ? line('', name, measured.figures) : row('', name, 'none', measured.refused, ''),
    ),
  ]);
  const unmeasured = [...refused, ...failed].map(({ workload, reason }) => row(workload, 'not measured', '', reason, ''));
  $('tbody', table).replaceChildren(...rows, ...unmeasured);
  const words = failed.length ? `, ${failed.length} went wrong` : '';
  say(`${reports.length} workloads measured${words}. Every answer was checked first.`);
}
