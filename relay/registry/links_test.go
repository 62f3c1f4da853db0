package registry

import "testing"

// TestLinks: of several links to a key the oldest is used, and the next when it goes; a member
// of the key's own does not disturb them.
func TestLinks(t *testing.T) {
	type member struct{ name string }
	g := New[member]()
	a, b, c, here := &member{"a"}, &member{"b"}, &member{"c"}, &member{"here"}
	k := &Key{1}
	for want, m := range []*member{a, b, c} {
		if n := g.AddLink(k, m); n != want+1 {
			t.Fatalf("%d links after %s, want %d", n, m.name, want+1)
		}
	}
	if n := g.AddLink(k, b); n != 3 {
		t.Errorf("%d links after one was added twice", n)
	}
	via := func(want *member) {
		t.Helper()
		if r := g.Lookup(k); r == nil || r.Via() != want {
			t.Errorf("not via %s", want.name)
		}
	}
	via(a)
	if c := g.Counts(); c.Remote != 1 || c.Keys != 0 {
		t.Errorf("%+v, want one remote key", c)
	}
	r, n := g.Add(k, here)
	if n != 1 || r.Active() != here || g.Counts().Remote != 0 {
		t.Errorf("a member beside links: %d, %+v", n, g.Counts())
	}
	via(a)
	if left, gone := g.RemoveLink(k, a); left != 2 || gone {
		t.Errorf("%d left, gone %v", left, gone)
	}
	via(b)
	if left, gone := g.RemoveLink(k, a); left != 2 || gone {
		t.Errorf("taken away twice: %d left, gone %v", left, gone)
	}
	g.Remove(r, here)
	if c := g.Counts(); c.Remote != 1 || c.Keys != 0 {
		t.Errorf("%+v without the member, want one remote key", c)
	}
	g.RemoveLink(k, c)
	via(b)
	if left, gone := g.RemoveLink(k, b); left != 0 || !gone || g.Counts().Remote != 0 {
		t.Errorf("%d left, gone %v, %+v", left, gone, g.Counts())
	}
}
