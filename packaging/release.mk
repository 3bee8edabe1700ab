# Releases: binaries for each system, a Debian package, a container image.
# All files go to dist/.

VERSION    ?= $(or $(shell git describe --tags --match 'v[0-9]*' --always --dirty 2>/dev/null),devel)
# Files carry the time of the last commit, so that builds are reproducible.
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
export SOURCE_DATE_EPOCH

TARGETS    ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
LDFLAGS     = -s -w -X tcp-log-server/internal/build.version=$(VERSION)
NFPM        = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
MAINTAINER ?= The maintainers of tcp-log-server <maintainers@tcp-log-server.invalid>

.PHONY: dist dist-check vet-all deb deb-check systemd-check image

# dist and deb may run in either order: each keeps the other's files of this version, removes
# those of other versions, and writes the checksums of all files.
TIDY = mkdir -p dist && find dist -maxdepth 1 -type f ! -name 'tcp-log-server-$(VERSION)-*' \
	! -name 'tcp-log-server-$(VERSION).cdx.json' ! -name 'tcp-log-server_$(DEBVERSION)_*.deb' ! -name LICENCES.txt -exec rm -f {} +
SUMS = cd dist && find . -maxdepth 1 -type f ! -name SHA256SUMS | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS

# dist makes a static binary for each of TARGETS, the licences of the code in them, a bill
# of materials, and a checksum of every file.
dist:
	$(TIDY)
	$(GO) mod download
	@set -e; for target in $(TARGETS); do \
		os=$${target%/*} arch=$${target#*/} ext=; [ $$os != windows ] || ext=.exe; \
		echo "$$target"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' \
			-o dist/tcp-log-server-$(VERSION)-$$os-$$arch$$ext .; \
	done
	$(GO) run ./packaging/bill -version $(VERSION) -bom dist/tcp-log-server-$(VERSION).cdx.json \
		-licences dist/LICENCES.txt dist/tcp-log-server-*
	$(SUMS)

# dist-check makes dist twice, from two clones of the last commit, the second time without
# the build cache, and compares the results.
dist-check:
	@dir=$$(mktemp -d) && trap 'rm -rf '$$dir EXIT && \
	for copy in one another/and/deeper; do \
		git clone --quiet --no-hardlinks . $$dir/$$copy && \
		$(MAKE) --no-print-directory -C $$dir/$$copy dist || exit 1; \
		export GOCACHE=$$dir/cache; \
	done && \
	cat $$dir/one/dist/SHA256SUMS && \
	cmp $$dir/one/dist/SHA256SUMS $$dir/another/and/deeper/dist/SHA256SUMS && \
	(cd $$dir/another/and/deeper/dist && sha256sum --quiet -c SHA256SUMS) && echo "dist-check: both are the same"

# vet-all vets the code and its tests for each of TARGETS.
vet-all:
	@set -e; for target in $(TARGETS); do echo "$$target"; \
		GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(GO) vet ./...; done

# deb makes a package for DEBARCH with nfpm, which it fetches through the Go
# module proxy.
DEBARCH    ?= $(shell $(GO) env GOHOSTARCH)
DEBVERSION ?= $(shell echo '$(VERSION)' | sed -n 's/^v\([0-9]\)/\1/; t release; s/^/0~git$(shell date -u -d @$(SOURCE_DATE_EPOCH) +%Y%m%d)./; :release; s/-\(alpha\|beta\|rc\)/~\1/; s/-/+/g; p')
DEB         = dist/tcp-log-server_$(DEBVERSION)_$(DEBARCH).deb
STAGE       = dist/stage-$(DEBARCH)
deb:
	$(TIDY)
	rm -rf $(STAGE) && mkdir -p $(STAGE)
	CGO_ENABLED=0 GOOS=linux GOARCH=$(DEBARCH) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(STAGE)/tcp-log-server .
	$(GO) build -ldflags '$(LDFLAGS)' -o $(STAGE)/here .
	$(STAGE)/here man | gzip -9n >$(STAGE)/tcp-log-server.1.gz
	for shell in bash zsh fish; do $(STAGE)/here completion $$shell >$(STAGE)/completion.$$shell || exit 1; done
	$(GO) mod download && $(GO) run ./packaging/bill -version $(VERSION) -licences $(STAGE)/licences $(STAGE)/tcp-log-server
	{ cat packaging/deb/copyright; sed 's/^$$/./; s/^/ /' $(STAGE)/licences; } >$(STAGE)/copyright
	printf 'tcp-log-server (%s) unstable; urgency=medium\n\n  * Built from %s.\n\n -- %s  %s\n' '$(DEBVERSION)' '$(VERSION)' \
		'$(MAINTAINER)' "$$(date -u -R -d @$$SOURCE_DATE_EPOCH)" | gzip -9n >$(STAGE)/changelog.gz
	STAGE=$(STAGE) DEBARCH=$(DEBARCH) DEBVERSION='$(DEBVERSION)' MAINTAINER='$(MAINTAINER)' \
		$(GO) run $(NFPM) package -f packaging/deb/nfpm.yaml -p deb -t $(DEB)
	rm -rf $(STAGE)
	$(SUMS)

# deb-check installs the package into a temporary directory, starts, queries and removes
# it; this needs dpkg and root. DEB_INSTALL=1 installs it on this machine as well. lintian
# checks the package if it is installed.
deb-check: deb
	DEB=$(abspath $(DEB)) $(GO) test -count=1 -run TestDeb -v ./test/e2e
	@if command -v lintian >/dev/null; then lintian --allow-root --fail-on error,warning $(DEB); else echo "deb-check: no lintian here"; fi

# systemd-check runs the units under the real systemd, in namespaces; it needs root
# and systemd.
systemd-check: build
	packaging/systemd/check.sh $(BINARY)

# image makes a container image with docker, or with the compatible program that DOCKER names.
DOCKER     ?= docker
image:
	$(DOCKER) build -f packaging/Dockerfile --build-arg VERSION=$(VERSION) -t tcp-log-server:$(VERSION) .
