// The drawing of the flow: where functions and topics are, the arrows between them, and their labels, which never cover
// anything.
import { h } from './dom.js';
import { lineOf } from './spark.js';

const size = { wide: { w: 132, h: 46, gapX: 92, gapY: 84, line: 15, letter: 7.6 }, tall: { w: 116, h: 42, gapX: 5, gapY: 116, line: 14, letter: 7.1 } };
const sparkSize = { w: 52, h: 12 };

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

// pointAt returns the point of a cubic curve at t from 0 to 1.
function pointAt([a, b, c, d], t) {
  const mix = (i) => (1 - t) ** 3 * a[i] + 3 * (1 - t) ** 2 * t * b[i] + 3 * (1 - t) * t * t * c[i] + t ** 3 * d[i];
  return { x: mix(0), y: mix(1) };
}

const overlap = (a, b) => Math.max(0, Math.min(a.x + a.w, b.x + b.w) - Math.max(a.x, b.x)) * Math.max(0, Math.min(a.y + a.h, b.y + b.h) - Math.max(a.y, b.y));

const inside = (box, bounds) => box.x >= 0 && box.y >= 0 && box.x + box.w <= bounds.w && box.y + box.h <= bounds.h;

const along = [0.5, ...[1, 2, 3, 4, 5, 6, 7, 8].flatMap((n) => [0.5 - n * 0.05, 0.5 + n * 0.05])];

// placeFor finds a free place for a box near a curve; null if there is none.
function placeFor(curve, box, taken, bounds) {
  for (const away of [0, 1, -1]) {
    for (const t of along) {
      const p = pointAt(curve, t);
      for (const [dx, dy] of away ? [[away * (box.w / 2 + 5), 0], [0, away * (box.h / 2 + 4)]] : [[0, 0]]) {
        const place = { x: p.x + dx - box.w / 2, y: p.y + dy - box.h / 2, ...box };
        if (inside(place, bounds) && taken.every((other) => overlap(place, other) === 0)) return place;
      }
    }
  }
  return null;
}

const longest = 15; // letters of a function's name on one line

// linesOf breaks the name of a function that is too long for its node.
function linesOf(name, x, y, line) {
  const at = name.lastIndexOf('-') + 1;
  if (name.length <= longest || at === 0) return name;
  return [name.slice(0, at), name.slice(at)].map((part, n) => h('tspan', { x, y: y - 2 + n * line }, part));
}

const urgency = { bad: 0, late: 1, busy: 2, idle: 3 };

