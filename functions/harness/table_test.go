package main

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// letterRows are rows of a list of dead letters.
var letterRows = [][]string{
	{"LETTER", "STATE", "CONSUMER", "KEY", "EVENT", "ATTEMPTS", "STATUS", "REPLAYS FAILED", "AGE", "ERROR"},
	{"order.created.dlq/0@17", "open", "reserve-stock", "0190b6f2-6a3c-7d1e-8000-000000000001", "order.created 0190b6f2-6a3c-7d1e-8000-000000000001#1", "10", "503", "2", "9m", strings.Repeat("the database is away; ", 5)},
	{"order.created.dlq/2@4", "parked", "notify", "größer", "-", "-", "-", "0", "3d", "malformed"},
}

func width(rows [][]string) (widest int) {
	lengths := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, text := range cells {
			lengths[i] = max(lengths[i], utf8.RuneCountInString(text))
		}
	}
	for _, length := range lengths {
		widest += length
	}
	return widest + len(gap)*(len(lengths)-1)
}

func TestATableFitsTheTerminalAndStillNamesItsRows(t *testing.T) {
	for _, columns := range []int{60, 80, 100, 120, 200} {
		rows, cut := fit(letterRows, columns)

		assert.True(t, cut)
		assert.LessOrEqual(t, width(rows), columns)
		assert.Greater(t, width(rows), columns-len(rows[0]), "as much as there is room for")
		assert.Equal(t, "order.created.dlq/0@17", rows[1][0])
		assert.Equal(t, "9m", rows[1][slices.Index(rows[0], "AGE")])
		assert.True(t, strings.HasSuffix(rows[1][slices.Index(rows[0], "ERROR")], ellipsis))
		assert.Contains(t, rows[0], "KEY")
	}
	narrow, _ := fit(letterRows, 80)
	assert.NotContains(t, narrow[0], "ATTEMPTS")
	assert.NotContains(t, narrow[0], "EVENT")
	wide, _ := fit(letterRows, 200)
	assert.Equal(t, letterRows[0], wide[0])
}

func TestATableThatFitsIsNotCut(t *testing.T) {
	for _, columns := range []int{0, width(letterRows)} {
		rows, cut := fit(letterRows, columns)
		assert.Equal(t, letterRows, rows)
		assert.False(t, cut)
	}
}

func TestATableInAFileOrAPipeIsWhole(t *testing.T) {
	var out bytes.Buffer
	row, flush := table(&out, "KEY", "ERROR")
	row("a", strings.Repeat("long ", 100))
	require.NoError(t, flush())
	assert.Contains(t, out.String(), strings.Repeat("long ", 100))
	require.NoError(t, folded(&out, func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("report ", 100))
		return err
	}))
	assert.Contains(t, out.String(), strings.Repeat("report ", 100))
}

func TestALineIsFoldedUnderItsSecondColumn(t *testing.T) {
	assert.Equal(t, []string{
		"BREACH  stock     the log explains",
		"                  every unit",
	}, fold("BREACH  stock     the log explains every unit", 36))
	assert.Equal(t, []string{"short"}, fold("short", 36))
	assert.Equal(t, []string{strings.Repeat("x", 36), strings.Repeat("x", 4)}, fold(strings.Repeat("x", 40), 36))
	for _, line := range fold("key       "+strings.Repeat("wörter ", 30)+strings.Repeat("y", 90), 40) {
		assert.LessOrEqual(t, utf8.RuneCountInString(line), 40)
	}
}
