// The description of the REST API as a page.
import { h, pretty } from './dom.js';
import { request, newKey } from './http.js';
import { tryIt } from './tryit.js';

let spec;

function resolve(value) {
  if (!value?.$ref) return value;
  return value.$ref.slice(2).split('/').reduce((at, part) => at[part], spec);
}

const refName = (value) => value?.$ref?.split('/').at(-1);

// typeOf formats a schema on one line.
function typeOf(schema) {
  if (schema.$ref) return h('a', { href: `#${refName(schema)}` }, refName(schema));
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.join(' | ');
  if (schema.type === 'array') return h('span', {}, 'list of ', typeOf(schema.items));
  const bounds = [
    schema.minimum !== undefined || schema.maximum !== undefined ? `${schema.minimum ?? ''}…${schema.maximum ?? ''}` : '',
    schema.minLength !== undefined || schema.maxLength !== undefined ? `${schema.minLength ?? 0}…${schema.maxLength ?? ''} characters` : '',
    schema.pattern ?? '', schema.format ?? '', schema.default !== undefined ? `default ${schema.default}` : '',
  ].filter(Boolean);
  return [schema.type, ...bounds].join(' · ');
}

function fields(schema) {
  const required = schema.required ?? [];
  return h('dl', { class: 'facts small' }, Object.entries(schema.properties ?? {}).map(([name, property]) => h('div', {},
    h('dt', {}, h('code', {}, name), required.includes(name) ? '' : ' optional'), h('dd', {}, typeOf(property), property.description ? h('span', { class: 'muted' }, ` ${property.description}`) : ''))));
}

function operation(path, method, shared, op) {
  const parameters = [...(shared ?? []), ...(op.parameters ?? [])].map(resolve);
  const body = op.requestBody?.content['application/json'];
  const schema = body && resolve(body.schema);
  return h('section', { class: 'card stack', id: op.operationId },
    h('h3', {}, h('span', { class: 'method', 'data-method': method }, method.toUpperCase()), ' ', h('code', {}, path)),
    h('p', {}, h('strong', {}, op.summary), '. ', op.description ?? ''),
    parameters.length ? h('details', {}, h('summary', {}, `Parameters (${parameters.length})`), h('dl', { class: 'facts small' }, parameters.map((p) => h('div', {},
      h('dt', {}, h('code', {}, p.name), ` ${p.in}`), h('dd', {}, typeOf(p.schema), p.description ? h('span', { class: 'muted' }, ` ${p.description}`) : ''))))) : '',
    body ? h('details', { open: true }, h('summary', {}, 'Body'), fields(schema), pretty(body.example)) : '',
    h('details', {}, h('summary', {}, 'Answers'), h('dl', { class: 'facts small' }, Object.entries(op.responses).map(([status, response]) => {
      const full = resolve(response);
      const content = Object.entries(full.content ?? {})[0];
      return h('div', {}, h('dt', {}, status), h('dd', {}, full.description, ' ', content ? h('span', {}, content[1].schema.$ref ? typeOf(content[1].schema) : '') : ''));
    }))),
    form(path, method, parameters, body));
}

// form is where an operation is tried. A key of its own makes a repeated click harmless.
function form(path, method, parameters, body) {
  const value = (p) => (p.name === 'Idempotency-Key' ? newKey() : p.schema?.examples?.[0] ?? (p.name === 'sku' ? 'SKU-123' : ''));
  return tryIt({
    method: method.toUpperCase(), path,
    fields: parameters.map((p) => ({ name: p.name, in: p.in, value: value(p), title: p.description, required: p.required === true })),
    headers: body ? [['Content-Type', 'application/json']] : [], body: body && JSON.stringify(body.example, null, 2),
  });
}

export default async function rest() {
  spec = await request('GET', '/openapi.json');
  const schemas = Object.entries(spec.components.schemas);
  return [h('div', { class: 'heading' }, h('h1', {}, 'REST API'), h('a', { href: '/openapi.json' }, 'openapi.json')),
    h('p', {}, spec.info.description),
    ...spec.tags.flatMap((tag) => [h('h2', {}, tag.name), h('p', { class: 'muted' }, tag.description),
      ...Object.entries(spec.paths).flatMap(([path, item]) => ['get', 'post', 'put'].filter((m) => item[m]?.tags.includes(tag.name)).map((m) => operation(path, m, item.parameters, item[m])))]),
    h('h2', {}, 'Schemas'),
    ...schemas.map(([name, schema]) => h('section', { class: 'card stack', id: name }, h('h3', {}, name), schema.properties ? fields(schema) : h('p', {}, typeOf(schema))))];
}
