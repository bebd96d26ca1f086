package base_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/functions/internal/function/base"
	"example.com/orders/functions/internal/testkit/certificatetest"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/functions/internal/testkit/porttest"
	"example.com/orders/functions/internal/web/secret"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// ping connects as a configuration says.
func ping(t *testing.T, config map[string]string) error {
	t.Helper()
	server, _, err := base.Server(config)
	require.NoError(t, err)
	return mysqltest.Pool(t, server, "").PingContext(t.Context())
}

// TestTheDatabaseIsReachedByTLSAlone uses a server that takes nothing else, and a user who must have a certificate.
func TestTheDatabaseIsReachedByTLSAlone(t *testing.T) {
	a := certificatetest.New(t)
	cert, key := a.Issue(t, "127.0.0.1")
	address := porttest.Address(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	admin := mysqltest.Pool(t, servertest.StartTLS(t, address, a.File, cert, key), "")
	for _, statement := range []string{
		"CREATE USER 'any'@'%' IDENTIFIED BY 'of any'", "CREATE USER 'proven'@'%' IDENTIFIED BY 'of proven' REQUIRE SUBJECT '/CN=orders'",
	} {
		servertest.Exec(t, admin, statement)
	}
	dsn := func(user string) string { return fmt.Sprintf("%s:of %[1]s@tcp(%s)/", user, address) }
	ownCert, ownKey := a.Issue(t, "orders")
	otherCert, otherKey := a.Issue(t, "somebody")

	for name, c := range map[string]struct {
		config map[string]string
		says   string // "" if it connects
	}{
		"plaintext":                    {map[string]string{"MYSQL_DSN": dsn("any")}, "require_secure_transport|Access denied"},
		"an unknown authority":         {map[string]string{"MYSQL_DSN": dsn("any") + "?tls=true"}, "x509"},
		"another authority":            {map[string]string{"MYSQL_DSN": dsn("any"), "MYSQL_TLS_CA_FILE": certificatetest.New(t).File}, "x509"},
		"another name":                 {map[string]string{"MYSQL_DSN": fmt.Sprintf("any:of any@tcp(localhost:%s)/", port), "MYSQL_TLS_CA_FILE": a.File}, "x509"},
		"its authority":                {map[string]string{"MYSQL_DSN": dsn("any"), "MYSQL_TLS_CA_FILE": a.File}, ""},
		"its authority, said twice":    {map[string]string{"MYSQL_DSN": dsn("any") + "?tls=true", "MYSQL_TLS_CA_FILE": a.File}, ""},
		"no certificate of the client": {map[string]string{"MYSQL_DSN": dsn("proven"), "MYSQL_TLS_CA_FILE": a.File}, "Access denied"},
		"another client's certificate": {map[string]string{"MYSQL_DSN": dsn("proven"), "MYSQL_TLS_CA_FILE": a.File, "MYSQL_TLS_CERT_FILE": otherCert, "MYSQL_TLS_KEY_FILE": otherKey}, "Access denied"},
		"the client's certificate":     {map[string]string{"MYSQL_DSN": dsn("proven"), "MYSQL_TLS_CA_FILE": a.File, "MYSQL_TLS_CERT_FILE": ownCert, "MYSQL_TLS_KEY_FILE": ownKey}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := ping(t, c.config)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Regexp(t, c.says, err.Error())
			assert.NotContains(t, err.Error(), "of any")
		})
	}
}

func TestARotatedPasswordIsTakenFromItsFile(t *testing.T) {
	server := servertest.Start(t)
	admin := mysqltest.Pool(t, server, "")
	servertest.Exec(t, admin, "CREATE USER 'orders'@'localhost' IDENTIFIED BY 'first'")
	root, err := server.Config("")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "dsn")
	write := func(password string) {
		require.NoError(t, os.WriteFile(file, []byte("orders:"+password+"@unix("+root.Addr+")/\n"), 0o600))
	}
	write("first")
	opened, _, err := base.Server(map[string]string{"MYSQL_DSN_FILE": file})
	require.NoError(t, err)
	db := mysqltest.Pool(t, opened, "")
	require.NoError(t, db.PingContext(t.Context()))

	servertest.Exec(t, admin, "ALTER USER 'orders'@'localhost' IDENTIFIED BY 'second'")
	db.SetMaxIdleConns(0) // a new connection for each statement
	require.ErrorContains(t, db.PingContext(t.Context()), "Access denied")
	write("second")
	assert.NoError(t, db.PingContext(t.Context()))
}

