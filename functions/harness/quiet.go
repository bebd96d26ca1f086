package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// quiet bounds what a fault can write into the log: of warnings and errors that are alike, having the same message and
// being about the same function, consumer and topic, it lets a few through in each span of time and counts the others,
// which the last line of the span tells. What is less than a warning passes.
type quiet struct {
	next  slog.Handler
	about string // what all records of this handler are about
	seen  *seen
}

// quietSpan is the span, and quietLines how many lines that are alike pass in one.
const (
	quietSpan  = 10 * time.Second
	quietLines = 5
)

// seen is shared by the handlers that are made from one another.
type seen struct {
	mu    sync.Mutex
	spans map[string]*span // by what makes records alike
}

// span is the current span of records that are alike; it ends quietSpan after its first one.
type span struct {
	passed, leftOut int
}

func newQuiet(next slog.Handler) slog.Handler {
	return quiet{next: next, seen: &seen{spans: map[string]*span{}}}
}

// Enabled implements slog.Handler, and so do the methods below.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool { return q.next.Enabled(ctx, level) }

// WithAttrs returns a handler whose records have these attributes.
func (q quiet) WithAttrs(attributes []slog.Attr) slog.Handler {
	return quiet{next: q.next.WithAttrs(attributes), about: q.about + kin(attributes), seen: q.seen}
}

// WithGroup returns a handler whose attributes are in a group.
func (q quiet) WithGroup(name string) slog.Handler {
	return quiet{next: q.next.WithGroup(name), about: q.about + name + ".", seen: q.seen}
}

// kin is what makes records about different things differ.
func kin(attributes []slog.Attr) string {
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
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn || q.pass(ctx, r) {
		return q.next.Handle(ctx, r)
	}
	return nil
}

func (q quiet) pass(ctx context.Context, r slog.Record) bool {
	attributes := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attributes = append(attributes, a)
		return true
	})
	key := r.Level.String() + " " + r.Message + " " + q.about + kin(attributes)
	q.seen.mu.Lock()
	defer q.seen.mu.Unlock()
	s := q.seen.spans[key]
	if s == nil {
		s = &span{}
		q.seen.spans[key] = s
		time.AfterFunc(quietSpan, func() { q.end(context.WithoutCancel(ctx), key, r.Level, r.Message, attributes) })
	}
	if s.passed == quietLines {
		s.leftOut++
		return false
	}
	s.passed++
	return true
}

// end ends a span, and tells how many records it has left out.
func (q quiet) end(ctx context.Context, key string, level slog.Level, message string, attributes []slog.Attr) {
	q.seen.mu.Lock()
	leftOut := q.seen.spans[key].leftOut
	delete(q.seen.spans, key)
	q.seen.mu.Unlock()
	if leftOut == 0 {
		return
	}
	told := slog.NewRecord(time.Now(), level, message, 0)
	for _, a := range attributes {
		if kin([]slog.Attr{a}) != "" {
			told.AddAttrs(a)
		}
	}
	told.AddAttrs(slog.Int("left_out", leftOut), slog.Duration("within", quietSpan))
	_ = q.next.Handle(ctx, told) // slog drops such errors too
}
