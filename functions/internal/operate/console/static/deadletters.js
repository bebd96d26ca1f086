// Dead letters: events that a function could not handle, by what went wrong. What is shown is in the address of the page.
import { h, put, reconcile, heading, badge, count, when, shortID } from './dom.js';
import { record, selection } from './ask.js';
import { forged, keyOf, showLetter } from './letter.js';
import { jobs, letters as counted, startJob } from './letterjobs.js';

const states = ['open', 'parked', 'discarded', 'replayed', 'all'];
const does = { replay: ['open', 'parked', 'all'], park: ['open', 'all'], discard: ['open', 'parked', 'all'] };
const perPage = 50;

export default function deadletters({ main, live }) {
  let query = {}; // the parameters of the address
  let data; // of the server
  let open = ''; // the letter in the dialog
  const log = record();
  const running = jobs();
  const body = h('tbody', {});
  const groups = h('tbody', {});
  const nothing = h('p', { class: 'empty' });
  const left = h('p', { class: 'muted', hidden: true });
  const groupCard = h('section', { class: 'card', 'aria-labelledby': 'groups-title', hidden: true }, h('div', { class: 'bar' }, h('h2', { id: 'groups-title' }, 'What went wrong'), left),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Groups of letters' }, h('table', { class: 'groups' },
      h('thead', {}, h('tr', {}, ['Letters', 'Function', 'Reason', 'First', 'Last'].map((t, i) => h('th', { scope: 'col', class: i === 0 ? 'right' : null }, t)))), groups)));
  const verbs = [['replay', 'Replay', false], ['park', 'Park', false], ['discard', 'Discard', true]].map(([action, verb, danger]) => ({
    action, verb,
    button: h('button', { type: 'button', class: danger ? 'danger' : action === 'replay' ? 'primary' : null, click: () => change(action, verb, danger) }, verb),
  }));
  const all = h('input', { type: 'checkbox', 'aria-label': 'All letters on this page', change: () => { picks.all(data.letters.map((l) => [keyOf(l), l])); render(); } });
  const picks = selection(name);
  const tabs = states.map((value) => h('button', { type: 'button', click: () => go({ state: value }) }, value));
  const fn = h('select', { id: 'function', change: () => go({ function: fn.value }) });
  const key = h('input', { id: 'key', type: 'search', autocomplete: 'off', placeholder: 'the whole id', change: () => go({ key: key.value.trim() }) });
  const clear = h('button', { type: 'button', class: 'quiet', click: () => go({ function: '', key: '', group: '', topic: '' }) }, 'Clear filters');
  const where = h('p', { class: 'muted', role: 'status' });
  const newer = h('button', { type: 'button', hidden: true, click: () => go({ page: query.page - 1 }) }, 'Newer');
  const older = h('button', { type: 'button', hidden: true, click: () => go({ page: query.page + 1 }) }, 'Older');
  main.append(heading('Dead letters', h('p', { class: 'muted' }, 'A replay goes to the function that failed, and to no other.')), running.element, groupCard,
    h('section', { class: 'card', 'aria-label': 'Letters' },
      h('div', { class: 'bar' }, h('div', { class: 'segments', role: 'group', 'aria-label': 'State' }, tabs), h('div', { class: 'actions' }, verbs.map((v) => v.button))),
      h('div', { class: 'bar filters' }, h('label', { for: 'function' }, 'Function'), fn, h('label', { for: 'key' }, 'Order or key'), key, clear),
      h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'List of letters' }, h('table', { class: 'list letters' },
        h('thead', {}, h('tr', {}, h('td', {}, all), ['Letter', 'Function', 'Reason', 'Order or key', 'Event', 'State', 'Set aside', 'Answer'].map((t) => h('th', { scope: 'col' }, t)))), body)), nothing,
      h('div', { class: 'bar pager' }, where, h('div', { class: 'actions' }, newer, older))),
    log.element);

  // read takes the parameters from the address.
  function read() {
    const given = Object.fromEntries(new URLSearchParams(location.search));
    query = { state: states.includes(given.state) ? given.state : 'open', function: given.function ?? '', group: given.group ?? '', topic: given.topic ?? '', key: given.key ?? '', page: Math.max(1, Math.trunc(Number(given.page)) || 1), letter: given.letter ?? '' };
  }

  // parameters returns what the server filters by.
  function parameters(...without) {
    const wanted = { ...query, state: query.state === 'all' ? '' : query.state, page: query.page > 1 ? query.page : '', letter: '' };
    return new URLSearchParams(Object.entries(wanted).filter(([name, value]) => value !== '' && !without.includes(name))).toString();
  }

  // go shows other letters. A change of the filters begins with the first page.
  function go(changed) {
    const next = new URLSearchParams(Object.entries({ ...query, page: 1, letter: '', ...changed })
      .filter(([name, value]) => value !== '' && !(name === 'page' && value === 1) && !(name === 'state' && value === 'open')));
    history.pushState(null, '', next.size ? `?${next}` : location.pathname);
    show();
  }

  function show() {
    read();
    data = null;
    picks.keep(new Set());
    tabs.forEach((tab, i) => tab.setAttribute('aria-pressed', String(states[i] === query.state)));
    for (const v of verbs) v.button.hidden = !does[v.action].includes(query.state);
    all.hidden = verbs.every((v) => v.button.hidden);
    key.value = query.key;
    clear.hidden = !query.function && !query.key && !query.group && !query.topic;
    body.replaceChildren();
    nothing.hidden = false;
    put(nothing, 'Looking…');
    live({
      [`deadletters:${parameters()}`](received) {
        data = received;
        picks.keep(new Set(data.letters.map(keyOf)));
        log.show(data.actions);
        render();
      },
      letterjobs: running.show,
    });
    if (query.letter) look(query.letter);
  }

  // name says on the buttons which letters they change: those that are picked, else all that match.
  function name() {
    const n = picks.picked.size;
    for (const v of verbs) {
      v.button.disabled = n === 0 && !data?.total;
      put(v.button, n ? `${v.verb} ${count(n)}` : data?.total ? `${v.verb} all ${count(data.total)}` : v.verb);
    }
    all.checked = n > 0 && n === data?.letters.length;
  }

  function render() {
    name();
    tabs.forEach((tab, i) => put(tab, states[i] === 'all' ? 'all' : `${states[i]} ${count(data.states[states[i]] ?? 0)}`));
    choices();
    showGroups();
    nothing.hidden = data.letters.length > 0;
    put(nothing, data.total > 0 ? 'There are no letters on this page.' : clear.hidden && query.state === 'open' ? 'There are no open dead letters.' : 'No letter matches.');
    const from = (data.page - 1) * perPage;
    put(where, data.letters.length ? `${count(from + 1)} to ${count(from + data.letters.length)} of ${counted(data.total)}, the newest first` : '');
    newer.disabled = data.page <= 1;
    older.disabled = data.page >= data.pages;
    newer.hidden = older.hidden = data.pages < 2 && data.page < 2;
    reconcile(body, data.letters, (l) => `${keyOf(l)}/${l.state}/${l.failures}`, (l) => h('tr', {},
      h('td', {}, all.hidden ? '' : picks.box(keyOf(l), l, `Letter ${keyOf(l)}`)),
      h('td', {}, h('button', { type: 'button', class: 'link', click: () => look(keyOf(l)) }, keyOf(l))),
      h('td', {}, l.consumer || 'not named', l.forged ? h('span', { class: 'bad', title: forged }, ' forged') : ''), h('td', { class: 'wrap reason' }, l.error),
      h('td', {}, h('code', { title: l.key }, shortID(l.key))), h('td', {}, h('code', { title: l.eventId }, l.eventType)),
      h('td', {}, badge(l.state), l.failures ? ` ${l.failures} failed` : ''), h('td', {}, when(l.at)), h('td', {}, l.status || '–')),
    (row, l) => { const box = row.querySelector('input'); if (box) box.checked = picks.picked.has(keyOf(l)); });
  }

  // choices offers the functions that have letters, and the one of the address.
  function choices() {
    const names = [...new Set([...data.consumers, query.function])].filter(Boolean).sort();
    if (fn.dataset.names === names.join()) return;
    fn.dataset.names = names.join();
    fn.replaceChildren(h('option', { value: '' }, 'all functions'), ...names.map((n) => h('option', { value: n, selected: n === query.function }, n)));
    fn.value = query.function;
  }

  function showGroups() {
    groupCard.hidden = data.groups.length === 0;
    left.hidden = data.allGroups <= data.groups.length && !data.beyond;
    put(left, [data.allGroups > data.groups.length ? `The ${data.groups.length} largest of ${count(data.allGroups)} groups.` : '', data.beyond ? `${counted(data.beyond)} beyond what the console keeps: "harness deadletters list" reads them.` : ''].filter(Boolean).join(' '));
    reconcile(groups, data.groups, (g) => `${g.id}/${g.count}/${g.last}/${g.id === query.group}`, (g) => h('tr', { 'data-current': g.id === query.group },
      h('td', { class: 'right' }, count(g.count)), h('td', {}, g.consumer || 'not named'),
      h('td', { class: 'wrap reason' }, h('button', { type: 'button', class: 'link', 'aria-pressed': String(g.id === query.group), title: g.id === query.group ? 'Show all groups' : 'Show only these letters', click: () => go({ group: g.id === query.group ? '' : g.id }) }, g.error || 'no reason given')),
      h('td', {}, when(g.first)), h('td', {}, when(g.last))), () => {});
  }

  // look opens a letter. Its place is in the address, so that the address can be passed on.
  function look(place) {
    if (open === place) return;
    open = place;
    const address = new URL(location.href);
    address.searchParams.set('letter', place);
    history.replaceState(null, '', address);
    showLetter(place, () => {
      open = '';
      if (!main.contains(body)) return; // another page is shown
      const without = new URL(location.href);
      without.searchParams.delete('letter');
      history.replaceState(null, '', without);
    });
  }

  function change(action, verb, danger) {
    const places = [...picks.picked.values()].map(({ topic, partition, offset }) => ({ topic, partition, offset }));
    startJob({ action, verb, danger, what: places.length ? { letters: places } : { filter: parameters('page') }, started: () => picks.keep(new Set()) || (data && render()) });
  }

  show();
}
