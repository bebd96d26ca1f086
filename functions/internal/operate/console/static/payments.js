// Payments: those whose outcome at the gateway is unknown first, the oldest first. What is shown is in the address of the page.
import { h, put, reconcile, heading, badge, money, when, shortID, count, plural } from './dom.js';
import { load } from './http.js';
import { record } from './ask.js';
import { retry, settle } from './settle.js';

const states = ['', 'unknown', 'authorized', 'declined', 'refunded', 'void'];

// amountOf is empty for an order that ended before its amount was known.
export const amountOf = (p) => (p.currency ? money(p.amount, p.currency) : '–');

// stateOf says what the gateway was asked for, if its answer is unknown.
export const stateOf = (p) => [badge(p.state), p.operation ? h('span', { class: 'muted' }, ` ${p.operation}`) : ''];

export default async function payments({ main, live }) {
  const summary = h('p', { class: 'muted', role: 'status' });
  const all = h('button', { type: 'button', hidden: true, click: () => retry('') }, 'Ask again about all');
  const nothing = h('p', { class: 'empty' }, 'Looking…');
  main.append(heading('Payments', summary), nothing);
  live({});
  const settings = await load('/console/settings', nothing);
  if (!settings) return;
  if (!settings.payments) {
    nothing.replaceChildren('Orders are not paid here. To have a payment gateway hold the money of each order, start the harness with ', h('code', {}, '--overlay payment'), ' or ', h('code', {}, 'HARNESS_OVERLAY=payment'), '.');
    return;
  }
  let state = '';
  let after = '';
  let last = null; // what the server sent
  const log = record();
  log.element.hidden = true;
  const body = h('tbody', {});
  const more = h('p', { class: 'muted', hidden: true });
  const first = h('button', { type: 'button', click: () => go({ after: '' }) }, 'First page');
  const next = h('button', { type: 'button', click: () => go({ after: last.next }) }, 'Next page');
  const tabs = states.map((value) => {
    const number = h('span', { class: 'muted' });
    return { value, number, button: h('button', { type: 'button', click: () => go({ state: value, after: '' }) }, value || 'all', ' ', number) };
  });
  const list = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'List of payments' }, h('table', { class: 'list payments' },
    h('thead', {}, h('tr', {}, ['Order', 'State', 'Amount', 'Requested', 'Attempts', 'Next attempt', 'Reference, reason or last error'].map((t, i) => h('th', { scope: 'col', class: i === 2 || i === 4 ? 'right' : null }, t)),
      h('th', { scope: 'col' }, h('span', { class: 'hidden' }, 'Actions')))), body));
  main.append(h('section', { class: 'card', 'aria-label': 'Payments' },
    h('div', { class: 'bar' }, h('div', { class: 'segments', role: 'group', 'aria-label': 'Filter by state' }, tabs.map((t) => t.button)), h('div', { class: 'actions' }, all)),
    list, nothing, more, h('div', { class: 'actions' }, first, next)),
  log.element);

  // go shows other payments, by the address.
  function go(changed) {
    const query = new URLSearchParams(Object.entries({ state, after, ...changed }).filter(([, value]) => value));
    history.pushState(null, '', query.size ? `?${query}` : location.pathname);
    show();
  }

  function show() {
    const given = new URLSearchParams(location.search);
    state = states.includes(given.get('state')) ? given.get('state') : '';
    after = given.get('after') ?? '';
    last = null;
    body.replaceChildren();
    nothing.hidden = false;
    put(nothing, 'Looking…');
    first.hidden = !after;
    next.hidden = more.hidden = true;
    for (const t of tabs) t.button.setAttribute('aria-pressed', String(t.value === state));
    live({
      [`payments:${new URLSearchParams({ ...(state && { state }), ...(after && { after }) })}`]: { regions: [list], show(data) {
        last = data;
        render();
        log.show(data.actions);
      } },
      paymentcounts: { regions: [summary, ...tabs.map((t) => t.number)], show: counted },
    });
  }

  function counted(counts) {
    for (const t of tabs) put(t.number, count(t.value ? counts[t.value] : Object.values(counts).reduce((sum, n) => sum + n, 0)));
    put(summary, counts.unknown ? `The outcome of ${plural(counts.unknown, 'payment')} is unknown.` : 'Every outcome is known.');
    all.hidden = counts.unknown === 0;
  }

  function render() {
    nothing.hidden = last.payments.length > 0;
    put(nothing, state ? `No payment is ${state}.` : 'There are no payments yet.');
    next.hidden = !last.next;
    more.hidden = !(last.moreUnknown && state === '');
    put(more, 'There are more with an unknown outcome: the filter “unknown” has them all.');
    reconcile(body, last.payments, (p) => `${p.orderId}/${p.state}/${p.operation}`, (p) => h('tr', { 'data-state': p.state },
      h('td', {}, h('a', { href: `/orders/${p.orderId}`, title: p.orderId, 'aria-label': `Order ${p.orderId}` }, h('code', {}, shortID(p.orderId)))),
      h('td', {}, stateOf(p)), h('td', { class: 'right' }, amountOf(p)), h('td', {}, when(p.requestedAt)), h('td', { class: 'right' }), h('td', {}),
      h('td', { class: 'wrap known' }), h('td', {}, p.operation ? h('div', { class: 'actions' },
        h('button', { type: 'button', 'aria-label': `Ask again about order ${p.orderId}`, click: () => retry(p.orderId) }, 'Ask again'),
        h('button', { type: 'button', 'aria-label': `Settle order ${p.orderId}`, click: () => settle(p) }, 'Settle')) : '')),
    (row, p) => {
      put(row.children[4], count(p.attempts));
      const shown = row.children[5];
      if (shown.dataset.at !== (p.nextAttemptAt ?? '')) {
        shown.dataset.at = p.nextAttemptAt ?? '';
        shown.replaceChildren(p.nextAttemptAt ? when(p.nextAttemptAt) : '–');
      }
      put(row.children[6], [p.reference, p.reason, p.lastError].filter(Boolean).join(' · '));
    });
  }

  show();
}
