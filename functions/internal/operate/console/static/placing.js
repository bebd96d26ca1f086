// The form for new orders. Orders without a known outcome keep it locked: asking for them again must not place them twice.
import { h, put } from './dom.js';
import { request, load, newKey, skuPattern, skuTitle } from './http.js';
import { pending, keep, forget, settled, send } from './attempt.js';
import { digitsOf, major, minor, pricePattern } from './money.js';

const name = 'order'; // of the form
const atOnce = 8; // requests of "place 100"

export default function placing() {
  let currency = '';
  let busy = false;
  const email = h('input', { id: 'email', type: 'email', required: true, autocomplete: 'off', value: 'alice@example.com' });
  const lines = h('div', { class: 'lines' });
  const skus = h('datalist', { id: 'skus' });
  const place = h('button', { type: 'submit', class: 'primary' }, 'Place order');
  const many = h('button', { type: 'button', click: () => begin(100) }, 'Place 100');
  const more = h('button', { type: 'button', class: 'quiet', click: () => addLine('', 1, '') }, 'Add a line');
  const over = h('button', { type: 'button', class: 'quiet', hidden: true, click: startOver }, 'Start over');
  const said = h('p', { class: 'said', role: 'status' });
  const fields = h('fieldset', { class: 'stack', disabled: true }, h('legend', { class: 'hidden' }, 'Order'),
    h('div', { class: 'field' }, h('label', { for: 'email' }, 'Customer e-mail'), email), lines);
  const form = h('form', { class: 'card stack', 'aria-labelledby': 'place-title', submit: (event) => { event.preventDefault(); begin(1); } }, h('h2', { id: 'place-title' }, 'Place an order'), skus,
    fields, h('div', { class: 'actions start' }, place, many, more, over), said);
  let next = 0;

  function addLine(sku, quantity, price) {
    const n = next++;
    const field = (field, label, attributes) => h('div', { class: 'field' }, h('label', { for: `${field}-${n}` }, label), h('input', { id: `${field}-${n}`, name: field, required: true, autocomplete: 'off', ...attributes }));
    const line = h('div', { class: 'line', role: 'group', 'aria-label': `Line ${lines.children.length + 1}` },
      field('sku', 'SKU', { list: 'skus', value: sku, pattern: skuPattern, title: skuTitle }),
      field('quantity', 'Quantity', { type: 'number', min: 1, step: 1, value: quantity }),
      field('unitPrice', `Unit price (${currency})`, { inputmode: 'decimal', value: price, pattern: pricePattern(currency), title: `An amount such as ${major(1299, currency)}, with at most ${digitsOf(currency)} decimals` }),
      h('button', { type: 'button', class: 'quiet', 'aria-label': 'Remove this line', click: () => lines.children.length > 1 && line.remove() }, '✕'));
    lines.append(line);
  }

  function typed() {
    return {
      customerEmail: email.value,
      items: [...lines.children].map((line) => ({
        sku: line.querySelector('[name=sku]').value,
        quantity: Number(line.querySelector('[name=quantity]').value),
        unitPrice: minor(line.querySelector('[name=unitPrice]').value, currency),
      })),
    };
  }

  function say(text, state = '') {
    put(said, text);
    said.className = `said ${state}`;
  }

  // show locks the form while orders have no known outcome.
  function show() {
    const run = pending(name);
    fields.disabled = busy || run !== null || !currency;
    place.disabled = busy || !currency;
    many.hidden = more.hidden = run !== null && !busy;
    many.disabled = more.disabled = fields.disabled;
    over.hidden = busy || run === null;
    put(place, busy || !run ? 'Place order' : run.left.length === 1 ? 'Ask again' : `Ask again for ${run.left.length}`);
  }

  function startOver() {
    forget(name);
    say('Orders that got no answer may be in the list.');
    show();
  }

  // begin places orders, or asks again for those without a known outcome.
  async function begin(total) {
    if (!pending(name)) {
      if (!form.reportValidity()) return;
      keep(name, { key: newKey(), order: typed(), total, left: Array.from({ length: total }, (_, n) => n) });
    }
    busy = true;
    say('');
    show();
    const started = performance.now();
    const { placed, failure } = await carryOn(pending(name));
    busy = false;
    const run = pending(name);
    if (run) {
      say(`No answer for ${run.left.length} of ${run.total}: ${failure.message}. It is not known whether the order is there. Asking again cannot place it twice.`, 'bad');
    } else if (failure) {
      say(`${placed.length ? `${placed.length} accepted, then: ` : ''}${failure.message}`, 'bad');
    } else if (total === 1 && placed.length === 1) {
      said.replaceChildren('Accepted: ', h('a', { href: `/orders/${placed[0]}` }, placed[0]));
      said.className = 'said ok';
    } else {
      say(`${placed.length} of ${placed.length} accepted in ${((performance.now() - started) / 1000).toFixed(1)} s`, 'ok');
    }
    show();
  }

  // carryOn sends the orders of a run that are left, each under a key of its own.
  async function carryOn(run) {
    const queue = [...run.left];
    const wanted = queue.length;
    const placed = [];
    let failure;
    const worker = async () => {
      while (queue.length && !failure) {
        const n = queue.shift();
        try {
          const { orderId } = await send('POST', '/api/orders', run.order, `${run.key}-${n}`, (why) => say(`${why.message}; asking again with the same key`));
          placed.push(orderId);
          run.left = run.left.filter((other) => other !== n);
          if (run.left.length) keep(name, run);
          else forget(name);
          if (placed.length % 10 === 0) say(`${placed.length} of ${wanted} accepted`);
        } catch (why) {
          failure = why;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(atOnce, wanted) }, worker));
    if (failure && settled(failure)) forget(name);
    return { placed, failure };
  }

  function fill({ customerEmail, items }) {
    email.value = customerEmail;
    lines.replaceChildren();
    for (const item of items) addLine(item.sku, item.quantity, major(item.unitPrice, currency));
  }

  load('/console/settings', form).then((settings) => {
    if (!settings) return;
    currency = settings.currency;
    const run = pending(name);
    fill(run?.order ?? { customerEmail: email.value, items: [{ sku: 'SKU-123', quantity: 1, unitPrice: 1299 }] });
    if (run) say(`${run.total === 1 ? 'The order that you placed has' : `${run.left.length} of the ${run.total} orders that you placed have`} no answer yet. Asking again cannot place it twice.`, 'bad');
    show();
  });
  request('GET', '/api/inventory?limit=100').then(({ inventory }) => skus.append(...inventory.map((l) => h('option', { value: l.sku }))), () => {});
  show();
  return form;
}
