package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/failpoint"
)

// maxOutstanding bounds the records of a partition between the lowest unfinished one and the newest that was read.
const maxOutstanding = 1000

// partition works on the records of one partition: those of one key one after the other in the order of their offsets,
// those of different keys at once, and commits the offsets without gaps.
type partition struct {
	member  *member
	session sarama.ConsumerGroupSession
	places  chan struct{} // one token an attempt that is under way
	room    chan struct{} // signalled when a record is finished
	tasks   sync.WaitGroup
	ended   <-chan struct{} // closed with the session, or when the claim ends before it: nothing begins after that
	end     context.CancelFunc

	mu       sync.Mutex
	waiting  map[string][]*sarama.ConsumerMessage // key -> records behind the one being worked on
	order    []*sarama.ConsumerMessage            // all records that are not committed, by offset
	finished map[int64]bool
}

// task is a record whose turn in its key it is.
type task struct {
	partition *partition
	record    *sarama.ConsumerMessage
	key       string
	ordered   bool
}

func newPartition(m *member, session sarama.ConsumerGroupSession) *partition {
	claim, end := context.WithCancel(session.Context())
	return &partition{
		member: m, session: session, ended: claim.Done(), end: end,
		places:   make(chan struct{}, max(1, m.source.o.Spec.Consumers)),
		room:     make(chan struct{}, 1),
		waiting:  map[string][]*sarama.ConsumerMessage{},
		finished: map[int64]bool{},
	}
}

// full tells whether reading must stop until a record is finished.
func (p *partition) full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.order) >= maxOutstanding
}

// lane is what orders a record: its key, the whole partition when the source is ordered, and nothing when there is no
// key.
func (p *partition) lane(m *sarama.ConsumerMessage) (key string, ordered bool) {
	if p.member.source.o.Spec.Ordered {
		return "", true
	}
	return string(m.Key), m.Key != nil
}

// add takes a record in: it waits behind those of its key, or is worked on at once.
func (p *partition) add(m *sarama.ConsumerMessage) {
	key, ordered := p.lane(m)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.order = append(p.order, m)
	if ordered {
		if behind, busy := p.waiting[key]; busy {
			p.waiting[key] = append(behind, m)
			return
		}
		p.waiting[key] = nil
	}
	p.tasks.Add(1)
	p.begin(task{p, m, key, ordered})
}

// begin lets a task run: with others that wait at the same time when the function takes several at once, or alone.
func (p *partition) begin(t task) {
	if p.member.group != nil {
		p.member.group.add(t)
		return
	}
	go p.run(t, nil)
}

// run works on a task alone; failed is how a first attempt at it ended.
func (p *partition) run(t task, failed error) {
	if !p.enter() {
		p.tasks.Done()
		return
	}
	done := p.member.source.process(p.member.work, t.record, failed, p.sleep)
	p.leave()
	if !done {
		p.tasks.Done()
		return
	}
	p.finish(t)
}

// enter takes a place among the consumers, or tells that nothing may begin any more.
func (p *partition) enter() bool {
	select {
	case p.places <- struct{}{}:
	case <-p.ended:
		return false
	}
	if p.over() {
		p.leave()
		return false
	}
	return true
}

func (p *partition) leave() { <-p.places }

// sleep gives the place up for a while, so that other keys go on. It returns false when the claim has ended, also while
// it waited for a place again: another attempt would be one that begins after the end.
func (p *partition) sleep(d time.Duration) bool {
	p.leave()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.ended:
	}
	p.places <- struct{}{} // run leaves it again
	return !p.over()
}

// over tells whether nothing may begin any more.
func (p *partition) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// finish ends a task that is done: it marks the offsets that have no unfinished one before them, and begins the next task
// of the key.
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
	p.finished[t.record.Offset] = true
	n := 0
	for n < len(p.order) && p.finished[p.order[n].Offset] {
		delete(p.finished, p.order[n].Offset)
		n++
	}
	if n > 0 {
		p.session.MarkMessage(p.order[n-1], "")
		clear(p.order[:n]) // let go of the records
		p.order = p.order[n:]
	}
	select {
	case p.room <- struct{}{}:
	default:
	}
	if !t.ordered {
		return task{}, false
	}
	if behind := p.waiting[t.key]; len(behind) > 0 {
		p.waiting[t.key] = behind[1:]
		return task{p, behind[0], t.key, true}, true
	}
	delete(p.waiting, t.key)
	return task{}, false
}

// drain lets nothing new begin and waits for the attempts that are under way.
func (p *partition) drain() {
	p.end()
	p.tasks.Wait()
}
