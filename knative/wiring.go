package knative

import (
	"fmt"
	"io/fs"
	"math"
	"regexp"
	"slices"
	"time"
)

// Wiring is all that base/ says, in the order in which kustomization.yaml lists it.
type Wiring struct {
	Services []Service
	Sources  []KafkaSource
	Sinks    []KafkaSink
	Pings    []PingSource
	Topics   []Topic
}

// Service is a function as it is deployed.
type Service struct {
	Name string
	// Function is the folder of the function: its key in the catalogue. Two Services may share one.
	Function string
	// Public tells whether it can be reached from outside of the cluster.
	Public bool
	// Env has the literal values only: what comes from a Secret or a ConfigMap belongs to the place of deployment.
	Env map[string]string
	// Needs names the variables that come from a Secret or a ConfigMap and have to be there.
	Needs []string
}

// KafkaSource brings the events of one topic to one Service.
type KafkaSource struct {
	Name      string
	Namespace string
	Group     string
	Topic     string
	// Consumers is how many consumers the group has on Knative, and in the harness how many events of one partition
	// are worked on at once, each by itself, and apart from those how many that are tried again. At least 1.
	Consumers int
	// Ordered blocks a partition until its event has been handled, through all retries.
	Ordered bool
	// Sink is the name of the Service.
	Sink string
	// Extensions are set on every event that is delivered.
	Extensions map[string]string
	Delivery   Delivery
}

// Delivery is what becomes of an event whose delivery fails.
type Delivery struct {
	// Retry is how many attempts follow the first one.
	Retry       int
	Exponential bool
	Delay       time.Duration
	// Timeout bounds one attempt.
	Timeout time.Duration
	// DeadLetter is the topic that takes what has failed for good.
	DeadLetter string
}

// Backoff is the wait after so many failed attempts, 1 or more, as Knative computes it: Delay × 2^failures, or
// Delay × failures when it is linear. What exceeds a time.Duration becomes the longest one.
func (d Delivery) Backoff(failures int) time.Duration {
	factor := float64(failures)
	if d.Exponential {
		factor = math.Exp2(factor)
	}
	wait := float64(d.Delay) * factor
	if wait >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(wait)
}

// waits is the sum of all waits between the attempts for one event.
func (d Delivery) waits() time.Duration {
	var sum time.Duration
	for failures := 1; failures <= d.Retry; failures++ {
		wait := d.Backoff(failures)
		if wait > math.MaxInt64-sum {
			return math.MaxInt64
		}
		sum += wait
	}
	return sum
}

// KafkaSink writes what is posted to it to a topic.
type KafkaSink struct {
	Name  string
	Topic string
}

// PingSource posts an event to a Service by the clock.
type PingSource struct {
	Name      string
	Namespace string
	// Schedule has six fields, seconds first.
	Schedule    string
	ContentType string
	Data        string
	// Sink is the name of the Service.
	Sink string
}

// Topic is a Kafka topic.
type Topic struct {
	Name       string
	Partitions int32
	Replicas   int16
	Config     map[string]string
}

// Load reads the manifests that kustomization.yaml lists and checks them. Its error names everything that breaks a
// rule, each with what to do; unknown kinds, unknown fields and fields given twice are refused as well.
func Load(fsys fs.FS) (*Wiring, error) {
	m, err := read(fsys)
	if err != nil {
		return nil, err
	}
	return m.check()
}

var validTopicPrefix = regexp.MustCompile(`^[a-zA-Z0-9._-]{0,64}$`)

// WithTopicPrefix returns the wiring with prefix before the name of every topic and consumer group: tests and tenants
// share a cluster by it. It fails for a prefix that is not at most 64 of [a-zA-Z0-9._-].
func (w *Wiring) WithTopicPrefix(prefix string) (*Wiring, error) {
	if !validTopicPrefix.MatchString(prefix) {
		return nil, fmt.Errorf("the topic prefix %q: use at most 64 of a-z, A-Z, 0-9, dot, underscore and hyphen", prefix)
	}
	prefixed := *w
	prefixed.Topics, prefixed.Sources, prefixed.Sinks = slices.Clone(w.Topics), slices.Clone(w.Sources), slices.Clone(w.Sinks)
	for i := range prefixed.Topics {
		prefixed.Topics[i].Name = prefix + prefixed.Topics[i].Name
	}
	for i := range prefixed.Sinks {
		prefixed.Sinks[i].Topic = prefix + prefixed.Sinks[i].Topic
	}
	for i := range prefixed.Sources {
		s := &prefixed.Sources[i]
		s.Topic, s.Group, s.Delivery.DeadLetter = prefix+s.Topic, prefix+s.Group, prefix+s.Delivery.DeadLetter
	}
	return &prefixed, nil
}

// Outboxes lists the schemas with an outbox, each of which has a relay of its own, in the order of their names.
func (w *Wiring) Outboxes() (schemas []string) {
	for _, service := range w.Services {
		if name := service.Env["OUTBOX_SCHEMA"]; name != "" {
			schemas = append(schemas, name)
		}
	}
	slices.Sort(schemas)
	return schemas
}
