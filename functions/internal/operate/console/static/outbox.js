// Outbox: stored events that are not sent yet, or that the broker refused.
import { h, put, reconcile, heading, badge, when, shortID, pretty, count, duration } from './dom.js';
import { ask, inspect, record, selection } from './ask.js';

const states = ['new', 'waiting', 'parked', 'discarded', 'sent'];
const does = { requeue: ['parked', 'discarded'], discard: ['parked'] };

export default function outbox({ main, live }) {
  let state = 'parked';
  let rows = [];
  const body = h('tbody', {});
  const nothing = h('p', { class: 'empty' });
  const summary = h('p', { class: 'muted' });
  const log = record();
  const requeue = h('button', { type: 'button', click: () => change('requeue', 'Requeue', false) }, 'Requeue');
  const discard = h('button', { type: 'button', class: 'danger', click: () => change('discard', 'Discard', true) }, 'Discard');
  const all = h('input', { type: 'checkbox', 'aria-label': 'All rows on this page', change: () => { picks.all(rows.map((r) => [keyOf(r), r])); render(); } });
  const picks = selection(() => {
    const n = picks.picked.size;
    requeue.disabled = n === 0;
    discard.disabled = n === 0;
    put(requeue, n ? `Requeue ${n}` : 'Requeue');
    put(discard, n ? `Discard ${n}` : 'Discard');
    all.checked = n > 0 && n === rows.length;
  });
  const tabs = states.map((value) => h('button', { type: 'button', 'aria-pressed': String(value === state), click: () => choose(value) }, value));
  const list = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Rows of the outboxes' }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, h('th', {}, h('span', { class: 'hidden' }, 'Selected'), all), ['Row', 'Event', 'Order', 'State', 'Stored', 'Attempts', 'Last error'].map((t) => h('th', { scope: 'col' }, t)))), body));
  main.append(heading('Outbox', summary),
    h('section', { class: 'card' },
      h('div', { class: 'bar' }, h('div', { class: 'segments', role: 'group', 'aria-label': 'State' }, tabs), h('div', { class: 'actions' }, requeue, discard)),
      list, nothing),
    log.element);
  const keyOf = (r) => `${r.schema}/${r.id}`;

  function choose(value) {
    state = value;
    rows = [];
    picks.keep(new Set());
    tabs.forEach((tab, i) => tab.setAttribute('aria-pressed', String(states[i] === value)));
    requeue.hidden = !does.requeue.includes(value);
    discard.hidden = !does.discard.includes(value);
    all.hidden = requeue.hidden;
    body.replaceChildren();
    put(nothing, 'Looking…');
    live({
      [`outbox:${value}`]: { regions: [list, summary], show(data) {
        rows = data.rows;
        picks.keep(new Set(rows.map(keyOf)));
        put(summary, Object.entries(data.outboxes).map(([name, o]) => `${name}: ${count(o.waiting)} unsent${o.parked ? `, ${count(o.parked)} of them parked` : ''}${o.waiting > o.parked && o.oldestSeconds > 5 ? `, the oldest since ${duration(o.oldestSeconds * 1e6)}` : ''}`).join(' · '));
        nothing.hidden = rows.length > 0 && !data.more;
        put(nothing, data.more ? 'There are more: these are the oldest.' : `No row is ${value}.`);
        log.show(data.actions);
        render();
      } },
    });
  }

  function render() {
    reconcile(body, rows, (r) => `${keyOf(r)}/${r.state}/${r.attempts}`, (r) => h('tr', {},
      h('td', {}, requeue.hidden ? '' : picks.box(keyOf(r), r, `Row ${keyOf(r)}`)),
      h('td', {}, h('button', { type: 'button', class: 'link', click: () => look(r) }, keyOf(r))),
      h('td', {}, h('code', {}, r.type)), h('td', {}, h('a', { href: `/orders/${r.aggregateId}`, title: r.aggregateId }, h('code', {}, shortID(r.aggregateId)))),
      h('td', {}, badge(r.state)), h('td', {}, when(r.createdAt)), h('td', {}, r.attempts), h('td', { class: 'wrap' }, r.lastError ?? '')),
    (row, r) => { const box = row.querySelector('input'); if (box) box.checked = picks.picked.has(keyOf(r)); });
  }

  function look(r) {
    inspect(`Row ${keyOf(r)}`, `/console/outbox/${r.schema}/${r.id}`, (full) => [
      h('dl', { class: 'facts small' }, ['state', 'type', 'aggregateId', 'createdAt', 'sentAt', 'attempts', 'nextAttemptAt', 'lastError', 'headers', 'payload'].filter((k) => full[k] !== undefined)
        .map((k) => h('div', {}, h('dt', {}, k), h('dd', {}, full[k])))),
      full.event ? pretty(full.event) : '',
    ]);
  }

  function change(action, verb, danger) {
    const picked = [...picks.picked.values()].map(({ schema, id }) => ({ schema, id }));
    ask({ title: `${verb} ${picked.length} ${picked.length === 1 ? 'row' : 'rows'}?`, verb, danger, path: '/console/outbox', body: { action, rows: picked } });
  }

  choose(state);
  const [schema, id] = new URLSearchParams(location.search).get('row')?.split('/') ?? [];
  if (id) look({ schema, id });
}
