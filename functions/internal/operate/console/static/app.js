// The frame around the pages: which page is shown, and whether it is live.
import { h, put } from './dom.js';
import { watch } from './http.js';
import flow from './flow.js';
import orders from './orders.js';
import order from './order.js';
import stock from './stock.js';
import outbox from './outbox.js';
import deadletters from './deadletters.js';
import { letterBadge } from './letterbadge.js';
import audit from './audit.js';

const pages = [
  { path: '/', title: 'Flow', page: flow },
  { path: '/orders', title: 'Orders', page: orders },
  { path: '/stock', title: 'Stock', page: stock },
  { path: '/outbox', title: 'Outbox', page: outbox },
  { path: '/deadletters', title: 'Dead letters', page: deadletters },
  { path: '/audit', title: 'Audit', page: audit },
];

const main = document.getElementById('main');
const connection = document.getElementById('connection');
const nav = document.getElementById('nav');
nav.append(...pages.map(({ path, title }) => h('a', { href: path }, title)), h('a', { href: '/docs', 'data-outside': true }, 'API'));

const everywhere = letterBadge(nav.querySelector('[href="/deadletters"]'));

let leave = () => {};

function connected(state, detail) {
  connection.dataset.state = state;
  put(connection, state === 'trouble' ? 'trouble' : state);
  connection.title = detail ?? '';
}

// live watches views for the current page; a page may call it again to watch other views.
function live(handlers) {
  leave();
  connected('connecting');
  leave = watch({ ...handlers, ...everywhere }, connected);
}

function find(path) {
  const found = pages.find((p) => p.path === path);
  if (found) return found;
  const [, id] = /^\/orders\/([0-9a-f-]{36})$/.exec(path) ?? [];
  return id ? { path: '/orders', title: 'Order', page: (context) => order(context, id) } : { path: '', title: 'Not found', page: null };
}

function show(focus) {
  leave();
  leave = () => {};
  const { path, title, page } = find(location.pathname);
  document.title = `${title} · orders`;
  for (const link of nav.children) {
    if (link.getAttribute('href') === path) {
      link.setAttribute('aria-current', 'page');
      link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    } else link.removeAttribute('aria-current');
  }
  main.replaceChildren();
  if (page) page({ main, live });
  else main.append(h('h1', {}, 'There is nothing here'), h('p', {}, h('a', { href: '/' }, 'To the flow')));
  if (focus) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function go(path) {
  history.pushState(null, '', path);
  show(true);
}

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || link.dataset.outside !== undefined || link.target || url.hash || find(url.pathname).path === '') return;
  event.preventDefault();
  go(url.pathname + url.search);
});
addEventListener('popstate', () => show(true));
addEventListener('pagehide', () => leave());
addEventListener('pageshow', (event) => event.persisted && show(false));
show(false);
