// Package plan finds out, by search, what this host carries: the highest rate at which a relay
// delivers what is due, the highest at which it does so in time, what a client, a packet and a
// login cost; and from that how many such hosts a goal needs, which limits have to be raised, and
// what breaks first. A Planner runs the search over one Fleet, a Result says what came of it.
//
// It knows fleets and readings by what they return, and no socket, no process and no terminal; the
// clock is given to it. A Planner belongs to the goroutine that calls Run; the Result belongs to
// whoever gets it.
//
// # What is trusted
//
// A step in which the generator was the limit says nothing about the relay: where such a step ends
// the search, the knee is "at least" that rate and never called a capacity. On a shared machine one
// step says little as well: a rate is within the bound when two of three steps were, and beyond
// what the relay delivers when two steps fell short. The p99 that is promised for the planned load
// is the one of all steps near it with a margin learned from how much equal steps differed, and a
// longer step at that load ends the plan; if it does not hold, the plan steps down.
package plan
