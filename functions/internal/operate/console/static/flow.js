// Flow: the deployed wiring, with the current rate on each arrow.
import { h, put, heading, count, plural, duration } from './dom.js';
import { load } from './http.js';

const size = { wide: { w: 132, h: 46, gapX: 66, gapY: 50 }, tall: { w: 116, h: 42, gapX: 5, gapY: 50 } };

// layers assigns functions and topics to layers: each after its inputs, and as close as possible to its outputs.
function layers(topology) {
  const edges = [
    ...topology.tells.map((t) => [`f:${t.function}`, `t:${t.topic}`]),
    ...topology.handles.map((e) => [`t:${e.topic}`, `f:${e.function}`]),
  ];
  const names = [...topology.functions.map((f) => `f:${f.name}`), ...topology.topics.map((t) => `t:${t.name}`)];
  const layer = Object.fromEntries(names.map((n) => [n, 0]));
  // One round per node is enough, and ends even if the wiring has a cycle.
  for (let round = 0; round < names.length; round++) {
    for (const [from, to] of edges) if (layer[to] <= layer[from] && layer[from] < names.length) layer[to] = layer[from] + 1;
  }
  for (let round = 0; round < names.length; round++) {
    for (const name of names) {
      const after = edges.filter(([from]) => from === name).map(([, to]) => layer[to]);
      if (after.length) layer[name] = Math.max(layer[name], Math.min(...after) - 1);
    }
  }
  const rows = [];
  for (const name of names) (rows[layer[name]] ??= []).push(name);
  // Each node goes to the mean position of its predecessors, so that few arrows cross.
  const place = {};
  rows.forEach((row) => {
    const mean = (name) => {
      const from = edges.filter(([, to]) => to === name).map(([n]) => place[n] ?? 0);
      return from.length ? from.reduce((a, b) => a + b, 0) / from.length : 1;
    };
    row.sort((a, b) => mean(a) - mean(b));
    row.forEach((name, i) => { place[name] = i - (row.length - 1) / 2; });
  });
  return { rows, place, edges };
}

function draw(topology, tall) {
  const s = tall ? size.tall : size.wide;
  const { rows, place, edges } = layers(topology);
  const across = Math.max(...rows.map((row) => row.length));
  const width = tall ? across * (s.w + s.gapX) + 4 : rows.length * s.w + (rows.length - 1) * s.gapX + 4;
  const height = tall ? rows.length * (s.h + s.gapY) : across * s.h + (across - 1) * s.gapY + 24;
  const at = {};
  rows.forEach((row, layer) => row.forEach((name) => {
    at[name] = tall
      ? { x: width / 2 + place[name] * (s.w + s.gapX), y: 24 + layer * (s.h + s.gapY) + s.h / 2 - 10 }
      : { x: 2 + layer * (s.w + s.gapX) + s.w / 2, y: height / 2 + place[name] * (s.h + s.gapY) };
  }));
  const arrows = {};
  const svg = h('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': 'Functions and topics, with arrows in the direction of the events. The table below has the same numbers.', class: tall ? 'flow tall' : 'flow' },
    h('defs', {}, h('marker', { id: 'tip', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto-start-reverse' },
      h('path', { d: 'M0 0 8 4 0 8z', class: 'tip' }))));
  const labels = [];
  for (const [from, to] of edges) {
    const a = at[from];
    const b = at[to];
    const [x1, y1, x2, y2] = tall ? [a.x, a.y + s.h / 2, b.x, b.y - s.h / 2 - 1] : [a.x + s.w / 2, a.y, b.x - s.w / 2 - 1, b.y];
    const bend = tall
      ? `C${x1} ${(y1 + y2) / 2} ${x2} ${(y1 + y2) / 2} ${x2} ${y2}`
      : `C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2} ${x2} ${y2}`;
    const path = h('path', { d: `M${x1} ${y1}${bend}`, class: 'arrow', 'marker-end': 'url(#tip)' });
    const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
    const rate = h('tspan', { x, y: y - 4 });
    const trouble = h('tspan', { x, y: y + 15 });
    const label = h('text', { class: 'number', 'text-anchor': 'middle' }, rate, trouble);
    svg.append(path);
    labels.push(label);
    arrows[`${from} ${to}`] = { path, label, rate, trouble };
  }
  const notes = {};
  for (const [name, { x, y }] of Object.entries(at)) {
    const topic = name.startsWith('t:');
    const text = name.slice(2);
    const starts = topology.functions.find((f) => !topic && f.name === text)?.starts;
    const note = h('text', { x, y: y + 14, class: 'note', 'text-anchor': 'middle' }, starts ? (starts === 'http' ? 'by HTTP' : 'by the clock') : '');
    svg.append(h('g', { class: topic ? 'node topic' : 'node function' },
      h('rect', { x: x - s.w / 2, y: y - s.h / 2, width: s.w, height: s.h, rx: topic ? s.h / 2 : 8 }),
      h('text', { x, y: topic || starts ? y - 1 : y + 5, 'text-anchor': 'middle' }, text), note));
    notes[name] = note;
  }
  svg.append(...labels);
  return { svg, arrows, notes };
}

