package knative

import (
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"
)

// Wiring is the contents of base/ or of an overlay, in the order of kustomization.yaml.
type Wiring struct {
	// Overlay is the name of the overlay, empty for the base.
	Overlay  string
	Services []Service
	Sources  []KafkaSource
	Sinks    []KafkaSink
	Pings    []PingSource
	Topics   []Topic
	// Connectors capture outboxes, in the place of relays. They run in Connects, whose names have no topic prefix.
	Connectors []Connector
	Connects   []Connect
}

// Service is a deployed function.
type Service struct {
	Name string
	// Function is the folder of the function: its key in the catalogue. Two Services may share one.
	Function string
	// Public is whether the Service is reachable from outside of the cluster.
	Public bool
	// Env has only literal values: Secrets and ConfigMaps belong to the environment of a deployment.
	Env map[string]string
	// Needs names the required variables from a Secret or a ConfigMap.
	Needs []string
}

// Outbox returns the schema whose outbox the Service relays, empty for another Service.
func (s Service) Outbox() string { return s.Env["OUTBOX_SCHEMA"] }

// KafkaSource delivers the events of one topic to one Service.
type KafkaSource struct {
	Name      string
	Namespace string
	Group     string
	Topic     string
	// Consumers is the number of consumers of the group on Knative. In the harness it bounds the concurrent calls per
	// partition for single events, and separately for retries. At least 1.
	Consumers int
	// Ordered blocks a partition until its event has been handled, through all retries.
	Ordered bool
	// Sink is the name of the Service.
	Sink string
	// Extensions are set on every delivered event.
	Extensions map[string]string
	Delivery   Delivery
}

// Delivery configures the retries and dead letters of an event.
type Delivery struct {
	// Retry is the number of attempts after the first one.
	Retry       int
	Exponential bool
	Delay       time.Duration
	// Timeout bounds one attempt.
	Timeout time.Duration
	// DeadLetter is the topic of the dead letters.
	DeadLetter string
}

// Backoff returns the wait after a number of failed attempts, from 1, as Knative computes it: Delay × 2^failures, or Delay ×
// failures if it is linear. It is capped at the longest time.Duration.
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

// waits returns the sum of all waits between the attempts for one event.
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

// KafkaSink writes posted events to a topic.
type KafkaSink struct {
	Name  string
	Topic string
}

// PingSource posts an event to a Service on a schedule.
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

// DeadLetterSuffix ends the name of a topic's dead-letter topic.
const DeadLetterSuffix = ".dlq"

// Topic is a Kafka topic.
type Topic struct {
	Name       string
	Partitions int32
	Replicas   int16
	Config     map[string]string
}

// Load reads the manifests that the kustomization.yaml of a folder lists and checks them. Its error names every violation of a rule and how
// to fix it. It also refuses unknown kinds, unknown fields and duplicate fields.
func Load(fsys fs.FS) (*Wiring, error) {
	m, err := read(fsys, ".")
	if err != nil {
		return nil, err
	}
	return m.check()
}

// OverlayVariable names the variable of the overlay that a process acts on.
const OverlayVariable = "HARNESS_OVERLAY"

// Configured returns the wiring of HARNESS_OVERLAY, the base if it is not set, with KAFKA_TOPIC_PREFIX before its names.
func Configured(config map[string]string) (*Wiring, error) {
	w, err := LoadOverlay(Manifests(), config[OverlayVariable])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", OverlayVariable, err)
	}
	return w.WithTopicPrefix(config["KAFKA_TOPIC_PREFIX"])
}

var validTopicPrefix = compiled(`^[a-zA-Z0-9._-]{0,64}$`)

// WithTopicPrefix returns the wiring with prefix before the name of every topic and consumer group, so that tests and
// tenants can share a cluster. It fails for a prefix that is not at most 64 of [a-zA-Z0-9._-].
func (w *Wiring) WithTopicPrefix(prefix string) (*Wiring, error) {
	if !validTopicPrefix().MatchString(prefix) {
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
	prefixed.Connectors = slices.Clone(w.Connectors)
	for i, c := range prefixed.Connectors {
		prefixed.Connectors[i] = c.withTopicPrefix(prefix)
	}
	return &prefixed, nil
}

// Outboxes lists the schemas with an outbox, each of which has its own relay or connector, sorted by name.
func (w *Wiring) Outboxes() (schemas []string) {
	for _, service := range w.Services {
		if name := service.Outbox(); name != "" {
			schemas = append(schemas, name)
		}
	}
	slices.Sort(schemas)
	return schemas
}

// HasPayments returns whether orders are paid: whether a Service authorizes payments.
func (w *Wiring) HasPayments() bool {
	return slices.ContainsFunc(w.Services, func(s Service) bool { return s.Function == "authorizepayment" })
}
