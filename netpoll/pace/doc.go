// Package pace lets events gather: it counts what comes, and says how long a thread that serves it
// may wait so that several events share one turn. It knows rates, one budget, how much of a
// processor the thread uses and what a sleep costs it, and neither sockets nor what an event is.
//
// Ownership: a Pace belongs to one thread.
package pace
