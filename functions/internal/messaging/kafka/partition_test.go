package kafka

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/knative"
)

var errNotYet = errors.New("not yet")

// desk runs one partition of a source without a broker, in a bubble of package synctest.
type desk struct {
	deliver func(ctx context.Context, id string) error
	batches bool // the function takes batches
	log     strings.Builder

	mu      sync.Mutex
	handled []string
	marked  int64 // the newest offset that may be committed
	read    int   // the number of records that the source has taken

	records chan *sarama.ConsumerMessage
}

// open begins the work; the returned function ends it.
func (d *desk) open(t *testing.T) (end func()) {
	t.Helper()
	o := SourceOptions{
		Spec: knative.KafkaSource{
			Name: "reserve-stock.order.created", Topic: "order.created", Consumers: 4, Sink: "reserve-stock",
			Delivery: knative.Delivery{Retry: 100, Delay: time.Second, Timeout: 24 * time.Hour},
		},
		Deliver: d.handle, Ready: func(context.Context) bool { return true },
		Log: slog.New(slog.NewTextHandler(&d.log, &slog.HandlerOptions{Level: slog.LevelError})), Drain: time.Minute,
	}
	if d.batches {
		o.Submit = functiontest.Batched(64, func(ctx context.Context, es []event.Event) []error {
			answers := make([]error, len(es))
			for i, e := range es {
				answers[i] = d.handle(ctx, e)
			}
			return answers
		})
	}
	d.records = make(chan *sarama.ConsumerMessage)
	ctx, cancel := context.WithCancel(t.Context())
	s := marks{session{ctx: ctx}, d}
	m := &member{source: NewSource(o), joined: func() {}}
	require.NoError(t, m.Setup(s))
	ended := make(chan error)
	go func() { ended <- m.ConsumeClaim(s, claim{records: d.records}) }()
	return func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func (d *desk) handle(ctx context.Context, e event.Event) error {
	if err := d.deliver(ctx, e.ID()); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handled = append(d.handled, e.ID())
	return nil
}

// give offers records until the source takes no more.
func (d *desk) give(records ...*sarama.ConsumerMessage) {
	go func() {
		for _, r := range records {
			d.records <- r
			d.mu.Lock()
			d.read++
			d.mu.Unlock()
		}
	}()
	synctest.Wait()
}

// seen waits until nothing moves, and returns what the desk has recorded by then.
func (d *desk) seen() (handled []string, marked int64, read int) {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.handled, d.marked, d.read
}

// marks is a session that records which offset may be committed.
type marks struct {
	session
	desk *desk
}

func (m marks) MarkOffset(_ string, _ int32, offset int64, _ string) {
	m.desk.mu.Lock()
	defer m.desk.mu.Unlock()
	m.desk.marked = offset
}

// entry is the record of an event whose id is the offset.
func entry(offset int, key string, value []byte) *sarama.ConsumerMessage {
	r := &sarama.ConsumerMessage{Topic: "order.created", Offset: int64(offset), Key: []byte(key), Value: value}
	for name, text := range map[string]string{"ce_specversion": "1.0", "ce_id": strconv.Itoa(offset), "ce_source": "/orders", "ce_type": "order.created"} {
		r.Headers = append(r.Headers, &sarama.RecordHeader{Key: []byte(name), Value: []byte(text)})
	}
	return r
}

func TestARecordThatFailsForHalfAnHourHoldsUpItsKeyAndNothingElse(t *testing.T) {
	const others = 100_000
	for name, batches := range map[string]bool{"one by one": false, "in batches": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, attempts, behind := time.Now(), 0, ""
				d := &desk{batches: batches, deliver: func(_ context.Context, id string) error {
					if id != "0" {
						return nil
					}
					if attempts++; time.Since(begin) < 30*time.Minute {
						return errNotYet
					}
					return nil
				}}
				end := d.open(t)
				d.give(entry(0, "stuck", nil))
				kept := make([]weak.Pointer[sarama.ConsumerMessage], others)
				offset := 1
				for n := range others {
					if n == others/2 {
						d.give(entry(offset, "stuck", nil))
						behind = strconv.Itoa(offset)
						offset += 3 // like gaps of transaction markers
					}
					r := entry(offset, strconv.Itoa(n), nil)
					kept[n] = weak.Make(r)
					d.records <- r
					offset++
				}
				handled, marked, _ := d.seen()

				assert.Less(t, time.Since(begin), time.Second, "nothing has waited")
				assert.Len(t, handled, others)
				assert.NotContains(t, handled, behind)
				assert.Zero(t, marked, "nothing is committed beyond the record that fails")
				runtime.GC()
				alive := 0
				for _, p := range kept {
					if p.Value() != nil {
						alive++
					}
				}
				assert.Less(t, alive, 1000, "what is finished is let go of")

				time.Sleep(31 * time.Minute)
				handled, marked, _ = d.seen()
				assert.Len(t, handled, others+2)
				assert.Equal(t, []string{"0", behind}, handled[others:], "the order of the key is kept")
				assert.EqualValues(t, offset, marked)
				assert.Greater(t, attempts, 30)
				end()
			})
		})
	}
}

