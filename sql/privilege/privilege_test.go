package privilege_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/sql/migrate"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
	"example.com/orders/sql/servertest"
)

// secret returns the logins of a secret.
func secret(t *testing.T, text string) *privilege.Logins {
	t.Helper()
	logins, err := privilege.ReadLogins(map[string]string{privilege.SecretVariable: text})
	require.NoError(t, err)
	return logins
}

const longSecret = "0123456789abcdef"

// prepared returns a server with tables.
func prepared(t *testing.T) schema.Server {
	t.Helper()
	server := servertest.Empty(t)
	_, err := migrate.Up(t.Context(), server)
	require.NoError(t, err)
	return server
}

// open opens a schema as a user.
func open(t *testing.T, server schema.Server, logins *privilege.Logins, user, name string) *sql.DB {
	t.Helper()
	as, err := logins.Server(server, user)
	require.NoError(t, err)
	db, err := as.Open(name, 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// number returns the number of the server's error.
func number(t *testing.T, err error) uint16 {
	t.Helper()
	refused, ok := errors.AsType[*mysql.MySQLError](err)
	require.True(t, ok, "%v", err)
	return refused.Number
}

const accessDenied, schemaDenied, statementDenied = 1045, 1044, 1142

func TestAUserHasItsOwnTablesOnly(t *testing.T) {
	server := prepared(t)
	logins := secret(t, longSecret)
	changes, err := privilege.Apply(t.Context(), server, logins)
	require.NoError(t, err)
	assert.Len(t, changes, len(privilege.Names()))

	orders := open(t, server, logins, "create-order", schema.Orders)
	var n int
	require.NoError(t, orders.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM orders").Scan(&n))
	_, err = orders.ExecContext(t.Context(), "DELETE FROM orders")
	assert.EqualValues(t, statementDenied, number(t, err))
	_, err = orders.ExecContext(t.Context(), "DROP TABLE orders")
	assert.EqualValues(t, statementDenied, number(t, err))
	err = orders.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM inbox").Scan(&n)
	assert.EqualValues(t, statementDenied, number(t, err), "another table of its schema")
	err = open(t, server, logins, "create-order", schema.Payments).PingContext(t.Context())
	assert.EqualValues(t, schemaDenied, number(t, err), "another schema")
}

func TestApplyAgainChangesNothing(t *testing.T) {
	server := prepared(t)
	logins := secret(t, longSecret)
	_, err := privilege.Apply(t.Context(), server, logins)
	require.NoError(t, err)
	db := open(t, server, logins, privilege.Audit, schema.Orders)
	require.NoError(t, db.PingContext(t.Context()))

	changes, err := privilege.Apply(t.Context(), server, logins)

	require.NoError(t, err)
	assert.Empty(t, changes)
	assert.NoError(t, db.PingContext(t.Context()))
}

func TestApplySetsNewPasswords(t *testing.T) {
	server := prepared(t)
	former, logins := secret(t, longSecret), secret(t, longSecret+"!")
	_, err := privilege.Apply(t.Context(), server, former)
	require.NoError(t, err)

	changes, err := privilege.Apply(t.Context(), server, logins)

	require.NoError(t, err)
	assert.Empty(t, changes, "no privilege changes with the password")
	assert.NoError(t, open(t, server, logins, "notify", schema.Notifications).PingContext(t.Context()))
	err = open(t, server, former, "notify", schema.Notifications).PingContext(t.Context())
	assert.EqualValues(t, accessDenied, number(t, err))
}

func TestApplyRevokesWhatIsNotNeededAndGrantsWhatIsMissing(t *testing.T) {
	server := prepared(t)
	logins := secret(t, longSecret)
	_, err := privilege.Apply(t.Context(), server, logins)
	require.NoError(t, err)
	admin, err := server.Open("", 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, admin.Close()) }()
	who, in := "'"+privilege.Login(server.Prefix, "notify")+"'@'%'", "`"+server.Prefix
	for _, statement := range []string{
		"GRANT SELECT ON " + in + "orders`.orders TO " + who,
		"GRANT DELETE, ALTER ON " + in + "notifications`.conversations TO " + who,
		"GRANT CREATE ON " + in + "payments`.* TO " + who,
		"GRANT PROCESS ON *.* TO " + who,
		"REVOKE INSERT ON " + in + "notifications`.notifications FROM " + who,
	} {
		servertest.Exec(t, admin, statement)
	}

	changes, err := privilege.Apply(t.Context(), server, logins)

	require.NoError(t, err)
	require.Len(t, changes, 1)
	assert.Equal(t, "notify", changes[0].User)
	assert.Equal(t, []string{"INSERT on notifications.notifications"}, changes[0].Granted)
	assert.ElementsMatch(t, []string{
		"PROCESS on *.*", "CREATE on " + server.Prefix + "payments.*", "SELECT on " + server.Prefix + "orders.orders",
		"DELETE on " + server.Prefix + "notifications.conversations", "ALTER on " + server.Prefix + "notifications.conversations",
	}, changes[0].Revoked)
	changes, err = privilege.Apply(t.Context(), server, logins)
	require.NoError(t, err)
	assert.Empty(t, changes)
}

// What compose gives its user, and the README asks for, is enough: no superuser is needed.
func TestApplySaysWhatItsLoginLacks(t *testing.T) {
	server := prepared(t)
	root, err := server.Open("", 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, root.Close()) }()
	name := privilege.Login(server.Prefix, "admin")
	servertest.Exec(t, root, "CREATE USER "+name+" IDENTIFIED BY 'secret'")
	t.Cleanup(func() {
		db, err := server.Open("", 1)
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		_, err = db.ExecContext(context.Background(), "DROP USER "+name)
		require.NoError(t, err)
	})
	c, err := mysql.ParseDSN(server.DSN)
	require.NoError(t, err)
	c.User, c.Passwd = name, "secret"
	limited := schema.Server{DSN: c.FormatDSN(), Prefix: server.Prefix}

	_, err = privilege.Apply(t.Context(), limited, secret(t, longSecret))
	require.ErrorContains(t, err, "needs CREATE USER")
	servertest.Exec(t, root, "GRANT CREATE USER ON *.* TO "+name)
	for _, in := range schema.All {
		servertest.Exec(t, root, "GRANT SELECT, INSERT, UPDATE, DELETE ON `"+server.Prefix+in+"`.* TO "+name+" WITH GRANT OPTION")
	}
	_, err = privilege.Apply(t.Context(), limited, secret(t, longSecret))
	require.ErrorContains(t, err, "needs SELECT ON mysql.*")
	servertest.Exec(t, root, "GRANT SELECT ON mysql.* TO "+name)
	_, err = privilege.Apply(t.Context(), limited, secret(t, longSecret))
	require.NoError(t, err)
}

func TestLoginsAreReadFromFiles(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "notify"), []byte("mailer:one@tcp(db.example:3306)/?tls=true\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "audit"), []byte("mysql://audit:hunter2@db.example"), 0o600))
	logins, err := privilege.ReadLogins(map[string]string{privilege.FolderVariable: folder})
	require.NoError(t, err)
	admin := schema.Server{DSN: "root@tcp(127.0.0.1:3306)/", Prefix: "shop_"}

	as, err := logins.Server(admin, "notify")
	require.NoError(t, err)
	assert.Equal(t, schema.Server{DSN: "mailer:one@tcp(db.example:3306)/?tls=true", Prefix: "shop_"}, as)
	_, err = logins.Server(admin, "audit")
	require.ErrorContains(t, err, "has no DSN of the form")
	assert.NotContains(t, err.Error(), "hunter2")
	_, err = logins.Server(admin, "create-order")
	require.ErrorContains(t, err, "create-order, a file of MYSQL_USERS_DIR")
	_, err = logins.Server(admin, "nobody")
	require.ErrorContains(t, err, "sql/privilege/table.go")
}

func TestLoginsSayWhatToSet(t *testing.T) {
	none, err := privilege.ReadLogins(nil)
	require.NoError(t, err)
	assert.Nil(t, none)
	as, err := none.Server(schema.Server{DSN: "root@tcp(127.0.0.1:3306)/"}, "notify")
	require.NoError(t, err)
	assert.Equal(t, "root@tcp(127.0.0.1:3306)/", as.DSN, "without users everything logs in as MYSQL_DSN says")
	_, err = privilege.ReadLogins(map[string]string{privilege.SecretVariable: "short"})
	require.ErrorContains(t, err, "at least 16")
	assert.NotContains(t, err.Error(), "short,")
	_, err = privilege.ReadLogins(map[string]string{privilege.SecretVariable: longSecret, privilege.FolderVariable: "/run/secrets"})
	require.ErrorContains(t, err, "only one of them")
	_, err = privilege.Apply(t.Context(), schema.Server{}, nil)
	require.ErrorContains(t, err, "MYSQL_USERS_SECRET")
}

func TestLoginsKeepWhatTheDSNSays(t *testing.T) {
	as, err := secret(t, longSecret).Server(schema.Server{DSN: "root:p@ss@tcp(127.0.0.1:3306)/?tls=skip-verify&charset=utf8mb4&timeout=3s"}, "notify")
	require.NoError(t, err)
	c, err := mysql.ParseDSN(as.DSN)
	require.NoError(t, err)
	assert.Equal(t, "notify", c.User)
	assert.NotContains(t, as.DSN, "p@ss")
	assert.Contains(t, as.DSN, "tls=skip-verify")
	assert.Contains(t, as.DSN, "charset=utf8mb4")
	assert.Contains(t, as.DSN, "timeout=3s")
	_, err = secret(t, longSecret).Server(schema.Server{DSN: "root@tcp(127.0.0.1:3306)/?charset=gbk"}, "notify")
	assert.ErrorContains(t, err, "UTF-8")
}

func TestLoginFitsIntoMySQLs32Characters(t *testing.T) {
	seen := map[string]bool{}
	for _, prefix := range []string{"", "shop_1_", "t0123456789ab_", strings.Repeat("a", 32), strings.Repeat("a", 31) + "b"} {
		for _, user := range privilege.Names() {
			login := privilege.Login(prefix, user)
			assert.LessOrEqual(t, len(login), 32)
			assert.False(t, seen[login], "%s is used twice", login)
			seen[login] = true
		}
	}
	assert.Equal(t, "shop_notify", privilege.Login("shop_", "notify"))
}

// split returns a server whose stock is on another one.
func split(t *testing.T) (server, stock schema.Server) {
	t.Helper()
	server, stock = servertest.Start(t), servertest.Start(t)
	server.Own = map[string]schema.Own{schema.Inventory: {DSN: stock.DSN}}
	return server, stock
}

func TestUsersAreOnTheServersOfTheirSchemas(t *testing.T) {
	server, stock := split(t)
	_, err := migrate.Up(t.Context(), server)
	require.NoError(t, err)
	logins := secret(t, longSecret)
	_, err = privilege.Apply(t.Context(), server, logins)
	require.NoError(t, err)
	changes, err := privilege.Apply(t.Context(), server, logins)
	require.NoError(t, err)
	assert.Empty(t, changes, "all is as it should be")

	for user, tables := range map[string]map[string]string{
		"create-order":  {schema.Orders: "orders"},
		"reserve-stock": {schema.Inventory: "inventory"},
		"audit":         {schema.Orders: "orders", schema.Inventory: "inventory"},
	} {
		for name, table := range tables {
			_, err := open(t, server, logins, user, name).ExecContext(t.Context(), "SELECT COUNT(*) FROM "+table)
			require.NoError(t, err, "%s on %s", user, name)
		}
	}
	as, err := logins.Server(server, "reserve-stock")
	require.NoError(t, err)
	assert.Empty(t, as.DSN, "it logs in to no other server")
	_, err = as.Open(schema.Orders, 1)
	require.ErrorContains(t, err, "the schema orders has no server")
	for user, there := range map[string][]bool{"create-order": {true, false}, "reserve-stock": {false, true}, "audit": {true, true}} {
		for n, at := range []schema.Server{{DSN: server.DSN}, stock} {
			assert.Equal(t, there[n], hasAccount(t, at, privilege.Login(server.Prefix, user)), "%s on server %d", user, n)
		}
	}
}

func hasAccount(t *testing.T, server schema.Server, login string) bool {
	t.Helper()
	db, err := server.Open("", 1)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM mysql.user WHERE User = ?", login).Scan(&n))
	return n > 0
}

func TestASchemaThatMovesTakesThePrivilegesAlong(t *testing.T) {
	server, _ := split(t)
	before := server
	before.Own = nil
	logins := secret(t, longSecret)
	for _, at := range []schema.Server{before, server} {
		_, err := migrate.Up(t.Context(), at)
		require.NoError(t, err)
	}
	_, err := privilege.Apply(t.Context(), before, logins)
	require.NoError(t, err)

	_, err = privilege.Apply(t.Context(), server, logins)

	require.NoError(t, err)
	_, err = open(t, before, logins, "reserve-stock", schema.Inventory).ExecContext(t.Context(), "SELECT COUNT(*) FROM inventory")
	assert.Equal(t, uint16(schemaDenied), number(t, err), "what stayed there is not read any more")
	_, err = open(t, server, logins, "reserve-stock", schema.Inventory).ExecContext(t.Context(), "SELECT COUNT(*) FROM inventory")
	assert.NoError(t, err)
}

func TestOneServerByTwoLoginsHasAllPrivileges(t *testing.T) {
	server := servertest.Start(t)
	c, err := mysql.ParseDSN(server.DSN)
	require.NoError(t, err)
	c.Params = map[string]string{"wait_timeout": "600"}
	server.Own = map[string]schema.Own{schema.Inventory: {DSN: c.FormatDSN()}}
	_, err = migrate.Up(t.Context(), server)
	require.NoError(t, err)
	logins := secret(t, longSecret)
	for range 2 {
		_, err = privilege.Apply(t.Context(), server, logins)
		require.NoError(t, err)
		for name, table := range map[string]string{schema.Orders: "orders", schema.Inventory: "inventory"} {
			_, err := open(t, server, logins, "audit", name).ExecContext(t.Context(), "SELECT COUNT(*) FROM "+table)
			require.NoError(t, err, name)
		}
	}
}

func TestALoginOfAFileIsThatOfEachServer(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "audit"), []byte("auditor:one@tcp(db.example:3306)/?tls=true\n"), 0o600))
	logins, err := privilege.ReadLogins(map[string]string{privilege.FolderVariable: folder})
	require.NoError(t, err)
	as, err := logins.Server(schema.Server{
		DSN: "root@tcp(127.0.0.1:3306)/", Own: map[string]schema.Own{schema.Inventory: {DSN: "root:secret@tcp(stock.example:3306)/?tls=true&timeout=3s"}},
	}, "audit")
	require.NoError(t, err)
	assert.Equal(t, "auditor:one@tcp(db.example:3306)/?tls=true", as.DSN)
	assert.Equal(t, map[string]schema.Own{schema.Inventory: {DSN: "auditor:one@tcp(stock.example:3306)/?timeout=3s&tls=true"}}, as.Own)
}
