package kafka

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/functions/internal/testkit/certificatetest"
	"example.com/orders/knative"
)

func TestTheSchemaHistoryIsReadAsTheBrokersRequire(t *testing.T) {
	ca := certificatetest.New(t).File
	tests := map[string]struct{ config, want map[string]string }{
		"without a login": {map[string]string{}, map[string]string{}},
		"a login": {map[string]string{"KAFKA_SASL_MECHANISM": "SCRAM-SHA-256"}, map[string]string{
			"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "SCRAM-SHA-256", "sasl.jaas.config": "${env:CDC_KAFKA_LOGIN}",
		}},
		"TLS": {map[string]string{"KAFKA_TLS": "true"}, map[string]string{"security.protocol": "SSL"}},
		"TLS with a private authority": {map[string]string{"KAFKA_TLS": "true", "KAFKA_TLS_CA_FILE": ca}, map[string]string{
			"security.protocol": "SSL", "ssl.truststore.type": "PEM", "ssl.truststore.certificates": "${env:CDC_KAFKA_CA}",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := HistoryClient(test.config)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	_, err := HistoryClient(map[string]string{"KAFKA_TLS": "perhaps"})
	require.ErrorContains(t, err, "KAFKA_TLS is")
}

// What the harness gives to a connector is what the manifests of production add to it.
func TestTheSchemaHistoryLogsInAsTheManifestsOfProductionDo(t *testing.T) {
	content, err := os.ReadFile("../../../../knative/components/production/connectors.yaml")
	require.NoError(t, err)
	var patch []struct{ Op, Path, Value string }
	require.NoError(t, yaml.Unmarshal(content, &patch))
	want := map[string]string{}
	for _, p := range patch {
		require.Equal(t, "add", p.Op)
		want[p.Path] = p.Value
	}

	settings, err := HistoryClient(map[string]string{"KAFKA_TLS": "true", "KAFKA_TLS_CA_FILE": certificatetest.New(t).File, "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"})
	require.NoError(t, err)
	got := map[string]string{}
	for name, value := range (knative.Connector{}).WithHistoryClient(settings).Config {
		got["/spec/config/"+name] = value
	}
	assert.Equal(t, want, got)
}

func TestTheLoginOfKafkaConnectIsItsPrincipals(t *testing.T) {
	config := map[string]string{"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USER": "admin", "KAFKA_SASL_PASSWORD": `a"b\c`}
	login, err := HistoryLogin(config)
	require.NoError(t, err)
	assert.Equal(t, `org.apache.kafka.common.security.scram.ScramLoginModule required username="admin" password="a\"b\\c";`, login)

	config[UsersVariable] = "secret-of-the-principals"
	login, err = HistoryLogin(config)
	require.NoError(t, err)
	password := UsersSecret("secret-of-the-principals").Login("connect").Password
	assert.Equal(t, `org.apache.kafka.common.security.scram.ScramLoginModule required username="connect" password="`+password+`";`, login)

	login, err = HistoryLogin(map[string]string{"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USER": "u", "KAFKA_SASL_PASSWORD": "p"})
	require.NoError(t, err)
	assert.Equal(t, `org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="p";`, login)

	_, err = HistoryLogin(map[string]string{})
	require.ErrorContains(t, err, "nobody logs in")
	_, err = HistoryLogin(map[string]string{"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512"})
	require.ErrorContains(t, err, "set KAFKA_USERS_SECRET, or KAFKA_SASL_USER and KAFKA_SASL_PASSWORD")
}
