package scrape

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"

	"derpd/loadgen"
)

var re = regexp.MustCompile(`(?m)^derp_packets_dropped\{(?:.*,)?reason="([a-z_]+)".*\} (\S+)$`)

func Drops(ctx context.Context, t loadgen.Target) (map[string]uint64, error) {
	tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: t.Host, InsecureSkipVerify: true}, DisableKeepAlives: true}
	req, _ := http.NewRequestWithContext(ctx, "GET", t.Varz, nil)
	res, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 {
		return nil, fmt.Errorf("%d", res.StatusCode)
	}
	m := map[string]uint64{}
	for _, g := range re.FindAllSubmatch(b, -1) {
		f, _ := strconv.ParseFloat(string(g[2]), 64)
		m[string(g[1])] += uint64(f)
	}
	return m, nil
}

func Diff(a, b map[string]uint64) (map[string]uint64, error) {
	m := map[string]uint64{}
	for k, v := range b {
		m[k] = v - a[k]
	}
	return m, nil
}
