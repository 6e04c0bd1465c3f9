//go:build unix

package devpg

// MemoryDir is where the tests keep data: in memory where there is enough.
func MemoryDir() string { return memoryDir() }
