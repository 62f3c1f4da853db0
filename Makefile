# derpd: what to type. Everything is fetched and built on first use.

STATICCHECK := .bin/staticcheck
FUZZTIME ?= 10s
NODES ?= 1
# What derpd does most, by which the compiler chooses what to inline. It is no default.pgo, which
# would compile every dependency a second time for each kind of test too, 45 s of processor time.
PGO := cmd/derpd/derpd.pgo
# A program with the race detector waits at its end for others to report; by default a second, and
# the tests start and end hundreds of programs.
export GORACE ?= atexit_sleep_ms=50

.PHONY: run build release pgo demo load-100k plan-check test test-computing test-waiting interop \
	tailnet bench-peers bench-quick bench-gate bench-stable benchmarks test-arm64 lint vuln fuzz clean

# A relay on this machine to look at.
run: build
	bin/derpd -demo

build:
	CGO_ENABLED=0 go build -trimpath -pgo $(PGO) -o bin/ ./cmd/derpd
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/loadgen

# What is given to others, with checksums. v1 runs on every amd64 processor; v3 takes AVX2, BMI2 and
# FMA for granted (Intel since Haswell, AMD since Zen). A second build for arm64 would win nothing:
# Go finds atomics and AES when it runs.
release:
	@rm -rf bin/release && mkdir -p bin/release
	@for build in amd64-v1 amd64-v3 arm64-v8.0; do \
		arch=$${build%-*} name=bin/release/derpd-linux-$$build; \
		level=GO$$(echo $$arch | tr a-z A-Z)=$${build#*-}; \
		env CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $$level \
			go build -trimpath -pgo $(PGO) -o $$name ./cmd/derpd || exit 1; echo $$name $$level; done
	@cd bin/release && sha256sum derpd-* >SHA256SUMS

# The profile anew, from this derpd under each kind of work; after a change of the data path.
pgo: build
	@.ci/need curl
	.ci/pgo $(PGO)

# A relay and 1,000 clients that talk through it, live, until Ctrl-C or a minute has passed.
demo: build
	bin/loadgen demo

# 100,000 clients over TLS, a fiftieth of them talking, in one process on each side: io_uring holds
# more connections than a process may open files. Where it is forbidden, NODES=6 lets a meshed region
# of six hold them. Fails on any loss that is unexplained.
load-100k: build
	bin/loadgen run -launch bin/derpd -nodes $(NODES) -workload chatter -clients 100000 \
		-active 0.02 -rate 4000 -for 30s -timeout 14m -o bin/load-100k.json -html bin/load-100k.html

# Is what loadgen plans kept? For derpd and for derper, eight minutes on a quiet machine.
plan-check: build bench-peers
	.ci/plan-check bin/derpd bin/derper-1.104.5

# Unit tests and simulation under the race detector, then the relay from outside, and derper
# by the same tests, which is how these are tested.
test:
	@.ci/need gcc openssl ip
	@rm -rf .bin/results/test
	CGO_ENABLED=1 .ci/gotest test . -race -timeout 8m ./...
	@$(MAKE) --no-print-directory -j2 -Otarget test-computing test-waiting

# The two halves of what is left, at once: one computes, the other mostly waits for programs.
test-computing:
	.ci/gotest test . -count=1 -run 'Test(Mesh)?Simulation$$' ./relay
	.ci/gotest test . -count=1 -tags planted -run Planted ./relay
	CGO_ENABLED=1 .ci/gotest test bench/baseline -race -timeout 4m ./...

test-waiting:
	.ci/gotest test interop -short -count=1 -timeout 4m ./...
	INTEROP_PEER=derper .ci/gotest test interop -short -count=1 -timeout 4m .

# The same tests from outside with all waits, against derpd on epoll and built with the race
# detector, and against the newest derper. Then the tailnet. At the end every test in docs/derper-parity.md
# that is one of these must have passed.
interop:
	@.ci/need gcc openssl ip iperf3
	@rm -rf .bin/results/interop
	.ci/gotest interop interop -count=1 -timeout 8m .
	.ci/gotest interop interop/pebble -count=1 -timeout 4m .
	.ci/gotest interop interop -count=1 -timeout 10m ./admission
	@.ci/need chromium npm
	BROWSER=1 .ci/gotest interop interop -count=1 -timeout 6m ./browser
	DERPD_RACE=1 DERPD_ENGINE=epoll .ci/gotest interop interop -short -count=1 -timeout 6m .
	INTEROP_PEER=derper-1.104.5 .ci/gotest interop interop -count=1 -timeout 8m .
	@$(MAKE) --no-print-directory tailnet
	@.ci/parity interop

# Two tailscaled that meet only at the relay. Needs root.
tailnet:
	@.ci/need ip iperf3
	cd interop && TAILNET=1 go test -v -count=1 -timeout 12m ./tailnet

# What bench compares derpd with: two derpers, the newer of which needs a newer Go, which is
# fetched, and the baselines.
bench-peers:
	cd interop && go build -buildvcs=false -o ../bin/derper-1.102.5 tailscale.com/cmd/derper
	cd bench/peers && GOTOOLCHAIN=go1.27.3 go build -buildvcs=false \
		-o ../../bin/derper-1.104.5 tailscale.com/cmd/derper
	cd bench/baseline && CGO_ENABLED=0 go build -buildvcs=false -o ../../bin/ \
		./goroutines ./gnet ./floor

PEERS := -peer derpd=bin/derpd -peer derper-1.104.5=bin/derper-1.104.5 \
	-peer floor=plain:no-stun:bin/floor

# derpd, derper and the floor side by side, in less than 5 minutes on a quiet machine.
bench-quick: build bench-peers
	go build -o bin/ ./cmd/bench
	bin/bench run -scale quick $(PEERS) -o bin/bench-quick.json

# Does derpd make more system calls or allocations a packet than the committed baseline, or more
# than is allowed at all? Two minutes; counts hardly depend on the machine or on what else it does, so
# every turn is taken. System calls are counted for root with perf events and tracefs, allocations
# for everybody; what cannot be had (io_uring too) is told and left out.
bench-gate: build
	@mkdir -p .bin
	go build -o bin/ ./cmd/bench
	bin/bench run -scale gate -noise 1 -peer 'derpd-epoll=bin/derpd -engine epoll' \
		-peer 'derpd-io_uring=io_uring:bin/derpd -engine io_uring' -o .bin/gate.json
	@echo; bin/bench compare -counted -o .bin/gate.md $(GATE) bench/gate.json .bin/gate.json || { \
		echo "If the change is meant, it becomes the baseline with: cp .bin/gate.json bench/gate.json"; \
		exit 1; }

# The goals in bulk: 0.2 system calls a packet and no allocation, but that queues grow where others
# keep the receivers from reading.
GATE := -most derpd-io_uring/bulk/batched-syscalls=0.2 -most derpd-epoll/bulk/batched-syscalls=0.2 \
	-most derpd-io_uring/bulk/allocs=0.05 -most derpd-epoll/bulk/allocs=0.05

# Do runs of one build compare as unchanged, and is a sleep of 100 µs in the flush flagged? For a quiet
# machine: PAIRS times three minutes.
PAIRS ?= 10
bench-stable: bench-peers
	BENCH_PAIRS=$(PAIRS) BENCH_KEEP=$(CURDIR)/bin/stable \
		BENCH_PEERS="-peer derper-1.104.5=$(CURDIR)/bin/derper-1.104.5" \
		go test -count=1 -v -timeout 3h -tags planted -run Stable ./bench/compare

# Everything, in some 50 minutes on 2 quiet processors, and BENCHMARKS.md of it: `make benchmarks
# DRY=-dry-run` tells how long each part takes. A row that failed (status 1) says so there. What others
# than derpd and derper are for is the way of a packet.
PACKETS := bulk-plain,latency-tls,knee-plain
benchmarks: build bench-peers
	go build -o bin/ ./cmd/bench
	bin/bench run $(DRY) -scale full -timeout 60m -peer derpd=no-files:bin/derpd \
		-peer derper-1.104.5=bin/derper-1.104.5 \
		-peer 'derpd-epoll=only=bulk-tls,knee-tls,$(PACKETS):bin/derpd -engine epoll' \
		-peer 'derpd-2-loops=only=loops-tls:bin/derpd -loops 2' \
		-peer goroutines=no-stun:only=bulk-tls,knee-tls,bulk-plain,knee-plain:bin/goroutines \
		-peer gnet=plain:only=$(PACKETS),stun:bin/gnet \
		-peer floor=plain:no-stun:only=$(PACKETS),crowd-tls,many-tls:bin/floor \
		-o bin/benchmarks.json -gobench bin/benchmarks.txt || test $$? -eq 1
ifndef DRY
	bin/bench report -html bin/benchmarks.html bin/benchmarks.json
	bin/bench document -template bench/BENCHMARKS.tmpl -o BENCHMARKS.md -plots docs/plots \
		bin/benchmarks.json
endif

# Both architectures build, and arm64 is tested emulated: unit tests, then packets through derpd.
test-arm64:
	@.ci/need qemu-aarch64-static
	.ci/arm64

# bench/peers holds no code to check.
lint: $(STATICCHECK)
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || \
		{ echo "gofmt would change: $$unformatted"; exit 1; }
	go vet ./... ./.ci/testlog
	cd interop && go vet ./...
	cd interop/pebble && go vet ./...
	cd bench/baseline && go vet ./...
	$(STATICCHECK) ./... ./.ci/testlog
	cd interop && ../$(STATICCHECK) ./...
	cd interop/pebble && ../../$(STATICCHECK) ./...
	cd bench/baseline && ../../$(STATICCHECK) ./...
	GOARCH=arm64 CGO_ENABLED=0 go build ./...
	go test -count=1 -run Tidy .

# One binary serves all modules, built from the version in go.mod.
$(STATICCHECK): go.mod
	go build -o $@ honnef.co/go/tools/cmd/staticcheck

vuln:
	go tool govulncheck ./...

fuzz:
	.ci/fuzz $(FUZZTIME)

clean:
	rm -rf bin .bin interop/.bin
