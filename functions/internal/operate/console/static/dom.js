// Helpers that build the pages: every text becomes a text node, so that the text of an order is never markup.

export { clock, when } from './time.js';
export { money } from './money.js';

const svgNames = new Set(['svg', 'g', 'path', 'rect', 'circle', 'text', 'tspan', 'title', 'defs', 'marker', 'line']);

// h creates an element. It leaves out attributes that are false, null or undefined; a function is a listener.
export function h(name, attributes = {}, ...children) {
  const element = svgNames.has(name) ? document.createElementNS('http://www.w3.org/2000/svg', name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? '' : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child)))));
  return element;
}

// put sets a text only if it differs: unchanged text is not announced again and keeps its selection.
export function put(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

// reconcile updates the children of parent to match items, by key; existing elements stay, with their focus.
export function reconcile(parent, items, keyOf, create, update) {
  const kept = new Map();
  for (const child of parent.children) kept.set(child.dataset.key, child);
  let at = parent.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = kept.get(key);
    if (child) {
      kept.delete(key);
      update(child, item);
    } else {
      child = create(item);
      child.dataset.key = key;
      update(child, item);
    }
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  for (const child of kept.values()) child.remove();
}

export const count = (n) => new Intl.NumberFormat('en').format(n);

// plural counts things: "1 record", "2 records".
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

// duration formats microseconds for people.
export function duration(micros) {
  if (micros < 0) micros = 0;
  if (micros < 10_000) return `${(micros / 1000).toFixed(1)} ms`;
  if (micros < 1_000_000) return `${Math.round(micros / 1000)} ms`;
  if (micros < 120_000_000) return `${(micros / 1_000_000).toFixed(1)} s`;
  if (micros < 7_200_000_000) return `${Math.round(micros / 60_000_000)} min`;
  return `${Math.round(micros / 3_600_000_000)} h`;
}

// micros parses a time with six decimals, of which Date keeps three.
export function micros(text) {
  return Date.parse(text) * 1000 + Number(text.slice(23, 26) || 0);
}

export const shortID = (id) => (id.length > 13 ? `…${id.slice(-12)}` : id);

export function badge(state) {
  return h('span', { class: 'badge', 'data-state': state.toLowerCase() }, state.toLowerCase());
}

export function toast(text, bad = false) {
  const line = h('p', { class: bad ? 'toast bad' : 'toast' }, text);
  document.getElementById('toasts').append(line);
  setTimeout(() => line.remove(), bad ? 12_000 : 5_000);
}

// popUp shows a dialog, and removes it when it is closed.
export function popUp(dialog) {
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

export const heading = (title, ...rest) => h('div', { class: 'heading' }, h('h1', {}, title), ...rest);

// pretty formats JSON for people.
export const pretty = (value) => h('pre', { class: 'raw', tabindex: '0' }, JSON.stringify(value, null, 2));
