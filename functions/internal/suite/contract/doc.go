// Package contract tests what a function may expect of any source of events. The tests run against the harness's source and
// against a stand-in for Knative's KafkaSource over HTTP, with its observed behaviour: a function cannot tell the
// difference. The additional guarantees of the harness's source are tested on both as well, so that their list in
// knative/README.md is complete and no function relies on them.
package contract
