// Package failpoint kills this process at named points, so that tests see what a crash there leaves behind. The plan is set
// once, at the start of the process; without one a point costs one atomic load. No request and no event can set a plan.
package failpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Point is a boundary at which a crash may happen.
type Point string

// The points. Each is passed in the name of a function: the commit of create-order is create-order.after-commit.
const (
	RequestRead       Point = "request-read"        // the request is read and checked, nothing is done
	BeforeCommit      Point = "before-commit"       // a transaction has written everything
	AfterCommit       Point = "after-commit"        // it is committed, nothing is emitted yet
	BeforePublish     Point = "before-publish"      // a relay has claimed a shard and read its rows
	AfterPublish      Point = "after-publish"       // the broker has acknowledged
	AfterMark         Point = "after-mark"          // the rows are marked, not committed
	AfterRelay        Point = "after-relay"         // the marks are committed
	BeforeOffset      Point = "before-offset"       // the function has answered, the offset is not marked
	DeadLetterWritten Point = "dead-letter-written" // the broker has the dead letter, the offset is not marked
	MailSent          Point = "mail-sent"           // the mail is sent, not marked as sent
	BeforeGateway     Point = "before-gateway"      // a request to the payment gateway is committed, not made
	AfterGateway      Point = "after-gateway"       // the gateway has answered, nothing is recorded
)

var points = []Point{
	RequestRead, BeforeCommit, AfterCommit, BeforePublish, AfterPublish, AfterMark, AfterRelay, BeforeOffset,
	DeadLetterWritten, MailSent, BeforeGateway, AfterGateway,
}

// plan maps each point to the pass at which the process dies.
type plan map[string]*pass

type pass struct {
	fatal int64
	count atomic.Int64
}

var armed atomic.Pointer[plan]

// Arm sets the plan of this process: items NAME.POINT=kill@N, separated by semicolons. The process kills itself with SIGKILL
// when the function NAME passes POINT for the N-th time. An empty text sets no plan.
func Arm(text string) error {
	if text == "" {
		return nil
	}
	p := plan{}
	for item := range strings.SplitSeq(text, ";") {
		name, action, _ := strings.Cut(strings.TrimSpace(item), "=")
		scope, point, named := strings.Cut(name, ".")
		if !named || scope == "" || !slices.Contains(points, Point(point)) {
			return fmt.Errorf("failpoint %q: use NAME.POINT=kill@N, with a POINT of %v", item, points)
		}
		count, ok := strings.CutPrefix(action, "kill@")
		n, err := strconv.ParseInt(count, 10, 64)
		if !ok || err != nil || n < 1 {
			return fmt.Errorf("failpoint %q: the action must be kill@N, with N from 1", item)
		}
		if p[name] != nil {
			return fmt.Errorf("failpoint %q: it appears twice", item)
		}
		p[name] = &pass{fatal: n}
	}
	if !armed.CompareAndSwap(nil, &p) {
		return errors.New("failpoints are armed already")
	}
	return nil
}

// Armed lists the points of the plan; none without a plan.
func Armed() []string {
	p := armed.Load()
	if p == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(*p))
}

type scope struct{}

// In returns a ctx in which points are passed in the name of a function.
func In(ctx context.Context, function string) context.Context {
	if armed.Load() == nil {
		return ctx
	}
	return context.WithValue(ctx, scope{}, function)
}

// Pass passes a point in the name that In has set in ctx. If the plan says so, it does not return.
func Pass(ctx context.Context, point Point) {
	p := armed.Load()
	if p == nil {
		return
	}
	name, _ := ctx.Value(scope{}).(string)
	name += "." + string(point)
	if passed := (*p)[name]; passed != nil && passed.count.Add(1) == passed.fatal {
		fmt.Fprintln(os.Stderr, "failpoint: killed at", name) // tests read from this where the process died
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)        // SIGKILL cannot be blocked
		select {}                                             // the signal takes effect at any moment: do nothing until then
	}
}
