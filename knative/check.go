package knative

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/robfig/cron/v3"
)

const (
	functionLabel   = "orders.example.com/function"
	visibilityLabel = "networking.knative.dev/visibility"
	keyTypeLabel    = "kafkasources.sources.knative.dev/key-type"
	minScale        = "autoscaling.knative.dev/min-scale"
	maxScale        = "autoscaling.knative.dev/max-scale"
	clusterLabel    = "strimzi.io/cluster"
	policyLabel     = "pod-security.kubernetes.io/enforce"
	// deadLetterRoom is how many bytes more than its topic a dead-letter topic must take: the added headers, including the
	// text of the last answer, are at most a few thousand bytes.
	deadLetterRoom = 1 << 16
)

// checker collects violations of the rules, so that one run names all of them.
type checker struct {
	wiring   *Wiring
	problems []error
}

// require adds a problem, unless ok.
func (c *checker) require(ok bool, h header, format string, args ...any) {
	if !ok {
		c.problems = append(c.problems, fmt.Errorf("%s %s: %s", h.Kind, h.Metadata.Name, fmt.Sprintf(format, args...)))
	}
}

func (b *base) check() (*Wiring, error) {
	c := &checker{wiring: &Wiring{}}
	c.names(b)
	for _, n := range b.namespaces {
		c.require(n.Metadata.Name == b.namespace, n, "%s puts everything into %s: give both one name", kustomizationFile, b.namespace)
		c.require(n.Metadata.Labels[policyLabel] == "restricted", n, "label %s is %q: give restricted, which all pods meet", policyLabel, n.Metadata.Labels[policyLabel])
	}
	for _, t := range b.topics {
		c.topic(t)
	}
	for _, s := range b.services {
		c.service(s)
	}
	for _, s := range b.sinks {
		c.sink(s)
	}
	for _, s := range b.sources {
		c.source(s, b.namespace)
	}
	for _, p := range b.pings {
		c.ping(p, b.namespace)
	}
	for _, j := range b.jobs {
		c.job(j)
	}
	for _, one := range b.connects {
		c.connect(one)
	}
	for _, one := range b.connectors {
		c.connector(one, b.connects)
	}
	c.captured(b)
	c.pokes(b)
	c.senders(b)
	c.logins(b)
	c.lifetimes(b)
	if err := errors.Join(c.problems...); err != nil {
		return nil, fmt.Errorf("the wiring breaks its rules:\n%w", err)
	}
	return c.wiring, nil
}

func (c *checker) names(b *base) {
	var all []header
	all = append(all, b.namespaces...)
	for _, m := range b.services {
		all = append(all, m.header)
	}
	for _, m := range b.sources {
		all = append(all, m.header)
	}
	for _, m := range b.sinks {
		all = append(all, m.header)
	}
	for _, m := range b.pings {
		all = append(all, m.header)
	}
	for _, m := range b.topics {
		all = append(all, m.header)
	}
	for _, m := range b.jobs {
		all = append(all, m.header)
	}
	for _, m := range b.connects {
		all = append(all, m.header)
	}
	for _, m := range b.connectors {
		all = append(all, m.header)
	}
	seen := map[string]bool{}
	for _, h := range all {
		key := h.Kind + " " + h.Metadata.Name
		c.require(h.Metadata.Name != "", h, "metadata.name is missing: name it")
		c.require(h.Metadata.Namespace == "" || h.Metadata.Namespace == b.namespace, h, "it is in the namespace %s: leave that to %s", h.Metadata.Namespace, kustomizationFile)
		c.require(!seen[key], h, "the name is taken: give each %s its own", h.Kind)
		seen[key] = true
	}
}

