//go:build !linux

package bench

import (
	"context"
	"time"
)

// alarm waits until times, as precisely as Go's timers are.
type alarm struct{}

func newAlarm() (*alarm, error) { return &alarm{}, nil }

func (*alarm) close() error { return nil }

func (*alarm) until(ctx context.Context, at time.Time) { sleep(ctx, time.Until(at)) }
