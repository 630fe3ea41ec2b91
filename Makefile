# make deb    the Symbiosis package in dist/, Sympl's in dist/sympl/
# make test   what CI runs
# make demo   a Debian root laid out as Symbiosis is, and the checks at work
#
# A target installs the Debian packages that it needs and that are missing, so
# it needs root for that, and Go, git and make beforehand.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build
.DELETE_ON_ERROR:

# debian/changelog is where the version, its date and the maintainer are
# written; nothing else may have a say, so that a tree without git gives the
# same packages.
VERSION    := $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
MAINTAINER := $(shell sed -n '/^ -- /{s/^ -- \(.*\)  .*/\1/p;q}' debian/changelog)
export SOURCE_DATE_EPOCH := $(shell date -d "$$(sed -n '/^ -- /{s/.*>  //p;q}' debian/changelog)" +%s)

HOSTARCH := $(shell go env GOHOSTARCH)
ARCH     ?= $(HOSTARCH)
COMMANDS := $(notdir $(patsubst %/main.go,%,$(wildcard cmd/*/main.go)))

# The two packages exclude each other, and so do two architectures: each has a
# directory of its own, so that "apt install ./dist/*.deb" finds one.
DIST := dist$(if $(filter-out $(HOSTARCH),$(ARCH)),/$(ARCH))

# Static: one binary runs on every Debian from 9 on. The tags keep glibc's
# name service, which a static program cannot load, SQLite's dlopen, and the flag
# library's Markdown writer, which costs time at every start, out.
TAGS    := netgo,osusergo,sqlite_omit_load_extension,urfave_cli_no_docs
LDFLAGS := -s -w -linkmode external -extldflags -static
GOBUILD := go build -trimpath -buildvcs=false -tags $(TAGS)
CROSS_amd64 := x86_64-linux-gnu-
CROSS_arm64 := aarch64-linux-gnu-
CROSS   := $(if $(filter-out $(HOSTARCH),$(ARCH)),$(CROSS_$(ARCH)))

# What builds and checks, without being part of the product, is in tools/go.mod.
TOOL := go -C tools build -o ../build/
AXE     := 4.10.3
AXE_SUM := 880970c081707360e64f34cea25ff91892f5bc95675b0776925b9709dd8a68bb
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

DEPS_BUILD       := gcc libc6-dev
DEPS_BUILD_amd64 := gcc-x86-64-linux-gnu libc6-dev-amd64-cross
DEPS_BUILD_arm64 := gcc-aarch64-linux-gnu libc6-dev-arm64-cross
DEPS_FLEET       := knot nsd rbldnsd
DEPS_TEST        := $(DEPS_BUILD) $(DEPS_BUILD_arm64) $(DEPS_FLEET) qemu-user-static \
	bind9-utils ca-certificates chromium cron exim4-daemon-heavy faketime iproute2 knot-dnssecutils lintian man-db mmdebstrap mount piuparts \
	prometheus python3 ruby ruby-sqlite3 sqlite3 strace swaks
DEPS_DEMO        := $(DEPS_BUILD) ca-certificates iproute2 mmdebstrap mount sqlite3
DEPS_BENCH       := $(DEPS_TEST) fail2ban time

# install-missing PACKAGES: asks dpkg first, because most of the time nothing
# is missing and no package list has to be fetched.
define install-missing
missing=; for p in $(1); do \
	dpkg-query -W -f '$${db:Status-Status}\n' $$p 2>/dev/null | grep -qx installed || missing+=" $$p"; done; \
if [ -n "$$missing" ]; then \
	echo "installing:$$missing"; \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; fi
endef

.PHONY: build
build: deps-build ## the commands, static, in build/ARCH
	@mkdir -p build/$(ARCH) && cd build/$(ARCH) && rm -f $$(ls | grep -vxF "$$(printf '%s\n' $(COMMANDS))")
	@for c in $(COMMANDS); do echo "build $$c $(ARCH)"; \
		CGO_ENABLED=1 GOOS=linux GOARCH=$(ARCH) CC=$(CROSS)gcc \
		$(GOBUILD) -ldflags "$(LDFLAGS)" -o build/$(ARCH)/ ./cmd/$$c; \
		$(CROSS)objcopy --remove-section=.comment build/$(ARCH)/$$c; done

# The commands print their own manual pages: the flags and words are those of
# --help. They run on the machine that builds, whatever the target.
.PHONY: manual
manual: deps-build ## the manual pages, in build/manual
	@mkdir -p build/manual/bin && rm -f build/manual/*.[58]
	@for c in $(COMMANDS); do \
		CGO_ENABLED=1 $(GOBUILD),manual -o build/manual/bin/ ./cmd/$$c; \
		MANUAL_VERSION=$(VERSION) build/manual/bin/$$c --help > build/manual/$$c.8; done
	@for p in docs/man/*.5; do \
		sed -e "s/@DATE@/$$(date -u -d @$$SOURCE_DATE_EPOCH +%F)/" -e 's/@VERSION@/$(VERSION)/' $$p > build/manual/$${p##*/}; done

# One build at a time: a test that needs a package may be at it already.
.PHONY: deb
deb: deps-build ## the Symbiosis package in dist/, Sympl's in dist/sympl/; ARCH=arm64 in dist/arm64/
	@mkdir -p build && flock build/lock $(MAKE) --no-print-directory deb-unlocked

.PHONY: deb-unlocked
deb-unlocked: build manual
	@$(TOOL) github.com/goreleaser/nfpm/v2/cmd/nfpm
	@for pair in symbiosis:sympl sympl:symbiosis; do \
		platform=$${pair%:*} other=$${pair#*:} stage=build/stage-$(ARCH)-$${pair%:*}; \
		debian/stage $$platform build/$(ARCH) build/manual $$stage; \
		(cd $$stage && ARCH=$(ARCH) VERSION=$(VERSION) MAINTAINER="$(MAINTAINER)" OTHER=$$other-connect-acl \
			../nfpm package -f nfpm.yaml -p deb -t ../package.deb); \
		out=$(DIST); [ $$platform = symbiosis ] || out=$(DIST)/$$platform; \
		mkdir -p $$out && rm -f $$out/*.deb && mv build/package.deb $$out/$${platform}-connect-acl_$(VERSION)_$(ARCH).deb; done

.PHONY: test
test: deps-test deb ## every test
	CONNECT_ACL_LAB=require CONNECT_ACL_DIST=$(CURDIR)/dist go test -timeout 60m ./...

.PHONY: test-long
test-long: ## test, with every fault injected, every build from nothing, and Debian testing
	CONNECT_ACL_LONG=1 $(MAKE) test

.PHONY: demo
demo: deps-demo deb ## the checks at work on a real Exim; FLEET=1: three servers that share
	go run ./tests/demo$(if $(FLEET),/fleet)

.PHONY: bench
bench: deps-bench deb ## every benchmark, or one: make bench BENCH=name
	go run ./tests/bench $(BENCH)

.PHONY: load
load: deps-test deb ## the firewall, Exim and sync at work, up to ten million rows, and what it takes
	CONNECT_ACL_LAB=require CONNECT_ACL_DIST=$(CURDIR)/dist CONNECT_ACL_LOAD=1 go test -count=1 -timeout 30m -v ./tests/load

.PHONY: corpus
corpus: deps-test ## the log corpus, recorded again from real Exims
	go run ./tests/corpus/record -o tests/corpus/corpus.tsv
	go generate ./internal/patterns/attacks
	go test ./tests/corpus -run Table -update

.PHONY: lint
lint: deps-build ## gofmt, vet, staticcheck
	@unformatted=$$(gofmt -l cmd internal tests); [ -z "$$unformatted" ] || { echo "gofmt these: $$unformatted"; exit 1; }
	go vet ./...
	@$(TOOL) honnef.co/go/tools/cmd/staticcheck
	build/staticcheck ./...

.PHONY: vuln
vuln: ## known vulnerabilities in what is linked in
	go run $(GOVULNCHECK) ./...

.PHONY: lintian
lintian: deb deps-test ## the packages against Debian's rules
	lintian --pedantic -E -I --fail-on error,warning,info,pedantic,experimental $(DIST)/*.deb $(DIST)/sympl/*.deb

.PHONY: piuparts
piuparts: deb deps-test ## install, upgrade, remove and purge in a bare Debian
	go test -count=1 -run Piuparts ./tests/package

.PHONY: deps-build deps-demo deps-test deps-bench
deps-build:
	@$(call install-missing,$(DEPS_BUILD) $(if $(filter-out $(HOSTARCH),$(ARCH)),$(DEPS_BUILD_$(ARCH))))
deps-demo:
	@$(call install-missing,$(DEPS_DEMO) $(if $(FLEET),$(DEPS_FLEET)))
deps-test: build/axe.min.js
	@$(call install-missing,$(DEPS_TEST))
deps-bench:
	@$(call install-missing,$(DEPS_BENCH))

# What looks for barriers in the report's page. npm, which fetches it, may come
# with Debian's package of that name or with another nodejs.
build/axe.min.js:
	@mkdir -p build
	@command -v npm > /dev/null || { $(call install-missing,npm); }
	@cd build && npm pack --silent axe-core@$(AXE) > /dev/null && tar xzf axe-core-$(AXE).tgz --strip-components=1 package/axe.min.js && rm axe-core-$(AXE).tgz
	@echo "$(AXE_SUM)  $@" | sha256sum --check --quiet && touch $@

.PHONY: clean
clean: ## everything that make has built
	rm -rf build dist
