// Orders: place some, and watch them.
import { h, put, reconcile, heading, badge, money, when, shortID, toast, count } from './dom.js';
import { request } from './http.js';
import placing from './placing.js';

const statuses = ['PENDING', 'CONFIRMED', 'FAILED', 'CANCELED'];
const shown = 500; // maximum rows on the page

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
      h('td', { class: 'right' }, money(o.totalAmount, o.currency)), h('td', {}, when(o.createdAt))),
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
