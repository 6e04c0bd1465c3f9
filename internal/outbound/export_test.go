package outbound

import "net"

// Resolve lets a guard look names up elsewhere.
func (g *Guard) Resolve(r *net.Resolver) { g.resolver = r }
