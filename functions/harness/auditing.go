package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/operate/audit"
)

// auditing audits a harness repeatedly.
type auditing struct {
	audit audit.Options
	every time.Duration
	log   *slog.Logger

	checkpoint *audit.Checkpoint // of the last audit; nil if it could have none
	fullAgain  time.Time         // when the next audit reads everything

	mu     sync.Mutex
	last   *audit.Report
	logged map[string]bool // the breaches of the last audit, so that each is logged once
	failed bool            // the last audit could not read everything
}

// auditShare bounds the time that audits take: the pause after an audit is at least this many times its duration, and that
// between two full ones is, too. In between only what has changed is audited.
const auditShare = 20

// newAuditing returns the auditing of a harness with this configuration, with a pause of at least every between audits.
func newAuditing(config map[string]string, every time.Duration, registry *prometheus.Registry, log *slog.Logger) (*auditing, error) {
	o, err := audit.Configure(config, defaultGrace)
	if err != nil {
		return nil, err
	}
	a := &auditing{audit: o, every: every, log: log}
	return a, registry.Register(auditCollector{a})
}

// run audits until ctx ends.
func (a *auditing) run(ctx context.Context) {
	for pause := a.every; ; {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		begin := time.Now()
		report, err := a.next(ctx, begin)
		if ctx.Err() != nil {
			return
		}
		a.note(report, err)
		now := time.Now()
		pause = health.Pause(a.every, auditShare, now.Sub(begin), err)
		if err == nil {
			pause = a.pauseAfter(report, now, pause)
		}
	}
}

// pauseAfter returns the wait after an audit, given that between audits of its duration. A full audit is followed by one of the
// changes soon, unless that has just found that it is not enough; where there is no checkpoint the next one is full, and has to wait.
func (a *auditing) pauseAfter(report *audit.Report, now time.Time, pause time.Duration) time.Duration {
	if report.Since == nil {
		a.fullAgain = now.Add(pause)
		if a.checkpoint != nil && report.Full == "" {
			return a.every
		}
		return pause
	}
	if a.checkpoint == nil {
		return max(pause, a.fullAgain.Sub(now))
	}
	return pause
}

// next audits everything if that is due, else what has changed since the last audit.
func (a *auditing) next(ctx context.Context, at time.Time) (*audit.Report, error) {
	from := a.checkpoint
	if !at.Before(a.fullAgain) {
		from = nil
	}
	defer collectOften()() // a full audit holds some 0.7 kB for each order
	report, next, err := audit.RunSince(ctx, a.audit, from)
	if err == nil || errors.Is(err, audit.ErrCheckpoint) {
		a.checkpoint = next
	}
	return report, err
}

// note keeps a report and logs the breaches that the previous one did not have.
func (a *auditing) note(report *audit.Report, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		level := slog.LevelWarn
		if a.failed {
			level = slog.LevelDebug
		}
		a.log.Log(context.Background(), level, "audit not possible", "error", err)
		a.failed = true
		return
	}
	a.failed, a.last = false, report
	breaches := map[string]bool{}
	for _, invariant := range report.Invariants {
		for _, breach := range invariant.Breaches {
			breaches[breach] = true
			if !a.logged[breach] {
				a.log.Error("audit found a breach", "invariant", invariant.Name, "breach", breach)
			}
		}
	}
	a.logged = breaches
}

// lastReport returns the report of the last audit, nil before the first one.
func (a *auditing) lastReport() *audit.Report {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// auditCollector exports the last report to Prometheus.
type auditCollector struct{ *auditing }

var (
	auditBreaches = prometheus.NewDesc("orders_audit_breaches", "Breaches of invariants, at the last audit.", []string{"invariant"}, nil)
	auditTime     = prometheus.NewDesc("orders_audit_time_seconds", "When the last audit took its snapshot, in Unix time.", nil, nil)
)

// Describe names the metrics.
func (auditCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- auditBreaches
	descriptions <- auditTime
}

// Collect returns the metrics; there are none before the first audit.
func (c auditCollector) Collect(values chan<- prometheus.Metric) {
	report := c.lastReport()
	if report == nil {
		return
	}
	values <- prometheus.MustNewConstMetric(auditTime, prometheus.GaugeValue, float64(report.At.UnixMilli())/1000)
	for _, invariant := range report.Invariants {
		values <- prometheus.MustNewConstMetric(auditBreaches, prometheus.GaugeValue, float64(invariant.Breached), invariant.Name)
	}
}
