package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/kafkatest"
	"example.com/orders/functions/internal/testkit/porttest"
)

// crash is a place at which a harness is killed: by itself at a failpoint, or from outside.
type crash struct {
	name    string
	within  time.Duration // from outside, at any time within it
	point   string        // the failpoint
	most    int           // the process dies at a random pass up to this one
	environ []string      // of the harness
	args    []string      // of the harness
	garbage string        // a topic that gets poison records
	pace    time.Duration
	paid    string // the scenario of the gateway at which orders are paid; empty if they are not
	ownBank bool   // the gateway is the harness's own bank, which dies with it
}

const garbageRecords = 6

// crashes is the whole matrix.
func crashes() []crash {
	all := []crash{
		{name: "kill -9 while it works", within: 2500 * time.Millisecond, pace: 60 * time.Millisecond},
		{name: "kill -9 while it starts", within: 500 * time.Millisecond},
		{point: "create-order.request-read", most: 40}, {point: "notify.mail-sent", most: 20},
	}
	for function, most := range map[string]int{
		"create-order": 10, "cancel-order": 8, "inventory-api": 8,
		"reserve-stock": 10, "finalize-order": 10, "release-stock": 5, "notify": 40,
	} {
		all = append(all, crash{point: function + ".before-commit", most: most}, crash{point: function + ".after-commit", most: most})
	}
	for _, function := range []string{"reserve-stock", "finalize-order", "release-stock", "notify"} {
		all = append(all, crash{point: function + ".before-offset", most: 10})
	}
	for _, relay := range []string{"publish-outbox-orders", "publish-outbox-inventory"} {
		for _, point := range []string{".before-publish", ".after-publish", ".after-mark", ".after-relay"} {
			all = append(all, crash{point: relay + point, most: 10})
		}
	}
	for function, topic := range map[string]string{
		"reserve-stock": "order.created", "finalize-order": "inventory.reserved", "release-stock": "order.canceled", "notify": "order.confirmed",
	} {
		all = append(all, crash{point: function + ".dead-letter-written", most: 3, garbage: topic})
	}
	// Orders expire while stock is slow, which is checked every ten seconds.
	late := []string{"--chaos", "delay=1:2s", "--chaos-function", "reserve-stock"}
	for _, point := range []string{"expire-orders.before-commit", "expire-orders.after-commit"} {
		all = append(all, crash{point: point, most: 5, environ: []string{"SAGA_TIMEOUT=1ms"}, args: late, pace: 500 * time.Millisecond})
	}
	return all
}

func (c crash) String() string { return or(c.name, c.point) }

// crashSeed selects the part of the matrix to run, and the passes at which processes die: CRASH_SEED, or a new seed. The
// selection runs CRASH_RUNS times, each with its own seed.
func crashSeed(t testing.TB) (seed uint64, runs int) {
	t.Helper()
	seed = uint64(time.Now().UnixNano()) % 1_000_000
	var err error
	if text := os.Getenv("CRASH_SEED"); text != "" {
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "CRASH_SEED")
	}
	runs, err = strconv.Atoi(or(os.Getenv("CRASH_RUNS"), "1"))
	require.NoError(t, err, "CRASH_RUNS")
	t.Logf("CRASH_SEED=%d runs the same again", seed)
	return seed, runs
}

// sample selects some of all by the seed; with CRASH_ALL it returns all.
func sample[T any](all []T, some int, seed uint64) []T {
	if os.Getenv("CRASH_ALL") != "" {
		return all
	}
	random := rand.New(rand.NewPCG(seed, 0))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:some]
}

const crashSample = 3

// Each crash is followed by another one at the same place during the recovery, if it passes there, while the clients
// continue. CRASH_ALL=1 runs the whole matrix, CRASH_RUNS times.
func TestNothingIsLostDoubledOrOversoldByACrash(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs a database server: run without -short")
	}
	runCrashes(t, crashes(), crashSample)
}

// runCrashes runs a sample of a matrix.
func runCrashes(t *testing.T, matrix []crash, some int) {
	t.Helper()
	seed, runs := crashSeed(t)
	slices.SortFunc(matrix, func(a, b crash) int { return strings.Compare(a.String(), b.String()) }) // for the same sample again
	chosen := sample(matrix, some, seed)
	var all report
	t.Cleanup(func() { all.print("crash, then another while it is recovered from") })
	for _, c := range chosen {
		for run := range runs {
			t.Run(fmt.Sprintf("%s/%d", c, run+1), func(t *testing.T) {
				t.Parallel()
				all.add(t, c.run(t, seed+uint64(run)))
			})
		}
	}
}

