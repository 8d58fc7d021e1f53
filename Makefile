# What a contributor runs. `make help` lists the targets.
# Everything but e2e and lint needs nothing besides Go and make.

GO      ?= go
BIN     := bin
PROGRAM := $(BIN)/esxi-img$(shell $(GO) env GOEXE)

# A tree without git (a source archive) builds as "devel".
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null)
DATE    ?= $(shell TZ=UTC git log -1 --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ 2>/dev/null)

# Reproducible: no paths, no VCS stamp, no build id; the date is the commit's.
GOFLAGS_BUILD := -trimpath -buildvcs=false
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.date=$(DATE)

GOLANGCI_VERSION    := v2.15.0
GOVULNCHECK_VERSION := v1.9.0
TOOLS := $(BIN)/tools

FUZZTIME ?= 30s
FUZZJOBS ?= 1
BENCHDIR ?= build/bench
ISODIR   ?= build/iso

.DEFAULT_GOAL := build
.PHONY: build test e2e bench lint docs demo iso fuzz clean help

build: ## build ./bin/esxi-img
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_BUILD) -ldflags '$(LDFLAGS)' -o $(PROGRAM) ./cmd/esxi-img

test: ## vet and unit tests, with the race detector where there is a C compiler
	$(GO) vet ./...
	GO='$(GO)' sh .ci/test.sh

e2e: ## tests that need foreign programs: file system checkers, QEMU, firmware
	sh .ci/need.sh
	$(GO) vet -tags e2e ./...
	$(GO) test -tags e2e -count=1 -timeout 20m ./...

bench: build ## measure against cp and against xorriso + sgdisk + mkfs.vfat + mcopy
	$(GO) run ./cmd/esxi-img/internal/bench -program $(PROGRAM) -dir $(BENCHDIR) $(BENCHFLAGS)

lint: ## golangci-lint, shellcheck, govulncheck
	GO='$(GO)' TOOLS=$(TOOLS) GOLANGCI_VERSION=$(GOLANGCI_VERSION) GOVULNCHECK_VERSION=$(GOVULNCHECK_VERSION) sh .ci/lint.sh

docs: ## generate docs/cli and the man pages (build/man)
	$(GO) run ./cmd/esxi-img/internal/gendocs -markdown docs/cli
	$(GO) run ./cmd/esxi-img/internal/gendocs -man build/man

demo: build ## synthetic ISO -> build -> push -> sign -> verify -> pull -> variant -> customise -> catalog, each step shown
	@GO='$(GO)' ESXI_IMG=$(PROGRAM) sh .ci/demo.sh

iso: ## synthetic ISOs of all flavours in build/iso (Rock Ridge and Joliet need xorriso or genisoimage)
	GO='$(GO)' sh .ci/iso.sh $(ISODIR)

fuzz: ## every fuzz target in turn, FUZZTIME each (FUZZTIME=10m FUZZJOBS=4)
	GO='$(GO)' FUZZTIME=$(FUZZTIME) FUZZJOBS=$(FUZZJOBS) sh .ci/fuzz.sh

clean: ## remove what the other targets made
	rm -rf $(BIN) build dist

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
