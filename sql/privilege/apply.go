package privilege

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"example.com/orders/sql/migrate"
	"example.com/orders/sql/schema"
)

// Change is what Apply did to one user.
type Change struct {
	User string
	// Made is whether the account is new.
	Made bool
	// Granted and Revoked are the changed privileges, as in "SELECT, INSERT on orders.outbox".
	Granted, Revoked []string
}

// String says what was done.
func (c Change) String() string {
	var all []string
	if c.Made {
		all = append(all, "made")
	}
	for _, g := range c.Granted {
		all = append(all, "granted "+g)
	}
	for _, r := range c.Revoked {
		all = append(all, "revoked "+r)
	}
	return c.User + ": " + strings.Join(all, "; ")
}

// Apply makes the account of every user with its password and its privileges, and returns what it changed. It grants what is
// missing before it revokes what is no longer needed, and leaves the rest as it is, so that functions work meanwhile. A
// changed password counts from the next connection on. The tables exist: run it after migrate.Up.
//
// The server's login needs CREATE USER, the users' privileges with GRANT OPTION, and SELECT on the schema mysql. If some users
// are given, it is for those only.
func Apply(ctx context.Context, admin schema.Server, logins *Logins, some ...string) (changes []Change, err error) {
	if logins == nil {
		return nil, fmt.Errorf("there are no passwords for the database users: set %s or %s", SecretVariable, FolderVariable)
	}
	db, err := admin.Open("", 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the database server: %w", err)
	}
	defer func() { _ = conn.Close() }()
	unlock, err := migrate.Lock(ctx, conn, admin.Prefix+"orders.users")
	if err != nil {
		return nil, err
	}
	defer unlock()
	a := applying{conn: conn, prefix: admin.Prefix}
	if len(some) == 0 {
		some = Names()
	}
	for _, user := range some {
		tables, err := Of(user)
		if err != nil {
			return changes, err
		}
		login, password, err := logins.account(admin, user)
		if err != nil {
			return changes, err
		}
		change, err := a.apply(ctx, login, password, tables)
		if err != nil {
			return changes, fmt.Errorf("database user %s: %w", user, err)
		}
		change.User = user
		if change.Made || len(change.Granted)+len(change.Revoked) > 0 {
			changes = append(changes, change)
		}
	}
	return changes, nil
}

// Drop drops the accounts of all users under their own names, if they exist.
func Drop(ctx context.Context, admin schema.Server) (err error) {
	db, err := admin.Open("", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	accounts := Names()
	for n, user := range accounts {
		accounts[n] = account(Login(admin.Prefix, user))
	}
	if _, err := db.ExecContext(ctx, "DROP USER IF EXISTS "+strings.Join(accounts, ", ")); err != nil {
		return fmt.Errorf("drop the database users: %w", err)
	}
	return nil
}

// account is an account in SQL. Users log in from any host: the network says who may connect.
func account(login string) string { return schema.Quoted(login) + "@'%'" }

type applying struct {
	conn   *sql.Conn
	prefix string
}

func (a applying) apply(ctx context.Context, login, password string, wanted Tables) (change Change, err error) {
	who := account(login)
	// The number of warnings tells whether the account existed. No privileges on the schema mysql are needed for that.
	if _, err := a.conn.ExecContext(ctx, "CREATE USER IF NOT EXISTS "+who+" IDENTIFIED BY ?", password); err != nil {
		return change, fmt.Errorf("make the account: %w: the login of MYSQL_DSN needs CREATE USER", err)
	}
	var existed int
	if err := a.conn.QueryRowContext(ctx, "SELECT @@warning_count").Scan(&existed); err != nil {
		return change, err
	}
	change.Made = existed == 0
	if !change.Made {
		if _, err := a.conn.ExecContext(ctx, "ALTER USER "+who+" IDENTIFIED BY ?", password); err != nil {
			return change, fmt.Errorf("set the password: %w", err)
		}
	}
	has, others, err := a.granted(ctx, who)
	if err != nil {
		return change, err
	}
	for _, p := range wanted.Places() {
		if missing := wanted[p.Schema][p.Table] &^ has[p]; missing != 0 {
			if _, err := a.conn.ExecContext(ctx, "GRANT "+missing.String()+" ON "+a.table(p)+" TO "+who); err != nil {
				return change, fmt.Errorf("grant: %w", err)
			}
			change.Granted = append(change.Granted, missing.String()+" on "+p.Schema+"."+p.Table)
		}
	}
	for p, verbs := range has {
		if extra := verbs &^ wanted[p.Schema][p.Table]; extra != 0 {
			others = append(others, foreign{extra.names(), a.table(p)})
		}
	}
	slices.SortFunc(others, func(x, y foreign) int { return strings.Compare(x.on, y.on) })
	for _, f := range others {
		if _, err := a.conn.ExecContext(ctx, "REVOKE "+strings.Join(f.privileges, ", ")+" ON "+f.on+" FROM "+who); err != nil {
			return change, fmt.Errorf("revoke: %w", err)
		}
		change.Revoked = append(change.Revoked, strings.Join(f.privileges, ", ")+" on "+strings.ReplaceAll(f.on, "`", ""))
	}
	if len(change.Granted) > 0 {
		has, _, err := a.granted(ctx, who)
		if err != nil {
			return change, err
		}
		if len(has) == 0 {
			return change, errors.New("its privileges cannot be read, so that the ones no longer needed would stay: the login of MYSQL_DSN needs SELECT ON mysql.*")
		}
	}
	return change, nil
}

func (a applying) table(p Place) string { return "`" + a.prefix + p.Schema + "`.`" + p.Table + "`" }

// foreign are privileges that no user has: on the server, on a schema, on tables of others, or of another kind.
type foreign struct {
	privileges []string
	on         string // as GRANT names it
}

// granted reads the privileges of an account.
func (a applying) granted(ctx context.Context, who string) (has map[Place]Verbs, others []foreign, err error) {
	has = map[Place]Verbs{}
	rows, err := a.conn.QueryContext(ctx, `
SELECT '', '', privilege_type FROM information_schema.user_privileges WHERE grantee = ? AND privilege_type <> 'USAGE'
UNION ALL SELECT table_schema, '', privilege_type FROM information_schema.schema_privileges WHERE grantee = ?
UNION ALL SELECT table_schema, table_name, privilege_type FROM information_schema.table_privileges WHERE grantee = ?`, who, who, who)
	if err != nil {
		return nil, nil, fmt.Errorf("read its privileges: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var in, table, name string
		if err := rows.Scan(&in, &table, &name); err != nil {
			return nil, nil, err
		}
		own, ours := strings.CutPrefix(in, a.prefix)
		verb, known := verbOf(name)
		if table != "" && ours && known && slices.Contains(schema.All, own) {
			has[Place{own, table}] |= verb
			continue
		}
		on := "*.*"
		if in != "" {
			on = "`" + in + "`.*"
		}
		if table != "" {
			on = "`" + in + "`.`" + table + "`"
		}
		others = append(others, foreign{[]string{name}, on})
	}
	return has, others, rows.Err()
}
