package deadletter

import (
	"regexp"
	"strings"

	"example.com/orders/functions/internal/observe/oneline"
)

// maxPattern is how much of an error tells it from others, in bytes.
const maxPattern = 200

// variable matches what differs between errors of one kind: UUIDs and other ids with digits among their letters, e-mail
// addresses, numbers.
var variable = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F-]{20,}|[\w.+-]+@[\w-]+\.[\w.-]+|\b[0-9a-fA-F]*[0-9][0-9a-fA-F]{7,}\b|[0-9]+(?:[.,:][0-9]+)*`)

// status matches the status that an error may begin with, which belongs to its kind.
var status = regexp.MustCompile(`^[1-5][0-9]{2}: `)

// Pattern returns the kind of an error: its text with … in place of each id and number, except for its status.
func Pattern(text string) string {
	text = oneline.Of(text, maxPattern)
	kept := status.FindString(text)
	return strings.TrimSpace(kept + variable.ReplaceAllString(text[len(kept):], "…"))
}
