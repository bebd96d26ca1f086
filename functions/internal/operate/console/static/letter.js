// A letter: what it says, what was done about it, how it differs from others, and a corrected copy of it.
import { h, popUp, badge, when, toast } from './dom.js';
import { request } from './http.js';
import { diff, readable } from './diff.js';
import { forRecord } from './ask.js';

export const keyOf = (l) => `${l.topic}/${l.partition}/${l.offset}`;
export const forged = 'No source has this function, topic and dead-letter topic together: it cannot be replayed.';

const load = (key) => request('GET', `/console/deadletters/${key}`);

// lines is what two letters are compared by.
const lines = (l) => [...Object.entries(l.headers).sort().map(([name, value]) => `${name}: ${value}`), '', ...readable(l.value).split('\n')].join('\n');

// showLetter opens a letter, and calls closed at its end.
export async function showLetter(key, closed) {
  let full;
  try {
    full = await load(key);
  } catch (failure) {
    toast(failure.message, true);
    closed();
    return;
  }
  const dialog = h('dialog', { class: 'wide', 'aria-labelledby': 'letter-title' }, h('div', { class: 'stack' },
    h('h2', { id: 'letter-title', class: 'wrap' }, keyOf(full)), facts(full),
    full.forged ? h('p', { class: 'bad' }, forged) : '',
    full.cut ? h('p', { class: 'bad wrap' }, `The letter is cut and cannot be replayed: ${full.cut}.`) : '',
    h('h3', {}, 'Why'), h('p', { class: 'bad wrap' }, full.error || 'The function gave no reason.'),
    h('h3', {}, full.base64 ? 'Payload, in base64' : 'Payload'),
    full.shortened ? h('p', { class: 'muted' }, `It has ${full.size} bytes; this is its beginning. "harness deadletters show" prints all of it.`) : '',
    h('pre', { class: 'raw', tabindex: '0', role: 'region', 'aria-label': 'Payload' }, full.base64 ? full.value : readable(full.value)),
    headers(full), history(full), comparison(full), correction(full, () => dialog.close()),
    h('div', { class: 'actions' }, h('button', { type: 'button', autofocus: true, click: () => dialog.close() }, 'Close'))));
  dialog.addEventListener('click', (event) => event.target.closest('a') && dialog.close());
  dialog.addEventListener('close', closed);
  document.querySelector('dialog[open]')?.close(); // of another letter, if the address has changed
  popUp(dialog);
}

function facts(full) {
  const fact = (name, ...value) => h('div', {}, h('dt', {}, name), h('dd', {}, ...value));
  return h('dl', { class: 'facts' },
    fact('State', badge(full.state), full.failures ? ` ${full.failures} failed replays` : ''),
    fact('Function', full.consumer ? h('a', { href: `/deadletters?function=${encodeURIComponent(full.consumer)}` }, full.consumer) : 'not named: it cannot be replayed'),
    fact(full.orderId ? 'Order' : 'Key', full.orderId ? h('a', { href: `/orders/${full.orderId}` }, h('code', {}, full.orderId)) : h('code', {}, full.key || 'none')),
    fact('Event', h('code', {}, `${full.eventType} ${full.eventId}`)),
    fact('Set aside', when(full.at), full.attempts ? ` after ${full.attempts} ${full.attempts === 1 ? 'attempt' : 'attempts'}` : ''),
    fact('Last answer', full.status || 'none'),
    full.origin ? fact('Record', h('code', {}, full.origin)) : '',
    full.traceId ? fact('Trace', full.traceUrl ? h('a', { href: full.traceUrl, target: '_blank', rel: 'noreferrer' }, h('code', {}, full.traceId)) : h('code', {}, full.traceId)) : '');
}

function headers(full) {
  return [h('h3', {}, 'Headers'), h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Headers' }, h('table', { class: 'headers' },
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Header'), h('th', { scope: 'col' }, 'Value'))),
    h('tbody', {}, Object.entries(full.headers).sort().map(([name, value]) => h('tr', {}, h('th', { scope: 'row' }, h('code', {}, name)), h('td', { class: 'wrap' }, h('code', {}, value)))))))];
}

function history(full) {
  return [
    full.actions.length ? [h('h3', {}, 'What was done'), h('ul', {}, full.actions.map((a) => h('li', { class: 'wrap' }, when(a.at), ` ${a.action.toLowerCase().replaceAll('_', ' ')} by ${a.actor} ${a.result ?? ''} ${a.detail ?? ''}`)))] : '',
    full.corrections.map((c) => h('details', {}, h('summary', {}, 'Corrected copy by ', c.actor, ' at ', when(c.at), c.reason ? `: ${c.reason}` : ''), diff(readable(c.original), readable(c.corrected), 'Original and corrected value'))),
  ];
}

// comparison shows how the letter differs from another one of its group.
function comparison(full) {
  if (full.alike.length === 0) return '';
  const select = h('select', { id: 'compare' }, full.alike.map((l) => h('option', { value: keyOf(l) }, `${keyOf(l)} · ${l.key}`)));
  const shown = h('div', {});
  async function show() {
    try {
      shown.replaceChildren(diff(lines(full), lines(await load(select.value)), `This letter and ${select.value}`));
    } catch (failure) {
      toast(failure.message, true);
    }
  }
  return [h('h3', {}, 'Compare'), h('div', { class: 'inline' }, h('div', { class: 'field' }, h('label', { for: 'compare' }, 'With another letter that failed in the same way'), select),
    h('button', { type: 'button', click: show }, 'Compare')), shown];
}

// correction sends a corrected copy.
function correction(full, close) {
  if (full.forged || full.cut || full.base64 || full.shortened || !full.consumer || !['open', 'parked'].includes(full.state)) return '';
  const value = h('textarea', { id: 'corrected', rows: 12, spellcheck: 'false' });
  value.value = readable(full.value);
  const record = forRecord('correct');
  const said = h('p', { class: 'said', role: 'status' });
  const send = h('button', { type: 'submit', class: 'primary' }, 'Send corrected copy');
  const form = h('form', { class: 'stack', submit: carryOut },
    h('p', { class: 'muted' }, `The copy goes to ${full.consumer} as the same event. Both versions are recorded; the letter stays as it is.`),
    h('div', { class: 'field' }, h('label', { for: 'corrected' }, 'Corrected payload'), value), record.element, said,
    h('div', { class: 'actions' }, h('button', { type: 'button', click: () => post(true) }, 'Check'), send));
  async function post(dryRun) {
    const { topic, partition, offset } = full;
    try {
      const came = await request('POST', '/console/deadletters/correct', { topic, partition, offset, value: value.value, dryRun, ...record.values() });
      said.textContent = came.detail;
      said.classList.toggle('bad', !came.ok);
      return came.ok;
    } catch (failure) {
      said.textContent = failure.message;
      said.classList.add('bad');
      return false;
    }
  }
  async function carryOut(event) {
    event.preventDefault();
    send.disabled = true;
    if (await post(false)) {
      toast(`The corrected copy was handled by ${full.consumer}.`);
      close();
    }
    send.disabled = false;
  }
  return h('details', { class: 'correct' }, h('summary', {}, 'Edit and replay'), form);
}
