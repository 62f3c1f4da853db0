// Package compare holds a new report against an old one: what changed, how sure that is, and
// whether it is a regression.
//
// It knows reports and statistics (golang.org/x/perf/benchmath). It must not know how figures come
// about, nor files. Everything is pure functions; the reports stay their callers'.
//
// # When a change counts
//
// Three things must agree. The medians differ by more than the figure's class allows
// (Thresholds): counted figures hardly vary, tails of latency vary by half on a shared machine.
// The samples differ by more than chance (Mann-Whitney, p < 0.05), or, where there are too few
// for that, their ranges do not touch and the medians are further apart (Threshold.of). And where
// speed is measured and both reports have the same build of the reference peer, the ratios to it
// moved as far, the same way: if both moved, the machine did. That build's own figures are shown
// and not judged: they are what the others are measured by.
//
// A relay that fails has no figures that could be worse. So an error of the new report that the old
// one had not is a regression too, whatever figures there are beside it. What the machine cannot
// measure is a note of the report and none.
package compare
