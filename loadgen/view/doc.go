// Package view is what a person sees while a generator works: bars for the phases of a run (Watch),
// or plain lines where no terminal is, and the live screen of a demonstration (Demo).
//
// It looks at a fleet by its Progress and at a relay by what its caller tells, at most ten times a
// second, and changes neither. It knows nothing of how packets are sent or counted.
//
// Ownership: Watch and Demo.Run write to their output alone while they run, from one goroutine each
// and those of the bars, and return when nothing is written any more. Whatever ends them, the
// terminal is left as it was: on the line below the last one, with its cursor, on its usual screen.
package view
