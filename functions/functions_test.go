package functions_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"example.com/orders/functions"
	"example.com/orders/functions/internal/function/host"
	"example.com/orders/knative"
)

// project is a func.yaml, with the fields of func's format that the project uses.
type project struct {
	SpecVersion string `json:"specVersion"`
	Name        string `json:"name"`
	Runtime     string `json:"runtime"`
	Registry    string `json:"registry"`
	Created     string `json:"created"`
	Invoke      string `json:"invoke"`
	Build       struct {
		Builder string `json:"builder"`
	} `json:"build"`
	Run struct {
		Envs []setting `json:"envs"`
	} `json:"run"`
	Deploy struct {
		Namespace       string  `json:"namespace"`
		Labels          []label `json:"labels"`
		HealthEndpoints struct {
			Liveness  string `json:"liveness"`
			Readiness string `json:"readiness"`
		} `json:"healthEndpoints"`
		Options struct {
			Scale struct {
				Min int `json:"min"`
				Max int `json:"max"`
			} `json:"scale"`
			Resources struct {
				Requests allotment `json:"requests"`
				Limits   struct {
					allotment
					Concurrency int `json:"concurrency"`
				} `json:"limits"`
			} `json:"resources"`
		} `json:"options"`
	} `json:"deploy"`
}

type setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type label struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type allotment struct {
	CPU    string `json:"cpu"`
	Memory string `json:"memory"`
}

