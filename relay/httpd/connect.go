package httpd

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// dialMax bounds the way to the control server, as upstream does. The tunnel itself may stay:
	// a client keeps its connection to a control server for as long as it runs.
	dialMax = 15 * time.Second

	// farewellMax is how long a control server may go on sending once the client has ended its
	// direction.
	farewellMax = time.Second
)

// connect answers CONNECT: a tunnel to a control server, for clients whose network lets them
// reach only relays. Only over TLS, and only to hosts of tailscale.com that are no relays.
func connect(w http.ResponseWriter, r *http.Request, enabled bool) {
	switch {
	case r.TLS == nil:
		http.Error(w, "CONNECT is offered over TLS only", http.StatusForbidden)
		return
	case !enabled:
		http.Error(w, "CONNECT is not enabled here", http.StatusForbidden)
		return
	case !mayConnect(r.Host):
		http.Error(w, "CONNECT to this host is not allowed", http.StatusForbidden)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), dialMax)
	defer cancel()
	var d net.Dialer
	far, err := d.DialContext(ctx, "tcp", r.Host)
	if err != nil {
		http.Error(w, "the host cannot be reached", http.StatusBadGateway)
		return
	}
	tunnel(w, far)
}

// tunnel answers that the way is open, and copies until one side ends.
func tunnel(w http.ResponseWriter, far net.Conn) {
	defer far.Close()
	near, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "the connection cannot be taken over", http.StatusInternalServerError)
		return
	}
	defer near.Close()
	if _, err := io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(far, rw.Reader)
		far.SetReadDeadline(time.Now().Add(farewellMax))
	})
	both.Go(func() {
		io.Copy(near, far)
		near.SetReadDeadline(time.Now())
	})
	both.Wait()
}

func mayConnect(target string) bool {
	host, port, err := net.SplitHostPort(target)
	return err == nil && (port == "443" || port == "80") &&
		strings.HasSuffix(host, ".tailscale.com") && !strings.Contains(host, "derp")
}
