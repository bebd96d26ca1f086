package scaffold

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"example.com/orders/knative"
)

// edit changes the text of a file. It fails when the text is not as it expects.
type edit func(text string) (string, error)

// before inserts text before the first line that begins with mark, which is there.
func before(mark, inserted string) edit {
	return func(text string) (string, error) {
		at := strings.Index(text, "\n"+mark)
		if at < 0 {
			return "", fmt.Errorf("there is no line that begins with %q", mark)
		}
		return text[:at+1] + inserted + text[at+1:], nil
	}
}

// atEnd inserts a line at the end of the block that begins with a line and ends with a brace that is indented as it is.
func atEnd(begin, line string) edit {
	indent := begin[:len(begin)-len(strings.TrimLeft(begin, "\t"))]
	return func(text string) (string, error) {
		_, rest, found := strings.Cut(text, "\n"+begin+"\n")
		end := strings.Index(rest, "\n"+indent+"}\n")
		if !found || end < 0 {
			return "", fmt.Errorf("there is no block that begins with %q", begin)
		}
		at := len(text) - len(rest) + end + 1
		return text[:at] + line + text[at:], nil
	}
}

// sorted inserts a line among those that match, which are in order.
func sorted(like *regexp.Regexp, line string) edit {
	return func(text string) (string, error) {
		at := -1
		for _, place := range like.FindAllStringIndex(text, -1) {
			if text[place[0]:place[1]] > line {
				return text[:place[0]] + line + "\n" + text[place[0]:], nil
			}
			at = place[1]
		}
		if at < 0 {
			return "", fmt.Errorf("there is no line like %s", like)
		}
		return text[:at] + "\n" + line + text[at:], nil
	}
}

const separator = "\n---\n"

var documentName = regexp.MustCompile(`\n  name: (\S+)\n`)

// another adds a document for a topic, made of the first one of its kind. Dead letters come last, after the events.
func another(name string) edit {
	isLetters := func(name string) bool { return strings.HasSuffix(name, knative.DeadLetterSuffix) }
	return func(text string) (string, error) {
		var copied string
		documents := strings.Split(strings.TrimSuffix(text, "\n"), separator)
		place := len(documents)
		for n, document := range documents {
			found := documentName.FindStringSubmatch(document)
			if found == nil {
				continue
			}
			like := found[1]
			if copied == "" && isLetters(like) == isLetters(name) {
				_, body, _ := strings.Cut(document, "apiVersion:") // without the comment at the head of the file
				copied = "apiVersion:" + strings.ReplaceAll(body, like+"\n", name+"\n")
			}
			if !isLetters(name) && isLetters(like) {
				place = min(place, n)
			}
		}
		if copied == "" {
			return "", fmt.Errorf("there is no document to make that of %s of", name)
		}
		return strings.Join(slices.Insert(documents, place, copied), separator) + "\n", nil
	}
}

// within makes an edit of the table whose heading is given.
func within(heading string, e edit) edit {
	return func(text string) (string, error) {
		before, rest, found := strings.Cut(text, "\n"+heading+"\n")
		table, after, ended := strings.Cut(rest, "\n\n")
		if !found || !ended {
			return "", fmt.Errorf("there is no table with the heading %q", heading)
		}
		changed, err := e(table)
		return before + "\n" + heading + "\n" + changed + "\n\n" + after, err
	}
}

// either makes the first edit, or the second one if the text has no place for the first.
func either(first, second edit) edit {
	return func(text string) (string, error) {
		if changed, err := first(text); err == nil {
			return changed, nil
		}
		return second(text)
	}
}

// optional makes an edit if the text has a place for it.
func optional(e edit) edit {
	return either(e, func(text string) (string, error) { return text, nil })
}

// nobody stands in the tables of the READMEs for the functions that get an event.
const nobody = "none yet"

// heard adds a function to the last cell of the row about a type of events. In a row of several types the type gets its own.
func heard(eventType, function string) edit {
	return func(text string) (string, error) {
		lines := strings.Split(text, "\n")
		for n, line := range lines {
			cells := strings.Split(strings.Trim(line, "|"), "|")
			if !strings.HasPrefix(line, "| ") || len(cells) < 2 {
				continue
			}
			types := strings.Split(strings.TrimSpace(cells[0]), ", ")
			others := make([]string, 0, len(types))
			for _, each := range types {
				if each != eventType && !strings.HasPrefix(each, "["+eventType+"](") {
					others = append(others, each)
				}
			}
			if len(others) == len(types) {
				continue
			}
			last := strings.TrimSpace(cells[len(cells)-1])
			rest := line[:strings.LastIndex(strings.TrimSuffix(line, " |"), "| ")+2]
			if last == nobody {
				last = function
			} else {
				last += ", " + function
			}
			if len(others) == 0 {
				lines[n] = rest + last + " |"
			} else {
				lines[n] = strings.Replace(line, strings.TrimSpace(cells[0]), strings.Join(others, ", "), 1) + "\n| " + eventType + " | " + last + " |"
			}
			return strings.Join(lines, "\n"), nil
		}
		return "", fmt.Errorf("no table has a row about %s", eventType)
	}
}

// row adds a row to the table whose heading is given.
func row(heading, added string) edit {
	return func(text string) (string, error) {
		_, rest, found := strings.Cut(text, "\n"+heading+"\n")
		end := strings.Index(rest, "\n\n")
		if !found || end < 0 {
			return "", fmt.Errorf("there is no table with the heading %q", heading)
		}
		at := len(text) - len(rest) + end
		return text[:at] + "\n" + added + text[at:], nil
	}
}
