package knative

import (
	"maps"
	"slices"
	"strings"
)

// ConnectPrincipal is the principal of Kafka Connect at the brokers.
const ConnectPrincipal = "connect"

// kafkaSinkVariable names the variable of a relay with the URL of the KafkaSinks that it publishes through.
const kafkaSinkVariable = "KAFKA_SINK_URL"

// Principal returns as whom Knative's data plane writes to Kafka for the sink.
func (s KafkaSink) Principal() string { return "sink." + s.Name }

// Relays returns whether the Service connects to Kafka, to publish the events of an outbox or to see what a connector has
// published.
func (s Service) Relays() bool { return s.Outbox() != "" && s.Env[kafkaSinkVariable] == "" }

// WithKafkaSinks returns the wiring with the component kafka-sinks: each topic of events has a KafkaSink, through which relays
// publish.
func (w *Wiring) WithKafkaSinks() *Wiring {
	through := *w
	through.Services, through.Sinks = slices.Clone(w.Services), slices.Clone(w.Sinks)
	for i, s := range through.Services {
		if s.Relays() {
			through.Services[i].Env = maps.Clone(s.Env)
			through.Services[i].Env[kafkaSinkVariable] = "http://kafka-sink-ingress.knative-eventing.svc.cluster.local/orders/{topic}"
		}
	}
	for _, t := range w.Topics {
		if !strings.HasSuffix(t.Name, DeadLetterSuffix) {
			through.Sinks = append(through.Sinks, KafkaSink{Name: t.Name, Topic: t.Name})
		}
	}
	return &through
}

// login is who connects to Kafka, and the Secrets with which it does.
type login struct {
	header
	principal string
	secrets   []string // of the user and of the password; empty without a login
}

// logins checks that either nobody logs in to Kafka, or each with a Secret of its own, which is named like its principal: those
// are the names of the KafkaUsers that "harness principals --strimzi" writes.
func (c *checker) logins(b *base) {
	all := c.connecting(b)
	if !slices.ContainsFunc(all, func(l login) bool { return len(l.secrets) > 0 }) {
		return
	}
	for _, l := range all {
		if l.principal == "" {
			c.require(len(l.secrets) == 0, l.header, "it logs in to Kafka with the Secrets %q, and connects to no brokers: take the login out", l.secrets)
			continue
		}
		c.require(slices.Equal(slices.Compact(slices.Clone(l.secrets)), []string{l.principal}), l.header,
			"it logs in to Kafka with the Secrets %q: give %s as that of the user and the password, so that each has the rights of its own principal", l.secrets, l.principal)
	}
}

// connecting lists all Services, sources, sinks and clusters of Kafka Connect; those without a principal connect to no brokers.
func (c *checker) connecting(b *base) (all []login) {
	for _, m := range b.services {
		l := login{header: m.header}
		if slices.ContainsFunc(c.wiring.Services, func(s Service) bool { return s.Name == m.Metadata.Name && s.Relays() }) {
			l.principal = m.Metadata.Name
		}
		for _, one := range m.Spec.Template.Spec.Containers {
			for _, v := range one.Env {
				if v.Name == "KAFKA_SASL_USER" || v.Name == "KAFKA_SASL_PASSWORD" {
					l.secrets = append(l.secrets, v.secret())
				}
			}
		}
		all = append(all, l)
	}
	for _, m := range b.sources {
		l := login{header: m.header, principal: m.Metadata.Name}
		if m.Spec.Net != nil {
			l.secrets = []string{m.Spec.Net.SASL.User.SecretKeyRef.Name, m.Spec.Net.SASL.Password.SecretKeyRef.Name}
		}
		all = append(all, l)
	}
	for _, m := range b.sinks {
		l := login{header: m.header, principal: KafkaSink{Name: m.Metadata.Name}.Principal()}
		if m.Spec.Auth != nil {
			l.secrets = []string{m.Spec.Auth.Secret.Ref.Name}
		}
		all = append(all, l)
	}
	for _, m := range b.connects {
		spec, err := m.decoded()
		c.require(err == nil, m.header, "%v", err)
		l := login{header: m.header, principal: ConnectPrincipal}
		if a := spec.Authentication; a.Username != "" || a.PasswordSecret.SecretName != "" {
			l.secrets = []string{a.Username, a.PasswordSecret.SecretName}
		}
		all = append(all, l)
	}
	return all
}

// secret returns the name of the Secret that has the value of a variable, empty if it is elsewhere.
func (v variable) secret() string {
	if v.ValueFrom == nil || v.ValueFrom.SecretKeyRef == nil {
		return ""
	}
	return v.ValueFrom.SecretKeyRef.Name
}
