package simulation

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/events"
	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/outbox"
	"example.com/orders/functions/notify"
	"example.com/orders/knative"
)

// record is an event in a topic.
type record struct {
	event  event.Event
	poison bool
}

// source is a KafkaSource with its progress in its topic. It keeps the order within a key, and none between keys.
type source struct {
	knative.KafkaSource
	slow     bool   // in this run it is behind the others
	attempts []int  // of each record
	done     []bool // acknowledged, or a dead letter
}

// seen makes room for the records that the topic has now.
func (s *source) seen(r *run) []record {
	records := r.topics[s.Topic]
	for len(s.done) < len(records) {
		s.done, s.attempts = append(s.done, false), append(s.attempts, 0)
	}
	return records
}

// ready lists the records that may be delivered now: the first open one of each key.
func (s *source) ready(r *run) (at []int) {
	keys := map[string]bool{}
	for i, rec := range s.seen(r) {
		if key := rec.event.Subject(); !s.done[i] && !keys[key] {
			keys[key] = true
			at = append(at, i)
		}
	}
	return at
}

// next returns the first record to deliver, nil if there is none.
func (s *source) next(r *run) []int {
	if at := s.ready(r); len(at) > 0 {
		return at[:1]
	}
	return nil
}

// handled lists the acknowledged records: a source that lost its commit delivers them again.
func (s *source) handled(r *run) (at []int) {
	for i := range s.seen(r) {
		if s.done[i] {
			at = append(at, i)
		}
	}
	return at
}

// having returns the sources for which of returns something, each with it.
func (r *run) having(of func(*source) []int) (sources []*source, at [][]int) {
	for _, s := range r.sources {
		if s.slow && r.chance(85) {
			continue
		}
		if found := of(s); len(found) > 0 {
			sources, at = append(sources, s), append(at, found)
		}
	}
	return sources, at
}

func (r *run) deliverOne(ctx context.Context) {
	sources, at := r.having(func(s *source) []int { return s.ready(r) })
	if len(sources) > 0 {
		n := r.random.IntN(len(sources))
		r.deliver(ctx, sources[n], []int{at[n][r.random.IntN(len(at[n]))]})
	}
}

func (r *run) redeliver(ctx context.Context) {
	sources, at := r.having(func(s *source) []int { return s.handled(r) })
	if len(sources) > 0 {
		n := r.random.IntN(len(sources))
		r.deliver(ctx, sources[n], []int{at[n][r.random.IntN(len(at[n]))]})
	}
}

// deliverBatch delivers everything that one source has ready, in random order, and sometimes with records delivered before.
func (r *run) deliverBatch(ctx context.Context) {
	sources, at := r.having(func(s *source) []int { return s.ready(r) })
	if len(sources) == 0 {
		return
	}
	n := r.random.IntN(len(sources))
	group := at[n]
	if again := sources[n].handled(r); len(again) > 0 && r.chance(30) {
		group = append(group, again[r.random.IntN(len(again))])
	}
	if r.chance(10) {
		group = append(group, group[0])
	}
	r.random.Shuffle(len(group), func(i, j int) { group[i], group[j] = group[j], group[i] })
	r.deliver(ctx, sources[n], group)
}

// deliver passes records of one topic to the function of a source and acts on its answers like a KafkaSource. It returns
// whether all were acknowledged or became dead letters.
func (r *run) deliver(ctx context.Context, s *source, at []int) bool {
	records := s.seen(r)
	m := r.bed.members[s.Sink]
	es := make([]event.Event, len(at))
	for i, n := range at {
		es[i] = records[n].event.Clone()
		for name, value := range s.Extensions {
			es[i].SetExtension(name, value)
		}
	}
	answers := make([]error, len(at))
	sound := !slices.ContainsFunc(at, func(n int) bool { return records[n].poison })
	skipped := r.mutation.acknowledgeBefore && sound && r.chance(20)
	handle := func(ctx context.Context) error {
		if !skipped {
			answers = m.handle(ctx, es...)
		}
		return nil
	}
	died := false
	if _, pays := opens[s.Sink]; pays && len(es) > 1 {
		_ = handle(ctx) // which of several concurrent calls a fault would hit depends on timing
	} else {
		_, died = r.within(ctx, s.Sink, handle)
	}
	all := true
	for i, n := range at {
		status := delivery.Status(answers[i])
		r.logf("%s <- %s of %s: %d", s.Sink, s.Topic, es[i].ID(), status)
		if died && s.Sink == "notify" {
			r.deaths[es[i].ID()]++
		}
		all = r.settle(s, n, records[n], status, died) && all
	}
	return all
}

