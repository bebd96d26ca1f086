// An order: its saga as a timeline, from what its services have stored.
import { h, popUp, put, reconcile, heading, badge, money, when, clock, duration, micros, toast, pretty, plural } from './dom.js';
import { request } from './http.js';
import { moneyOf, orderPayment } from './orderpayment.js';

export default function order({ main, live }, id) {
  const state = h('span', {});
  const cancel = h('button', { type: 'button', class: 'danger', hidden: true, click: ask }, 'Cancel order');
  const facts = h('dl', { class: 'facts' });
  const items = h('tbody', {});
  const steps = h('ol', { class: 'timeline' });
  const scale = h('p', { class: 'muted' });
  const unread = h('p', { class: 'muted', hidden: true }, 'The dead letters cannot be read now: an event that was not handled may be one.');
  const unknown = h('p', { class: 'empty', hidden: true }, 'There is no such order.');
  const payment = orderPayment();
  const content = h('div', { class: 'stack' },
    h('section', { class: 'card' }, facts), payment.element,
    h('section', { class: 'card', 'aria-labelledby': 'saga-title' }, h('div', { class: 'bar' }, h('h2', { id: 'saga-title' }, 'Saga'), scale), unread, steps),
    h('section', { class: 'card', 'aria-labelledby': 'lines-title' }, h('h2', { id: 'lines-title' }, 'Lines'),
      h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Lines of the order' }, h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'SKU'), h('th', { scope: 'col', class: 'right' }, 'Quantity'), h('th', { scope: 'col', class: 'right' }, 'Unit price'))), items))));
  main.append(heading('Order', h('code', { class: 'wrap' }, id), state, cancel), unknown, content);

  function ask() {
    const dialog = h('dialog', { 'aria-labelledby': 'cancel-title' }, h('form', { class: 'stack', submit: carryOut },
      h('h2', { id: 'cancel-title' }, 'Cancel this order?'), h('p', {}, 'Its stock is released and the customer is notified.'),
      h('div', { class: 'actions' }, h('button', { type: 'button', click: () => dialog.close() }, 'Keep it'), h('button', { type: 'submit', class: 'danger' }, 'Cancel order'))));
    async function carryOut(event) {
      event.preventDefault();
      dialog.close();
      try {
        await request('POST', `/api/orders/${id}/cancel`);
        toast('The order is canceled.');
      } catch (failure) {
        toast(failure.message, true);
      }
    }
    popUp(dialog);
  }

  function show(data) {
    unknown.hidden = data !== undefined && data !== null;
    content.hidden = !unknown.hidden;
    if (!unknown.hidden) return;
    state.replaceChildren(badge(data.status));
    cancel.hidden = data.status !== 'PENDING' && data.status !== 'CONFIRMED';
    showFacts(data);
    payment.show(data.payment);
    reconcile(items, data.items.map((item, n) => ({ ...item, n })), (i) => i.n, (i) => h('tr', {},
      h('td', {}, h('a', { href: `/search?q=${encodeURIComponent(i.sku)}` }, h('code', {}, i.sku))), h('td', { class: 'right' }, i.quantity), h('td', { class: 'right' }, money(i.unitPrice, data.currency))), () => {});
    const times = data.steps.flatMap((s) => [s.storedAt, s.sentAt, ...s.deliveries.map((d) => d.at)]).filter(Boolean).map(micros);
    const begin = Math.min(...times);
    const end = Math.max(...times, begin + 1000);
    unread.hidden = !data.lettersUnknown;
    put(scale, times.length ? `${plural(data.steps.length, 'event')} in ${duration(end - begin)}` : 'Its events have been purged.');
    reconcile(steps, data.steps, (s) => `${s.function}/${s.id}/${s.type}`, newStep, (element, step) => element.update(step, begin, end, data.mails));
  }

  function showFacts(data) {
    const fact = (name, ...value) => h('div', {}, h('dt', {}, name), h('dd', {}, ...value));
    const found = (text) => h('a', { href: `/search?q=${encodeURIComponent(text)}` }, text);
    const all = [
      fact('Customer', found(data.customerEmail)), fact('Total', money(data.totalAmount, data.currency)),
      fact('Placed', when(data.createdAt)), fact('Changed', when(data.updatedAt)),
      fact('Correlation id', h('code', { class: 'wrap' }, found(data.correlationId))),
    ];
    if (data.failureReason) all.push(fact('Reason', data.failureReason));
    if (data.reservation) all.push(fact('Stock', data.reservation.status.toLowerCase(), data.reservation.held.length ? `: ${data.reservation.held.map((l) => `${l.quantity} × ${l.sku}`).join(', ')}` : ''));
    const text = JSON.stringify(data, ['customerEmail', 'totalAmount', 'updatedAt', 'correlationId', 'failureReason', 'reservation', 'status', 'held', 'sku', 'quantity']);
    if (facts.dataset.text === text) return; // keep the selection
    facts.dataset.text = text;
    facts.replaceChildren(...all);
  }

  live({ [`order:${id}`]: { regions: [content, state], show } });
}

// newStep creates the element of an event. Its details stay open while the numbers around them change.
function newStep(step) {
  const bars = h('svg', { class: 'bars', viewBox: '0 0 1000 14', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const timing = h('p', { class: 'timing' });
  const about = moneyOf(step.event);
  const list = h('ul', { class: 'deliveries' });
  const raw = h('details', {}, h('summary', {}, 'CloudEvent'), h('dl', { class: 'facts small' },
    [['id', step.id], ['correlation id', step.correlationId], ['causation id', step.causationId], ['traceparent', step.traceparent]]
      .filter(([, value]) => value).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, h('code', { class: 'wrap' }, value))))), pretty(step.event));
  const element = h('li', { class: 'step', 'data-type': step.type.split('.').at(-1) },
    h('div', { class: 'bar' }, h('h3', {}, h('code', {}, step.type)), h('span', { class: 'muted' }, 'emitted by ', h('strong', {}, step.function || 'unknown')), when(step.storedAt)),
    about ? h('p', { class: 'money' }, about) : '', bars, timing, list, raw);
  element.update = (s, begin, end, mails) => {
    const stored = micros(s.storedAt);
    const sent = s.sentAt ? micros(s.sentAt) : 0;
    const x = (at) => ((at - begin) / (end - begin)) * 1000;
    const last = Math.max(stored, sent, ...s.deliveries.filter((d) => d.at).map((d) => micros(d.at)));
    bars.replaceChildren(h('rect', { x: 0, y: 6, width: 1000, height: 2, class: 'rail' }),
      h('rect', { x: x(stored), y: 2, width: Math.max(4, x(sent || stored) - x(stored)), height: 10, rx: 2, class: 'waited' }),
      ...(sent && last > sent ? [h('rect', { x: x(sent), y: 2, width: Math.max(4, x(last) - x(sent)), height: 10, rx: 2, class: 'handled' })] : []));
    const where = s.offset === undefined ? '' : `, partition ${s.partition}, offset ${s.offset}`;
    put(timing, sent ? `${known(stored - begin) ? `Stored ${duration(stored - begin)} after the first event` : 'Stored first'}; sent${known(sent - stored) ? ` ${duration(sent - stored)} later` : ''}${where}.`
      : `Stored, ${s.status === 'ERROR' ? `refused ${s.attempts} times: ${s.lastError}` : s.status === 'DISCARDED' ? 'given up by an operator' : 'not sent yet'}.`);
    reconcile(list, s.deliveries, (d) => d.function, () => h('li', {}), (item, d) => {
      const mail = d.function === 'notify' && mails.find((m) => m.eventId === s.id && m.type === s.type);
      const said = mail && (mail.status === 'SUPPRESSED' ? 'suppressed: the customer knows newer news' : mail.status === 'LIMITED' ? 'not sent: the address got as many mails within an hour as it may' : mail.status === 'SENT' ? `mail sent${mail.attempts > 1 ? `, attempt ${mail.attempts}` : ''}` : 'mail is being sent');
      const { aside, parts } = handling(d, sent, stored);
      item.className = aside ? 'aside' : d.at ? 'ok' : 'open';
      const shown = JSON.stringify([d, said, sent]);
      if (item.dataset.shown === shown) return; // keep the focus on its link
      item.dataset.shown = shown;
      item.replaceChildren(`${d.function} `, ...parts, said && !aside ? ` · ${said}` : '');
      item.title = clock(d.at);
    });
  };
  return element;
}

const next = {
  open: 'Repair the cause, then replay it.', parked: 'It is parked: replay it when its time has come.', discarded: 'An operator has given it up.',
};

// handling says what became of an event at a consumer, and whether it is set aside.
function handling(d, sent, stored) {
  const letter = d.setAside;
  if (!letter) return { parts: [d.at ? handled(d.at, sent, stored) : 'has not handled it yet'] };
  const link = h('a', { href: `/deadletters?letter=${encodeURIComponent(letter.letter)}` }, 'the dead letter');
  if (letter.state === 'replayed') {
    return { parts: ['handled it by a replay', letter.corrected ? ' of a corrected copy' : '', ' at ', when(letter.replayedAt), ` by ${letter.by}, after it was set aside at `, when(letter.at), ': ', link] };
  }
  if (d.at && letter.state === 'open') return { parts: ['handled it, though it was set aside: discard ', link] };
  const attempts = letter.attempts ? ` after ${letter.attempts} ${letter.attempts === 1 ? 'attempt' : 'attempts'}` : '';
  const cannot = letter.forged ? 'No source can have written it: discard it.' : letter.cut ? 'A part of it is missing: it cannot be replayed.' : next[letter.state];
  return {
    aside: true,
    parts: [`did not handle it: set aside${attempts} at `, when(letter.at), ': ', h('span', { class: 'reason' }, letter.error || `the last answer was ${letter.status || 'none'}`), ` ${cannot} `,
      letter.failures ? `${letter.failures} ${letter.failures === 1 ? 'replay' : 'replays'} failed: ${letter.lastAnswer} ` : '', 'See ', link, '.'],
  };
}

// known tells a time that was measured from one that is too short to be shown, or negative: the times of a relay and of a
// consumer come from different transactions, and a consumer may be done before the relay has marked the event as sent.
const known = (micros) => micros >= 50;

// handled says how long a consumer took, from the latest time that is known to be before.
function handled(at, sent, stored) {
  const done = micros(at);
  if (sent && known(done - sent)) return `handled it ${duration(done - sent)} after it was sent`;
  if (known(done - stored)) return `handled it ${duration(done - stored)} after it was stored`;
  return 'handled it';
}
