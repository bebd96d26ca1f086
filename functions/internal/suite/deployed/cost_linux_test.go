package deployed

import (
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
)

// minimalName is the name of a server with which functions are compared: what it costs is Go's, func's runtime's and the
// driver's.
const minimalName = "minimal"

// minimalFile is its program. Like a function, it is served by func's runtime and is ready once its database answers.
const minimalFile = `package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"

	_ "github.com/go-sql-driver/mysql"
	runtime "knative.dev/func-go/http"
)

type function struct{ db *sql.DB }

func (function) Handle(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

func (f function) Ready(ctx context.Context) (bool, error) {
	err := f.db.PingContext(ctx)
	return err == nil, err
}

func (f function) Stop(context.Context) error { return f.db.Close() }

func main() {
	db, err := sql.Open("mysql", os.Getenv("MYSQL_DSN"))
	if err == nil {
		err = runtime.Start(function{db})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

// minimal builds the minimal server once, as functions are built, with the same versions of what it requires.
var minimal = sync.OnceValues(func() (Binaries, error) {
	root, dir := filepath.Join("..", "..", "..", ".."), filepath.Join(folder, minimalName)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(minimalFile), 0o600); err != nil {
		return nil, err
	}
	for _, file := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(strings.Replace(string(text), "module "+module, "module minimal", 1)), 0o600); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	binary := filepath.Join(dir, minimalName)
	return Binaries{minimalName: binary}, compile(ctx, root, dir, binary)
})

// program is what is measured: a function, or the minimal server.
type program struct {
	name     string
	relay    bool // has the client of Kafka
	binaries Binaries
	environ  map[string]string
}

// programs lists the minimal server, then all functions, those of the overlay payment included.
func (c *cluster) programs(t testing.TB) []program {
	t.Helper()
	binaries, err := minimal()
	require.NoError(t, err)
	w, err := knative.LoadOverlay(knative.Manifests(), withPayments)
	require.NoError(t, err)
	all := []program{{minimalName, false, binaries, mysqltest.Config(c.server)}}
	for _, service := range w.Services {
		all = append(all, program{service.Name, service.Outbox() != "", c.binaries, c.environ(service, nil)})
	}
	return all
}

// certificates is a bound of the size of the certificates in an image, in bytes. func packs two copies of some 230 kB each.
const certificates = 500_000

// size returns the size of the image of a program in bytes, unpacked and as it is pulled: the program and the certificates on
// an empty base, since staging keeps all other files out. Compressed certificates are counted as if they were not.
func (p program) size(t testing.TB) (unpacked, compressed int64) {
	t.Helper()
	file, err := os.Open(p.binaries[p.name])
	require.NoError(t, err)
	defer func() { assert.NoError(t, file.Close()) }()
	var counted counter
	packer := gzip.NewWriter(&counted)
	unpacked, err = io.Copy(packer, file)
	require.NoError(t, err)
	require.NoError(t, packer.Close())
	return unpacked + certificates, int64(counted) + certificates
}

// counter counts the bytes that are written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// cost is what one start of a program takes.
type cost struct {
	ready time.Duration // from its start until its readiness path answers 200
	cpu   time.Duration // of all its threads, until then
	// In bytes, at rest: resident memory, and what of it is not pages of the program.
	memory, anonymous int64
}

// start returns a new process that is ready, and the times of its start.
func (p program) start(t testing.TB) (*Process, cost) {
	t.Helper()
	begun := time.Now()
	process := p.binaries.Start(t, p.name, p.environ)
	ready := time.Since(begun)
	return process, cost{ready: ready, cpu: process.cpu(t)}
}

// cpu returns the time that the threads of the process have run.
func (p *Process) cpu(t testing.TB) (sum time.Duration) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	require.NoError(t, err)
	require.NotEmpty(t, threads)
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		require.NoError(t, err)
		ran, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		require.NoError(t, err)
		sum += time.Duration(ran)
	}
	return sum
}

// memory returns the resident memory of the process in bytes, and what of it is not pages of its program.
func (p *Process) memory(t testing.TB) (all, anonymous int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	require.NoError(t, err)
	values := map[string]int64{}
	for line := range strings.Lines(string(text)) {
		var name string
		var kB int64
		if n, _ := fmt.Sscanf(line, "%s %d kB", &name, &kB); n == 2 {
			values[name] = kB << 10
		}
	}
	require.NotZero(t, values["VmRSS:"])
	require.NotZero(t, values["RssAnon:"])
	return values["VmRSS:"], values["RssAnon:"]
}

// costs has the starts of a program.
type costs []cost

// median returns the median of one figure.
func median[T cmp.Ordered](all costs, figure func(cost) T) T {
	values := make([]T, len(all))
	for i, c := range all {
		values[i] = figure(c)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// medians returns the median of each figure.
func (c costs) medians() cost {
	return cost{
		ready:     median(c, func(c cost) time.Duration { return c.ready }),
		cpu:       median(c, func(c cost) time.Duration { return c.cpu }),
		memory:    median(c, func(c cost) int64 { return c.memory }),
		anonymous: median(c, func(c cost) int64 { return c.anonymous }),
	}
}

// soonest returns the shortest time until the program was ready.
func (c costs) soonest() time.Duration {
	return slices.MinFunc(c, func(a, b cost) int { return cmp.Compare(a.ready, b.ready) }).ready
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// The bounds of what a function costs: some tenth above the images of Go 1.26, and for the rest some half above the most that runs
// on a busy machine have shown. With the 4 ms and 7 MB of the minimal server they keep a function within 20 MB, 100 ms and 25 MB.
const (
	mostSize      = 13_000_000 // bytes of an image
	mostRelaySize = 16_500_000

	// In multiples of the minimal server.
	mostReady     = 6
	mostCPU       = 3.5
	mostMemory    = 2.5
	mostAnonymous = 3
)

// TestAFunctionCostsLittleMoreThanAMinimalServer compares the medians of several starts of each, in turns. Of the times until they
// are ready it compares the shortest: what else the machine does makes a start slower, and never quicker. Memory is read
// when all of a turn are ready, so after a moment in which nobody has asked a function anything.
func TestAFunctionCostsLittleMoreThanAMinimalServer(t *testing.T) {
	const starts = 9
	programs := newCluster(t).programs(t)
	all := make([]costs, len(programs))
	for n := range starts {
		t.Run(strconv.Itoa(n), func(t *testing.T) { // ends the processes
			processes := make([]*Process, len(programs))
			for i, program := range programs {
				var c cost
				processes[i], c = program.start(t)
				all[i] = append(all[i], c)
			}
			for i, p := range processes {
				c := &all[i][n]
				c.memory, c.anonymous = p.memory(t)
			}
		})
	}
	bare, soonest := all[0].medians(), all[0].soonest()
	for i, program := range programs {
		unpacked, compressed := program.size(t)
		c := all[i].medians()
		ready, cpu := float64(all[i].soonest())/float64(soonest), float64(c.cpu)/float64(bare.cpu)
		memory, anonymous := float64(c.memory)/float64(bare.memory), float64(c.anonymous)/float64(bare.anonymous)
		t.Logf("%s: image %.1f MB, compressed %.1f; ready after %.1f ms, at the soonest %.1f (%.1f), with %.1f ms of CPU (%.1f); at rest %.1f MB (%.1f), anonymous %.1f (%.1f)",
			program.name, megabytes(unpacked), megabytes(compressed), milliseconds(c.ready), milliseconds(all[i].soonest()), ready,
			milliseconds(c.cpu), cpu, megabytes(c.memory), memory, megabytes(c.anonymous), anonymous)
		most := int64(mostSize)
		if program.relay {
			most = mostRelaySize
		}
		assert.LessOrEqual(t, unpacked, most, "bytes of the image of %s", program.name)
		assert.LessOrEqual(t, ready, float64(mostReady), "time until %s is ready", program.name)
		assert.LessOrEqual(t, cpu, mostCPU, "CPU until %s is ready", program.name)
		assert.LessOrEqual(t, memory, mostMemory, "memory of %s", program.name)
		assert.LessOrEqual(t, anonymous, float64(mostAnonymous), "anonymous memory of %s", program.name)
	}
}

// BenchmarkStart measures what each function and the minimal server cost: the image, the time from the start of the process until
// it is ready, which is the part of a cold start that is not Kubernetes', and its memory 5 s later.
func BenchmarkStart(b *testing.B) {
	for _, program := range newCluster(b).programs(b) {
		b.Run(program.name, func(b *testing.B) {
			var all costs
			for b.Loop() {
				p, c := program.start(b)
				all = append(all, c)
				p.end(b, program.name)
			}
			p, _ := program.start(b)
			time.Sleep(5 * time.Second) // what is measured is a process that nobody has asked anything since
			memory, anonymous := p.memory(b)
			unpacked, compressed := program.size(b)
			c := all.medians()
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(c.ready), "ms-p50")
			b.ReportMetric(milliseconds(slices.MaxFunc(all, func(a, b cost) int { return cmp.Compare(a.ready, b.ready) }).ready), "ms-max")
			b.ReportMetric(milliseconds(c.cpu), "ms-CPU")
			b.ReportMetric(megabytes(memory), "MB-at-rest")
			b.ReportMetric(megabytes(anonymous), "MB-anonymous")
			b.ReportMetric(megabytes(unpacked), "MB-image")
			b.ReportMetric(megabytes(compressed), "MB-compressed")
		})
	}
}
