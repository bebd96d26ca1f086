package knative

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// loggedIn returns the manifests of the overlay cdc in which everyone logs in to Kafka, each with its own Secret.
func loggedIn(t *testing.T) *base {
	t.Helper()
	b, err := read(Manifests(), path.Join(overlaysFolder, "cdc"))
	require.NoError(t, err)
	for i := range b.services {
		if name := b.services[i].Metadata.Name; slices.Contains([]string{"publish-outbox-orders", "publish-outbox-inventory"}, name) {
			logInService(t, b, name, name)
		}
	}
	for i := range b.sources {
		set(t, &b.sources[i].Spec, "net: {sasl: {user: {secretKeyRef: {name: %[1]s, key: user}}, password: {secretKeyRef: {name: %[1]s, key: password}}}}", b.sources[i].Metadata.Name)
	}
	for i := range b.sinks {
		set(t, &b.sinks[i].Spec, "auth: {secret: {ref: {name: sink.%s}}}", b.sinks[i].Metadata.Name)
	}
	b.connects[0].Spec = maps.Clone(b.connects[0].Spec) // as in logInService
	set(t, &b.connects[0].Spec, "authentication: {username: %[1]s, passwordSecret: {secretName: %[1]s}}", "connect")
	return b
}

// set adds fields to a part of a manifest.
func set(t *testing.T, part any, format string, args ...any) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal(fmt.Appendf(nil, format, args...), part))
}

// logInService gives a Service the login of a Secret.
func logInService(t *testing.T, b *base, name, secret string) {
	t.Helper()
	at := slices.IndexFunc(b.services, func(m serviceManifest) bool { return m.Metadata.Name == name })
	containers := slices.Clone(b.services[at].Spec.Template.Spec.Containers) // what was decoded is that of all tests
	b.services[at].Spec.Template.Spec.Containers = containers
	one := &containers[0]
	one.Env = slices.DeleteFunc(slices.Clone(one.Env), func(v variable) bool { return v.Name == "KAFKA_SASL_USER" || v.Name == "KAFKA_SASL_PASSWORD" })
	for variableName, key := range map[string]string{"KAFKA_SASL_USER": "user", "KAFKA_SASL_PASSWORD": "password"} {
		var v variable
		set(t, &v, "{name: %s, valueFrom: {secretKeyRef: {name: %s, key: %s}}}", variableName, secret, key)
		one.Env = append(one.Env, v)
	}
}

func TestEveryoneMayLogInToKafkaWithTheirOwnSecret(t *testing.T) {
	w, err := loggedIn(t).check()
	require.NoError(t, err)
	assert.Equal(t, []Connect{{"orders", "orders-connect", []string{"connect.configs", "connect.offsets", "connect.status"}}}, w.Connects)
}

func TestNobodyLogsInToKafkaAsAnother(t *testing.T) {
	const source = "reserve-stock.order.created"
	edit := func(b *base, format string, args ...any) {
		at := slices.IndexFunc(b.sources, func(m sourceManifest) bool { return m.Metadata.Name == source })
		set(t, &b.sources[at].Spec, format, args...)
	}
	for name, c := range map[string]struct {
		breaks func(b *base)
		says   string
	}{
		"a source as another": {func(b *base) {
			edit(b, "net: {sasl: {user: {secretKeyRef: {name: %[1]s}}, password: {secretKeyRef: {name: %[1]s}}}}", "notify.order.failed")
		}, "KafkaSource reserve-stock.order.created: it logs in to Kafka with the Secrets [\"notify.order.failed\" \"notify.order.failed\"]: give reserve-stock.order.created"},
		"a source with the password of another": {func(b *base) {
			edit(b, "net: {sasl: {password: {secretKeyRef: {name: orders-kafka}}}}")
		}, "KafkaSource reserve-stock.order.created: it logs in to Kafka with the Secrets [\"reserve-stock.order.created\" \"orders-kafka\"]"},
		"a source without a login": {func(b *base) { edit(b, "net: null") }, "KafkaSource reserve-stock.order.created: it logs in to Kafka with the Secrets []"},
		"a sink as its source": {func(b *base) {
			set(t, &b.sinks[0].Spec, "auth: {secret: {ref: {name: %s}}}", source)
		}, "KafkaSink order.created.dlq: it logs in to Kafka with the Secrets [\"reserve-stock.order.created\"]: give sink.order.created.dlq as that"},
		"a sink without a login": {func(b *base) { b.sinks[0].Spec.Auth = nil }, "KafkaSink order.created.dlq: it logs in to Kafka with the Secrets []"},
		"a relay as another": {func(b *base) {
			logInService(t, b, "publish-outbox-orders", "publish-outbox-inventory")
		}, "Service publish-outbox-orders: it logs in"},
		"a function that connects to no brokers": {func(b *base) {
			logInService(t, b, "notify", "notify")
		}, "Service notify: it logs in to Kafka with the Secrets [\"notify\" \"notify\"], and connects to no brokers"},
		"a relay through KafkaSinks": {func(b *base) {
			at := slices.IndexFunc(b.services, func(m serviceManifest) bool { return m.Metadata.Name == "publish-outbox-orders" })
			one := &b.services[at].Spec.Template.Spec.Containers[0]
			var v variable
			set(t, &v, "{name: KAFKA_SINK_URL, value: 'http://sinks/{topic}'}")
			one.Env = append(one.Env, v)
		}, "Service publish-outbox-orders: it logs in to Kafka with the Secrets [\"publish-outbox-orders\" \"publish-outbox-orders\"], and connects to no brokers"},
		"Kafka Connect as a relay": {func(b *base) {
			set(t, &b.connects[0].Spec, "authentication: {username: connect, passwordSecret: {secretName: publish-outbox-orders}}")
		}, "KafkaConnect orders: it logs in"},
		"Kafka Connect without state": {func(b *base) {
			delete(b.connects[0].Spec, "offsetStorageTopic")
		}, "KafkaConnect orders: groupId, configStorageTopic, offsetStorageTopic or statusStorageTopic is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			b := loggedIn(t)
			c.breaks(b)
			w, err := b.check()
			assert.ErrorContains(t, err, c.says)
			assert.Nil(t, w)
		})
	}
}
