package bench

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
)

// memory watches how much of it the process takes, where Linux tells.
type memory struct{ before int64 }

// watchMemory gives back what the process does not need and starts the peak anew.
func watchMemory() memory {
	debug.FreeOSMemory()
	// 5 sets the peak to what is taken now (Linux manual, proc_pid_clear_refs); where
	// that fails the peak of the whole run counts.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return memory{memoryOf("VmHWM:")}
	}
	return memory{memoryOf("VmRSS:")}
}

// grown is by how much the peak lies above the start.
func (m memory) grown() (int64, bool) {
	peak := memoryOf("VmHWM:")
	return max(0, peak-m.before), m.before > 0 && peak > 0
}

// memoryOf reads a line of the process's status, in bytes; 0 when there is none.
func memoryOf(name string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}
