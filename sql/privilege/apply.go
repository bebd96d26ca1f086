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
// changed password counts from the next connection on. The tables exist: run it after migrate.Up. On each server of several, the
// accounts are those of the users with tables there; of a user who no longer has any, the privileges are revoked.
//
// The servers' logins need CREATE USER, the users' privileges with GRANT OPTION, and SELECT on the schema mysql. If some users
// are given, it is for those only.
func Apply(ctx context.Context, admin schema.Server, logins *Logins, some ...string) (changes []Change, err error) {
	if logins == nil {
		return nil, fmt.Errorf("there are no passwords for the database users: set %s or %s", SecretVariable, FolderVariable)
	}
	if len(some) == 0 {
		some = Names()
	}
	parts, err := admin.Parts()
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		elsewhere, err := others(part, parts)
		if err != nil {
			return changes, err
		}
		done, err := applyTo(ctx, admin, part, elsewhere, logins, some)
		changes = append(changes, done...)
		if err != nil {
			return changes, err
		}
	}
	return changes, nil
}

// others lists the schemas that a part's server has by another DSN, so that they are not the part's to change.
func others(part schema.Part, parts []schema.Part) (names []string, err error) {
	here, err := part.Address()
	if err != nil {
		return nil, err
	}
	for _, other := range parts {
		there, err := other.Address()
		if err != nil {
			return nil, err
		}
		if there == here && other.DSN != part.DSN {
			names = append(names, other.Schemas...)
		}
	}
	return names, nil
}

func applyTo(ctx context.Context, admin schema.Server, part schema.Part, elsewhere []string, logins *Logins, some []string) (changes []Change, err error) {
	db, err := part.Open("", 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("connect to the database server of %s: %w", part.From(), err)
	}
	defer func() { _ = conn.Close() }()
	unlock, err := migrate.Lock(ctx, conn, part.Prefix+"orders.users")
	if err != nil {
		return nil, err
	}
	defer unlock()
	a := applying{conn: conn, prefix: part.Prefix, from: part.From(), elsewhere: elsewhere}
	for _, user := range some {
		tables, err := Of(user)
		if err != nil {
			return changes, err
		}
		tables = tables.in(part.Schemas)
		login, password, err := logins.account(admin, user, tables.schema(part.Schemas))
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
func Drop(ctx context.Context, admin schema.Server) error {
	parts, err := admin.Parts()
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := dropFrom(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

func dropFrom(ctx context.Context, part schema.Part) (err error) {
	db, err := part.Open("", 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	accounts := Names()
	for n, user := range accounts {
		accounts[n] = account(Login(part.Prefix, user))
	}
	if _, err := db.ExecContext(ctx, "DROP USER IF EXISTS "+strings.Join(accounts, ", ")); err != nil {
		return fmt.Errorf("drop the database users: %w", err)
	}
	return nil
}

// account is an account in SQL. Users log in from any host: the network says who may connect.
func account(login string) string { return schema.Quoted(login) + "@'%'" }

type applying struct {
	conn      *sql.Conn
	prefix    string
	from      string   // the variable of the server
	elsewhere []string // schemas of this server that another DSN is for
}

func (a applying) apply(ctx context.Context, login, password string, wanted Tables) (change Change, err error) {
	who := account(login)
	if len(wanted) == 0 {
		return a.retire(ctx, who)
	}
	// The number of warnings tells whether the account existed. No privileges on the schema mysql are needed for that.
	if _, err := a.conn.ExecContext(ctx, "CREATE USER IF NOT EXISTS "+who+" IDENTIFIED BY ?", password); err != nil {
		return change, fmt.Errorf("make the account: %w: the login of %s needs CREATE USER", err, a.from)
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
	if change.Revoked, err = a.revoke(ctx, who, append(others, a.extra(has, wanted)...)); err != nil {
		return change, err
	}
	if len(change.Granted) > 0 {
		has, _, err := a.granted(ctx, who)
		if err != nil {
			return change, err
		}
		if len(has) == 0 {
			return change, fmt.Errorf("its privileges cannot be read, so that the ones no longer needed would stay: the login of %s needs SELECT ON mysql.*", a.from)
		}
	}
	return change, nil
}

// retire revokes the privileges on our tables of an account that has none here any more: a schema has moved to another server.
// What else an account of that name has is not ours, and neither is the account.
func (a applying) retire(ctx context.Context, who string) (change Change, err error) {
	has, _, err := a.granted(ctx, who)
	if err != nil {
		return change, err
	}
	change.Revoked, err = a.revoke(ctx, who, a.extra(has, nil))
	return change, err
}

// extra returns the privileges on our tables that an account has and does not need, but those on schemas elsewhere.
func (a applying) extra(has map[Place]Verbs, wanted Tables) (all []foreign) {
	for p, verbs := range has {
		if extra := verbs &^ wanted[p.Schema][p.Table]; extra != 0 && !slices.Contains(a.elsewhere, p.Schema) {
			all = append(all, foreign{extra.names(), a.table(p)})
		}
	}
	return all
}

func (a applying) revoke(ctx context.Context, who string, all []foreign) (revoked []string, err error) {
	slices.SortFunc(all, func(x, y foreign) int { return strings.Compare(x.on, y.on) })
	for _, f := range all {
		if _, err := a.conn.ExecContext(ctx, "REVOKE "+strings.Join(f.privileges, ", ")+" ON "+f.on+" FROM "+who); err != nil {
			return revoked, fmt.Errorf("revoke: %w", err)
		}
		revoked = append(revoked, strings.Join(f.privileges, ", ")+" on "+strings.ReplaceAll(f.on, "`", ""))
	}
	return revoked, nil
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
