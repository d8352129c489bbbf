# The commands of developers and CI. `make help` lists them.

GO            ?= go
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOFUMPT       := mvdan.cc/gofumpt@v0.12.0
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
ACTIONLINT    := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
# The tests run on these two versions of Go, whichever version is installed. Bugs in other
# versions of Go break tests that use synctest.
# OLDEST_GO is the newest patch of the oldest Go that go.mod allows. In Go 1.25.0 a
# WaitGroup made in a bubble can stop the whole process, past any -timeout
# (https://go.dev/issue/75134). A patch adds nothing to the language or the library.
OLDEST_GO     := go1.25.14
# NEWEST_GO is not Go 1.26: timers of one bubble that fire at the same moment can crash its
# race detector (https://go.dev/issue/78156).
NEWEST_GO     := go1.27.4
BENCHSTAT     := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
# The library: what adopters import, each a module of its own, so that only those who use
# Prometheus or Kubernetes depend on their clients.
LIBRARY       := . health/metrics peers/kube serveropts/streams
# Programs that people run.
PROGRAMS      := cmd/evenkeel-sidecar
MODULES       := $(LIBRARY) $(PROGRAMS) example test
FUZZBUDGET    ?= 10m
FUZZTIME      ?=
FUZZCORPUS    ?=
CALLS         ?= 1000000
BENCHCOUNT    ?= 10

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-zA-Z0-9_-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: test
test: vet test-newest test-oldest test-cost test-sim ## All tests that need only Go: vet, newest Go with -race, oldest Go, cost, simulation

vet test-newest test-cost test-sim: export GOTOOLCHAIN = $(NEWEST_GO)

.PHONY: vet
vet: ## go vet in every module
	@for m in $(MODULES); do echo "go vet $$m" && (cd $$m && $(GO) vet ./...) || exit 1; done

# The packages of test/ run one at a time (-p 1), because their fleets of real processes
# need all processors to stay within the limits. Results are not cached (-count=1), because
# the go command does not see changes in the programs that some tests build and run.
.PHONY: test-newest
test-newest: ## The tests of all modules, -race, with the newest Go and the newest dependencies that go.work selects
	@for m in $(LIBRARY) $(PROGRAMS) example; do (cd $$m && $(GO) test -race -timeout 10m ./...) || exit 1; done
	cd test && $(GO) test -race -p 1 -count=1 -timeout 10m ./...

.PHONY: test-oldest
test-oldest: export GOWORK = off
test-oldest: ## The library's tests on the oldest Go and the oldest dependencies it supports (each module's own go.mod)
	@for m in $(LIBRARY); do \
		case "$(OLDEST_GO)." in go$$(cd $$m && $(GO) list -m -f '{{.GoVersion}}' | cut -d. -f1,2).*) ;; \
			*) echo "test-oldest: $$m/go.mod and OLDEST_GO ($(OLDEST_GO)) name different Go versions: change one of them"; exit 1;; esac; \
		(cd $$m && GOTOOLCHAIN=$(OLDEST_GO) $(GO) test -timeout 10m ./...) || exit 1; done

.PHONY: test-cost
test-cost: ## Allocations and heap compared with a bare server (without -race, which distorts them)
	cd test/bench && $(GO) test -timeout 10m .

.PHONY: test-sim
test-sim: ## Limits of the simulation, 20 seeds each (without -race, which is ten times slower)
	cd test/sim && $(GO) test -timeout 30m ./...

.PHONY: sim
sim: ## Run the simulation: print its table, write its plots to docs/sim
	$(GO) run ./test/sim
	$(GO) run ./test/sim -plots docs/sim

.PHONY: chaos
chaos: ## CALLS (1000000) RPCs while connections are drained, reset and read slowly: none may be lost
	cd test && $(GO) run ./chaos -calls $(CALLS)

.PHONY: sim-months
sim-months: ## Run the simulation over hours and days: what holds, and what is known not to hold yet
	$(GO) run ./test/sim -months

