package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logLimiter limits the log lines of a fault. Of warnings and errors with the same message about the same function, consumer
// and topic, it passes a few per time span and counts the others; the last line of the span has their number. Lower levels
// always pass.
type logLimiter struct {
	next  slog.Handler
	about string // what all records of this handler are about
	seen  *seen
}

// limitSpan is the time span, limitLines the number of similar lines that pass in it.
const (
	limitSpan  = 10 * time.Second
	limitLines = 5
)

// seen is shared by all handlers derived from one another.
type seen struct {
	mu    sync.Mutex
	spans map[string]*span // by level, message and limitKey
}

// span is the current span of similar records; it ends limitSpan after its first record.
type span struct {
	passed, leftOut int
}

func newLogLimiter(next slog.Handler) slog.Handler {
	return logLimiter{next: next, seen: &seen{spans: map[string]*span{}}}
}

// Enabled implements slog.Handler, and so do the methods below.
func (l logLimiter) Enabled(ctx context.Context, level slog.Level) bool {
	return l.next.Enabled(ctx, level)
}

// WithAttrs returns a handler whose records have these attributes.
func (l logLimiter) WithAttrs(attributes []slog.Attr) slog.Handler {
	return logLimiter{next: l.next.WithAttrs(attributes), about: l.about + limitKey(attributes), seen: l.seen}
}

// WithGroup returns a handler whose attributes are in a group.
func (l logLimiter) WithGroup(name string) slog.Handler {
	return logLimiter{next: l.next.WithGroup(name), about: l.about + name + ".", seen: l.seen}
}

// limitKey returns the attributes that distinguish records about different things.
func limitKey(attributes []slog.Attr) string {
	var about strings.Builder
	for _, a := range attributes {
		switch a.Key {
		case "function", "consumer", "topic":
			about.WriteString(a.Key + "=" + a.Value.String() + " ")
		}
	}
	return about.String()
}

// Handle writes a record, or counts it.
func (l logLimiter) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn || l.pass(ctx, r) {
		return l.next.Handle(ctx, r)
	}
	return nil
}

func (l logLimiter) pass(ctx context.Context, r slog.Record) bool {
	attributes := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attributes = append(attributes, a)
		return true
	})
	key := r.Level.String() + " " + r.Message + " " + l.about + limitKey(attributes)
	l.seen.mu.Lock()
	defer l.seen.mu.Unlock()
	s := l.seen.spans[key]
	if s == nil {
		s = &span{}
		l.seen.spans[key] = s
		time.AfterFunc(limitSpan, func() { l.end(context.WithoutCancel(ctx), key, r.Level, r.Message, attributes) })
	}
	if s.passed == limitLines {
		s.leftOut++
		return false
	}
	s.passed++
	return true
}

// end ends a span, and logs how many records it has left out.
func (l logLimiter) end(ctx context.Context, key string, level slog.Level, message string, attributes []slog.Attr) {
	l.seen.mu.Lock()
	leftOut := l.seen.spans[key].leftOut
	delete(l.seen.spans, key)
	l.seen.mu.Unlock()
	if leftOut == 0 {
		return
	}
	summary := slog.NewRecord(time.Now(), level, message, 0)
	for _, a := range attributes {
		if limitKey([]slog.Attr{a}) != "" {
			summary.AddAttrs(a)
		}
	}
	summary.AddAttrs(slog.Int("left_out", leftOut), slog.Duration("within", limitSpan))
	_ = l.next.Handle(ctx, summary) // slog drops such errors too
}
