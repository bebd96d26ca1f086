// Stock: available and reserved units.
import { h, put, reconcile, heading, count, toast } from './dom.js';
import { skuPattern, skuTitle } from './http.js';
import { sendOnce } from './attempt.js';

export default function stock({ main, live }) {
  const list = h('ul', { class: 'levels' });
  const note = h('p', { class: 'empty', hidden: true });
  const sku = h('input', { id: 'new-sku', required: true, pattern: skuPattern, title: skuTitle, autocomplete: 'off' });
  const level = h('input', { id: 'new-level', type: 'number', min: 0, step: 1, value: 100, required: true });
  const query = new URLSearchParams(location.search);
  const after = query.get('after') ?? '';
  const wanted = h('input', { type: 'search', id: 'begins', value: query.get('q') ?? '', pattern: '[A-Za-z0-9._\\-]{0,64}', maxlength: 64, placeholder: 'SKU, or its beginning', autocomplete: 'off', input: choose });
  const first = h('a', { href: page(''), hidden: !after }, 'First page');
  const next = h('a', { hidden: true }, 'Next page');
  const form = h('form', { class: 'card inline', 'aria-label': 'Set a level', submit: set },
    h('div', { class: 'field' }, h('label', { for: 'new-sku' }, 'SKU'), sku),
    h('div', { class: 'field' }, h('label', { for: 'new-level' }, 'Units that are free'), level),
    h('button', { type: 'submit', class: 'primary' }, 'Set level'));
  main.append(heading('Stock', h('p', { class: 'legend' }, h('span', { class: 'key free' }), 'free', h('span', { class: 'key reserved' }), 'held by orders')), form,
    h('section', { class: 'card' }, h('div', { class: 'bar' }, h('label', { class: 'hidden', for: 'begins' }, 'Show the SKUs that begin with'), wanted), list, note,
      h('p', { class: 'actions' }, first, next)));

  function page(from) {
    return `/stock?${new URLSearchParams({ ...(wanted.value && { q: wanted.value }), ...(from && { after: from }) })}`;
  }

  // choose shows the first page of what was typed, under an address of its own.
  function choose() {
    if (!wanted.checkValidity()) return;
    history.replaceState(null, '', page(''));
    first.hidden = true;
    listen('');
  }

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
    const element = h('li', {}, h('a', { class: 'sku wrap', href: `/search?q=${encodeURIComponent(l.sku)}`, title: 'Orders with this SKU' }, h('code', {}, l.sku)),
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

  function listen(from) {
    live({
      [`stock:${wanted.value}:${from}`]: { regions: [list], show({ levels, more }) {
        const most = Math.max(0, ...levels.map((l) => l.availableQty + l.reservedQty));
        reconcile(list, levels, (l) => l.sku, row, (element, l) => element.update(l, most));
        note.hidden = levels.length > 0;
        put(note, wanted.value || from ? 'No SKU begins with this.' : 'There is no stock yet.');
        next.hidden = !more;
        if (more) next.setAttribute('href', page(levels.at(-1).sku));
      } },
    });
  }

  listen(after);
}
