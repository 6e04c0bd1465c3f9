package keys

import "time"

// Keep makes a ring go by what it knows for so long.
func (r *Ring) Keep(d time.Duration) { r.age = d }

// Looks is how often a ring has looked at the database.
func (r *Ring) Looks() int64 { return r.looks.Load() }
