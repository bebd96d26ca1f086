// Package failpoint kills this process at named points, so that tests see what a crash there leaves behind. What goes
// in is a plan, given once at the start of the process; without one a point costs one atomic load. No request and no
// event can set a plan.
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

// Point is a boundary that a crash may fall on.
type Point string

// The points. Each is passed in the name of a function: that of create-order's commit is create-order.after-commit.
const (
	RequestRead       Point = "request-read"        // the request is read and checked, nothing is done
	BeforeCommit      Point = "before-commit"       // all that a transaction writes is written
	AfterCommit       Point = "after-commit"        // it is committed, nobody has been told
	BeforePublish     Point = "before-publish"      // a relay has a shard and its rows
	AfterPublish      Point = "after-publish"       // the broker has answered
	AfterMark         Point = "after-mark"          // the rows are marked, not committed
	AfterRelay        Point = "after-relay"         // the marks are committed
	BeforeOffset      Point = "before-offset"       // the function has answered, the offset is not marked
	DeadLetterWritten Point = "dead-letter-written" // the broker has the dead letter, the offset is not marked
	MailSent          Point = "mail-sent"           // the mail is sent, not marked as such
)

var points = []Point{
	RequestRead, BeforeCommit, AfterCommit, BeforePublish, AfterPublish, AfterMark, AfterRelay, BeforeOffset,
	DeadLetterWritten, MailSent,
}

// plan says at which pass of a point the process dies.
type plan map[string]*pass

type pass struct {
	fatal int64
	count atomic.Int64
}

var armed atomic.Pointer[plan]

// Arm sets the plan of this process: NAME.POINT=kill@N, more of them with semicolons between; the process is killed, as
// by kill -9, when the function NAME passes POINT for the N-th time. An empty text arms nothing.
func Arm(text string) error {
	if text == "" {
		return nil
	}
	p := plan{}
	for item := range strings.SplitSeq(text, ";") {
		name, action, _ := strings.Cut(strings.TrimSpace(item), "=")
		scope, point, named := strings.Cut(name, ".")
		if !named || scope == "" || !slices.Contains(points, Point(point)) {
			return fmt.Errorf("failpoint %q: give NAME.POINT=kill@N, with a POINT of %v", item, points)
		}
		count, ok := strings.CutPrefix(action, "kill@")
		n, err := strconv.ParseInt(count, 10, 64)
		if !ok || err != nil || n < 1 {
			return fmt.Errorf("failpoint %q: the action is kill@N, with N from 1", item)
		}
		if p[name] != nil {
			return fmt.Errorf("failpoint %q: it is named twice", item)
		}
		p[name] = &pass{fatal: n}
	}
	if !armed.CompareAndSwap(nil, &p) {
		return errors.New("failpoints are armed already")
	}
	return nil
}

// Armed lists the points of the plan, none when there is no plan.
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

// Pass passes a point in the name that ctx has by In. When the plan says so it does not return.
func Pass(ctx context.Context, point Point) {
	p := armed.Load()
	if p == nil {
		return
	}
	name, _ := ctx.Value(scope{}).(string)
	name += "." + string(point)
	if passed := (*p)[name]; passed != nil && passed.count.Add(1) == passed.fatal {
		fmt.Fprintln(os.Stderr, "failpoint: killed at", name) // by this tests know what the process died of
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)        // nobody may forbid it
		select {}                                             // the signal takes effect any moment: nothing is done until then
	}
}
