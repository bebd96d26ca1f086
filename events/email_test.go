package events_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/mail"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/orders/events"
)

func orderBy(t *testing.T, email, sku string) []byte {
	t.Helper()
	body, err := json.Marshal(events.CreateOrder{CustomerEmail: email, Items: []events.Item{{SKU: sku, Quantity: 1, UnitPrice: 1}}})
	require.NoError(t, err)
	return body
}

func TestOrdersAreTakenFromAddressesThatEveryRelayCanSendTo(t *testing.T) {
	label, schema := strings.Repeat("d", 63), schemaOf(t, events.OrderCreateType)
	for name, email := range map[string]string{
		"a plain one":             "alice@example.com",
		"a tag":                   "alice+orders@example.com",
		"capitals":                "Alice.B@EXAMPLE.com",
		"every sign of a name":    "a!#$%&'*+/=?^_`{|}~-z@example.com",
		"a sub-domain":            "a@b.c.example.com",
		"hyphens inside":          "a@my--shop.co-op.example",
		"a label of digits":       "a@163.com",
		"letters by their xn--":   "info@xn--mller-kva.de",
		"a top label by its xn--": "user@xn--fsqu00a.xn--rhqv96g",
		"the longest name":        strings.Repeat("n", 64) + "@example.com",
		"the longest label":       "a@" + label + ".com",
		"the longest address":     "a@" + strings.Join([]string{label, label, label}, ".") + "." + strings.Repeat("e", 60),
	} {
		t.Run(name, func(t *testing.T) {
			body := orderBy(t, email, "A")
			_, err := events.ParseCreateOrder(body)
			assert.NoError(t, err)
			assert.NoError(t, checkSchema(t, schema, body))
			_, err = events.New(events.OrderCanceled{OrderID: orderID, CustomerEmail: email, PreviousStatus: events.StatusPending, CreatedAt: createdAt}, 1, createdAt, events.Cause{})
			assert.NoError(t, err, "what was accepted can be emitted")
		})
	}
}

// oldAddresses are addresses that were accepted before and that some relays refuse.
var oldAddresses = map[string]string{
	"other domain":                "info@müller.de",
	"a name of other letters":     "jürgen@example.com",
	"all of other letters":        "用户@例子.世界",
	"a letter that looks alike":   "аlice@example.com", // Cyrillic а
	"a zero-width space":          "al\u200bice@example.com",
	"a zero-width joiner":         "alice@exam\u200dple.com",
	"text that turns around":      "alice\u202emoc@example.com",
	"a mark of direction":         "alice@example.com\u200f",
	"a soft hyphen":               "al\u00adice@example.com",
	"a byte order mark":           "\ufeffalice@example.com",
	"a space without break":       "al\u00a0ice@example.com",
	"a combining mark":            "alic\u0301e@example.com",
	"a full stop of another kind": "alice@example\u3002com",
	"an address literal":          "alice@[127.0.0.1]",
	"a bare IPv4":                 "alice@127.0.0.1",
	"a domain without a dot":      "alice@localhost",
	"a label that begins with -":  "alice@-example.com",
	"a label that ends with -":    "alice@example-.com",
	"a top label of digits":       "alice@example.123",
	"an underscore":               "alice@my_host.example.com",
	"a label of 64":               "alice@" + strings.Repeat("d", 64) + ".com",
	"a name of 65":                strings.Repeat("n", 65) + "@example.com",
}

func TestOrdersAreRefusedFromAddressesThatARelayCannotSendTo(t *testing.T) {
	all := map[string]string{
		"nothing":                 "",
		"no domain":               "alice",
		"no name":                 "@example.com",
		"two addresses":           "a@b.com,c@d.com",
		"two @":                   "a@b@example.com",
		"a dot at the end":        "alice@example.com.",
		"an empty label":          "alice@example..com",
		"a dot first":             ".alice@example.com",
		"a dot last":              "alice.@example.com",
		"two dots":                "al..ice@example.com",
		"a display name":          "Alice <alice@example.com>",
		"brackets":                "<alice@example.com>",
		"a comment":               "alice(me)@example.com",
		"a comment at the domain": "alice@example.com(me)",
		"a quoted name":           `"alice"@example.com`,
		"a quoted space":          `"al ice"@example.com`,
		"a route":                 "@relay.com:alice@example.com",
		"a percent sign route":    "alice%example.com@",
		"a literal of IPv6":       "alice@[IPv6:::1]",
		"a line end":              "alice@example.com\n",
		"a header more":           "alice@example.com\r\nBcc: eve@example.com",
		"a NUL":                   "alice\x00@example.com",
		"a DEL":                   "alice\x7f@example.com",
		"a space":                 "alice @example.com",
		"a backslash":             `al\ice@example.com`,
		"255 octets":              strings.Repeat("n", 64) + "@" + strings.Repeat("d.", 93) + "com1",
	}
	for name, email := range oldAddresses {
		all[name] = email
	}
	schema := schemaOf(t, events.OrderCreateType)
	for name, email := range all {
		t.Run(name, func(t *testing.T) {
			body := orderBy(t, email, "A")
			_, err := events.ParseCreateOrder(body)
			assert.Equal(t, []string{"customerEmail"}, fieldsOf(t, err))
			assert.Error(t, checkSchema(t, schema, body), "the schema says so too")
		})
	}
}

