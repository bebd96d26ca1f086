package console_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// crowd shows the flow with numbers that its own harness would hardly have: each arrow is busy, late or bad.
const crowd = `(async () => {
	const { default: flow } = await import('/console/static/flow.js');
	const topology = await (await fetch('/console/topology')).json();
	const main = document.getElementById('main');
	main.replaceChildren();
	let handlers;
	await flow({ main, live: (wanted) => { handlers = wanted; } });
	const at = Array.from({ length: 90 }, (_, i) => 1_000_000 + i * 10);
	const wave = at.map((_, i) => Math.round(200 + 180 * Math.sin(i / 9)));
	handlers.history.show({ at, topics: Object.fromEntries(topology.topics.map((t) => [t.name, wave])),
		sources: Object.fromEntries(topology.handles.map((e) => [e.group, { rate: wave, lag: wave.map((v) => v * 9), millis: wave.map((v, i) => (i % 7 ? v / 10 : null)) }])) });
	handlers.flow.show({ topics: Object.fromEntries(topology.topics.map((t) => [t.name, { total: 123456, rate: 345.6 }])),
		sources: Object.fromEntries(topology.handles.map((e, i) => [e.group, [
			{ rate: 345.6, lag: 1234, open: 123, lost: 0, reasons: { poison: 100, exhausted: 23 } },
			{ rate: 100, lag: 56789, open: 0, lost: 0, reasons: {} },
			{ rate: 999, lag: 999, open: 999, lost: 123, reasons: { rejected_4xx: 999 } },
		][i % 3]])) });
	handlers.counts.show({ PENDING: 12345, CONFIRMED: 1234567, FAILED: 321, CANCELED: 1 });
	return topology.handles.length;
})()`

// overprinted lists the labels that cover a node or another label, or are cut off.
const overprinted = `(() => {
	const box = (e) => { const { left, top, right, bottom } = e.getBoundingClientRect(); return { left, top, right, bottom, what: e.closest('g').textContent }; };
	const visible = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 0;
	const labels = [...document.querySelectorAll('.flow .label > :is(text, .spark)')].filter(visible).map(box);
	const nodes = [...document.querySelectorAll('.flow .node rect')].map(box);
	const { left, top, right, bottom } = document.querySelector('.flow').getBoundingClientRect();
	const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.5;
	const wrong = [];
	labels.forEach((a, i) => {
		for (const b of [...labels.slice(i + 1).filter((b) => b.what !== a.what), ...nodes]) if (meet(a, b)) wrong.push(a.what + ' over ' + b.what);
		if (a.left < left || a.right > right || a.top < top || a.bottom > bottom) wrong.push(a.what + ' is cut off');
	});
	return wrong;
})()`

func TestLabelsOfTheFlowNeverOverprintInABrowser(t *testing.T) {
	chromium(t)
	b := open(t, harness(t))
	b.visit("/")
	b.await("document.querySelectorAll('.flow .arrow').length >= 16")
	for _, as := range looks {
		b.show(as)
		arrows := eval[int](b, crowd)
		assert.Empty(t, eval[[]string](b, overprinted), as.name)
		assert.Equal(t, arrows, eval[int](b, "[...document.querySelectorAll('.flow .number:is([data-state=bad], [data-state=late])')].filter((e) => e.checkVisibility() && e.textContent).length"),
			"each trouble is on its arrow, on %s", as.name)
		assert.Equal(t, 3*arrows, eval[int](b, "document.querySelectorAll('td .spark[d^=M]').length"))
	}
	b.awaitText(".troubles li", "123 events of order.created wait as dead letters of reserve-stock. It set aside since the start: 100 poison, since it said that they can never succeed; 23 exhausted")
	b.awaitText(".troubles li", "behind: it handles 100/s, and 346/s arrive")
	b.awaitText(".troubles li", "123 records of")
	assert.Equal(t, 5, eval[int](b, "document.querySelectorAll('.troubles a').length"), "each that has dead letters leads to them")
	b.look("flow-crowd")
}

// crossed lists the names that are wider than their nodes, and the arrows that run through a node other than their ends.
const crossed = `(() => {
	const wrong = [];
	const nodes = [...document.querySelectorAll('.flow .node')];
	for (const node of nodes) {
		const [rect, text] = [node.querySelector('rect'), node.querySelector('text')].map((e) => e.getBoundingClientRect());
		if (text.left < rect.left || text.right > rect.right || text.top < rect.top || text.bottom > rect.bottom) wrong.push(node.textContent + ' does not fit');
	}
	const boxes = nodes.map((node) => ({ name: node.querySelector('text').textContent, box: node.querySelector('rect').getBBox() }));
	for (const arrow of document.querySelectorAll('.flow .arrow')) {
		const length = arrow.getTotalLength();
		for (let at = 8; at < length - 8; at += 2) {
			const p = arrow.getPointAtLength(at);
			for (const { name, box } of boxes) {
				if (p.x > box.x && p.x < box.x + box.width && p.y > box.y && p.y < box.y + box.height) wrong.push('an arrow runs through ' + name);
			}
		}
	}
	return [...new Set(wrong)];
})()`

func TestTheFlowOfAnOverlayIsDrawnWithoutCoveringAnythingInABrowser(t *testing.T) {
	chromium(t)
	b := open(t, harness(t, "--overlay", "payment"))
	b.visit("/")
	b.await("document.querySelectorAll('.flow .arrow').length >= 22")
	for _, as := range looks {
		b.show(as)
		assert.Empty(t, eval[[]string](b, crossed), as.name)
		eval[int](b, crowd)
		assert.Empty(t, eval[[]string](b, overprinted), as.name)
	}
}
