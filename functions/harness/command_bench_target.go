package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/messaging/kafka"
	"example.com/orders/functions/internal/observe/oneline"
	"example.com/orders/functions/internal/operate/bench"
	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/web/identity"
	"example.com/orders/knative"
)

// harnessToken is the secret by which a command is somebody to the harness that it calls.
const harnessToken = "HARNESS_TOKEN"

// benchTarget is the stack that is measured.
type benchTarget struct {
	bench.Target
	servers *servers
	wiring  *knative.Wiring
	where   string // its data is
	release func() error
}

// target returns the stack that runs, or one that it starts.
func (b *benchCommand) target(ctx context.Context, o options, out streams) (t *benchTarget, err error) {
	t = &benchTarget{release: func() error { return nil }}
	var running *runFile
	if b.running {
		if running, err = b.find(ctx, o); err != nil {
			return nil, err
		}
	} else {
		stack, err := startStack(ctx, o, b.size, b.flags.Changed("data"), out)
		if err != nil {
			return nil, err
		}
		o, t.release, t.where = stack.options, stack.end, stack.where()
		t.APIs, t.Processes, t.Logs, t.Started = stack.apis(), stack.processes(), stack.logs(), true
	}
	s, disconnect, err := reach(ctx, o, out, needsDatabase|needsKafka)
	if err != nil {
		return nil, errors.Join(err, t.release())
	}
	end := t.release
	t.release = func() error { return errors.Join(disconnect(), end()) }
	t.servers, t.Brokers, t.TopicPrefix = s, s.brokers, s.config["KAFKA_TOPIC_PREFIX"]
	if b.running {
		at, err := o.given()
		if err != nil {
			return nil, errors.Join(err, t.release())
		}
		t.APIs = []string{or(s.api, at)}
		t.where = "the harness at " + t.APIs[0] + ", where they stay"
	}
	if running != nil {
		t.Processes = running.processes()
	}
	if t.Currency, err = base.Currency(s.config); err == nil {
		t.Token, err = identity.NewToken(s.config, harnessToken)
	}
	if err != nil {
		return nil, errors.Join(usage(err), t.release())
	}
	if t.wiring, err = knative.Configured(s.config); err != nil {
		return nil, errors.Join(err, t.release())
	}
	t.Outboxes = t.wiring.Outboxes()
	if users, err := kafka.Users(s.config); err != nil {
		return nil, errors.Join(usage(err), t.release())
	} else if users != nil {
		t.Principals = kafka.Principals(t.wiring, t.TopicPrefix)
	}
	if t.Server, t.MaxConns, err = base.Server(s.config); err != nil {
		return nil, errors.Join(err, t.release())
	}
	return t, nil
}

// find returns the harness that runs on the data folder; nil for one that answers on --addr and uses the servers of the
// environment.
func (b *benchCommand) find(ctx context.Context, o options) (*runFile, error) {
	if b.flags.Changed("partitions") || b.flags.Changed("members") || b.past.Orders > 0 || b.deployed || b.pprof {
		return nil, usage(errors.New("--partitions, --members, --fill, --deployed and --pprof are for a stack that bench starts: leave --running out"))
	}
	if !o.ephemeral {
		if running, err := findRunning(o.data); err != nil || running != nil {
			return running, err
		}
		if b.flags.Changed("data") {
			return nil, unreachable(fmt.Errorf("no harness is running on %s: start one there, or leave --running out for a stack of its own", o.data))
		}
	}
	if namesDatabase(o.environ) && o.environ["KAFKA_BROKERS"] != "" {
		at, err := o.given()
		if err != nil {
			return nil, usage(err)
		}
		if answers(ctx, at) {
			return nil, nil
		}
	}
	return nil, unreachable(fmt.Errorf("no harness is running on %s, and none answers on %s with the servers of MYSQL_DSN and KAFKA_BROKERS: start one, or leave --running out for a stack of its own", o.data, o.addr))
}

// explained adds to the error of a run the dead letters since its begin, which are why orders do not end.
func (t *benchTarget) explained(ctx context.Context, failed error, since time.Time) error {
	if failed == nil || ctx.Err() != nil {
		return failed
	}
	box, shut, err := openBox(ctx, t.servers, t.wiring, "bench")
	if err != nil {
		return errors.Join(failed, err)
	}
	letters, err := box.Find(ctx, deadletter.Selector{States: []deadletter.State{deadletter.Open}})
	if err := errors.Join(err, shut()); err != nil {
		return errors.Join(failed, err)
	}
	counts := map[string]int{}
	for _, l := range letters {
		if t.Started || l.At.After(since) {
			counts[fmt.Sprintf("%s: %s", consumerOf(l, "no consumer"), oneline.Of(l.Error, 100))]++
		}
	}
	if len(counts) == 0 {
		return failed
	}
	var text strings.Builder
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&text, "\n%d dead letters of %s", counts[reason], reason)
	}
	if !t.Started {
		text.WriteString("\nharness deadletters list shows them")
	}
	return fmt.Errorf("%w%s", failed, &text)
}
