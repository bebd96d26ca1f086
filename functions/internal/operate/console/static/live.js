// Live: the stream of changes, and what the page says when it is not live. Old numbers must not look like current ones.
import { h, put } from './dom.js';
import { request } from './http.js';
import { age, when } from './time.js';

const silentAfter = 3000; // the harness sends something each second
const reopenAfter = 1000;

const advice = {
  harness: 'What you see is old, and nothing can be changed here. The page reconnects by itself. Is the harness still running?',
  database: 'Orders are refused or wait until it answers. Consumers wait too: this costs no attempts and loses no event.',
  provider: 'What you see is old, and nothing can be changed here, since the identity provider cannot say whether you still may. The page goes on by itself when it answers.',
  kafka: 'Orders are accepted, and their events wait in the outboxes. They are sent when it is back.',
  connect: 'Events are relayed instead, once they have waited for OUTBOX_CDC_PATIENCE. "harness cdc status" says more.',
};
const names = { harness: 'The harness does not answer', provider: 'The identity provider does not answer', database: 'The database is away', kafka: 'Kafka is away', connect: 'Change data capture stands still' };

const banner = document.getElementById('outage');
const [alert, ages] = banner.children;
const chip = document.getElementById('connection');

let source; // of the events
let handlers = {};
let views = {}; // what is known of each watched view
let outages = [];
let lastSign = Date.now(); // of the harness, by the clock of the browser
let ahead = 0; // how much the harness's clock is ahead of the browser's
let opened = false;
let unconfirmed = false; // the harness answers, but the identity provider does not confirm the session
let stopped = false; // for good

// watch calls the handler of each view with its changes, in place of those before. A handler is a function, or {show, regions}
// with the elements that its numbers are in.
export function watch(wanted) {
  source?.close();
  handlers = wanted;
  views = Object.fromEntries(Object.keys(wanted).map((name) => [name, {}]));
  open();
  render();
}

export function end() {
  source?.close();
}

// stop ends the stream for good, and says nothing more: the session has ended.
export function stop() {
  end();
  source = null;
  stopped = true;
  banner.hidden = true;
  chip.hidden = true;
}

function open() {
  const mine = new EventSource(`/console/events?${['outages', ...Object.keys(handlers)].map((view) => `view=${encodeURIComponent(view)}`).join('&')}`);
  source = mine;
  mine.onmessage = (message) => {
    opened = true;
    unconfirmed = false;
    lastSign = Date.now();
    receive(JSON.parse(message.data));
    render();
  };
  mine.onerror = () => {
    // A browser does not try again after an answer that is no stream, such as that of a proxy without a harness behind it.
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => source === mine && diagnose(mine), reopenAfter);
  };
}

// diagnose finds out why there is no stream, which a browser does not tell, and tries again.
async function diagnose(mine) {
  let status = 200;
  let problem = {};
  await request('GET', '/console/settings').catch((failure) => ({ status, problem } = failure)); // for 401 it says that the session has ended
  if (source !== mine) return;
  if (status === 403) location.reload(); // the role is gone: the server says so
  unconfirmed = status === 503 && problem.status === 503;
  open();
}

function receive({ now, view, from, data, error, at }) {
  if (now) {
    ahead = Date.parse(now) - Date.now();
    return;
  }
  if (view === 'outages') {
    outages = data ?? [];
    return;
  }
  const handler = handlers[view];
  if (!handler) return;
  views[view] = { from, error, at };
  if (error) return;
  (handler.show ?? handler)(data);
}

// render marks what is old, and says why. It runs on each message and, for the ages, by the clock.
function render() {
  if (stopped) return;
  const now = Date.now() + ahead;
  const silent = Date.now() - lastSign > silentAfter;
  if (silent) for (const view of Object.values(views)) Object.assign(view, { stale: true, at: view.at ?? new Date(lastSign + ahead).toISOString() }); // until it is read again
  const troubles = silent ? [{ what: unconfirmed ? 'provider' : 'harness', since: new Date(lastSign + ahead).toISOString() }] : [...outages];
  const old = new Map(); // region -> since when it is old, 0 if it was never read
  const failed = [];
  for (const [name, view] of Object.entries(views)) {
    const away = troubles.find((t) => t.what === 'harness' || t.what === 'provider' || !view.from || view.from.includes(t.what)); // what it is read from comes with the first answer
    if (!away && !view.error && !view.stale) continue;
    if (!away && view.error && !failed.includes(view.error)) failed.push(view.error);
    const since = view.from === undefined || (view.error && !view.at) ? 0 : Date.parse(view.at ?? away.since);
    for (const region of handlers[name].regions ?? [document.getElementById('main')]) old.set(region, Math.min(since, old.get(region) ?? since));
  }
  for (const region of document.querySelectorAll('[data-old]')) if (!old.has(region)) delete region.dataset.old;
  for (const [region, since] of old) region.dataset.old = since ? `${age(now - since)} old` : 'not read yet';

  say(troubles, failed);
  const known = [...old.values()].filter((since) => since > 0);
  const unread = known.length < old.size;
  put(ages, known.length ? `What is grey is up to ${age(now - Math.min(...known))} old${unread ? ', or could not be read' : ''}.` : unread ? 'What is grey could not be read.' : '');
  chip.dataset.state = silent || troubles.length || failed.length ? 'trouble' : opened ? 'live' : 'connecting';
  put(chip, silent ? 'no answer' : troubles.length ? 'outage' : failed.length ? 'trouble' : chip.dataset.state);
}

// say shows the troubles; it leaves the text alone while it is the same, since screen readers read each change.
function say(troubles, failed) {
  const text = JSON.stringify([troubles, failed]);
  banner.hidden = troubles.length + failed.length === 0;
  if (alert.dataset.said === text) return;
  alert.dataset.said = text;
  alert.replaceChildren(
    ...troubles.map((t) => h('p', {}, h('strong', {}, names[t.what] ?? t.what), ' since ', when(t.since), t.why ? `: it ${t.why}. ` : '. ', advice[t.what] ?? '')),
    ...failed.map((reason) => h('p', {}, h('strong', {}, 'Some numbers cannot be read'), `: ${reason}`)));
}

setInterval(render, 500);