func TestReadingStopsWhenEnoughWaitsForTheFunction(t *testing.T) {
	for name, c := range map[string]struct {
		value    []byte
		key      func(n int) string
		expected int
	}{
		"small records of many keys": {nil, strconv.Itoa, maxFresh},
		"small records of one key":   {nil, func(int) string { return "one" }, maxFresh},
		"large records":              {make([]byte, 1<<20), strconv.Itoa, maxFreshBytes >> 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				letGo := make(chan struct{})
				d := &desk{deliver: func(context.Context, string) error { <-letGo; return nil }}
				end := d.open(t)
				const all = 2 * maxFresh
				records := make([]*sarama.ConsumerMessage, all)
				for n := range records {
					records[n] = entry(n, c.key(n), c.value)
				}
				d.give(records...)
				_, _, read := d.seen()
				assert.Equal(t, c.expected, read)

				close(letGo)
				handled, marked, _ := d.seen()
				assert.Len(t, handled, all)
				assert.EqualValues(t, all, marked)
				assert.Empty(t, d.log.String())
				end()
			})
		})
	}
}

func TestReadingStopsWhenTooMuchIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct {
		value    []byte
		key      func(n int) string
		expected int
	}{
		"of many keys":  {nil, strconv.Itoa, maxHeld},
		"behind one":    {nil, func(int) string { return "one" }, maxHeld},
		"large records": {make([]byte, 1<<20), strconv.Itoa, maxHeldBytes >> 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				d := &desk{deliver: func(context.Context, string) error {
					if time.Since(begin) < 5*time.Second {
						return errNotYet
					}
					return nil
				}}
				end := d.open(t)
				const all = maxHeld + 2*maxFresh
				records := make([]*sarama.ConsumerMessage, all)
				for n := range records {
					records[n] = entry(n, c.key(n), c.value)
				}
				d.give(records...)
				_, _, read := d.seen()
				assert.GreaterOrEqual(t, read, c.expected)
				assert.LessOrEqual(t, read, c.expected+maxFresh, "those that were read when the first failed may be more")
				assert.Equal(t, 1, strings.Count(d.log.String(), "partition paused"), "it is said, once")

				time.Sleep(10 * time.Minute)
				handled, marked, _ := d.seen()
				assert.Len(t, handled, all)
				assert.EqualValues(t, all, marked)
				end()
			})
		})
	}
}

func TestARetryThatHangsTakesNoPlaceFromTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letGo := make(chan struct{})
		attempts := map[string]int{}
		var mu sync.Mutex
		d := &desk{deliver: func(_ context.Context, id string) error {
			if len(id) > 1 {
				return nil
			}
			mu.Lock()
			attempts[id]++
			first := attempts[id] == 1
			mu.Unlock()
			if first {
				return errNotYet
			}
			<-letGo
			return nil
		}}
		end := d.open(t)
		for n := range 10 { // more than there are consumers
			d.give(entry(n, strconv.Itoa(n), nil))
		}
		time.Sleep(time.Minute)
		for n := 10; n < 100; n++ {
			d.give(entry(n, strconv.Itoa(n), nil))
		}
		handled, _, _ := d.seen()
		assert.Len(t, handled, 90)
		close(letGo)
		handled, marked, _ := d.seen()
		assert.Len(t, handled, 100)
		assert.EqualValues(t, 100, marked)
		end()
	})
}
