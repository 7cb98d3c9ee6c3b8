#!/usr/bin/env bash
# The OpenTelemetry Collector's OTLP receiver, which the tests send traces to.
#
#   otlp.sh get                     build it into .cache/otlp
#   otlp.sh report [--strict]       one line: its version, or NOT RUN and why; with --strict that fails
#
# It comes from Go's modules, as go.sum says. What cannot be had is not an error of `get`: the test skips it, and `report` says so. Nothing
# is built that is there already.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=$root/test/otlp
cache=$root/.cache/otlp
binary=$cache/otlp

build() {
    cd "$folder"
    CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags '-s -w' -o "$binary.new" .
    mv "$binary.new" "$binary"
}

get() {
    mkdir -p "$cache"
    if [ "$binary" -nt "$folder/go.mod" ] && [ "$binary" -nt "$folder/main.go" ]; then
        return
    fi
    echo "building the OTLP receiver"
    rm -f "$cache/missing"
    # In a shell of its own, which stops at the first error.
    "$0" build >"$cache/log" 2>&1 || echo "it could not be built: .cache/otlp/log says why" >"$cache/missing"
}

report() {
    if [ -x "$binary" ]; then
        echo "OTLP receiver: run with $(sed -n 's/.*collector\/receiver\/otlpreceiver v\([^ ]*\).*/\1/p' "$folder/go.mod" | head -1)"
        return
    fi
    echo "OTLP receiver: NOT RUN: $(cat "$cache/missing" 2>/dev/null || echo "it was not built: make otlp, a part of make test-all")"
    [ "${1-}" != --strict ]
}

case ${1-} in
    get) get ;;
    build) build ;;
    report) shift; report "$@" ;;
    *) echo "usage: otlp.sh get | report [--strict]" >&2; exit 2 ;;
esac
