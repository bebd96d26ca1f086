// Orders: place some, and watch them.
import { h, put, reconcile, heading, badge, money, clock, shortID, toast, count } from './dom.js';
import { request, newKey, skuPattern, skuTitle } from './http.js';

const statuses = ['PENDING', 'CONFIRMED', 'FAILED', 'CANCELED'];
const shown = 500; // maximum rows on the page
const atOnce = 8; // requests of "place 100"

export default function orders({ main, live }) {
  let status = '';
  let older = [];
  let newest = [];
  const body = h('tbody', {});
  const nothing = h('p', { class: 'empty', hidden: true }, 'No orders. Place one above.');
  const more = h('button', { type: 'button', click: loadMore }, 'Show older');
  const search = h('input', { type: 'search', id: 'search', placeholder: 'order id or e-mail', autocomplete: 'off', input: render });
  const filters = ['', ...statuses].map((value) => {
    const number = h('span', { class: 'muted' });
    const button = h('button', { type: 'button', 'aria-pressed': String(value === ''), click: () => choose(value) }, value ? value.toLowerCase() : 'all', ' ', number);
    return { value, number, button };
  });
  const list = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'List of orders' }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Order'), h('th', { scope: 'col' }, 'Status'), h('th', { scope: 'col' }, 'Customer'), h('th', { scope: 'col', class: 'right' }, 'Total'), h('th', { scope: 'col' }, 'Placed'))), body));
  main.append(heading('Orders'), h('div', { class: 'split' }, placing(),
    h('section', { class: 'card', 'aria-labelledby': 'list-title' },
      h('div', { class: 'bar' }, h('h2', { id: 'list-title' }, 'Newest first'),
        h('div', { class: 'segments', role: 'group', 'aria-label': 'Filter by status' }, filters.map((f) => f.button)),
        h('label', { class: 'hidden', for: 'search' }, 'Filter by id or e-mail'), search),
      list,
      nothing, h('div', { class: 'actions' }, more))));

  function choose(value) {
    status = value;
    older = [];
    newest = [];
    body.replaceChildren();
    for (const f of filters) f.button.setAttribute('aria-pressed', String(f.value === value));
    listen();
  }

  function listen() {
    live({
      [status ? `orders:${status}` : 'orders']: { regions: [list], show(data) {
        // Orders that left the newest page stay, so that the list does not lose its middle while it is read.
        const ids = new Set(data.map((o) => o.orderId));
        const oldest = data.at(-1)?.orderId ?? '';
        if (older.length) older = [...newest.filter((o) => !ids.has(o.orderId) && o.orderId < oldest), ...older].slice(0, shown);
        newest = data;
        render();
      } },
      counts: { regions: filters.map((f) => f.number), show: (data) => filters.forEach((f) => put(f.number, count(f.value ? data[f.value] : statuses.reduce((sum, s) => sum + data[s], 0)))) },
    });
  }

  async function loadMore() {
    const last = older.at(-1) ?? newest.at(-1);
    const query = new URLSearchParams({ limit: '100', after: last.orderId, ...(status && { status }) });
    more.disabled = true;
    try {
      const page = await request('GET', `/api/orders?${query}`);
      older = [...older, ...page.orders];
      more.dataset.end = page.next ? '' : 'end';
    } catch (failure) {
      toast(failure.message, true);
    }
    more.disabled = false;
    render();
  }

  function render() {
    const wanted = search.value.trim().toLowerCase();
    const ids = new Set(newest.map((o) => o.orderId));
    const all = [...newest, ...older.filter((o) => !ids.has(o.orderId))].slice(0, shown)
      .filter((o) => !wanted || o.orderId.includes(wanted) || o.customerEmail.toLowerCase().includes(wanted));
    reconcile(body, all, (o) => o.orderId, (o) => h('tr', {},
      h('td', {}, h('a', { href: `/orders/${o.orderId}`, title: o.orderId, 'aria-label': `Order ${o.orderId}` }, h('code', {}, shortID(o.orderId)))),
      h('td', {}, badge(o.status)), h('td', { class: 'clip' }, o.customerEmail),
      h('td', { class: 'right' }, money(o.totalAmount, o.currency)), h('td', {}, clock(o.createdAt))),
    (row, o) => {
      const mark = row.children[1].firstElementChild;
      if (mark.dataset.state === o.status.toLowerCase()) return;
      row.children[1].replaceChildren(badge(o.status));
      row.classList.add('fresh');
    });
    nothing.hidden = all.length > 0;
    put(nothing, wanted ? 'No order on this page matches.' : 'No orders here yet.');
    more.hidden = newest.length < 50 || older.length + newest.length >= shown || more.dataset.end === 'end';
  }

  listen();
}