func (c *checker) topic(m topicManifest) {
	c.require(m.Metadata.Labels[clusterLabel] != "", m.header, "label %s is missing: name the Kafka cluster, or no operator creates the topic", clusterLabel)
	c.require(m.Spec.Partitions > 0, m.header, "partitions is %d: give 1 or more", m.Spec.Partitions)
	c.require(m.Spec.Replicas > 0, m.header, "replicas is %d: give 1 or more", m.Spec.Replicas)
	_, err := retention(m.Spec.Config)
	c.require(err == nil, m.header, "%v", err)
	_, err = maxMessageBytes(m.Spec.Config)
	c.require(err == nil, m.header, "%v", err)
	c.wiring.Topics = append(c.wiring.Topics, Topic{
		Name: m.Metadata.Name, Partitions: m.Spec.Partitions, Replicas: m.Spec.Replicas, Config: maps.Clone(m.Spec.Config),
	})
}

// retention returns how long a topic keeps a record.
func retention(config map[string]string) (time.Duration, error) {
	text := config["retention.ms"]
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil || ms <= 0 || ms > int64(100*365*24*time.Hour/time.Millisecond) {
		return 0, fmt.Errorf("retention.ms is %q: give the milliseconds, since other retentions are measured against it", text)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// maxMessageBytes returns the size of the largest record that a topic takes.
func maxMessageBytes(config map[string]string) (int, error) {
	text := config["max.message.bytes"]
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("max.message.bytes is %q: give the bytes, since its dead-letter topic must take more", text)
	}
	return n, nil
}

// roomForDeadLetters checks that the largest record of a topic fits into its dead-letter topic with the added headers.
func (c *checker) roomForDeadLetters(h header, topic string) {
	limits := map[string]int{}
	for _, t := range c.wiring.Topics {
		limits[t.Name], _ = maxMessageBytes(t.Config) // an unreadable limit was reported with its topic
	}
	least := limits[topic] + deadLetterRoom
	c.require(limits[topic+DeadLetterSuffix] >= least, h, "%s takes records of %d bytes: give it a max.message.bytes of %d or more, so that every record of %s fits as a dead letter",
		topic+DeadLetterSuffix, limits[topic+DeadLetterSuffix], least, topic)
}

func (c *checker) service(m serviceManifest) {
	labels, template := m.Metadata.Labels, m.Spec.Template
	c.require(labels[functionLabel] != "", m.header, "label %s is missing: name the folder of the function", functionLabel)
	visibility, local := labels[visibilityLabel]
	c.require(!local || visibility == "cluster-local", m.header, "label %s is %q: give cluster-local, or leave it out to make the function public", visibilityLabel, visibility)
	least, errLeast := strconv.Atoi(template.Metadata.Annotations[minScale])
	most, errMost := strconv.Atoi(template.Metadata.Annotations[maxScale])
	c.require(errLeast == nil && errMost == nil && 0 <= least && least <= most && most > 0, m.header, "the scale has no bounds: set the annotations %s and %s of the template", minScale, maxScale)
	c.require(template.Spec.ContainerConcurrency > 0, m.header, "containerConcurrency is missing: bound the requests that one instance handles at once")
	c.require(template.Spec.TimeoutSeconds >= 1, m.header, "timeoutSeconds is missing: Knative waits this long before it replaces a pod that hangs, by default 300 s")
	c.noAccount(m.header, template.Spec.AutomountToken)
	if len(template.Spec.Containers) != 1 {
		c.require(false, m.header, "it has %d containers: give one", len(template.Spec.Containers))
		return
	}
	one := template.Spec.Containers[0]
	c.require(one.Image != "", m.header, "image is missing: name it")
	c.require(one.ReadinessProbe.HTTPGet.Path == "/health/readiness", m.header, "readinessProbe must get /health/readiness: a function serves before it has started")
	c.require(one.ReadinessProbe.PeriodSeconds > 0, m.header, "readinessProbe has no periodSeconds: a pod that is not ready at the first look waits for the next one, by default for 10 s")
	c.require(one.LivenessProbe.HTTPGet.Path == "/health/liveness", m.header, "livenessProbe must get /health/liveness")
	c.resources(m.header, one.Resources)
	c.secure(m.header, one.SecurityContext)
	env := c.env(m.header, one.Env)
	c.require(env["LISTEN_ADDRESS"] == ":8080", m.header, "LISTEN_ADDRESS is %q: give :8080, since an image that func has not built listens on loopback, where no probe reaches it", env["LISTEN_ADDRESS"])
	delete(env, "LISTEN_ADDRESS") // it belongs to the environment, like the probes
	c.wiring.Services = append(c.wiring.Services, Service{
		Name: m.Metadata.Name, Function: labels[functionLabel], Public: !local, Env: env, Needs: needs(one.Env),
	})
}

func (c *checker) resources(h header, r resources) {
	for _, a := range []allotment{r.Requests, r.Limits} {
		c.require(a.CPU != "" && a.Memory != "", h, "resources must give cpu and memory, as requests and as limits")
	}
}

// secure checks the requirements of the pod security policy "restricted" on a container, and that it writes no files.
func (c *checker) secure(h header, s securityContext) {
	const admitted = "or no pod is admitted"
	c.require(s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation, h, "securityContext.allowPrivilegeEscalation must be false, %s", admitted)
	c.require(s.RunAsNonRoot, h, "securityContext.runAsNonRoot must be true, %s", admitted)
	c.require(slices.Equal(s.Capabilities.Drop, []string{"ALL"}), h, "securityContext.capabilities must be {drop: [ALL]}, %s", admitted)
	c.require(s.SeccompProfile.Type == "RuntimeDefault", h, "securityContext.seccompProfile must be {type: RuntimeDefault}, %s", admitted)
	c.require(s.ReadOnlyRootFilesystem, h, "securityContext.readOnlyRootFilesystem must be true: functions write no files")
}

// noAccount checks that a pod has no token for the API server, which nothing here calls.
func (c *checker) noAccount(h header, automount *bool) {
	c.require(automount != nil && !*automount, h, "automountServiceAccountToken must be false: by default whoever breaks into a pod may act as its service account")
}

func (c *checker) job(m jobManifest) {
	pod := m.Spec.Template.Spec
	c.require(pod.RestartPolicy == "OnFailure", m.header, "restartPolicy is %q: give OnFailure, since the database may come later", pod.RestartPolicy)
	c.require(m.Spec.TTLSecondsAfterFinished > 0, m.header, "ttlSecondsAfterFinished is missing: an existing Job cannot be applied again with another image")
	c.noAccount(m.header, pod.AutomountToken)
	for _, one := range pod.Containers {
		c.require(one.Image != "", m.header, "image is missing: name it")
		c.resources(m.header, one.Resources)
		c.secure(m.header, one.SecurityContext)
		c.env(m.header, one.Env)
	}
}

// pokes checks that OUTBOX_POKE_URL is the URL of a Service that relays.
func (c *checker) pokes(b *base) {
	for _, m := range b.services {
		for _, s := range c.wiring.Services {
			address, pokes := s.Env["OUTBOX_POKE_URL"]
			if s.Name != m.Metadata.Name || !pokes {
				continue
			}
			known := slices.ContainsFunc(c.wiring.Services, func(relay Service) bool {
				return relay.Outbox() != "" && address == "http://"+relay.Name+"."+b.namespace+".svc.cluster.local"
			})
			c.require(known, m.header, "OUTBOX_POKE_URL is %q: give http://NAME.%s.svc.cluster.local of a Service that relays an outbox", address, b.namespace)
		}
	}
}

// env checks all variables and returns the literal values.
func (c *checker) env(h header, variables []variable) map[string]string {
	env, seen := map[string]string{}, map[string]bool{}
	for _, v := range variables {
		c.require(!seen[v.Name], h, "env %s appears twice: remove one", v.Name)
		seen[v.Name] = true
		if v.Value != nil {
			c.require(v.ValueFrom == nil, h, "env %s has both value and valueFrom: remove one", v.Name)
			env[v.Name] = *v.Value
			continue
		}
		var key *keyReference
		if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
			key = v.ValueFrom.SecretKeyRef
		} else if v.ValueFrom != nil {
			key = v.ValueFrom.ConfigMapKeyRef
		}
		c.require(key != nil && key.Name != "" && key.Key != "", h, "env %s has no value: give value, or valueFrom with the name and the key of a Secret or a ConfigMap", v.Name)
	}
	return env
}

