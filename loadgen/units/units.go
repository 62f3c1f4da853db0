package units

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Count writes a whole number with a comma between thousands: 1,234,567.
func Count[T ~int | ~int64 | ~uint64](n T) string {
	digits := strconv.FormatUint(uint64(n), 10)
	sign := ""
	if n < 0 {
		digits, sign = strconv.FormatUint(uint64(-n), 10), "-"
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}

// Whole rounds to a whole number and writes it as Count does.
func Whole(v float64) string {
	if math.IsNaN(v) || math.Abs(v) >= 1<<63 {
		return Digits(v, 3)
	}
	return Count(int64(math.Round(v)))
}

// SI writes a number with at most three significant digits and a decimal prefix: 950, 12.5k, 3M.
func SI(v float64) string { return scale(v, 1000, []string{"", "k", "M", "G", "T"}, "") }

// Bytes writes a size in decimal units: 512 B, 6.3 kB, 1.2 GB.
func Bytes(v float64) string {
	return scale(v, 1000, []string{"B", "kB", "MB", "GB", "TB"}, " ")
}

// Memory writes a size in binary units, as memory is sold: 24 GiB.
func Memory(v float64) string {
	return scale(v, 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"}, " ")
}

// Nanos writes a time given in nanoseconds with at most three significant digits: 84 µs, 1.2 ms.
func Nanos(v float64) string {
	if math.Abs(v) < 1e9 {
		return scale(v, 1000, []string{"ns", "µs", "ms"}, " ")
	}
	return Digits(v/1e9, 3) + " s"
}

// Time is Nanos of a duration.
func Time(d time.Duration) string { return Nanos(float64(d)) }

// Clock writes a duration, to the nearest second, as minutes and seconds, 1:05, or hours too,
// 1:02:05.
func Clock(d time.Duration) string {
	s := int64(max(d, 0).Round(time.Second) / time.Second)
	two := func(n int64) string { return strconv.FormatInt(n/10, 10) + strconv.FormatInt(n%10, 10) }
	if s >= 3600 {
		return strconv.FormatInt(s/3600, 10) + ":" + two(s/60%60) + ":" + two(s%60)
	}
	return strconv.FormatInt(s/60, 10) + ":" + two(s%60)
}

// Percent writes a share as a percentage: 0.425 is 42.5 %.
func Percent(share float64) string { return Digits(share*100, 3) + " %" }

// Digits writes v with n significant digits, without an exponent and without zeros at the end.
// Digits before the point are all kept.
func Digits(v float64, n int) string {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	before := int(math.Floor(math.Log10(math.Abs(v)))) + 1
	s := strconv.FormatFloat(v, 'f', max(n-before, 0), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// scale divides by base until the rounded number is below it, and appends the name.
func scale(v, base float64, names []string, space string) string {
	i := 0
	for ; i < len(names)-1 && math.Abs(v) >= base; i++ {
		v /= base
	}
	s := Digits(v, 3)
	// 999.7 is written 1000, which is 1 of the next unit.
	if rounded, err := strconv.ParseFloat(s, 64); err == nil &&
		math.Abs(rounded) >= base && i < len(names)-1 {
		s, i = Digits(rounded/base, 3), i+1
	}
	return strings.TrimRight(s+space+names[i], " ")
}
