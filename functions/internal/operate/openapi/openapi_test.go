package openapi_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/openapi"
)

func TestTheDescriptionIsServedAndEveryReferenceLeadsSomewhere(t *testing.T) {
	w := httptest.NewRecorder()
	openapi.Handler(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var document map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &document))
	assert.Regexp(t, `^3\.1\.`, document["openapi"])

	references := regexp.MustCompile(`"\$ref":"#/([^"]+)"`).FindAllStringSubmatch(w.Body.String(), -1)
	assert.NotEmpty(t, references)
	for _, reference := range references {
		value := any(document)
		for segment := range strings.SplitSeq(reference[1], "/") {
			object, _ := value.(map[string]any)
			value = object[segment]
		}
		assert.NotNil(t, value, reference[1])
	}
}

func TestEveryOperationHasAUniqueNameAndASummary(t *testing.T) {
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(openapi.JSON(), &document))
	names := map[string]string{}
	for path, item := range document.Paths {
		for method, text := range item {
			if method == "parameters" {
				continue
			}
			var operation struct {
				OperationID string
				Summary     string
				Responses   map[string]any
			}
			require.NoError(t, json.Unmarshal(text, &operation))
			at := method + " " + path
			assert.Empty(t, names[operation.OperationID], "%s is named like another one", at)
			names[operation.OperationID] = at
			assert.NotEmpty(t, operation.Summary, at)
			for _, status := range []string{"429", "500", "503"} {
				assert.Contains(t, operation.Responses, status, at)
			}
		}
	}
	assert.Len(t, names, 11)
}

// TestAnOrderIsDescribedAsInTheSchemaOfItsCommand compares the bounds of an address, a SKU and the numbers of a line in
// both.
func TestAnOrderIsDescribedAsInTheSchemaOfItsCommand(t *testing.T) {
	type properties map[string]map[string]any
	var document struct {
		Components struct {
			Schemas struct {
				SKU      map[string]any
				Item     struct{ Properties properties }
				NewOrder struct{ Properties properties }
			}
		}
	}
	require.NoError(t, json.Unmarshal(openapi.JSON(), &document))
	var command struct {
		Properties struct {
			CustomerEmail map[string]any
			Items         struct {
				Items struct{ Properties properties }
			}
		}
	}
	text, err := fs.ReadFile(events.Schemas(), events.OrderCreateType+".v1.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &command))

	described, line := document.Components.Schemas, command.Properties.Items.Items.Properties
	delete(described.NewOrder.Properties["customerEmail"], "description")
	assert.Equal(t, command.Properties.CustomerEmail, described.NewOrder.Properties["customerEmail"])
	assert.Equal(t, line["sku"], described.SKU)
	delete(described.Item.Properties["unitPrice"], "description")
	for _, name := range []string{"quantity", "unitPrice"} {
		assert.Equal(t, line[name], described.Item.Properties[name])
	}
}
