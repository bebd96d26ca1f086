package kafka

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/failpoint"
)

// The memory of a partition is bounded by its unfinished records, not by the distance between the newest record and the
// lowest unfinished one: finished records are dropped.
const (
	// maxFresh and maxFreshBytes bound the records that have not failed: enough to keep the function busy.
	maxFresh      = 1000
	maxFreshBytes = 16 << 20
	// maxHeld and maxHeldBytes bound the records in retry, with the records of their keys behind them. They are generous, so
	// that all other records go on: a key is an order with a few facts per topic, so it takes thousands of orders that fail
	// at the same time, while the function itself works, to reach the bounds. Reading then stops: going on would mean to
	// drop records and read them again later, for a fault that no longer concerns single records.
	maxHeld      = 10_000
	maxHeldBytes = 64 << 20
)

// partition processes the records of one partition: those of one key one at a time in order of offset, those of different
// keys in parallel. It commits the lowest unfinished offset. After a crash the finished records beyond it are delivered
// again, and the inbox, which remembers events for longer than a topic keeps them, absorbs the duplicates.
type partition struct {
	member  *member
	session sarama.ConsumerGroupSession
	// One token per attempt in flight. Retries have their own tokens, so that slow failures do not take the tokens of other
	// records.
	firsts, retries chan struct{}
	room            chan struct{} // signalled when a record is finished or held
	tasks           sync.WaitGroup
	claim           context.Context //nolint:containedctx // ends with the session or before: nothing begins after that
	end             context.CancelFunc

	mu         sync.Mutex
	lanes      map[string]*lane // by key, those with an unfinished record
	unfinished *list.List       // offsets, ascending
	newest     int64            // the highest offset read so far
	fresh      load
	held       load
}

// lane holds the records of one key in order.
type lane struct {
	waiting []record // behind the record whose turn it is
	held    bool     // that record is in retry
}

// record is an unfinished record.
type record struct {
	*sarama.ConsumerMessage
	place *list.Element
}

// load is the number and the size of some records.
type load struct{ records, bytes int }

func (l *load) change(by int, records ...record) {
	for _, r := range records {
		l.records += by
		l.bytes += by * sizeOf(r.ConsumerMessage)
	}
}

// task is the next record of its key.
type task struct {
	partition *partition
	record    record
	key       string
	lane      *lane
}

func newPartition(m *member, session sarama.ConsumerGroupSession) *partition {
	claim, end := context.WithCancel(failpoint.In(session.Context(), m.source.o.Spec.Sink))
	consumers := max(1, m.source.o.Spec.Consumers)
	return &partition{
		member: m, session: session, claim: claim, end: end,
		firsts: make(chan struct{}, consumers), retries: make(chan struct{}, consumers),
		room:  make(chan struct{}, 1),
		lanes: map[string]*lane{}, unfinished: list.New(),
	}
}

// full returns whether reading must stop until a record is finished, and whether records in retry are the reason.
func (p *partition) full() (full, held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held = p.held.records >= maxHeld || p.held.bytes >= maxHeldBytes
	return held || p.fresh.records >= maxFresh || p.fresh.bytes >= maxFreshBytes, held
}

// laneOf returns the key that orders a record: its own key, one key for the whole partition if the source is ordered, and
// none for a record without a key.
func (p *partition) laneOf(m *sarama.ConsumerMessage) (key string, ordered bool) {
	if p.member.source.o.Spec.Ordered {
		return "", true
	}
	return string(m.Key), m.Key != nil
}

// add accepts a record: it waits behind those of its key, or starts at once.
func (p *partition) add(m *sarama.ConsumerMessage) {
	if t, now := p.queue(m); now {
		p.tasks.Add(1)
		p.begin(t)
	}
}