// placing is the form for a new order.
function placing() {
  const email = h('input', { id: 'email', type: 'email', required: true, autocomplete: 'off', value: 'alice@example.com' });
  const lines = h('div', { class: 'lines' });
  const skus = h('datalist', { id: 'skus' });
  const place = h('button', { type: 'submit', class: 'primary' }, 'Place order');
  const many = h('button', { type: 'button', click: () => placeMany(100) }, 'Place 100');
  const said = h('p', { class: 'said', role: 'status' });
  const form = h('form', { class: 'card stack', 'aria-labelledby': 'place-title', submit: placeOne }, h('h2', { id: 'place-title' }, 'Place an order'), skus,
    h('div', { class: 'field' }, h('label', { for: 'email' }, 'Customer e-mail'), email), lines,
    h('div', { class: 'actions start' }, place, many, h('button', { type: 'button', class: 'quiet', click: () => addLine('', 1, 1299) }, 'Add a line')), said);
  let next = 0;

  function addLine(sku, quantity, price) {
    const n = next++;
    const field = (name, label, attributes) => h('div', { class: 'field' }, h('label', { for: `${name}-${n}` }, label), h('input', { id: `${name}-${n}`, name, required: true, autocomplete: 'off', ...attributes }));
    const line = h('div', { class: 'line', role: 'group', 'aria-label': `Line ${lines.children.length + 1}` },
      field('sku', 'SKU', { list: 'skus', value: sku, pattern: skuPattern, title: skuTitle }),
      field('quantity', 'Quantity', { type: 'number', min: 1, step: 1, value: quantity }),
      field('unitPrice', 'Unit price (minor units)', { type: 'number', min: 0, step: 1, value: price }),
      h('button', { type: 'button', class: 'quiet', 'aria-label': 'Remove this line', click: () => lines.children.length > 1 && line.remove() }, '✕'));
    lines.append(line);
  }

  function asked() {
    return {
      customerEmail: email.value,
      items: [...lines.children].map((line) => ({
        sku: line.querySelector('[name=sku]').value,
        quantity: Number(line.querySelector('[name=quantity]').value),
        unitPrice: Number(line.querySelector('[name=unitPrice]').value),
      })),
    };
  }

  async function placeOne(event) {
    event.preventDefault();
    place.disabled = true;
    try {
      const { orderId } = await request('POST', '/api/orders', asked(), { 'Idempotency-Key': newKey() });
      said.replaceChildren('Accepted: ', h('a', { href: `/orders/${orderId}` }, orderId));
      said.className = 'said ok';
    } catch (failure) {
      put(said, failure.message);
      said.className = 'said bad';
    }
    place.disabled = false;
  }

  async function placeMany(n) {
    if (!form.reportValidity()) return;
    many.disabled = true;
    const order = asked();
    let left = n;
    let accepted = 0;
    let failed = '';
    const worker = async () => {
      while (left > 0 && !failed) {
        left--;
        try {
          await request('POST', '/api/orders', order, { 'Idempotency-Key': newKey() });
          accepted++;
        } catch (failure) {
          failed = failure.message;
        }
        if (accepted % 10 === 0) put(said, `${accepted} of ${n} accepted`);
      }
    };
    const begin = performance.now();
    await Promise.all(Array.from({ length: atOnce }, worker));
    put(said, `${accepted} of ${n} accepted in ${((performance.now() - begin) / 1000).toFixed(1)} s${failed ? `: ${failed}` : ''}`);
    said.className = failed ? 'said bad' : 'said ok';
    many.disabled = false;
  }

  addLine('SKU-123', 1, 1299);
  request('GET', '/api/inventory?limit=100').then(({ inventory }) => skus.append(...inventory.map((l) => h('option', { value: l.sku }))), () => {});
  return form;
}
