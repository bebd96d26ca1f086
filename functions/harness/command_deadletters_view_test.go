package main

import (
	"bytes"
	"testing"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/operate/deadletter"
)

func TestALetterSaysWhyItFailed(t *testing.T) {
	for name, c := range map[string]struct {
		letter deadletter.Summary
		says   string
	}{
		"refused, by the harness":            {deadletter.Summary{Attempts: 1, Status: 422, Error: "malformed"}, "failed     1 attempts, the last answer was 422: malformed\n"},
		"refused, on Knative":                {deadletter.Summary{Status: 503, Error: "the database is away"}, "failed     the last answer was 503: the database is away\n"},
		"connection refused, on Knative":     {deadletter.Summary{}, "failed     no answer\n"},
		"connection refused, by the harness": {deadletter.Summary{Attempts: 11, Error: "timed out"}, "failed     11 attempts, no answer: timed out\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			showLetter(streams{stdout: &out}, deadletter.Letter{Summary: c.letter, Event: event.New(), Record: &sarama.ConsumerMessage{}})
			assert.Contains(t, out.String(), c.says)
		})
	}
}

func TestAListOfLettersLeavesOutUnknownValues(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, listLetters(streams{stdout: &out}, []deadletter.Summary{{Consumer: "notify"}}, 0, false))
	assert.Regexp(t, `notify .* - +- +0 `, out.String())
}
