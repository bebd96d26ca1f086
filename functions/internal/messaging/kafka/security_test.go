package kafka

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/orders/functions/internal/testkit/certificatetest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/functions/internal/web/certificate"
)

// secure sets the security of this process for one test.
func secure(t *testing.T, config map[string]string) {
	t.Helper()
	before := secured.Load()
	t.Cleanup(func() { secured.Store(before) })
	require.NoError(t, Secure(config))
}

// publish sends one event to a cluster.
func publish(t *testing.T, cluster *kfake.Cluster) error {
	t.Helper()
	p := NewProducer(cluster.ListenAddrs(), "", slog.New(slog.DiscardHandler))
	defer func() { assert.NoError(t, p.Close()) }()
	e := event.New()
	e.SetID("1")
	e.SetType("order.created")
	e.SetSource("/orders")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return p.Publish(ctx, []event.Event{e})[0].Err
}

func cluster(t *testing.T, options ...kfake.Opt) (c *kfake.Cluster) {
	t.Helper()
	porttest.Try(t, func(port int) (err error) {
		c, err = kfake.NewCluster(append(options, kfake.NumBrokers(1), kfake.SeedTopics(1, "order.created"), kfake.Ports(port))...)
		return err
	})
	t.Cleanup(c.Close)
	return c
}

func TestEachMechanismLogsIn(t *testing.T) {
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			c := cluster(t, kfake.EnableSASL(), kfake.Superuser(mechanism, "a,b=c", "s3cr,t="))
			secure(t, map[string]string{"KAFKA_SASL_MECHANISM": mechanism, "KAFKA_SASL_USER": "a,b=c", "KAFKA_SASL_PASSWORD": "s3cr,t="})
			assert.NoError(t, publish(t, c))

			secure(t, map[string]string{"KAFKA_SASL_MECHANISM": mechanism, "KAFKA_SASL_USER": "a,b=c", "KAFKA_SASL_PASSWORD": "wrong"})
			assert.Error(t, publish(t, c))
		})
	}
}

// TestBrokersAndClientsProveThemselves uses brokers that take clients with a certificate of their authority only.
func TestBrokersAndClientsProveThemselves(t *testing.T) {
	a := certificatetest.New(t)
	cert, key := a.Issue(t, "127.0.0.1")
	pair, err := certificate.Open(cert, key, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	settings := pair.Config()
	settings.ClientAuth, settings.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool()
	c := cluster(t, kfake.TLS(settings), kfake.EnableSASL(), kfake.Superuser("PLAIN", "orders", "secret"))
	ownCert, ownKey := a.Issue(t, "orders")
	strangersCert, strangersKey := certificatetest.New(t).Issue(t, "orders")
	for name, each := range map[string]struct {
		files map[string]string
		works bool
	}{
		"no certificate of the client":     {map[string]string{"KAFKA_TLS_CA_FILE": a.File}, false},
		"a certificate of a stranger":      {map[string]string{"KAFKA_TLS_CA_FILE": a.File, "KAFKA_TLS_CERT_FILE": strangersCert, "KAFKA_TLS_KEY_FILE": strangersKey}, false},
		"brokers that nobody vouches for":  {map[string]string{"KAFKA_TLS_CERT_FILE": ownCert, "KAFKA_TLS_KEY_FILE": ownKey}, false},
		"brokers of another authority":     {map[string]string{"KAFKA_TLS_CA_FILE": certificatetest.New(t).File, "KAFKA_TLS_CERT_FILE": ownCert, "KAFKA_TLS_KEY_FILE": ownKey}, false},
		"an authority and the certificate": {map[string]string{"KAFKA_TLS_CA_FILE": a.File, "KAFKA_TLS_CERT_FILE": ownCert, "KAFKA_TLS_KEY_FILE": ownKey}, true},
	} {
		t.Run(name, func(t *testing.T) {
			config := map[string]string{"KAFKA_TLS": "true", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USER": "orders", "KAFKA_SASL_PASSWORD": "secret"}
			maps.Copy(config, each.files)
			secure(t, config)
			err := publish(t, c)
			assert.Equal(t, each.works, err == nil, "%v", err)
		})
	}
}

func TestSecurityThatIsWrongIsSaid(t *testing.T) {
	for name, each := range map[string]struct {
		config map[string]string
		says   string
	}{
		"TLS that is no bool":         {map[string]string{"KAFKA_TLS": "on"}, `KAFKA_TLS is "on": give true or false`},
		"an unknown mechanism":        {map[string]string{"KAFKA_SASL_MECHANISM": "GSSAPI"}, `KAFKA_SASL_MECHANISM is "GSSAPI"`},
		"a password in the clear":     {map[string]string{"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USER": "u", "KAFKA_SASL_PASSWORD": "p"}, "unencrypted"},
		"no user":                     {map[string]string{"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_PASSWORD": "p"}, "give KAFKA_SASL_USER and KAFKA_SASL_PASSWORD too"},
		"no password":                 {map[string]string{"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USER": "u"}, "give KAFKA_SASL_USER and KAFKA_SASL_PASSWORD too"},
		"files without TLS":           {map[string]string{"KAFKA_TLS_CA_FILE": certificatetest.New(t).File}, "without KAFKA_TLS"},
		"half a certificate":          {map[string]string{"KAFKA_TLS": "true", "KAFKA_TLS_CERT_FILE": "x"}, "KAFKA_TLS_KEY_FILE"},
		"an authority that is gone":   {map[string]string{"KAFKA_TLS": "true", "KAFKA_TLS_CA_FILE": "/missing"}, "KAFKA_TLS_CA_FILE: open /missing"},
		"two passwords":               {map[string]string{"KAFKA_SASL_PASSWORD": "p", "KAFKA_SASL_PASSWORD_FILE": "f"}, "both set"},
		"a user of no mechanism":      {map[string]string{"KAFKA_SASL_USER": "u"}, "without KAFKA_SASL_MECHANISM"},
		"a password that needs rules": {map[string]string{"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USER": "u", "KAFKA_SASL_PASSWORD": "pä"}, "printable ASCII"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Secure(each.config)
			assert.ErrorContains(t, err, each.says)
		})
	}
}
