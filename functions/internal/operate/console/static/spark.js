// Sparklines: the last fifteen minutes of a number.
import { h } from './dom.js';

const span = 900; // seconds
const gap = 25; // a longer pause between two points means that nothing could be read

// lineOf returns the path of values at times, in a box of a width and a height that ends now. The scale begins at zero.
export function lineOf(at, values, width, height) {
  const end = at.at(-1) ?? 0;
  const most = Math.max(...values.map((v) => v ?? 0), 1e-9);
  let path = '';
  let last = -Infinity;
  values.forEach((value, i) => {
    if (value === null || value === undefined) return;
    const x = Math.max(0, (1 - (end - at[i]) / span) * width);
    const y = height - 1 - (value / most) * (height - 2);
    path += `${at[i] - last > gap ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`;
    last = at[i];
  });
  return path;
}

// spark is a cell's sparkline, with the highest value beside it; say formats a value.
export function spark(say) {
  const line = h('path', { class: 'spark' });
  const most = h('span', { class: 'most' });
  const element = h('div', { class: 'sparkline' }, h('svg', { viewBox: '0 0 96 22', width: 96, height: 22, 'aria-hidden': 'true' }, line), most);
  return {
    element,
    show(at, values) {
      const known = values.filter((v) => v !== null && v !== undefined);
      line.setAttribute('d', lineOf(at, values, 96, 22));
      const highest = Math.max(0, ...known);
      most.textContent = highest > 0 ? `max ${say(highest)}` : '';
    },
  };
}
