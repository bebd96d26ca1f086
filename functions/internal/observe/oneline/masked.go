package oneline

import (
	"regexp"
	"strings"
	"unicode/utf8"
)

// address is what looks like an e-mail address in any text: a local part, @ and a domain, of all scripts, up to the
// brackets, quotes and marks that texts put around one.
var address = regexp.MustCompile(`[^\s<>()\[\],;:"\\@]+@[^\s<>()\[\],;:"'\\@]+`)

// readable is the length in characters from which a local part keeps its first and its last one.
const readable = 4

// Masked returns text with its e-mail addresses masked, for the log, for errors, and for what is stored of them:
// alice@example.com becomes a…e@example.com, and bob@example.com …@example.com.
func Masked(text string) string {
	return address.ReplaceAllStringFunc(text, func(found string) string {
		local, domain, _ := strings.Cut(found, "@")
		if utf8.RuneCountInString(local) < readable {
			return "…@" + domain
		}
		first, _ := utf8.DecodeRuneInString(local)
		last, _ := utf8.DecodeLastRuneInString(local)
		return string(first) + "…" + string(last) + "@" + domain
	})
}
