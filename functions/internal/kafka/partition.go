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
	source  *Source
	session sarama.ConsumerGroupSession
	work    context.Context //nolint:containedctx // the ctx of all attempts of this claim
	places  chan struct{}   // one token an attempt that is under way
	room    chan struct{}   // signalled when a record is finished
	workers sync.WaitGroup
	ended   <-chan struct{} // closed with the session, or when the claim ends before it: nothing begins after that
	end     context.CancelFunc

	mu       sync.Mutex
	waiting  map[string][]*sarama.ConsumerMessage // key -> records behind the one being worked on
	order    []*sarama.ConsumerMessage            // all records that are not committed, by offset
	finished map[int64]bool
}

func newPartition(s *Source, session sarama.ConsumerGroupSession, work context.Context) *partition {
	claim, end := context.WithCancel(session.Context())
	return &partition{
		source: s, session: session, work: failpoint.In(work, s.o.Spec.Sink), ended: claim.Done(), end: end,
		places:   make(chan struct{}, max(1, s.o.Spec.Consumers)*max(1, s.o.Group)),
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
	if p.source.o.Spec.Ordered {
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
	p.workers.Add(1)
	go p.run(m, key, ordered)
}

// run works on a record and then on those that wait behind it.
func (p *partition) run(m *sarama.ConsumerMessage, key string, ordered bool) {
	defer p.workers.Done()
	for m != nil {
		if !p.enter() {
			return
		}
		done := p.source.process(p.work, m, p.sleep)
		p.leave()
		if !done {
			return
		}
		m = p.finish(m, key, ordered)
	}
}

// enter takes a place among the consumers, or tells that nothing may begin any more.
func (p *partition) enter() bool {
	select {
	case p.places <- struct{}{}:
	case <-p.ended:
		return false
	}
	select {
	case <-p.ended:
		p.leave()
		return false
	default:
		return true
	}
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
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// finish marks the offsets that have no unfinished one before them, and returns the next record of the key.
func (p *partition) finish(m *sarama.ConsumerMessage, key string, ordered bool) (next *sarama.ConsumerMessage) {
	failpoint.Pass(p.work, failpoint.BeforeOffset)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finished[m.Offset] = true
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
	if !ordered {
		return nil
	}
	if behind := p.waiting[key]; len(behind) > 0 {
		p.waiting[key] = behind[1:]
		return behind[0]
	}
	delete(p.waiting, key)
	return nil
}

// drain lets nothing new begin and waits for the attempts that are under way.
func (p *partition) drain() {
	p.end()
	p.workers.Wait()
}
