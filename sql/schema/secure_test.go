package schema_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
)

func TestOnlyVerifiedConnectionsLeaveThisMachine(t *testing.T) {
	own := func() (*tls.Config, error) { return &tls.Config{MinVersion: tls.VersionTLS12}, nil }
	cases := map[string]struct {
		server  schema.Server
		refused bool
	}{
		"another machine":               {schema.Server{DSN: "u:secret@tcp(db:3306)/"}, true},
		"an address":                    {schema.Server{DSN: "u:secret@tcp(10.0.0.1:3306)/"}, true},
		"an address of IPv6":            {schema.Server{DSN: "u:secret@tcp([fd00::1]:3306)/"}, true},
		"all addresses":                 {schema.Server{DSN: "u:secret@tcp(0.0.0.0:3306)/"}, true},
		"a name that only looks local":  {schema.Server{DSN: "u:secret@tcp(localhost.example.com:3306)/"}, true},
		"TLS turned off":                {schema.Server{DSN: "u:secret@tcp(db:3306)/?tls=false"}, true},
		"TLS that does not verify":      {schema.Server{DSN: "u:secret@tcp(db:3306)/?tls=skip-verify"}, true},
		"TLS if the server offers it":   {schema.Server{DSN: "u:secret@tcp(db:3306)/?tls=preferred"}, true},
		"TLS with a way around it":      {schema.Server{DSN: "u:secret@tcp(db:3306)/?tls=true&allowFallbackToPlaintext=true"}, true},
		"TLS":                           {schema.Server{DSN: "u:secret@tcp(db:3306)/?tls=true"}, false},
		"TLS by an authority":           {schema.Server{DSN: "u:secret@tcp(db:3306)/", TLS: own}, false},
		"TLS, and an authority":         {schema.Server{DSN: "u:secret@tcp(db:3306)/?tls=true", TLS: own}, false},
		"an authority that is not used": {schema.Server{DSN: "u:secret@tcp(db:3306)/?tls=skip-verify", TLS: own, AllowPlaintext: true}, true},
		"a trusted network":             {schema.Server{DSN: "u:secret@tcp(db:3306)/", AllowPlaintext: true}, false},
		"a socket":                      {schema.Server{DSN: "u:secret@unix(/run/mysqld.sock)/"}, false},
		"localhost":                     {schema.Server{DSN: "u:secret@tcp(localhost:3306)/"}, false},
		"loopback":                      {schema.Server{DSN: "u:secret@tcp(127.0.0.2:3306)/?tls=skip-verify"}, false},
		"loopback of IPv6":              {schema.Server{DSN: "u:secret@tcp([::1]:3306)/"}, false},
		"the default address":           {schema.Server{DSN: "u:secret@/"}, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := c.server.Open(schema.Orders, 1)
			if !c.refused {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "MYSQL_TLS_CA_FILE", "it says what to do")
			assert.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestNoErrorAboutADSNContainsThePassword(t *testing.T) {
	for _, dsn := range []string{
		"u:hunter2/", "u:hunter2@", "hunter2", "u:hunter2@tcp(db:3306)", "u:hun/ter2@tcp(db:3306)", "u:hunter2@db:3306/", "u:hunter2@tcp(db:3306/",
		"u:hunter2@tcp(db:3306)/?tls=hunter2", "u:x@tcp(db:3306)/hunter2", "u:x@tcp(127.0.0.1)/?x=%zzhunter2", "u:ter2@tcp(x)/hun/ter2@tcp(y)",
	} {
		_, err := schema.Server{DSN: dsn}.Open(schema.Orders, 1)
		require.Error(t, err, dsn)
		assert.NotContains(t, err.Error(), "ter2")
	}
}
