// Package privileges_test compares the privileges of the database users with the statements that their functions and tools
// can run, on a real server.
package privileges_test

import (
	"database/sql"
	"errors"
	"fmt"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/functions"
	"example.com/orders/functions/internal/testkit/mysqltest"
	"example.com/orders/knative"
	"example.com/orders/sql/privilege"
	"example.com/orders/sql/schema"
)

// statement is a statement in a schema.
type statement struct{ schema, text string }

// lifecycle are the methods of a function that its host calls.
var lifecycle = []string{"Start", "Ready", "Alive", "Handle", "Submit", "Stop"}

// tools are the declarations from which each tool is reached.
func tools(t *testing.T, p *program) map[string][]types.Object {
	t.Helper()
	const operate, harness = "functions/internal/operate/", "functions/harness"
	var commands []types.Object
	for _, name := range []string{
		"outboxList", "outboxShow", "outboxRequeue", "outboxDiscard", "outboxPurge", "paymentsList", "paymentsShow", "paymentsSettle", "paymentsRetry",
		"lettersList", "lettersGroups", "lettersShow", "lettersReplay", "lettersPark", "lettersDiscard", "lettersCorrect",
	} {
		commands = append(commands, p.object(t, harness, name))
	}
	console := append(p.methods(t, operate+"console", "Console", "Register", "OpenLetters"), p.object(t, operate+"console", "New"),
		p.object(t, operate+"gauge", "Register"), p.object(t, harness, "recordLoss"))
	return map[string][]types.Object{
		privilege.Audit:    {p.object(t, operate+"audit", "Run")},
		privilege.Console:  console,
		privilege.Operator: commands,
	}
}

// needed lists the statements of every user.
func needed(t *testing.T) map[string][]statement {
	t.Helper()
	p, err := load()
	require.NoError(t, err)
	wiring, err := knative.LoadOverlay(knative.Manifests(), "payment")
	require.NoError(t, err)
	all := map[string][]statement{}
	add := func(user string, outboxes []string, roots []types.Object, without ...types.Object) {
		for text, in := range p.statements(roots, without...) {
			schemas := []string{in}
			if in == "messaging" || in == "transaction" { // of each service
				schemas = outboxes
			}
			for _, name := range schemas {
				all[user] = append(all[user], statement{name, text})
			}
		}
		require.NotEmpty(t, all[user], "%s runs no statement", user)
		slices.SortFunc(all[user], func(a, b statement) int { return strings.Compare(a.schema+a.text, b.schema+b.text) })
		all[user] = slices.Compact(all[user])
	}
	for _, service := range wiring.Services {
		of := service.Outbox()
		if of == "" {
			of = functions.Catalogue[service.Function]().Shared().Schema
		}
		var outboxes []string
		if slices.Contains(schema.WithOutbox, of) {
			outboxes = []string{of}
		}
		folder := "functions/" + service.Function
		add(service.Name, outboxes, append(p.methods(t, folder, "Function", lifecycle...), p.object(t, folder, "New")))
	}
	settles := p.methods(t, "functions/internal/operate/settle", "Operator", "Settle")
	for user, roots := range tools(t, p) {
		add(user, schema.WithOutbox, roots, settles...)
		add(user, []string{schema.Payments}, roots) // only settling a payment stores an event
	}
	return all
}

func TestEveryFunctionAndToolHasAUser(t *testing.T) {
	assert.Equal(t, slices.Sorted(maps.Keys(needed(t))), privilege.Names())
}

// denial matches the server's answer to a statement that needs another privilege.
var denial = regexp.MustCompile(`^(\w+)(.*) command denied to user .* for (?:column '\w+' in )?table .*?(\w+)['` + "`]*$")

// denied returns the missing privilege, false if the statement is allowed.
func denied(t *testing.T, db *sql.DB, text string) (table, verb string, missing bool) {
	t.Helper()
	// Preparing checks the privileges of the whole statement and runs nothing.
	prepared, err := db.PrepareContext(t.Context(), text)
	if err == nil {
		defer func() { require.NoError(t, prepared.Close()) }()
		return "", "", false
	}
	refused, ok := errors.AsType[*mysql.MySQLError](err)
	const table1142, column1143 = 1142, 1143
	require.True(t, ok && (refused.Number == table1142 || refused.Number == column1143), "%v: %s", err, text)
	parts := denial.FindStringSubmatch(refused.Message)
	require.NotNil(t, parts, "an unknown denial: %s", refused.Message)
	if strings.Contains(parts[2], "locking") {
		return parts[3], "UPDATE", true
	}
	return parts[3], parts[1], true
}

