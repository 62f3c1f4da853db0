package admit

// Reason is why a login was admitted or refused. Each has a counter in Stats.
type Reason uint8

const (
	Allowed               Reason = iota // all that is configured agrees
	AllowedUnreachable                  // the URL cannot be reached, and fail-open is on
	DeniedAppName                       // the client's application name is refused
	DeniedByTailscaled                  // tailscaled knows no such node
	TailscaledUnreachable               // no connection to it, or no answer in time
	TailscaledError                     // an answer that is neither yes nor no
	DeniedByURL                         // the URL answered, and not with {"Allow":true}
	URLUnreachable                      // no connection to it, or no answer in time
	URLError                            // not status 200, or no JSON
	Busy                                // too many logins wait for an answer
	Timeout                             // it waited too long for its turn, or the caller gave up
	Closed                              // the Checker is closed
	reasonCount
)

// String returns the name that metrics and logs have.
func (r Reason) String() string {
	return [reasonCount]string{"allowed", "allowed_url_unreachable", "app_name",
		"denied_by_tailscaled", "tailscaled_unreachable", "tailscaled_error", "denied_by_url",
		"url_unreachable", "url_error", "busy", "timeout", "closed"}[r]
}

// Allows reports whether a login with this reason is admitted.
func (r Reason) Allows() bool { return r == Allowed || r == AllowedUnreachable }
