// A comparison of two texts, line by line.
import { h } from './dom.js';

const most = 2000; // lines that are compared

// compare returns the lines of both texts in order, each with its side: ' ' of both, '-' of the first, '+' of the second.
export function compare(first, second) {
  const a = first.split('\n').slice(0, most);
  const b = second.split('\n').slice(0, most);
  // lengths[i][j] is the length of the longest common sequence of lines from a[i] and b[j] on.
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint16Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i][j] = a[i] === b[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const lines = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push([' ', a[i]]);
      i++;
      j++;
    } else if (j >= b.length || (i < a.length && lengths[i + 1][j] >= lengths[i][j + 1])) lines.push(['-', a[i++]]);
    else lines.push(['+', b[j++]]);
  }
  return lines;
}

const sides = { ' ': 'both', '-': 'first', '+': 'second' };

// diff shows a comparison.
export function diff(first, second, label) {
  const lines = compare(first, second);
  if (lines.every(([side]) => side === ' ')) return h('p', { class: 'muted' }, 'They are the same.');
  return h('pre', { class: 'raw diff', tabindex: '0', role: 'region', 'aria-label': label },
    lines.map(([side, text]) => h('span', { 'data-side': sides[side] }, `${side} ${text}\n`)));
}

// readable formats JSON for people, and leaves any other text as it is.
export function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
