# The targets of the README. Everything here runs on Debian 12 with Go, git and make; HAProxy is installed if it is missing.
GO       ?= go
BIN      := bin/vertex-spoa
FUZZTIME ?= 5s
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
VERSION  := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)

.PHONY: build demo sandbox test test-all lint fuzz bench haproxy clean

build: ## one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./agent/cmd/vertex-spoa

demo: haproxy build ## play every scenario through HAProxy and print what came of it
	$(GO) run ./test/sandbox/cmd/demo -binary $(BIN)

sandbox: haproxy build ## the same, and stay up with ready-made curl commands
	$(GO) run ./test/sandbox/cmd/demo -binary $(BIN) -stay

test: haproxy ## everything, end to end against a real HAProxy included
	$(GO) vet ./...
	$(GO) test -shuffle=on -timeout 10m ./...

test-all: haproxy ## the same under the race detector, and the slow parts
	$(GO) vet ./...
	$(GO) test -race -shuffle=on -timeout 30m ./...

lint:
	$(GO) run $(LINT) run ./...

fuzz: ## each fuzz target for FUZZTIME
	@set -e; for file in $$(grep -rl --include='*_test.go' '^func Fuzz' . | sort); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "fuzz $$(dirname $$file) $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$(dirname $$file); \
		done; done

bench: ## the Go benchmarks, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./...

haproxy: ## install HAProxy with the system's package manager if it is missing
	@command -v haproxy >/dev/null || test -x /usr/sbin/haproxy || ( \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq haproxy; \
		else sudo apt-get update -qq && sudo apt-get install -y -qq haproxy; fi )

clean:
	rm -rf bin
