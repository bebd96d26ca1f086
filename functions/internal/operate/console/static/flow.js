// Flow: the deployed wiring, with the current rate on each arrow.
import { h, put, reconcile, heading, count, plural, duration } from './dom.js';
import { draw } from './flowdraw.js';
import { spark } from './spark.js';
import { load } from './http.js';
import { publishing } from './flowpublishers.js';

const behind = 100; // events, from which on a consumer is late

const brief = (n) => (n < 10_000 ? count(n) : new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 }).format(n));
const perSecond = (rate) => (rate >= 100 ? count(Math.round(rate)) : rate.toFixed(rate && rate < 10 ? 1 : 0));

export default async function flow({ main, live }) {
  const stage = h('div', { class: 'stage scroll', tabindex: '0', role: 'region', 'aria-label': 'Flow of the events' });
  const numbers = h('dl', { class: 'tiles' });
  const rows = h('tbody', {});
  const troubles = h('ul', { class: 'troubles', 'aria-label': 'What is wrong' });
  const publishers = publishing(() => { if (drawing && last) show(last); });
  const drawn = h('section', { class: 'card' }, stage, publishers.list, troubles);
  const consumers = h('section', { class: 'card', 'aria-labelledby': 'arrows-title' }, h('div', { class: 'bar' }, h('h2', { id: 'arrows-title' }, 'Consumers'), h('span', { class: 'muted' }, 'Now, and the last 15 minutes')),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Numbers of each arrow' }, h('table', {},
      h('thead', {}, h('tr', {}, ['Topic', 'Function', 'Rate', 'Lag', 'Time per event', 'Dead letters', 'Retries'].map((t, i) => h('th', { scope: 'col', class: i > 1 ? 'right' : null }, t)))), rows)));
  main.append(heading('Flow', h('p', { class: 'muted' }, 'Events in flight, by the deployed wiring. Rates are over five seconds; ✕ counts dead letters that wait for an operator. A line is the rate of the last 15 minutes.')),
    numbers, drawn, consumers);
  let drawing;
  let last;
  let history;
  const tiles = makeTiles(numbers);
  live({
    flow: { regions: [drawn, consumers], show(data) { last = data; if (drawing) show(data); } },
    history: { regions: [], show(data) { history = data; if (drawing) look(); } },
    counts: { regions: tiles.counted, show: tiles.counts },
    outboxes: { regions: [tiles.unsent, publishers.list], show(data) { tiles.sent(data); publishers.waiting(data); } },
    connectors: { regions: [], show: publishers.connectors }, // a state that cannot be read is one of its own
  });
  const topology = await load('/console/topology', stage);
  if (!topology) return;
  publishers.draw(topology);
  const narrow = matchMedia('(max-width: 700px)');
  const redraw = () => {
    drawing = draw(topology, narrow.matches);
    stage.replaceChildren(drawing.svg);
    if (history) look();
    if (last) show(last);
  };
  const cells = topology.handles.map((e) => {
    const number = () => ({ element: h('td', { class: 'right' }), text: h('span', {}) });
    const cell = { rate: number(), lag: number(), millis: number(), dead: h('td', { class: 'right' }) };
    const sparks = { rate: spark((v) => `${perSecond(v)}/s`), lag: spark(count), millis: spark((v) => duration(v * 1000)) };
    for (const [name, line] of Object.entries(sparks)) cell[name].element.append(cell[name].text, line.element);
    rows.append(h('tr', {}, h('td', {}, h('a', { href: `/docs/events/${e.topic}`, 'data-outside': true }, h('code', {}, e.topic))), h('td', {}, e.function), cell.rate.element, cell.lag.element, cell.millis.element, cell.dead, h('td', { class: 'right' }, e.retry)));
    return { ...cell, sparks };
  });

  // look shows the history.
  function look() {
    const seen = (rate) => (rate?.some((v) => v > 0) ? { at: history.at, rate } : null);
    for (const t of topology.tells) if (alone(t)) drawing.arrows[`f:${t.function} t:${t.topic}`].history = seen(history.topics[t.topic]);
    topology.handles.forEach((e, i) => {
      const source = history.sources[e.group] ?? { rate: [], lag: [], millis: [] };
      drawing.arrows[`t:${e.topic} f:${e.function}`].history = seen(source.rate);
      for (const [name, line] of Object.entries(cells[i].sparks)) line.show(history.at, source[name]);
      put(cells[i].millis.text, source.millis.at(-1) === null || source.millis.length === 0 ? '–' : duration(source.millis.at(-1) * 1000));
    });
    drawing.settle();
  }

  // alone returns whether all events of a topic come along one arrow; else its rate is on none.
  const alone = (t) => topology.tells.filter((other) => other.topic === t.topic).length === 1;

  function show(data) {
    for (const t of topology.tells) {
      const arrow = drawing.arrows[`f:${t.function} t:${t.topic}`];
      const { rate } = data.topics[t.topic] ?? { rate: 0 };
      const by = publishers.of(t.topic);
      label(arrow, by.state || (rate > 0 && alone(t) ? 'busy' : 'idle'), [rate > 0 && alone(t) && `${perSecond(rate)}/s`, by.label], [`${t.function} emits ${t.topic}`, by.trouble].filter(Boolean).join('. '));
    }
    for (const t of topology.topics) put(drawing.notes[`t:${t.name}`], plural(data.topics[t.name]?.total ?? 0, 'record'));
    const wrong = publishers.troubles();
    topology.handles.forEach((e, i) => {
      const source = data.sources[e.group] ?? { rate: 0, lag: 0, open: 0, lost: 0, reasons: {} };
      const state = source.open > 0 || source.lost > 0 ? 'bad' : source.lag > behind ? 'late' : source.rate > 0 || source.lag > 0 ? 'busy' : 'idle';
      const why = reasonsOf(e, source, data.topics[e.topic]);
      label(drawing.arrows[`t:${e.topic} f:${e.function}`], state, [source.rate > 0 && `${perSecond(source.rate)}/s`, source.lag > 0 && `lag ${brief(source.lag)}`,
        source.lost > 0 && `${brief(source.lost)} lost`, source.open > 0 && `✕ ${brief(source.open)}`], [`${e.topic} to ${e.function}`, ...why.map((w) => w.text)].join('. '));
      wrong.push(...why.map((w) => ({ ...w, state, key: `${e.group} ${w.kind}` })));
      put(cells[i].rate.text, `${perSecond(source.rate)}/s`);
      put(cells[i].lag.text, source.lost > 0 ? `${count(source.lag)} · ${count(source.lost)} lost` : count(source.lag));
      cells[i].lag.element.dataset.state = source.lost > 0 ? 'bad' : '';
      put(cells[i].dead, count(source.open));
      cells[i].dead.dataset.state = source.open > 0 ? 'bad' : '';
    });
    reconcile(troubles, wrong, (w) => w.key, (w) => h('li', {}, h('span', {}), ' ', w.kind === 'dead' ? h('a', { href: '/deadletters' }, 'Dead letters') : ''), (line, w) => {
      line.dataset.state = w.state;
      put(line.firstElementChild, w.text);
    });
    drawing.settle();
  }
  redraw();
  narrow.addEventListener('change', redraw);
}

