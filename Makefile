# derpd: what to type. Everything is fetched and built on first use.

STATICCHECK := .bin/staticcheck
FUZZTIME ?= 10s
NODES ?= 6

.PHONY: run build demo load-100k test interop tailnet bench-peers test-arm64 lint vuln fuzz clean

# A relay on this machine to look at.
run: build
	bin/derpd -demo

build:
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/derpd ./cmd/loadgen

# A relay and 1,000 clients that talk through it, live, until Ctrl-C or a minute has passed.
demo: build
	bin/loadgen demo

# 100,000 clients over TLS, a fiftieth of them talking, on the nodes of one meshed region: as many
# processes of each side as the limit of open files asks for. Fails on any loss that is unexplained.
load-100k: build
	bin/loadgen run -launch bin/derpd -nodes $(NODES) -workload chatter -clients 100000 \
		-active 0.02 -rate 4000 -for 30s -timeout 14m -o bin/load-100k.json -html bin/load-100k.html

# Unit tests and simulation under the race detector, then the relay from outside.
test:
	@.ci/need gcc openssl
	CGO_ENABLED=1 go test -race -timeout 8m ./...
	go test -count=1 -run 'TestSimulation$$' ./relay
	go test -count=1 -tags planted -run Planted ./relay
	cd interop && go test -short -count=1 -timeout 4m ./...

# The same tests from outside with all waits, against derpd built with the race detector, and
# against two derpers, which is how the tests themselves are tested. Then the tailnet.
interop:
	@.ci/need gcc openssl ip iperf3
	cd interop && go test -count=1 -timeout 8m .
	cd interop/pebble && go test -count=1 -timeout 4m .
	@.ci/need chromium npm
	cd interop && BROWSER=1 go test -count=1 -timeout 6m ./browser
	cd interop && DERPD_RACE=1 go test -short -count=1 -timeout 6m .
	cd interop && INTEROP_PEER=derper go test -short -count=1 -timeout 6m .
	cd interop && INTEROP_PEER=derper-1.104.5 go test -count=1 -timeout 8m .
	@$(MAKE) --no-print-directory tailnet

# Two tailscaled that meet only at the relay. Needs root.
tailnet:
	@.ci/need ip iperf3
	cd interop && TAILNET=1 go test -v -count=1 -timeout 12m ./tailnet

# The derpers that bench compares with. The newer one needs a newer Go, which is fetched.
bench-peers:
	cd interop && go build -buildvcs=false -o ../bin/derper-1.102.5 tailscale.com/cmd/derper
	cd bench/peers && GOTOOLCHAIN=go1.27.3 go build -buildvcs=false \
		-o ../../bin/derper-1.104.5 tailscale.com/cmd/derper

# Both architectures build, and arm64 is tested emulated: unit tests, then packets through derpd.
test-arm64:
	@.ci/need qemu-aarch64-static
	.ci/arm64

# bench/peers holds no code to check.
lint: $(STATICCHECK)
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || \
		{ echo "gofmt would change: $$unformatted"; exit 1; }
	go vet ./...
	cd interop && go vet ./...
	cd interop/pebble && go vet ./...
	$(STATICCHECK) ./...
	cd interop && ../$(STATICCHECK) ./...
	cd interop/pebble && ../../$(STATICCHECK) ./...
	GOARCH=arm64 CGO_ENABLED=0 go build ./...
	go test -count=1 -run Tidy .

# One binary serves both modules, built from the version in go.mod.
$(STATICCHECK): go.mod
	go build -o $@ honnef.co/go/tools/cmd/staticcheck

vuln:
	go tool govulncheck ./...

fuzz:
	.ci/fuzz $(FUZZTIME)

clean:
	rm -rf bin .bin interop/.bin
