package events

import (
	"fmt"
	"regexp"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/orders/events/strictjson"
)

// Bounds of what travels, the same for requests and events.
const (
	MaxLines     = 100
	MaxQuantity  = 1_000_000              // units on one line
	MaxReserved  = MaxLines * MaxQuantity // units of one SKU on one order
	MaxUnitPrice = 1_000_000_000_000      // minor units
	MaxTotal     = 1<<53 - 1              // minor units; above it JSON clients that read numbers as float64 are off
	MaxEmail     = 254                    // octets, RFC 5321
)

const (
	maxSKU           = 64
	maxReason        = 64
	maxCorrelationID = 128
)

// ValidOrderID says whether s is the canonical text of a UUID, in lower case, so
// that one order has one spelling.
func ValidOrderID(s string) bool {
	return fits(s, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

// ValidSKU says whether s is 1 to 64 of [A-Za-z0-9._-], and neither "." nor "..", which
// a path does not keep.
func ValidSKU(s string) bool { return validStoredSKU(s) && s != "." && s != ".." }

// validStoredSKU is the rule under which orders were accepted before ValidSKU left out
// the two names of dots.
func validStoredSKU(s string) bool {
	return madeOf(s, maxSKU, func(b byte) bool { return alphanumeric(b) || b == '.' || b == '_' || b == '-' })
}

// ValidCorrelationID says whether s is 1 to 128 of [A-Za-z0-9._:-], which is what a
// client may choose.
func ValidCorrelationID(s string) bool {
	return madeOf(s, maxCorrelationID, func(b byte) bool {
		return alphanumeric(b) || b == '.' || b == '_' || b == ':' || b == '-'
	})
}

// validReason says whether s is 1 to 64 of [a-z0-9_]. The set of reasons is open, so
// that a new one is no new version.
func validReason(s string) bool {
	return madeOf(s, maxReason, func(b byte) bool {
		return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '_'
	})
}

// validText says whether s is a String of the CloudEvents specification: Unicode without
// control characters, surrogates and noncharacters.
func validText(s string) bool {
	for _, r := range s {
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

// fits says whether s has the shape of pattern, in which x stands for a lower-case
// hexadecimal digit and every other byte for itself.
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

// wireTime is t as it travels: UTC, whole microseconds, which is what DATETIME(6) holds.
func wireTime(t time.Time) time.Time {
	return t.UTC().Truncate(time.Microsecond)
}

// validTime leaves out the zero time and years that RFC 3339 or DATETIME cannot write.
func validTime(t time.Time) bool {
	return t.Year() >= 1970 && t.Year() <= 9999
}

// rfc3339 is what time.Parse does not hold to: it lets a comma, a one-digit hour and
// an offset of 24 hours pass.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// readCreatedAt reads the RFC 3339 time of a fact and returns it as it travels.
func readCreatedAt(o *strictjson.Object) time.Time {
	const name = "createdAt"
	s := o.String(name)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || !rfc3339.MatchString(s) {
		o.Fail(name, "must be an RFC 3339 time")
		return time.Time{}
	}
	return wireTime(t)
}

// checks gathers what is out of bounds in data that has the right shape. Writer and
// reader share them, so a writer never emits what a reader would refuse.
type checks struct {
	violations strictjson.Violations
	// command holds e-mail addresses and SKUs to what new orders may have. A fact may be
	// about an order that was accepted when less was refused: it must stay readable, and
	// the facts that follow from it must still be emitted.
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
		c.fail("customerEmail", fmt.Sprintf("must be an address that every relay can send to: name@example.com, bare, in ASCII "+
			"(a domain of other letters in its xn-- form), of at most %d octets", MaxEmail))
	case !validStoredEmail(s):
		c.fail("customerEmail", fmt.Sprintf("must be a bare e-mail address of at most %d octets", MaxEmail))
	}
}

func (c *checks) reason(s string) {
	if !validReason(s) {
		c.fail("reason", fmt.Sprintf("must be 1 to %d of a-z, 0-9 and _", maxReason))
	}
}

func (c *checks) time(t time.Time) {
	if !validTime(t) {
		c.fail("createdAt", "must be in the years 1970 to 9999")
	}
}

func (c *checks) total(amount int64) bool {
	within := 0 <= amount && amount <= MaxTotal
	if !within {
		c.fail("totalAmount", fmt.Sprintf("must be 0 to %d minor units", int64(MaxTotal)))
	}
	return within
}

// items returns the Total of the items, and whether they are within bounds and have one.
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
		c.fail("items", fmt.Sprintf("must sum up to %d minor units at most", int64(MaxTotal)))
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

// count returns false for a list whose entries are not worth a look.
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
		c.fail(entry(field, i, "sku"), "must not be . or .., which a path does not keep")
	}
}

// once is sku for lists that hold one entry per SKU.
func (c *checks) once(field string, i int, sku string, seen map[string]bool) {
	if c.sku(field, i, sku); seen[sku] && sku != "" {
		c.fail(entry(field, i, "sku"), "must stand once only")
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