// run crashes a stack under load, waits for its recovery, and judges the result.
func (c crash) run(t *testing.T, seed uint64) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	name := fnv.New64a()
	_, _ = io.WriteString(name, c.String())
	random := rand.New(rand.NewPCG(seed, name.Sum64()))
	s := newStack(t)
	s.environ = append(s.environ, c.environ...)
	if c.ownBank {
		s = s.pays(t, "")
		s.environ = append(s.environ, "PAYMENT_SIMULATION="+c.paid)
	} else if c.paid != "" {
		s = s.pays(t, openTill(t, c.paid).url())
	}
	address := porttest.Address(t)
	l := newLoad("http://" + address)
	l.pace, l.linger = c.pace, 200*time.Millisecond
	if c.paid != "" {
		l.ledger = s.ledger
	}
	l.start(ctx, seed, 25)
	if c.point == "" {
		close(l.stop)
	}
	if c.garbage != "" {
		go s.litter(ctx, c.garbage)
	}
	r := result{fault: c.String()}
	var logs []*functiontest.Log
	for life := 1; ; life++ {
		environ := s.environ
		if c.point != "" && life < 3 {
			environ = append(environ[:len(environ):len(environ)], fmt.Sprintf("HARNESS_FAILPOINTS=%s=kill@%d", c.point, 1+random.IntN(c.most)))
		}
		p := launch(t, environ, append([]string{"up", "--addr", address, "--data", s.data, "--sample-stock=false"}, c.args...)...)
		p.stack, p.url = s, "http://"+address
		logs = append(logs, &p.log)
		var killing *time.Timer
		if c.point == "" && life < 3 {
			killing = time.AfterFunc(time.Duration(random.Int64N(int64(c.within))), func() { _ = p.cmd.Process.Kill() })
		}
		died := s.awaitDeathOrPeace(ctx, t, p, l, &r)
		if died.IsZero() && killing != nil && !killing.Stop() {
			<-p.ended
			died = time.Now()
		}
		if died.IsZero() {
			p.audit(t)
			p.stop(t)
			break
		}
		t.Logf("life %d ended at %s", life, c)
		if c.point != "" && life == 1 {
			// Not earlier: the events that wait for a source that joins late are handled in few batches, so the point is
			// passed less often.
			close(l.stop)
		}
		r.died = append(r.died, died)
	}
	for _, died := range r.died {
		if d, ok := l.acceptedAfter(died); ok {
			r.back = max(r.back, d)
		}
	}
	if c.garbage != "" {
		s.assertAllGarbageIsSetAside(t, c.garbage)
	}
	assert.Empty(t, l.broken)
	for _, log := range logs {
		assert.NotContains(t, log.String(), "audit found a breach")
	}
	r.mails = mailedTwice(logs)
	return r
}

// awaitDeathOrPeace returns when the process died, or the zero time once all clients have their answers and nothing is left
// to do.
func (s stack) awaitDeathOrPeace(ctx context.Context, t *testing.T, p *process, l *load, r *result) time.Time {
	t.Helper()
	died := func() time.Time {
		at := time.Now()
		text := p.log.String()
		require.True(t, strings.Contains(text, "failpoint: killed at") || p.err != nil && p.err.Error() == "signal: killed", "it ended otherwise: %v", p.err)
		return at
	}
	select {
	case <-p.ended:
		return died()
	case <-l.done:
	}
	require.NoError(t, ctx.Err(), "the clients wait for their answers, or for the death of the process, in vain")
	// Until it is ready, the address of its database may be that of the previous process.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.get(t, "/health", nil) != 200 {
		select {
		case <-p.ended:
			return died()
		case <-tick.C:
		}
	}
	settling, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-p.ended:
			cancel()
		case <-settling.Done():
		}
	}()
	d := s.databases(t)
	defer d.close()
	took, v, err := l.settle(settling, d, 90*time.Second)
	select {
	case <-p.ended:
		return died()
	default:
	}
	require.NoError(t, err)
	r.settled, r.verdict = took, v
	return time.Time{}
}

