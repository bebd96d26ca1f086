package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"example.com/orders/functions/internal/operate/deadletter"
	"example.com/orders/functions/internal/web/rest"
)

// Bounds of the jobs. Each running one holds a connection to the database.
const (
	maxJobs        = 20 // remembered
	maxRunningJobs = 2
	maxFailures    = 100 // listed letters of a job
)

// jobs are the actions on letters that this process carries out, and the last ones that it has.
type jobs struct {
	log *slog.Logger
	// changed is called after the end of a job.
	changed func()

	mu     sync.Mutex
	all    []*job // the oldest first
	last   int64
	closed bool
	ended  sync.WaitGroup
}

// job is an action on many letters. It goes on when the page is closed.
type job struct {
	id      int64
	command command
	actor   string
	total   int
	begin   time.Time
	cancel  context.CancelFunc

	mu       sync.Mutex
	stopping bool
	end      time.Time
	err      error
	counts   map[deadletter.Result]int
	failures []result
}

// jobView is a job on a page.
type jobView struct {
	ID     int64  `json:"id"`
	Action string `json:"action"`
	Actor  string `json:"actor"`
	Reason string `json:"reason,omitempty"`
	// State is running, stopping, done, stopped or failed.
	State   string         `json:"state"`
	Error   string         `json:"error,omitempty"`
	Total   int            `json:"total"`
	Handled int            `json:"handled"` // have a result
	Done    int            `json:"done"`
	Results map[string]int `json:"results"` // the others, by result
	// Failures are the first letters that were not changed.
	Failures []result `json:"failures"`
	Begin    string   `json:"begin"`
	End      string   `json:"end,omitempty"`
}

// carry carries out an action on letters until ctx ends.
type carry func(ctx context.Context, who string, asked command, letters []deadletter.Summary, report deadletter.Report) error

// start starts a job; its error is a *rest.Problem.
func (j *jobs) start(asked command, who string, letters []deadletter.Summary, do carry) (*job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return nil, rest.Unavailable("the server is shutting down")
	}
	running := 0
	for _, other := range j.all {
		if other.running() {
			running++
		}
	}
	if running >= maxRunningJobs {
		return nil, rest.NewProblem(http.StatusTooManyRequests, fmt.Sprintf("%d actions are running: wait for one, or stop it", running))
	}
	ctx, cancel := context.WithCancel(context.Background())
	j.last++
	one := &job{id: j.last, command: asked, actor: who, total: len(letters), begin: time.Now(), cancel: cancel, counts: map[deadletter.Result]int{}}
	j.all = append(j.all, one)
	if len(j.all) > maxJobs {
		oldest := slices.IndexFunc(j.all, func(other *job) bool { return !other.running() })
		j.all = slices.Delete(j.all, oldest, oldest+1)
	}
	j.ended.Go(func() {
		defer cancel()
		one.ends(do(ctx, who, asked, letters, one.report))
		j.log.Info("action on dead letters ended", "action", asked.Action, "actor", who, "letters", one.total, "handled", one.view().Handled, "error", one.err)
		j.changed()
	})
	return one, nil
}

// report counts a result.
func (o *job) report(l deadletter.Summary, r deadletter.Result, detail string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts[r]++
	if r != deadletter.Done && len(o.failures) < maxFailures {
		o.failures = append(o.failures, result{What: l.String(), Detail: string(r) + ": " + detail})
	}
}

// ends records the end of a job.
func (o *job) ends(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end, o.err = time.Now(), err
}

func (o *job) running() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end.IsZero()
}

// stop makes a job start nothing else.
func (o *job) stop() {
	o.mu.Lock()
	o.stopping = true
	o.mu.Unlock()
	o.cancel()
}

func (o *job) view() jobView {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := jobView{
		ID: o.id, Action: o.command.Action, Actor: o.actor, Reason: o.command.Reason, Total: o.total, State: "running",
		Results: map[string]int{}, Failures: append([]result{}, o.failures...), Begin: moment(o.begin),
	}
	for r, n := range o.counts {
		v.Handled += n
		if r == deadletter.Done {
			v.Done = n
		} else {
			v.Results[string(r)] = n
		}
	}
	if o.stopping {
		v.State = "stopping"
	}
	if !o.end.IsZero() {
		v.End, v.State = moment(o.end), "done"
		switch {
		case errors.Is(o.err, context.Canceled):
			v.State = "stopped"
		case o.err != nil:
			v.State, v.Error = "failed", o.err.Error()
		}
	}
	return v
}

// read returns the jobs, the newest first.
func (j *jobs) read(context.Context) (any, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	views := struct {
		Jobs []jobView `json:"jobs"`
	}{[]jobView{}}
	for _, one := range slices.Backward(j.all) {
		views.Jobs = append(views.Jobs, one.view())
	}
	return views, nil
}

// serveStop answers POST /console/deadletters/jobs/{id}/stop: it stops a job, which ends once the deliveries that are under way
// have their answers.
func (j *jobs) serveStop(w http.ResponseWriter, r *http.Request) error {
	if err := decode(w, r, &struct{}{}); err != nil {
		return err
	}
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return rest.NotFound(w, r)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, one := range j.all {
		if one.id == id {
			one.stop()
			return rest.JSON(w, http.StatusOK, one.view())
		}
	}
	return rest.NewProblem(http.StatusNotFound, "there is no such job: it may have ended long ago")
}

// stop stops all jobs, and starts no other.
func (j *jobs) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	for _, one := range j.all {
		one.stop()
	}
}

// close stops all jobs and waits for their ends.
func (j *jobs) close() {
	j.stop()
	j.ended.Wait()
}
