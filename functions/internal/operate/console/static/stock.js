// Stock: available and reserved units.
import { h, put, reconcile, heading, count, toast } from './dom.js';
import { skuPattern, skuTitle } from './http.js';
import { sendOnce } from './attempt.js';

export default function stock({ main, live }) {
  const list = h('ul', { class: 'levels' });
  const note = h('p', { class: 'empty', hidden: true });
  const sku = h('input', { id: 'new-sku', required: true, pattern: skuPattern, title: skuTitle, autocomplete: 'off' });
  const level = h('input', { id: 'new-level', type: 'number', min: 0, step: 1, value: 100, required: true });
  const form = h('form', { class: 'card inline', 'aria-label': 'Set a level', submit: set },
    h('div', { class: 'field' }, h('label', { for: 'new-sku' }, 'SKU'), sku),
    h('div', { class: 'field' }, h('label', { for: 'new-level' }, 'Units that are free'), level),
    h('button', { type: 'submit', class: 'primary' }, 'Set level'));
  main.append(heading('Stock', h('p', { class: 'legend' }, h('span', { class: 'key free' }), 'free', h('span', { class: 'key reserved' }), 'held by orders')),
    h('section', { class: 'card' }, list, note), form);

  async function set(event) {
    event.preventDefault();
    try {
      const after = await sendOnce('level', 'PUT', `/api/inventory/${encodeURIComponent(sku.value)}`, { availableQty: Number(level.value) });
      toast(`${after.sku}: ${count(after.availableQty)} units are available`);
      sku.value = '';
    } catch (failure) {
      toast(failure.message, true);
    }
  }

  async function adjust(name, delta) {
    try {
      const after = await sendOnce(`adjustment.${name}`, 'POST', `/api/inventory/${encodeURIComponent(name)}/adjustments`, { delta, reason: 'console' });
      toast(`${after.sku}: ${count(after.availableQty)} units are available`);
    } catch (failure) {
      toast(failure.message, true);
    }
  }

  function row(l) {
    const free = h('rect', { y: 0, height: 10, class: 'free' });
    const reserved = h('rect', { y: 0, height: 10, class: 'reserved' });
    const numbers = h('p', { class: 'numbers' });
    const by = h('input', { type: 'number', step: 1, value: 100, 'aria-label': `Units to add to ${l.sku}; a negative number removes units`, required: true });
    const element = h('li', {}, h('code', { class: 'sku wrap' }, l.sku),
      h('svg', { class: 'levelbar', viewBox: '0 0 1000 10', preserveAspectRatio: 'none', 'aria-hidden': 'true' }, h('rect', { x: 0, y: 0, width: 1000, height: 10, class: 'rail' }), reserved, free),
      numbers, h('form', { class: 'inline', submit: (event) => { event.preventDefault(); adjust(l.sku, Number(by.value)); } }, by, h('button', { type: 'submit', 'aria-label': `Restock ${l.sku}` }, 'Restock')));
    element.update = (now, most) => {
      const width = (n) => (most ? (n / most) * 1000 : 0);
      reserved.setAttribute('x', 0);
      reserved.setAttribute('width', width(now.reservedQty));
      free.setAttribute('x', width(now.reservedQty));
      free.setAttribute('width', width(now.availableQty));
      put(numbers, `${count(now.availableQty)} free, ${count(now.reservedQty)} held`);
      element.classList.toggle('out', now.availableQty === 0);
    };
    return element;
  }

  live({
    stock: { regions: [list], show({ levels, more }) {
      const most = Math.max(0, ...levels.map((l) => l.availableQty + l.reservedQty));
      reconcile(list, levels, (l) => l.sku, row, (element, l) => element.update(l, most));
      note.hidden = levels.length > 0 && !more;
      put(note, more ? `These are the first ${levels.length} SKUs; the API has all.` : 'There is no stock yet.');
    } },
  });
}
