package main

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"example.com/orders/functions/internal/testkit/certificatetest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/functions/internal/web/certificate"
	"example.com/orders/sql/servertest"
)

// secureDatabase starts a server that takes connections by TLS only, and a user by the certificate orders only.
func secureDatabase(t *testing.T, a *certificatetest.Authority) (dsn string) {
	t.Helper()
	cert, key := a.Issue(t, "127.0.0.1")
	address := porttest.Address(t)
	admin := mysqltest.Pool(t, servertest.StartTLS(t, address, a.File, cert, key), "")
	servertest.Exec(t, admin, "CREATE USER 'orders'@'%' IDENTIFIED BY 'of the database' REQUIRE SUBJECT '/CN=orders'")
	servertest.Exec(t, admin, "GRANT ALL ON *.* TO 'orders'@'%'")
	return "orders:of the database@tcp(" + address + ")/"
}

// secureKafka starts a broker that takes clients with a certificate of the authority only, with CRASH_SERVERS=1 a real one.
func secureKafka(t *testing.T, a *certificatetest.Authority) (broker string) {
	t.Helper()
	cert, key := a.Issue(t, "127.0.0.1")
	if os.Getenv("CRASH_SERVERS") != "" {
		return realSecureKafka(t, a, cert, key)
	}
	pair, err := certificate.Open(cert, key, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	settings := pair.Config()
	settings.ClientAuth, settings.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool()
	var c *kfake.Cluster
	porttest.Try(t, func(port int) (err error) {
		c, err = kfake.NewCluster(kfake.TLS(settings), kfake.NumBrokers(1), kfake.Ports(port))
		return err
	})
	t.Cleanup(c.Close)
	return c.ListenAddrs()[0]
}

func realSecureKafka(t *testing.T, a *certificatetest.Authority, cert, key string) string {
	t.Helper()
	folder := t.TempDir()
	store := filepath.Join(folder, "broker.pem")
	var both []byte
	for _, path := range []string{key, cert} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		both = append(both, text...)
	}
	require.NoError(t, os.WriteFile(store, both, 0o600))
	plain, secure := porttest.Address(t), porttest.Address(t)
	_, port, err := net.SplitHostPort(plain)
	require.NoError(t, err)
	controller := porttest.Address(t)
	s := &server{script: filepath.Join("..", "..", ".ci", "services", "kafka"), environ: append(os.Environ(), "SERVICES_STATE="+folder, "KAFKA_PORT="+port, `KAFKA_PROPERTIES=
controller.quorum.voters=1@`+controller+`
listeners=PLAINTEXT://`+plain+`,SECURE://`+secure+`,CONTROLLER://`+controller+`
advertised.listeners=PLAINTEXT://`+plain+`,SECURE://`+secure+`
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SSL,CONTROLLER:PLAINTEXT
listener.name.secure.ssl.client.auth=required
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=`+store+`
listener.name.secure.ssl.truststore.type=PEM
listener.name.secure.ssl.truststore.location=`+a.File)}
	t.Cleanup(func() { s.run(t, "stop") })
	s.run(t, "start")
	return secure
}

// TestTheWholeSystemTravelsByTLS uses servers that take nothing else. Commands need no variables: they find the files by the
// run file.
func TestTheWholeSystemTravelsByTLS(t *testing.T) {
	t.Parallel()
	a := certificatetest.New(t)
	cert, key := a.Issue(t, "orders")
	dsn := filepath.Join(t.TempDir(), "dsn")
	require.NoError(t, os.WriteFile(dsn, []byte(secureDatabase(t, a)), 0o600))
	broker := secureKafka(t, a)
	for name, args := range map[string][]string{"together": nil, "apart": {"--deployed"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := []string{"MYSQL_DSN=", "KAFKA_BROKERS="}
			environ := append(append([]string{}, own...), "MYSQL_DSN_FILE="+dsn, "MYSQL_SCHEMA_PREFIX="+name+"_", "KAFKA_BROKERS="+broker, "KAFKA_TOPIC_PREFIX="+name+".",
				"MYSQL_TLS_CA_FILE="+a.File, "MYSQL_TLS_CERT_FILE="+cert, "MYSQL_TLS_KEY_FILE="+key,
				"KAFKA_TLS=true", "KAFKA_TLS_CA_FILE="+a.File, "KAFKA_TLS_CERT_FILE="+cert, "KAFKA_TLS_KEY_FILE="+key)
			s := stack{data: t.TempDir(), environ: environ}
			p := s.up(t, args...)
			p.stack.environ = own
			p.awaitStatus(t, p.place(t, "SKU-123", 2).OrderID, "CONFIRMED")
			p.audit(t)
			bench := launch(t, own, "bench", "--running", "--data", s.data, "--orders", "10", "--warmup", "1", "--skus", "1", "--lines", "1", "--floor", "--floor-for", "100ms")
			<-bench.ended
			require.NoError(t, bench.err)
			p.stop(t)
			assert.NotContains(t, p.log.String(), "of the database")
		})
	}

	t.Run("a stack of its own", func(t *testing.T) {
		t.Parallel()
		bench := launch(t, []string{
			"MYSQL_DSN=", "MYSQL_DSN_FILE=" + dsn, "KAFKA_BROKERS=" + broker, "MYSQL_TLS_CA_FILE=" + a.File, "MYSQL_TLS_CERT_FILE=" + cert, "MYSQL_TLS_KEY_FILE=" + key,
			"KAFKA_TLS=true", "KAFKA_TLS_CA_FILE=" + a.File, "KAFKA_TLS_CERT_FILE=" + cert, "KAFKA_TLS_KEY_FILE=" + key,
		}, "bench", "--orders", "10", "--warmup", "1", "--skus", "1", "--lines", "1", "--partitions", "2")
		<-bench.ended
		assert.NoError(t, bench.err, "and it removes its schemas and topics")
	})
}
