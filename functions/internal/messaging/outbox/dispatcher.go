package outbox

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"example.com/orders/functions/internal/messaging/failpoint"
	"example.com/orders/functions/internal/observe/metrics"
	"example.com/orders/sql/messaging"
	"example.com/orders/sql/transaction"
)

// Dispatcher publishes events right after the commit that stored them, from the memory of the process that committed it: it
// claims no shard and reads no row. The row is the safety net. It is stored with a hold, which keeps relays away from it until
// the dispatcher has had its time; after that it is due for any relay. So an event is published at least once, and twice only
// if the dispatcher was too slow or died between the broker's acknowledgement and the row's mark.
//
// Relays keep the order of an aggregate's events by sending its first unsent row before its later ones. The dispatcher takes
// only an event whose predecessor is known to be published: see Store.
//
// The zero Dispatcher, and nil, take no events, and leave them to the relays.
type Dispatcher struct {
	on      atomic.Bool
	step    atomic.Int64          // between the ids of the rows of one INSERT
	resting atomic.Int64          // until when nothing is taken, in nanoseconds: the broker has failed
	since   [senders]atomic.Int64 // since when each sender waits for the broker, 0 if it does not
	queue   chan []stored
	hold    time.Duration
	now     func() time.Time
	poke    func(shards ...uint8)

	mu       sync.Mutex
	taken    uint64 // the number of events that were handed over
	settled  uint64 // those of them that are marked, or left to the relays
	waiters  []waiter
	unmarked []messaging.Sent
	changed  chan struct{} // signalled when unmarked or waiters grow
}

// stored is an event that is committed in the row with an id.
type stored struct {
	id    int64
	event event.Event
	at    time.Time // before the row was written; its hold ends that much later, or after that
}

// waiter waits until some number of events are settled.
type waiter struct {
	settled uint64
	done    chan struct{}
}

// DefaultHold is how long a row is kept from the relays. The times count from before its INSERT: a dispatcher that has not begun
// to send it in a third of it leaves it to the relays, and after two thirds it knows whether the broker has it or leaves it, too.
// What it has not marked at the end is sent again.
const DefaultHold = 6 * time.Second

const (
	// queued bounds the batches that wait; a dispatcher whose queue is half full takes no more events.
	queued = 256
	// senders is the number of batches under way: one more is formed while the broker stores another.
	senders = 2
	// markEvery is how long a mark may wait for others, and markAt the number of marks that do not wait. Both bound what is sent
	// again after a crash; a mark's transaction keeps those of orders waiting for the disk.
	markEvery = time.Second
	markAt    = 250
	// slow is how long a sender may wait for the broker while the dispatcher takes events.
	slow = 250 * time.Millisecond
	// restFor is how long the dispatcher takes no events after the broker or the database has failed: relays retry meanwhile.
	restFor = 5 * time.Second
)

// NewDispatcher returns a dispatcher that takes no events before Run or Open. hold is how long rows are kept from the relays, by
// the clocks of the server and of now, of which only differences count. poke wakes the relay for shards whose rows the dispatcher
// gives up.
func NewDispatcher(hold time.Duration, now func() time.Time, poke func(shards ...uint8)) *Dispatcher {
	return &Dispatcher{queue: make(chan []stored, queued), changed: make(chan struct{}, 1), hold: hold, now: now, poke: poke}
}

// Taking returns whether the dispatcher takes events now.
func (d *Dispatcher) Taking() bool {
	if d == nil || !d.on.Load() || len(d.queue) > queued/2 {
		return false
	}
	now := d.now().UnixNano()
	if now < d.resting.Load() {
		return false
	}
	for i := range d.since {
		if since := d.since[i].Load(); since != 0 && now-since > int64(slow) {
			return false
		}
	}
	return true
}

// take hands events to the dispatcher that are committed with a hold.
func (d *Dispatcher) take(batch []stored) {
	d.mu.Lock()
	d.taken += uint64(len(batch))
	d.mu.Unlock()
	select {
	case d.queue <- batch:
		runtime.Gosched() // the sender goes first: answers and log lines can wait
	default: // their hold ends
		d.settle(len(batch))
	}
}