// needs names the variables whose Secret or ConfigMap must exist.
func needs(variables []variable) (names []string) {
	for _, v := range variables {
		if v.ValueFrom == nil {
			continue
		}
		secret, config := v.ValueFrom.SecretKeyRef, v.ValueFrom.ConfigMapKeyRef
		if (secret != nil && !secret.Optional) || (config != nil && !config.Optional) {
			names = append(names, v.Name)
		}
	}
	return names
}

func (c *checker) sink(m sinkManifest) {
	c.require(m.Spec.ContentMode == "binary", m.header, "contentMode is %q: give binary, so that the record's value stays the event's JSON", m.Spec.ContentMode)
	c.require(m.Spec.NumPartitions == nil && m.Spec.ReplicationFactor == nil, m.header, "leave out numPartitions and replicationFactor: with them, deleting the KafkaSink deletes the topic")
	c.require(len(m.Spec.BootstrapServers) > 0, m.header, "bootstrapServers is missing: name the brokers")
	c.require(c.hasTopic(m.Spec.Topic), m.header, "topic %q is not declared: add a KafkaTopic", m.Spec.Topic)
	c.wiring.Sinks = append(c.wiring.Sinks, KafkaSink{Name: m.Metadata.Name, Topic: m.Spec.Topic})
}

