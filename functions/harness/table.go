package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"golang.org/x/term"
)

// columns returns the width of the terminal that w is, 0 if it is none: what goes to a file or a pipe has any width.
func columns(w io.Writer) int {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// counted returns a number with its noun.
func counted[N ~int | ~int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// table writes rows with aligned columns. On a terminal they fit its width.
func table(w io.Writer, head ...any) (row func(...any), flush func() error) {
	var rows [][]string
	row = func(cells ...any) {
		texts := make([]string, len(cells))
		for i, cell := range cells {
			texts[i] = fmt.Sprint(cell)
		}
		rows = append(rows, texts)
	}
	row(head...)
	return row, func() error {
		fitting, cut := fit(rows, columns(w))
		t := tabwriter.NewWriter(w, 0, 0, len(gap), ' ', 0)
		for _, cells := range fitting {
			fmt.Fprintln(t, strings.Join(cells, "\t"))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		if cut {
			fmt.Fprintln(w, "(cut to the width of the terminal: --json has all of it)")
		}
		return nil
	}
}

const (
	gap      = "  "
	ellipsis = "…"
	// useful is the width below which a cut text says too little.
	useful = 20
)

// minor names the columns that are left out where a terminal is too narrow, in this order.
var minor = []string{"ATTEMPTS", "REPLAYS FAILED", "STATUS", "NEXT ATTEMPT", "EVENT"}

// fit returns rows, the first of which is the head, that are at most width wide, and whether anything is left out. It leaves
// out minor columns where the others would become too narrow to be useful, and cuts the widest cells. The first column says
// which row it is: it is cut only if it takes more than half of the width.
func fit(rows [][]string, width int) (fitting [][]string, cut bool) {
	if width <= 0 {
		return rows, false
	}
	widths := widest(rows, width/2)
	for _, name := range minor {
		if room(widths, useful) <= width {
			break
		}
		if at := slices.Index(rows[0], name); at >= 0 {
			rows, cut = without(rows, at), true
			widths = slices.Delete(widths, at, at+1)
		}
	}
	most := slices.Max(widths)
	for most > 1 && room(widths, most) > width {
		most--
	}
	fitting = make([][]string, len(rows))
	for i, cells := range rows {
		for n, text := range cells {
			limit := most
			if n == 0 {
				limit = widths[0]
			}
			if utf8.RuneCountInString(text) > limit {
				text, cut = string([]rune(text)[:limit-1])+ellipsis, true
			}
			fitting[i] = append(fitting[i], text)
		}
	}
	return fitting, cut
}

// widest returns the width of each column, of the first one at most what is given.
func widest(rows [][]string, first int) []int {
	widths := make([]int, len(rows[0]))
	for _, cells := range rows {
		for i, text := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(text))
		}
	}
	widths[0] = min(widths[0], first)
	return widths
}

// room returns the width of a table whose columns, without the first, are cut to a width.
func room(widths []int, most int) int {
	sum := widths[0] + len(gap)*(len(widths)-1)
	for _, width := range widths[1:] {
		sum += min(width, most)
	}
	return sum
}

func without(rows [][]string, column int) [][]string {
	fewer := make([][]string, len(rows))
	for i, cells := range rows {
		fewer[i] = slices.Delete(slices.Clone(cells), column, column+1)
	}
	return fewer
}

// folded passes on what write writes. On a terminal, longer lines are folded.
func folded(w io.Writer, write func(io.Writer) error) error {
	width := columns(w)
	if width == 0 {
		return write(w)
	}
	var text bytes.Buffer
	err := write(&text)
	for line := range strings.Lines(text.String()) {
		fmt.Fprintln(w, strings.Join(fold(strings.TrimRight(line, " \n"), width), "\n"))
	}
	return err
}

// fold breaks a line at spaces into lines of at most width; those after the first are indented like its second column.
func fold(line string, width int) (lines []string) {
	text, indent := []rune(line), 0
	for i := range min(len(text), width/2+1) {
		if i > 1 && text[i] != ' ' && text[i-1] == ' ' && text[i-2] == ' ' {
			indent = i
		}
	}
	for len(text) > width {
		at := width
		for at > indent && text[at] != ' ' {
			at--
		}
		if at == indent {
			at = width // one long word
		}
		lines = append(lines, strings.TrimRight(string(text[:at]), " "))
		text = []rune(strings.Repeat(" ", indent) + strings.TrimLeft(string(text[at:]), " "))
	}
	return append(lines, string(text))
}
