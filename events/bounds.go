package events

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/orders/events/strictjson"
)

// Bounds of the data, the same for requests and events.
const (
	MaxLines     = 100
	MaxQuantity  = 1_000_000              // units on one line
	MaxReserved  = MaxLines * MaxQuantity // units of one SKU in one order
	MaxUnitPrice = 1_000_000_000_000      // minor units
	MaxTotal     = 1<<53 - 1              // minor units; JSON clients that read numbers as float64 lose precision above it
	MaxEmail     = 254                    // octets, RFC 5321
)

const (
	maxSKU           = 64
	maxReason        = 64
	maxCorrelationID = 128
)

// ValidOrderID returns whether s is a UUID in canonical form and lower case, so that an order id has one spelling.
func ValidOrderID(s string) bool {
	return fits(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

// FirstOrderID returns the lowest id of an order of time t: ids are UUIDv7, which sort by time (RFC 9562, 5.7).
func FirstOrderID(t time.Time) string {
	text := fmt.Sprintf("%012x", t.UnixMilli())
	return text[:8] + "-" + text[8:] + "-7000-8000-000000000000"
}

// ValidSKU returns whether s is 1 to 64 of [A-Za-z0-9._-], and neither "." nor "..", which URL paths drop.
func ValidSKU(s string) bool { return validStoredSKU(s) && s != "." && s != ".." }

// validStoredSKU is the older rule of ValidSKU, which allowed "." and "..": stored orders may have them.
func validStoredSKU(s string) bool {
	return madeOf(s, maxSKU, func(b byte) bool { return alphanumeric(b) || b == '.' || b == '_' || b == '-' })
}

// ValidCorrelationID returns whether a client may send s as a correlation id: 1 to 128 of [A-Za-z0-9._:-].
func ValidCorrelationID(s string) bool {
	return madeOf(s, maxCorrelationID, func(b byte) bool {
		return alphanumeric(b) || b == '.' || b == '_' || b == ':' || b == '-'
	})
}

// ValidReason returns whether s is 1 to 64 of [a-z0-9_]. The set of reasons is open, so a new reason needs no new version.
func ValidReason(s string) bool {
	return madeOf(s, maxReason, func(b byte) bool {
		return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '_'
	})
}

// ValidReference returns whether s can be a gateway's name of an authorization or a refund: 1 to 128 of [A-Za-z0-9._:-].
func ValidReference(s string) bool { return ValidCorrelationID(s) }

// ValidCurrency returns whether s has the form of an ISO 4217 code: three capital letters.
func ValidCurrency(s string) bool {
	return len(s) == 3 && madeOf(s, 3, func(b byte) bool { return 'A' <= b && b <= 'Z' })
}

// validText returns whether s is a String of the CloudEvents specification: Unicode without control characters, surrogates
// and noncharacters.
func validText(s string) bool {
	for _, r := range s {
		if ' ' <= r && r <= '~' {
			continue // as nearly always: the tables take longer
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Noncharacter_Code_Point, r) {
			return false
		}
	}
	return utf8.ValidString(s)
}

func alphanumeric(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

func madeOf(s string, most int, allowed func(byte) bool) bool {
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return 0 < len(s) && len(s) <= most
}

// fits returns whether s matches pattern, in which x stands for a lower-case hexadecimal digit and every other byte for
// itself.
func fits(s, pattern string) bool {
	if len(s) != len(pattern) {
		return false
	}
	for i := range len(s) {
		hexadecimal := '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f'
		if pattern[i] == 'x' && !hexadecimal || pattern[i] != 'x' && s[i] != pattern[i] {
			return false
		}
	}
	return true
}

// wireTime returns t in the precision of events: UTC, whole microseconds as in DATETIME(6).
func wireTime(t time.Time) time.Time {
	return t.UTC().Truncate(time.Microsecond)
}

// validTime refuses the zero time and years that RFC 3339 or DATETIME cannot express.
func validTime(t time.Time) bool {
	return t.Year() >= 1970 && t.Year() <= 9999
}

// rfc3339 checks what time.Parse accepts although RFC 3339 does not: a comma, a one-digit hour and an offset of 24 hours.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// readCreatedAt reads the RFC 3339 time of a fact and returns its wireTime.
func readCreatedAt(o *strictjson.Object) time.Time {
	const name = "createdAt"
	s := o.String(name)
	t, err := time.Parse(time.RFC3339, s)
	// What a producer of this package writes reads the same again, and needs no slower check.
	if asWritten := strings.HasSuffix(s, "Z") && t.Format(time.RFC3339Nano) == s; err != nil || !asWritten && !rfc3339.MatchString(s) {
		o.Fail(name, "must be an RFC 3339 time")
		return time.Time{}
	}
	return wireTime(t)
}

// checks collects the bounds that well-formed data violates. Producers and consumers share them, so that no producer emits
// what a consumer refuses.
type checks struct {
	violations strictjson.Violations
	// command applies the stricter bounds of new orders to e-mail addresses and SKUs. A fact may be about an order that was
	// accepted under older bounds: it must stay readable, and its successors must still be emitted.
	command bool
}

func (c *checks) fail(field, detail string) {
	c.violations = append(c.violations, strictjson.Violation{Field: field, Detail: detail})
}

func (c *checks) err() error {
	if len(c.violations) == 0 {
		return nil
	}
	return c.violations
}

func (c *checks) orderID(s string) {
	if !ValidOrderID(s) {
		c.fail("orderId", "must be a UUID in lower case")
	}
}

func (c *checks) email(s string) {
	switch {
	case c.command && !validEmail(s):
		c.fail("customerEmail", fmt.Sprintf("must be an address that every relay accepts: name@example.com, bare, in ASCII "+
			"(other domains in their xn-- form), of at most %d octets", MaxEmail))
	case !validStoredEmail(s):
		c.fail("customerEmail", fmt.Sprintf("must be a bare e-mail address of at most %d octets", MaxEmail))
	}
}

func (c *checks) reason(s string) {
	if !ValidReason(s) {
		c.fail("reason", fmt.Sprintf("must be 1 to %d of a-z, 0-9 and _", maxReason))
	}
}

func (c *checks) time(t time.Time) {
	if !validTime(t) {
		c.fail("createdAt", "must be in the years 1970 to 9999")
	}
}

func (c *checks) total(amount int64) bool { return c.minorUnits("totalAmount", amount) }

func (c *checks) amount(amount int64) bool { return c.minorUnits("amount", amount) }

func (c *checks) minorUnits(field string, amount int64) bool {
	within := 0 <= amount && amount <= MaxTotal
	if !within {
		c.fail(field, fmt.Sprintf("must be 0 to %d minor units", int64(MaxTotal)))
	}
	return within
}

func (c *checks) currency(s string) {
	if !ValidCurrency(s) {
		c.fail("currency", "must be an ISO 4217 code like EUR")
	}
}

func (c *checks) reference(s string) {
	if !ValidReference(s) {
		c.fail("reference", fmt.Sprintf("must be 1 to %d of A-Z, a-z, 0-9 and . _ : -", maxCorrelationID))
	}
}

// items returns the Total of the items, and whether all of them, and the total, are within bounds.
func (c *checks) items(items []Item) (int64, bool) {
	before := len(c.violations)
	if !c.count("items", len(items)) {
		return 0, false
	}
	for i, item := range items {
		c.sku("items", i, item.SKU)
		c.within("items", i, "quantity", item.Quantity, 1, MaxQuantity)
		c.within("items", i, "unitPrice", item.UnitPrice, 0, MaxUnitPrice)
	}
	if len(c.violations) > before {
		return 0, false
	}
	total, err := Total(items)
	if err != nil {
		c.fail("items", fmt.Sprintf("must sum up to at most %d minor units", int64(MaxTotal)))
	}
	return total, err == nil
}

func (c *checks) quantities(field string, quantities []Quantity) {
	if !c.count(field, len(quantities)) {
		return
	}
	seen := make(map[string]bool, len(quantities))
	for i, q := range quantities {
		c.once(field, i, q.SKU, seen)
		c.within(field, i, "quantity", q.Quantity, 1, MaxReserved)
	}
}

func (c *checks) shortages(shortages []Shortage) {
	if !c.count("shortages", len(shortages)) {
		return
	}
	seen := make(map[string]bool, len(shortages))
	for i, s := range shortages {
		c.once("shortages", i, s.SKU, seen)
		c.within("shortages", i, "requested", s.Requested, 1, MaxReserved)
		c.within("shortages", i, "available", s.Available, 0, MaxTotal)
	}
}

// count returns false for a list whose length is out of bounds, so that its entries are not checked.
func (c *checks) count(field string, n int) bool {
	if n < 1 || n > MaxLines {
		c.fail(field, fmt.Sprintf("must have 1 to %d entries", MaxLines))
		return false
	}
	return true
}

func (c *checks) sku(field string, i int, sku string) {
	switch {
	case !validStoredSKU(sku):
		c.fail(entry(field, i, "sku"), fmt.Sprintf("must be 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-'", maxSKU))
	case c.command && !ValidSKU(sku):
		c.fail(entry(field, i, "sku"), "must not be . or .., which URL paths drop")
	}
}

// once is sku for lists with one entry per SKU.
func (c *checks) once(field string, i int, sku string, seen map[string]bool) {
	if c.sku(field, i, sku); seen[sku] && sku != "" {
		c.fail(entry(field, i, "sku"), "must appear only once")
	}
	seen[sku] = true
}

func (c *checks) within(field string, i int, name string, n, least, most int64) {
	if n < least || n > most {
		c.fail(entry(field, i, name), fmt.Sprintf("must be %d to %d", least, most))
	}
}

func entry(field string, i int, name string) string {
	return fmt.Sprintf("%s[%d].%s", field, i, name)
}
