// Package stunload asks a STUN server for addresses, as many Tailscale clients would, and checks
// every answer: the right transaction, the right address, once.
//
// Ownership: a Generator owns its UDP sockets and belongs to one goroutine at a time; Run works on
// the caller's goroutine, sends and receives in batches (sendmmsg, recvmmsg), and starts no other.
// It knows the schedule of loadgen/arrival and the codec of stun, and neither DERP nor TLS.
//
// The way of a request: it becomes due by the schedule of its socket (schedule.go), waits there
// until the kernel takes it (run_linux.go), is entered into the table of what was asked (table.go),
// and its answer, found there again by its transaction, is judged and its latency recorded, from
// when the request was due. A request without an answer is lost, for nothing is asked twice; one
// that was not sent until shortly after the window is not asked at all, which the difference of due
// and sent says.
package stunload
