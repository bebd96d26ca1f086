package deployed

import "testing"

// BenchmarkStartToReady measures the time from the start of a function's process until it is ready: the part of a cold start
// that is not Kubernetes'.
func BenchmarkStartToReady(b *testing.B) {
	c := newCluster(b)
	for _, service := range c.wiring.Services {
		b.Run(service.Name, func(b *testing.B) {
			for b.Loop() {
				p := c.binaries.Start(b, service.Name, c.environ(service, nil))
				b.StopTimer()
				p.end(b, service.Name)
				b.StartTimer()
			}
		})
	}
}
