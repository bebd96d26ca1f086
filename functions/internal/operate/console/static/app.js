// The frame around the pages: which page is shown.
import { h } from './dom.js';
import { load } from './http.js';
import { watch, end } from './live.js';
import { toggle } from './time.js';
import flow from './flow.js';
import orders from './orders.js';
import order from './order.js';
import stock from './stock.js';
import payments from './payments.js';
import outbox from './outbox.js';
import deadletters from './deadletters.js';
import { letterBadge } from './letterbadge.js';
import audit from './audit.js';
import search from './search.js';
import { loggedOut, showUser } from './user.js';

const pages = [
  { path: '/', title: 'Flow', page: flow },
  { path: '/orders', title: 'Orders', page: orders },
  { path: '/stock', title: 'Stock', page: stock },
  { path: '/payments', title: 'Payments', page: payments, hidden: true },
  { path: '/outbox', title: 'Outbox', page: outbox },
  { path: '/deadletters', title: 'Dead letters', page: deadletters },
  { path: '/audit', title: 'Audit', page: audit },
];

const main = document.getElementById('main');
const nav = document.getElementById('nav');
nav.append(...pages.map(({ path, title, hidden }) => h('a', { href: path, hidden }, title)), h('a', { href: '/docs', 'data-outside': true }, 'API'));

load('/console/settings', nav).then((settings) => {
  if (!settings) return;
  nav.querySelector('[href="/payments"]').hidden = !settings.payments;
  showUser(settings.user);
});
addEventListener('logged-out', loggedOut);
toggle(document.getElementById('utc'));
const everywhere = letterBadge(nav.querySelector('[href="/deadletters"]'));

// live watches the views of a page, and what every page shows.
const live = (handlers) => watch({ ...handlers, ...everywhere });

function find(path) {
  const found = pages.find((p) => p.path === path);
  if (found) return found;
  if (path === '/search') return { path, title: 'Search', page: search };
  const [, id] = /^\/orders\/([0-9a-f-]{36})$/.exec(path) ?? [];
  return id ? { path: '/orders', title: 'Order', page: (context) => order(context, id) } : { path: '', title: 'Not found', page: null };
}

function show(focus) {
  const { path, title, page } = find(location.pathname);
  document.title = `${title} · orders`;
  for (const link of nav.children) {
    if (link.getAttribute('href') === path) {
      link.setAttribute('aria-current', 'page');
      link.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    } else link.removeAttribute('aria-current');
  }
  main.replaceChildren();
  if (page) page({ main, live, go });
  else {
    live({});
    main.append(h('h1', {}, 'There is nothing here'), h('p', {}, h('a', { href: '/' }, 'To the flow')));
  }
  if (focus) {
    main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

// go shows a page; instead of the current one in the history, if that only led there.
function go(path, instead = false) {
  if (instead) history.replaceState(null, '', path);
  else history.pushState(null, '', path);
  show(true);
}

const box = document.getElementById('find');
box.form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (box.value.trim()) go(`/search?q=${encodeURIComponent(box.value.trim())}`);
});

document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href]');
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const url = new URL(link.href);
  if (url.origin !== location.origin || link.dataset.outside !== undefined || link.target || url.hash || find(url.pathname).path === '') return;
  event.preventDefault();
  go(url.pathname + url.search);
});
addEventListener('popstate', () => show(true));
addEventListener('pagehide', end);
addEventListener('pageshow', (event) => event.persisted && show(false));
show(false);
