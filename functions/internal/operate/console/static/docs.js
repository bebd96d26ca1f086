// The documentation: the REST API, the CloudEvent endpoints, and the catalogue of the events.
import { h } from './dom.js';
import rest from './docsrest.js';
import { endpoints, events, event } from './docsevents.js';

const main = document.getElementById('main');
const [, type] = /^\/docs\/events\/([a-z.]+)$/.exec(location.pathname) ?? [];
const pages = { '/docs': rest, '/docs/cloudevents': endpoints, '/docs/events': events };

for (const link of document.getElementById('nav').children) {
  if (link.getAttribute('href') === (type ? '/docs/events' : location.pathname)) link.setAttribute('aria-current', 'page');
}
try {
  main.replaceChildren(...await (type ? event(type) : pages[location.pathname]()));
  document.title = `${main.querySelector('h1').textContent} · orders`;
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
} catch (failure) {
  main.replaceChildren(h('h1', {}, 'The description cannot be read'), h('p', { class: 'bad' }, failure.message));
}