// litter writes poison to a topic, while its broker may be dying.
func (s stack) litter(ctx context.Context, topic string) {
	config := kafkatest.Cluster{Password: s.variable("KAFKA_SASL_PASSWORD")}.Config()
	config.Net.DialTimeout, config.Net.ReadTimeout, config.Net.WriteTimeout = 2*time.Second, 2*time.Second, 2*time.Second
	for n := 0; n < garbageRecords && ctx.Err() == nil; {
		if run, err := findRunning(s.data); err == nil && run != nil {
			m := &sarama.ProducerMessage{Topic: s.topicPrefix() + topic, Value: sarama.StringEncoder(fmt.Sprintf("garbage %d", n))}
			if write(strings.Split(run.Brokers, ","), config, m) == nil {
				// If it has died meanwhile, another stack may have its port, and get the record.
				if still, err := findRunning(s.data); err == nil && still != nil && still.PID == run.PID {
					n++
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// write returns nil once a record is acknowledged.
func write(brokers []string, config *sarama.Config, m *sarama.ProducerMessage) error {
	producer, err := sarama.NewSyncProducer(brokers, config)
	if err != nil {
		return err
	}
	_, _, err = producer.SendMessage(m)
	return errors.Join(err, producer.Close())
}

// assertAllGarbageIsSetAside starts the stack again to read its dead letters.
func (s stack) assertAllGarbageIsSetAside(t *testing.T, topic string) {
	t.Helper()
	p := s.up(t, "--sample-stock=false")
	p.await(t, "each garbage record is a dead letter", func() bool {
		letters := map[string]int{}
		for _, m := range p.topics(t).All(t, s.topicPrefix()+topic+".dlq") {
			letters[string(m.Value)]++
		}
		return len(letters) == garbageRecords
	})
	p.stop(t)
}

var mailLine = regexp.MustCompile(`Email to \S+: your order \S+ is \w+`)

// mailedTwice counts the mails that were sent more than once, because of a crash between a send and its mark.
func mailedTwice(logs []*functiontest.Log) (again int) {
	seen := map[string]bool{}
	for _, l := range logs {
		for _, line := range mailLine.FindAllString(l.String(), -1) {
			if seen[line] {
				again++
			}
			seen[line] = true
		}
	}
	return again
}

// result is the result of one run of a fault.
type result struct {
	fault string
	verdict
	mails   int           // sent more than once
	died    []time.Time   // when processes were killed
	back    time.Duration // the longest time from the beginning of a fault's end until an order was accepted
	settled time.Duration // from the last answer until all events had taken effect
}

// report collects results for a table.
type report struct {
	mu   sync.Mutex
	rows []row
}

type row struct {
	result
	runs int
}

// add adds a result, and fails the test if it has violations.
func (r *report) add(t *testing.T, one result) {
	t.Helper()
	t.Logf("%s: lost %d, doubled %d, oversold %d; accepting again after %s, settled after %s", one.fault, one.lost, one.doubled, one.oversold,
		one.back.Round(time.Millisecond), one.settled.Round(time.Millisecond))
	assert.Empty(t, one.what)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.rows {
		if of := &r.rows[i]; of.fault == one.fault {
			of.runs++
			of.lost, of.doubled, of.oversold, of.mails = of.lost+one.lost, of.doubled+one.doubled, of.oversold+one.oversold, of.mails+one.mails
			of.back, of.settled = max(of.back, one.back), max(of.settled, one.settled)
			return
		}
	}
	r.rows = append(r.rows, row{one, 1})
}

// print writes the table to standard output.
func (r *report) print(fault string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var text bytes.Buffer
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%s\truns\tlost\tdoubled\toversold\tmails again\taccepting after\tsettled after\n", fault)
	for _, of := range r.rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", of.fault, of.runs, of.lost, of.doubled, of.oversold, of.mails,
			of.back.Round(time.Millisecond), of.settled.Round(time.Millisecond))
	}
	_ = w.Flush() // writing to a buffer cannot fail
	fmt.Println(text.String())
}

func TestFailpointsThatAreNotUnderstoodAreRefused(t *testing.T) {
	t.Parallel()
	p := launch(t, []string{"HARNESS_FAILPOINTS=notify.lunch=kill@1"}, "up", "--addr", porttest.Address(t), "--data", t.TempDir())
	<-p.ended
	require.Error(t, p.err)
	assert.Contains(t, p.log.String(), `HARNESS_FAILPOINTS: failpoint "notify.lunch=kill@1": use NAME.POINT=kill@N`)
}
