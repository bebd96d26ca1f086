package scaffold

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"example.com/orders/events"
	"example.com/orders/functions/internal/operate/asyncapi"
)

// describe writes the AsyncAPI documents of the checkout again, and returns those that changed. It reads the events and who
// emits them from the checkout: this program does not have what has just been written.
func describe(root string) (changed []Change, err error) {
	at := func(path string) string { return filepath.Join(root, filepath.FromSlash(path)) }
	o := asyncapi.Options{Schemas: os.DirFS(at("events/schemas")), Examples: os.DirFS(at("events/testdata")), Avro: os.DirFS(at("events/avro"))}
	if o.Contracts, err = contractsIn(root); err != nil {
		return nil, err
	}
	if o.Emits, err = emitsIn(root); err != nil {
		return nil, err
	}
	documents, err := asyncapi.Files(os.DirFS(at("knative")), o)
	if err != nil {
		return nil, err
	}
	for _, path := range slices.Sorted(maps.Keys(documents)) {
		if before, err := os.ReadFile(at(path)); err == nil && bytes.Equal(before, documents[path]) {
			continue
		}
		if err := os.WriteFile(at(path), documents[path], 0o644); err != nil { //nolint:gosec // a description is for everybody to read
			return changed, err
		}
		changed = append(changed, Change{Path: path})
	}
	return changed, nil
}

// contractsIn lists the versions of the facts of a checkout, by their schemas.
func contractsIn(root string) (all []events.Contract, err error) {
	paths, err := filepath.Glob(filepath.Join(root, "events", "schemas", "*.json"))
	if err != nil {
		return nil, err
	}
	newest := map[string]int{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var schema struct {
			ID         string `json:"$id"`
			Properties struct {
				EventType struct{ Const string }
				Version   struct{ Const int }
			}
		}
		if err := json.Unmarshal(text, &schema); err != nil {
			return nil, fmt.Errorf("decode %s: %w", path, err)
		}
		c := events.Contract{Type: schema.Properties.EventType.Const, Version: schema.Properties.Version.Const, File: filepath.Base(path), URI: schema.ID}
		if c.Type == "" {
			continue // the command
		}
		family, _, _ := strings.Cut(c.Type, ".")
		c.Source = cmp.Or(events.SourceOf(c.Type), "/"+family)
		newest[c.Type] = max(newest[c.Type], c.Version)
		all = append(all, c)
	}
	for n, c := range all {
		all[n].Newest = c.Version == newest[c.Type]
	}
	return all, nil
}

// emitsFile has the types that each function emits.
const emitsFile = "functions/internal/operate/asyncapi/emits.go"

var (
	typeConstant = regexp.MustCompile(`(?m)^(?:const|\t)\s*(\w+Type) *= "([a-z0-9.]+)"$`)
	emission     = regexp.MustCompile(`(?m)^\t"([a-z0-9]+)": *\{(events\..*)\},$`)
)

// emitsIn reads the types that each function of a checkout emits.
func emitsIn(root string) (map[string][]string, error) {
	types := map[string]string{}
	paths, err := filepath.Glob(filepath.Join(root, "events", "*.go"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		for _, found := range typeConstant.FindAllStringSubmatch(string(text), -1) {
			types["events."+found[1]] = found[2]
		}
	}
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(emitsFile)))
	if err != nil {
		return nil, err
	}
	emits := map[string][]string{}
	for _, found := range emission.FindAllStringSubmatch(string(text), -1) {
		for constant := range strings.SplitSeq(found[2], ", ") {
			if types[constant] == "" {
				return nil, fmt.Errorf("%s: package events has no constant %s", emitsFile, constant)
			}
			emits[found[1]] = append(emits[found[1]], types[constant])
		}
	}
	return emits, nil
}
