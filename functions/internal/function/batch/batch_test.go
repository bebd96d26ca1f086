package batch_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/batch"
)

// doubler answers each call with twice its argument, and records the batches. If gate is set, a batch waits for the gate
// first.
type doubler struct {
	gate chan struct{}

	mu      sync.Mutex
	batches [][]int
	running int
	most    int
}

func (d *doubler) run(_ context.Context, in []int, _ bool) ([]int, error) {
	d.mu.Lock()
	d.batches = append(d.batches, slices.Clone(in))
	d.running++
	d.most = max(d.most, d.running)
	d.mu.Unlock()
	if d.gate != nil {
		<-d.gate
	}
	d.mu.Lock()
	d.running--
	d.mu.Unlock()
	out := make([]int, len(in))
	for i, n := range in {
		out[i] = 2 * n
	}
	return out, nil
}

func (d *doubler) sizes() (sizes []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.batches {
		sizes = append(sizes, len(b))
	}
	return sizes
}

// call makes n calls, each once all earlier ones run or wait, and returns how many batches had begun after each.
func call(t *testing.T, c *batch.Collector[int, int], d *doubler, n int) (calls *sync.WaitGroup, begun []int) {
	t.Helper()
	calls = &sync.WaitGroup{}
	for i := range n {
		calls.Go(func() {
			out, err := c.Do(t.Context(), i)
			assert.NoError(t, err)
			assert.Equal(t, 2*i, out)
		})
		synctest.Wait()
		begun = append(begun, len(d.sizes()))
	}
	return calls, begun
}

func TestACallAloneRunsAtOnce(t *testing.T) {
	var d doubler
	out, err := batch.New(batch.Options{Size: 10, Parallel: 1, Timeout: time.Second}, d.run).Do(t.Context(), 21)
	require.NoError(t, err)
	assert.Equal(t, 42, out)
}

func TestCallsThatWaitAreTheNextBatchUpToItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubler{gate: make(chan struct{})}
		calls, _ := call(t, batch.New(batch.Options{Size: 3, Parallel: 1, Timeout: time.Minute}, d.run), d, 6)
		close(d.gate)
		calls.Wait()
		assert.Equal(t, [][]int{{0}, {1, 2, 3}, {4, 5}}, d.batches)
	})
}

func TestACallLingersForOthersUntilTheyFillABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubler{}
		c := batch.New(batch.Options{Size: 3, Parallel: 1, Linger: time.Second, Timeout: time.Minute, AloneTimeout: time.Minute}, d.run)
		begun := time.Now()
		var all sync.WaitGroup
		ask := func(n int) {
			for i := range n {
				all.Go(func() {
					twice, err := c.Do(t.Context(), i)
					assert.NoError(t, err)
					assert.Equal(t, 2*i, twice)
				})
			}
		}
		ask(2)
		all.Wait()
		assert.Equal(t, []int{2}, d.sizes())
		assert.Equal(t, time.Second, time.Since(begun))

		ask(1)
		synctest.Wait()
		time.Sleep(time.Second / 2)
		ask(2)
		all.Wait()
		assert.Equal(t, []int{2, 3}, d.sizes())
		assert.Equal(t, 3*time.Second/2, time.Since(begun), "a full batch does not wait")

		calls := make([]batch.Call[int, int], 4)
		for i := range calls {
			all.Add(1)
			calls[i] = batch.Call[int, int]{Ctx: t.Context(), In: i, Done: func(int, error) { all.Done() }}
		}
		c.Submit(calls...)
		all.Wait()
		assert.Equal(t, []int{2, 3, 3, 1}, d.sizes())
		assert.Equal(t, 3*time.Second/2, time.Since(begun), "what waits behind a batch has waited long enough")

		ask(1)
		all.Wait()
		assert.Equal(t, 5*time.Second/2, time.Since(begun))
	})
}

func TestAnotherBatchBeginsBesideOne(t *testing.T) {
	cases := map[string]struct {
		options batch.Options
		begun   []int
		sizes   []int
		most    int
	}{
		"when it is full": {
			batch.Options{Size: 3, Parallel: 2}, []int{1, 1, 1, 2, 2}, []int{1, 3, 1}, 2,
		},
		"for any call, when it is eager, up to the bound": {
			batch.Options{Size: 3, Parallel: 2, Eager: true}, []int{1, 2, 2, 2, 2}, []int{1, 1, 3}, 2,
		},
		"never, when one may be under way": {
			batch.Options{Size: 1, Parallel: 1, Eager: true}, []int{1, 1, 1, 1, 1}, []int{1, 1, 1, 1, 1}, 1,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &doubler{gate: make(chan struct{})}
				c.options.Timeout = time.Minute
				calls, begun := call(t, batch.New(c.options, d.run), d, len(c.begun))
				close(d.gate)
				calls.Wait()
				assert.Equal(t, c.begun, begun)
				assert.Equal(t, c.sizes, d.sizes())
				assert.Equal(t, c.most, d.most)
			})
		})
	}
}

// hold is a batch that blocks others until it is released.
const hold = -1

// collected makes calls that form one batch, and returns their errors in the order of in.
func collected(t *testing.T, o batch.Options, run batch.Run[int, int], in ...int) []error {
	t.Helper()
	letGo := make(chan struct{})
	o.Timeout, o.AloneTimeout = time.Minute, time.Minute
	c := batch.New(o, func(ctx context.Context, in []int, alone bool) ([]int, error) {
		if in[0] == hold {
			<-letGo
			return in, nil
		}
		assert.True(t, !alone || len(in) == 1)
		return run(ctx, in, alone)
	})
	errs := make([]error, len(in))
	var calls sync.WaitGroup
	calls.Go(func() { _, _ = c.Do(t.Context(), hold) })
	synctest.Wait()
	for i, n := range in {
		calls.Go(func() { _, errs[i] = c.Do(t.Context(), n) })
		synctest.Wait()
	}
	close(letGo)
	calls.Wait()
	return errs
}

