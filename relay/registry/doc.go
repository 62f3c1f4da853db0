// Package registry finds the connection that stands for a key.
//
// Any loop looks keys up without a lock, at any time; connections come and go under one
// mutex, so that the presence events of a key stay in order. A key with several
// connections has one active member: the newest, until another speaks (upstream's
// lastWriterIsActive). The room knows keys and members; it must not know what a member is,
// nor send anything.
package registry
