// Package block lends right-sized byte buffers.
//
// A Pool belongs to one loop: only that loop takes from it. A Block may be freed by any
// loop; one that is freed away from home travels back through a lock-free stack that the
// owner empties when its own list runs dry. The room knows bytes and sizes; it must not
// know connections, frames or TLS.
package block