// queue returns a record's task, and whether it is next in its key.
func (p *partition) queue(m *sarama.ConsumerMessage) (t task, now bool) {
	key, ordered := p.laneOf(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.newest = m.Offset
	r := record{m, p.unfinished.PushBack(m.Offset)}
	l, busy := p.lanes[key]
	if busy && ordered {
		l.waiting = append(l.waiting, r)
		p.loadOf(l).change(1, r)
		return task{}, false
	}
	l = &lane{}
	if ordered {
		p.lanes[key] = l
	}
	p.fresh.change(1, r)
	return task{p, r, key, l}, true
}

func (p *partition) loadOf(l *lane) *load {
	if l.held {
		return &p.held
	}
	return &p.fresh
}

// begin starts a task: through Submit, or on its own.
func (p *partition) begin(t task) {
	if p.member.source.o.Submit != nil {
		p.member.source.submit(t)
		return
	}
	go p.run(t, nil)
}

// run works on a task alone; failed is the error of its first attempt.
func (p *partition) run(t task, failed error) {
	a := &alone{task: t, places: p.firsts}
	if !a.enter() {
		p.tasks.Done()
		return
	}
	done := p.member.source.process(p.member.work, a, failed)
	a.leave()
	if !done {
		p.tasks.Done()
		return
	}
	p.finish(t)
}

// over returns whether nothing may begin any more.
func (p *partition) over() bool { return p.claim.Err() != nil }

// finish ends a task: it marks the lowest unfinished offset, and begins the next task of the key.
func (p *partition) finish(t task) {
	failpoint.Pass(p.member.work, failpoint.BeforeOffset)
	if next, more := p.mark(t); more {
		p.begin(next)
		return
	}
	p.tasks.Done()
}

func (p *partition) mark(t task) (next task, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	lowest := p.unfinished.Front() == t.record.place
	p.unfinished.Remove(t.record.place)
	if lowest {
		offset := p.newest + 1
		if front := p.unfinished.Front(); front != nil {
			offset = front.Value.(int64) //nolint:forcetypeassert // it holds nothing else
		}
		p.session.MarkOffset(t.record.Topic, t.record.Partition, offset, "")
	}
	p.loadOf(t.lane).change(-1, t.record)
	p.letGo(t.lane)
	p.signal()
	if len(t.lane.waiting) == 0 {
		if p.lanes[t.key] == t.lane {
			delete(p.lanes, t.key)
		}
		return task{}, false
	}
	r := t.lane.waiting[0]
	t.lane.waiting[0] = record{} // release the record's memory
	t.lane.waiting = t.lane.waiting[1:]
	return task{p, r, t.key, t.lane}, true
}

// letGo ends the hold of a lane.
func (p *partition) letGo(l *lane) {
	if l.held {
		p.held.change(-1, l.waiting...)
		p.fresh.change(1, l.waiting...)
		l.held = false
	}
}

// hold marks the lane's first record as in retry, and all records behind it as waiting for it.
func (p *partition) hold(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.lane.held {
		return
	}
	t.lane.held = true
	for _, records := range [][]record{{t.record}, t.lane.waiting} {
		p.fresh.change(-1, records...)
		p.held.change(1, records...)
	}
	p.signal()
}

func (p *partition) signal() {
	select {
	case p.room <- struct{}{}:
	default:
	}
}

// finishAll waits until all records that were read are finished, or until done: the topic may no longer have them.
func (p *partition) finishAll(done <-chan struct{}) {
	finished := make(chan struct{})
	go func() {
		p.tasks.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-done:
	}
}

// drain lets nothing new begin, and waits until the attempts in flight have ended or are abandoned.
func (p *partition) drain() {
	p.end()
	p.finishAll(p.member.work.Done())
}

// alone is a task outside of a batch. It holds a token while an attempt is in flight.
type alone struct {
	task
	places chan struct{}
}

// enter takes a token. It returns false if nothing may begin any more.
func (a *alone) enter() bool {
	select {
	case a.places <- struct{}{}:
	case <-a.partition.claim.Done():
		return false
	}
	if a.partition.over() {
		a.leave()
		return false
	}
	return true
}

func (a *alone) leave() { <-a.places }

// sleep returns the token for a while, and takes one for retries afterwards. It returns false if the claim has ended, also
// while it waited for the token: no attempt may begin after that.
func (a *alone) sleep(d time.Duration) bool {
	a.leave()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.partition.claim.Done():
	}
	a.places = a.partition.retries
	a.places <- struct{}{} // run returns it again
	return !a.partition.over()
}

// hold marks the task as in retry: see partition.hold.
func (a *alone) hold() { a.partition.hold(a.task) }
