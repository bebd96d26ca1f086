// Dead letters: events that a function could not handle.
import { h, put, reconcile, heading, badge, when, shortID } from './dom.js';
import { ask, inspect, record, selection } from './ask.js';

const states = ['open', 'parked', 'discarded', 'replayed'];
const forged = 'No source has this function, topic and dead-letter topic together: it cannot be replayed.';
const does = { replay: ['open', 'parked'], park: ['open'], discard: ['open', 'parked'] };

export default function deadletters({ main, live }) {
  let state = 'open';
  let letters = [];
  const body = h('tbody', {});
  const nothing = h('p', { class: 'empty' });
  const log = record();
  const verbs = [['replay', 'Replay', false], ['park', 'Park', false], ['discard', 'Discard', true]].map(([action, verb, danger]) => ({
    action, verb,
    button: h('button', { type: 'button', class: danger ? 'danger' : action === 'replay' ? 'primary' : null, click: () => change(action, verb, danger) }, verb),
  }));
  const all = h('input', { type: 'checkbox', 'aria-label': 'All letters on this page', change: () => { picks.all(letters.map((l) => [keyOf(l), l])); render(); } });
  const picks = selection(() => {
    const n = picks.picked.size;
    for (const v of verbs) {
      v.button.disabled = n === 0;
      put(v.button, n ? `${v.verb} ${n}` : v.verb);
    }
    all.checked = n > 0 && n === letters.length;
  });
  const tabs = states.map((value) => h('button', { type: 'button', 'aria-pressed': String(value === state), click: () => choose(value) }, value));
  main.append(heading('Dead letters', h('p', { class: 'muted' }, 'A replay goes to the function that failed, and to no other.')),
    h('section', { class: 'card' },
      h('div', { class: 'bar' }, h('div', { class: 'segments', role: 'group', 'aria-label': 'State' }, tabs), h('div', { class: 'actions' }, verbs.map((v) => v.button))),
      h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Letters' }, h('table', { class: 'list' },
        h('thead', {}, h('tr', {}, h('th', {}, all), ['Letter', 'Function', 'Event', 'Key', 'State', 'Set aside', 'Answer', 'Reason'].map((t) => h('th', { scope: 'col' }, t)))), body)), nothing),
    log.element);
  const keyOf = (l) => `${l.topic}/${l.partition}/${l.offset}`;

  function choose(value) {
    state = value;
    letters = [];
    picks.keep(new Set());
    tabs.forEach((tab, i) => tab.setAttribute('aria-pressed', String(states[i] === value)));
    for (const v of verbs) v.button.hidden = !does[v.action].includes(value);
    all.hidden = verbs.every((v) => v.button.hidden);
    body.replaceChildren();
    nothing.hidden = false;
    put(nothing, 'Looking…');
    live({
      [`deadletters:${value}`]: (data) => {
        letters = data.letters;
        picks.keep(new Set(letters.map(keyOf)));
        nothing.hidden = letters.length > 0 && !data.more;
        put(nothing, data.more ? 'There are more: these are the newest.' : value === 'open' ? 'There are no dead letters, as it should be.' : `No letter is ${value}.`);
        log.show(data.actions);
        render();
      },
    });
  }

  function render() {
    reconcile(body, letters, (l) => `${keyOf(l)}/${l.state}/${l.failures}`, (l) => h('tr', {},
      h('td', {}, all.hidden ? '' : picks.box(keyOf(l), l, `Letter ${keyOf(l)}`)),
      h('td', {}, h('button', { type: 'button', class: 'link', click: () => look(l) }, keyOf(l))),
      h('td', {}, l.consumer || 'not named', l.forged ? h('span', { class: 'bad', title: forged }, ' forged') : ''), h('td', {}, h('code', { title: l.eventId }, l.eventType)), h('td', {}, h('code', { title: l.key }, shortID(l.key))),
      h('td', {}, badge(l.state), l.failures ? ` ${l.failures} failed` : ''), h('td', {}, when(l.at)), h('td', {}, l.status || '–'), h('td', { class: 'wrap reason' }, l.error)),
    (row, l) => { const box = row.querySelector('input'); if (box) box.checked = picks.picked.has(keyOf(l)); });
  }

  function look(l) {
    inspect(keyOf(l), `/console/deadletters/${keyOf(l)}`, (full) => [
      full.forged ? h('p', { class: 'bad' }, forged) : '', h('p', { class: 'bad wrap' }, full.error), full.origin ? h('p', { class: 'muted' }, `The record was ${full.origin}.`) : '',
      full.cut ? h('p', { class: 'bad wrap' }, `The letter is cut and cannot be replayed: ${full.cut}.`) : '',
      h('h3', {}, 'Headers'), h('dl', { class: 'facts small' }, Object.entries(full.headers).sort().map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, h('code', { class: 'wrap' }, value))))),
      h('h3', {}, full.base64 ? 'Value, in base64' : 'Value'),
      full.shortened ? h('p', { class: 'muted' }, `It has ${full.size} bytes; this is its beginning. "harness deadletters show" prints all of it.`) : '', h('pre', { class: 'raw', tabindex: '0' }, full.value),
      full.actions.length ? [h('h3', {}, 'What was done'), h('ul', {}, full.actions.map((a) => h('li', { class: 'wrap' }, `${new Date(a.at).toLocaleString('en-GB')} ${a.action.toLowerCase().replaceAll('_', ' ')} by ${a.actor} ${a.result ?? ''} ${a.detail ?? ''}`)))] : '',
    ]);
  }

  function change(action, verb, danger) {
    const picked = [...picks.picked.values()].map(({ topic, partition, offset }) => ({ topic, partition, offset }));
    ask({ title: `${verb} ${picked.length} ${picked.length === 1 ? 'letter' : 'letters'}?`, verb, danger, path: '/console/deadletters', body: { action, letters: picked } });
  }

  choose(state);
}
