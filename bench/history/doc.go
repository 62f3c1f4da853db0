// Package history keeps the medians of many reports, a line each in a file, and shows how they
// moved.
//
// A line is JSON and is only ever added; it says which commit was measured, where and when. The
// room knows reports and lines. It must not know how figures came about, nor judge them: that is
// bench/compare's, which has the samples.
package history
