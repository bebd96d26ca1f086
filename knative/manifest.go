package knative

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"sigs.k8s.io/yaml"
)

// The manifest types have only the fields that the base uses, so that a field without effect in the harness is refused.

type header struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   metadata `json:"metadata"`
}

type metadata struct {
	Name string `json:"name"`
	// Namespace comes from the kustomization; the base leaves it out.
	Namespace   string            `json:"namespace"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type serviceManifest struct {
	header
	Spec struct {
		Template struct {
			Metadata metadata `json:"metadata"`
			Spec     struct {
				ContainerConcurrency int         `json:"containerConcurrency"`
				TimeoutSeconds       int         `json:"timeoutSeconds"`
				AutomountToken       *bool       `json:"automountServiceAccountToken"`
				ServiceAccountName   string      `json:"serviceAccountName"` // only overlays have it
				Containers           []container `json:"containers"`
				Volumes              []volume    `json:"volumes"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type container struct {
	Image           string          `json:"image"`
	Env             []variable      `json:"env"`
	ReadinessProbe  probe           `json:"readinessProbe"`
	LivenessProbe   probe           `json:"livenessProbe"`
	SecurityContext securityContext `json:"securityContext"`
	Resources       resources       `json:"resources"`
	VolumeMounts    []mount         `json:"volumeMounts"`
}

// securityContext belongs to a container. Its zero value allows what the policy "restricted" refuses.
type securityContext struct {
	AllowPrivilegeEscalation *bool `json:"allowPrivilegeEscalation"`
	RunAsNonRoot             bool  `json:"runAsNonRoot"`
	ReadOnlyRootFilesystem   bool  `json:"readOnlyRootFilesystem"`
	Capabilities             struct {
		Drop []string `json:"drop"`
	} `json:"capabilities"`
	SeccompProfile struct {
		Type string `json:"type"`
	} `json:"seccompProfile"`
}

type volume struct {
	Name      string `json:"name"`
	ConfigMap struct {
		Name string `json:"name"`
	} `json:"configMap"`
	// Projected has tokens for KafkaSinks; only overlays have it.
	Projected struct {
		Sources []struct {
			ServiceAccountToken struct {
				Audience string `json:"audience"`
				Path     string `json:"path"`
			} `json:"serviceAccountToken"`
		} `json:"sources"`
	} `json:"projected"`
	Secret struct {
		SecretName string `json:"secretName"`
	} `json:"secret"`
}

type mount struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath"`
	ReadOnly  bool   `json:"readOnly"`
}

