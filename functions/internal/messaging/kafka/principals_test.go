package kafka

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"sigs.k8s.io/yaml"

	"example.com/orders/knative"
)

// rules lists what a principal may do.
func rules(t *testing.T, all []Principal, name string) (texts []string) {
	t.Helper()
	at := slices.IndexFunc(all, func(p Principal) bool { return p.Name == name })
	require.GreaterOrEqual(t, at, 0, name)
	for _, r := range all[at].Rules {
		texts = append(texts, r.String())
	}
	return texts
}

func TestPrincipalsHaveTheTopicsAndGroupsOfTheWiring(t *testing.T) {
	base, err := knative.LoadOverlay(knative.Manifests(), "")
	require.NoError(t, err)
	wiring, err := base.WithTopicPrefix("shop.")
	require.NoError(t, err)

	all := Principals(wiring, "shop.")

	assert.Equal(t, []string{
		"topic shop.inventory.rejected: Write", "topic shop.inventory.released: Write", "topic shop.inventory.reserved: Write",
	}, rules(t, all, "shop.publish-outbox-inventory"))
	assert.Equal(t, []string{"topic shop.order.created: Read", "group shop.reserve-stock.order.created: Read"}, rules(t, all, "shop.reserve-stock.order.created"))
	assert.Equal(t, []string{"topic shop.order.created.dlq: Write"}, rules(t, all, "shop.sink.order.created.dlq"))
	for _, source := range wiring.Sources {
		assert.Contains(t, rules(t, all, "shop."+DeadLetters), "topic "+source.Delivery.DeadLetter+": Write")
		assert.Contains(t, rules(t, all, "shop."+Operator), "group "+source.Group+": Describe")
	}
	for _, topic := range wiring.Topics {
		assert.Contains(t, rules(t, all, "shop."+Operator), "topic "+topic.Name+": Read, DescribeConfigs")
	}
}

func TestARelayBehindAConnectorReadsWhatItMayWrite(t *testing.T) {
	wiring, err := knative.LoadOverlay(knative.Manifests(), "cdc")
	require.NoError(t, err)

	assert.Equal(t, []string{
		"topic inventory.rejected: Read, Write", "topic inventory.released: Read, Write", "topic inventory.reserved: Read, Write",
	}, rules(t, Principals(wiring, ""), "publish-outbox-inventory"))
}

func TestKafkaConnectHasTheTopicsOfItsConnectors(t *testing.T) {
	base, err := knative.LoadOverlay(knative.Manifests(), "cdc")
	require.NoError(t, err)
	wiring, err := base.WithTopicPrefix("shop.")
	require.NoError(t, err)

	all := rules(t, Principals(wiring, "shop."), "shop.connect")

	const own = ": Read, Write, Create, DescribeConfigs"
	for _, rule := range []string{
		"group orders-connect: Read", "topic connect.configs" + own, "topic connect.offsets" + own, "topic connect.status" + own,
		"group shop.cdc.orders-schemahistory: Read", "topic shop.cdc.orders.history" + own, "topic __debezium-heartbeat.shop.cdc.orders: Write, Create",
		"topic shop.order.created: Write", "topic shop.inventory.reserved: Write",
	} {
		assert.Contains(t, all, rule)
	}
	assert.NotContains(t, strings.Join(all, "\n"), ".dlq")
	base, err = knative.LoadOverlay(knative.Manifests(), "")
	require.NoError(t, err)
	assert.Equal(t, -1, slices.IndexFunc(Principals(base, ""), func(p Principal) bool { return p.Name == knative.ConnectPrincipal }), "nothing captures")
}

func TestRelaysThroughKafkaSinksAreNoPrincipals(t *testing.T) {
	wiring, err := knative.LoadOverlay(knative.Manifests(), "")
	require.NoError(t, err)

	all := Principals(wiring.WithKafkaSinks(), "")

	assert.Equal(t, []string{"topic order.created: Write"}, rules(t, all, "sink.order.created"))
	assert.Equal(t, []string{"topic order.created.dlq: Write"}, rules(t, all, "sink.order.created.dlq"))
	for _, p := range all {
		assert.NotContains(t, p.Name, "publish-outbox")
	}
	assert.NotEmpty(t, rules(t, Principals(wiring, ""), "publish-outbox-orders"), "the wiring itself is unchanged")
}

// TestBuiltManifestsNameThePrincipalsThatThereAre looks for logins in what kustomize builds, one file per overlay in the folder
// MANIFESTS; .ci/run sets it.
func TestBuiltManifestsNameThePrincipalsThatThereAre(t *testing.T) {
	folder := os.Getenv("MANIFESTS")
	if folder == "" {
		t.Skip("MANIFESTS does not name a folder of built manifests: run .ci/run manifests")
	}
	files, err := filepath.Glob(filepath.Join(folder, "production*.yaml"))
	require.NoError(t, err)
	assert.Len(t, files, 5)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		routing, sinks := strings.CutSuffix(strings.Trim(strings.TrimPrefix(name, "production"), "-"), "kafka-sinks")
		wiring, err := knative.LoadOverlay(knative.Manifests(), strings.Trim(routing, "-"))
		require.NoError(t, err)
		if sinks {
			wiring = wiring.WithKafkaSinks()
		}
		var want []string
		for _, p := range Principals(wiring, "") {
			if p.Name != DeadLetters && p.Name != Operator {
				want = append(want, p.Name)
			}
		}
		got := map[string]bool{}
		for _, document := range strings.Split(string(text), "\n---\n") {
			var m connecting
			require.NoError(t, yaml.Unmarshal([]byte(document), &m))
			for _, secret := range m.secrets() {
				got[secret] = true
			}
		}
		assert.ElementsMatch(t, want, slices.Collect(maps.Keys(got)), name)
	}
}

