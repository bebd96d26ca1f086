package oneline_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/observe/oneline"
)

func TestTextFitsAColumnAndATerminal(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"plain":              {"never will", "never will"},
		"line breaks":        {"a\nb\r\nc", "a b  c"},
		"an escape sequence": {"\x1b[31mred", " [31mred"},
		"bytes of no text":   {"a\xff\xfeb", "a\uFFFDb"},
		"too long":           {strings.Repeat("x", 30), strings.Repeat("x", 20)},
		"never half of one":  {strings.Repeat("ä", 5) + "x" + strings.Repeat("ä", 20), strings.Repeat("ä", 5) + "x" + strings.Repeat("ä", 4)},
		"nothing":            {"", ""},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, oneline.Of(test.text, 20)) })
	}
}
