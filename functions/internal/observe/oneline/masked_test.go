package oneline_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"example.com/orders/functions/internal/observe/oneline"
)

func TestAddressesAreMasked(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"an address":             {"alice@example.com", "a…e@example.com"},
		"the shortest with ends": {"anna@example.com", "a…a@example.com"},
		"a short one":            {"bob@example.com", "…@example.com"},
		"one letter":             {"b@example.com", "…@example.com"},
		"a tag":                  {"alice+orders@example.com", "a…s@example.com"},
		"an apostrophe":          {"miles.o'brien@example.com", "m…n@example.com"},
		"other letters":          {"jürgen@müller.de", "j…n@müller.de"},
		"all of other letters":   {"用户甲乙@例子.世界", "用…乙@例子.世界"},
		"a relay's answer":       {"550 5.1.1 <alice@example.com>: Recipient address rejected", "550 5.1.1 <a…e@example.com>: Recipient address rejected"},
		"two of them":            {"from alice@example.com, to carol@example.org", "from a…e@example.com, to c…l@example.org"},
		"JSON":                   {`{"customerEmail":"alice@example.com"}`, `{"customerEmail":"a…e@example.com"}`},
		"masked before":          {"a…e@example.com", "…@example.com"},
		"no address":             {"order 1 @ 5, a@ and @b", "order 1 @ 5, a@ and @b"},
		"nothing":                {"", ""},
	} {
		t.Run(name, func(t *testing.T) { assert.Equal(t, test.want, oneline.Masked(test.text)) })
	}
}
