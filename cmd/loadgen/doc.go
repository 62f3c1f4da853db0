// Command loadgen simulates DERP clients by the ten thousand, and plans the capacity of a relay.
//
// The command knows flags, files, terminals and processes; what it does is the business of the
// rooms below loadgen.
package main
