package knativetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/knative"
)

// Start runs stand-ins for the sources and pings of a wiring, between brokers, the functions at the URLs of their Services,
// and the KafkaSinks of sink, until the test ends. It returns once all sources read.
func Start(t testing.TB, brokers []string, wiring *knative.Wiring, services map[string]string, sink *Sink) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	joined := make([]chan struct{}, len(wiring.Sources))
	for i, spec := range wiring.Sources {
		require.Contains(t, services, spec.Sink)
		at := slices.IndexFunc(wiring.Sinks, func(s knative.KafkaSink) bool { return s.Topic == spec.Delivery.DeadLetter })
		require.GreaterOrEqual(t, at, 0)
		joined[i] = make(chan struct{})
		s := Source{
			Brokers: brokers, Spec: spec, URL: services[spec.Sink],
			DeadLetterURL: sink.URL + "/" + spec.Namespace + "/" + wiring.Sinks[at].Name,
			Joined:        sync.OnceFunc(func() { close(joined[i]) }),
		}
		running.Go(func() { assert.NoError(t, s.Run(ctx)) })
	}
	schedule := cron.New(cron.WithSeconds())
	for _, ping := range wiring.Pings {
		_, err := schedule.AddFunc(ping.Schedule, func() { post(ctx, services[ping.Sink], tick(ping), time.Minute) })
		require.NoError(t, err)
	}
	schedule.Start()
	t.Cleanup(func() { <-schedule.Stop().Done() })
	for i, spec := range wiring.Sources {
		select {
		case <-joined[i]:
		case <-time.After(time.Minute):
			require.Fail(t, "the source does not join its group", spec.Name)
		}
	}
}

// tick is the event of a PingSource.
func tick(ping knative.PingSource) event.Event {
	e := event.New()
	e.SetID(uuid.NewString())
	e.SetType("dev.knative.sources.ping")
	e.SetSource("/apis/v1/namespaces/" + ping.Namespace + "/pingsources/" + ping.Name)
	e.SetTime(time.Now())
	if ping.Data != "" {
		e.SetDataContentType(ping.ContentType)
		e.DataEncoded = []byte(ping.Data)
	}
	return e
}
