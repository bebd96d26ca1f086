// Actions on many letters: what they would do, their progress, and what became of each letter.
import { h, popUp, put, reconcile, count, when, toast } from './dom.js';
import { request } from './http.js';
import { forRecord } from './ask.js';

export const letters = (n) => `${count(n)} ${n === 1 ? 'letter' : 'letters'}`;

const doing = { replay: 'Replaying', park: 'Parking', discard: 'Discarding' };
const did = { replay: 'replayed', park: 'parked', discard: 'discarded' };

// startJob asks for a confirmation of a change, of which it shows the effects, and starts it.
export async function startJob({ action, verb, danger, what, started }) {
  const body = { action, ...what };
  let plan;
  try {
    plan = await request('POST', '/console/deadletters', { ...body, dryRun: true });
  } catch (failure) {
    toast(failure.message, true);
    return;
  }
  const record = forRecord('ask');
  const confirm = h('button', { type: 'submit', class: danger ? 'danger' : 'primary', disabled: plan.possible === 0 }, verb);
  const cancel = h('button', { type: 'button', click: () => dialog.close() }, 'Cancel');
  const form = h('form', { class: 'stack' },
    h('h2', { id: 'ask-title' }, `${verb} ${letters(plan.total)}?`),
    h('p', { class: 'muted' }, plan.possible === plan.total ? 'It begins at once, and goes on if you leave the page.' : `Only ${count(plan.possible)} of ${count(plan.total)} can be ${did[action]}.`),
    h('ul', { class: 'results' }, plan.outcomes.map((o) => h('li', { class: o.ok ? 'ok' : 'bad' }, h('strong', {}, count(o.count)), ` ${o.detail}`))),
    record.element, h('div', { class: 'actions' }, cancel, confirm));
  const dialog = h('dialog', { 'aria-labelledby': 'ask-title' }, form);
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    confirm.disabled = true;
    try {
      await request('POST', '/console/deadletters', { ...body, ...record.values(), dryRun: false });
      dialog.close();
      started();
    } catch (failure) {
      toast(failure.message, true);
      confirm.disabled = false;
    }
  });
  popUp(dialog);
  (plan.possible ? confirm : cancel).focus();
}

// jobs is the list of the actions that run or have run.
export function jobs() {
  const list = h('ul', { class: 'jobs' });
  const element = h('section', { class: 'card', 'aria-labelledby': 'jobs-title', hidden: true }, h('h2', { id: 'jobs-title' }, 'Actions'), list);
  return {
    element,
    show({ jobs: all }) {
      element.hidden = all.length === 0;
      reconcile(list, all, (j) => j.id, newJob, (item, j) => item.update(j));
    },
  };
}

function newJob(first) {
  const text = h('p', { class: 'jobtext' });
  const bar = h('progress', { max: 1, 'aria-label': `Progress of action ${first.id}` });
  const stop = h('button', { type: 'button', click: stopIt }, 'Stop');
  const came = h('p', { class: 'muted' });
  const failures = h('ul', { class: 'results' });
  const more = h('summary', {});
  const details = h('details', {}, more, failures);
  const item = h('li', {}, h('div', { class: 'bar' }, text, h('span', { class: 'muted' }, first.actor, ' ', when(first.begin)), stop), bar, came, details);
  let shown = -1;

  async function stopIt() {
    stop.disabled = true;
    try {
      await request('POST', `/console/deadletters/jobs/${first.id}/stop`, {});
    } catch (failure) {
      toast(failure.message, true);
      stop.disabled = false;
    }
  }

  item.update = (j) => {
    const over = Boolean(j.end);
    const state = { stopping: ', stopping', stopped: ', stopped by an operator', failed: `, ended early: ${j.error}` }[j.state] ?? '';
    item.dataset.state = j.state;
    put(text, over ? `${count(j.done)} of ${letters(j.total)} ${did[j.action]}${state}` : `${doing[j.action]}: ${count(j.handled)} of ${letters(j.total)}${state}`);
    bar.hidden = over;
    bar.value = j.total ? j.handled / j.total : 1;
    stop.hidden = over;
    stop.disabled ||= j.state === 'stopping';
    const others = Object.entries(j.results).sort().map(([name, n]) => `${count(n)} ${name}`);
    if (over && j.handled < j.total) others.push(`${count(j.total - j.handled)} as they were`);
    came.hidden = over && others.length === 0;
    put(came, [`${count(j.done)} ${did[j.action]}`, ...others].join(', '));
    const not = j.handled - j.done;
    details.hidden = not === 0;
    put(more, not > j.failures.length ? `The first ${j.failures.length} that were not ${did[j.action]}` : `Those that were not ${did[j.action]}`);
    if (shown !== j.failures.length) {
      shown = j.failures.length;
      failures.replaceChildren(...j.failures.map((f) => h('li', { class: 'bad' }, h('a', { href: `/deadletters?letter=${encodeURIComponent(f.what)}` }, h('code', {}, f.what)), h('span', {}, f.detail))));
    }
  };
  return item;
}
