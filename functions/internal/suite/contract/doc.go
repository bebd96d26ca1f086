// Package contract is what a function may expect of whatever delivers events to it, stated once as tests. They run against
// the harness's local source and against a KafkaSource that is acted out over HTTP as Knative's was seen to behave: a
// function cannot tell where it runs. What the local source gives beyond that is tested on both as well, so that the list
// of it in knative/README.md is complete and nothing comes to rely on it.
package contract