func (c *checker) source(m sourceManifest, namespace string) {
	h, spec := m.header, m.Spec
	if len(spec.Topics) != 1 {
		c.require(false, h, "it has %d topics: give one KafkaSource to each topic, since retries and dead letters are per topic", len(spec.Topics))
		return
	}
	topic, sink := spec.Topics[0], spec.Sink.Ref.Name
	c.require(c.hasTopic(topic), h, "topic %q is not declared: add a KafkaTopic", topic)
	c.require(c.hasTopic(topic+DeadLetterSuffix), h, "dead-letter topic %q is not declared: add a KafkaTopic", topic+DeadLetterSuffix)
	c.roomForDeadLetters(h, topic)
	c.toService(h, spec.Sink)
	c.require(spec.ConsumerGroup == sink+"."+topic, h, "consumerGroup is %q: give %s.%s, since a random group loses its offsets and a shared one splits the events", spec.ConsumerGroup, sink, topic)
	for _, other := range c.wiring.Sources {
		c.require(other.Group != spec.ConsumerGroup, h, "consumerGroup %s also belongs to KafkaSource %s: each would get only some of the events", spec.ConsumerGroup, other.Name)
	}
	c.require(len(spec.BootstrapServers) > 0, h, "bootstrapServers is missing: name the brokers")
	c.require(spec.Consumers >= 1, h, "consumers is %d: give 1 or more", spec.Consumers)
	c.require(spec.InitialOffset == "earliest", h, "initialOffset is %q: give earliest, or events from before the first start are never handled", spec.InitialOffset)
	c.require(spec.Ordering == "ordered" || spec.Ordering == "unordered", h, "ordering is %q: give unordered, or ordered where an event must block its partition", spec.Ordering)
	c.require(spec.CEOverrides.Extensions["consumer"] == sink, h, "ceOverrides.extensions.consumer is %q: give %s, or a dead letter does not say which function failed", spec.CEOverrides.Extensions["consumer"], sink)
	c.require(m.Metadata.Labels[keyTypeLabel] == "string", h, "label %s must be string: keys are order ids", keyTypeLabel)
	c.wiring.Sources = append(c.wiring.Sources, KafkaSource{
		Name: m.Metadata.Name, Namespace: namespace, Group: spec.ConsumerGroup, Topic: topic,
		Consumers: spec.Consumers, Ordered: spec.Ordering == "ordered",
		Sink: sink, Extensions: maps.Clone(spec.CEOverrides.Extensions), Delivery: c.delivery(h, topic, spec.Delivery),
	})
}

