// Package units writes figures for people: counts with thousands apart, times, bytes and rates with
// a unit that suits their size. It is pure functions and knows nothing of what the figures mean.
package units
