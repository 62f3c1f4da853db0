package registry

import (
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
)

// Key is a node's public key.
type Key = [32]byte

// Route is the state of one key. It stays in the table while the key has members; a holder
// that kept it longer finds no active member and looks the key up again.
type Route[M any] struct {
	Key Key

	// active gets the packets. Written under the registry's mutex, read by every loop; it
	// publishes the member's identity and queue. nil: the key has no member here.
	active atomic.Pointer[M]
	// via reaches a key that has members on another node of the region: the oldest link
	// that announced it. Written under the mutex; a local member always goes first.
	via atomic.Pointer[M]
	// shared: the key has several members. Written under the mutex.
	shared atomic.Bool

	// more says who else there is, under the mutex; nil while active and via say it all, as
	// they do of nearly every key. So a route takes 64 bytes.
	more *more[M]
}

// more is the whole of a route with several members or several links.
type more[M any] struct {
	members []*M // ordered by who was active last, the latest at the end
	links   []*M // in the order in which they announced the key
}

// members returns the members of a route, the active one last.
func (r *Route[M]) members() []*M {
	if r.more != nil {
		return r.more.members
	}
	return one(r.active.Load())
}

// links returns the links that reach a route's key, the one in use first.
func (r *Route[M]) links() []*M {
	if r.more != nil {
		return r.more.links
	}
	return one(r.via.Load())
}

func one[M any](m *M) []*M {
	if m == nil {
		return nil
	}
	return []*M{m}
}

// set replaces the lists. The caller sees to active and via.
func (r *Route[M]) set(members, links []*M) {
	switch {
	case len(members) < 2 && len(links) < 2:
		r.more = nil
	case r.more == nil:
		r.more = &more[M]{members, links}
	default:
		r.more.members, r.more.links = members, links
	}
}

// Active returns the member that gets the key's packets, or nil.
func (r *Route[M]) Active() *M { return r.active.Load() }

// Via returns the link that gets packets for a key without members here, or nil.
func (r *Route[M]) Via() *M { return r.via.Load() }

// live reports whether the key is anywhere in the region.
func (r *Route[M]) live() bool { return r.active.Load() != nil || r.via.Load() != nil }

// Shared reports whether the key has several members.
func (r *Route[M]) Shared() bool { return r.shared.Load() }

// table is open-addressed with linear probing. Slots go from nil to a route once and stay;
// a route whose key has left stays as a tombstone until the table is rebuilt.
type table[M any] struct {
	slots []atomic.Pointer[Route[M]]
	mask  uint64
}

// Registry maps keys to routes. Create one with New.
type Registry[M any] struct {
	seed maphash.Seed
	// table is replaced whole when it grows: written under mu, read by every loop.
	table atomic.Pointer[table[M]]

	mu   sync.Mutex
	used int // slots taken, tombstones included
	keys int // keys with members
	// remote: keys with links only.
	remote int
	conns  int
	dups   int // keys with several members
}

const slotsMin = 64

// New returns an empty registry.
func New[M any]() *Registry[M] {
	g := &Registry[M]{seed: maphash.MakeSeed()}
	g.table.Store(newTable[M](slotsMin))
	return g
}

func newTable[M any](n int) *table[M] {
	return &table[M]{slots: make([]atomic.Pointer[Route[M]], n), mask: uint64(n - 1)}
}

// Lookup returns the key's route or nil. Lock-free, without allocation.
func (g *Registry[M]) Lookup(k *Key) *Route[M] {
	t := g.table.Load()
	for i := maphash.Bytes(g.seed, k[:]); ; i++ {
		r := t.slots[i&t.mask].Load()
		if r == nil {
			return nil
		}
		if r.Key == *k && r.live() {
			return r
		}
	}
}

// Add makes m a member of k and the active one. It returns the key's route and how many
// members the key has now.
func (g *Registry[M]) Add(k *Key, m *M) (*Route[M], int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.Lookup(k)
	var members []*M
	if r == nil {
		r = &Route[M]{Key: *k}
		r.active.Store(m) // before it is found, so that a route found is live
		g.insert(r)
	} else {
		members = r.members()
	}
	if len(members) == 0 {
		g.keys++
		g.count(r, -1)
	}
	members = append(members, m)
	r.set(members, r.links())
	r.active.Store(m)
	g.conns++
	if len(members) == 2 {
		r.shared.Store(true)
		g.dups++
	}
	return r, len(members)
}

