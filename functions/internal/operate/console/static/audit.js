// Audit: the invariants, and their breaches.
import { h, heading, count, plural, when } from './dom.js';

const titles = { stock: 'Stock', reserved: 'Reserved', holdings: 'Holdings', totals: 'Totals', facts: 'Facts', ends: 'Ends', sent: 'Sent', once: 'Once' };

export default function audit({ main, live }) {
  const summary = h('p', { class: 'verdict', role: 'status' }, 'No audit yet: the first one comes within a minute.');
  const list = h('div', { class: 'invariants' });
  const exceptions = h('section', { class: 'card', hidden: true });
  main.append(heading('Audit', h('p', { class: 'muted' }, 'Checked repeatedly, in one consistent snapshot of all schemas and topics.')), summary, list, exceptions);

  live({
    audit: { regions: [summary, list, exceptions], show(report) {
      if (!report) return;
      summary.dataset.state = report.breaches ? 'bad' : 'ok';
      summary.replaceChildren(report.breaches ? plural(report.breaches, 'breach', 'breaches') : 'Everything holds', h('span', { class: 'muted' }, ' at ', when(report.at), `, in ${report.tookMillis < 1000 ? `${Math.round(report.tookMillis)} ms` : `${(report.tookMillis / 1000).toFixed(1)} s`}`, report.since ? [': what has changed since ', when(report.since)] : ''));
      const open = new Set([...list.querySelectorAll('details[open]')].map((d) => d.dataset.name));
      list.replaceChildren(...report.invariants.map((i) => invariant(i, open)));
      exceptions.hidden = report.exceptions.length === 0;
      exceptions.replaceChildren(h('h2', {}, 'Waits for an operator'), h('ul', {}, report.exceptions.map((e) => h('li', { class: 'wrap' },
        `${count(e.count)} ${e.kind} in ${e.where}${e.consumer ? ` of ${e.consumer}` : ''}`, e.examples?.length ? h('span', { class: 'muted' }, ` such as ${e.examples.slice(0, 3).join(', ')}`) : ''))));
    } },
  });
}

function invariant(i, open) {
  const state = i.skipped ? 'skipped' : i.breached ? 'bad' : 'ok';
  const said = { ok: 'holds', bad: `${count(i.breached)} breached`, skipped: 'skipped' }[state];
  const listing = (name, title, lines) => lines?.length ? h('details', { 'data-name': `${i.name}-${name}`, open: open.has(`${i.name}-${name}`) || name === 'breaches' }, h('summary', {}, title), h('ul', {}, lines.map((line) => h('li', { class: 'wrap' }, line)))) : '';
  return h('section', { class: 'card invariant', 'data-state': state, 'aria-label': `${i.name}: ${said}` },
    h('div', { class: 'bar' }, h('h2', {}, titles[i.name] ?? i.name), h('span', { class: 'badge', 'data-state': state }, said)),
    h('p', {}, i.says), i.skipped ? h('p', { class: 'muted' }, i.skipped) : '',
    h('dl', { class: 'numbers' }, Object.entries(i.numbers).sort().map(([name, n]) => h('div', {}, h('dd', {}, count(n)), h('dt', {}, name)))),
    listing('breaches', 'Breaches', i.breaches), listing('explained', 'Explained', i.explained));
}
