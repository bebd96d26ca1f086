// A form that sends a request from the page, shows the answer, and has the same request as a command for a shell.
import { h, put } from './dom.js';

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

// curl writes a request as a command.
export function curl({ method, url, headers, body }) {
  return [`curl -i${method === 'GET' ? '' : ` -X ${method}`} ${quoted(url)}`,
    ...headers.map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`),
    ...(body === undefined ? [] : [`-d ${quoted(body)}`])].join(' \\\n  ');
}

let forms = 0;

// tryIt makes the form. fields are the parts that vary: { name, in: 'path' | 'query' | 'header', value, title, required }; body is
// the text of an example, if there is one.
export function tryIt({ method, path, fields, headers = [], body }) {
  const form = `try${forms++}`;
  const inputs = fields.map((f) => ({ ...f, input: h('input', { id: `${form}-${f.in}-${f.name}`, value: f.value ?? '', required: f.required, autocomplete: 'off', input: show }) }));
  const text = body === undefined ? null : h('textarea', { id: `${form}-body`, rows: Math.min(14, body.split('\n').length), spellcheck: 'false', input: show });
  if (text) text.value = body;
  const command = h('pre', { class: 'raw', tabindex: '0' });
  const copy = h('button', { type: 'button', click: copyIt }, 'Copy');
  const send = h('button', { type: 'submit', class: 'primary' }, 'Send');
  const answer = h('div', { class: 'stack', role: 'status' });

  function asked() {
    const set = (place) => inputs.filter((f) => f.in === place && f.input.value !== '');
    const filled = set('path').reduce((all, f) => all.replace(`{${f.name}}`, encodeURIComponent(f.input.value)), path);
    const query = new URLSearchParams(set('query').map((f) => [f.name, f.input.value])).toString();
    return {
      method, url: `${location.origin}${filled}${query ? `?${query}` : ''}`,
      headers: [...headers, ...set('header').map((f) => [f.name, f.input.value])], body: text?.value,
    };
  }

  function show() {
    put(command, curl(asked()));
  }

  async function copyIt() {
    try {
      await navigator.clipboard.writeText(command.textContent);
      put(copy, 'Copied');
    } catch {
      getSelection().selectAllChildren(command); // the clipboard is only for pages of this machine or of https
      put(copy, 'Selected: copy it');
    }
    setTimeout(() => put(copy, 'Copy'), 2000);
  }

  async function sendIt(event) {
    event.preventDefault();
    send.disabled = true;
    const { url, ...request } = asked();
    try {
      const response = await fetch(url, request);
      const content = await response.text();
      let pretty = content;
      try {
        pretty = JSON.stringify(JSON.parse(content), null, 2);
      } catch { /* it is no JSON, and shown as it is */ }
      answer.replaceChildren(h('p', { class: response.ok ? 'ok' : 'bad' }, h('strong', {}, `${response.status} ${response.statusText}`)),
        h('pre', { class: 'raw', tabindex: '0' }, [...response.headers].map(([name, value]) => `${name}: ${value}`).join('\n'), pretty && `\n\n${pretty}`));
    } catch (failure) {
      answer.replaceChildren(h('p', { class: 'bad' }, `There is no answer: ${failure.message}`));
    }
    send.disabled = false;
  }

  const field = (f) => [h('label', { for: f.input.id, title: f.title }, h('code', {}, f.name), f.required ? '' : ' optional'), f.input];
  show();
  return h('details', { class: 'try' }, h('summary', {}, 'Try it'), h('form', { class: 'stack', submit: sendIt },
    inputs.length ? h('div', { class: 'fields' }, inputs.flatMap(field)) : '',
    text ? h('div', { class: 'field' }, h('label', { for: text.id }, 'Body'), text) : '',
    h('div', { class: 'actions start' }, send, h('span', { class: 'muted' }, method === 'GET' ? '' : 'This changes what the harness has.')), answer,
    h('div', { class: 'bar' }, h('strong', {}, 'In a shell'), h('div', { class: 'actions' }, copy)), command));
}
