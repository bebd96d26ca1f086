package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// Progress shows the progress of a run: on a terminal in one line that is updated, elsewhere in occasional lines. A nil
// Progress shows nothing.
type Progress struct {
	out      io.Writer
	terminal bool
	every    time.Duration
}

// NewProgress shows on out.
func NewProgress(out io.Writer) *Progress {
	p := &Progress{out: out, every: 5 * time.Second}
	if file, ok := out.(*os.File); ok {
		if info, err := file.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			p.terminal, p.every = true, 200*time.Millisecond
		}
	}
	return p
}

// say prints a permanent line.
func (p *Progress) say(format string, args ...any) {
	if p != nil {
		fmt.Fprintf(p.out, format+"\n", args...)
	}
}

// counts is the progress of a load.
type counts struct {
	total    int
	answered atomic.Int64
	watch    *watcher

	seen []seen // of the last second and the one before it, oldest first
}

// seen is how many orders had ended at a time.
type seen struct {
	at   time.Time
	ends int64
}

// perSecond returns how many orders have ended in the second before now, which is later at each call.
func (c *counts) perSecond(now time.Time) float64 {
	ends := c.watch.ends.Load()
	c.seen = append(c.seen, seen{now, ends})
	for len(c.seen) > 2 && now.Sub(c.seen[1].at) >= time.Second {
		c.seen = c.seen[1:]
	}
	return float64(ends-c.seen[0].ends) / max(now.Sub(c.seen[0].at).Seconds(), 1e-3)
}

func (c *counts) line(elapsed time.Duration, perSecond float64) string {
	return fmt.Sprintf("%6.1fs  %d of %d answered  %d confirmed  %.0f/s in the last second", elapsed.Seconds(), c.answered.Load(), c.total,
		c.watch.good.Load(), perSecond)
}

// look is the interval of reading the harness's memory.
const look = 200 * time.Millisecond

// follow shows the counts, and samples usage, until it is stopped.
func (p *Progress) follow(ctx context.Context, c *counts, u *usage) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	begin := time.Now()
	c.seen = []seen{{at: begin}}
	go func() {
		defer close(done)
		tick := time.NewTicker(look)
		defer tick.Stop()
		shown := begin
		for {
			select {
			case <-ctx.Done():
				if p != nil && p.terminal {
					fmt.Fprint(p.out, "\r\x1b[K")
				}
				return
			case now := <-tick.C:
				u.look()
				perSecond := c.perSecond(now)
				if p == nil || now.Sub(shown) < p.every {
					continue
				}
				shown = now
				if p.terminal {
					fmt.Fprint(p.out, "\r\x1b[K"+c.line(now.Sub(begin), perSecond))
				} else {
					fmt.Fprintln(p.out, c.line(now.Sub(begin), perSecond))
				}
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