export function draw(topology, tall) {
  const s = tall ? size.tall : size.wide;
  const { rows, place, edges } = layers(topology);
  const across = Math.max(...rows.map((row) => row.length));
  const width = tall ? across * (s.w + s.gapX) + 4 : rows.length * s.w + (rows.length - 1) * s.gapX + 4;
  const height = tall ? rows.length * (s.h + s.gapY) - s.gapY + 30 : across * s.h + (across - 1) * s.gapY + 24;
  const at = {};
  const layerOf = {};
  rows.forEach((row, layer) => row.forEach((name) => { layerOf[name] = layer; }));
  rows.forEach((row, layer) => row.forEach((name) => {
    at[name] = tall
      ? { x: width / 2 + place[name] * (s.w + s.gapX), y: 24 + layer * (s.h + s.gapY) + s.h / 2 - 10 }
      : { x: 2 + layer * (s.w + s.gapX) + s.w / 2, y: height / 2 + place[name] * (s.h + s.gapY) };
  }));
  const nodes = Object.values(at).map(({ x, y }) => ({ x: x - s.w / 2 - 2, y: y - s.h / 2 - 2, w: s.w + 4, h: s.h + 4 }));
  const arrows = {};
  const svg = h('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': 'Functions and topics, with arrows in the direction of the events. The table below has the same numbers.', class: tall ? 'flow tall' : 'flow' },
    h('defs', {}, h('marker', { id: 'tip', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: 'auto-start-reverse' },
      h('path', { d: 'M0 0 8 4 0 8z', class: 'tip' }))));
  const labels = [];
  for (const [from, to] of edges) {
    const a = at[from];
    const b = at[to];
    const [x1, y1, x2, y2] = tall ? [a.x, a.y + s.h / 2, b.x, b.y - s.h / 2 - 1] : [a.x + s.w / 2, a.y, b.x - s.w / 2 - 1, b.y];
    // An arrow that passes other layers turns before the first of them, whose nodes it would cross.
    const passes = layerOf[to] - layerOf[from] > 1;
    const turn = tall ? (passes ? y1 + 0.6 * s.gapY : (y1 + y2) / 2) : (passes ? x1 + 0.6 * s.gapX : (x1 + x2) / 2);
    const curve = tall ? [[x1, y1], [x1, turn], [x2, turn], [x2, y2]] : [[x1, y1], [turn, y1], [turn, y2], [x2, y2]];
    const path = h('path', { d: `M${curve[0].join(' ')}C${curve.slice(1).flat().join(' ')}`, class: 'arrow', 'data-state': 'idle', 'marker-end': 'url(#tip)' });
    const text = h('text', { class: 'number', 'text-anchor': 'middle' });
    const line = h('path', { class: 'spark' });
    const title = h('title', {});
    const ground = h('rect', { class: 'ground', rx: 4 });
    const label = h('g', { class: 'label' }, title, ground, line, text);
    svg.append(path);
    labels.push(label);
    arrows[`${from} ${to}`] = { path, curve, ground, text, line, title, lines: [], history: null };
  }
  const notes = {};
  for (const [name, { x, y }] of Object.entries(at)) {
    const topic = name.startsWith('t:');
    const text = name.slice(2);
    const starts = topology.functions.find((f) => !topic && f.name === text)?.starts;
    const note = h('text', { x, y: y + 14, class: 'note', 'text-anchor': 'middle' }, starts ? (starts === 'http' ? 'by HTTP' : 'by the clock') : '');
    svg.append(h('g', { class: topic ? 'node topic' : 'node function' },
      h('rect', { x: x - s.w / 2, y: y - s.h / 2, width: s.w, height: s.h, rx: topic ? s.h / 2 : 8 }),
      h('text', { x, y: topic || starts ? y - 1 : y + 5, 'text-anchor': 'middle' }, topic || starts ? text : linesOf(text, x, y, s.line)), note));
    notes[name] = note;
  }
  svg.append(...labels);

  // settle places the labels, what is urgent first, and then the history of the rates. Without enough room a label has only its
  // last line, or is left out, and so is a history: the table has all of it.
  function settle() {
    const taken = [...nodes];
    const bounds = { w: width, h: height };
    const all = Object.values(arrows).sort((a, b) => urgency[a.path.dataset.state] - urgency[b.path.dataset.state]);
    for (const arrow of all) {
      arrow.place = null;
      arrow.text.replaceChildren();
      arrow.line.setAttribute('d', '');
      arrow.ground.setAttribute('width', 0);
      for (const lines of [arrow.lines, arrow.lines.slice(-1)]) {
        if (!lines.length || arrow.place) continue;
        arrow.place = placeFor(arrow.curve, { w: Math.max(...lines.map((l) => l.length)) * s.letter + 6, h: lines.length * s.line + 2 }, taken, bounds);
        if (!arrow.place) continue;
        taken.push(arrow.place);
        const { x, y, w, h: high } = arrow.place;
        for (const [name, value] of Object.entries({ x, y, width: w, height: high })) arrow.ground.setAttribute(name, value);
        arrow.text.append(...lines.map((l, i) => h('tspan', { x: x + w / 2, y: y + (i + 1) * s.line - 3 }, l)));
      }
    }
    for (const { curve, history, line, place } of tall ? [] : all) {
      if (!history) continue;
      const below = place && { x: place.x + (place.w - sparkSize.w) / 2, y: place.y + place.h, ...sparkSize };
      const found = below ? (inside(below, bounds) && taken.every((other) => overlap(below, other) === 0) ? below : null) : placeFor(curve, sparkSize, taken, bounds);
      if (!found) continue;
      taken.push(found);
      line.setAttribute('d', lineOf(history.at, history.rate, sparkSize.w, sparkSize.h));
      line.setAttribute('transform', `translate(${found.x} ${found.y})`);
    }
  }

  return { svg, arrows, notes, settle };
}
