# The comment above each target says what it needs besides Go.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
BINARY       = tcp-log-server

.PHONY: build check fmt vet lint test test-long interop page page-picture copies cluster faults mutations bench bench-compare bench-pair module clean

build:
	$(GO) build -o $(BINARY) .

# check must pass before a change lands.
check: fmt vet lint build test test-long

fmt:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w:" $$unformatted; exit 1; fi

# The bench, the fault tests and the tests of the page, copies and clusters are separate modules.
MODULES = . test/bench test/cluster test/copies test/faults test/page

vet:
	@set -e; for module in $(MODULES); do (cd $$module && $(GO) vet ./...); done
	@$(GO) vet -tags nocluster . ./cli ./daemon ./internal/cluster

lint:
	@set -e; for module in $(MODULES); do (cd $$module && $(GO) run $(STATICCHECK) ./...); done

# The race detector needs a C compiler; without one the tests run without it.
RACE ?= $(shell command -v $${CC:-cc} >/dev/null 2>&1 && echo -race)
# Most tests wait for a disk, a peer or a timer, so twice as many packages run at a time as there are
# processors, the longest first.
PARALLEL ?= $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2))))
LONGEST   = ./server ./test/e2e ./engine ./daemon ./internal/cluster ./internal/replicated ./archive
# Thorough tests try some cases of each kind here, and all of them in test-long.
test:
	$(GO) test -short $(RACE) -p $(PARALLEL) $(LONGEST) ./...
	$(GO) test -short ./server ./client ./internal/nowait # they read and write sockets differently under the race detector
	cd test/bench && $(GO) test ./...

# test-long runs the thorough tests again with all their cases, without the race detector except
# for the tests in which goroutines share the log. -count=1 because go test takes minutes to cache
# the result of a test that has opened so many files.
test-long:
	$(GO) test -count=1 -timeout 30m -p $(PARALLEL) ./fsck ./backup ./segment
	$(GO) test -count=1 -timeout 30m -p $(PARALLEL) ./engine ./archive ./segment/lookup ./internal/where ./internal/replicated ./internal/cluster \
		-run 'Model|Concurrent|TestDamage$$|TestMillionEqualHashes|TestHostile|TestReadRandom|TestReadUnavailable|TestWalkers|TestFlippedBit|TestTwoDamaged|TestGrow|TestOtherLog|TestLog$$|TestGateways|TestOnceTurnsIntoTables|TestUnruly' # a short run of the others leaves nothing out
	$(GO) test -count=1 -timeout 30m ./test/e2e -run 'TestBackupKilled|TestImportOriginal|TestKill|TestOriginalGeneration|TestRenameModule'
	$(GO) test -count=1 $(RACE) -timeout 30m -p $(PARALLEL) ./backup ./engine ./fsck -run 'Concurrent|Beside|OnceModel'

# interop runs the clients from npm, curl, fetch and Python's urllib against the built server. It
# needs node and npm; tests of other missing programs are skipped.
interop: build
	@if ! command -v node >/dev/null || ! command -v npm >/dev/null; then \
		echo "interop: skipped, there is no node and npm here"; \
	else cd test/interop && npm ci --silent --no-audit --no-fund && TCP_LOG_SERVER=../../$(BINARY) node --test; fi

# copies runs the tests of copies elsewhere against a real S3 server. The first run takes minutes
# to build it into the user's cache. COPIES=Put runs the tests with such names,
# COPIES_FLAGS=-short some cases of each kind.
COPIES       ?= .
COPIES_FLAGS ?=
copies:
	cd test/copies && $(GO) test -count=1 -timeout 30m -run '$(COPIES)' $(COPIES_FLAGS) ./...

# cluster runs clusters of three nodes, and makes their processes, disks and networks fail: see
# docs/RELIABILITY.md. It needs Linux and root. CLUSTER_ROUNDS=20 is the long run, with each fault
# that often in both modes of HEAD; CLUSTER=TestChaos/leader runs the tests with such names;
# CLUSTER_FLAGS=-v shows each round.
CLUSTER       ?= .
CLUSTER_FLAGS ?=
cluster:
	cd test/cluster && $(GO) test -count=1 -timeout 12h -parallel 8 -run '$(CLUSTER)' $(CLUSTER_FLAGS) ./...

