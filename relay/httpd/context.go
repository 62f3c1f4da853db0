package httpd

import (
	"context"
	"net/http"
)

// contextWithServer makes pprof look at srv's timeouts instead of the real server's.
func contextWithServer(ctx context.Context, srv *http.Server) context.Context {
	return context.WithValue(ctx, http.ServerContextKey, srv)
}
