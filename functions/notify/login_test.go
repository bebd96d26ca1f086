package notify

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/testkit/functiontest"
	"example.com/orders/functions/internal/testkit/mysqltest"
)

// certified makes a certificate for an address, and the roots that trust it.
func certified(t *testing.T, address string) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(address)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// mailerTo starts the relay, which requires TLS and a login, and returns a mailer that trusts its certificate.
func mailerTo(t *testing.T, r *relay, config map[string]string) smtpMailer {
	t.Helper()
	var roots *x509.CertPool
	r.tls, roots = certified(t, "127.0.0.1")
	r.login = plain("shop", "s3cret")
	r.start(t)
	config["SMTP_ADDR"] = r.addr()
	mailer, err := newSMTP(config)
	require.NoError(t, err)
	mailer.roots = roots
	return mailer
}

var secrets = map[string]string{"SMTP_USER": "shop", "SMTP_PASSWORD": "s3cret"}

// with returns the settings of a relay with a login, plus more.
func with(more ...string) map[string]string {
	all := map[string]string{}
	for name, value := range secrets {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func TestNotifyLogsInOverTLS(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	for name, test := range map[string]struct {
		relay  *relay
		config map[string]string
	}{
		"STARTTLS":            {&relay{extensions: []string{"AUTH LOGIN PLAIN"}}, with("SMTP_TLS", "starttls")},
		"TLS from the start":  {&relay{extensions: []string{"AUTH PLAIN"}, implicit: true}, with("SMTP_TLS", "implicit")},
		"TLS without a login": {&relay{}, map[string]string{"SMTP_TLS": "starttls"}},
	} {
		t.Run(name, func(t *testing.T) {
			f.Mailer = mailerTo(t, test.relay, test.config)

			require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, confirmed(functiontest.OrderID()), 2)))

			mails := test.relay.taken()
			require.Len(t, mails, 1)
			assert.True(t, mails[0].secure)
			if test.config["SMTP_USER"] != "" {
				assert.Equal(t, "PLAIN "+test.relay.login, mails[0].login)
			}
		})
	}
}

// TestNotifyNeverSendsThePasswordToAnotherRelay sends to relays that differ from the configuration: none receives a mail,
// and no mail is lost.
func TestNotifyNeverSendsThePasswordToAnotherRelay(t *testing.T) {
	f := functiontest.Start(t, New(), nil)
	for name, test := range map[string]struct {
		relay   *relay
		config  map[string]string
		trusted bool
		says    string
	}{
		"no STARTTLS":             {&relay{extensions: []string{"AUTH PLAIN"}, stripped: true}, with("SMTP_TLS", "starttls"), true, "offers no STARTTLS"},
		"STARTTLS refused":        {&relay{extensions: []string{"AUTH PLAIN"}, replies: map[string]string{"STARTTLS": "454 not now"}}, with("SMTP_TLS", "starttls"), true, "454"},
		"an unknown certificate":  {&relay{extensions: []string{"AUTH PLAIN"}}, with("SMTP_TLS", "starttls"), false, "certificate"},
		"another, from the start": {&relay{extensions: []string{"AUTH PLAIN"}, implicit: true}, with("SMTP_TLS", "implicit"), false, "certificate"},
		"no login by PLAIN":       {&relay{extensions: []string{"AUTH XOAUTH2"}}, with("SMTP_TLS", "starttls"), true, `but "XOAUTH2"`},
		"no login at all":         {&relay{}, with("SMTP_TLS", "starttls"), true, "offers no login"},
		"a wrong password":        {&relay{extensions: []string{"AUTH PLAIN"}}, with("SMTP_TLS", "starttls", "SMTP_PASSWORD", "other"), true, "535"},
	} {
		t.Run(name, func(t *testing.T) {
			mailer := mailerTo(t, test.relay, test.config)
			if !test.trusted {
				mailer.roots = x509.NewCertPool()
			}
			f.Mailer = mailer
			e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)

			err := f.Handle(t.Context(), e)

			assertRetried(t, err)
			assert.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), test.config["SMTP_PASSWORD"])
			assert.Empty(t, test.relay.taken())
			assert.Equal(t, notification{status: "CLAIMED", attempts: 1}, rowOf(t, f.DB, e))
		})
	}
}

// TestARefusedSenderOrLoginCostsNoMail has a relay that permanently refuses what is the same for every mail.
func TestARefusedSenderOrLoginCostsNoMail(t *testing.T) {
	f, r := functiontest.Start(t, New(), nil), &relay{extensions: []string{"AUTH PLAIN"}}
	f.Mailer = mailerTo(t, r, with("SMTP_TLS", "starttls"))
	for name, replies := range map[string]map[string]string{
		"greeting": {"greeting": "554 no SMTP service here"},
		"login":    {"AUTH": "535 5.7.8 authentication failed"},
		"sender":   {"MAIL": "550 5.7.1 not yours"},
	} {
		t.Run(name, func(t *testing.T) {
			r.empty()
			r.answer(replies)
			e := functiontest.Event(t, confirmed(functiontest.OrderID()), 2)
			assertRetried(t, f.Handle(t.Context(), e))

			r.answer(nil)
			require.NoError(t, f.Handle(t.Context(), e))

			assert.Len(t, r.taken(), 1)
		})
	}
}

func TestSettingsThatCannotWorkAreRefusedAtTheStart(t *testing.T) {
	for name, test := range map[string]struct {
		config map[string]string
		says   string
	}{
		"a password in the clear": {with(), "set SMTP_TLS to starttls or implicit"},
		"TLS switched off":        {with("SMTP_TLS", "none"), "the password would travel unencrypted"},
		"an unknown TLS":          {with("SMTP_TLS", "ssl"), `SMTP_TLS is "ssl"`},
		"a user alone":            {map[string]string{"SMTP_TLS": "starttls", "SMTP_USER": "shop"}, "give both"},
		"a password alone":        {map[string]string{"SMTP_TLS": "starttls", "SMTP_PASSWORD": "s3cret"}, "give both"},
		"a sender beyond ASCII":   {map[string]string{"SMTP_FROM": "shop@müller.de"}, "in ASCII"},
	} {
		t.Run(name, func(t *testing.T) {
			test.config["SMTP_ADDR"] = "127.0.0.1:25"
			_, err := newSMTP(test.config)
			require.ErrorContains(t, err, test.says)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}
}

// TestANonASCIIAddressNeedsARelayWithSMTPUTF8 has an order that was accepted before create-order refused such
// addresses.
func TestANonASCIIAddressNeedsARelayWithSMTPUTF8(t *testing.T) {
	const address = "info@müller.de"
	old := func() events.OrderConfirmed {
		fact := confirmed(functiontest.OrderID())
		fact.CustomerEmail = address
		return fact
	}
	f, r := startMailing(t)
	err := f.Handle(t.Context(), functiontest.Event(t, old(), 2))
	functiontest.AssertPoison(t, err)
	assert.ErrorContains(t, err, "SMTPUTF8")
	assert.Empty(t, r.taken())
	assert.Zero(t, mysqltest.Count(t, f.DB, "SELECT COUNT(*) FROM conversations WHERE claim IS NOT NULL"))

	r = (&relay{extensions: []string{"SMTPUTF8"}}).start(t)
	f = functiontest.Start(t, New(), map[string]string{"SMTP_ADDR": r.addr()})
	require.NoError(t, f.Handle(t.Context(), functiontest.Event(t, old(), 2)))
	require.Len(t, r.taken(), 1)
	assert.Equal(t, "TO:<"+address+">", r.taken()[0].to)
	assert.Contains(t, r.taken()[0].from, "SMTPUTF8")
}
