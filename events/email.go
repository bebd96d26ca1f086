package events

import (
	"net/mail"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// emailPattern and localPattern match what <input type=email> accepts, with a dot in the domain and no dot at either end of
// the local part. The schema of order.create has the same patterns. Only ASCII matches, so that no letter is invisible or
// looks like another: browsers turn other domains into their xn-- form, and a non-ASCII local part needs SMTPUTF8, which
// most relays lack.
const (
	atom         = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
	label        = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
	topLabel     = "[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
	emailPattern = "^" + atom + "([.]" + atom + ")*@(" + label + "[.])+" + topLabel + "$"
	localPattern = "^[^@]{1,64}@"
)

// They are compiled when an address is first checked: most functions never do that, and start without.
var email, local = compiled(emailPattern), compiled(localPattern)

func compiled(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

// Forgotten stands in place of the address of a customer whose personal data was removed. No mail can go there: the domain
// is reserved for that (RFC 2606).
const Forgotten = "forgotten@customer.invalid"

// validEmail returns whether every relay accepts s: a bare ASCII address whose domain is a host name of at least two labels.
func validEmail(s string) bool {
	return len(s) <= MaxEmail && email().MatchString(s) && local().MatchString(s)
}

// validStoredEmail is the older rule of validEmail, for stored orders: a bare address, without a display name, brackets, a
// quoted or commented local part, or anything that could end a header line.
func validStoredEmail(s string) bool {
	if s == "" || len(s) > MaxEmail || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return false
		}
	}
	if local, domain, _ := strings.Cut(s, "@"); dotAtom(local) && dotAtom(domain) {
		return true // as nearly every address: the parser accepts it, too, for ten times the cost
	}
	address, err := mail.ParseAddress(s)
	return err == nil && address.Name == "" && address.Address == s
}

// dotAtom returns whether s is an ASCII dot-atom of RFC 5322.
func dotAtom(s string) bool {
	for part := range strings.SplitSeq(s, ".") {
		if !madeOf(part, MaxEmail, func(b byte) bool { return alphanumeric(b) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", b) >= 0 }) {
			return false
		}
	}
	return true
}
