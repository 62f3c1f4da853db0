// Package report is what is kept of a run: JSON that machines read again, tables for a terminal,
// and one page of HTML with plots that needs nothing else. It also judges: which losses, wrong
// packets or silent clients make a run fail, and which exit code says so.
//
// It knows results (of runs, package loadgen, and of plans, package plan) and how to show them. It
// must not know how they came about: no socket, no clock, no /proc.
//
// Ownership: a Report belongs to its caller and is plain data. Judge writes to it; everything else
// reads. Merge makes a new one.
//
// What stands in a report may come from outside (host names, errors of peers, a file from another
// machine): Read checks it, Text strips what a terminal would obey, HTML escapes it.
package report