func (c *checker) delivery(h header, topic string, m *deliveryManifest) Delivery {
	if m == nil || m.Retry == nil || m.BackoffPolicy == "" || m.BackoffDelay == "" || m.Timeout == "" || m.DeadLetterSink == nil {
		c.require(false, h, "delivery is not complete: give retry, backoffPolicy, backoffDelay, timeout and deadLetterSink, since none has a default")
		return Delivery{}
	}
	c.require(*m.Retry >= 0, h, "delivery.retry is %d: give 0 or more", *m.Retry)
	c.require(m.BackoffPolicy == "exponential" || m.BackoffPolicy == "linear", h, "delivery.backoffPolicy is %q: give exponential or linear", m.BackoffPolicy)
	delay, err := parseDuration(m.BackoffDelay)
	c.require(err == nil, h, "delivery.backoffDelay: %v", err)
	timeout, err := parseDuration(m.Timeout)
	c.require(err == nil, h, "delivery.timeout: %v", err)
	d := Delivery{Retry: *m.Retry, Exponential: m.BackoffPolicy == "exponential", Delay: delay, Timeout: timeout}

	ref := m.DeadLetterSink.Ref
	at := slices.IndexFunc(c.wiring.Sinks, func(s KafkaSink) bool { return s.Name == ref.Name })
	if ref.APIVersion+" "+ref.Kind != kindSink || at < 0 {
		c.require(false, h, "deadLetterSink refers to %s %s %s, which does not exist: refer to a KafkaSink (%s) of the base", ref.APIVersion, ref.Kind, ref.Name, kindSink)
		return d
	}
	d.DeadLetter = c.wiring.Sinks[at].Topic
	c.require(d.DeadLetter == topic+DeadLetterSuffix, h, "its dead letters go to %s: refer to the KafkaSink that writes to %s", d.DeadLetter, topic+DeadLetterSuffix)
	return d
}

// sixFields parses schedules like PingSource when seconds are given.
var sixFields = cron.NewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)

// ParseSchedule parses the schedule of a PingSource: six fields, seconds first.
func ParseSchedule(text string) (cron.Schedule, error) { return sixFields.Parse(text) }

func (c *checker) ping(m pingManifest, namespace string) {
	_, err := ParseSchedule(m.Spec.Schedule)
	c.require(err == nil, m.header, "schedule %q: %v: give six fields, seconds first", m.Spec.Schedule, err)
	c.require((m.Spec.Data == "") == (m.Spec.ContentType == ""), m.header, "give data and contentType together, or neither")
	c.toService(m.header, m.Spec.Sink)
	c.wiring.Pings = append(c.wiring.Pings, PingSource{
		Name: m.Metadata.Name, Namespace: namespace, Schedule: m.Spec.Schedule,
		ContentType: m.Spec.ContentType, Data: m.Spec.Data, Sink: m.Spec.Sink.Ref.Name,
	})
}

func (c *checker) toService(h header, to destination) {
	known := slices.ContainsFunc(c.wiring.Services, func(s Service) bool { return s.Name == to.Ref.Name })
	c.require(known && to.Ref.APIVersion+" "+to.Ref.Kind == kindService, h, "sink refers to %s %s %s, which does not exist: refer to a Service (%s) of the base", to.Ref.APIVersion, to.Ref.Kind, to.Ref.Name, kindService)
}

func (c *checker) hasTopic(name string) bool {
	return slices.ContainsFunc(c.wiring.Topics, func(t Topic) bool { return t.Name == name })
}
