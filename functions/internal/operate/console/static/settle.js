// Settling: an operator records what he knows of the gateway about a payment whose outcome is unknown.
import { h, popUp, put, toast } from './dom.js';
import { request } from './http.js';
import { ask, forRecord } from './ask.js';

const reference = { label: 'The gateway’s reference of it', pattern: '[A-Za-z0-9._:\\-]{1,128}', title: '1 to 128 of A-Z, a-z, 0-9, dot, underscore, colon and hyphen' };
const reason = { label: 'Reason with which the order fails', pattern: '[a-z0-9_]{1,64}', title: '1 to 64 of a-z, 0-9 and underscore, such as card_declined', value: 'card_declined' };

// What may be known, by what the gateway was asked for.
const choices = {
  authorize: [
    { status: 'authorized', says: 'The money is held', field: reference },
    { status: 'declined', says: 'No money is held, and none will be', field: reason },
  ],
  refund: [
    { status: 'refunded', says: 'The money was returned', field: reference },
    { status: 'nothing', says: 'No money was held', field: null },
  ],
};

// What there is to know before it is recorded.
const warnings = {
  authorized: '',
  declined: 'The order fails at once. The gateway is then asked to return the money, should it hold any after all.',
  refunded: '',
  nothing: 'The gateway is not asked again: money that it holds after all stays held, unless the answer to an attempt that is under way shows it.',
};

// settle asks what is known of a payment. A dry run says what recording it does, before it can be recorded.
export function settle(payment) {
  const radios = choices[payment.operation].map((choice, n) => {
    const input = h('input', { type: 'radio', name: 'known', id: `known-${choice.status}`, value: n, required: true, change: choose });
    return h('div', { class: 'choice' }, input, h('label', { for: `known-${choice.status}` }, choice.says));
  });
  const label = h('label', { for: 'settle-detail' });
  const detail = h('input', { id: 'settle-detail', autocomplete: 'off', spellcheck: 'false', input: forgetCheck });
  const field = h('div', { class: 'field', hidden: true }, label, detail);
  const warning = h('p', { class: 'warning', hidden: true });
  const record = forRecord('settle');
  const said = h('p', { class: 'said', role: 'status' });
  const confirm = h('button', { type: 'submit', class: 'primary' }, 'Check');
  const form = h('form', { class: 'stack', submit: carryOut },
    h('h2', { id: 'settle-title' }, 'Settle this payment'),
    h('p', {}, `What became of the ${payment.operation === 'refund' ? 'refund' : 'authorization'}? This moves no money: it records what you know, as if the gateway had answered so. An attempt may be under way: what is recorded first counts, and a later answer is dropped, unless it shows money that has to be returned.`),
    h('p', { class: 'muted wrap' }, 'The gateway’s key of it is ', h('code', {}, `${payment.orderId}.${payment.operation}`), '.'),
    h('fieldset', { class: 'stack' }, h('legend', { class: 'hidden' }, 'What is known'), radios), field, warning, record.element, said,
    h('div', { class: 'actions' }, h('button', { type: 'button', click: () => dialog.close() }, 'Cancel'), confirm));
  const dialog = h('dialog', { 'aria-labelledby': 'settle-title' }, form);
  let choice = null;
  let checked = false;

  function choose(event) {
    choice = choices[payment.operation][Number(event.target.value)];
    field.hidden = !choice.field;
    detail.required = Boolean(choice.field);
    detail.value = choice.field?.value ?? '';
    put(label, choice.field?.label ?? '');
    if (choice.field) {
      detail.pattern = choice.field.pattern;
      detail.title = choice.field.title;
    } else detail.removeAttribute('pattern');
    put(warning, warnings[choice.status]);
    warning.hidden = !warnings[choice.status];
    forgetCheck();
  }

  // forgetCheck makes a dry run necessary again, since what was checked has changed.
  function forgetCheck() {
    checked = false;
    say('', false);
    put(confirm, 'Check');
  }

  function say(text, bad) {
    put(said, text);
    said.classList.toggle('bad', bad);
  }

  async function carryOut(event) {
    event.preventDefault();
    const known = { status: choice.status, ...(choice.field === reference && { reference: detail.value.trim() }), ...(choice.field === reason && { reason: detail.value.trim() }) };
    const dryRun = !checked;
    confirm.disabled = true;
    try {
      const [came] = await request('POST', '/console/payments', { action: 'settle', orders: [payment.orderId], known, ...record.values(), dryRun });
      if (!came.ok) {
        forgetCheck();
        say(came.detail, true);
      } else if (dryRun) {
        checked = true;
        say(`It ${came.detail}.`, false);
        put(confirm, 'Settle');
      } else {
        toast(`The payment is ${came.detail}.`);
        dialog.close();
      }
    } catch (failure) {
      say(failure.message, true);
    }
    confirm.disabled = false;
  }

  popUp(dialog);
  radios[0].firstElementChild.focus();
}

// retry has the gateway asked at once about the payment of an order, or about all.
export function retry(order) {
  ask({ title: order ? 'Ask the gateway again now?' : 'Ask the gateway again now about all?', verb: 'Ask again', path: '/console/payments', body: { action: 'retry', ...(order ? { orders: [order] } : { all: true }) } });
}