// manifest is a Service of the wiring. Loading the wiring checks its contents.
type manifest struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Template struct {
			Metadata struct {
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
			Spec struct {
				ContainerConcurrency int `json:"containerConcurrency"`
				Containers           []struct {
					Image string `json:"image"`
					Env   []struct {
						Name      string `json:"name"`
						Value     string `json:"value"`
						ValueFrom map[string]struct {
							Name string `json:"name"`
							Key  string `json:"key"`
						} `json:"valueFrom"`
					} `json:"env"`
					LivenessProbe  probe `json:"livenessProbe"`
					ReadinessProbe probe `json:"readinessProbe"`
					Resources      struct {
						Requests allotment `json:"requests"`
						Limits   allotment `json:"limits"`
					} `json:"resources"`
				} `json:"containers"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type probe struct {
	HTTPGet struct {
		Path string `json:"path"`
	} `json:"httpGet"`
}

const functionLabel = "orders.example.com/function"

// manifests reads the Services of all wirings, by the folders of their functions.
func manifests(t *testing.T) map[string][]manifest {
	t.Helper()
	all := map[string][]manifest{}
	files := []string{}
	for _, pattern := range []string{"base/*.yaml", "components/*/*.yaml"} {
		found, err := fs.Glob(knative.Manifests(), pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	for _, file := range files {
		text, err := fs.ReadFile(knative.Manifests(), file)
		require.NoError(t, err)
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			var m manifest
			require.NoError(t, yaml.Unmarshal([]byte(document), &m), file)
			if m.Kind == "Service" {
				folder := m.Metadata.Labels[functionLabel]
				all[folder] = append(all[folder], m)
			}
		}
	}
	return all
}

// asProject returns the func.yaml that the Service m requires.
func asProject(t *testing.T, m manifest) (p project) {
	t.Helper()
	template := m.Spec.Template
	require.Len(t, template.Spec.Containers, 1)
	c := template.Spec.Containers[0]
	// func reports an unknown builder to anyone who calls it in the folder of a function.
	p.SpecVersion, p.Runtime, p.Build.Builder = "0.36.0", "go", "none here: use knative/func.sh"
	p.Name, p.Registry = m.Metadata.Name, strings.TrimSuffix(c.Image, "/"+m.Metadata.Name)
	for _, variable := range c.Env {
		if variable.Name == "LISTEN_ADDRESS" {
			continue // func sets it in the image, and to another value when it runs the function locally
		}
		value := variable.Value
		for kind, ref := range variable.ValueFrom {
			value = fmt.Sprintf("{{ %s:%s:%s }}", strings.TrimSuffix(kind, "KeyRef"), ref.Name, ref.Key)
		}
		p.Run.Envs = append(p.Run.Envs, setting{variable.Name, value})
	}
	p.Deploy.Namespace = "orders"
	for key, value := range m.Metadata.Labels {
		p.Deploy.Labels = append(p.Deploy.Labels, label{key, value})
	}
	p.Deploy.HealthEndpoints.Liveness = c.LivenessProbe.HTTPGet.Path
	p.Deploy.HealthEndpoints.Readiness = c.ReadinessProbe.HTTPGet.Path
	require.NoError(t, json.Unmarshal([]byte(template.Metadata.Annotations["autoscaling.knative.dev/min-scale"]), &p.Deploy.Options.Scale.Min))
	require.NoError(t, json.Unmarshal([]byte(template.Metadata.Annotations["autoscaling.knative.dev/max-scale"]), &p.Deploy.Options.Scale.Max))
	p.Deploy.Options.Resources.Requests = c.Resources.Requests
	p.Deploy.Options.Resources.Limits.allotment = c.Resources.Limits
	p.Deploy.Options.Resources.Limits.Concurrency = template.Spec.ContainerConcurrency
	return p
}

// sorted orders the lists whose order does not matter.
func sorted(p project) project {
	slices.SortFunc(p.Run.Envs, func(a, b setting) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Deploy.Labels, func(a, b label) int { return strings.Compare(a.Key, b.Key) })
	return p
}

func TestEachFunctionIsDeployedByFuncAsByItsManifest(t *testing.T) {
	services := manifests(t)
	for folder, construct := range functions.Catalogue {
		t.Run(folder, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(folder, "func.yaml"))
			require.NoError(t, err)
			var p project
			require.NoError(t, yaml.UnmarshalStrict(text, &p))
			assertExact(t, text, p)
			_, err = time.Parse(time.RFC3339, p.Created)
			assert.NoError(t, err, "func takes a function without the time of its creation for one that is not there")
			assert.Equal(t, "http", p.Invoke, "the reader of events is ours, not that of func's runtime")
			_, err = host.New(construct())
			assert.NoError(t, err)

			at := slices.IndexFunc(services[folder], func(m manifest) bool { return m.Metadata.Name == p.Name })
			require.NotEqual(t, -1, at, "the wiring has no Service %s of %s", p.Name, folder)
			want := asProject(t, services[folder][at])
			want.Created, want.Invoke = p.Created, p.Invoke
			assert.Equal(t, sorted(want), sorted(p))
		})
	}
}

// assertExact asserts that text has the fields of p in their letter case: the decoder ignores case, and func does not.
func assertExact(t *testing.T, text []byte, p project) {
	t.Helper()
	again, err := json.Marshal(p)
	require.NoError(t, err)
	plain, err := yaml.YAMLToJSON(text)
	require.NoError(t, err)
	assert.JSONEq(t, string(again), string(plain))
}

// TestServicesOfOneFunctionDifferInTheirValuesOnly checks that one func.yaml stands for all Services of its function.
func TestServicesOfOneFunctionDifferInTheirValuesOnly(t *testing.T) {
	for folder, services := range manifests(t) {
		assert.Contains(t, functions.Catalogue, folder)
		first := sorted(asProject(t, services[0]))
		for _, m := range services[1:] {
			other := sorted(asProject(t, m))
			require.Len(t, other.Run.Envs, len(first.Run.Envs), m.Metadata.Name)
			for i, variable := range first.Run.Envs {
				if variable.Name == "MYSQL_DSN" {
					assert.Equal(t, "{{ secret:orders-mysql:"+m.Metadata.Name+" }}", other.Run.Envs[i].Value, "its own login")
					other.Run.Envs[i].Value = variable.Value
				}
				if slices.Contains([]string{"OUTBOX_SCHEMA", "SINK_SUBJECTS"}, variable.Name) {
					assert.True(t, m.Metadata.Name == first.Name || variable.Value != other.Run.Envs[i].Value, variable.Name)
					other.Run.Envs[i].Value = variable.Value
				}
				if variable.Name == knative.PublisherVariable {
					assert.Contains(t, []string{"relay", knative.CDCPublisher}, other.Run.Envs[i].Value)
					other.Run.Envs[i].Value = variable.Value
				}
			}
			other.Name = first.Name
			assert.Equal(t, first, other)
		}
	}
}

func TestTheCatalogueHasEveryFolder(t *testing.T) {
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	services := manifests(t)
	folders := 0
	for _, entry := range entries {
		if !entry.IsDir() || slices.Contains([]string{"internal", "harness", "deploy"}, entry.Name()) {
			continue
		}
		folders++
		assert.Contains(t, functions.Catalogue, entry.Name())
		assert.NotEmpty(t, services[entry.Name()], "%s has no Service in the wiring", entry.Name())
	}
	assert.Len(t, functions.Catalogue, folders)
}

func TestAFunctionIsItsCodeAndItsDeployment(t *testing.T) {
	for folder := range functions.Catalogue {
		for _, file := range []string{folder + ".go", folder + "_test.go", "func.yaml"} {
			assert.FileExists(t, filepath.Join(folder, file))
		}
	}
}
