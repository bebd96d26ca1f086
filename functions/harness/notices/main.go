// Command notices writes what belongs beside a binary that is passed on: THIRD_PARTY_NOTICES, with the licenses of the modules
// that are in it and of Go, and sbom.json, its bill of materials in CycloneDX 1.6. It reads the modules from the binary itself,
// and their licenses from the module cache, which must have them, as it does after a build.
//
//	go run ./functions/harness/notices BINARY FOLDER
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: notices BINARY FOLDER")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary, folder string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	licenses, err := read(ctx, info)
	if err != nil {
		return err
	}
	var notices bytes.Buffer
	write(&notices, info, licenses)
	bill, err := bill(info)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "THIRD_PARTY_NOTICES"), notices.Bytes(), 0o644), //nolint:gosec // for everybody who has the image
		os.WriteFile(filepath.Join(folder, "sbom.json"), bill, 0o644),                      //nolint:gosec // likewise
	)
}

// used returns the module whose code is in the binary: a replacement stands for what it replaces.
func used(m *debug.Module) *debug.Module {
	if m.Replace != nil {
		return m.Replace
	}
	return m
}

// license is a text with the modules that it is of.
type license struct {
	text string
	of   []string
}

// name matches the names of files with licenses, and with the notices that Apache-2.0 wants passed on.
var name = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-._].*)?$`)

// read returns the different licenses of the modules, in order of the first module of each. It fails if a module has none.
func read(ctx context.Context, info *debug.BuildInfo) (all []*license, err error) {
	known := map[[sha256.Size]byte]*license{}
	add := func(of, root string) error {
		found := false
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() {
				if entry.Name() == "testdata" {
					return fs.SkipDir
				}
				return nil
			}
			if !name.MatchString(entry.Name()) || strings.HasSuffix(entry.Name(), ".go") {
				return nil
			}
			text, err := os.ReadFile(path) //nolint:gosec // in the module cache, which the builder trusts
			if err != nil {
				return err
			}
			found = true
			sum := sha256.Sum256(text)
			if known[sum] == nil {
				known[sum] = &license{text: string(text)}
				all = append(all, known[sum])
			}
			if !slices.Contains(known[sum].of, of) {
				known[sum].of = append(known[sum].of, of)
			}
			return nil
		})
		if err == nil && !found {
			err = fmt.Errorf("%s has no license in %s: may it be passed on?", of, root)
		}
		return err
	}
	root, err := output(ctx, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	for _, file := range []string{"LICENSE", "PATENTS"} {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, fmt.Errorf("the license of Go: %w", err)
		}
		all = append(all, &license{string(text), []string{"the standard library and the runtime of Go, " + info.GoVersion}})
	}
	for _, dependency := range info.Deps {
		m := used(dependency)
		dir, err := output(ctx, "list", "-m", "-f", "{{.Dir}}", m.Path)
		if err != nil {
			return nil, err
		}
		if dir == "" {
			return nil, fmt.Errorf("%s %s is not in the module cache: run go mod download", m.Path, m.Version)
		}
		if err := add(m.Path+" "+m.Version, dir); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// output runs the go command, whose version and modules are those of this checkout.
func output(ctx context.Context, args ...string) (string, error) {
	command := exec.CommandContext(ctx, "go", args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

func write(w io.Writer, info *debug.BuildInfo, licenses []*license) {
	fmt.Fprintf(w, "%s contains the following, under these licenses. Its certificate authorities are those of Mozilla's list, under MPL-2.0.\n", info.Path)
	for _, l := range licenses {
		fmt.Fprintf(w, "\n%s\n", strings.Repeat("=", 80))
		for _, of := range l.of {
			fmt.Fprintln(w, of)
		}
		fmt.Fprintf(w, "%s\n\n%s\n", strings.Repeat("-", 80), strings.TrimSpace(l.text))
	}
}

// component is a module in CycloneDX.
type component struct {
	Ref     string `json:"bom-ref"`
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	URL     string `json:"purl"`
}

func newComponent(kind, path, version string) component {
	url := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return component{Ref: url, Type: kind, Name: path, Version: version, URL: url}
}

// bill returns the bill of materials. It is the same for the same binary: it has neither a time nor a serial number.
func bill(info *debug.BuildInfo) ([]byte, error) {
	main := newComponent("application", info.Main.Path, info.Main.Version)
	components := []component{newComponent("library", "std", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, dependency := range info.Deps {
		m := used(dependency)
		components = append(components, newComponent("library", m.Path, m.Version))
	}
	return json.MarshalIndent(map[string]any{
		"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
		"metadata": map[string]any{"component": main}, "components": components,
	}, "", "  ")
}