// settle counts events that the dispatcher has nothing more to do with.
func (d *Dispatcher) settle(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settled += uint64(n)
	d.waiters = slices.DeleteFunc(d.waiters, func(w waiter) bool {
		if w.settled > d.settled {
			return false
		}
		close(w.done)
		return true
	})
}

// Settle waits until as many events are marked or left to the relays as have been handed over, or ctx ends. A relay that
// sweeps after that finds no row of theirs held.
func (d *Dispatcher) Settle(ctx context.Context) {
	if d == nil {
		return
	}
	d.mu.Lock()
	if d.settled == d.taken {
		d.mu.Unlock()
		return
	}
	w := waiter{d.taken, make(chan struct{})}
	d.waiters = append(d.waiters, w)
	d.mu.Unlock()
	d.signal()
	select {
	case <-w.done:
	case <-ctx.Done():
	}
}

func (d *Dispatcher) signal() {
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// Run publishes as the relay does, until ctx ends; then it sends what has been handed over, and marks it. Run it once. The
// relay's sweeps need not run in this process.
func (d *Dispatcher) Run(ctx context.Context, r Relay, log *slog.Logger) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, restFor) {
		err := d.Open(ctx, r)
		if err == nil {
			break
		}
		log.DebugContext(ctx, "events are left to the relay until the database answers", "schema", r.Schema, "error", err)
		if !pause(ctx, wait) {
			return
		}
	}
	work := context.WithoutCancel(ctx)
	var working sync.WaitGroup
	for n := range senders {
		working.Go(func() { d.send(ctx, work, n, r, log) })
	}
	working.Go(func() { d.mark(ctx, work, r, log) })
	working.Wait()
	d.on.Store(false)
	d.Flush(work, r, log)
}

// Open asks the server for what the dispatcher must know to find its rows, and begins to take events.
func (d *Dispatcher) Open(ctx context.Context, r Relay) error {
	var step int64
	if err := r.DB.QueryRowContext(ctx, "SELECT @@SESSION.auto_increment_increment").Scan(&step); err != nil {
		return fmt.Errorf("ask for the step between ids: %w", err)
	}
	d.step.Store(step)
	d.on.Store(true)
	return nil
}

// pause waits, and returns false if ctx ends first.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Flush sends and marks what has been handed over, without Run.
func (d *Dispatcher) Flush(ctx context.Context, r Relay, log *slog.Logger) {
	for {
		select {
		case batch := <-d.queue:
			d.publish(ctx, 0, r, d.more(batch), log)
			continue
		default:
		}
		d.markAll(ctx, r, log)
		return
	}
}

// send publishes what is handed over, as the n-th sender, until ctx ends.
func (d *Dispatcher) send(ctx, work context.Context, n int, r Relay, log *slog.Logger) {
	for ctx.Err() == nil {
		select {
		case batch := <-d.queue:
			d.publish(work, n, r, d.more(batch), log)
		case <-ctx.Done():
		}
	}
}

// more adds to a batch what waits behind it.
func (d *Dispatcher) more(batch []stored) []stored {
	for len(batch) < batchSize {
		select {
		case next := <-d.queue:
			batch = append(batch, next...)
		default:
			return batch
		}
	}
	return batch
}

