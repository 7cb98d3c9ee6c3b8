# The targets of the README. Everything here runs on Debian 12 with Go, git and make; HAProxy is installed if it is missing.
GO       ?= go
BIN      := bin/vertex-spoa
FUZZTIME ?= 5s
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)

.PHONY: build demo sandbox test test-all lint fuzz bench bench-e2e record haproxy haproxy-versions node-deps dex prometheus otlp chromium logrotate others report clean

build: ## one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./agent/cmd/vertex-spoa

demo: haproxy build ## play every scenario through HAProxy and print what came of it
	$(GO) run ./test/sandbox/cmd/demo -binary $(BIN)

sandbox: haproxy build ## the same, and stay up with ready-made curl commands
	$(GO) run ./test/sandbox/cmd/demo -binary $(BIN) -stay

# The series of HAProxy to test with: all that are supported, or the oldest and the newest.
export HAPROXY_VERSIONS ?= 2.6 3.0 3.2 3.4
test: HAPROXY_VERSIONS = 2.6 3.4

test: haproxy-versions others ## everything, end to end against real HAProxies included; the last lines say which
	$(GO) vet ./...
	$(GO) test -shuffle=on -timeout 15m ./...
	@test/haproxy.sh report $$HAPROXY_VERSIONS
	@$(MAKE) --no-print-directory report

test-all: haproxy-versions others dex ## the same under the race detector, with the slow parts, against every version; fails if one cannot be had
	$(GO) vet ./...
	TEST_ALL=1 $(GO) test -race -shuffle=on -timeout 30m ./...
	@test/haproxy.sh report --strict $$HAPROXY_VERSIONS
	@$(MAKE) --no-print-directory report STRICT=--strict

# What was run beside HAProxy, in its exact version, or NOT RUN.
report:
	@test/node.sh report $(STRICT)
	@test/prometheus.sh report $(STRICT)
	@test/otlp/otlp.sh report $(STRICT)
	@test/tools.sh report $(STRICT)

lint:
	$(GO) run $(LINT) run ./...

# A find is written below testdata and fails the plain run that follows it too. What the plain run does not fail on is the fuzzer's own
# trouble: at the end of its time it now and then reports that its deadline has passed.
fuzz: ## each fuzz target for FUZZTIME
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' . | sort); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "fuzz $$(dirname $$file) $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$(dirname $$file) || \
			$(GO) test -run "^$$target\$$" $$(dirname $$file); \
		done; done

bench: ## the Go benchmarks, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./...

# Further arguments of the two, such as BENCH="-versions '2.6 3.4' -rounds 10" and RECORD="-only kinds".
BENCH    ?=
RECORD   ?=

bench-e2e: haproxy build ## the whole program at work through HAProxy, beside what to compare it with; wrk is installed if it is missing
	@command -v wrk >/dev/null || ( \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq wrk; \
		else sudo apt-get update -qq && sudo apt-get install -y -qq wrk; fi )
	$(GO) run ./test/bench -binary $(BIN) $(BENCH)

record: haproxy-versions ## record real conversations of each version of HAProxy anew, and what the tests of spoe expect of them
	$(GO) run ./test/record -versions "$$HAPROXY_VERSIONS" $(RECORD)
	$(GO) test ./spoe -run '^TestRecordings$$' -update

haproxy: ## install HAProxy with the system's package manager if it is missing
	@command -v haproxy >/dev/null || test -x /usr/sbin/haproxy || ( \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq haproxy; \
		else sudo apt-get update -qq && sudo apt-get install -y -qq haproxy; fi )

haproxy-versions: haproxy ## fetch further versions of HAProxy into .cache/haproxy, which is not an error where they cannot be had
	@test/haproxy.sh get $$HAPROXY_VERSIONS

node-deps: ## fetch Node, a real identity provider and real clients into test/provider, which is not an error where they cannot be had
	@test/node.sh get

dex: ## build another real identity provider into .cache/dex, which takes minutes and is not an error where it cannot be done
	@test/node.sh dex

prometheus: ## unpack Prometheus and promtool into .cache/prometheus, which is not an error where they cannot be had
	@test/prometheus.sh get

otlp: ## build the OpenTelemetry Collector's receiver into .cache/otlp, likewise
	@test/otlp/otlp.sh get

chromium logrotate: ## install them with the system's package manager if they are missing, likewise
	@test/tools.sh get $@

others: node-deps prometheus otlp chromium logrotate

clean:
	rm -rf bin
