// Package launch runs relays to be loaded: binaries that take derper's flags, on loopback, with a
// certificate and keys made for the moment; several become the meshed nodes of one region.
//
// A Region owns its processes and its temporary folder: nobody else may signal the ones, and Stop
// ends and removes both. A relay also ends with the process that started it. The room knows a relay
// by its flags and its log, and neither clients nor packets.
package launch