// settle acknowledges a record, keeps it for a retry, or makes it a dead letter. A process that died acknowledges nothing.
func (r *run) settle(s *source, n int, rec record, status int, died bool) bool {
	if died {
		return false
	}
	s.attempts[n]++
	switch verdict := delivery.Judge(status); {
	case verdict == delivery.Acknowledge && rec.poison:
		r.violate("%s took the poison %s of %s", s.Sink, rec.event.ID(), s.Topic)
	case verdict == delivery.Acknowledge:
		if r.faulty && r.chance(5) {
			r.logf("  the acknowledgement is lost")
			return false
		}
	case verdict == delivery.DeadLetter && !rec.poison:
		r.violate("%s refused %s of %s", s.Sink, rec.event.ID(), s.Topic)
	case verdict == delivery.Retry && rec.poison:
		r.violate("%s wants the poison %s of %s again", s.Sink, rec.event.ID(), s.Topic)
	case verdict == delivery.Retry && s.attempts[n] <= s.Delivery.Retry:
		return false
	case verdict == delivery.Retry:
		r.violate("%s could not handle %s of %s in %d attempts", s.Sink, rec.event.ID(), s.Topic, s.attempts[n])
	}
	s.done[n] = true
	return true
}

// poison writes a broken copy of an event to its topic, with a new id.
func (r *run) poison() {
	for _, s := range r.sources {
		records := r.topics[s.Topic]
		if len(records) == 0 || !r.chance(40) {
			continue
		}
		e := records[r.random.IntN(len(records))].event.Clone()
		e.SetID(fmt.Sprintf("%s#%d", e.Subject(), 1000+len(records)))
		if r.chance(50) {
			e.DataEncoded = []byte(`{"eventType":`)
		} else {
			e.SetType(e.Type() + ".unknown")
		}
		r.topics[s.Topic] = append(records, record{e, true})
		r.logf("poison %s of %s", e.ID(), s.Topic)
		return
	}
}

// publisher is the broker.
type publisher struct{ bed *bed }

var errUnreachable = errors.New("the broker is away")

// Publish stores a batch in the topics; sometimes only a part of it, or without an acknowledgement.
func (p publisher) Publish(_ context.Context, batch []event.Event) []outbox.Outcome {
	r := p.bed.run
	outcomes := make([]outbox.Outcome, len(batch))
	trouble := r.faulty && r.chance(20)
	// Facts about several orders that were recorded at the same time have any order.
	indices := make([]int, len(batch))
	for i := range indices {
		indices[i] = i
	}
	slices.SortFunc(indices, func(i, j int) int { return strings.Compare(batch[i].ID(), batch[j].ID()) })
	for _, i := range indices {
		e, n := batch[i], 3
		if trouble {
			n = r.random.IntN(4)
		}
		switch {
		case n == 0: // neither stored nor acknowledged
			outcomes[i].Err = errUnreachable
			continue
		case n == 1 && r.refusals[e.ID()] < 3:
			r.refusals[e.ID()]++
			outcomes[i].Err = outbox.ErrRefused
			continue
		case n == 2: // stored but not acknowledged
			outcomes[i].Err = errUnreachable
		}
		if r.mutation.loseRecord && r.chance(10) {
			continue
		}
		r.checkNext(e)
		outcomes[i].Offset = int64(len(r.topics[e.Type()]))
		r.topics[e.Type()] = append(r.topics[e.Type()], record{event: e})
	}
	return outcomes
}

// checkNext checks that the facts of a service about an order are published in order: each the first time after its predecessor.
func (r *run) checkNext(e event.Event) {
	_, n, err := events.ParseID(e.ID())
	if err != nil {
		r.violate("fact %s: %v", e.ID(), err)
	}
	of := e.Source() + " " + e.Subject()
	switch newest := r.newest[of]; {
	case n == newest+1:
		r.newest[of] = n
	case n > newest:
		r.violate("fact %s of %s is published after number %d", e.ID(), e.Source(), newest)
	}
}

// Close does nothing.
func (publisher) Close() error { return nil }

// mailer sends mails that sometimes get lost; the log shows that one was sent.
type mailer struct{ run *run }

var errMail = errors.New("the mail server is away")

// Send accepts a mail or fails. Those of a batch come at the same time: which ones fail does not depend on their order.
func (m mailer) Send(_ context.Context, mail notify.Mail) error {
	h := fnv.New64a()
	fmt.Fprint(h, mail.MessageID, m.run.now)
	if m.run.faulty && h.Sum64()%100 < 10 {
		return errMail
	}
	return nil
}

// published returns whether a topic has an event.
func (r *run) published(topic, id string) bool {
	return slices.ContainsFunc(r.topics[topic], func(rec record) bool { return rec.event.ID() == id && !rec.poison })
}
