package units

import (
	"math"
	"testing"
	"time"
)

func TestFigures(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Count(0), "0"},
		{Count(999), "999"},
		{Count(1000), "1,000"},
		{Count(uint64(math.MaxUint64)), "18,446,744,073,709,551,615"},
		{Count(-1234567), "-1,234,567"},
		{Count(int64(math.MinInt64)), "-9,223,372,036,854,775,808"},
		{Whole(1999.6), "2,000"},
		{Whole(math.Inf(1)), "+Inf"},
		{SI(0), "0"},
		{SI(950), "950"},
		{SI(12_540), "12.5k"},
		{SI(999_999), "1M"},
		{SI(-2_000), "-2k"},
		{SI(0.25), "0.25"},
		{Bytes(512), "512 B"},
		{Bytes(6_340), "6.34 kB"},
		{Memory(24 << 30), "24 GiB"},
		{Nanos(84_000), "84 µs"},
		{Nanos(999_700), "1 ms"},
		{Nanos(62_130_000_000), "62.1 s"},
		{Nanos(300e9), "300 s"},
		{Time(1_234 * time.Microsecond), "1.23 ms"},
		{Clock(65 * time.Second), "1:05"},
		{Clock(3725 * time.Second), "1:02:05"},
		{Clock(-time.Second), "0:00"},
		{Clock(2999 * time.Millisecond), "0:03"},
		{Percent(0.4251), "42.5 %"},
		{Percent(1), "100 %"},
		{Digits(0.01, 3), "0.01"},
		{Digits(100, 2), "100"},
		{Printable("a\tb\nc\x1b[2J\u009b\u202e\r"), "a b c\ufffd[2J\ufffd\ufffd\ufffd"},
		{Fit("päckchen", 8), "päckchen"},
		{Fit("päckchen", 7), "päckch…"},
		{Fit("päckchen", 0), ""},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