// jobManifest is a Job. It runs the harness, which is not a function: it has no probes.
type jobManifest struct {
	header
	Spec struct {
		BackoffLimit            int `json:"backoffLimit"`
		TTLSecondsAfterFinished int `json:"ttlSecondsAfterFinished"`
		Template                struct {
			Spec struct {
				RestartPolicy  string         `json:"restartPolicy"`
				AutomountToken *bool          `json:"automountServiceAccountToken"`
				Containers     []jobContainer `json:"containers"`
				Volumes        []volume       `json:"volumes"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
}

type jobContainer struct {
	Name            string          `json:"name"`
	Image           string          `json:"image"`
	Args            []string        `json:"args"`
	Env             []variable      `json:"env"`
	SecurityContext securityContext `json:"securityContext"`
	Resources       resources       `json:"resources"`
	VolumeMounts    []mount         `json:"volumeMounts"`
}

type variable struct {
	Name      string  `json:"name"`
	Value     *string `json:"value"`
	ValueFrom *struct {
		SecretKeyRef    *keyReference `json:"secretKeyRef"`
		ConfigMapKeyRef *keyReference `json:"configMapKeyRef"`
	} `json:"valueFrom"`
}

type keyReference struct {
	Name     string `json:"name"`
	Key      string `json:"key"`
	Optional bool   `json:"optional"`
}

type probe struct {
	HTTPGet struct {
		Path string `json:"path"`
	} `json:"httpGet"`
	PeriodSeconds    int `json:"periodSeconds"`
	FailureThreshold int `json:"failureThreshold"`
}

type resources struct {
	Requests allotment `json:"requests"`
	Limits   allotment `json:"limits"`
}

type allotment struct {
	CPU    string `json:"cpu"`
	Memory string `json:"memory"`
}

type sourceManifest struct {
	header
	Spec struct {
		BootstrapServers []string          `json:"bootstrapServers"`
		Topics           []string          `json:"topics"`
		ConsumerGroup    string            `json:"consumerGroup"`
		Consumers        int               `json:"consumers"`
		InitialOffset    string            `json:"initialOffset"`
		Ordering         string            `json:"ordering"`
		Delivery         *deliveryManifest `json:"delivery"`
		CEOverrides      struct {
			Extensions map[string]string `json:"extensions"`
		} `json:"ceOverrides"`
		// Net configures access to brokers with authentication; only overlays have it.
		Net *struct {
			TLS struct {
				Enable bool      `json:"enable"`
				CACert secretKey `json:"caCert"`
			} `json:"tls"`
			SASL struct {
				Enable   bool      `json:"enable"`
				Type     secretKey `json:"type"`
				User     secretKey `json:"user"`
				Password secretKey `json:"password"`
			} `json:"sasl"`
		} `json:"net"`
		Sink destination `json:"sink"`
	} `json:"spec"`
}

type secretKey struct {
	SecretKeyRef keyReference `json:"secretKeyRef"`
}

type deliveryManifest struct {
	Retry          *int         `json:"retry"`
	BackoffPolicy  string       `json:"backoffPolicy"`
	BackoffDelay   string       `json:"backoffDelay"`
	Timeout        string       `json:"timeout"`
	DeadLetterSink *destination `json:"deadLetterSink"`
}

type destination struct {
	Ref reference `json:"ref"`
	// Audience is that of the tokens which Knative sends along; only overlays have it.
	Audience string `json:"audience"`
}

type reference struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
}

type sinkManifest struct {
	header
	Spec struct {
		Topic             string   `json:"topic"`
		BootstrapServers  []string `json:"bootstrapServers"`
		ContentMode       string   `json:"contentMode"`
		NumPartitions     *int     `json:"numPartitions"`
		ReplicationFactor *int     `json:"replicationFactor"`
		// Auth configures access to brokers with authentication; only overlays have it.
		Auth *struct {
			Secret struct {
				Ref struct {
					Name string `json:"name"`
				} `json:"ref"`
			} `json:"secret"`
		} `json:"auth"`
	} `json:"spec"`
}

type pingManifest struct {
	header
	Spec struct {
		Schedule    string      `json:"schedule"`
		ContentType string      `json:"contentType"`
		Data        string      `json:"data"`
		Sink        destination `json:"sink"`
	} `json:"spec"`
}

type topicManifest struct {
	header
	Spec struct {
		Partitions int32             `json:"partitions"`
		Replicas   int16             `json:"replicas"`
		Config     map[string]string `json:"config"`
	} `json:"spec"`
}

// connectManifest is a cluster of Kafka Connect. The harness runs none: of its many fields it only has to know those of
// connectSpec.
type connectManifest struct {
	header
	Spec map[string]any `json:"spec"`
}

type connectSpec struct {
	GroupID        string `json:"groupId"`
	ConfigTopic    string `json:"configStorageTopic"`
	OffsetTopic    string `json:"offsetStorageTopic"`
	StatusTopic    string `json:"statusStorageTopic"`
	Authentication struct {
		Username       string `json:"username"`
		PasswordSecret struct {
			SecretName string `json:"secretName"`
		} `json:"passwordSecret"`
	} `json:"authentication"`
}

func (m connectManifest) decoded() (spec connectSpec, err error) {
	text, err := yaml.Marshal(m.Spec)
	if err == nil {
		err = yaml.Unmarshal(text, &spec)
	}
	return spec, err
}

type connectorManifest struct {
	header
	Spec struct {
		Class    string            `json:"class"`
		TasksMax int               `json:"tasksMax"`
		Config   map[string]string `json:"config"`
	} `json:"spec"`
}

// base has all manifests of base/ or of an overlay, decoded but not yet checked.
type base struct {
	namespace  string
	namespaces []header
	services   []serviceManifest
	sources    []sourceManifest
	sinks      []sinkManifest
	pings      []pingManifest
	topics     []topicManifest
	jobs       []jobManifest
	connects   []connectManifest
	connectors []connectorManifest
}

var (
	separator = compiled(`(?m)^---[ \t]*(?:#.*)?\r?$`)
	// marker matches the end of a document in YAML: the decoder stops there, so a remaining one would hide the rest.
	marker = compiled(`(?m)^(?:---|\.\.\.)(?:\s.*)?$`)
)

// compiled returns a func that compiles the pattern when it is first called: relays have this package for its types, and start
// without the patterns of its manifests.
func compiled(pattern string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(pattern) })
}

func documents(text []byte) (all [][]byte, err error) {
	for _, document := range separator().Split(string(text), -1) {
		if found := marker().FindString(document); found != "" {
			return nil, fmt.Errorf("%q ends a document: separate them by a line of --- alone", strings.TrimSpace(found))
		}
		if strings.TrimSpace(document) != "" {
			all = append(all, []byte(document))
		}
	}
	return all, nil
}

// files has the manifests of each text that was decoded, which nothing changes: a start reads several overlays, they list the same
// files, and decoding these is most of the processor time that it takes.
var files = struct {
	sync.Mutex
	decoded map[string]*base
}{decoded: map[string]*base{}}

// decodeFile returns the manifests of a file with this text.
func decodeFile(name string, text []byte) (*base, error) {
	files.Lock()
	defer files.Unlock()
	if file := files.decoded[string(text)]; file != nil {
		return file, nil
	}
	all, err := documents(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	file := &base{}
	for i, document := range all {
		if err := file.add(document); err != nil {
			return nil, fmt.Errorf("%s, document %d: %w", name, i+1, err)
		}
	}
	files.decoded[string(text)] = file
	return file, nil
}

// The kinds of the wiring, each in the only version that is decoded here.
const (
	kindNamespace = "v1 Namespace"
	kindService   = "serving.knative.dev/v1 Service"
	kindSource    = "sources.knative.dev/v1 KafkaSource"
	kindSink      = "eventing.knative.dev/v1alpha1 KafkaSink"
	kindPing      = "sources.knative.dev/v1 PingSource"
	kindTopic     = "kafka.strimzi.io/v1 KafkaTopic"
	kindJob       = "batch/v1 Job"
	kindConnect   = "kafka.strimzi.io/v1 KafkaConnect"
	kindConnector = "kafka.strimzi.io/v1 KafkaConnector"
)

func (b *base) add(document []byte) error {
	var h header
	if err := yaml.Unmarshal(document, &h); err != nil {
		return err
	}
	switch kind := h.APIVersion + " " + h.Kind; kind {
	case kindNamespace:
		return decode(document, &b.namespaces)
	case kindService:
		return decode(document, &b.services)
	case kindSource:
		return decode(document, &b.sources)
	case kindSink:
		return decode(document, &b.sinks)
	case kindPing:
		return decode(document, &b.pings)
	case kindTopic:
		return decode(document, &b.topics)
	case kindJob:
		return decode(document, &b.jobs)
	case kindConnect:
		return decode(document, &b.connects)
	case kindConnector:
		return decode(document, &b.connectors)
	default:
		return fmt.Errorf("the kind %q is not one that the wiring knows: use %s, %s, %s, %s, %s, %s, %s, %s or %s",
			kind, kindNamespace, kindService, kindSource, kindSink, kindPing, kindTopic, kindJob, kindConnect, kindConnector)
	}
}

func decode[T any](document []byte, to *[]T) error {
	var manifest T
	if err := strict(document, &manifest); err != nil {
		return err
	}
	*to = append(*to, manifest)
	return nil
}
