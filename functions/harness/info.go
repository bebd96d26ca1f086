package main

import (
	"context"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"time"

	"example.com/orders/functions/internal/rest"
)

// live answers 200 as long as the process can answer at all: what it depends on does not count, since starting it again
// would not bring that back.
func live(w http.ResponseWriter, _ *http.Request) {
	_ = rest.JSON(w, http.StatusOK, map[string]string{"status": "UP"}) // strings encode
}

// component is how something is that the system needs.
type component struct {
	Status string `json:"status"`           // UP or DOWN
	Reason string `json:"reason,omitempty"` // why it is DOWN
}

// ready answers 200 when everything can work, else 503, and lists each thing that is needed.
func (h *harness) ready(w http.ResponseWriter, r *http.Request) {
	answer := struct {
		Status     string               `json:"status"`
		Components map[string]component `json:"components"`
	}{"UP", map[string]component{}}
	status := http.StatusOK
	set := func(name, reason string) {
		c := component{Status: "UP"}
		if reason != "" {
			c = component{"DOWN", reason}
			answer.Status, status = "DOWN", http.StatusServiceUnavailable
		}
		answer.Components[name] = c
	}
	reasons := h.unready(r.Context())
	for name := range h.functions {
		set("function "+name, reasons[name])
	}
	for _, source := range h.wiring.Sources {
		set("source "+source.Name, reasons[source.Name])
	}
	for name, db := range h.pools.open {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		set("schema "+name, text(db.PingContext(ctx)))
		cancel()
	}
	set("kafka", text(dialAny(r.Context(), h.servers.brokers)))
	if !h.stocked.Load() {
		set("sample stock", "is not there yet")
	}
	_ = rest.JSON(w, status, answer) // strings encode
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// dialAny succeeds when a broker can be reached.
func dialAny(ctx context.Context, brokers []string) (err error) {
	for _, broker := range brokers {
		var conn net.Conn
		if conn, err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", broker); err == nil {
			return conn.Close()
		}
	}
	return err
}

// build is how the program was built, as far as the go command has recorded it.
type build struct {
	Version  string `json:"version"`            // of the module, "(devel)" outside of a release
	Commit   string `json:"commit,omitempty"`   // the commit that was built
	Time     string `json:"time,omitempty"`     // of that commit
	Modified bool   `json:"modified,omitempty"` // there were changes that are not in the commit
	Go       string `json:"go"`
}

func readBuild() build {
	b := build{Version: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version, b.Go = info.Main.Version, info.GoVersion
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// info tells what is running.
func (h *harness) info(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Build     build    `json:"build"`
		Functions []string `json:"functions"`
		Topics    []string `json:"topics"`
	}{Build: readBuild()}
	for name := range h.functions {
		answer.Functions = append(answer.Functions, name)
	}
	for _, topic := range h.wiring.Topics {
		answer.Topics = append(answer.Topics, topic.Name)
	}
	slices.Sort(answer.Functions)
	slices.Sort(answer.Topics)
	_ = rest.JSON(w, http.StatusOK, answer) // strings encode
}