# page drives the page of the built server in Chromium, and writes screenshots to
# test/page/pictures. It needs chromium; with npm it also checks accessibility with axe-core.
# PAGE=Filter runs the tests with such names.
PAGE     ?= .
CHROMIUM ?= chromium
page: build
	@if ! command -v $(CHROMIUM) >/dev/null; then \
		echo "page: skipped, there is no chromium here (apt install chromium, or CHROMIUM=path)"; \
	else cd test/page && { ! command -v npm >/dev/null || npm ci --silent --no-audit --no-fund; } && \
		TCP_LOG_SERVER=../../$(BINARY) CHROMIUM=$(CHROMIUM) $(GO) test -count=1 -run '$(PAGE)' .; fi

# page-picture makes the README's picture of the page again.
page-picture: build
	@cd test/page && TCP_LOG_SERVER=../../$(BINARY) PAGE_PICTURE=../../docs/page.png $(GO) test -count=1 -run TestPicture .

# faults makes disks, networks and peers of the built server fail, and checks the log
# afterwards: see docs/RELIABILITY.md. It needs Linux, and for most tests root, strace and loop
# devices; a skipped test says which is missing. FAULT_ROUNDS=200 is the long run, FAULTS=Kill
# runs the tests with such names.
FAULTS ?= .
faults:
	@cd test/faults && $(GO) vet ./... && $(GO) test -count=1 ./report ./mutations && \
	{ $(GO) test -count=1 -timeout 12h -json -run '$(FAULTS)' . 2>&1; true; } | $(GO) run ./report

# mutations breaks the server on purpose, one line at a time, and checks that a test
# fails: see test/faults/mutations. It takes about twenty minutes; MUTATIONS=sync runs the
# mutations with such names.
MUTATIONS ?=
mutations:
	@cd test/faults && $(GO) test -count=1 ./mutations && $(GO) run ./mutations -run '$(MUTATIONS)'

# bench compares the server with Redis, NATS JetStream and the original server, if they
# are installed; see docs/PERFORMANCE.md.
bench:
	cd test/bench && $(GO) run . $(BENCH)

# bench-compare runs the Go benchmarks of the inner loops on BASE and on the
# working tree, and compares the results.
BASE      ?= HEAD~1
BENCHSTAT  = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
INNER      = ./canonical ./server/... ./engine
bench-compare:
	@dir=$$(mktemp -d) && git worktree add -q --detach $$dir/base $(BASE) && \
	trap 'git worktree remove --force '$$dir'/base; rm -rf '$$dir EXIT && \
	(cd $$dir/base && $(GO) test -run '^$$' -bench . -count 6 -benchtime 200ms $(INNER)) > $$dir/old.txt; \
	$(GO) test -run '^$$' -bench . -count 6 -benchtime 200ms $(INNER) > $$dir/new.txt; \
	$(GO) run $(BENCHSTAT) base=$$dir/old.txt now=$$dir/new.txt

# bench-pair runs the servers of BASE and of the working tree in turns on the cells that
# PAIR chooses, and prints the medians of the rounds' ratios.
PAIR ?= -cells append,replay/stream -rounds 15 -duration 1s -warmup 300ms
bench-pair:
	@dir=$$(mktemp -d) && git worktree add -q --detach $$dir/base $(BASE) && \
	trap 'git worktree remove --force '$$dir'/base; rm -rf '$$dir EXIT && \
	(cd $$dir/base && $(GO) build -o $$dir/server .) && cd test/bench && $(GO) run . -base $$dir/server $(PAIR)

# module renames the module in every file that names it: make module MODULE=host/owner/name
module:
	packaging/rename-module.sh '$(MODULE)'

clean:
	rm -rf $(BINARY) dist

# dist, dist-check, deb, deb-check, systemd-check, vet-all and image.
include packaging/release.mk
