// Command bench measures relays side by side and compares reports; "bench help" tells how. It owns
// flags, files, signals and the exit status; measuring and showing are the business of the rooms
// below bench.
package main