// insert puts a new route into the table, rebuilding it when three quarters are taken.
func (g *Registry[M]) insert(r *Route[M]) {
	t := g.table.Load()
	if (g.used+1)*4 > len(t.slots)*3 {
		size := slotsMin
		for size < (g.keys+g.remote+1)*2 {
			size *= 2
		}
		grown := newTable[M](size)
		g.used = 0
		for i := range t.slots {
			if old := t.slots[i].Load(); old != nil && old.live() {
				g.put(grown, old)
			}
		}
		g.put(grown, r)
		g.table.Store(grown)
		return
	}
	g.put(t, r)
}

func (g *Registry[M]) put(t *table[M], r *Route[M]) {
	i := maphash.Bytes(g.seed, r.Key[:])
	for t.slots[i&t.mask].Load() != nil {
		i++
	}
	t.slots[i&t.mask].Store(r)
	g.used++
}

// count corrects the number of remote keys around a change of the members of r.
func (g *Registry[M]) count(r *Route[M], n int) {
	if r.via.Load() != nil {
		g.remote += n
	}
}

// AddLink notes that m, a link to another node, reaches k. It returns how many do now.
func (g *Registry[M]) AddLink(k *Key, m *M) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.Lookup(k)
	var links []*M
	if r == nil {
		r = &Route[M]{Key: *k}
		r.via.Store(m)
		g.insert(r)
	} else {
		links = r.links()
	}
	if slices.Contains(links, m) {
		return len(links)
	}
	links = append(links, m)
	r.set(r.members(), links)
	if len(links) == 1 {
		r.via.Store(m)
		if r.active.Load() == nil {
			g.remote++
		}
	}
	return len(links)
}

// RemoveLink takes back AddLink. It returns how many links reach k now, and whether with m
// the key has left the region.
func (g *Registry[M]) RemoveLink(k *Key, m *M) (left int, gone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.Lookup(k)
	if r == nil {
		return 0, false
	}
	links := r.links()
	i := slices.Index(links, m)
	if i < 0 {
		return len(links), false
	}
	links = slices.Delete(links, i, i+1)
	r.set(r.members(), links)
	if len(links) > 0 {
		r.via.Store(links[0])
		return len(links), false
	}
	r.via.Store(nil)
	if r.active.Load() == nil {
		g.remote--
		return 0, true
	}
	return 0, false
}

// Members returns the connections of k.
func (g *Registry[M]) Members(k *Key) []*M {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.Lookup(k); r != nil {
		return slices.Clone(r.members())
	}
	return nil
}

// Each calls fn for every key with members and the active one, under the mutex: in no order,
// but with no change in between.
func (g *Registry[M]) Each(fn func(k *Key, m *M)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.table.Load()
	for i := range t.slots {
		if r := t.slots[i].Load(); r != nil {
			if m := r.active.Load(); m != nil {
				fn(&r.Key, m)
			}
		}
	}
}

// Remove takes m out of r. It returns the member that is active now, nil if m was the last:
// then the key has left this node.
func (g *Registry[M]) Remove(r *Route[M], m *M) *M {
	g.mu.Lock()
	defer g.mu.Unlock()
	members := r.members()
	i := slices.Index(members, m)
	if i < 0 {
		return r.active.Load()
	}
	members = slices.Delete(members, i, i+1)
	r.set(members, r.links())
	g.conns--
	switch len(members) {
	case 0:
		r.active.Store(nil)
		g.keys--
		g.count(r, 1)
		return nil
	case 1:
		r.shared.Store(false)
		g.dups--
	}
	last := members[len(members)-1]
	if r.active.Load() == m {
		r.active.Store(last)
	}
	return last
}

// Activate makes m, a member of r that has just spoken, the active one.
func (g *Registry[M]) Activate(r *Route[M], m *M) {
	g.mu.Lock()
	defer g.mu.Unlock()
	members := r.members()
	if i := slices.Index(members, m); i >= 0 {
		r.set(append(slices.Delete(members, i, i+1), m), r.links())
		r.active.Store(m)
	}
}

// Counts are the registry's gauges.
type Counts struct {
	Keys     int // distinct keys with members
	Remote   int // distinct keys that only links reach
	Conns    int // members of all keys
	DupKeys  int // keys with several members
	DupConns int // members of those keys
}

// Counts returns the gauges now.
func (g *Registry[M]) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Keys without duplicates have one member each.
	return Counts{Keys: g.keys, Remote: g.remote, Conns: g.conns, DupKeys: g.dups,
		DupConns: g.conns - (g.keys - g.dups)}
}
