package pg

import (
	"database/sql/driver"
	"encoding/binary"
	"time"

	"github.com/google/uuid"
)

// Array is an argument for a parameter of an array type, in PostgreSQL's binary form
// (array_recv in arrayfuncs.c). As text, which is what lib/pq has, bytes are twice as
// long and each element is quoted here and parsed there; a batch of events is mostly
// that work.
type Array []byte

// Value gives the bytes, which binary_parameters sends as they are; database/sql calls
// it.
func (a Array) Value() (driver.Value, error) { return []byte(a), nil }

// Identifiers of the types of elements (pg_type.dat).
const (
	oidBytea       = 17
	oidInt8        = 20
	oidText        = 25
	oidTimestamptz = 1184
	oidUUID        = 2950
)

const (
	arrayHeader = 20 // dimensions, whether NULLs occur, type, length and lower bound
	lengthBytes = 4  // before each element
	isNull      = 0xffffffff
)

// newArray begins an array of n elements that take so many bytes together.
func newArray(oid uint32, n, bytes int) Array {
	a := make(Array, 0, arrayHeader+n*lengthBytes+bytes)
	if n == 0 { // has no dimension
		return binary.BigEndian.AppendUint32(append(a, 0, 0, 0, 0, 0, 0, 0, 0), oid)
	}
	a = append(a, 0, 0, 0, 1, 0, 0, 0, 1)
	a = binary.BigEndian.AppendUint32(a, oid)
	a = a.length(n)
	return append(a, 0, 0, 0, 1)
}

func (a Array) length(n int) Array { return binary.BigEndian.AppendUint32(a, uint32(n)) } //nolint:gosec // of what is in memory; the server takes 1 GiB at most

func (a Array) null() Array { return binary.BigEndian.AppendUint32(a, isNull) }

func (a Array) int8(v int64) Array { return binary.BigEndian.AppendUint64(a.length(8), uint64(v)) } //nolint:gosec // the bits are meant

// UUIDs is a uuid[] of n elements.
func UUIDs(n int, at func(int) uuid.UUID) Array {
	a := newArray(oidUUID, n, n*len(uuid.UUID{}))
	for i := range n {
		id := at(i)
		a = append(a.length(len(id)), id[:]...)
	}
	return a
}

// IDs is a uuid[] of these.
func IDs(ids []uuid.UUID) Array { return UUIDs(len(ids), func(i int) uuid.UUID { return ids[i] }) }

// NullUUIDs is a uuid[] of n elements, of which those that are not valid are NULL.
func NullUUIDs(n int, at func(int) uuid.NullUUID) Array {
	a := newArray(oidUUID, n, n*len(uuid.UUID{}))
	for i := range n {
		if id := at(i); id.Valid {
			a = append(a.length(len(id.UUID)), id.UUID[:]...)
		} else {
			a = a.null()
		}
	}
	return a
}

// Texts is a text[] of n elements.
func Texts(n int, at func(int) string) Array {
	bytes := 0
	for i := range n {
		bytes += len(at(i))
	}
	a := newArray(oidText, n, bytes)
	for i := range n {
		text := at(i)
		a = append(a.length(len(text)), text...)
	}
	return a
}

// Blobs is a bytea[] of n elements, of which those without bytes are NULL.
func Blobs(n int, at func(int) []byte) Array {
	bytes := 0
	for i := range n {
		bytes += len(at(i))
	}
	a := newArray(oidBytea, n, bytes)
	for i := range n {
		if b := at(i); len(b) > 0 {
			a = append(a.length(len(b)), b...)
		} else {
			a = a.null()
		}
	}
	return a
}

// Int8s is a bigint[] of n elements.
func Int8s(n int, at func(int) int64) Array {
	a := newArray(oidInt8, n, n*8)
	for i := range n {
		a = a.int8(at(i))
	}
	return a
}

// epoch is where PostgreSQL begins to count the microseconds of a time.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// Times is a timestamptz[] of n elements, to the microsecond.
func Times(n int, at func(int) time.Time) Array {
	a := newArray(oidTimestamptz, n, n*8)
	for i := range n {
		a = a.int8(at(i).UnixMicro() - epoch)
	}
	return a
}

// NullTimes is a timestamptz[] of n elements, of which zero times are NULL.
func NullTimes(n int, at func(int) time.Time) Array {
	a := newArray(oidTimestamptz, n, n*8)
	for i := range n {
		if t := at(i); t.IsZero() {
			a = a.null()
		} else {
			a = a.int8(t.UnixMicro() - epoch)
		}
	}
	return a
}
