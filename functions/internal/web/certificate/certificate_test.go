package certificate_test

import (
	"crypto/rand"
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/testkit/certificatetest"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/functions/internal/web/certificate"
)

func TestMistakesInFilesAreSaidAtOnce(t *testing.T) {
	a := certificatetest.New(t)
	cert, key := a.Issue(t, "orders")
	_, another := a.Issue(t, "orders")
	for name, c := range map[string]struct {
		config map[string]string
		says   string
	}{
		"an authority that is missing": {map[string]string{"T_CA_FILE": "/missing"}, "T_CA_FILE: open /missing"},
		"an authority that is a key":   {map[string]string{"T_CA_FILE": key}, "T_CA_FILE: " + key + " has no certificate"},
		"no key":                       {map[string]string{"T_CERT_FILE": cert}, "only one of T_CERT_FILE and T_KEY_FILE"},
		"no certificate":               {map[string]string{"T_KEY_FILE": key}, "only one of T_CERT_FILE and T_KEY_FILE"},
		"the key of another":           {map[string]string{"T_CERT_FILE": cert, "T_KEY_FILE": another}, "T_CERT_FILE and T_KEY_FILE: tls: private key does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := certificate.NewClient(c.config, "T")
			assert.ErrorContains(t, err, c.says)
		})
	}
	c, err := certificate.NewClient(nil, "T")
	require.NoError(t, err)
	assert.False(t, c.Given())
}

// handshake returns what the server and the client see of each other.
func handshake(t *testing.T, server, client *tls.Config) (seen tls.ConnectionState, err error) {
	t.Helper()
	listener, err := tls.Listen("tcp", porttest.Address(t), server)
	require.NoError(t, err)
	defer func() { assert.NoError(t, listener.Close()) }()
	served := make(chan struct{})
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, _ = io.WriteString(conn, "hello") // after the handshake, in which it may refuse the client, who sees that
			_ = conn.Close()
		}
		close(served)
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err != nil {
		<-served
		return seen, err
	}
	defer func() { _ = conn.Close() }() // the server has closed it
	_, err = io.ReadAll(conn)
	<-served
	return conn.ConnectionState(), err
}

func TestClientAndServerProveThemselves(t *testing.T) {
	a := certificatetest.New(t)
	cert, key := a.Issue(t, "127.0.0.1")
	pair, err := certificate.Open(cert, key, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	server := pair.Config()
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool()

	ownCert, ownKey := a.Issue(t, "orders")
	proving, err := certificate.NewClient(map[string]string{"T_CA_FILE": a.File, "T_CERT_FILE": ownCert, "T_KEY_FILE": ownKey}, "T")
	require.NoError(t, err)
	settings, err := proving.Config()
	require.NoError(t, err)
	seen, err := handshake(t, server, settings)
	require.NoError(t, err)
	assert.Equal(t, []string{"127.0.0.1"}, certificate.Names(seen.PeerCertificates[0]))

	anonymous, err := certificate.NewClient(map[string]string{"T_CA_FILE": a.File}, "T")
	require.NoError(t, err)
	settings, err = anonymous.Config()
	require.NoError(t, err)
	_, err = handshake(t, server, settings)
	assert.ErrorContains(t, err, "certificate required")

	stranger, err := certificate.NewClient(map[string]string{"T_CA_FILE": certificatetest.New(t).File, "T_CERT_FILE": ownCert, "T_KEY_FILE": ownKey}, "T")
	require.NoError(t, err)
	settings, err = stranger.Config()
	require.NoError(t, err)
	_, err = handshake(t, server, settings)
	assert.ErrorContains(t, err, "unknown authority")
}

func TestTheProcessCallsItselfAndNobodyElse(t *testing.T) {
	a := certificatetest.New(t)
	open := func() *certificate.Pair {
		cert, key := a.Issue(t, "orders.example.com")
		pair, err := certificate.Open(cert, key, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		return pair
	}
	own, other := open(), open()
	_, err := handshake(t, own.Config(), own.Self())
	require.NoError(t, err)
	_, err = handshake(t, other.Config(), own.Self())
	assert.ErrorContains(t, err, "another server answers")
}

// mounted is a folder like that of a Secret in a pod: its files are links into a folder that is replaced as one.
type mounted string

func (m mounted) put(t *testing.T, cert, key string) {
	t.Helper()
	version := m.path("..version-" + rand.Text())
	require.NoError(t, os.Mkdir(version, 0o700))
	for name, from := range map[string]string{"tls.crt": cert, "tls.key": key} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(version, name), text, 0o600))
		if _, err := os.Lstat(m.path(name)); err != nil {
			require.NoError(t, os.Symlink(filepath.Join("..data", name), m.path(name)))
		}
	}
	require.NoError(t, os.Symlink(filepath.Base(version), m.path("..fresh")))
	require.NoError(t, os.Rename(m.path("..fresh"), m.path("..data")))
}

func (m mounted) path(name string) string { return filepath.Join(string(m), name) }

func TestReplacedFilesAreServedAndBrokenOnesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := certificatetest.New(t)
		folder := mounted(t.TempDir())
		put := func(name string) { cert, key := a.Issue(t, name); folder.put(t, cert, key) }
		put("first.example")
		var log functiontest.Log
		pair, err := certificate.Open(folder.path("tls.crt"), folder.path("tls.key"), slog.New(slog.NewTextHandler(&log, nil)))
		require.NoError(t, err)
		served := func() string {
			_, err := pair.Config().GetCertificate(nil)
			require.NoError(t, err)
			return pair.Names()[0]
		}
		put("second.example")
		assert.Equal(t, "first.example", served(), "within a second of the last check")
		time.Sleep(time.Second)
		assert.Equal(t, "second.example", served())
		assert.Contains(t, log.String(), "certificate replaced")

		good, _ := a.Issue(t, "third.example")
		_, anothers := a.Issue(t, "third.example")
		expired, itsKey := a.IssueUntil(t, time.Now().Add(-time.Minute), "third.example")
		for why, files := range map[string][2]string{
			"does not match": {good, anothers},
			"renew it":       {expired, itsKey},
			"PEM":            {folder.path("tls.crt"), good},
		} {
			folder.put(t, files[0], files[1])
			for range 3 {
				time.Sleep(time.Second)
				assert.Equal(t, "second.example", served(), why)
			}
			assert.Equal(t, 1, strings.Count(log.String(), why), "%s is logged once, not at each check:\n%s", why, log.String())
		}
		assert.NotContains(t, log.String(), "PRIVATE KEY")

		require.NoError(t, os.Remove(folder.path("..data")))
		time.Sleep(time.Second)
		assert.Equal(t, "second.example", served(), "the files are gone")
		assert.Contains(t, log.String(), "no such file")

		put("fourth.example")
		time.Sleep(time.Second)
		assert.Equal(t, "fourth.example", served())
	})
}

func TestAServerStartsWithAGoodPairOnly(t *testing.T) {
	a := certificatetest.New(t)
	cert, key := a.Issue(t, "orders")
	_, another := a.Issue(t, "orders")
	expired, itsKey := a.IssueUntil(t, time.Now().Add(-time.Minute), "orders")
	for says, files := range map[string][2]string{
		"no such file": {"/missing", key}, "does not match": {cert, another}, "renew it": {expired, itsKey},
	} {
		_, err := certificate.Open(files[0], files[1], slog.New(slog.DiscardHandler))
		assert.ErrorContains(t, err, says)
	}
}
