# Everything a developer or CI runs. `make help` lists it.

GO            ?= go
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT       := mvdan.cc/gofumpt@v0.12.0
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT    := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
# What the tests run on, whatever Go is installed. Both are chosen: tests in synctest
# bubbles meet errors of Go's own elsewhere.
# The newest patch of the oldest Go that go.mod allows, not its first: in Go 1.25.0 a
# WaitGroup made in a bubble can stop the whole process, past any -timeout
# (https://go.dev/issue/75134). A patch adds nothing to the language or the library.
OLDEST_GO     := go1.25.14
# In Go 1.26 timers of one bubble that fire at the same moment can crash the race
# detector (https://go.dev/issue/78156).
NEWEST_GO     := go1.27.4
BENCHSTAT     := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
MODULES       := . example test
FUZZTIME      ?= 30s
BENCHCOUNT    ?= 10

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-zA-Z0-9_-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: test
test: vet test-newest test-oldest test-cost test-sim ## Run all tests: with -race on the newest Go and dependencies, on the oldest, what a server costs, and the simulation's bars

vet test-newest test-cost test-sim: export GOTOOLCHAIN = $(NEWEST_GO)

.PHONY: vet
vet: ## go vet in every module
	@for m in $(MODULES); do echo "go vet $$m" && (cd $$m && $(GO) vet ./...) || exit 1; done

# One package of test/ at a time: its fleets of real processes need the processors that
# their bars count on. -count=1: some build the programs that they try, of which the go
# command's cache of results knows nothing.
.PHONY: test-newest
test-newest: ## The tests of all modules, -race, with the newest Go and the newest dependencies that go.work selects
	@for m in . example; do (cd $$m && $(GO) test -race -timeout 10m ./...) || exit 1; done
	cd test && $(GO) test -race -p 1 -count=1 -timeout 10m ./...

.PHONY: test-oldest
test-oldest: ## The library's tests on the oldest Go and the oldest dependencies it supports (its own go.mod)
	@case "$(OLDEST_GO)." in go$$(GOWORK=off $(GO) list -m -f '{{.GoVersion}}' | cut -d. -f1,2).*) ;; \
		*) echo "test-oldest: go.mod allows an older Go than $(OLDEST_GO), or none so old: change OLDEST_GO"; exit 1;; esac
	GOWORK=off GOTOOLCHAIN=$(OLDEST_GO) $(GO) test -timeout 10m ./...

.PHONY: test-cost
test-cost: ## Allocations and heap beside a bare server: exact, and so without -race
	cd test/bench && $(GO) test -timeout 10m .

.PHONY: test-sim
test-sim: ## The bars of the simulation, 20 seeds each (without -race: it is the same code, and ten times slower)
	cd test/sim && $(GO) test -timeout 15m ./...

.PHONY: sim
sim: ## The simulation: its table, and its plots into docs/sim
	$(GO) run ./test/sim
	$(GO) run ./test/sim -plots docs/sim

.PHONY: demo
demo: ## The main job: 2 to 5 pods, with evenkeel, with MaxConnectionAge alone, with nothing
	$(GO) run ./example/demo

.PHONY: interop
interop: ## Clients of other makes; installs them (Debian packages, npm)
	./test/interop/run.sh

# -count=1: the go command does not see changes of files outside of the module.
# test/chart/promtool.sh brings promtool, without which its test is skipped.
.PHONY: chart
chart: ## The Helm chart: lint, suites, schema, objects, alerts, README (UPDATE=1 writes the README's table)
	cd test/chart && GOWORK=off $(GO) vet ./... && GOWORK=off $(GO) test -count=1 -timeout 10m ./... $(if $(UPDATE),-run TestReadmeTable -update)

.PHONY: e2e
e2e: ## A real Kubernetes: installs what is missing (Debian 12, root), builds it, runs test/k8s
	./test/k8s/run.sh

.PHONY: image
image: ## The example server as a container image, dist/server.tar, packed without a daemon
	cd example && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o ../dist/server ./server
	cd tools && GOWORK=off $(GO) run ./image -o ../dist/server.tar -tag evenkeel-example-server:dev -entrypoint /server ../dist/server=/server

.PHONY: lint
lint: actionlint ## golangci-lint, gofumpt and actionlint
	@for m in $(MODULES); do echo "golangci-lint $$m" && (cd $$m && $(GO) run $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done
	cd test/chart && GOWORK=off $(GO) run $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...
	cd test/k8s && GOWORK=off $(GO) run $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml --build-tags e2e ./...
	@out=$$(git ls-files '*.go' | grep -v '/gen/' | xargs $(GO) run $(GOFUMPT) -l) && test -z "$$out" || { echo "not gofumpt-ed:"; echo "$$out"; exit 1; }

# shellcheck and pyflakes are off, so that results do not depend on what is installed.
.PHONY: actionlint
actionlint: ## Check the hosted workflows in .github
	$(GO) run $(ACTIONLINT) -shellcheck= -pyflakes=

.PHONY: fmt
fmt: ## gofumpt on every file
	git ls-files '*.go' | grep -v '/gen/' | xargs $(GO) run $(GOFUMPT) -w

.PHONY: vuln
vuln: ## govulncheck in every module; skipped, and said so, where its database cannot be reached
	@for m in $(MODULES); do \
		out=$$(cd $$m && $(GO) run $(GOVULNCHECK) ./... 2>&1); rc=$$?; \
		case "$$rc $$out" in \
			0*) echo "govulncheck $$m: none found" ;; \
			*"dial tcp"*|*"fetching vulnerabilities"*|*"no such host"*|*"proxyconnect"*) echo "govulncheck $$m: SKIPPED, its database cannot be reached from here" ;; \
			*) echo "$$out"; exit 1 ;; \
		esac; done

.PHONY: fuzz
fuzz: ## Each fuzz target for FUZZTIME (30s)
	@for t in $$(grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$t/*_test.go | cut -c6-); do \
			echo "$$t $$f"; (cd $$t && $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) .) || exit 1; \
		done; done

.PHONY: bench
bench: ## Benchmarks against a bare grpc.NewServer, compared with benchstat (BENCHCOUNT runs each)
	@cd test/bench && $(GO) test -run '^$$' -bench . -benchmem -count $(BENCHCOUNT) . | tee /tmp/evenkeel-bench.txt
	@$(GO) run $(BENCHSTAT) -col /server /tmp/evenkeel-bench.txt

.PHONY: generate
generate: ## Generate the protobuf code of the examples
	cd tools && GOWORK=off $(GO) generate ./...

.PHONY: check-generated
check-generated: generate ## Fail if the committed generated code is not fresh
	git diff --exit-code -- example/gen

.PHONY: tidy
tidy: ## go mod tidy in every module
	@for m in $(MODULES) tools test/chart test/k8s test/k8s/kube test/k8s/coredns test/k8s/helm; do (cd $$m && GOWORK=off $(GO) mod tidy) || exit 1; done
