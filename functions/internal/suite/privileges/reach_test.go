package privileges_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "example.com/orders/"

// program is the source of this module with its types, without tests. It answers which statements a function can run: the
// constants with SQL that are named by what is named, and so on, from its methods on. That a function names another one
// counts as a call, so callbacks count where they are made. A method of an interface stands for those of all types that are
// named and have it.
type program struct {
	packages map[string]*types.Package
	named    map[types.Object]map[types.Object]bool // what a declaration names
	sql      map[types.Object]string                // constants with a statement
}

// load reads the program; it is the same for all tests.
var load = sync.OnceValues(func() (*program, error) {
	command := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,GoFiles,Export,Standard,Module", "./functions/...", "./knative", "./sql/...")
	command.Dir = filepath.Join("..", "..", "..", "..")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, err
	}
	p := &program{packages: map[string]*types.Package{}, named: map[types.Object]map[types.Object]bool{}, sql: map[types.Object]string{}}
	exports := map[string]string{}
	files := token.NewFileSet()
	compiled := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; { // dependencies come first
		var listed struct {
			ImportPath, Dir, Export string
			GoFiles                 []string
		}
		if err := decoder.Decode(&listed); errors.Is(err, io.EOF) {
			return p, nil
		} else if err != nil {
			return nil, err
		}
		exports[listed.ImportPath] = listed.Export
		if strings.HasPrefix(listed.ImportPath, module) {
			if err := p.add(files, compiled, listed.ImportPath, listed.Dir, listed.GoFiles); err != nil {
				return nil, err
			}
		}
	}
})

// importing imports packages of the module from their source, so that each of their objects exists once.
type importing struct {
	own    map[string]*types.Package
	others types.Importer
}

func (i importing) Import(path string) (*types.Package, error) {
	if own, ok := i.own[path]; ok {
		return own, nil
	}
	return i.others.Import(path)
}

func (p *program) add(files *token.FileSet, compiled types.Importer, path, dir string, names []string) error {
	var parsed []*ast.File
	for _, name := range names {
		file, err := parser.ParseFile(files, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		parsed = append(parsed, file)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: importing{p.packages, compiled}}
	checked, err := config.Check(path, files, parsed, info)
	if err != nil {
		return err
	}
	p.packages[path] = checked
	for _, file := range parsed {
		for _, declaration := range file.Decls {
			switch declaration := declaration.(type) {
			case *ast.FuncDecl:
				p.record(info, declaration, declaration.Name)
			case *ast.GenDecl:
				for _, spec := range declaration.Specs {
					if values, ok := spec.(*ast.ValueSpec); ok {
						p.record(info, values, values.Names...)
					}
				}
			}
		}
	}
	return nil
}

// record notes what a declaration names.
func (p *program) record(info *types.Info, declaration ast.Node, names ...*ast.Ident) {
	uses := map[types.Object]bool{}
	ast.Inspect(declaration, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && info.Uses[id] != nil && info.Uses[id].Pkg() != nil {
			uses[origin(info.Uses[id])] = true
		}
		return true
	})
	for _, name := range names {
		object := info.Defs[name]
		if object == nil {
			continue
		}
		p.named[object] = uses
		if c, ok := object.(*types.Const); ok && c.Val().Kind() == constant.String {
			if text := constant.StringVal(c.Val()); strings.HasPrefix(text, "-- name:") {
				p.sql[object] = text
			}
		}
	}
}

// origin returns the declaration of a generic function's or method's instance.
func origin(o types.Object) types.Object {
	if f, ok := o.(*types.Func); ok {
		return f.Origin()
	}
	return o
}

// statements returns the statements that are reached from some declarations, each with the package that has it. Nothing
// is reached through what is in without.
func (p *program) statements(from []types.Object, without ...types.Object) map[string]string {
	reached := map[types.Object]bool{}
	for _, o := range without {
		reached[o] = true
	}
	var live []*types.Named
	abstract := map[*types.Func]bool{}
	rest := from
	for {
		for len(rest) > 0 {
			o := rest[len(rest)-1]
			rest = rest[:len(rest)-1]
			if reached[o] {
				continue
			}
			reached[o] = true
			for used := range p.named[o] {
				rest = append(rest, used)
			}
			switch o := o.(type) {
			case *types.TypeName:
				if named, ok := o.Type().(*types.Named); ok && !types.IsInterface(named) && strings.HasPrefix(o.Pkg().Path(), module) {
					live = append(live, named)
				}
			case *types.Func:
				if recv := o.Signature().Recv(); recv != nil && types.IsInterface(recv.Type()) {
					abstract[o] = true
				}
			}
		}
		for method := range abstract {
			on, _ := method.Signature().Recv().Type().Underlying().(*types.Interface)
			for _, named := range live {
				if named.TypeParams().Len() > 0 || !types.Implements(types.NewPointer(named), on) {
					continue
				}
				concrete, _, _ := types.LookupFieldOrMethod(named, true, method.Pkg(), method.Name())
				if concrete != nil && !reached[origin(concrete)] {
					rest = append(rest, origin(concrete))
				}
			}
		}
		if len(rest) == 0 {
			break
		}
	}
	found := map[string]string{}
	for o := range reached {
		if text, ok := p.sql[o]; ok {
			found[text] = strings.TrimPrefix(o.Pkg().Path(), module+"sql/")
		}
	}
	return found
}

// object returns a declaration of a package, by its name.
func (p *program) object(t *testing.T, path, name string) types.Object {
	t.Helper()
	require.Contains(t, p.packages, module+path)
	o := p.packages[module+path].Scope().Lookup(name)
	require.NotNil(t, o, "%s has no %s", path, name)
	return o
}

// methods returns methods of a type, promoted ones too; those that it lacks are left out.
func (p *program) methods(t *testing.T, path, name string, wanted ...string) (all []types.Object) {
	t.Helper()
	of := p.object(t, path, name)
	for _, method := range wanted {
		if o, _, _ := types.LookupFieldOrMethod(types.NewPointer(of.Type()), true, of.Pkg(), method); o != nil {
			all = append(all, origin(o))
		}
	}
	require.NotEmpty(t, all, "%s.%s has none of these methods", path, name)
	return all
}
