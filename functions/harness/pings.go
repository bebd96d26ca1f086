package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/robfig/cron/v3"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/knative"
)

// pings runs the PingSources. It skips a tick while the previous one is handled; Knative does not guarantee that, and no
// function relies on it. A failed tick is not retried: the next one follows.
type pings struct {
	end     context.CancelFunc
	running sync.WaitGroup
}

// startPings starts to tick. The ticks are handled with ctx, which outlives the pings.
func startPings(ctx context.Context, sources []knative.PingSource, deliver map[string]func(context.Context, event.Event) error) (*pings, error) {
	schedules := make([]cron.Schedule, len(sources))
	for i, ping := range sources {
		if _, ok := deliver[ping.Sink]; !ok {
			return nil, fmt.Errorf("PingSource %s: the function %s takes no CloudEvents", ping.Name, ping.Sink)
		}
		var err error
		if schedules[i], err = knative.ParseSchedule(ping.Schedule); err != nil {
			return nil, fmt.Errorf("PingSource %s: %w", ping.Name, err)
		}
	}
	ticking, end := context.WithCancel(ctx)
	p := &pings{end: end}
	for i, ping := range sources {
		to := deliver[ping.Sink]
		p.running.Go(func() {
			keepTime(ticking, schedules[i], time.Now, func() { _ = to(ctx, tick(ping)) }) // the function has logged it
		})
	}
	return p, nil
}

// stop stops the ticks and returns when the last of them is handled.
func (p *pings) stop() {
	p.end()
	p.running.Wait()
}

// early is how much before its time a tick may fire, if the wall clock is slower than the monotonic one.
const early = time.Second

// keepTime calls do at the times of a schedule until ctx ends. The wall clock determines the next wait, and the monotonic
// clock measures it: if the wall clock is set meanwhile, only the ticks after the next one move, and none is blocked.
func keepTime(ctx context.Context, schedule cron.Schedule, now func() time.Time, do func()) {
	for from := now(); ; {
		next := schedule.Next(from)
		if next.IsZero() {
			return // such as the 30th of February
		}
		timer := time.NewTimer(next.Sub(now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		do()
		if from = now(); from.Before(next) && next.Sub(from) < early {
			from = next // its time has come already
		}
	}
}

// tick is the event of a PingSource.
func tick(ping knative.PingSource) event.Event {
	e := event.New()
	e.SetType(base.TickType)
	e.SetSource("/apis/v1/namespaces/" + ping.Namespace + "/pingsources/" + ping.Name)
	e.SetID(uuid.NewString())
	e.SetTime(time.Now())
	if ping.Data != "" {
		e.SetDataContentType(ping.ContentType)
		e.DataEncoded = []byte(ping.Data)
	}
	return e
}
