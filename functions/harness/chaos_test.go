package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/messaging/delivery"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/knative"
)

func TestTheFlowEndsRightInChaos(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--chaos", "duplicate=0.2,delay=0.3:20ms,drop=0.1,fail=0.1", "--sample-stock=false")
	l := newLoad(p.url)

	l.start(t.Context(), 1, 10)

	l.end()
	d := s.databases(t)
	_, v, err := l.settle(t.Context(), d, time.Minute)
	d.close()
	require.NoError(t, err)
	assert.Empty(t, v.what)
	assert.Empty(t, l.broken)
	assert.Contains(t, p.log.String(), `level=WARN msg="chaos: faults are injected into deliveries" chaos="duplicate=0.2,delay=0.3:20ms,drop=0.1,fail=0.1" function=all`)
	p.audit(t)
	p.stop(t)
}

func TestChaosPoisonMakesDeadLettersOfOneFunctionOnly(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := s.up(t, "--chaos", "poison=1", "--chaos-function", "notify")

	o := p.place(t, "SKU-123", 2)

	p.awaitStatus(t, o.OrderID, "CONFIRMED")
	p.awaitLog(t, "record set aside as a dead letter")
	topics := p.topics(t)
	letter := topics.Records(t, topics.Prefix+"order.confirmed.dlq", 1)[0]
	headers := map[string]string{}
	for _, h := range letter.Headers {
		headers[string(h.Key)] = string(h.Value)
	}
	assert.Equal(t, "notify", headers[kafka.HeaderConsumer])
	assert.Contains(t, headers[kafka.HeaderError], "chaos")
	assert.Equal(t, o.OrderID, string(letter.Key))
	assert.NotContains(t, p.log.String(), "Email to")
}

func TestChaosActsOutEachOfItsKinds(t *testing.T) {
	broken := errors.New("broken")
	tests := map[string]struct {
		chaos     string
		delivered int
		verdict   delivery.Verdict
		answers   error
		late      bool
	}{
		"nothing happens":                {chaos: "fail=0", delivered: 1, verdict: delivery.Acknowledge},
		"a duplicate":                    {chaos: "duplicate=1", delivered: 2, verdict: delivery.Acknowledge},
		"a duplicate of which one fails": {chaos: "duplicate=1", delivered: 2, answers: broken, verdict: delivery.Retry},
		"a drop":                         {chaos: "drop=1", delivered: 1, verdict: delivery.Retry},
		"a failure":                      {chaos: "fail=1", verdict: delivery.Retry},
		"poison":                         {chaos: "poison=1", verdict: delivery.DeadLetter},
		"a delay":                        {chaos: "delay=1:5s", delivered: 1, verdict: delivery.Acknowledge, late: true},
		"a delay longer than the delivery may be": {chaos: "delay=1:50000h", verdict: delivery.Retry, late: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var c chaos
				require.NoError(t, c.parse(test.chaos))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				begin, delivered := time.Now(), 0

				err := c.around(func(context.Context, event.Event) error {
					delivered++
					return test.answers
				})(ctx, event.New())

				assert.Equal(t, test.delivered, delivered)
				assert.Equal(t, test.verdict, delivery.Judge(delivery.Status(err)))
				assert.Equal(t, test.late, time.Since(begin) > 0)
			})
		})
	}
}

func TestChaosIsRefusedWhenItIsNotUnderstood(t *testing.T) {
	wiring, err := knative.Load(knative.Base())
	require.NoError(t, err)
	tests := map[string]struct {
		args []string
		says string
	}{
		"an unknown kind":       {[]string{"--chaos", "explode=1"}, "none of duplicate, delay"},
		"no rate":               {[]string{"--chaos", "fail"}, "a number from 0 to 1"},
		"a rate above one":      {[]string{"--chaos", "fail=2"}, "a number from 0 to 1"},
		"a rate that is none":   {[]string{"--chaos", "fail=NaN"}, "a number from 0 to 1"},
		"a delay without time":  {[]string{"--chaos", "delay=0.5"}, "delay=RATE:UP_TO"},
		"a negative delay":      {[]string{"--chaos", "delay=0.5:-1s"}, "delay=RATE:UP_TO"},
		"a function without it": {[]string{"--chaos-function", "notify"}, "without --chaos"},
		"an unknown function":   {[]string{"--chaos", "fail=1", "--chaos-function", "missing"}, "finalize-order, notify, release-stock, reserve-stock"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			flags := pflag.NewFlagSet("up", pflag.ContinueOnError)
			var c chaos
			c.flags(flags)
			err := flags.Parse(test.args)
			if err == nil {
				err = c.check(wiring)
			}
			assert.ErrorContains(t, err, test.says)
		})
	}
}
