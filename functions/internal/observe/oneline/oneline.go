// Package oneline makes untrusted text fit to be stored in a column and shown on a terminal, and masks the addresses in it.
package oneline

import (
	"strings"
	"unicode"
)

// Of returns at most n bytes of text, in whole characters, with a space for each unprintable one: no line breaks and no
// terminal control sequences.
func Of(text string, n int) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "\uFFFD"))
	return strings.ToValidUTF8(text[:min(len(text), n)], "")
}
