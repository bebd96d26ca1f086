package knative

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	kustomizationFile = "kustomization.yaml"
	overlaysFolder    = "overlays"
	// BaseName names the base where an overlay may be named, and is its folder.
	BaseName = "base"
)

// kustomization has the fields of kustomize that the harness acts out: an overlay adds the files of its components to the
// base, and removes objects of it.
type kustomization struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Namespace  string   `json:"namespace"`
	Resources  []string `json:"resources"`
	Components []string `json:"components"`
	Patches    []struct {
		Patch string `json:"patch"`
	} `json:"patches"`
}

// The kinds of a kustomization.yaml. A component, unlike a kustomization, patches what lists it.
const (
	kindKustomization = "kustomize.config.k8s.io/v1beta1 Kustomization"
	kindComponent     = "kustomize.config.k8s.io/v1alpha1 Component"
)

// deletion is the only patch that the harness acts out: it names an object that the overlay goes without.
type deletion struct {
	header
	Patch string `json:"$patch"`
}

// read reads the folder base, or an overlay with all that it lists.
func read(fsys fs.FS, folder string) (*base, error) {
	b := &base{}
	if err := b.kustomize(fsys, folder, kindKustomization); err != nil {
		return nil, err
	}
	if b.namespace == "" {
		return nil, fmt.Errorf("%s: namespace is missing: every manifest gets it from there", path.Join(folder, kustomizationFile))
	}
	return b, nil
}

// kustomize adds a folder as kustomize does: resources first, then components, then patches.
func (b *base) kustomize(fsys fs.FS, folder, kind string) error {
	file := path.Join(folder, kustomizationFile)
	text, err := fs.ReadFile(fsys, file)
	if err != nil {
		return fmt.Errorf("read the wiring: %w", err)
	}
	var k kustomization
	if err := strict(text, &k); err != nil {
		return fmt.Errorf("%s: %w: the harness acts out namespace, resources, components, and patches that delete; move other settings to a component that only clusters use", file, err)
	}
	if is := k.APIVersion + " " + k.Kind; is != kind {
		return fmt.Errorf("%s is %q: give %s, by which it is listed", file, is, kind)
	}
	for _, resource := range k.Resources {
		if err := b.resource(fsys, folder, resource); err != nil {
			return err
		}
	}
	for _, component := range k.Components {
		if err := b.kustomize(fsys, path.Join(folder, component), kindComponent); err != nil {
			return fmt.Errorf("%s lists %s: %w", file, component, err)
		}
	}
	for _, p := range k.Patches {
		if err := b.remove(p.Patch); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	if k.Namespace != "" && b.namespace != "" && k.Namespace != b.namespace {
		return fmt.Errorf("%s: the namespace is %s, and what it lists is in %s: give both one name", file, k.Namespace, b.namespace)
	}
	if k.Namespace != "" {
		b.namespace = k.Namespace
	}
	return nil
}

// resource adds a file of manifests, or a folder with a kustomization of its own.
func (b *base) resource(fsys fs.FS, folder, name string) error {
	at := path.Join(folder, name)
	info, err := fs.Stat(fsys, at)
	if err == nil && info.IsDir() {
		return b.kustomize(fsys, at, kindKustomization)
	}
	text, err := fs.ReadFile(fsys, at)
	if err != nil {
		return fmt.Errorf("%s lists %s: %w", path.Join(folder, kustomizationFile), name, err)
	}
	file, err := decodeFile(at, text)
	if err != nil {
		return err
	}
	b.join(file)
	return nil
}

// join adds the manifests of a file.
func (b *base) join(file *base) {
	b.namespaces = append(b.namespaces, file.namespaces...)
	b.services = append(b.services, file.services...)
	b.sources = append(b.sources, file.sources...)
	b.sinks = append(b.sinks, file.sinks...)
	b.pings = append(b.pings, file.pings...)
	b.topics = append(b.topics, file.topics...)
	b.jobs = append(b.jobs, file.jobs...)
	b.connects = append(b.connects, file.connects...)
	b.connectors = append(b.connectors, file.connectors...)
}

// remove removes the object that a patch names.
func (b *base) remove(patch string) error {
	var d deletion
	if err := strict([]byte(patch), &d); err != nil || d.Patch != "delete" {
		return errors.Join(fmt.Errorf("the harness acts out patches with $patch: delete, apiVersion, kind and metadata.name only: "+
			"move the patch to a component that only clusters use, or replace the object: %.60q", patch), err)
	}
	gone := func(h header) bool {
		return h.APIVersion == d.APIVersion && h.Kind == d.Kind && h.Metadata.Name == d.Metadata.Name
	}
	before := b.count()
	b.namespaces = slices.DeleteFunc(b.namespaces, gone)
	b.services = without(b.services, gone)
	b.sources = without(b.sources, gone)
	b.sinks = without(b.sinks, gone)
	b.pings = without(b.pings, gone)
	b.topics = without(b.topics, gone)
	b.jobs = without(b.jobs, gone)
	b.connects = without(b.connects, gone)
	b.connectors = without(b.connectors, gone)
	if b.count() == before {
		return fmt.Errorf("a patch deletes %s %s %s, which does not exist: name an object that the kustomization lists", d.APIVersion, d.Kind, d.Metadata.Name)
	}
	return nil
}

func (b *base) count() int {
	return len(b.namespaces) + len(b.services) + len(b.sources) + len(b.sinks) + len(b.pings) + len(b.topics) + len(b.jobs) + len(b.connects) + len(b.connectors)
}

// first returns the first lines of a manifest, for all kinds.
func (h header) first() header { return h }

func without[T interface{ first() header }](all []T, gone func(header) bool) []T {
	return slices.DeleteFunc(all, func(m T) bool { return gone(m.first()) })
}

// Overlays lists the overlays that the harness can act out, by name, in order.
func Overlays() []string { return overlaysOf(Manifests()) }

// Routings lists the overlays that route events in another way than the base. The others differ only in who publishes them.
func Routings() (names []string) {
	for _, name := range Overlays() {
		if w, err := LoadOverlay(Manifests(), name); err != nil || !w.Captures() {
			names = append(names, name)
		}
	}
	return names
}

func overlaysOf(fsys fs.FS) (names []string) {
	entries, err := fs.ReadDir(fsys, overlaysFolder)
	if err != nil {
		return nil // there are none
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// LoadOverlay reads the manifests of an overlay in a folder like knative/, of the base for the names "" and BaseName, and
// checks them as Load does. Of kustomize it acts out namespace, resources, components, and patches with $patch: delete, and refuses
// everything else.
func LoadOverlay(fsys fs.FS, name string) (*Wiring, error) {
	if name == BaseName {
		name = ""
	}
	folder := BaseName
	if name != "" {
		if names := overlaysOf(fsys); !slices.Contains(names, name) {
			return nil, fmt.Errorf("there is no overlay %q: use %s", name, strings.Join(append([]string{BaseName}, names...), " or "))
		}
		folder = path.Join(overlaysFolder, name)
	}
	b, err := read(fsys, folder)
	if err != nil {
		return nil, err
	}
	w, err := b.check()
	if err != nil {
		return nil, err
	}
	w.Overlay = name
	return w, nil
}
