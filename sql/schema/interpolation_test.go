package schema_test

import (
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

func TestOpenRefusesWhatInterpolationIsUnsafeWith(t *testing.T) {
	cases := map[string]string{
		"gbk":                             "charset=gbk",
		"one of several":                  "charset=utf8mb4,gbk",
		"the last of two":                 "charset=utf8mb4&charset=sjis",
		"among others":                    "parseTime=true&charset=big5&loc=UTC",
		"of one byte, which cuts letters": "charset=latin1",
		"a statement":                     "charset=utf8mb4;SET NAMES gbk",
		"a collation":                     "collation=gbk_chinese_ci",
		"a collation beside a charset":    "charset=utf8mb4&collation=big5_bin",
		"a collation with more in it":     "charset=utf8mb4&collation=utf8mb4_bin, character_set_client=gbk",
		"a variable":                      "character_set_client=gbk",
		"a variable in capitals":          "CHARACTER_SET_CLIENT=gbk",
		"the collation of the connection": "collation_connection=gbk_chinese_ci",
		"the mode under another name":     "@@session.sql_mode=NO_BACKSLASH_ESCAPES",
		"the mode of the session":         "session sql_mode=NO_BACKSLASH_ESCAPES",
		"names after a name":              "names gbk, autocommit=1",
		"names after a value":             "autocommit=1%2C+NAMES+gbk",
		"a quote within a value":          "init_connect=%27a%27%2C+NAMES+gbk%2C+@b=%27c%27",
	}
	for name, parameters := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := schema.Server{DSN: dsn + "?" + parameters}.Open(schema.Orders, 1)
			require.ErrorContains(t, err, "leave")
			assert.ErrorContains(t, err, "MYSQL_DSN")
			assert.NotContains(t, err.Error(), "secret")
		})
	}
	for _, parameters := range []string{
		"charset=utf8mb4,utf8", "charset=UTF8MB4&collation=utf8mb4_bin", "collation=utf8mb4_0900_ai_ci", "tx_isolation='READ-COMMITTED'",
		"max_execution_time=1000", "sql_mode=%27NO_BACKSLASH_ESCAPES%27",
	} {
		_, err := schema.Server{DSN: dsn + "?" + parameters}.Open(schema.Orders, 1)
		assert.NoError(t, err, parameters)
	}
}

// breakouts are values that end their quotes if the server reads GBK, or takes a backslash literally. The first is a valid
// mail address by RFC 5322.
var breakouts = []string{"世'||1#@example.com", "\xbf' OR 1=1 -- @example.com", "\xbf\x5c' OR 1=1 -- ", `\' OR 1=1 -- `, "' OR '1'='1"}

// TestValueStaysAValueWhateverTheServerPrefers connects to servers whose settings would make the session read values
// differently.
func TestValueStaysAValueWhateverTheServerPrefers(t *testing.T) {
	server := servertest.Empty(t)
	db := servertest.Table(t, server, "customers (email VARBINARY(254) NOT NULL)")
	servertest.Exec(t, db, "INSERT INTO customers (email) VALUES ('alice@example.com')")
	// A server runs no init_connect for root.
	config, err := mysql.ParseDSN(server.DSN)
	require.NoError(t, err)
	config.User, config.Passwd = server.Prefix+"user", "secret"
	servertest.Exec(t, db, "CREATE USER '"+config.User+"'@'%' IDENTIFIED BY 'secret'")
	t.Cleanup(func() {
		_, err := db.Exec("DROP USER '" + config.User + "'@'%'")
		require.NoError(t, err)
	})
	servertest.Exec(t, db, fmt.Sprintf("GRANT ALL ON %s%s.* TO '%s'@'%%'", server.Prefix, schema.Orders, config.User))

	for _, preferred := range []string{"SET NAMES gbk", "SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')", "SET character_set_client = gbk, sql_mode = ANSI"} {
		t.Run(preferred, func(t *testing.T) {
			var before string
			require.NoError(t, db.QueryRowContext(t.Context(), "SELECT @@GLOBAL.init_connect").Scan(&before))
			servertest.Exec(t, db, "SET GLOBAL init_connect = ?", preferred)
			t.Cleanup(func() {
				_, err := db.Exec("SET GLOBAL init_connect = ?", before)
				require.NoError(t, err)
			})
			customers, err := schema.Server{DSN: config.FormatDSN(), Prefix: server.Prefix}.Open(schema.Orders, 1)
			require.NoError(t, err)
			defer func() { require.NoError(t, customers.Close()) }()

			for _, value := range breakouts {
				var found int
				require.NoError(t, customers.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM customers WHERE email = ?", value).Scan(&found), "%q", value)
				assert.Zero(t, found, "%q is a condition and no value", value)
				servertest.Exec(t, customers, "INSERT INTO customers (email) VALUES (?)", []byte(value))
				var stored string
				require.NoError(t, customers.QueryRowContext(t.Context(), "SELECT email FROM customers WHERE email = ?", []byte(value)).Scan(&stored))
				assert.Equal(t, value, stored)
				assert.EqualValues(t, 1, servertest.Exec(t, customers, "DELETE FROM customers WHERE email = ?", []byte(value)))
			}
			var alive int
			require.NoError(t, customers.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM customers").Scan(&alive))
			assert.Equal(t, 1, alive)
		})
	}
}
