// Command bench starts relay binaries and measures them side by side; "bench help" tells how.
// It owns flags, signals and the exit status; measuring is package bench's.
package main
