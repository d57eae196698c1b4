# Each target says what it does; "make" alone lists them.

# Empty outside a tagged checkout: then weir version says what the Go tool recorded of the build.
VERSION ?= $(shell git describe --tags --dirty 2>/dev/null)
GO      ?= go

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help build test race lint integration chaos soak fleet kafka api-load fuzz bench cost cost-rate cost-short growth generate check-generated quality demo clean \
	dist twice deb image chart

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static binary bin/weir
	$(GO) build -trimpath -tags timetzdata -ldflags '-s -w -X main.release=$(VERSION)' -o bin/weir ./cmd/weir

test: ## all tests, with nothing installed
	$(GO) test ./...

# With -short: what many repetitions, other programs and other processes show is shown by make test, and is no race.
race: ## all tests under the race detector, in short (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -short -vet=off -timeout 30m ./...

lint: ## gofmt, go vet and golangci-lint
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	golangci-lint run ./...

integration: ## the tests against a real Kafka and Redis (see scripts/integration)
	scripts/integration

chaos: ## both ways of delivery on three Kafka nodes that are killed, frozen and moved, for 20 minutes in all
	WEIR_TEST_CHAOS=$(or $(CHAOS),10m) $(GO) test -count=1 -v -timeout 60m ./scripts/chaos

soak: ## everything on, at four fifths of what it carries, with reloads, rebalances and restarts, for SOAK (30m): memory flat, ledger balanced, nothing lost
	WEIR_TEST_SOAK=$(or $(SOAK),30m) $(GO) test -count=1 -v -timeout 100m -run 'TestSoak$$' ./scripts/chaos

fleet: ## three instances on three Kafka nodes, one added and one killed, and eight on 256 partitions, beside what the capacity guide predicts (FLEET=short as CI, 3 minutes; long, 10)
	WEIR_TEST_FLEET=$(or $(FLEET),long) $(GO) test -count=1 -v -timeout 40m -run 'TestFleet$$' ./scripts/chaos

kafka: ## fetch the jars of the Kafka that integration starts (needs Maven, once)
	scripts/kafka/kafkactl fetch

api-load: ## the synchronous answer under 1,000 requests a second, with a real Kafka and Redis
	scripts/integration -run '^$$' -bench JudgeAPI -benchtime 1x ./cmd/weir

fuzz: ## every fuzz target for FUZZ (500000x) inputs each
	scripts/fuzz $(FUZZ)

bench: ## all benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

# The samples of posts and terms are looked for at ../shared/data, or where WEIR_TEST_DATA points.
cost: ## what a post costs the whole daemon on a real Kafka, beside the program one would write first; memory, start (COST=5x rounds, 10 minutes)
	scripts/integration -v -run '^$$' -bench 'CostOf(Backlog|Flagged|Start)$$' -benchtime $(or $(COST),5x) ./internal/app

cost-rate: ## the same at steady rates, with latency (COST=5x times ten seconds, 5 minutes)
	scripts/integration -v -run '^$$' -bench CostAtRate -benchtime $(or $(COST),5x) ./internal/app

cost-short: ## one round of the most of all three, in four minutes, as CI does
	scripts/integration -v -run '^$$' -bench 'CostOfBacklog|CostOfFlagged|CostOfStart/terms|CostAtRate/rate=20000/all|CostGrowth' -benchtime 1x ./internal/app

growth: ## how the cost of a post grows with partitions, terms, sizes and what is flagged (COST=3x rounds)
	scripts/integration -v -run '^$$' -bench CostGrowth -benchtime $(or $(COST),3x) ./internal/app

generate: ## write generated files afresh
	$(GO) generate ./...

check-generated: ## fail if a generated file is stale
	scripts/check-generated

quality: ## measure what is caught and what is hit in error, into docs/quality.md (needs the samples)
	$(GO) run ./scripts/quality -data $(or $(WEIR_TEST_DATA),../shared/data) -write docs/quality.md

dist: ## static binaries for linux, archives, SBOMs and checksums into dist/ (ARCH="amd64 arm64")
	scripts/package/dist $(ARCH)

twice: ## build the binaries in two directories and compare them
	scripts/package/twice $(ARCH)

deb: ## a Debian package of what dist has built, into dist/
	scripts/package/deb $(ARCH)

image: ## the image of the Dockerfile by buildah, into dist/, and its entry point run (as root)
	scripts/package/image

chart: ## the Helm chart into dist/
	scripts/package/chart

demo: ## the whole daemon on this machine, nothing needed
	$(GO) run ./cmd/weir demo

clean: ## remove what was built
	rm -rf bin dist coverage.out
