// Package cluster tests the overlays on a real Kubernetes with Knative Serving: what goes in is the cluster that
// .ci/cluster has started, in the folder that CLUSTER names. Without one every test is skipped.
//
// The tests know the functions by their Services and by HTTP only.
package cluster
