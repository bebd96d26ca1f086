package functions_test

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions"
	"example.com/orders/knative"
	"example.com/orders/sql/schema"
)

const module = "example.com/orders/"

// imports lists the imports of each package within the module, without tests and without the module's name.
func imports(t *testing.T) map[string][]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "list", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	command.Dir = ".."
	out, err := command.Output()
	require.NoError(t, err)
	all := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		own := []string{}
		for _, imported := range fields[1:] {
			if path, ok := strings.CutPrefix(imported, module); ok {
				own = append(own, path)
			}
		}
		all[strings.TrimPrefix(fields[0], module)] = own
	}
	return all
}

// within returns whether path is in one of the trees.
func within(path string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return path == tree || strings.HasPrefix(path, tree+"/") })
}

func TestImportsKeepToTheLayout(t *testing.T) {
	all := imports(t)
	for folder := range functions.Catalogue {
		require.Contains(t, all, "functions/"+folder)
	}
	for importer, imported := range all {
		allowed := []string{"events", "sql", "functions/internal"} // for a function
		switch name := strings.TrimPrefix(importer, "functions/"); {
		case importer == "events":
			allowed = []string{"events/strictjson"}
		case within(importer, "events/avro"):
			allowed = []string{"events"}
		case within(importer, "events"):
			allowed = nil
		case within(importer, "sql"):
			allowed = []string{"sql"}
		case importer == "knative":
			allowed = nil
		case within(importer, "knative"):
			allowed = []string{"knative"}
		case importer == "functions":
			for folder := range functions.Catalogue {
				allowed = append(allowed, "functions/"+folder)
			}
		case within(importer, "functions/harness", "functions/internal"):
			// Packages that drive functions from outside may import them; the test below checks that no function reaches
			// another through them.
			allowed = append(allowed, "functions", "knative")
		case name == "deploy":
			allowed = []string{"functions/internal"} // it must not bring one function into the image of another
		case name == "ordersapi":
			// It fronts them in-process: one HTTP API, whatever is deployed behind it.
			allowed = append(allowed, "functions/createorder", "functions/cancelorder")
		default:
			assert.Contains(t, functions.Catalogue, name, "%s has no place in the layout", importer)
		}
		for _, path := range imported {
			assert.True(t, within(path, allowed...), "%s imports %s, and may import what is in %v", importer, path, allowed)
		}
	}
}

func TestNoFunctionReachesAnother(t *testing.T) {
	all := imports(t)
	for folder := range functions.Catalogue {
		reached := map[string]bool{}
		rest := []string{"functions/" + folder}
		for len(rest) > 0 {
			path := rest[0]
			rest = rest[1:]
			if !reached[path] {
				reached[path] = true
				rest = append(rest, all[path]...)
			}
		}
		for other := range functions.Catalogue {
			fronted := folder == "ordersapi" && (other == "createorder" || other == "cancelorder")
			assert.Equal(t, other == folder || fronted, reached["functions/"+other], "%s and %s", folder, other)
		}
		assert.False(t, reached["functions"], "%s reaches the catalogue, and by it every function", folder)
	}
}

// rooms are the folders of functions/internal, lowest first: a package imports only its own room and the rooms below.
var rooms = []string{"observe", "web", "messaging", "function", "operate"}

// TestRoomsKeepTheirOrder checks the rooms against functions/internal/README.md.
func TestRoomsKeepTheirOrder(t *testing.T) {
	const internal = "functions/internal/"
	below := map[string][]string{
		"testkit": {"testkit", "observe", "web", "messaging", "function", "operate/openapi"}, // a testkit package may drive the package that it helps to test
		"suite":   {"testkit"},                                                               // a suite has only tests, and its packages are empty without them
	}
	for n, room := range rooms {
		below[room] = rooms[:n+1]
	}
	readme, err := os.ReadFile("internal/README.md")
	require.NoError(t, err)
	for importer, imported := range imports(t) {
		path, inside := strings.CutPrefix(importer, internal)
		room, name, _ := strings.Cut(path, "/")
		if inside {
			require.Contains(t, below, room, "%s is in no room", importer)
			assert.Contains(t, string(readme), "`"+name+"`", "functions/internal/README.md leaves out %s", importer)
		}
		for _, path := range imported {
			path, shared := strings.CutPrefix(path, internal)
			switch {
			case !shared:
			case inside:
				assert.True(t, within(path, below[room]...), "%s imports %s, which lies above the room %s", importer, path, room)
			default:
				assert.False(t, within(path, "suite", "testkit"), "%s, which is no test, imports %s", importer, path)
			}
		}
	}
}

func TestEverySchemaWithAnOutboxHasARelay(t *testing.T) {
	relayed := map[string]bool{}
	for _, name := range append(knative.Overlays(), knative.BaseName) {
		wiring, err := knative.LoadOverlay(knative.Manifests(), name)
		require.NoError(t, err)
		for _, schema := range wiring.Outboxes() {
			relayed[schema] = true
		}
	}
	assert.ElementsMatch(t, schema.WithOutbox, slices.Collect(maps.Keys(relayed)))
	for source, name := range map[string]string{events.OrdersSource: schema.Orders, events.InventorySource: schema.Inventory} {
		assert.Equal(t, source, "/"+name, "the audit knows the events of an outbox by it")
	}
}
