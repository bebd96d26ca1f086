// Search: the pages of an id, and the orders of a customer, a flow or a SKU, which the server finds by an index. If there are
// none, or on demand, it looks through the orders slice by slice, the newest first, for a part of an address or the end of an
// id; what it has found is shown while it goes on.
import { h, put, heading, when, plural } from './dom.js';
import { request } from './http.js';
import { orderTable } from './ordertable.js';

const portion = 50;

export default function search({ main, live, go }) {
  const term = new URLSearchParams(location.search).get('q')?.trim() ?? '';
  const links = h('ul', { class: 'found' });
  const table = orderTable('Orders that were found');
  const said = h('p', { class: 'muted', role: 'status' });
  const more = h('button', { type: 'button', hidden: true, click: () => find(found.size + portion) }, 'Go on');
  const stop = h('button', { type: 'button', hidden: true, click: () => { stopped = true; } }, 'Stop');
  const found = new Map();
  const searches = ['orders', 'lines'].map((what) => ({ what, before: '', whole: false, ended: false }));
  let stopped = false;
  const wholeFound = () => searches.every((one) => one.whole || one.ended);
  main.append(heading('Search', h('code', { class: 'wrap' }, term)), links,
    h('section', { class: 'card', 'aria-labelledby': 'orders-title' },
      h('div', { class: 'bar' }, h('h2', { id: 'orders-title' }, 'Orders'), said, h('div', { class: 'actions' }, stop)),
      table.element, h('div', { class: 'actions' }, more)));
  live({});

  const url = (path, query) => `/console/search${path}?${new URLSearchParams({ q: term, ...query })}`;

  async function begin() {
    const pages = await request('GET', url(''));
    if (!main.contains(said)) return;
    if (pages.length === 1 && pages[0].only) {
      go(pages[0].path, true);
      return;
    }
    links.replaceChildren(...pages.map((p) => h('li', {}, `${p.kind} `, h('a', { href: p.path }, h('code', {}, p.id)))));
    await find(portion);
  }

  // find goes on until so many orders are found, or everything was looked through. Parts are looked for if no order has the
  // whole term, or on demand after those that have it.
  async function find(wanted) {
    stopped = false;
    stop.hidden = false;
    more.hidden = true;
    const onDemand = wholeFound();
    const enough = () => stopped || found.size >= wanted || !main.contains(said);
    const goOn = (parts) => Promise.all(searches.map(async (one) => {
      while (!one.ended && (parts || !one.whole) && !enough()) {
        const answer = await request('GET', url(`/${one.what}`, one.before && { before: one.before }));
        for (const o of answer.orders) found.set(o.orderId, o);
        one.before = answer.next;
        one.whole ||= Boolean(answer.whole);
        one.ended = !answer.next;
        table.show([...found.values()].sort((a, b) => (a.orderId < b.orderId ? 1 : -1)));
        if (answer.back) said.replaceChildren('Looked back to ', when(answer.back));
      }
    }));
    try {
      await goOn(false);
      if (onDemand || !found.size) await goOn(true);
      const ended = searches.every((one) => one.ended);
      if (ended && !found.size) put(said, 'No order has this id, e-mail address, correlation id or SKU. All were looked through.');
      else if (ended) put(said, `${plural(found.size, 'order')} found. All were looked through.`);
      else if (!onDemand && found.size && wholeFound()) put(said, `${plural(found.size, 'order')} found. Longer addresses with this text were not looked for.`);
    } catch (failure) {
      put(said, `The search ended: ${failure.message}.`);
    }
    more.hidden = searches.every((one) => one.ended);
    stop.hidden = true;
  }

  if (term) begin().catch((failure) => put(said, failure.message));
  else put(said, 'Type an order or event id, an e-mail address, a correlation id, a SKU, or the key of a dead letter into the box above.');
}
