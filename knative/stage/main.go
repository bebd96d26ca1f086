// Command stage copies one function into a folder that the func command can build: func builds the root package of a module,
// and the functions are folders of one module. Given the name of a Service it writes go.mod, the packages that the function
// needs, its func.yaml, and a root package with only the function, served over HTTP.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"example.com/orders/knative"
)

const usage = `give NAME and DIR, -list or -needs, from the root of the repository:
  stage NAME DIR     lay out the function that is deployed as NAME in DIR
  stage -list        print the names of all functions of the base, or of the overlay HARNESS_OVERLAY, in the order in which
                     to deploy them
  stage -needs NAME  print the variables that NAME gets from Secrets on a cluster, and from whoever runs it elsewhere`

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "stage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	services, err := every()
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "-list":
		return list(out)
	case len(args) == 2 && args[0] == "-needs":
		service, err := find(services, args[1])
		for _, variable := range service.Needs {
			fmt.Fprintln(out, variable)
		}
		return err
	case len(args) == 2:
		return stage(ctx, services, args[0], args[1])
	default:
		return errors.New(usage)
	}
}

// every lists the Services of the base and of all overlays.
func every() (all []knative.Service, err error) {
	for _, name := range append([]string{knative.BaseName}, knative.Overlays()...) {
		w, err := knative.LoadOverlay(knative.Manifests(), name)
		if err != nil {
			return nil, err
		}
		for _, s := range w.Services {
			if !slices.ContainsFunc(all, func(known knative.Service) bool { return known.Name == s.Name }) {
				all = append(all, s)
			}
		}
	}
	return deployed(all), nil
}

// list prints the names of the functions of the wiring that the environment names.
func list(out io.Writer) error {
	wiring, err := knative.Configured(map[string]string{knative.OverlayVariable: os.Getenv(knative.OverlayVariable)})
	if err != nil {
		return err
	}
	for _, s := range deployed(wiring.Services) {
		fmt.Fprintln(out, s.Name)
	}
	return nil
}

// deployed sorts the public services last: an accepted order then finds all consumers running.
func deployed(services []knative.Service) []knative.Service {
	services = slices.Clone(services)
	slices.SortStableFunc(services, func(a, b knative.Service) int { return order(a) - order(b) })
	return services
}

func order(s knative.Service) int {
	if s.Public {
		return 1
	}
	return 0
}

// The files of a staged folder that belong to func. It keeps its data about builds and instances there, across stagings.
const (
	rootFile   = "function.go"
	funcFolder = ".func"
	funcFile   = "func.yaml"
)

func find(services []knative.Service, name string) (knative.Service, error) {
	names := make([]string, len(services))
	for i, s := range services {
		if s.Name == name {
			return s, nil
		}
		names[i] = s.Name
	}
	return knative.Service{}, fmt.Errorf("there is no function %q: use one of %s", name, strings.Join(names, ", "))
}

func stage(ctx context.Context, services []knative.Service, name, dir string) error {
	service, err := find(services, name)
	if err != nil {
		return err
	}
	module, files, err := sources(ctx, service.Function)
	if err != nil {
		return err
	}
	if err := empty(dir); err != nil {
		return err
	}
	for _, file := range append(files, "go.mod", "go.sum") {
		if err := copyFile(file, filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	// The host builder of func copies its folder into the image, beside the program, which needs nothing of it.
	if err := os.WriteFile(filepath.Join(dir, ".funcignore"), []byte("*\n"), 0o644); err != nil { //nolint:gosec // for func to read
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, rootFile), root(module, service), 0o644); err != nil { //nolint:gosec // for func to read
		return err
	}
	return project(service, dir)
}

// root returns the root package of a staged function.
func root(module string, s knative.Service) []byte {
	return []byte(fmt.Sprintf(`// Package orders is the function %[1]s.
package orders

import (
	"%[2]s/functions/deploy"
	f "%[2]s/functions/%[3]s"
)

// New returns the function.
func New() *deploy.Function { return deploy.New(f.New()) }
`, s.Name, module, s.Function))
}

// builders replaces the builder of func.yaml. In the folder of a function, where func cannot build, its name is the error
// message; a staged function needs a real one.
var builders = strings.NewReplacer("builder: 'none here: use knative/func.sh'", "builder: host")

// project writes the func.yaml of a function with the builder. If the folder's func.yaml is that of another Service of the
// function, it sets this one's name and values, and the key of its own login.
func project(s knative.Service, dir string) error {
	own := filepath.Join("functions", s.Function, funcFile)
	text, err := os.ReadFile(own)
	if err != nil {
		return fmt.Errorf("read the func.yaml of %s: %w", s.Name, err)
	}
	text = []byte(builders.Replace(string(text)))
	var p map[string]any
	if err := yaml.Unmarshal(text, &p); err != nil {
		return fmt.Errorf("%s: %w", own, err)
	}
	if other, _ := p["name"].(string); other != s.Name {
		p["name"] = s.Name
		run, _ := p["run"].(map[string]any)
		envs, _ := run["envs"].([]any)
		for _, e := range envs {
			variable, _ := e.(map[string]any)
			name, _ := variable["name"].(string)
			if value, ok := s.Env[name]; ok {
				variable["value"] = value
			} else if value, ok := variable["value"].(string); ok {
				variable["value"] = strings.Replace(value, ":"+other+" }}", ":"+s.Name+" }}", 1)
			}
		}
		if text, err = yaml.Marshal(p); err != nil {
			return fmt.Errorf("write the func.yaml of %s: %w", s.Name, err)
		}
	}
	return os.WriteFile(filepath.Join(dir, funcFile), text, 0o644) //nolint:gosec // for func to read
}

// sources returns the module, and the files of all its packages that a function needs, without tests, as paths from the root
// of the repository.
func sources(ctx context.Context, function string) (module string, files []string, err error) {
	const format = `{{if .Module}}{{if .Module.Main}}{"module":{{printf "%q" .Module.Path}},"root":{{printf "%q" .Module.Dir}},"dir":{{printf "%q" .Dir}},` +
		`"files":[{{range .GoFiles}}{{printf "%q" .}},{{end}}{{range .IgnoredGoFiles}}{{printf "%q" .}},{{end}}{{range .EmbedFiles}}{{printf "%q" .}},{{end}}""]}{{end}}{{end}}`
	command := exec.CommandContext(ctx, "go", "list", "-deps", "-f", format, "./functions/deploy", "./functions/"+function)
	command.Stderr = os.Stderr
	text, err := command.Output()
	if err != nil {
		return "", nil, fmt.Errorf("list the packages of %s: %w", function, err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var p struct {
			Module, Root, Dir string
			Files             []string
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			return "", nil, fmt.Errorf("list the packages of %s: %w", function, err)
		}
		dir, err := filepath.Rel(p.Root, p.Dir)
		if err != nil {
			return "", nil, err
		}
		module = p.Module
		for _, file := range p.Files {
			// Include files for other platforms, since func builds for several.
			if file != "" && !strings.HasSuffix(file, "_test.go") {
				files = append(files, filepath.Join(dir, file))
			}
		}
	}
	return module, files, nil
}

// empty creates dir, or removes everything but func's own files from it. It refuses a folder with files that were not
// staged.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, rootFile)); len(entries) > 0 && err != nil {
		return fmt.Errorf("%s has files that were not staged: use a new folder, or one of an earlier staging", dir)
	}
	for _, entry := range entries {
		if entry.Name() == funcFolder || entry.Name() == rootFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o755)
}

func copyFile(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, text, 0o644) //nolint:gosec // for func to read
}
