// Package units writes figures for people: counts with thousands apart, times, bytes and rates with
// a unit that suits their size; and it makes text from outside fit to be shown. It is pure
// functions and knows nothing of what the figures and texts mean.
package units
