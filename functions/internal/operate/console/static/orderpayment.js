// The payment of an order on its page: what is held, what the gateway was asked, and what operators did.
import { h, put, money, when, plural } from './dom.js';
import { amountOf, stateOf } from './payments.js';
import { retry, settle } from './settle.js';

const signed = (amount, currency) => (amount > 0 ? `+${money(amount, currency)}` : amount < 0 ? `−${money(-amount, currency)}` : '–');

// moneyOf says what an event says of the money; empty for one that is not about money.
export function moneyOf({ type, data }) {
  switch (type) {
    case 'payment.authorized': return `${money(data.amount, data.currency)} held as ${data.reference}`;
    case 'payment.declined': return `${money(data.amount, data.currency)} not held: ${data.reason}`;
    case 'payment.refunded': return `${money(data.amount, data.currency)} returned as ${data.reference}`;
    default: return '';
  }
}

export function orderPayment() {
  const state = h('span', {});
  const buttons = h('div', { class: 'actions', hidden: true }, h('button', { type: 'button', click: () => retry(current.orderId) }, 'Ask again'),
    h('button', { type: 'button', click: () => settle(current) }, 'Settle'));
  const unknown = h('p', { class: 'warning', hidden: true });
  const error = h('p', { class: 'bad wrap', hidden: true });
  const facts = h('dl', { class: 'facts' });
  const log = h('tbody', {});
  const logged = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Log of the payment' }, h('table', {},
    h('thead', {}, h('tr', {}, ['When', 'Entry', 'Amount', 'Reference or reason', 'Recorded by'].map((t, i) => h('th', { scope: 'col', class: i === 2 ? 'right' : null }, t)))), log));
  const did = h('ul', { 'aria-label': 'What operators did' });
  const element = h('section', { class: 'card stack', 'aria-labelledby': 'money-title', hidden: true },
    h('div', { class: 'bar' }, h('h2', { id: 'money-title' }, 'Payment'), state, buttons), unknown, error, facts, logged, did);

  let current;

  function show(p) {
    element.hidden = !p;
    if (!p) return;
    current = p;
    const text = JSON.stringify(p);
    if (element.dataset.shown === text) return; // keep the selection and the focus
    element.dataset.shown = text;
    state.replaceChildren(...stateOf(p));
    buttons.hidden = unknown.hidden = !p.operation;
    unknown.replaceChildren(p.operation === 'refund' ? 'It is not known whether the money was returned, since ' : 'It is not known whether the money is held, since ', when(p.requestedAt), '. ',
      ...(p.nextAttemptAt ? [`After ${plural(p.attempts, 'attempt')} the next one is at `, when(p.nextAttemptAt), '.'] : []));
    error.hidden = !p.lastError;
    put(error, p.lastError ? `The last one ended with: ${p.lastError}` : '');
    const fact = (name, ...value) => h('div', {}, h('dt', {}, name), h('dd', {}, ...value));
    facts.replaceChildren(fact('Amount', amountOf(p)), fact('Held', p.currency ? money(p.held, p.currency) : '–'),
      p.reference ? fact('Reference', h('code', { class: 'wrap' }, p.reference)) : '', p.reason ? fact('Reason', p.reason) : '',
      fact('Requested', when(p.requestedAt)), fact('Attempts', String(p.attempts)));
    logged.hidden = p.log.length === 0;
    log.replaceChildren(...p.log.map((e) => h('tr', {}, h('td', {}, when(e.at)), h('td', {}, e.entry.toLowerCase()),
      h('td', { class: 'right' }, e.currency ? signed(e.amount, e.currency) : '–'), h('td', { class: 'wrap' }, [e.reference, e.reason].filter(Boolean).join(' · ')), h('td', {}, e.actor))));
    did.hidden = p.actions.length === 0;
    did.replaceChildren(...p.actions.map((a) => h('li', { class: 'wrap' }, when(a.at), ` ${a.action.toLowerCase()} by ${a.actor}: ${[a.result, a.detail].filter(Boolean).join(' · ')}`)));
  }

  return { element, show };
}
