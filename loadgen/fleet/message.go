package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"derpd/loadgen"
)

// verb is what the parent wants, and names the request that a reply is to.
type verb string

const (
	doOpen   verb = "open"   // Job: make the fleet; the first request, and only then
	doRamp   verb = "ramp"   // answered with Ramp
	doStep   verb = "step"   // Step, Start; answered with Step
	doCancel verb = "cancel" // end the ramp or step under way with what there is; no answer of its own
	doClose  verb = "close"  // close the fleet, answer and end
)

// request is a line from the parent to a worker. A ramp or step must have been answered before the
// next request but cancel.
type request struct {
	Do   verb          `json:"do"`
	Job  *loadgen.Job  `json:"job,omitempty"`
	Step *loadgen.Step `json:"step,omitempty"`
	// Start is when the step begins, in nanoseconds of CLOCK_MONOTONIC; 0: now.
	Start int64 `json:"start_ns,omitempty"`
}

// reply is a line from a worker. Those with Progress come several times a second while a request
// is worked on; the one with To ends it. An Error may come with a result.
type reply struct {
	Progress *loadgen.Progress   `json:"progress,omitempty"`
	To       verb                `json:"to,omitempty"`
	Error    string              `json:"error,omitempty"`
	Ramp     *loadgen.RampResult `json:"ramp,omitempty"`
	Step     *loadgen.StepResult `json:"step,omitempty"`
}

// decode reads the one JSON value of a line. Both ends are one program, so a field that is not
// known is no message of ours.
func decode(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value in a line")
	}
	return nil
}

// decodeRequest checks all that can be told without knowing what went before.
func decodeRequest(line []byte) (request, error) {
	var r request
	if err := decode(line, &r); err != nil {
		return request{}, fmt.Errorf("%s is no request: %w", quote(line), err)
	}
	known := r.Do == doOpen || r.Do == doRamp || r.Do == doStep || r.Do == doCancel ||
		r.Do == doClose
	if !known || (r.Do == doOpen) != (r.Job != nil) || (r.Do == doStep) != (r.Step != nil) ||
		r.Start != 0 && r.Do != doStep || r.Start < 0 {
		return request{}, fmt.Errorf("%s is no request: nothing that can be done", quote(line))
	}
	return r, nil
}

// decodeReply does the same at the other end.
func decodeReply(line []byte) (reply, error) {
	var r reply
	if err := decode(line, &r); err != nil {
		return reply{}, fmt.Errorf("%s is no reply: %w", quote(line), err)
	}
	ok := false
	switch r.To {
	case doOpen, doClose:
		ok = r.Ramp == nil && r.Step == nil && r.Progress == nil
	case doRamp:
		ok = (r.Ramp != nil || r.Error != "") && r.Step == nil && r.Progress == nil
	case doStep:
		ok = (r.Step != nil || r.Error != "") && r.Ramp == nil && r.Progress == nil
	case "":
		ok = r.Progress != nil && r.Error == "" && r.Ramp == nil && r.Step == nil
	}
	if !ok {
		return reply{}, fmt.Errorf("%s is no reply: its parts do not belong together", quote(line))
	}
	return r, nil
}

// quote shows the beginning of a line that somebody did not expect.
func quote(line []byte) string {
	if len(line) > garbageBytesMax {
		return fmt.Sprintf("%q…", line[:garbageBytesMax])
	}
	return fmt.Sprintf("%q", line)
}

// encode makes a line of a message.
func encode(message any) ([]byte, error) {
	b, err := json.Marshal(message)
	return append(b, '\n'), err
}

// monotonic reads the machine's CLOCK_MONOTONIC in nanoseconds.
func monotonic() int64 {
	var ts unix.Timespec
	// It cannot fail: the clock exists and ts is ours.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}