func TestTheCallsOfABatchThatFailsAreRunOneByOne(t *testing.T) {
	bad := errors.New("bad")
	fails := map[string]func(){"with an error": func() {}, "with a panic": func() { panic(bad) }}
	for name, end := range fails {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &doubler{}
				errs := collected(t, batch.Options{Size: 10, Parallel: 1}, func(ctx context.Context, in []int, alone bool) ([]int, error) {
					out, _ := d.run(ctx, in, alone)
					if slices.Contains(in, 3) {
						end()
						return nil, bad
					}
					return out, nil
				}, 1, 2, 3, 4)
				assert.ErrorContains(t, errs[2], "bad")
				assert.Equal(t, []error{nil, nil, nil}, slices.Delete(slices.Clone(errs), 2, 3), "the others have their results")
				assert.Equal(t, []int{1, 2, 3, 4}, d.batches[0])
				assert.Equal(t, [][]int{{1}, {2}, {3}, {4}}, d.batches[1:])
			})
		})
	}
}

func TestCallsThatRunOneByOneHoldUpNoBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		letGo := make(chan struct{})
		var next []int
		errs := collected(t, batch.Options{Size: 2, Parallel: 1}, func(_ context.Context, in []int, alone bool) ([]int, error) {
			switch {
			case in[0] == 3:
				next = in
				synctest.Wait() // for the one that runs alone, which is blocked
				close(letGo)
			case !alone:
				return nil, errors.New("not together")
			default:
				<-letGo
			}
			return in, nil
		}, 1, 2, 3, 4)
		assert.Equal(t, make([]error, 4), errs)
		assert.Equal(t, []int{3, 4}, next)
	})
}

func TestSeveralCallsOfAFailedBatchRunAtTheSameTimeUpToTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone := &doubler{gate: make(chan struct{})}
		errs := collected(t, batch.Options{Size: 5, Parallel: 1, Singles: 3}, func(ctx context.Context, in []int, again bool) ([]int, error) {
			if !again {
				go func() {
					synctest.Wait() // for those that run alone
					close(alone.gate)
				}()
				return nil, errors.New("not together")
			}
			return alone.run(ctx, in, again)
		}, 1, 2, 3, 4, 5)
		assert.Equal(t, make([]error, 5), errs)
		assert.Equal(t, 3, alone.most)
	})
}

func TestAMissingResultIsAnError(t *testing.T) {
	c := batch.New(batch.Options{Size: 10, Parallel: 1, Timeout: time.Second}, func(context.Context, []int, bool) ([]int, error) { return nil, nil })
	_, err := c.Do(t.Context(), 2)
	assert.ErrorContains(t, err, "0 results for 1 calls")
}

func TestACallerWhoseTimeIsOverDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubler{gate: make(chan struct{})}
		c := batch.New(batch.Options{Size: 10, Parallel: 1, Timeout: time.Minute}, func(ctx context.Context, in []int, alone bool) ([]int, error) {
			out, err := d.run(ctx, in, alone)
			assert.NoError(t, ctx.Err(), "a batch does not end when one of its callers leaves")
			return out, err
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var gone sync.WaitGroup
		for n := range 2 {
			gone.Go(func() {
				_, err := c.Do(ctx, n)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
			synctest.Wait()
		}
		gone.Wait()
		close(d.gate)
		synctest.Wait()
		assert.Equal(t, [][]int{{0}}, d.batches, "calls without a caller are skipped")
	})
}

func TestACallThatFailsIsRunOnceMoreWithATimeOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		o := batch.Options{Size: 10, Parallel: 1, Timeout: 3 * time.Second, AloneTimeout: 5 * time.Second}
		var runs []bool
		c := batch.New(o, func(ctx context.Context, _ []int, alone bool) ([]int, error) {
			runs = append(runs, alone)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		_, err := c.Do(t.Context(), 1)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 8*time.Second, time.Since(begin))
		assert.Equal(t, []bool{false, true}, runs)
	})
}

func TestSubmitAnswersWithoutACallerThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type call = batch.Call[int, int]
		d := &doubler{gate: make(chan struct{})}
		c := batch.New(batch.Options{Size: 10, Parallel: 1, Timeout: time.Minute}, d.run)
		ended, end := context.WithCancel(t.Context())
		results := map[int]int{}
		var failed error
		keep := func(in int) func(int, error) {
			return func(out int, err error) { results[in] = out; assert.NoError(t, err) }
		}
		c.Submit(call{t.Context(), 1, keep(1)}, call{t.Context(), 2, keep(2)})
		synctest.Wait() // these run, and the others wait
		c.Submit(call{ended, 3, func(_ int, err error) { failed = err }})
		c.Submit(call{t.Context(), 4, func(out int, err error) {
			keep(4)(out, err)
			c.Submit(call{t.Context(), 5, keep(5)}) // a call from Done goes into the next batch
		}})
		end()
		close(d.gate)
		synctest.Wait()
		assert.Equal(t, map[int]int{1: 2, 2: 4, 4: 8, 5: 10}, results)
		assert.ErrorIs(t, failed, context.Canceled)
		assert.Equal(t, [][]int{{1, 2}, {4}, {5}}, d.batches)
	})
}
