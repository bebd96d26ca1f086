package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"example.com/orders/functions/internal/observe/health"
	"example.com/orders/functions/internal/web/rest"
)

// part is a component that the system needs.
type part struct {
	kind, name string
	ask        func(context.Context) error // checks whether it works
}

func (p part) String() string { return strings.TrimSpace(p.kind + " " + p.name) }

// parts lists the components that the system needs. Functions with a shared pool share its check.
func (h *harness) parts() []part {
	var all []part
	for name, f := range h.functions {
		all = append(all, part{"function", name, func(ctx context.Context) error {
			if ready, err := f.Ready(ctx); ready || err != nil {
				return err
			}
			return errors.New("has not started yet")
		}})
	}
	for i, source := range h.sources {
		all = append(all, part{"source", h.wiring.Sources[i].Name, func(context.Context) error {
			if source.Joined() {
				return nil
			}
			return errors.New("the source has not joined its consumer group")
		}})
	}
	for name, check := range h.pools.checks {
		all = append(all, part{"schema", name, check.Err})
	}
	return append(all, part{"", "kafka", h.kafka.Err})
}

// sampleStock is the part that is created once all others work.
func (h *harness) sampleStock() part {
	return part{"", "sample stock", func(context.Context) error {
		if h.stocked.Load() {
			return nil
		}
		return errors.New("is not there yet")
	}}
}

// failing checks all parts in parallel and returns the errors of those that fail.
func failing(ctx context.Context, parts []part) map[string]error {
	asks := map[string]func(context.Context) error{}
	for _, p := range parts {
		asks[p.String()] = p.ask
	}
	return health.All(ctx, asks)
}

// reasons returns the failures for people: functions and sources by name. A failed schema is reported under the functions
// that need it.
func reasons(parts []part, failed map[string]error) map[string]string {
	why := map[string]string{}
	for _, p := range parts {
		if err := failed[p.String()]; err != nil && p.kind != "schema" {
			why[p.name] = err.Error()
		}
	}
	return why
}

// live answers 200 as long as the process can answer at all: dependencies do not count, since a restart would not fix them.
func live(w http.ResponseWriter, _ *http.Request) {
	_ = rest.JSON(w, http.StatusOK, map[string]string{"status": "UP"}) // encoding strings cannot fail
}

// health answers 200 if every function can work, every source is reading and a broker answers, else 503 with the reasons,
// within three seconds.
func (h *harness) health(w http.ResponseWriter, r *http.Request) {
	parts := append(h.parts(), h.sampleStock())
	answer := struct {
		Status  string            `json:"status"`
		Reasons map[string]string `json:"reasons,omitempty"`
	}{Status: "UP", Reasons: reasons(parts, failing(r.Context(), parts))}
	status := http.StatusOK
	if len(answer.Reasons) > 0 {
		answer.Status, status = "DOWN", http.StatusServiceUnavailable
	}
	_ = rest.JSON(w, status, answer) // encoding strings cannot fail
}

// brief answers like health, for everybody: without the reasons, which name servers and errors.
func (h *harness) brief(w http.ResponseWriter, r *http.Request) {
	answer, status := map[string]string{"status": "UP"}, http.StatusOK
	if len(failing(r.Context(), append(h.parts(), h.sampleStock()))) > 0 {
		answer["status"], status = "DOWN", http.StatusServiceUnavailable
	}
	_ = rest.JSON(w, status, answer) // encoding strings cannot fail
}

// component is the state of a part.
type component struct {
	Status string `json:"status"`           // UP or DOWN
	Reason string `json:"reason,omitempty"` // why it is DOWN
}

// ready is health with all parts, including those that work.
func (h *harness) ready(w http.ResponseWriter, r *http.Request) {
	parts := append(h.parts(), h.sampleStock())
	failed := failing(r.Context(), parts)
	answer := struct {
		Status     string               `json:"status"`
		Components map[string]component `json:"components"`
	}{"UP", map[string]component{}}
	status := http.StatusOK
	for _, p := range parts {
		c := component{Status: "UP"}
		if err := failed[p.String()]; err != nil {
			c = component{"DOWN", err.Error()}
			answer.Status, status = "DOWN", http.StatusServiceUnavailable
		}
		answer.Components[p.String()] = c
	}
	_ = rest.JSON(w, status, answer) // encoding strings cannot fail
}

// awaitReady waits until everything works, logs after a while what it waits for, and then adds the sample stock.
func (h *harness) awaitReady(ctx context.Context, o options) error {
	warnAt := time.Now().Add(5 * time.Second)
	for {
		parts := h.parts()
		failed := failing(ctx, parts)
		if len(failed) == 0 {
			break
		}
		if time.Now().After(warnAt) {
			warnAt = time.Now().Add(30 * time.Second)
			h.log.Warn("not ready yet", "reasons", reasons(parts, failed))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	if o.stock {
		if err := h.addSamples(ctx); err != nil {
			return err
		}
	}
	h.stocked.Store(true)
	return nil
}
