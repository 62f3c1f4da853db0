// Package cpulevel tells what this processor can do of what Go builds for by GOAMD64 and GOARM64,
// and what the program was built for. It does nothing about it: a command may refuse to start, a
// page may show it.
//
// It asks golang.org/x/sys/cpu, that is the processor itself and, where registers must be saved,
// the kernel. Its values are constant while a process lives, and any goroutine may ask.
package cpulevel
