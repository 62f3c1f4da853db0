package arrival

import (
	"fmt"
	"time"

	"derpd/loadgen"
)

// Check says what is wrong with an Arrival. Fields that its kind has no use for are not looked at,
// so that somebody can change the kind alone.
func Check(a loadgen.Arrival) error {
	switch a.Kind {
	case loadgen.Constant, loadgen.Poisson:
		return nil
	case loadgen.Bursts:
		if a.Burst < 1 || a.Burst > burstPacketsMax {
			return fmt.Errorf("arrival %q: burst is %d packets: give 1 to %d",
				a.Kind, a.Burst, burstPacketsMax)
		}
		return nil
	case loadgen.OnOff:
		if err := checkPhase("on", a.On); err != nil {
			return err
		}
		return checkPhase("off", a.Off)
	}
	return fmt.Errorf("arrival kind is %q: use %q, %q, %q or %q", a.Kind,
		loadgen.Constant, loadgen.Poisson, loadgen.Bursts, loadgen.OnOff)
}

func checkPhase(name string, mean time.Duration) error {
	if mean < phaseMin || mean > phaseMax {
		return fmt.Errorf("arrival %q: mean time %s is %v: give %v to %v, or use %q",
			loadgen.OnOff, name, mean, phaseMin, phaseMax, loadgen.Constant)
	}
	return nil
}
