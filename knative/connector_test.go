package knative

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

func capturing(t *testing.T) *Wiring {
	t.Helper()
	w, err := LoadOverlay(Manifests(), "cdc-payment")
	require.NoError(t, err)
	return w
}

func TestEachOutboxOfTheOverlayHasOneConnector(t *testing.T) {
	w := capturing(t)
	var captured []string
	for _, c := range w.Connectors {
		captured = append(captured, c.Schema)
		assert.Equal(t, "outbox-"+c.Schema, c.Name)
	}
	assert.ElementsMatch(t, w.Outboxes(), captured)
	assert.True(t, w.Captures())
	assert.False(t, load(t).Captures())
	assert.Equal(t, []string{"payment"}, Routings())
}

// The three connectors are one configuration.
func TestConnectorsDifferInTheirSchemaAndServerIDOnly(t *testing.T) {
	var first map[string]string
	for _, c := range capturing(t).Connectors {
		of := maps.Clone(c.Config)
		for name, value := range of {
			of[name] = strings.ReplaceAll(value, c.Schema, "SCHEMA")
		}
		delete(of, serverID)
		if first == nil {
			first = of
		}
		assert.Equal(t, first, of)
	}
}

func TestPrefixesKeepConnectorsApart(t *testing.T) {
	w, err := capturing(t).WithTopicPrefix("t1.")
	require.NoError(t, err)
	plain, c := capturing(t).Connectors[0], w.Connectors[0].WithSchemaPrefix("a_")

	assert.Equal(t, plain, plain.WithSchemaPrefix(""))
	assert.Equal(t, "t1.outbox-orders", c.Name)
	for name, want := range map[string]string{
		databases: "a_orders", tables: "a_orders.outbox", logicalName: "t1.cdc.orders", historyTopic: "t1.cdc.orders.history", eventTopics: "t1.$1",
	} {
		assert.Equal(t, want, c.Config[name])
		assert.NotEqual(t, want, plain.Config[name])
	}
	assert.NotEqual(t, plain.Config[serverID], c.Config[serverID])
	assert.NotEqual(t, plain.WithSchemaPrefix("b_").Config[serverID], c.Config[serverID])
	assert.Len(t, c.Config, len(plain.Config))
}

func TestLoadOverlayRefusesBrokenConnectors(t *testing.T) {
	const connector, relay, inventory = "components/cdc/connector-orders.yaml", "components/cdc/publish-outbox-orders.yaml", "components/cdc/connector-inventory.yaml"
	for name, broken := range map[string]struct{ file, old, replacement, says string }{
		"of no KafkaConnect":     {connector, "strimzi.io/cluster: orders", "strimzi.io/cluster: other", `is "other": name a KafkaConnect`},
		"of no class":            {connector, "class: io.debezium", "class: \"\" #", "class is missing"},
		"with more tasks":        {connector, "tasksMax: 1", "tasksMax: 2", "one task reads a binary log"},
		"of another table":       {connector, "table.include.list: orders.outbox", "table.include.list: orders.orders", "give SCHEMA.outbox"},
		"of two schemas":         {connector, "database.include.list: orders", "database.include.list: orders,payments", "it must read no other table"},
		"with a password":        {connector, "${env:CDC_MYSQL_PASSWORD}", "secret", "refer to a config provider"},
		"beside a relay":         {relay, "value: cdc", "value: relay", "the relay of orders also publishes"},
		"with a taken server id": {inventory, "54002", "54001", "give each connector its own"},
		"with a taken history":   {inventory, "cdc.inventory.history", "cdc.orders.history", "give each connector its own"},
		"missing":                {"components/cdc/kustomization.yaml", "  - connector-orders.yaml\n", "", "no KafkaConnector captures the outbox of orders"},
	} {
		t.Run(name, func(t *testing.T) {
			files := everything(t)
			text := string(files[broken.file].Data)
			require.Contains(t, text, broken.old, "the edit must change something")
			files[broken.file].Data = []byte(strings.Replace(text, broken.old, broken.replacement, 1))
			_, err := LoadOverlay(files, "cdc")
			assert.ErrorContains(t, err, broken.says)
		})
	}
}

// A relay behind a connector is that of the base, but for who publishes.
func TestRelaysBehindConnectorsAreThoseOfTheRelays(t *testing.T) {
	files := everything(t)
	for _, schema := range []string{"orders", "inventory", "payments"} {
		from, to := "base/", "components/cdc/"
		if schema == "payments" {
			from, to = "components/payment/", "components/cdc-payment/"
		}
		name := "publish-outbox-" + schema + ".yaml"
		relay, _, found := strings.Cut(string(files[from+name].Data), "\n---\n")
		require.True(t, found)
		captured := string(files[to+name].Data)
		const publisher = "- name: OUTBOX_PUBLISHER\n              value: "
		require.Contains(t, relay, publisher+"relay\n")
		assert.Equal(t, strings.Replace(relay, publisher+"relay", publisher+"cdc", 1)+"\n", captured, schema)
	}
}

// The namespace admits only pods that meet the policy restricted, and Strimzi's default does not.
func TestKafkaConnectMeetsThePolicyOfItsNamespace(t *testing.T) {
	var k struct {
		Spec struct {
			Build    any
			Template struct {
				Pod struct {
					SecurityContext struct {
						RunAsNonRoot   bool
						SeccompProfile struct{ Type string }
					}
				}
				ConnectContainer struct {
					SecurityContext struct {
						AllowPrivilegeEscalation *bool
						Capabilities             struct{ Drop []string }
					}
				}
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(everything(t)["components/cdc/connect.yaml"].Data, &k))
	assert.Nil(t, k.Spec.Build, "Strimzi builds as root")
	pod, container := k.Spec.Template.Pod.SecurityContext, k.Spec.Template.ConnectContainer.SecurityContext
	assert.True(t, pod.RunAsNonRoot)
	assert.Equal(t, "RuntimeDefault", pod.SeccompProfile.Type)
	require.NotNil(t, container.AllowPrivilegeEscalation)
	assert.False(t, *container.AllowPrivilegeEscalation)
	assert.Equal(t, []string{"ALL"}, container.Capabilities.Drop)
}
