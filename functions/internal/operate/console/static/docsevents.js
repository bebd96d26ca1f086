// The CloudEvent endpoints, and the catalogue of the events: what each means, its schema, an example, who emits and who handles it.
import { h, pretty, plural } from './dom.js';
import { request, newKey } from './http.js';
import { tryIt } from './tryit.js';

const pathOf = (type) => `/docs/events/${type}`;
const text = (value) => JSON.stringify(value, null, 2);
const heading = (title, ...rest) => h('div', { class: 'heading' }, h('h1', {}, title), ...rest);

// command has the two ways to send a command as a CloudEvent over HTTP.
function command(type, sentTo, example, says) {
  const path = `/functions/${sentTo}`;
  const fields = [['ce-source', '/docs', 'With ce-id it is the key: the same again gets the first answer.'], ['ce-id', newKey(), '']]
    .map(([name, value, title]) => ({ name, in: 'header', value, title, required: true }));
  return h('section', { class: 'card stack', id: type },
    h('h2', {}, h('span', { class: 'method', 'data-method': 'post' }, 'POST'), ' ', h('code', {}, path)),
    h('p', {}, h('strong', {}, h('code', {}, type)), '. ', says),
    h('h3', {}, 'Binary: attributes in headers, data in the body'),
    tryIt({ method: 'POST', path, fields, headers: [['Content-Type', 'application/json'], ['ce-specversion', '1.0'], ['ce-type', type]], body: text(example) }),
    h('h3', {}, 'Structured: one JSON document'),
    tryIt({
      method: 'POST', path, fields: [], headers: [['Content-Type', 'application/cloudevents+json']],
      body: text({ specversion: '1.0', type, source: '/docs', id: newKey(), datacontenttype: 'application/json', data: example }),
    }));
}

export async function endpoints() {
  const all = await request('GET', '/console/catalogue');
  const create = all.find((e) => e.type === 'order.create');
  return [heading('CloudEvents over HTTP'),
    h('p', {}, 'Commands are CloudEvents that a function takes over HTTP, and answers with a CloudEvent. In headers, percent-encode spaces, quotes, percent signs and what is not ASCII. Facts travel through Kafka only: see ', h('a', { href: '/docs/events' }, 'the events'), '.'),
    command('order.create', create.sentTo, create.versions[0].example, 'Places an order; the answer is order.accepted.'),
    command('order.cancel', 'cancel-order', { orderId: '00000000-0000-7000-8000-000000000000' }, 'Cancels an order; the answer is order.cancel.accepted or order.cancel.refused.')];
}

export async function events() {
  const all = await request('GET', '/console/catalogue');
  const names = (list) => (list.length ? list.join(', ') : '–');
  return [heading('Events'), h('p', {}, 'Facts travel through Kafka: type, topic and eventType have the same name. The emitting function stores a fact with its change of state, and it is sent at least once. The same as an ', h('a', { href: '/asyncapi.json' }, 'AsyncAPI document'), ', and as ', h('a', { href: '/schemas/' }, 'JSON Schemas'), '.'),
    h('section', { class: 'card' }, h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Events' }, h('table', {},
      h('thead', {}, h('tr', {}, ['Type', 'Says', 'Emitted by', 'Handled by'].map((t) => h('th', { scope: 'col' }, t)))),
      h('tbody', {}, all.map((e) => h('tr', {}, h('td', {}, h('a', { href: pathOf(e.type) }, h('code', {}, e.type))), h('td', { class: 'wrap' }, e.says),
        h('td', {}, e.sentTo ? 'a client, over HTTP' : names(e.producers)), h('td', {}, e.sentTo ?? names(e.consumers.map((c) => c.function)))))))))];
}

export async function event(type) {
  const e = (await request('GET', '/console/catalogue')).find((other) => other.type === type);
  if (!e) return [heading('There is no such event'), h('p', {}, h('a', { href: '/docs/events' }, 'All events'))];
  const list = (items, none) => (items.length ? h('ul', {}, items.map((item) => h('li', {}, item))) : h('p', { class: 'muted' }, none));
  return [heading(e.type, h('a', { href: '/docs/events' }, 'All events')), h('p', {}, e.says),
    e.sentTo ? h('p', {}, 'A command: send it to ', h('a', { href: `/docs/cloudevents#${e.type}` }, h('code', {}, e.sentTo)), '.')
      : h('section', { class: 'card stack' }, h('h2', {}, 'Emitted by'), list(e.producers, 'Nothing emits it.'), h('p', {}, 'Its source is ', h('code', {}, e.source), '.'),
        h('h2', {}, 'Handled by'), list(e.consumers.map((c) => [h('strong', {}, c.function), `: group ${c.group}, ${plural(c.retry, 'retry', 'retries')}, then `, h('code', {}, c.deadLetter)]), 'Nothing handles it.')),
    ...e.versions.map((v, n) => h('section', { class: 'card stack' }, h('h2', {}, `Version ${v.version}`, n > 0 && ', an older one'), h('h3', {}, 'Example'),
      v.headers && [h('p', { class: 'muted' }, 'The headers of the record, and its data. The key is the id of the order.'), pretty(v.headers)], pretty(v.example),
      h('h3', {}, 'JSON Schema'), pretty(v.schema)))];
}