.PHONY: demo
demo: ## Scale from 2 to 5 pods: evenkeel, MaxConnectionAge alone, and neither
	$(GO) run ./example/demo

.PHONY: interop
interop: ## Clients in other languages; installs them (Debian 12 packages, root; PyPI, npm, Maven)
	./test/interop/run.sh

# What has been done is kept in test/interop/.tmp/soak.json: an interrupted soak goes on.
.PHONY: soak soak-table
soak: export INTEROP_SOAK = 1
soak: CALLS = 100000000
soak: ## All clients in turn, hours, until CALLS (100000000) in all; goes on where it was stopped, RESET=1 starts again; SLICE=60s, ONLY=regexp of rows
	./test/interop/run.sh -calls $(CALLS) $(if $(SLICE),-slice $(SLICE)) $(if $(ONLY),-only '$(ONLY)') $(if $(PARALLEL),-parallel $(PARALLEL)) $(if $(RESET),-reset)

soak-table: ## Write what make soak has done so far to docs/soak.md
	cd test/interop && $(GO) run ./soak -table

.PHONY: sidecar
sidecar: ## The sidecar before Python, Node and Java servers; SIDECAR_LONG=1: and its cost beside Envoy; installs packages (Debian 12, root; PyPI, npm)
	./test/sidecar/run.sh

# Results are not cached (-count=1), because the go command does not see changes to files
# outside the module. Without promtool, which test/chart/promtool.sh installs, the test of
# the alerts is skipped.
.PHONY: chart
chart: ## Helm chart: lint, suites, schema, objects, alerts, README (UPDATE=1 writes its table)
	cd test/chart && GOWORK=off $(GO) vet ./... && GOWORK=off $(GO) test -count=1 -timeout 10m ./... $(if $(UPDATE),-run TestReadmeTable -update)

# Its module is not in go.work: the requirements of h2spec and of grpc-go's tests would raise
# the versions of everything else. -timeout is for the module's own tests; each part of the
# comparison has a limit of its own. What differs with the newest grpc-go is a warning, and
# belongs to make nightly.
.PHONY: conformance
conformance: export GOWORK = off
conformance: ## grpc-go's own tests, h2spec, connect's and grpc's conformance, bare and tracked; PARTS=h2spec,idle
	cd test/conformance && $(GO) vet ./... && $(GO) test -count=1 -timeout 5m ./...
	cd test/conformance && $(GO) run . $(if $(PARTS),-parts $(PARTS))

# test/interop installs the clients of test/web, too.
.PHONY: nightly
nightly: export GOWORK = off
nightly: ## The long forms: conformance with all of grpc-go and the newest one, a pod that crashes for minutes, more scenarios, clients and bad networks, and the alerts fired (Debian 12, root; Rust 1.88)
	cd test/conformance && $(GO) run . -all -drained 5m
	cd test/conformance && $(GO) run . -newest
	cd test && $(GO) test -race -count=1 -timeout 15m -run 'Long|Memory' ./live -long
	cd test && $(GO) test -count=1 -timeout 15m ./demo -long
	INTEROP_LONG=1 ./test/interop/run.sh
	cd test && $(GO) test -count=1 -timeout 15m -parallel 16 -run TestOther -v ./web -others -others-for 1m
	cd test && $(GO) test -tags interop -count=1 -timeout 25m -v ./faults -long
	SIDECAR_LONG=1 ./test/sidecar/run.sh -churn 6m
	EXPERIMENT_LONG=true PACKAGES=./experiment ./test/k8s/run.sh -run TestArticle
	$(MAKE) alerts

.PHONY: e2e
e2e: ## Tests on a real Kubernetes, built from source; installs packages (Debian 12, root)
	./test/k8s/run.sh

.PHONY: alerts
alerts: ## Fire the alerts of the chart on a real Kubernetes with a real Prometheus; installs packages (Debian 12, root)
	./test/k8s/prometheus.sh
	PACKAGES=./alerts ./test/k8s/run.sh -alerts=true

