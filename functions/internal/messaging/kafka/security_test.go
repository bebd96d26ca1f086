package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/orders/functions/internal/testkit/porttest"
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

// certificate returns a self-signed certificate for 127.0.0.1.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "broker"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestBrokersAreReachedByTLSWhenTheyAreTrusted(t *testing.T) {
	own, trusted := certificate(t)
	c := cluster(t, kfake.TLS(&tls.Config{Certificates: []tls.Certificate{own}}), kfake.EnableSASL(), kfake.Superuser("PLAIN", "orders", "secret"))
	secure(t, map[string]string{"KAFKA_TLS": "true", "KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SASL_USER": "orders", "KAFKA_SASL_PASSWORD": "secret"})
	assert.Error(t, publish(t, c), "the certificate is not trusted")

	settings := producerConfig()
	settings.Net.TLS.Config.RootCAs = trusted
	producer, err := sarama.NewSyncProducer(c.ListenAddrs(), settings)
	require.NoError(t, err)
	_, _, err = producer.SendMessage(&sarama.ProducerMessage{Topic: "order.created", Value: sarama.StringEncoder("x")})
	assert.NoError(t, err)
	assert.NoError(t, producer.Close())
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
		"a user of no mechanism":      {map[string]string{"KAFKA_SASL_USER": "u"}, "without KAFKA_SASL_MECHANISM"},
		"a password that needs rules": {map[string]string{"KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_SASL_USER": "u", "KAFKA_SASL_PASSWORD": "pä"}, "printable ASCII"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Secure(each.config)
			assert.ErrorContains(t, err, each.says)
		})
	}
}

// TestSCRAMFollowsTheStandard uses the exchange of RFC 7677, 3.
func TestSCRAMFollowsTheStandard(t *testing.T) {
	s := &scram{mechanism: "SCRAM-SHA-256", nonce: "rOprNGfwEbeRWgbNEkqO"}
	require.NoError(t, s.Begin("user", "pencil", ""))
	first, err := s.Step("")
	require.NoError(t, err)
	assert.Equal(t, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", first)
	const challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	proof, err := s.Step(challenge)
	require.NoError(t, err)
	assert.Equal(t, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", proof)
	_, err = s.Step("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
	require.NoError(t, err)
	assert.True(t, s.Done())
}

func TestSCRAMTrustsNoServerThatDoesNotKnowThePassword(t *testing.T) {
	for name, each := range map[string]struct{ first, final, says string }{
		"another signature":  {"r=abcdef,s=c2FsdA==,i=4096", "v=AAAA", "did not prove that it knows"},
		"refused":            {"r=abcdef,s=c2FsdA==,i=4096", "e=invalid-proof", "invalid-proof"},
		"too few iterations": {"r=abcdef,s=c2FsdA==,i=1", "", "iterations"},
		"another nonce":      {"r=xyz,s=c2FsdA==,i=4096", "", "nonce"},
		"the same nonce":     {"r=abc,s=c2FsdA==,i=4096", "", "nonce"},
		"no salt":            {"r=abcdef,i=4096", "", "salt"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scram{mechanism: "SCRAM-SHA-512", nonce: "abc"}
			require.NoError(t, s.Begin("u", "p", ""))
			_, err := s.Step("")
			require.NoError(t, err)
			_, err = s.Step(each.first)
			if err == nil {
				_, err = s.Step(each.final)
			}
			assert.ErrorContains(t, err, each.says)
			assert.False(t, s.Done())
		})
	}
}
