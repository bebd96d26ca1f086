package knative

import (
	"strings"
	"time"
)

// lifetimes compares the retentions and timeouts of the functions with how long an event can be delivered again.
func (c *checker) lifetimes(b *base) {
	var events, deadLetters, waits time.Duration
	for _, t := range c.wiring.Topics {
		kept, _ := retention(t.Config) // an unreadable retention was reported with its topic
		if strings.HasSuffix(t.Name, DeadLetterSuffix) {
			deadLetters = max(deadLetters, kept)
		} else {
			events = max(events, kept)
		}
	}
	for _, s := range c.wiring.Sources {
		waits = max(waits, s.Delivery.waits())
	}
	rules := []struct {
		env        string
		longerThan time.Duration
		why        string
	}{
		{"SAGA_TIMEOUT", waits, "an order must not expire while its event is still retried"},
		{"OUTBOX_RETENTION", events, "a sent row explains a record for as long as its topic keeps it"},
		{"INBOX_RETENTION", events + deadLetters, "an event can come again from its topic, and then from the dead letters"},
		{"RETAIN_NOTIFICATIONS", events + deadLetters, "an event can come again from its topic, and then from the dead letters, and its customer would get another mail"},
		{"RESERVATION_LOG_RETENTION", events + deadLetters, "an event can come again from its topic, and then from the dead letters"},
	}
	headers := map[string]header{}
	for _, m := range b.services {
		headers[m.Metadata.Name] = m.header
	}
	for _, s := range c.wiring.Services {
		for _, rule := range rules {
			text, ok := s.Env[rule.env]
			if !ok {
				continue
			}
			value, err := time.ParseDuration(text)
			c.require(err == nil && value > rule.longerThan, headers[s.Name],
				"%s is %q: give a Go duration longer than %s: %s", rule.env, text, rule.longerThan, rule.why)
		}
	}
}
