// Package privilege has the database users of the functions and tools, each with the tables and verbs that its statements
// need and no others. Apply makes them on a server.
package privilege

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"example.com/orders/sql/schema"
)

// Verbs is a set of the privileges on a table.
type Verbs uint8

// The privileges that statements need. A statement that locks rows (FOR UPDATE) needs Update besides Select; one with ON
// DUPLICATE KEY UPDATE needs it besides Insert.
const (
	Select Verbs = 1 << iota
	Insert
	Update
	Delete
)

var verbNames = []string{"SELECT", "INSERT", "UPDATE", "DELETE"}

// names lists the set as SQL spells it.
func (v Verbs) names() (names []string) {
	for n, name := range verbNames {
		if v&(1<<n) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String is the list of a GRANT statement.
func (v Verbs) String() string { return strings.Join(v.names(), ", ") }

// verbOf returns the verb of a name, false for a privilege that no user has.
func verbOf(name string) (Verbs, bool) {
	n := slices.Index(verbNames, strings.ToUpper(name))
	if n < 0 {
		return 0, false
	}
	return 1 << n, true
}

// Tables are the verbs on each table of each schema.
type Tables map[string]map[string]Verbs

// Place is a table of a schema.
type Place struct{ Schema, Table string }

// Places lists the tables, sorted.
func (t Tables) Places() (all []Place) {
	for _, name := range slices.Sorted(maps.Keys(t)) {
		for _, table := range slices.Sorted(maps.Keys(t[name])) {
			all = append(all, Place{name, table})
		}
	}
	return all
}

// in returns the tables of some schemas.
func (t Tables) in(schemas []string) Tables {
	some := Tables{}
	for name, tables := range t {
		if slices.Contains(schemas, name) {
			some[name] = tables
		}
	}
	return some
}

// schema returns one of some schemas, with tables if there is one.
func (t Tables) schema(schemas []string) string {
	for _, name := range schemas {
		if len(t[name]) > 0 {
			return name
		}
	}
	return schemas[0]
}

// Names lists the users, sorted: the deployed name of each function, and the tools.
func Names() []string { return slices.Sorted(maps.Keys(users)) }

// Of returns the privileges of a user. Its error says what to do about a function that has none.
func Of(user string) (Tables, error) {
	tables, ok := users[user]
	if !ok {
		return nil, fmt.Errorf("the database has no user for %q: add its tables to sql/privilege/table.go", user)
	}
	return tables, nil
}

// longestLogin is the longest name of an account on MySQL, in characters.
const longestLogin = 32

// Login returns the account of a user on a server whose schema names have a prefix. A name that would be too long begins with
// a digest instead.
func Login(prefix, user string) string {
	login := prefix + user
	if len(login) <= longestLogin {
		return login
	}
	digest := sha256.Sum256([]byte(login))
	const digits = 10
	return hex.EncodeToString(digest[:digits/2]) + "_" + user[:min(len(user), longestLogin-digits-1)]
}

// every returns the tables for each schema with an outbox.
func every(tables map[string]Verbs) Tables {
	all := Tables{}
	for _, name := range schema.WithOutbox {
		all[name] = tables
	}
	return all
}

// join returns all tables of several sets.
func join(sets ...Tables) Tables {
	all := Tables{}
	for _, set := range sets {
		for name, tables := range set {
			if all[name] == nil {
				all[name] = map[string]Verbs{}
			}
			for table, verbs := range tables {
				all[name][table] |= verbs
			}
		}
	}
	return all
}
