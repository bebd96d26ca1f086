package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"sync"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/messaging/registry"
)

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

// records is the contents of the topics, as two hashes per record: a million records take 40 MB.
type records struct {
	hashes hasher
	parts  map[place]*part
	list   []*part
	sorted []entry // by id

	// In an incremental audit: the facts, the events of open rows, and the ends of the partitions at its checkpoint.
	known *knownTable
	again map[uint64]bool
	ends  map[place]TopicEnd

	replayed map[uint64]struct{} // dead letters that their consumers have handled after all

	mu      sync.Mutex
	letters map[letter][]string // the first of each
	counts  map[letter]int
	settled int                 // replayed dead letters
	set     map[uint64]struct{} // hashes of the orders with other dead letters
	foreign int                 // records that are not CloudEvents in binary mode
	late    int                 // new records whose event was in a record, or should have been, before the checkpoint
}

// loading is the reading of the topics.
type loading struct {
	ended   chan struct{}
	records *records // once it has ended
	err     error
}

// wait returns the records when all are read. If they cannot be, it has some of them, and the audit fails in the end.
func (l *loading) wait() *records {
	<-l.ended
	return l.records
}

// letter identifies the dead letters of a consumer in a topic.
type letter struct{ topic, consumer string }

// part has the records of one partition.
type part struct {
	span       kafka.Span
	oldest     int64 // the first offset of the partition: the span of an incremental audit begins later
	deadLetter bool
	// By offset from the start of the span; zero without an event.
	events []record
}

// record has the hashes of an event's identity and of its contents.
type record struct{ id, content uint64 }

// entry is a record and its position.
type entry struct {
	record
	in     int32 // index into the parts
	offset int64
}

// hasher makes the hashes of one audit.
type hasher struct{ seed maphash.Seed }

func (h hasher) of(parts ...string) uint64 {
	var sum maphash.Hash
	sum.SetSeed(h.seed)
	for _, p := range parts {
		_, _ = sum.WriteString(p) // a hash never fails
		_ = sum.WriteByte(0)
	}
	return max(1, sum.Sum64()) // zero means none
}

// replay returns the hash of a replayed dead letter. A letter that is not an event is identified by its position alone.
func (h hasher) replay(topic string, partition int32, offset int64, consumer, source, id string) uint64 {
	return h.of(topic, strconv.Itoa(int(partition)), strconv.FormatInt(offset, 10), consumer, source, id)
}

// newRecords returns the records of spans, none of which is read yet. oldest are the first offsets of their partitions.
func newRecords(hashes hasher, all []kafka.Span, oldest []int64, replayed map[uint64]struct{}, isDeadLetters func(topic string) bool) *records {
	r := &records{
		hashes: hashes, parts: make(map[place]*part, len(all)), replayed: replayed,
		letters: map[letter][]string{}, counts: map[letter]int{}, set: map[uint64]struct{}{},
	}
	for i, span := range all {
		p := &part{span: span, oldest: oldest[i], deadLetter: isDeadLetters(span.Topic), events: make([]record, span.To-span.From)}
		r.parts[place{span.Topic, span.Partition}] = p
		r.list = append(r.list, p)
	}
	return r
}

// load reads all spans in parallel, and sorts their records.
func (r *records) load(ctx context.Context, reader *kafka.Reader, avro *registry.Reader) error {
	errs := make([]error, len(r.list))
	var reading sync.WaitGroup
	for i, p := range r.list {
		reading.Go(func() {
			errs[i] = reader.Read(ctx, p.span, func(m *sarama.ConsumerMessage) error {
				return r.add(ctx, avro, p, m)
			})
		})
	}
	reading.Wait()
	r.sort()
	return errors.Join(errs...)
}

// isNew returns whether a record was added since the checkpoint of an incremental audit.
func (r *records) isNew(p *part, offset int64) bool {
	return r.known != nil && offset >= r.ends[place{p.span.Topic, p.span.Partition}].Read
}

// add records what is needed of a record. The parts are read in parallel, each by one goroutine. It fails if it needs the
// schema registry, and that gives no answer.
func (r *records) add(ctx context.Context, avro *registry.Reader, p *part, m *sarama.ConsumerMessage) error {
	var id, source, kind, subject, at, consumer, contentType string
	cut := false
	for _, h := range m.Headers {
		switch string(h.Key) {
		case "ce_id":
			id = string(h.Value)
		case "ce_source":
			source = string(h.Value)
		case "ce_type":
			kind = string(h.Value)
		case "ce_subject":
			subject = string(h.Value)
		case "ce_time":
			at = string(h.Value)
		case "content-type":
			contentType = string(h.Value)
		case kafka.HeaderConsumer:
			consumer = string(h.Value)
		case kafka.HeaderCut:
			cut = p.deadLetter
		}
	}
	switch {
	case id == "" || source == "":
		id, source = "", ""
		r.mu.Lock()
		r.foreign++
		r.mu.Unlock()
	case !cut: // the rest of a cut record differs from its event
		data, err := inJSON(ctx, avro, kind, contentType, m.Value)
		if err != nil {
			return fmt.Errorf("read %s/%d/%d: %w", m.Topic, m.Partition, m.Offset, err)
		}
		if !p.deadLetter && r.isNew(p, m.Offset) && r.known.knows(source, id) && !r.again[stable(source, id)] {
			r.mu.Lock()
			r.late++
			r.mu.Unlock()
		}
		p.events[m.Offset-p.span.From] = record{r.hashes.of(source, id), r.hashes.of(kind, subject, at, string(data))}
	}
	if p.deadLetter {
		_, replayed := r.replayed[r.hashes.replay(m.Topic, m.Partition, m.Offset, consumer, source, id)]
		r.setAside(m, consumer, id, cmp.Or(subject, string(m.Key)), replayed)
	}
	return nil
}

