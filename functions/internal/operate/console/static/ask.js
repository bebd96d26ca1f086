// Before each change a dialog shows its effects and asks for a reason, which is recorded.
import { h, popUp, toast, when } from './dom.js';
import { request } from './http.js';
import { userName } from './user.js';

const remembered = 'orders.console.actor';

// forRecord returns the fields for what is recorded with a change.
export function forRecord(prefix) {
  const reason = h('input', { id: `${prefix}-reason`, maxlength: 200, autocomplete: 'off' });
  const fields = [h('label', { for: `${prefix}-reason` }, 'Reason, for the record'), reason];
  if (userName()) { // the server records who is logged in
    return {
      element: h('div', { class: 'stack' }, h('div', { class: 'fields' }, fields), h('p', { class: 'muted' }, 'It is recorded for you, ', h('strong', {}, userName()), '.')),
      values: () => ({ reason: reason.value }),
    };
  }
  const actor = h('input', { id: `${prefix}-actor`, maxlength: 40, autocomplete: 'off' });
  actor.value = localStorage.getItem(remembered) ?? '';
  return {
    element: h('div', { class: 'fields' }, fields,
      h('label', { for: `${prefix}-actor` }, 'Your name, for the record'), actor),
    values() {
      localStorage.setItem(remembered, actor.value);
      return { reason: reason.value, actor: actor.value };
    },
  };
}

// ask shows the effects of a change by a dry run, makes the change once it is confirmed, and calls done with the results.
export async function ask({ title, path, body, verb, danger = false, done = () => {} }) {
  let plan;
  try {
    plan = await request('POST', path, { ...body, dryRun: true });
  } catch (failure) {
    toast(failure.message, true);
    return;
  }
  const possible = plan.filter((r) => r.ok).length;
  const record = forRecord('ask');
  const confirm = h('button', { type: 'submit', class: danger ? 'danger' : 'primary', disabled: possible === 0 }, verb);
  const cancel = h('button', { type: 'button', click: () => dialog.close() }, 'Cancel');
  const form = h('form', { class: 'stack' },
    h('h2', { id: 'ask-title' }, title),
    h('p', { class: 'muted' }, `Dry run: ${possible} of ${plan.length} can be done.`),
    results(plan),
    record.element,
    h('div', { class: 'actions' }, cancel, confirm));
  const dialog = h('dialog', { 'aria-labelledby': 'ask-title' }, form);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    confirm.disabled = true;
    try {
      const came = await request('POST', path, { ...body, ...record.values(), dryRun: false });
      const good = came.filter((r) => r.ok).length;
      toast(`${good} of ${came.length} ${came.length === 1 ? came[0].detail : 'done'}`, good < came.length);
      done(came);
      if (good === came.length) {
        dialog.close();
        return;
      }
      form.replaceChildren(h('h2', {}, 'What came of it'), results(came),
        h('div', { class: 'actions' }, h('button', { type: 'button', click: () => dialog.close() }, 'Close')));
    } catch (failure) {
      toast(failure.message, true);
      confirm.disabled = false;
    }
  });
  popUp(dialog);
  (possible ? confirm : cancel).focus();
}

function results(list) {
  return h('ul', { class: 'results' }, list.map((r) => h('li', { class: r.ok ? 'ok' : 'bad' },
    h('code', {}, r.what), h('span', {}, r.detail))));
}

// inspect shows the details of a thing: it fetches them from path, and content renders them.
export async function inspect(title, path, content) {
  let full;
  try {
    full = await request('GET', path);
  } catch (failure) {
    toast(failure.message, true);
    return;
  }
  const dialog = h('dialog', { class: 'wide', 'aria-labelledby': 'inspect-title' }, h('div', { class: 'stack' },
    h('h2', { id: 'inspect-title' }, title), content(full),
    h('div', { class: 'actions' }, h('button', { type: 'button', autofocus: true, click: () => dialog.close() }, 'Close'))));
  popUp(dialog);
}

// record is the list of the last actions of operators.
export function record() {
  const body = h('tbody', {});
  const element = h('section', { class: 'card', 'aria-labelledby': 'record-title' }, h('h2', { id: 'record-title' }, 'Record'),
    h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'What operators did' }, h('table', {},
      h('thead', {}, h('tr', {}, ['When', 'Who', 'Did', 'To', 'Came of it'].map((t) => h('th', { scope: 'col' }, t)))), body)));
  return {
    element,
    show(actions) {
      element.hidden = actions.length === 0;
      body.replaceChildren(...actions.map((a) => h('tr', {},
        h('td', {}, when(a.at)), h('td', {}, a.actor), h('td', {}, a.action.toLowerCase().replaceAll('_', ' ')),
        h('td', {}, h('code', {}, a.what)), h('td', { class: 'wrap' }, [a.result, a.detail].filter(Boolean).join(' · ')))));
    },
  };
}

// selection has the checkboxes that select rows.
export function selection(onChange) {
  const picked = new Map();
  return {
    picked,
    box(key, value, label) {
      const box = h('input', { type: 'checkbox', 'aria-label': label });
      box.checked = picked.has(key);
      box.addEventListener('change', () => {
        if (box.checked) picked.set(key, value);
        else picked.delete(key);
        onChange();
      });
      return box;
    },
    keep(keys) {
      for (const key of picked.keys()) if (!keys.has(key)) picked.delete(key);
      onChange();
    },
    all(entries) {
      const every = entries.every(([key]) => picked.has(key));
      for (const [key, value] of entries) {
        if (every) picked.delete(key);
        else picked.set(key, value);
      }
      onChange();
    },
  };
}
