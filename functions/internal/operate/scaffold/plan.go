package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

//go:embed templates/*.tmpl
var templates embed.FS

var parsed = template.Must(template.ParseFS(templates, "templates/*.tmpl"))

// plan is what is to be written, and what stands against it.
type plan struct {
	names

	root     string
	files    []file
	problems []error
}

type file struct {
	Change

	text string
}

func (p *plan) fail(err error) { p.problems = append(p.problems, err) }

// render fills in a template.
func (p *plan) render(name string) string {
	var text bytes.Buffer
	if err := parsed.ExecuteTemplate(&text, name+".tmpl", p.names); err != nil {
		p.fail(err)
	}
	return text.String()
}

// unnamed holds that the package in a folder has no such names.
func (p *plan) unnamed(folder string, names ...string) {
	files, err := filepath.Glob(filepath.Join(p.root, folder, "*.go"))
	if err != nil {
		p.fail(err)
	}
	for _, path := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			p.fail(err)
			continue
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				p.clash(folder, n.Name.Name, names)
			case *ast.ValueSpec:
				for _, name := range n.Names {
					p.clash(folder, name.Name, names)
				}
			case *ast.FuncDecl:
				if n.Recv == nil {
					p.clash(folder, n.Name.Name, names)
				}
				return false
			}
			return true
		})
	}
}

func (p *plan) clash(folder, name string, names []string) {
	if slices.Contains(names, name) {
		p.fail(fmt.Errorf("--emits %q: the package %s has a %s already: give another type", p.Emits, folder, name))
	}
}

// create plans a file that is not there yet.
func (p *plan) create(path, templateName string) {
	if _, err := os.Lstat(filepath.Join(p.root, filepath.FromSlash(path))); err == nil {
		p.fail(fmt.Errorf("%s is there already: remove it, or give another name", path))
		return
	}
	p.add(file{Change{path, true}, p.render(templateName)})
}

// change plans a change of a file.
func (p *plan) change(path string, edits ...edit) {
	text, err := os.ReadFile(filepath.Join(p.root, filepath.FromSlash(path)))
	if err != nil {
		p.fail(err)
		return
	}
	changed := string(text)
	for _, e := range edits {
		if changed, err = e(changed); err != nil {
			p.fail(fmt.Errorf("%s: %w: add the lines by hand, as the README says", path, err))
			return
		}
	}
	p.add(file{Change{path, false}, changed})
}

func (p *plan) add(f file) {
	if strings.HasSuffix(f.Path, ".go") {
		formatted, err := format.Source([]byte(f.text))
		if err != nil {
			p.fail(fmt.Errorf("%s: %w", f.Path, err))
		}
		f.text = string(formatted)
	}
	p.files = append(p.files, f)
}

// write writes what is planned, unless something stands against it.
func (p *plan) write() (written []Change, err error) {
	if err := errors.Join(p.problems...); err != nil {
		return nil, err
	}
	for _, f := range p.files {
		path := filepath.Join(p.root, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return written, err
		}
		if err := os.WriteFile(path, []byte(f.text), 0o644); err != nil { //nolint:gosec // source code is for everybody to read
			return written, err
		}
		written = append(written, f.Change)
	}
	return written, nil
}
