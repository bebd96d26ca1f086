// What publishes the events of each outbox: its relay, or the connector that captures it, with the lag and the state of both.
import { h, put, count, duration } from './dom.js';

const late = 5; // seconds; what a connector has published is marked every two

// What the states say of a connector that does not run, in a sentence and on its arrows.
const halts = {
  FAILED: ['has failed', 'capture failed'], STOPPED: ['is stopped', 'capture stopped'], PAUSED: ['is paused', 'capture paused'], ABSENT: ['does not exist', 'not captured'],
  UNASSIGNED: ['has no worker', 'not captured'], RESTARTING: ['restarts', 'capture restarts'], UNKNOWN: ['may run or not', 'capture unknown'],
};

// publishing returns the list of the publishers, which is empty until the wiring is drawn; changed is called after each change.
export function publishing(changed) {
  const list = h('ul', { class: 'publishers', 'aria-label': 'What publishes the events' });
  let topology = { publishers: [], topics: [] };
  let outboxes = {};
  let captured = {};

  // look returns the state of a publisher, as of an arrow, the label of its arrows, and what is wrong in a sentence.
  function look(p) {
    const { lagSeconds = 0 } = outboxes[p.outbox] ?? {};
    const { state: runs = 'RUNNING', reason } = captured[p.outbox] ?? {};
    const lag = duration(lagSeconds * 1e6);
    if (p.connector && runs !== 'RUNNING') {
      const [says, label] = halts[runs] ?? halts.UNKNOWN;
      return { runs, lagSeconds, state: runs === 'UNKNOWN' ? 'late' : 'bad', label: lagSeconds > late ? `lag ${lag}` : label, trouble: `The connector ${p.name} ${says}${reason ? `: ${reason}` : ''}` };
    }
    if (lagSeconds <= late) return { runs, lagSeconds, state: '' };
    return { runs, lagSeconds, state: 'late', label: `lag ${lag}`, trouble: `${p.name} is ${lag} behind: the oldest event that waits in the outbox of ${p.outbox} is that old` };
  }

  function show() {
    for (const [n, p] of topology.publishers.entries()) {
      const { runs, lagSeconds, state } = look(p);
      const known = outboxes[p.outbox];
      const line = list.children[n];
      line.dataset.state = state;
      put(line.lastElementChild, [
        p.connector ? 'connector' : 'relay', p.connector && captured[p.outbox] && runs.toLowerCase(),
        known && `lag ${lagSeconds > 0 ? duration(lagSeconds * 1e6) : 'below 1 s'}`, known?.waiting > 0 && `${count(known.waiting)} unsent`,
      ].filter(Boolean).join(' · '));
    }
    changed();
  }

  return {
    list,
    draw(wiring) {
      topology = wiring;
      list.replaceChildren(...topology.publishers.map((p) => h('li', {}, h('code', {}, p.name), ' ', h('span', {}))));
      show();
    },
    waiting(data) { outboxes = data; show(); },
    connectors(data) { captured = data; show(); },
    of(topic) {
      const { outbox } = topology.topics.find((t) => t.name === topic) ?? {};
      const found = topology.publishers.find((p) => p.outbox === outbox);
      return found ? look(found) : { state: '' };
    },
    troubles: () => topology.publishers.map((p) => ({ ...look(p), key: `publisher ${p.name}` })).filter((p) => p.trouble).map(({ state, trouble, key }) => ({ kind: 'publisher', state, key, text: `${trouble}.` })),
  };
}