// inJSON returns the data of an event as JSON, since an event may be in one record as JSON and in another one in Avro: it was
// sent again, and the relay has changed its format meanwhile. What no schema reads is returned as it is.
func inJSON(ctx context.Context, avro *registry.Reader, eventType, contentType string, value []byte) ([]byte, error) {
	if contentType != registry.MediaType || avro == nil {
		return value, nil
	}
	e := event.New()
	e.SetType(eventType)
	e.SetDataContentType(contentType)
	e.DataEncoded = value
	e, err := avro.JSON(ctx, e)
	if errors.Is(err, registry.ErrAway) {
		return nil, err
	}
	return e.Data(), nil
}

// setAside lists a dead letter as an exception, unless it was replayed.
func (r *records) setAside(m *sarama.ConsumerMessage, consumer, id, order string, replayed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if replayed {
		r.settled++
		return
	}
	l := letter{m.Topic, consumer}
	r.counts[l]++
	r.set[r.hashes.of(order)] = struct{}{}
	if len(r.letters[l]) < maxExamples {
		r.letters[l] = append(r.letters[l], fmt.Sprintf("%d/%d: event %q of order %q", m.Partition, m.Offset, id, order))
	}
}

// sort puts the records in order of their ids, and those of one id in order of their places.
func (r *records) sort() {
	n := 0
	for _, p := range r.list {
		n += len(p.events)
	}
	r.sorted = make([]entry, 0, n)
	for in, p := range r.list {
		for i, e := range p.events {
			if e.id != 0 {
				r.sorted = append(r.sorted, entry{e, int32(in), p.span.From + int64(i)})
			}
		}
	}
	slices.SortFunc(r.sorted, func(a, b entry) int {
		if a.id != b.id {
			return cmp.Compare(a.id, b.id)
		}
		return cmp.Or(cmp.Compare(r.list[a.in].span.Topic, r.list[b.in].span.Topic),
			cmp.Compare(r.list[a.in].span.Partition, r.list[b.in].span.Partition), cmp.Compare(a.offset, b.offset))
	})
}

// compare checks that an event is the same in all its records, including dead letters.
func (r *records) compare(once *Invariant) {
	name := func(e entry) string {
		span := r.list[e.in].span
		return fmt.Sprintf("%s/%d/%d", span.Topic, span.Partition, e.offset)
	}
	for first := 0; first < len(r.sorted); {
		next := first + 1
		alone := r.list[r.sorted[first].in].deadLetter // letters without the record that they are copies of
		for ; next < len(r.sorted) && r.sorted[next].id == r.sorted[first].id; next++ {
			if r.sorted[next].content != r.sorted[first].content {
				once.breach("the records %s and %s have one source and id, and differ", name(r.sorted[first]), name(r.sorted[next]))
			} else if !r.list[r.sorted[next].in].deadLetter && !r.list[r.sorted[first].in].deadLetter {
				once.count("duplicate records", 1)
			}
			alone = alone && r.list[r.sorted[next].in].deadLetter
		}
		for _, letter := range r.sorted[first:next] {
			if alone && r.isNew(r.list[letter.in], letter.offset) {
				r.late++
			}
		}
		first = next
	}
	once.count("records", len(r.sorted))
	once.count("foreign records", r.foreign)
	once.count("replayed dead letters", r.settled)
}

// has returns whether an event is in any topic.
func (r *records) has(source, id string) bool { return r.hasHash(r.hashes.of(source, id)) }

func (r *records) hasHash(event uint64) bool {
	_, found := slices.BinarySearchFunc(r.sorted, event, func(e entry, id uint64) int { return cmp.Compare(e.id, id) })
	return found
}

// exceptions lists the dead letters by topic and consumer.
func (r *records) exceptions() (all []Exception) {
	for l, n := range r.counts {
		all = append(all, Exception{Kind: DeadLetters, Where: l.topic, Consumer: l.consumer, Count: n, Examples: slices.Sorted(slices.Values(r.letters[l]))})
	}
	slices.SortFunc(all, func(a, b Exception) int {
		return cmp.Or(cmp.Compare(a.Where, b.Where), cmp.Compare(a.Consumer, b.Consumer))
	})
	return all
}
