// The table of orders, as the list and the search have it.
import { h, reconcile, badge, money, when, shortID } from './dom.js';

export function orderTable(label) {
  const body = h('tbody', {});
  const column = (title, right) => h('th', { scope: 'col', class: right && 'right' }, title);
  const element = h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label }, h('table', { class: 'list' },
    h('thead', {}, h('tr', {}, column('Order'), column('Status'), column('Customer'), column('Total', true), column('Placed'))), body));
  const create = (o) => h('tr', {},
    h('td', {}, h('a', { href: `/orders/${o.orderId}`, title: o.orderId, 'aria-label': `Order ${o.orderId}` }, h('code', {}, shortID(o.orderId)))),
    h('td', {}, badge(o.status)), h('td', { class: 'clip', title: o.customerEmail }, o.customerEmail),
    h('td', { class: 'right' }, money(o.totalAmount, o.currency)), h('td', {}, when(o.createdAt)));
  const update = (row, o) => {
    const mark = row.children[1].firstElementChild;
    if (mark.dataset.state === o.status.toLowerCase()) return;
    row.children[1].replaceChildren(badge(o.status));
    row.classList.add('fresh');
  };
  return { element, show: (orders) => reconcile(body, orders, (o) => o.orderId, create, update) };
}