const perSecond = (rate) => (rate >= 100 ? count(Math.round(rate)) : rate.toFixed(rate && rate < 10 ? 1 : 0));

export default async function flow({ main, live }) {
  const stage = h('div', { class: 'stage scroll', tabindex: '0', role: 'region', 'aria-label': 'Flow of the events' });
  const numbers = h('dl', { class: 'tiles' });
  const rows = h('tbody', {});
  const drawn = h('section', { class: 'card' }, stage);
  const consumers = h('section', { class: 'card', 'aria-labelledby': 'arrows-title' }, h('h2', { id: 'arrows-title' }, 'Consumers'),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Numbers of each arrow' }, h('table', {},
      h('thead', {}, h('tr', {}, ['Topic', 'Function', 'Rate', 'Lag', 'Dead letters', 'Retries'].map((t, i) => h('th', { scope: 'col', class: i > 1 ? 'right' : null }, t)))), rows)));
  main.append(heading('Flow', h('p', { class: 'muted' }, 'Events in flight, by the deployed wiring. Rates are over five seconds; ✕ counts dead letters since the start.')),
    numbers, drawn, consumers);
  let drawing;
  let last;
  const tiles = makeTiles(numbers);
  live({
    flow: { regions: [drawn, consumers], show(data) { last = data; if (drawing) show(data); } },
    counts: { regions: tiles.counted, show: tiles.counts },
    outboxes: { regions: [tiles.unsent], show: tiles.sent },
  });
  const topology = await load('/console/topology', stage);
  if (!topology) return;
  const narrow = matchMedia('(max-width: 700px)');
  const redraw = () => {
    drawing = draw(topology, narrow.matches);
    stage.replaceChildren(drawing.svg);
    if (last) show(last);
  };
  const cells = topology.handles.map((e) => {
    const cell = { rate: h('td', { class: 'right' }), lag: h('td', { class: 'right' }), dead: h('td', { class: 'right' }) };
    rows.append(h('tr', {}, h('td', {}, h('code', {}, e.topic)), h('td', {}, e.function), cell.rate, cell.lag, cell.dead, h('td', { class: 'right' }, e.retry)));
    return cell;
  });
  function show(data) {
    for (const t of topology.tells) {
      const { path, rate } = drawing.arrows[`f:${t.function} t:${t.topic}`];
      const traffic = data.topics[t.topic] ?? { rate: 0, total: 0 };
      const only = topology.tells.filter((other) => other.topic === t.topic).length === 1;
      path.dataset.state = traffic.rate > 0 && only ? 'busy' : 'idle';
      put(rate, traffic.rate > 0 && only ? `${perSecond(traffic.rate)}/s` : '');
    }
    for (const t of topology.topics) put(drawing.notes[`t:${t.name}`], plural(data.topics[t.name]?.total ?? 0, 'record'));
    topology.handles.forEach((e, i) => {
      const source = data.sources[e.group] ?? { rate: 0, lag: 0, deadLetters: 0, lost: 0 };
      const { path, label, rate, trouble } = drawing.arrows[`t:${e.topic} f:${e.function}`];
      path.dataset.state = source.deadLetters > 0 || source.lost > 0 ? 'bad' : source.lag > 100 ? 'late' : source.rate > 0 || source.lag > 0 ? 'busy' : 'idle';
      put(rate, source.rate > 0 ? `${perSecond(source.rate)}/s` : '');
      put(trouble, [source.lag > 0 && `lag ${count(source.lag)}`, source.deadLetters > 0 && `✕ ${count(source.deadLetters)}`, source.lost > 0 && `${count(source.lost)} lost`].filter(Boolean).join(' '));
      label.dataset.state = path.dataset.state;
      put(cells[i].rate, `${perSecond(source.rate)}/s`);
      put(cells[i].lag, source.lost > 0 ? `${count(source.lag)} · ${count(source.lost)} lost` : count(source.lag));
      cells[i].lag.dataset.state = source.lost > 0 ? 'bad' : '';
      put(cells[i].dead, count(source.deadLetters));
      cells[i].dead.dataset.state = source.deadLetters > 0 ? 'bad' : '';
    });
  }
  redraw();
  narrow.addEventListener('change', redraw);
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
