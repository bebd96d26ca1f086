package knative

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// edited returns the base with the first occurrence of old in one file replaced.
func edited(t *testing.T, file, old, replacement string) fs.FS {
	t.Helper()
	files := fstest.MapFS{}
	names, err := fs.Glob(Base(), "*.yaml")
	require.NoError(t, err)
	for _, name := range names {
		text, err := fs.ReadFile(Base(), name)
		require.NoError(t, err)
		files[name] = &fstest.MapFile{Data: text}
	}
	require.Contains(t, files, file)
	text := string(files[file].Data)
	require.Contains(t, text, old, "the edit must change something")
	files[file].Data = []byte(strings.Replace(text, old, replacement, 1))
	return files
}

func TestLoadRefusesBrokenManifests(t *testing.T) {
	const reserve, release, topics, letters = "reserve-stock.yaml", "release-stock.yaml", "topics.yaml", "dead-letters.yaml"
	const relay = "publish-outbox-orders.yaml"
	for name, broken := range map[string]struct{ file, old, replacement, says string }{
		"file that is not there":                       {"kustomization.yaml", "- notify.yaml", "- other.yaml", "kustomization.yaml lists other.yaml"},
		"no namespace":                                 {"kustomization.yaml", "namespace: orders\n", "", "namespace is missing"},
		"other namespace":                              {"kustomization.yaml", "namespace: orders", "namespace: shop", "give both one name"},
		"unknown field of kustomization":               {"kustomization.yaml", "resources:", "bases: []\nresources:", `unknown field "bases"`},
		"unknown kind":                                 {reserve, "kind: KafkaSource", "kind: Trigger", `the kind "sources.knative.dev/v1 Trigger" is not one`},
		"unknown version":                              {reserve, "apiVersion: sources.knative.dev/v1\n", "apiVersion: sources.knative.dev/v1beta1\n", "is not one that the wiring knows"},
		"unknown field":                                {reserve, "  ordering:", "  order: x\n  ordering:", `reserve-stock.yaml, document 2: error unmarshaling JSON: while decoding JSON: json: unknown field "order"`},
		"field in other letter case":                   {reserve, "  consumerGroup:", "  consumergroup:", `unknown field "consumergroup"`},
		"field of a list's entry in other letter case": {reserve, "valueFrom:", "ValueFrom:", `unknown field "ValueFrom"`},
		"field of kustomization in other letter case":  {"kustomization.yaml", "resources:", "Resources:", `unknown field "Resources"`},
		"end of a document":                            {reserve, "---\n", "...\n---\n", `reserve-stock.yaml: "..." ends a document`},
		"start of a document with its content":         {reserve, "---\n", "--- !!map\n", `"--- !!map" ends a document`},
		"field given twice":                            {reserve, "  ordering:", "  ordering: ordered\n  ordering:", "already set in map"},
		"name taken":                                   {relay, "name: publish-outbox-orders-purge", "name: publish-outbox-orders-sweep", "PingSource publish-outbox-orders-sweep: the name is taken"},
		"no name":                                      {topics, "name: order.created\n", "name: \"\"\n", "metadata.name is missing"},

		"topic of no cluster":      {topics, "strimzi.io/cluster", "cluster", "name the Kafka cluster"},
		"topic without partitions": {topics, "partitions: 3", "partitions: 0", "partitions is 0: give 1 or more"},
		"topic without replicas":   {topics, "replicas: 3", "replicas: 0", "replicas is 0: give 1 or more"},
		"topic without retention":  {topics, "retention.ms", "retention.bytes", "give the milliseconds"},

		"topic of any record size": {topics, "    max.message.bytes: \"1048588\"\n", "", "max.message.bytes is \"\": give the bytes"},
		"topic of no record":       {topics, "max.message.bytes: \"1048588\"", "max.message.bytes: \"0\"", "max.message.bytes is \"0\": give the bytes"},
		"dead letters too small":   {topics, "max.message.bytes: \"1179648\"", "max.message.bytes: \"1048588\"", "give it a max.message.bytes of 1114124 or more, so that every record of order.created fits"},
		"topic that takes more":    {topics, "max.message.bytes: \"1048588\"", "max.message.bytes: \"2097152\"", "give it a max.message.bytes of 2162688 or more"},

		"service of no function":      {reserve, "orders.example.com/function", "function", "name the folder of the function"},
		"unknown visibility":          {reserve, "cluster-local", "private", "give cluster-local"},
		"scale without bounds":        {reserve, "max-scale", "target", "the scale has no bounds"},
		"no concurrency":              {reserve, "containerConcurrency: 64", "containerConcurrency: 0", "bound the requests"},
		"no timeout of requests":      {reserve, "      timeoutSeconds: 30\n", "", "timeoutSeconds is missing"},
		"address on loopback":         {reserve, "value: :8080", "value: 127.0.0.1:8080", "give :8080"},
		"privileges to gain":          {reserve, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "securityContext.allowPrivilegeEscalation must be false"},
		"root":                        {reserve, "runAsNonRoot: true", "runAsNonRoot: false", "securityContext.runAsNonRoot must be true"},
		"capabilities":                {reserve, "drop: [ALL]", "drop: [NET_RAW]", "securityContext.capabilities must be {drop: [ALL]}"},
		"no seccomp profile":          {reserve, "type: RuntimeDefault", "type: Unconfined", "securityContext.seccompProfile must be {type: RuntimeDefault}"},
		"files that can be written":   {reserve, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "functions write no files"},
		"account token":               {reserve, "      automountServiceAccountToken: false\n", "", "automountServiceAccountToken must be false"},
		"account token on purpose":    {reserve, "automountServiceAccountToken: false", "automountServiceAccountToken: true", "automountServiceAccountToken must be false"},
		"no image":                    {reserve, "image: example.com/orders/reserve-stock", "image: \"\"", "image is missing"},
		"readiness seldom looked at":  {reserve, "            periodSeconds: 2\n", "", "readinessProbe has no periodSeconds"},
		"no readiness probe":          {reserve, "/health/readiness", "/", "readinessProbe must get /health/readiness"},
		"no liveness probe":           {reserve, "/health/liveness", "/", "livenessProbe must get /health/liveness"},
		"no resources":                {reserve, "memory: 256Mi", "memory: \"\"", "resources must give cpu and memory"},
		"second container":            {reserve, "      containers:\n", "      containers:\n        - image: sidecar\n", "it has 2 containers: give one"},
		"variable given twice":        {relay, "name: OUTBOX_RETENTION", "name: OUTBOX_SCHEMA", "env OUTBOX_SCHEMA appears twice"},
		"variable without value":      {relay, "              value: orders\n", "", "env OUTBOX_SCHEMA has no value"},
		"secret without key":          {relay, "                  key: publish-outbox-orders\n", "", "env MYSQL_DSN has no value"},
		"value and reference at once": {relay, "              valueFrom:", "              value: x\n              valueFrom:", "has both value and valueFrom"},

		"namespace of its own":    {topics, "name: order.created\n", "name: order.created\n  namespace: shop\n", "it is in the namespace shop"},
		"poke of a missing relay": {reserve, "http://publish-outbox-inventory.orders", "http://publish-outbox.orders", "of a Service that relays an outbox"},
		"poke to no relay":        {reserve, "http://publish-outbox-inventory.orders", "http://notify.orders", "of a Service that relays an outbox"},
		"job that is not retried": {"migrate.yaml", "restartPolicy: OnFailure", "restartPolicy: Never", "give OnFailure"},
		"job that stays":          {"migrate.yaml", "  ttlSecondsAfterFinished: 3600\n", "", "ttlSecondsAfterFinished is missing"},
		"job of no image":         {"migrate.yaml", "image: example.com/orders/harness", "image: \"\"", "image is missing"},
		"job of root":             {"migrate.yaml", "runAsNonRoot: true", "runAsNonRoot: false", "Job migrate: securityContext.runAsNonRoot must be true"},
		"job with an account":     {"migrate.yaml", "      automountServiceAccountToken: false\n", "", "Job migrate: automountServiceAccountToken must be false"},
		"job with privileges":     {"migrate.yaml", "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "Job migrate: securityContext.allowPrivilegeEscalation must be false"},
		"job with capabilities":   {"migrate.yaml", "drop: [ALL]", "drop: []", "Job migrate: securityContext.capabilities must be"},
		"job of any system call":  {"migrate.yaml", "type: RuntimeDefault", "type: Unconfined", "Job migrate: securityContext.seccompProfile must be"},
		"job that writes files":   {"migrate.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "Job migrate: securityContext.readOnlyRootFilesystem must be true"},
		"namespace of any pods":   {"namespace.yaml", "enforce: restricted", "enforce: baseline", "give restricted"},
		"job of no memory":        {"migrate.yaml", "memory: 256Mi", "memory: \"\"", "resources must give cpu and memory"},

		"structured dead letters":     {letters, "contentMode: binary", "contentMode: structured", "give binary"},
		"dead letters own the topic":  {letters, "contentMode: binary", "contentMode: binary\n  numPartitions: 3", "leave out numPartitions and replicationFactor"},
		"dead letters own replicas":   {letters, "contentMode: binary", "contentMode: binary\n  replicationFactor: 3", "leave out numPartitions and replicationFactor"},
		"dead letters of no brokers":  {letters, "    - orders-kafka-bootstrap.kafka:9092\n", "", "bootstrapServers is missing"},
		"dead letters of no topic":    {letters, "topic: order.created.dlq", "topic: lost", `topic "lost" is not declared`},
		"dead letters to wrong topic": {letters, "topic: order.created.dlq", "topic: order.failed.dlq", "its dead letters go to order.failed.dlq"},

		"several topics":               {reserve, "    - order.created\n", "    - order.created\n    - order.failed\n", "give one KafkaSource to each topic"},
		"undeclared topic":             {topics, "name: order.created\n", "name: order.made\n", `topic "order.created" is not declared`},
		"undeclared dead-letter topic": {topics, "name: order.created.dlq", "name: order.made.dlq", `dead-letter topic "order.created.dlq" is not declared`},
		"unknown function":             {reserve, "kind: Service\n      name: reserve-stock", "kind: Service\n      name: take-stock", "sink refers to serving.knative.dev/v1 Service take-stock, which does not exist"},
		"function of another kind":     {reserve, "kind: Service\n      name: reserve-stock", "kind: Broker\n      name: reserve-stock", "refer to a Service"},
		"function of another version":  {reserve, "apiVersion: serving.knative.dev/v1\n      kind", "apiVersion: v1\n      kind", "refer to a Service"},
		"random group":                 {reserve, "consumerGroup: reserve-stock.order.created", "consumerGroup: \"\"", "give reserve-stock.order.created"},
		"shared group":                 {release, "consumerGroup: release-stock.order.canceled", "consumerGroup: release-stock.order.failed", "also belongs to KafkaSource release-stock.order.failed"},
		"source of no brokers":         {reserve, "    - orders-kafka-bootstrap.kafka:9092\n", "", "bootstrapServers is missing"},
		"no consumers":                 {reserve, "consumers: 4", "consumers: 0", "consumers is 0: give 1 or more"},
		"latest":                       {reserve, "initialOffset: earliest", "initialOffset: latest", "give earliest"},
		"no ordering":                  {reserve, "  ordering: unordered\n", "", "give unordered, or ordered"},
		"no consumer in the overrides": {reserve, "consumer: reserve-stock", "by: reserve-stock", "a dead letter does not say which function failed"},
		"keys that are no strings":     {reserve, "key-type: string", "key-type: int", "must be string"},

		"no retry":            {reserve, "    retry: 10\n", "", "delivery is not complete"},
		"no backoff policy":   {reserve, "    backoffPolicy: exponential\n", "", "delivery is not complete"},
		"no backoff delay":    {reserve, "    backoffDelay: PT0.3S\n", "", "delivery is not complete"},
		"no timeout":          {reserve, "    timeout: PT30S\n", "", "delivery is not complete"},
		"no dead-letter sink": {reserve, "    deadLetterSink:\n      ref:\n        apiVersion: eventing.knative.dev/v1alpha1\n        kind: KafkaSink\n        name: order.created.dlq\n", "", "delivery is not complete"},
		"negative retry":      {reserve, "retry: 10", "retry: -1", "delivery.retry is -1: give 0 or more"},
		"unknown policy":      {reserve, "backoffPolicy: exponential", "backoffPolicy: random", "give exponential or linear"},
		"delay in Go's form":  {reserve, "PT0.3S", "300ms", `delivery.backoffDelay: "300ms" is no positive ISO 8601 duration`},
		"timeout of nothing":  {reserve, "PT30S", "PT0S", `delivery.timeout: "PT0S" is no positive ISO 8601 duration`},
		"unknown dead letter": {reserve, "name: order.created.dlq", "name: lost", "deadLetterSink refers to eventing.knative.dev/v1alpha1 KafkaSink lost, which does not exist"},
		"dead letter service": {reserve, "kind: KafkaSink", "kind: Service", "refer to a KafkaSink"},

		"five fields":              {release, "0 */10 * * * *", "*/10 * * * *", "give six fields, seconds first"},
		"no such second":           {release, "0 */10 * * * *", "61 * * * * *", "give six fields, seconds first"},
		"data of no type":          {release, "  contentType: application/json\n", "", "give data and contentType together"},
		"tick for a missing sink":  {relay, "kind: Service\n      name: publish-outbox-orders", "kind: Service\n      name: missing", "Service missing, which does not exist"},
		"saga ends before retries": {"expire-orders.yaml", "15m", "10m", "give a Go duration longer than 10m13.8s"},
		"saga timeout of no unit":  {"expire-orders.yaml", "15m", "\"900\"", "give a Go duration longer than 10m13.8s"},
		"outbox forgets too early": {relay, "192h", "168h", "give a Go duration longer than 168h0m0s"},
		"inbox forgets too early":  {relay, "960h", "888h", "give a Go duration longer than 888h0m0s"},
		"log forgets too early":    {release, "960h", "888h", "give a Go duration longer than 888h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			wiring, err := Load(edited(t, broken.file, broken.old, broken.replacement))
			assert.ErrorContains(t, err, broken.says)
			assert.Nil(t, wiring)
		})
	}
}

func TestLoadNamesEveryProblemAtOnce(t *testing.T) {
	_, err := Load(edited(t, "reserve-stock.yaml", "consumers: 4\n  initialOffset: earliest", "consumers: 0\n  initialOffset: latest"))
	assert.ErrorContains(t, err, "consumers is 0")
	assert.ErrorContains(t, err, `initialOffset is "latest"`)
}

func TestLoadReadsEveryDocumentBehindACommentedSeparator(t *testing.T) {
	wiring, err := Load(edited(t, "reserve-stock.yaml", "---\n", "--- # its source\n"))
	require.NoError(t, err)
	assert.Equal(t, load(t), wiring)
}
