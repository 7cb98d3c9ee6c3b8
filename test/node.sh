#!/usr/bin/env bash
# The programs of others that the end-to-end tests run beside HAProxy: Node with the modules of test/provider, and Dex.
#
#   node.sh get                     install Node and the modules into test/provider/node_modules
#   node.sh dex                     build Dex into .cache/dex
#   node.sh report [--strict]       one line for each: its version, or NOT RUN and why; with --strict that fails
#
# npm comes from the system's package manager if it is missing, everything else from npm, as package-lock.json says, and from Go's modules,
# as provider/dex/go.sum says. Of the packages no script is run. What cannot be had is not an error of `get` and `dex`: the tests skip it,
# and `report` says so. Nothing is fetched that is there already.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/test/provider
case $(uname -m) in aarch64) arch=arm64 ;; *) arch=x64 ;; esac
node=$folder/node_modules/node-linux-$arch/bin/node
dex=$root/.cache/dex/dex

install_npm() {
    command -v npm >/dev/null && return
    local sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get -qq update && $sudo apt-get install -y -qq --no-install-recommends npm >/dev/null
}

# npm writes the second file when it has finished.
installed() {
    [ -x "$node" ] && [ "$folder/node_modules/.package-lock.json" -nt "$folder/package-lock.json" ]
}

install_modules() {
    cd "$folder"
    rm -rf node_modules
    npm ci --ignore-scripts --no-audit --no-fund
    touch node_modules/.package-lock.json
    "$node" --version
}

# attempt NAME FUNCTION: run it with its output in a log, and remember why it failed.
attempt() {
    local name=$1 log=$root/.cache/$1.log
    mkdir -p "$root/.cache"
    rm -f "$root/.cache/$name.missing"
    echo "fetching $name"
    # In a shell of its own, which stops at the first error.
    "$0" "$2" >"$log" 2>&1 || echo "it could not be fetched: .cache/$name.log says why" >"$root/.cache/$name.missing"
}

build_dex() {
    mkdir -p "${dex%/*}"
    cd "$folder/dex"
    CGO_ENABLED=0 GOFLAGS=-mod=readonly go build -trimpath -ldflags '-s -w' -o "$dex.new" github.com/dexidp/dex/cmd/dex
    mv "$dex.new" "$dex"
}

missing() {
    echo "$1: NOT RUN: $(cat "$root/.cache/$1.missing" 2>/dev/null || echo "$2")"
    status=$strict
}

report() {
    strict=0
    [ "${1-}" != --strict ] || strict=1
    if installed; then
        echo "node: run with $("$node" --version), $(sed -n 's/^ *"\(oidc-provider\|openai\|@google\/genai\|@anthropic-ai\/vertex-sdk\)": "\(.*\)".*/\1 \2/p' \
            "$folder/package.json" | paste -sd, | sed 's/,/, /g')"
    else
        missing node "it was not fetched: make node-deps"
    fi
    if [ -x "$dex" ]; then
        echo "dex: run with $(sed -n 's/.*github.com\/dexidp\/dex v\([^ ]*\).*/\1/p' "$folder/dex/go.mod" | head -1)"
    else
        missing dex "it was not built: make dex, a part of make test-all"
    fi
}

status=0
case ${1-} in
    get) installed || attempt node install ;;
    install) install_npm; install_modules ;;
    dex) [ "$dex" -nt "$folder/dex/go.mod" ] || attempt dex build ;;
    build) build_dex ;;
    report) shift; report "$@" ;;
    *) echo "usage: node.sh get | dex | report [--strict]" >&2; exit 2 ;;
esac
exit $status
