package kafka

import (
	"container/list"
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/failpoint"
)

// What a partition keeps in memory is bounded by what is unfinished, and never by how far the newest record is from the
// lowest unfinished one: of a finished record nothing is kept.
const (
	// maxFresh and maxFreshBytes bound the records that have not failed: enough to keep the function busy.
	maxFresh      = 1000
	maxFreshBytes = 16 << 20
	// maxHeld and maxHeldBytes bound the records that failed and are tried again, with those of their keys behind them.
	// They are generous, so that the others go on: a key is an order, with a handful of facts a topic, so that it takes
	// thousands of orders that fail at the same time, and not because the function cannot work, to fill them. Then reading
	// stops: to go on would mean to drop records and to read them again later, for a fault that is of no single record
	// any more.
	maxHeld      = 10_000
	maxHeldBytes = 64 << 20
)

// partition works on the records of one partition: those of one key one after the other in the order of their offsets,
// those of different keys at once, and commits the lowest offset that is not finished. After a crash what was finished
// beyond it is delivered again; the inbox knows it for longer than a topic keeps a record.
type partition struct {
	member  *member
	session sarama.ConsumerGroupSession
	// One token an attempt that is under way. Retries have their own, so that those that fail slowly take no place from
	// the others.
	firsts, retries chan struct{}
	room            chan struct{} // signalled when a record is finished, or held
	tasks           sync.WaitGroup
	claim           context.Context //nolint:containedctx // it ends with the session, or before: nothing begins after that
	end             context.CancelFunc

	mu         sync.Mutex
	lanes      map[string]*lane // by key, those with an unfinished record
	unfinished *list.List       // offsets, ascending
	newest     int64            // the highest offset that was read
	fresh      load
	held       load
}

// lane is what orders the records of a key.
type lane struct {
	waiting []record // behind the one whose turn it is
	held    bool     // that one is tried again
}

// record is one that is not finished.
type record struct {
	*sarama.ConsumerMessage
	place *list.Element
}

// load is how much some records are.
type load struct{ records, bytes int }

func (l *load) change(by int, records ...record) {
	for _, r := range records {
		l.records += by
		l.bytes += by * sizeOf(r.ConsumerMessage)
	}
}

// task is a record whose turn in its key it is.
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

// full tells whether reading must stop until a record is finished, and whether that is for those that are held.
func (p *partition) full() (full, held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held = p.held.records >= maxHeld || p.held.bytes >= maxHeldBytes
	return held || p.fresh.records >= maxFresh || p.fresh.bytes >= maxFreshBytes, held
}

// laneOf is what orders a record: its key, the whole partition when the source is ordered, and nothing when there is no
// key.
func (p *partition) laneOf(m *sarama.ConsumerMessage) (key string, ordered bool) {
	if p.member.source.o.Spec.Ordered {
		return "", true
	}
	return string(m.Key), m.Key != nil
}

// add takes a record in: it waits behind those of its key, or is worked on at once.
func (p *partition) add(m *sarama.ConsumerMessage) {
	if t, now := p.queue(m); now {
		p.tasks.Add(1)
		p.begin(t)
	}
}

// queue returns a record's task, and whether its turn has come.
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

// begin lets a task run: by Submit, or each by itself.
func (p *partition) begin(t task) {
	if p.member.source.o.Submit != nil {
		p.member.source.submit(t)
		return
	}
	go p.run(t, nil)
}

// run works on a task alone; failed is how a first attempt at it ended.
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

// over tells whether nothing may begin any more.
func (p *partition) over() bool { return p.claim.Err() != nil }

// finish ends a task that is done: it marks the lowest offset that is not finished, and begins the next task of the key.
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
			offset = front.Value.(int64) //nolint:forcetypeassert // nothing else is in it
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
	t.lane.waiting[0] = record{} // let go of the record
	t.lane.waiting = t.lane.waiting[1:]
	return task{p, r, t.key, t.lane}, true
}

// letGo ends that a lane is held.
func (p *partition) letGo(l *lane) {
	if l.held {
		p.held.change(-1, l.waiting...)
		p.fresh.change(1, l.waiting...)
		l.held = false
	}
}

// hold says that the record whose turn it is will be tried again, and that all behind it waits for that.
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

// finishAll waits until all that was read is finished, or done: it may not be in the topic any more.
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

// drain lets nothing new begin, and waits for the attempts that are under way until they are given up.
func (p *partition) drain() {
	p.end()
	p.finishAll(p.member.work.Done())
}

// alone is a task that is worked on by itself. While an attempt is under way it has a place.
type alone struct {
	task
	places chan struct{}
}

// enter takes a place, or tells that nothing may begin any more.
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

// sleep gives the place up for a while, and takes one of those for retries after it. It returns false when the claim has
// ended, also while it waited for that place: another attempt would be one that begins after the end.
func (a *alone) sleep(d time.Duration) bool {
	a.leave()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.partition.claim.Done():
	}
	a.places = a.partition.retries
	a.places <- struct{}{} // run leaves it again
	return !a.partition.over()
}

// hold says that the task is tried again for its own sake: see partition.hold.
func (a *alone) hold() { a.partition.hold(a.task) }
