//go:build planted

package relay

import (
	"regexp"
	"strings"
	"testing"
)

// plantedSeeds is how many seeds the simulation has to find a planted bug.
const plantedSeeds = 200

// TestPlanted proves that the simulation fails on bugs of five kinds, for the right reason.
func TestPlanted(t *testing.T) {
	defer func() { plant = plantNone }()
	for _, tc := range []struct {
		name  string
		plant planted
		want  string // in what the simulation says
	}{
		{"lost drop", plantLostDrop, `conservation: \d+ packets received`},
		{"swapped key", plantSwappedKey, `wrong source key|from node \d+ came more often`},
		{"stale handle", plantStaleHandle, `PeerGone of node \d+, which it never heard from`},
		{"early reuse", plantEarlyReuse, `was written to before Sent|not intact|spoilt`},
		{"double send", plantDoubleSend, `delivered twice|came more often|spoilt record`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			plant = tc.plant
			found := simSearch(plantedSeeds)
			if found.seed == 0 {
				t.Fatalf("the simulation did not notice in %d seeds", plantedSeeds)
			}
			said := strings.Join(found.faults, "\n\t")
			if !regexp.MustCompile(tc.want).MatchString(said) {
				t.Errorf("seed %d failed, but not for %q:\n\t%s", found.seed, tc.want, said)
			}
			t.Logf("seed %d: %s", found.seed, found.faults[0])
		})
	}
	plant = plantNone
	if found := simSearch(plantedSeeds / 4); found.seed != 0 {
		simReport(t, found.seed, found.faults)
	}
}
