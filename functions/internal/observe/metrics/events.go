package metrics

import (
	"time"
)

// The reasons of dead letters that always exist as labels; the others are rejected_3xx and rejected_4xx, by the status of
// the consumer's answer.
const (
	Poison    = "poison"    // the consumer said that it can never succeed
	Exhausted = "exhausted" // it failed until the last retry
)

// AddConsumer creates the counters of a consumer of a topic.
func (m *Metrics) AddConsumer(topic, consumer string) {
	if m == nil {
		return
	}
	m.deadLetters.Add(0, topic, consumer, Poison)
	m.deadLetters.Add(0, topic, consumer, Exhausted)
	m.retries.Add(0, topic, consumer)
	m.cut.Add(0, topic, consumer)
	m.lost.Add(0, topic, consumer)
}

// CountDeadLetter counts a dead letter of a consumer of a topic.
func (m *Metrics) CountDeadLetter(topic, consumer, reason string) {
	if m == nil {
		return
	}
	m.deadLetters.Add(1, topic, consumer, reason)
}

// CountCutLetter counts a dead letter without a part of its record; CountDeadLetter counts it as well.
func (m *Metrics) CountCutLetter(topic, consumer string) {
	if m == nil {
		return
	}
	m.cut.Add(1, topic, consumer)
}

// CountLost counts records that were removed from a topic before the consumer had handled them.
func (m *Metrics) CountLost(topic, consumer string, records int) {
	if m == nil {
		return
	}
	m.lost.Add(float64(records), topic, consumer)
}

// CountRetry counts a delivery to a consumer after a failed one.
func (m *Metrics) CountRetry(topic, consumer string) {
	if m == nil {
		return
	}
	m.retries.Add(1, topic, consumer)
}

// Outcome is the result of a function's handling of an event.
type Outcome string

// The outcomes.
const (
	Handled   Outcome = "handled"
	Duplicate Outcome = "duplicate" // handled before: absorbed
	Retried   Outcome = "retried"   // failed, and will be delivered again
	Poisoned  Outcome = "poisoned"  // can never succeed
)

// AddFunction creates the counters of a function.
func (m *Metrics) AddFunction(function string) {
	if m == nil {
		return
	}
	for _, o := range []Outcome{Handled, Duplicate, Retried, Poisoned} {
		m.handled.Add(0, function, string(o))
	}
	m.steps.Create(function)
}

// CountEvent counts an event that a function handled, and the time it took.
func (m *Metrics) CountEvent(function string, o Outcome, took time.Duration) {
	if m == nil {
		return
	}
	m.handled.Add(1, function, string(o))
	m.steps.Observe(took.Seconds(), function)
}
