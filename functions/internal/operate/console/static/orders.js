// Orders: place some, and watch them.
import { h, put, heading, toast, count } from './dom.js';
import { request } from './http.js';
import { orderTable } from './ordertable.js';
import placing from './placing.js';

const statuses = ['PENDING', 'CONFIRMED', 'FAILED', 'CANCELED'];
const shown = 500; // maximum rows on the page

export default function orders({ main, live }) {
  let status = '';
  let older = [];
  let newest = [];
  const nothing = h('p', { class: 'empty', hidden: true }, 'No orders. Place one above.');
  const more = h('button', { type: 'button', hidden: true, click: loadMore }, 'Show older');
  const filters = ['', ...statuses].map((value) => {
    const number = h('span', { class: 'muted' });
    const button = h('button', { type: 'button', 'aria-pressed': String(value === ''), click: () => choose(value) }, value ? value.toLowerCase() : 'all', ' ', number);
    return { value, number, button };
  });
  const list = orderTable('List of orders');
  main.append(heading('Orders'), h('div', { class: 'split' }, placing(),
    h('section', { class: 'card', 'aria-labelledby': 'list-title' },
      h('div', { class: 'bar' }, h('h2', { id: 'list-title' }, 'Newest first'),
        h('div', { class: 'segments', role: 'group', 'aria-label': 'Filter by status' }, filters.map((f) => f.button))),
      list.element,
      nothing, h('div', { class: 'actions' }, more))));

  function choose(value) {
    status = value;
    older = [];
    newest = [];
    list.show([]);
    for (const f of filters) f.button.setAttribute('aria-pressed', String(f.value === value));
    listen();
  }

  function listen() {
    live({
      [status ? `orders:${status}` : 'orders']: { regions: [list.element], show(data) {
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
    const ids = new Set(newest.map((o) => o.orderId));
    const all = [...newest, ...older.filter((o) => !ids.has(o.orderId))].slice(0, shown);
    list.show(all);
    nothing.hidden = all.length > 0;
    put(nothing, 'No orders here yet.');
    more.hidden = newest.length < 50 || older.length + newest.length >= shown || more.dataset.end === 'end';
  }

  listen();
}
