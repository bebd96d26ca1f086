package main

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/robfig/cron/v3"

	"example.com/orders/functions/internal/instance"
	"example.com/orders/knative"
)

// schedulePings acts out the PingSources. A tick that comes while the one before is being handled is left out, which
// Knative does not promise and no function relies on. A tick that fails is not tried again: the next one follows.
func schedulePings(ctx context.Context, pings []knative.PingSource, deliver map[string]func(context.Context, event.Event) error) (*cron.Cron, error) {
	schedule := cron.New(cron.WithSeconds(), cron.WithChain(cron.SkipIfStillRunning(cron.DiscardLogger)))
	for _, ping := range pings {
		to, ok := deliver[ping.Sink]
		if !ok {
			return nil, fmt.Errorf("PingSource %s: the function %s takes no CloudEvents", ping.Name, ping.Sink)
		}
		_, err := schedule.AddFunc(ping.Schedule, func() {
			if ctx.Err() == nil {
				_ = to(ctx, tick(ping)) // the function has logged it
			}
		})
		if err != nil {
			return nil, fmt.Errorf("PingSource %s: %w", ping.Name, err)
		}
	}
	return schedule, nil
}

// tick is the event of a PingSource.
func tick(ping knative.PingSource) event.Event {
	e := event.New()
	e.SetType(instance.TickType)
	e.SetSource("/apis/v1/namespaces/" + ping.Namespace + "/pingsources/" + ping.Name)
	e.SetID(uuid.NewString())
	e.SetTime(time.Now())
	if ping.Data != "" {
		e.SetDataContentType(ping.ContentType)
		e.DataEncoded = []byte(ping.Data)
	}
	return e
}
