package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// ticksPerSecond is the unit of CPU time in Linux's /proc, on every architecture that Go supports.
const ticksPerSecond = 100

// usage measures the CPU and the memory of the stack's processes, of this process and of the machine. Without Linux's /proc the
// values stay zero.
type usage struct {
	processes []Process
	begin     time.Time
	before    []float64 // the CPU time of each process
	self      float64
	machine   machineTime
	rss       atomic.Int64 // the highest total of all processes at one time, in bytes
}

func startUsage(processes []Process) *usage {
	u := &usage{processes: processes, begin: time.Now(), self: ownCPU(), machine: cpuOfMachine()}
	for _, p := range processes {
		u.before = append(u.before, cpuOf(p.PID))
	}
	u.look()
	return u
}

// look samples the memory of the processes.
func (u *usage) look() {
	if u == nil {
		return
	}
	var now int64
	for _, p := range u.processes {
		now += rssOf(p.PID)
	}
	for {
		most := u.rss.Load()
		if now <= most || u.rss.CompareAndSwap(most, now) {
			return
		}
	}
}

// stop returns the usage since the start, for a number of orders.
func (u *usage) stop(orders int) Usage {
	u.look()
	machine := cpuOfMachine()
	result := Usage{
		Begin:            u.begin.UTC(),
		HarnessMiB:       float64(u.rss.Load()) / (1 << 20),
		GeneratorSeconds: ownCPU() - u.self, MachineSeconds: machine.busy - u.machine.busy, StolenSeconds: machine.stolen - u.machine.stolen,
		WallSeconds: time.Since(u.begin).Seconds(),
	}
	for i, p := range u.processes {
		used := cpuOf(p.PID) - u.before[i]
		result.HarnessSeconds += used
		if p.Function != "" {
			if result.FunctionSeconds == nil {
				result.FunctionSeconds = map[string]float64{}
			}
			result.FunctionSeconds[p.Function] += used
		}
	}
	if orders > 0 {
		result.PerThousand = result.HarnessSeconds / float64(orders) * 1000
	}
	return result
}

// cpuOf returns the CPU time of a process, in seconds.
func cpuOf(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseStat(string(text))
}

// parseStat reads user and system time from /proc/PID/stat, whose second field is a name that may contain anything.
func parseStat(text string) float64 {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64) // the kernel always writes a number here
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond
}

func rssOf(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64) // as above
	return pages * int64(os.Getpagesize())
}

func ownCPU() float64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

// machineTime is the CPU time of all cores, in seconds: used by any process, and taken away by the host.
type machineTime struct{ busy, stolen float64 }

func cpuOfMachine() machineTime {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}
	}
	return parseMachine(string(text))
}

// parseMachine reads the first line of /proc/stat: user nice system idle iowait irq softirq steal.
func parseMachine(text string) machineTime {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return machineTime{}
	}
	var t machineTime
	for _, place := range []int{1, 2, 3, 6, 7} {
		ticks, _ := strconv.ParseFloat(fields[place], 64) // as above
		t.busy += ticks / ticksPerSecond
	}
	stolen, _ := strconv.ParseFloat(fields[8], 64)
	t.stolen = stolen / ticksPerSecond
	return t
}

// thisMachine describes the machine of the load generator.
func thisMachine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH}
	m.CPU = field("/proc/cpuinfo", "model name")
	m.Memory = field("/proc/meminfo", "MemTotal")
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.OS += " " + strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(text), " ")
	}
	return m
}

// field returns the value of the first line "name: value" of a file, empty if there is none.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