function label(arrow, state, lines, title) {
  arrow.lines = lines.filter(Boolean);
  arrow.path.dataset.state = arrow.text.dataset.state = state;
  put(arrow.title, title);
}

// What the reasons of dead letters mean; others are refusals by status.
const meanings = { poison: 'it said that they can never succeed', exhausted: 'they failed until the last retry' };

// reasonsOf says in sentences why an arrow is not as it should be.
function reasonsOf(e, source, topic) {
  const all = [];
  if (source.open > 0) {
    const reasons = Object.entries(source.reasons ?? {}).map(([reason, n]) => `${count(n)} ${reason}${meanings[reason] ? `, since ${meanings[reason]}` : ''}`);
    all.push({ kind: 'dead', text: `${plural(source.open, 'event')} of ${e.topic} ${source.open === 1 ? 'waits' : 'wait'} as dead letters of ${e.function}${reasons.length ? `. It set aside since the start: ${reasons.join('; ')}` : ''}.` });
  }
  if (source.lost > 0) all.push({ kind: 'lost', text: `${plural(source.lost, 'record')} of ${e.topic} ${source.lost === 1 ? 'was' : 'were'} removed before ${e.function} handled ${source.lost === 1 ? 'it' : 'them'}: it was down for longer than the topic keeps records.` });
  if (source.lag > behind) all.push({ kind: 'late', text: `${e.function} is ${plural(source.lag, 'event')} of ${e.topic} behind: it handles ${perSecond(source.rate)}/s, and ${perSecond(topic?.rate ?? 0)}/s arrive.` });
  return all;
}

function makeTiles(list) {
  const values = {};
  const tile = (key, title, href) => {
    values[key] = h('dd', {}, '–');
    list.append(h('div', { class: 'tile' }, h('dt', {}, h('a', { href }, title)), values[key]));
  };
  tile('PENDING', 'Pending', '/orders');
  tile('CONFIRMED', 'Confirmed', '/orders');
  tile('FAILED', 'Failed', '/orders');
  tile('CANCELED', 'Canceled', '/orders');
  tile('unsent', 'Unsent events', '/outbox');
  return {
    counted: Object.entries(values).filter(([key]) => key !== 'unsent').map(([, value]) => value),
    unsent: values.unsent,
    counts: (data) => Object.entries(data).forEach(([status, n]) => put(values[status], count(n))),
    sent(outboxes) {
      const all = Object.values(outboxes);
      const waiting = all.reduce((sum, o) => sum + o.waiting, 0);
      const oldest = Math.max(...all.map((o) => o.oldestSeconds));
      put(values.unsent, count(waiting) + (waiting && oldest > 2 ? ` · ${duration(oldest * 1e6)} old` : ''));
    },
  };
}