// publish sends a batch, as the n-th sender. What it is too late for, and what the broker does not acknowledge, it leaves to the
// relays.
func (d *Dispatcher) publish(ctx context.Context, n int, r Relay, batch []stored, log *slog.Logger) {
	begin := d.now()
	first := begin
	var left []stored
	events := make([]event.Event, 0, len(batch))
	batch = slices.DeleteFunc(batch, func(s stored) bool {
		if late := begin.Sub(s.at) > d.hold/3; late {
			left = append(left, s)
			return true
		}
		if s.at.Before(first) {
			first = s.at
		}
		events = append(events, s.event)
		return false
	})
	failpoint.Pass(ctx, failpoint.BeforePublish)
	d.since[n].Store(begin.UnixNano())
	within, cancel := context.WithTimeout(ctx, 2*d.hold/3-begin.Sub(first))
	outcomes := publish(within, r.Publisher, events)
	cancel()
	d.since[n].Store(0)
	failpoint.Pass(ctx, failpoint.AfterPublish)
	var counted metrics.Batch
	var acknowledged []messaging.Sent
	var failed error
	now := r.Now()
	for i, o := range outcomes {
		if o.Err == nil {
			acknowledged = append(acknowledged, messaging.Sent{ID: batch[i].id, Partition: o.Partition, Offset: o.Offset, At: now})
			counted.Sent = append(counted.Sent, batch[i].event)
			continue
		}
		left = append(left, batch[i])
		if !refused(o.Err) { // the relay counts a refusal when it has tried
			counted.Unknown++
			failed = o.Err
		}
	}
	if len(outcomes) > 0 {
		r.Metrics.CountBatch(r.Schema, counted, d.now().Sub(begin))
	}
	if len(acknowledged) > 0 {
		d.mu.Lock()
		d.unmarked = append(d.unmarked, acknowledged...)
		d.mu.Unlock()
		d.signal()
	}
	if failed != nil {
		d.rest()
		log.DebugContext(ctx, "events are left to the relay", "schema", r.Schema, "count", len(left), "error", failed)
	}
	d.leave(ctx, r, left, log)
}

// rest makes the dispatcher take no events for a while.
func (d *Dispatcher) rest() { d.resting.Store(d.now().Add(restFor).UnixNano()) }

// leave ends the hold of rows, so that a relay sends them at once. If that fails their hold ends by itself.
func (d *Dispatcher) leave(ctx context.Context, r Relay, rows []stored, log *slog.Logger) {
	if len(rows) == 0 {
		return
	}
	ids, shards := make([]int64, len(rows)), make([]uint8, len(rows))
	for i, s := range rows {
		ids[i], shards[i] = s.id, Shard(s.event.Subject())
	}
	slices.Sort(ids)
	within, cancel := context.WithTimeout(ctx, d.hold)
	defer cancel()
	err := transaction.Run(within, r.DB, func(ctx context.Context, tx *transaction.Tx) error {
		return messaging.New(tx.Deferred()).Release(ctx, ids)
	})
	if err != nil {
		log.DebugContext(ctx, "rows stay held for a few seconds", "schema", r.Schema, "count", len(ids), "error", err)
	}
	d.settle(len(rows))
	d.poke(shards...)
}

// mark marks acknowledged rows, many at a time, until ctx ends.
func (d *Dispatcher) mark(ctx, work context.Context, r Relay, log *slog.Logger) {
	timer := time.NewTimer(markEvery)
	timer.Stop()
	for waiting := false; ; { // waiting says whether the timer runs
		select {
		case <-d.changed:
			d.mu.Lock()
			n, urgent := len(d.unmarked), len(d.waiters) > 0
			d.mu.Unlock()
			if n < markAt && !urgent {
				if n > 0 && !waiting {
					timer.Reset(markEvery)
					waiting = true
				}
				continue
			}
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		timer.Stop()
		waiting = false
		d.markAll(work, r, log)
	}
}

// markAll marks the rows that are acknowledged now. If it fails until their hold ends, a relay sends them again.
func (d *Dispatcher) markAll(ctx context.Context, r Relay, log *slog.Logger) {
	d.mu.Lock()
	rows := d.unmarked
	d.unmarked = nil
	d.mu.Unlock()
	if len(rows) == 0 {
		return
	}
	// Sorted by key, so that two statements that mark the same rows do not deadlock.
	slices.SortFunc(rows, func(a, b messaging.Sent) int { return cmp.Compare(a.ID, b.ID) })
	within, cancel := context.WithTimeout(ctx, d.hold)
	defer cancel()
	err := transaction.Run(within, r.DB, func(ctx context.Context, tx *transaction.Tx) error {
		if err := messaging.New(tx.Deferred()).MarkSent(ctx, rows); err != nil {
			return fmt.Errorf("mark %d rows as sent: %w", len(rows), err)
		}
		failpoint.Pass(ctx, failpoint.AfterMark)
		return nil
	})
	if err != nil {
		d.rest()
		log.WarnContext(ctx, "published events could not be marked as sent, the relay sends them again", "schema", r.Schema, "count", len(rows), "error", err)
	}
	failpoint.Pass(ctx, failpoint.AfterRelay)
	d.settle(len(rows))
}