.PHONY: image
image: ## The example server and the sidecar as container images, dist/server.tar and dist/sidecar.tar; needs no daemon
	cd example && CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags '-s -w' -o ../dist/server ./server
	cd tools && GOWORK=off $(GO) run ./image -o ../dist/server.tar -tag evenkeel-example-server:dev -entrypoint /server -entrypoint -introspection=false ../dist/server=/server
	cd cmd/evenkeel-sidecar && CGO_ENABLED=0 GOOS=linux $(GO) build -trimpath -ldflags '-s -w' -o ../../dist/evenkeel-sidecar .
	cd tools && GOWORK=off $(GO) run ./image -o ../dist/sidecar.tar -tag evenkeel-sidecar:dev -entrypoint /evenkeel-sidecar ../dist/evenkeel-sidecar=/evenkeel-sidecar

.PHONY: lint
lint: actionlint ## golangci-lint, gofumpt and actionlint
	@for m in $(MODULES); do echo "golangci-lint $$m" && (cd $$m && $(GO) run $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...) || exit 1; done
	cd test/chart && GOWORK=off $(GO) run $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...
	cd test/conformance && GOWORK=off $(GO) run $(GOLANGCI_LINT) run --config $(CURDIR)/.golangci.yml ./...
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
vuln: ## govulncheck in every module; a module is skipped if the database cannot be reached, unless VULN_REQUIRED=true
	@for m in $(MODULES); do \
		out=$$(cd $$m && $(GO) run $(GOVULNCHECK) ./... 2>&1); rc=$$?; \
		case "$$rc $$out" in \
			0*) echo "govulncheck $$m: no vulnerability found" ;; \
			*"dial tcp"*|*"fetching vulnerabilities"*|*"no such host"*|*"proxyconnect"*) echo "govulncheck $$m: SKIPPED, the vulnerability database cannot be reached"; [ "$$VULN_REQUIRED" != true ] || exit 1 ;; \
			*) echo "$$out"; exit 1 ;; \
		esac; done

.PHONY: fuzz
fuzz: ## Run all fuzz targets within FUZZBUDGET (10m), or each for FUZZTIME; FUZZCORPUS is a folder that keeps the corpus
	$(GO) run ./test/fuzz -budget $(FUZZBUDGET) $(if $(FUZZTIME),-time $(FUZZTIME)) $(if $(FUZZCORPUS),-corpus $(FUZZCORPUS)) $(MODULES)

.PHONY: bench
bench: ## Benchmarks compared with a bare grpc.NewServer by benchstat (BENCHCOUNT runs, 10)
	@cd test/bench && $(GO) test -run '^$$' -bench . -benchmem -count $(BENCHCOUNT) . | tee /tmp/evenkeel-bench.txt
	@$(GO) run $(BENCHSTAT) -col /server /tmp/evenkeel-bench.txt

.PHONY: bench-tail
bench-tail: ## CPU at rest with 20,000 connections; p99 of RPCs with 100,000, and while 5,000 move; needs a quiet machine
	cd test/bench && $(GO) test -run '^$$' -bench 'AtRest|Tail|Moving' -benchtime 5x .

.PHONY: generate
generate: ## Generate the protobuf code of the examples
	cd tools && GOWORK=off $(GO) generate ./...

.PHONY: check-generated
check-generated: generate ## Fail if the committed generated code is out of date
	git diff --exit-code -- example/gen

.PHONY: tidy
tidy: ## go mod tidy in every module
	@for m in $(MODULES) tools test/chart test/conformance test/interop/clients/grpcgo test/k8s test/k8s/kube test/k8s/coredns test/k8s/helm; do (cd $$m && GOWORK=off $(GO) mod tidy) || exit 1; done
	cd test/interop/clients/grpcgo && GOWORK=off $(GO) mod tidy -modfile 1.50.mod