// onMySQL returns whether MySQL asks for a privilege that MariaDB does not ask for: UPDATE on a table whose rows a statement
// locks, and SELECT on one whose rows an INSERT from other rows may find.
func onMySQL(text, table, verb string) bool {
	switch verb {
	case "UPDATE":
		return strings.Contains(text, "FOR UPDATE") && regexp.MustCompile(`FROM `+table+`\b`).MatchString(text)
	case "SELECT":
		return strings.Contains(text, "INSERT INTO "+table+" ") && strings.Contains(text, "UPDATE "+table+".")
	default:
		return false
	}
}

// TestUsersHaveWhatTheirStatementsNeedAndNoMore prepares all statements of each user, as this user, with the privileges of
// the table, and without each single one of them.
func TestUsersHaveWhatTheirStatementsNeedAndNoMore(t *testing.T) {
	server := mysqltest.Server(t)
	logins := privilege.RandomLogins()
	_, err := privilege.Apply(t.Context(), server, logins)
	require.NoError(t, err)
	admin := mysqltest.Pool(t, server, "")
	var version string
	require.NoError(t, admin.QueryRowContext(t.Context(), "SELECT VERSION()").Scan(&version))
	for user, statements := range needed(t) {
		t.Run(user, func(t *testing.T) {
			as, err := logins.Server(server, user)
			require.NoError(t, err)
			pools := map[string]*sql.DB{}
			change := func(how, verb, in, table string) {
				preposition := map[string]string{"GRANT": "TO", "REVOKE": "FROM"}[how]
				_, err := admin.ExecContext(t.Context(), fmt.Sprintf("%s %s ON `%s`.`%s` %s '%s'@'%%'", how, verb, server.Prefix+in, table, preposition, privilege.Login(server.Prefix, user)))
				require.NoError(t, err)
			}
			for _, s := range statements {
				if pools[s.schema] == nil {
					pools[s.schema] = mysqltest.Pool(t, as, s.schema)
				}
				for table, verb, missing := denied(t, pools[s.schema], s.text); missing; table, verb, missing = denied(t, pools[s.schema], s.text) {
					assert.Fail(t, "missing", "%s lacks %s on %s.%s: add it to sql/privilege/table.go, for\n%s", user, verb, s.schema, table, s.text)
					change("GRANT", verb, s.schema, table)
				}
			}
			tables, err := privilege.Of(user)
			require.NoError(t, err)
			for _, p := range tables.Places() {
				for verb := range strings.SplitSeq(tables[p.Schema][p.Table].String(), ", ") {
					change("REVOKE", verb, p.Schema, p.Table)
					used := slices.ContainsFunc(statements, func(s statement) bool {
						if s.schema != p.Schema {
							return false
						}
						_, _, missing := denied(t, pools[s.schema], s.text)
						return missing || strings.Contains(version, "MariaDB") && onMySQL(s.text, p.Table, verb)
					})
					assert.True(t, used, "%s has %s on %s.%s, which none of its statements needs: remove it from sql/privilege/table.go", user, verb, p.Schema, p.Table)
					change("GRANT", verb, p.Schema, p.Table)
				}
			}
		})
	}
}

// TestEachServiceHasItsOwnLogin compares the manifests with the users: each function gets the DSN of its own user, and the
// local cluster has one for each.
func TestEachServiceHasItsOwnLogin(t *testing.T) {
	const root = "../../../../knative/"
	paths, err := filepath.Glob(root + "*/*.yaml")
	require.NoError(t, err)
	more, err := filepath.Glob(root + "components/*/*.yaml")
	require.NoError(t, err)
	found := map[string]string{}
	for _, path := range append(paths, more...) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			var m struct {
				Kind     string
				Metadata struct{ Name string }
				Spec     struct {
					Template struct {
						Spec struct {
							Containers []struct {
								Env []struct {
									Name      string
									ValueFrom struct{ SecretKeyRef struct{ Name, Key string } }
								}
							}
						}
					}
				}
				StringData map[string]string
			}
			if yaml.Unmarshal([]byte(document), &m) != nil {
				continue // a patch, which is a list
			}
			if m.Kind == "Secret" && m.Metadata.Name == "orders-mysql" {
				for _, user := range privilege.Names() {
					assert.Equal(t, user+":local@tcp(mysql.orders:3306)/", m.StringData[user], path)
				}
			}
			if m.Kind != "Service" || len(m.Spec.Template.Spec.Containers) == 0 {
				continue
			}
			for _, v := range m.Spec.Template.Spec.Containers[0].Env {
				if v.Name == "MYSQL_DSN" {
					found[m.Metadata.Name] = v.ValueFrom.SecretKeyRef.Name + " " + v.ValueFrom.SecretKeyRef.Key
				}
			}
		}
	}
	wiring, err := knative.LoadOverlay(knative.Manifests(), "payment")
	require.NoError(t, err)
	for _, service := range wiring.Services {
		assert.Equal(t, "orders-mysql "+service.Name, found[service.Name])
	}
}
