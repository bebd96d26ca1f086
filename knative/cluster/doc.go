// Package cluster tests the overlays on a real Kubernetes with Knative Serving, the cluster that .ci/cluster has started in
// the folder CLUSTER. Without one every test is skipped.
//
// The tests know the functions by their Services and by HTTP only.
package cluster
