// Package scaffold writes new functions into a checkout. What goes in is what a function reacts to and what it emits; what
// comes out is its folder, its manifest and its event, and the lines that the rest of the checkout has for each function.
package scaffold

import (
	"errors"
	"fmt"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"example.com/orders/events"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

// Reaction is a function that reacts to one type of events.
type Reaction struct {
	// Name is the name under which it is deployed, such as award-points.
	Name string
	// On is the type of the events that it reacts to.
	On string
	// Emits is the type of the event that it emits, the first of its family, such as points.awarded; empty for none.
	Emits string
	// Schema is the schema of its inbox and its outbox; empty for that of the service that emits On.
	Schema string
	// Overlay is the overlay that the function belongs to, such as payment; empty for the base, which all overlays have.
	Overlay string
	// Now is the time that func.yaml has as that of its creation.
	Now time.Time
}

// Change is a file that was written.
type Change struct {
	Path string // from the root of the checkout, with slashes
	Made bool   // it is new
}

const module = "example.com/orders"

// ErrNoCheckout means that a folder is in no checkout of this module.
var ErrNoCheckout = errors.New("this is no checkout of " + module)

// Root finds the root of the checkout that a folder is in.
func Root(folder string) (string, error) {
	for at := folder; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module "+module+"\n") {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s: %w: clone the repository, and change to its folder", folder, ErrNoCheckout)
		}
	}
}

// Write writes the function into the checkout at root and returns what it wrote. It writes nothing unless all of it can be
// written, and replaces no file.
func (r Reaction) Write(root string) ([]Change, error) {
	manifests := os.DirFS(filepath.Join(root, "knative"))
	wiring, err := knative.LoadOverlay(manifests, r.Overlay)
	if err != nil {
		return nil, fmt.Errorf("the checkout has to be in order first: %w", err)
	}
	r.Overlay = wiring.Overlay
	base, err := knative.LoadOverlay(manifests, knative.BaseName)
	if err != nil {
		return nil, fmt.Errorf("the checkout has to be in order first: %w", err)
	}
	topics := make([]string, len(wiring.Topics))
	for n, topic := range wiring.Topics {
		topics[n] = topic.Name
	}
	if r.Schema == "" {
		r.Schema = schemaOf(r.On, wiring.Outboxes())
	}
	if err := r.check(topics, wiring.Outboxes()); err != nil {
		return nil, err
	}
	p := &plan{root: root, names: names{Reaction: r, Folder: strings.ReplaceAll(r.Name, "-", "")}}
	p.function()
	p.manifests(slices.Contains(topics, r.On+knative.DeadLetterSuffix))
	p.tables(wiring, base)
	if r.Emits != "" {
		p.event()
	}
	written, err := p.write()
	if err != nil {
		return written, err
	}
	described, err := describe(root)
	if err != nil {
		err = fmt.Errorf("all is written but the description of the events: %w: run make generate", err)
	}
	return append(written, described...), err
}

// schemaOf is the schema of the service that emits events of a type, or of orders, which all events are about.
func schemaOf(eventType string, outboxes []string) string {
	if name := events.SchemaOf(eventType); slices.Contains(outboxes, name) {
		return name
	}
	return schema.Orders
}

var (
	validName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)
	validType = regexp.MustCompile(`^[a-z][a-z0-9]*\.[a-z][a-z0-9]*$`)
)

const (
	maxName = 40 // Knative makes the names of hosts, of at most 63, out of it
	maxType = 60 // of 64 in the outbox, where it may be the name of a dead-letter topic elsewhere
)

// taken are names of folders that something else in functions.go or beside it has.
var taken = []string{"base", "context", "deploy", "functions", "harness", "internal"}

// tools are the database users that belong to no function.
var tools = []string{"audit", "console", "operator"}

// check names all that is wrong with the reaction.
func (r Reaction) check(topics, outboxes []string) error {
	var problems []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	known := slices.DeleteFunc(slices.Clone(topics), func(topic string) bool { return strings.HasSuffix(topic, knative.DeadLetterSuffix) })
	folder := strings.ReplaceAll(r.Name, "-", "")
	require(validName.MatchString(r.Name) && len(r.Name) <= maxName, "the name %q: give at most %d small letters and digits with single hyphens between words, such as award-points", r.Name, maxName)
	require(!token.IsKeyword(folder) && !slices.Contains(taken, folder), "the name %q: no function can be in the folder %s: give another", r.Name, folder)
	require(!slices.Contains(tools, r.Name), "the name %q: a tool has the database user of this name: give another", r.Name)
	require(slices.Contains(known, r.On), "--on %q: no event has this type: give one of %s", r.On, strings.Join(known, ", "))
	require(slices.Contains(outboxes, r.Schema), "--schema %q: it has no inbox and no outbox, or is not there: give one of %s; the README says how to add one", r.Schema, strings.Join(outboxes, ", "))
	if r.Emits == "" {
		return errors.Join(problems...)
	}
	require(validType.MatchString(r.Emits) && len(r.Emits) <= maxType, "--emits %q: give family.fact in at most %d small letters and digits, such as points.awarded", r.Emits, maxType)
	family, fact, _ := strings.Cut(r.Emits, ".")
	require(!token.IsKeyword(fact), "--emits %q: %s is a word of Go: give another fact", r.Emits, fact)
	for _, other := range known {
		if there, _, _ := strings.Cut(other, "."); there == family {
			require(false, "--emits %q: the family %s is there already, with %s. The facts of a family have one source, which numbers those about an order: "+
				"emit it from the function that counts them (events/README.md says who does), or begin a family, such as points.awarded", r.Emits, family, other)
			break
		}
	}
	return errors.Join(problems...)
}