// connecting has the Secrets with passwords of Kafka, by the fields of each kind that connects.
type connecting struct {
	Spec struct {
		Net struct { // of a KafkaSource
			SASL struct {
				Password secretKey `json:"password"`
			} `json:"sasl"`
		} `json:"net"`
		Auth struct { // of a KafkaSink
			Secret struct {
				Ref struct {
					Name string `json:"name"`
				} `json:"ref"`
			} `json:"secret"`
		} `json:"auth"`
		Authentication struct { // of a KafkaConnect
			PasswordSecret struct {
				SecretName string `json:"secretName"`
			} `json:"passwordSecret"`
		} `json:"authentication"`
		Template struct { // of a Service
			Spec struct {
				Containers []struct {
					Env []struct {
						Name      string    `json:"name"`
						ValueFrom secretKey `json:"valueFrom"`
					} `json:"env"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type secretKey struct {
	SecretKeyRef struct {
		Name string `json:"name"`
	} `json:"secretKeyRef"`
}

func (m connecting) secrets() (names []string) {
	names = append(names, m.Spec.Net.SASL.Password.SecretKeyRef.Name, m.Spec.Auth.Secret.Ref.Name, m.Spec.Authentication.PasswordSecret.SecretName)
	for _, one := range m.Spec.Template.Spec.Containers {
		for _, v := range one.Env {
			if v.Name == "KAFKA_SASL_PASSWORD" {
				names = append(names, v.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

func TestAuthorizeAgainChangesOnlyWhatDiffers(t *testing.T) {
	c := cluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-512", "admin", "admin-secret"))
	config := map[string]string{
		"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USER": "admin", "KAFKA_SASL_PASSWORD": "admin-secret", UsersVariable: "0123456789abcdef",
	}
	secure(t, config)
	users, err := Users(config)
	require.NoError(t, err)
	wiring, err := knative.LoadOverlay(knative.Manifests(), "")
	require.NoError(t, err)
	all := Principals(wiring, "")
	changes, err := Authorize(c.ListenAddrs(), all, users)
	require.NoError(t, err)
	assert.NotEmpty(t, changes)

	changes, err = Authorize(c.ListenAddrs(), all, users)
	require.NoError(t, err)
	assert.Empty(t, changes)

	fewer := slices.Clone(all)
	at := slices.IndexFunc(fewer, func(p Principal) bool { return p.Name == "reserve-stock.order.created" })
	fewer[at].Rules = fewer[at].Rules[1:]
	changes, err = Authorize(c.ListenAddrs(), fewer, users)
	require.NoError(t, err)
	assert.Equal(t, []string{"reserve-stock.order.created: removed topic order.created: Read"}, changes)
}

func TestRetiredPrincipalsHaveNothingLeft(t *testing.T) {
	c := cluster(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-512", "admin", "admin-secret"))
	config := map[string]string{
		"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USER": "admin", "KAFKA_SASL_PASSWORD": "admin-secret", UsersVariable: "0123456789abcdef",
	}
	secure(t, config)
	users, err := Users(config)
	require.NoError(t, err)
	wiring, err := knative.LoadOverlay(knative.Manifests(), "")
	require.NoError(t, err)
	mine, theirs := Principals(wiring, ""), Principals(wiring, "theirs.")
	_, err = Authorize(c.ListenAddrs(), slices.Concat(mine, theirs), users)
	require.NoError(t, err)

	require.NoError(t, Retire(c.ListenAddrs(), mine, users))

	assert.Error(t, users.Login("reserve-stock.order.created").ping(c.ListenAddrs()))
	assert.NoError(t, users.Login("theirs.reserve-stock.order.created").ping(c.ListenAddrs()))
	changes, err := Authorize(c.ListenAddrs(), theirs, users)
	require.NoError(t, err)
	assert.Empty(t, changes)
	changes, err = Authorize(c.ListenAddrs(), mine, users)
	require.NoError(t, err)
	rules := 0
	for _, p := range mine {
		for _, r := range p.Rules {
			rules += len(r.Operations)
		}
	}
	assert.Len(t, changes, rules, "all are new")
}

// ping returns whether a principal can log in.
func (l *Login) ping(brokers []string) error {
	broker := sarama.NewBroker(brokers[0])
	if err := broker.Open(l.apply(config("ping"))); err != nil {
		return err
	}
	if _, err := broker.Connected(); err != nil {
		return err
	}
	return broker.Close()
}

func TestUsersSayWhatToSet(t *testing.T) {
	none, err := Users(nil)
	require.NoError(t, err)
	assert.Nil(t, none.Login("relay"), "the process's own login")
	_, err = Users(map[string]string{UsersVariable: "short", "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"})
	require.ErrorContains(t, err, "at least 16")
	_, err = Users(map[string]string{UsersVariable: "0123456789abcdef", "KAFKA_SASL_MECHANISM": "PLAIN"})
	assert.ErrorContains(t, err, "SCRAM-SHA-512")
}
