package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAStormOfWarningsIsCountedAndNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(newLogLimiter(slog.NewTextHandler(&text, nil)))
		source := log.With("consumer", "notify")
		for range 1000 {
			log.Warn("event failed", "function", "notify", "event_id", "1")
			log.Warn("event failed", "function", "finalize-order", "event_id", "1")
			source.Warn("delivery failed")
			log.Info("event handled")
		}
		log.Error("request failed")

		time.Sleep(limitSpan)
		synctest.Wait()

		assert.Equal(t, 1000, strings.Count(text.String(), "event handled"), "what is no warning passes")
		assert.Equal(t, 2*(limitLines+1), strings.Count(text.String(), "event failed"), "each function has lines of its own")
		assert.Equal(t, limitLines+1, strings.Count(text.String(), "delivery failed"))
		assert.Equal(t, 1, strings.Count(text.String(), "request failed"))
		assert.Contains(t, text.String(), `msg="event failed" function=notify left_out=995 within=10s`)
		assert.Contains(t, text.String(), `msg="delivery failed" consumer=notify left_out=995 within=10s`)

		text.Reset()
		log.Warn("event failed", "function", "notify")
		time.Sleep(limitSpan)
		synctest.Wait()
		assert.Equal(t, 1, strings.Count(text.String(), "\n"), "a new span begins, and a quiet one needs no count")
	})
}