func TestTheServerIsReadFromVariables(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	for name, c := range map[string]struct {
		config map[string]string
		says   string
	}{
		"two DSNs":             {map[string]string{"MYSQL_DSN": "root@/", "MYSQL_DSN_FILE": missing}, "both set"},
		"a DSN that is gone":   {map[string]string{"MYSQL_DSN_FILE": missing}, "MYSQL_DSN_FILE: open " + missing},
		"half a certificate":   {map[string]string{"MYSQL_DSN": "root@/", "MYSQL_TLS_CERT_FILE": missing}, "MYSQL_TLS_KEY_FILE"},
		"an authority is gone": {map[string]string{"MYSQL_DSN": "root@/", "MYSQL_TLS_CA_FILE": missing}, "MYSQL_TLS_CA_FILE: open " + missing},
		"two DSNs of a schema": {map[string]string{"MYSQL_DSN": "root@/", "MYSQL_DSN_ORDERS": "root@/", "MYSQL_DSN_ORDERS_FILE": missing}, "MYSQL_DSN_ORDERS and MYSQL_DSN_ORDERS_FILE are both set"},
		"no DSN at all":        {map[string]string{}, "MYSQL_DSN is not set"},
		"a word":               {map[string]string{"MYSQL_DSN": "root@/", "MYSQL_ALLOW_PLAINTEXT": "maybe"}, `MYSQL_ALLOW_PLAINTEXT is "maybe": give true or false`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := base.Server(c.config)
			assert.ErrorContains(t, err, c.says)
		})
	}
	allowed, _, err := base.Server(map[string]string{"MYSQL_DSN": "root@tcp(db:3306)/", "MYSQL_ALLOW_PLAINTEXT": "true"})
	require.NoError(t, err)
	_, err = allowed.Config(schema.Orders)
	assert.NoError(t, err)
}

func TestASchemaHasItsServerFromItsVariable(t *testing.T) {
	config := map[string]string{"MYSQL_DSN": "root@tcp(127.0.0.1:1)/", "MYSQL_SCHEMA_PREFIX": "shop_", "MYSQL_DSN_NOTIFICATIONS": ""}
	file := filepath.Join(t.TempDir(), "dsn")
	require.NoError(t, os.WriteFile(file, []byte("root@tcp(127.0.0.1:2)/\n"), 0o600))
	config["MYSQL_DSN_INVENTORY_FILE"] = file
	config["MYSQL_DSN_OPERATIONS"] = "root@tcp(127.0.0.1:3)/"

	server, _, err := base.Server(config)

	require.NoError(t, err)
	for name, port := range map[string]string{
		schema.Orders: "1", schema.Inventory: "2", schema.Payments: "1", schema.Notifications: "1", schema.Operations: "3",
	} {
		c, err := server.Config(name)
		require.NoError(t, err)
		assert.Equal(t, "127.0.0.1:"+port, c.Addr, name)
		assert.Equal(t, "shop_"+name, c.DBName)
	}
	one, err := server.Of(schema.Inventory)
	require.NoError(t, err)
	require.NotNil(t, one.Renew, "a new connection reads the file again")
	for _, variable := range schema.Variables() {
		assert.Contains(t, secret.Variables, variable)
	}
}

func TestAFunctionIsNotStartedWithoutAServerForItsSchema(t *testing.T) {
	only := map[string]string{"MYSQL_DSN_ORDERS": "root@tcp(127.0.0.1:1)/"}
	orders := &base.Base{Schema: schema.Orders}
	require.NoError(t, orders.Start(t.Context(), only), "whose server is there")
	require.NoError(t, orders.Stop(t.Context()))

	err := (&base.Base{Schema: schema.Inventory}).Start(t.Context(), only)

	assert.ErrorContains(t, err, "the schema inventory has no server: set MYSQL_DSN_INVENTORY, or MYSQL_DSN for all schemas")
}