func TestFactsAboutForgottenCustomersAreEmittedAndRead(t *testing.T) {
	e, err := events.New(events.OrderCanceled{OrderID: orderID, CustomerEmail: events.Forgotten, PreviousStatus: events.StatusConfirmed, CreatedAt: createdAt}, 3, createdAt, events.Cause{})
	require.NoError(t, err)
	_, err = events.Decode[events.OrderCanceled](e)
	assert.NoError(t, err)
}

func TestOrdersOfSKUsThatArePathsAreRefused(t *testing.T) {
	schema := schemaOf(t, events.OrderCreateType)
	for sku, ok := range map[string]bool{".": false, "..": false, "...": true, ".a": true, "a.": true} {
		body := orderBy(t, "alice@example.com", sku)
		_, err := events.ParseCreateOrder(body)
		assert.Equal(t, ok, err == nil, sku)
		assert.Equal(t, ok, checkSchema(t, schema, body) == nil, sku)
		assert.Equal(t, ok, events.ValidSKU(sku), sku)
	}
}

// Plain addresses do not reach the parser: the answer is the same.
func TestFactsHaveTheAddressesThatAParserTakes(t *testing.T) {
	const letters = "a9.@-_ \"(é\x7f"
	chosen := []rune(letters)
	random := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 20_000 {
		email := make([]rune, random.IntN(12))
		for i := range email {
			email[i] = chosen[random.IntN(len(chosen))]
			if random.IntN(2) == 0 {
				email[i] = chosen[random.IntN(4)]
			}
		}
		address, err := mail.ParseAddress(string(email))
		want := err == nil && address.Name == "" && address.Address == string(email) && !strings.ContainsRune(string(email), '\x7f')
		d := events.OrderCanceled{OrderID: orderID, CustomerEmail: string(email), PreviousStatus: events.StatusPending, CreatedAt: createdAt}
		require.Equal(t, want, d.Validate() == nil, "%q", string(email))
		if want {
			taken++
		}
	}
	assert.Greater(t, taken, 100)
}

// TestFactsAboutOldOrdersAreEmittedAndRead follows an order that was accepted under the older rules to its end.
func TestFactsAboutOldOrdersAreEmittedAndRead(t *testing.T) {
	for name, email := range oldAddresses {
		created := events.OrderCreated{
			OrderID: orderID, CustomerEmail: email, Items: []events.Item{{SKU: "..", Quantity: 1, UnitPrice: 1}}, TotalAmount: 1,
			Currency: "EUR", Channel: events.ChannelHTTP, CreatedAt: createdAt,
		}
		facts := []events.Data{
			created, created.V1(),
			events.InventoryRejected{OrderID: orderID, Reason: events.ReasonUnknownSKU, Shortages: []events.Shortage{{SKU: "..", Requested: 1}}, CreatedAt: createdAt},
			events.OrderConfirmed{OrderID: orderID, CustomerEmail: email, TotalAmount: 1, CreatedAt: createdAt},
			events.OrderFailed{OrderID: orderID, CustomerEmail: email, Reason: events.ReasonUnknownSKU, Shortages: []events.Shortage{{SKU: "..", Requested: 1}}, CreatedAt: createdAt},
			events.OrderCanceled{OrderID: orderID, CustomerEmail: email, PreviousStatus: events.StatusPending, CreatedAt: createdAt},
		}
		for i, fact := range facts {
			contract := fact.Type()
			if fact.Type() == events.OrderCreatedType && fact.Version() == 1 {
				contract = orderCreatedV1
			}
			t.Run(fmt.Sprintf("%s, %s", contract, name), func(t *testing.T) {
				e, err := events.New(fact, i+1, createdAt, events.Cause{})
				require.NoError(t, err)
				read, err := readers[contract](e)
				require.NoError(t, err)
				assert.Equal(t, fact, read)
				assert.NoError(t, checkSchema(t, schemaOf(t, contract), e.Data()))
			})
		}
	}
}
