package deadletter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/IBM/sarama"

	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/knative"
	"example.com/orders/sql/operations"
)

// Index keeps what is known of the letters in memory, without their contents: the newest ones up to a bound. It reads each
// record and each action once.
type Index struct {
	sources []knative.KafkaSource
	most    int64

	refreshing sync.Mutex
	// after is the id of the newest action that is read and settled. Younger ones are read again.
	after  int64
	opened bool

	mu     sync.RWMutex
	shelfs map[Place]*shelf // by partition, as the place at offset 0
	beyond int64            // letters that exist and exceed the bound
	at     time.Time        // of the last refresh that succeeded
}

// MaxIndexed is the bound of an index that suits a server: about half a kilobyte each.
const MaxIndexed = 200_000

// NewIndex returns an empty index of at most so many letters.
func NewIndex(sources []knative.KafkaSource, most int) *Index {
	return &Index{sources: sources, most: int64(most), shelfs: map[Place]*shelf{}}
}

// shelf has the letters of a partition, by offset, up to the offset next.
type shelf struct {
	next    int64
	entries []*entry
}

// entry is a letter in an index.
type entry struct {
	Summary

	group unique.Handle[groupKey]
	acts  []act
}

// groupKey identifies the letters that failed in the same way.
type groupKey struct{ consumer, pattern string }

// act is an action on a letter.
type act struct {
	id     int64
	action operations.DeadLetterActionsAction
}

// maxIndexedText is how much is kept of a text of a record, in bytes.
const maxIndexedText = 300

func newEntry(s Summary) *entry {
	// Copies, which do not keep the record in memory. What many letters share is kept once.
	own := func(text string) string { return strings.Clone(text[:min(len(text), maxIndexedText)]) }
	shared := func(text string) string { return unique.Make(own(text)).Value() }
	e := &entry{Summary: s, group: unique.Make(keyOf(s))}
	e.Topic, e.Origin.Topic, e.Consumer, e.EventType = shared(s.Topic), shared(s.Origin.Topic), shared(s.Consumer), shared(s.EventType)
	e.Error, e.EventSource, e.Key, e.EventID, e.Cut = shared(oneline.Of(s.Error, maxIndexedText)), shared(s.EventSource), own(s.Key), own(s.EventID), own(s.Cut)
	return e
}

// add adds an action, unless the entry has it, and determines the state anew.
func (e *entry) add(id int64, action operations.DeadLetterActionsAction) {
	at, known := slices.BinarySearchFunc(e.acts, id, func(a act, id int64) int { return int(a.id - id) })
	if known {
		return
	}
	e.acts = slices.Insert(e.acts, at, act{id, action})
	e.State, e.Failures = Open, 0
	for _, a := range e.acts {
		e.apply(a.action)
	}
}

// Refresh reads the letters and the actions that were added since the last call, and drops the letters that their topics no
// longer keep.
func (x *Index) Refresh(ctx context.Context, reader Reader, db operations.DBTX) error {
	x.refreshing.Lock()
	defer x.refreshing.Unlock()
	q := operations.New(db)
	if !x.opened {
		last, err := q.LastLetterAction(ctx)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return fmt.Errorf("read the last action on dead letters: %w", err)
		}
		x.after, x.opened = max(0, last-actionPage), true // some before the last may not be visible yet
	}
	spans, err := Box{Reader: reader, Sources: x.sources}.spans("")
	if err != nil {
		return err
	}
	unread := x.trim(spans)
	began := time.Now()
	err = each(len(unread), func(i int) error { return x.extend(ctx, reader, db, unread[i]) })
	if err != nil {
		return err
	}
	if err := x.follow(ctx, q); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at = began
	return nil
}

// Age returns how old the state of the index is, a very long time before the first refresh.
func (x *Index) Age() time.Duration {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return time.Since(x.at)
}

// trim drops the letters that no longer exist or exceed the bound, and returns the spans that have not been read.
func (x *Index) trim(spans []kafka.Span) (unread []kafka.Span) {
	x.mu.Lock()
	defer x.mu.Unlock()
	sizes := make([]int64, len(spans))
	for i, span := range spans {
		sizes[i] = span.To - span.From
	}
	most := share(sizes, x.most)
	x.beyond = 0
	for _, span := range spans {
		partition := Place{span.Topic, span.Partition, 0}
		s, ok := x.shelfs[partition]
		if !ok || s.next > span.To { // a topic that was recreated begins anew
			s = &shelf{next: span.From}
			x.shelfs[partition] = s
		}
		from := max(span.From, span.To-most)
		x.beyond += from - span.From
		keep, _ := slices.BinarySearchFunc(s.entries, from, func(e *entry, offset int64) int { return int(e.Offset - offset) })
		s.entries = slices.Delete(s.entries, 0, keep)
		if span.From = max(from, s.next); span.From < span.To {
			unread = append(unread, span)
		}
	}
	return unread
}

// share returns the largest number that fits if each size is cut to it, and all together may have at most most.
func share(sizes []int64, most int64) int64 {
	low, high := int64(0), most
	for low < high {
		middle := low + (high-low+1)/2
		total := int64(0)
		for _, size := range sizes {
			total += min(size, middle)
		}
		if total <= most {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low
}

// extend adds the letters of a span, with the actions on them.
func (x *Index) extend(ctx context.Context, reader Reader, db operations.DBTX, span kafka.Span) error {
	var entries []*entry
	err := reader.Read(ctx, span, func(m *sarama.ConsumerMessage) error {
		entries = append(entries, newEntry(parse(m, x.sources).Summary))
		return nil
	})
	if err != nil {
		return err
	}
	actions, err := actionsOn(ctx, db, span)
	if err != nil {
		return err
	}
	for _, e := range entries {
		for _, a := range actions[e.Offset] {
			if e.isAbout(a.Consumer, a.EventSource, a.EventID) {
				e.add(a.ID, a.Action)
			}
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.shelfs[Place{span.Topic, span.Partition, 0}]
	s.entries, s.next = append(s.entries, entries...), span.To
	return nil
}

// actionPage is the number of actions that are read at a time.
const actionPage = 5000

// follow reads the actions that came since the last call.
func (x *Index) follow(ctx context.Context, q *operations.Queries) error {
	after, settled := x.after, true
	for {
		rows, err := q.ListLetterActionsAfter(ctx, operations.ListLetterActionsAfterParams{ID: after, Limit: actionPage})
		if err != nil {
			return fmt.Errorf("read the actions on dead letters: %w", err)
		}
		x.mu.Lock()
		for _, row := range rows {
			if settled = settled && row.Settled != 0; settled {
				x.after = row.ID
			}
			after = row.ID
			if e := x.entry(Place{row.Topic, int32(row.KafkaPartition), row.KafkaOffset}); e != nil && e.isAbout(row.Consumer, row.EventSource, row.EventID) {
				e.add(row.ID, row.Action)
			}
		}
		x.mu.Unlock()
		if len(rows) < actionPage {
			return nil
		}
	}
}

// entry finds a letter, for a caller that holds mu.
func (x *Index) entry(p Place) *entry {
	s, ok := x.shelfs[Place{p.Topic, p.Partition, 0}]
	if !ok {
		return nil
	}
	at, ok := slices.BinarySearchFunc(s.entries, p.Offset, func(e *entry, offset int64) int { return int(e.Offset - offset) })
	if !ok {
		return nil
	}
	return s.entries[at]
}
