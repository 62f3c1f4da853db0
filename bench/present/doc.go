// Package present shows reports: as text in a terminal, as Markdown with plots beside it, and as
// one page. All three are made of the same sections (loadgen/report), so that they say the same.
//
// It knows reports, what measures mean and how people read figures. It must not know how they came
// about, nor decide whether they are good. Everything here is pure functions of a report.
package present
