// Package connect manages the connectors of a Kafka Connect that capture outboxes, by its REST interface.
package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"example.com/orders/functions/internal/web/direct"
)

// URLVariable names the variable with the address of Kafka Connect.
const URLVariable = "CONNECT_URL"

// Client calls one worker of a Kafka Connect; it forwards to the others.
type Client struct {
	base string
	http *http.Client
}

// answerWithin bounds one request: the worker itself gives up after 90 seconds.
const answerWithin = 100 * time.Second

// New returns a client of the Kafka Connect at an address like http://127.0.0.1:8083.
func New(address string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%s is %q: give the address of Kafka Connect, such as http://127.0.0.1:8083", URLVariable, address)
	}
	return &Client{strings.TrimSuffix(u.String(), "/"), &http.Client{Transport: direct.Transport(), Timeout: answerWithin}}, nil
}

// ErrUnknown means that Kafka Connect has no connector of that name.
var ErrUnknown = errors.New("unknown to Kafka Connect")

// State is that of a connector or of a task.
type State string

// The states. An absent connector is unknown to Kafka Connect, or has no task yet.
const (
	Running    State = "RUNNING"
	Paused     State = "PAUSED"
	Stopped    State = "STOPPED"
	Failed     State = "FAILED"
	Unassigned State = "UNASSIGNED"
	Restarting State = "RESTARTING"
	Absent     State = "ABSENT"
)

// States lists all states.
var States = []State{Running, Paused, Stopped, Failed, Unassigned, Restarting, Absent}

// Status is that of a connector.
type Status struct {
	Connector State
	Task      State // of the one task
	Worker    string
	Trace     string // of the failure
}

// State returns the state of the task if the connector itself runs, else that of the connector.
func (s Status) State() State {
	if s.Connector == Running {
		return s.Task
	}
	return s.Connector
}

// missingTopic matches what Kafka Connect says about a topic that is missing and that it cannot create: with a number of replicas
// that no brokers have, or without the right to.
var missingTopic = regexp.MustCompile(`Unable to create topic\(s\) '([^']+)'|failed to create new topic \(name=([^,]+),`)

// Reason returns the innermost cause of a failure, in one line.
func (s Status) Reason() string {
	if of := missingTopic.FindStringSubmatch(s.Trace); of != nil {
		return "the topic " + of[1] + of[2] + " does not exist: create it, then resume the connector"
	}
	reason, _, _ := strings.Cut(s.Trace, "\n")
	for line := range strings.Lines(s.Trace) {
		if cause, ok := strings.CutPrefix(line, "Caused by: "); ok {
			reason = cause
		}
	}
	return strings.TrimSpace(reason)
}

// Status returns the status of a connector: Absent if there is none.
func (c *Client) Status(ctx context.Context, name string) (Status, error) {
	var answer struct {
		Connector struct {
			State    State
			WorkerID string `json:"worker_id"`
			Trace    string
		}
		Tasks []struct {
			State State
			Trace string
		}
	}
	err := c.call(ctx, http.MethodGet, path(name, "status"), nil, &answer)
	if errors.Is(err, ErrUnknown) {
		return Status{Connector: Absent, Task: Absent}, nil
	}
	if err != nil {
		return Status{}, err
	}
	s := Status{Connector: answer.Connector.State, Task: Absent, Worker: answer.Connector.WorkerID, Trace: answer.Connector.Trace}
	if len(answer.Tasks) > 0 {
		s.Task = answer.Tasks[0].State
		s.Trace += answer.Tasks[0].Trace
	}
	return s, nil
}

// Put creates a connector, which starts, or changes its configuration and restarts it.
func (c *Client) Put(ctx context.Context, name string, config map[string]string) error {
	return c.call(ctx, http.MethodPut, path(name, "config"), config, nil)
}

// Stop ends a connector's task; its position and configuration stay. A worker that was stopped meanwhile repeats nothing.
func (c *Client) Stop(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPut, path(name, "stop"), nil, nil)
}

// Resume starts a stopped or paused connector where it was.
func (c *Client) Resume(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPut, path(name, "resume"), nil, nil)
}

// Restart starts a connector or its task that has failed.
func (c *Client) Restart(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodPost, path(name, "restart?includeTasks=true&onlyFailed=true"), nil, nil)
}

// Delete removes a connector. Its position stays for one of the same name.
func (c *Client) Delete(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, path(name, ""), nil, nil)
}

// Position is where a connector is in the binary log.
type Position struct {
	Partition map[string]any `json:"partition"`
	Offset    map[string]any `json:"offset"`
}

// String returns the file and the position in it.
func (p Position) String() string {
	if p.Offset == nil {
		return "none"
	}
	text := fmt.Sprintf("%v:%v", p.Offset["file"], p.Offset["pos"])
	if gtids, ok := p.Offset["gtids"]; ok {
		text += fmt.Sprintf(" (%v)", gtids)
	}
	return text
}

// Position returns the stored position of a connector, the zero Position if there is none.
func (c *Client) Position(ctx context.Context, name string) (Position, error) {
	var answer struct{ Offsets []Position }
	if err := c.call(ctx, http.MethodGet, path(name, "offsets"), nil, &answer); err != nil {
		return Position{}, err
	}
	for _, p := range answer.Offsets {
		if p.Offset["file"] != nil {
			return p, nil
		}
	}
	return Position{}, nil
}

// Forget removes the position of a stopped connector: it starts again at the end of the binary log.
func (c *Client) Forget(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, path(name, "offsets"), nil, nil)
}

// Move sets the position of a stopped connector.
func (c *Client) Move(ctx context.Context, name string, to Position) error {
	return c.call(ctx, http.MethodPatch, path(name, "offsets"), map[string][]Position{"offsets": {to}}, nil)
}

func path(name, rest string) string {
	return strings.TrimSuffix("/connectors/"+url.PathEscape(name)+"/"+rest, "/")
}

// While workers share out connectors anew, they answer 409.
const (
	rebalanceWithin = time.Minute
	rebalanceLook   = 300 * time.Millisecond
)

func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	for end := time.Now().Add(rebalanceWithin); ; {
		code, err := c.once(ctx, method, path, body, answer)
		if code != http.StatusConflict || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rebalanceLook):
		}
	}
}

func (c *Client) once(ctx context.Context, method, path string, body, answer any) (code int, err error) {
	var text io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return 0, fmt.Errorf("encode the request to Kafka Connect: %w", err)
		}
		text = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, text)
	if err != nil {
		return 0, fmt.Errorf("call Kafka Connect: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	a, err := c.http.Do(r)
	if err != nil {
		return 0, fmt.Errorf("call Kafka Connect (%s says where it is): %w", URLVariable, err)
	}
	defer a.Body.Close()
	said, err := io.ReadAll(io.LimitReader(a.Body, 1<<20))
	if err != nil {
		return 0, fmt.Errorf("read the answer of Kafka Connect: %w", err)
	}
	switch {
	case a.StatusCode == http.StatusNotFound:
		return a.StatusCode, fmt.Errorf("%s %s: %w", method, path, ErrUnknown)
	case a.StatusCode >= http.StatusBadRequest:
		var problem struct{ Message string }
		_ = json.Unmarshal(said, &problem) // else the status says it
		return a.StatusCode, fmt.Errorf("%s %s: refused by Kafka Connect: %s: %s", method, path, a.Status, problem.Message)
	case answer == nil:
		return a.StatusCode, nil
	}
	if err := json.Unmarshal(said, answer); err != nil {
		return a.StatusCode, fmt.Errorf("read the answer of Kafka Connect to %s %s: %w", method, path, err)
	}
	return a.StatusCode, nil
}
