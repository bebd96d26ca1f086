package cluster

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// machine is a host on the bridge of the cluster's pods: a network namespace that ends with this process.
type machine struct {
	name, address string
	labels        map[string]string // of its pod
	pod           string            // the namespace of its pod, "" for a host outside of the cluster
	network       *os.File
}

// bridge is the address of the bridge pods0, which .ci/cluster/run creates.
const bridge = "10.244.0.1"

// attach creates the network of a machine.
func (m *machine) attach(t *testing.T, address string) {
	t.Helper()
	m.address = address
	opened := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			opened <- err
			return
		}
		var err error
		m.network, err = os.Open("/proc/thread-self/ns/net")
		opened <- err
	}()
	require.NoError(t, <-opened)
	t.Cleanup(func() { _ = m.network.Close() })
	inside := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), m.network.Fd())
	device := "p" + strings.ReplaceAll(strings.TrimPrefix(address, "10.244."), ".", "-")
	run(t, "", "ip", "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", inside)
	run(t, "", "ip", "link", "set", device, "master", "pods0", "up")
	run(t, "link set lo up\naddr add "+address+"/24 dev eth0\nlink set eth0 up\nroute add default via "+bridge+"\n",
		"nsenter", "--net="+inside, "ip", "-batch", "-")
}

func run(t *testing.T, input, name string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s %v: %s", name, args, output)
}

// within runs work in the machine's network.
func (m *machine) within(work func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		if err := unix.Setns(int(m.network.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		done <- work()
	}()
	return <-done
}

// listen takes connections at ports such as tcp/3306 until the test ends, and answers them with a byte.
func (m *machine) listen(t *testing.T, ports ...string) {
	t.Helper()
	require.NoError(t, m.within(func() error {
		for _, port := range ports {
			protocol, number, _ := strings.Cut(port, "/")
			if protocol == "udp" {
				socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", m.address+":"+number)
				if err != nil {
					return err
				}
				t.Cleanup(func() { _ = socket.Close() })
				go echo(socket)
				continue
			}
			listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", m.address+":"+number)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = listener.Close() })
			go greet(listener)
		}
		return nil
	}))
}

func echo(socket net.PacketConn) {
	buffer := make([]byte, 1)
	for {
		_, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = socket.WriteTo(buffer, from)
	}
}

func greet(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = connection.Write([]byte{1})
		_ = connection.Close()
	}
}

// reaches returns whether a byte comes back from a port. What is refused is refused at once, and not by time.
func reaches(t *testing.T, address, port string) bool {
	t.Helper()
	protocol, number, _ := strings.Cut(port, "/")
	dialer := net.Dialer{Timeout: 3 * time.Second}
	connection, err := dialer.DialContext(t.Context(), protocol, address+":"+number)
	if err != nil {
		return false
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return false
	}
	if _, err := connection.Write([]byte{1}); err != nil {
		return false
	}
	_, err = connection.Read(make([]byte, 1))
	return err == nil
}

// connections tries every port of the targets from every source, and returns those that answered as "FROM > TO PORT".
func connections(t *testing.T, sources []*machine, targets map[*machine][]string) []string {
	t.Helper()
	var mu sync.Mutex
	var group sync.WaitGroup
	answered := []string{}
	for _, from := range sources {
		group.Go(func() {
			_ = from.within(func() error { // the networks have been entered before
				for to, ports := range targets {
					for _, port := range ports {
						if from != to && reaches(t, to.address, port) {
							mu.Lock()
							answered = append(answered, from.name+" > "+to.name+" "+port)
							mu.Unlock()
						}
					}
				}
				return nil
			})
		})
	}
	group.Wait()
	slices.Sort(answered)
	return answered
}
