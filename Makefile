# SignalStack: everything is built, run and checked from here. "make" lists it.
#
# Go is all that must be installed. The tests run on a real PostgreSQL: the one
# TEST_DATABASE_URL names, else a throw-away server started for the run.
# "make check" needs a C compiler as well, for Go's race detector.

BIN     := bin/signalstack
LINT    := bin/golangci-lint
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS ?= -s -w -X main.version=$(VERSION)

# ARGS is added to the command of run, demo and bench: make run ARGS='--addr :9000'.
ARGS ?=
# PKG narrows the tests: make test PKG=./internal/queue/...
PKG ?= ./...
# P is how many packages are tested at once. They share one server and its
# connections, so that more than the cores of a small machine gains nothing.
P ?= 2

# WITHPG runs a command with TEST_DATABASE_URL set, and returns its exit code.
WITHPG := go run ./internal/pgtest/withpg --

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## run everything in one process on a private PostgreSQL, until Ctrl-C
	$(BIN) all $(ARGS)

.PHONY: demo
demo: build ## send real GitHub webhooks through a source and rules to a receiver that verifies them, and end
	$(BIN) all --demo --ephemeral --addr 127.0.0.1:0 $(ARGS)

.PHONY: test
test: ## run all tests
	$(WITHPG) go test -p $(P) $(PKG)

# Left out are the programs that start servers themselves and never see the pooler.
NOT_POOLED := /test/e2e|/internal/pg/devpg|/internal/pgtest/withpg

.PHONY: test-pgbouncer
test-pgbouncer: ## run the tests through PgBouncer in transaction mode
	@echo "left out, as they start servers of their own: test/e2e, internal/pg/devpg, internal/pgtest/withpg"
	go run ./internal/pgtest/withpg --pooler -- go test -p $(P) $$(go list $(PKG) | grep -vE '($(NOT_POOLED))$$')

.PHONY: check
check: tidy fmt-check vet lint arch race ## all that must hold before a change lands: tidy, format, vet, lint, tests with -race

.PHONY: bench
bench: build ## measure jobs/s, events/s and latency on a scratch database
	$(BIN) bench $(ARGS)

.PHONY: build
build: ## build the static binary into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/signalstack

.PHONY: fmt
fmt: $(LINT) ## format all Go files
	$(LINT) fmt

.PHONY: fmt-check
fmt-check: $(LINT)
	$(LINT) fmt --diff

.PHONY: vet
vet: ## run go vet
	go vet ./...

.PHONY: lint
lint: $(LINT) ## run the linters of .golangci.yml
	$(LINT) run

.PHONY: race
race: ## run all tests under the race detector, in random order
	@command -v "$$(go env CC)" >/dev/null || { echo "the race detector needs a C compiler: install gcc" >&2; exit 1; }
	CGO_ENABLED=1 $(WITHPG) go test -race -shuffle=on -p $(P) $(PKG)

# The house rules are checked by "make test" too; here they fail in a second
# rather than after the tests.
.PHONY: arch
arch:
	go test ./internal/archtest

.PHONY: tidy
tidy:
	go mod tidy -diff
	cd tools && go mod tidy -diff

.PHONY: tools
tools: $(LINT) ## build the development tools, pinned in tools/go.mod, into bin/

$(LINT): tools/go.mod tools/go.sum
	@echo "building the linter: some minutes, once" >&2
	cd tools && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../bin/ tool
	@touch $@

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
