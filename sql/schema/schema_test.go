package schema_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
)

const dsn = "root:secret@tcp(127.0.0.1:3306)/"

func TestConfigNamesTheSchemaBehindThePrefix(t *testing.T) {
	cases := map[string]struct {
		server     schema.Server
		name, want string
	}{
		"no prefix":       {schema.Server{DSN: dsn}, schema.Orders, "orders"},
		"a prefix":        {schema.Server{DSN: dsn, Prefix: "shop_1_"}, schema.Inventory, "shop_1_inventory"},
		"longest prefix":  {schema.Server{DSN: dsn, Prefix: strings.Repeat("a", 32)}, schema.Orders, strings.Repeat("a", 32) + "orders"},
		"no schema":       {schema.Server{DSN: dsn, Prefix: "shop_"}, "", ""},
		"over the socket": {schema.Server{DSN: "root@unix(/run/mysqld.sock)/"}, schema.Orders, "orders"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			config, err := c.server.Config(c.name)
			require.NoError(t, err)
			assert.Equal(t, c.want, config.DBName)
		})
	}
}

func TestConfigErrorsSayWhatToSet(t *testing.T) {
	cases := map[string]struct {
		server schema.Server
		says   string
	}{
		"not a DSN":             {schema.Server{DSN: "127.0.0.1:3306"}, "MYSQL_DSN (like user:password@tcp(127.0.0.1:3306)/)"},
		"a URL":                 {schema.Server{DSN: "mysql://root@127.0.0.1:3306/"}, "MYSQL_DSN"},
		"a database in the DSN": {schema.Server{DSN: dsn + "shop"}, "set MYSQL_SCHEMA_PREFIX"},
		"capitals":              {schema.Server{DSN: dsn, Prefix: "Shop_"}, "MYSQL_SCHEMA_PREFIX"},
		"a quote":               {schema.Server{DSN: dsn, Prefix: "a`; DROP DATABASE orders"}, "MYSQL_SCHEMA_PREFIX"},
		"a line end":            {schema.Server{DSN: dsn, Prefix: "shop_\n"}, "MYSQL_SCHEMA_PREFIX"},
		"too long":              {schema.Server{DSN: dsn, Prefix: strings.Repeat("a", 33)}, "at most 32"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := c.server.Config(schema.Orders)
			assert.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), "secret")
			_, err = c.server.Open(schema.Orders, 1)
			assert.ErrorContains(t, err, c.says)
		})
	}
}

func TestConfigKeepsTheCallersTimeouts(t *testing.T) {
	config, err := schema.Server{DSN: dsn + "?timeout=1s&readTimeout=2s&writeTimeout=3s"}.Config("")
	require.NoError(t, err)
	assert.Equal(t, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, []time.Duration{config.Timeout, config.ReadTimeout, config.WriteTimeout})

	config, err = schema.Server{DSN: dsn}.Config("")
	require.NoError(t, err)
	assert.Equal(t, []time.Duration{5 * time.Second, 30 * time.Second, 30 * time.Second}, []time.Duration{config.Timeout, config.ReadTimeout, config.WriteTimeout})
}
