#!/usr/bin/env bash
# Prometheus and promtool for the tests of the metrics, the alert rules and the dashboard.
#
#   prometheus.sh get               make both runnable as .cache/prometheus/prometheus and .cache/prometheus/promtool
#   prometheus.sh report [--strict] one line: the exact version, or NOT RUN and why; with --strict that fails
#
# Installed ones are used as they are. Otherwise Debian's package is unpacked, not installed: it would start a service. What is there is
# kept; remove .cache/prometheus to renew it. What cannot be had is not an error of `get`: the tests say NOT RUN, and so does `report`.
# Needs apt-get and dpkg-deb, and no root where apt knows its packages already.
set -euo pipefail
cache=$(cd "$(dirname "$0")/.." && pwd)/.cache/prometheus

# version_of PROGRAM: the exact version of the one that the tests run.
version_of() {
    local binary
    for binary in "$cache/$1" "$(command -v "$1" || true)"; do
        [ -x "$binary" ] && "$binary" --version 2>&1 | sed -n "1s/^$1, version \([^ ]*\).*/\1/p" && return
    done
    return 1
}

found() { version_of prometheus >/dev/null && version_of promtool >/dev/null; }

# As a script of its own, which stops at the first error.
fetch() {
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    cd "$tmp"
    if ! apt-get -q -o APT::Sandbox::User="" download prometheus; then
        local sudo=
        [ "$(id -u)" = 0 ] || sudo="sudo -n"
        $sudo timeout 120 apt-get -q update
        timeout 300 apt-get -q -o APT::Sandbox::User="" download prometheus
    fi
    dpkg-deb -x prometheus_*.deb root
    mv root/usr/bin/prometheus root/usr/bin/promtool "$cache"
    found
}

get() {
    rm -f "$cache/missing"
    ! found || return 0
    mkdir -p "$cache"
    echo "fetching Prometheus"
    "$0" fetch >"$cache/log" 2>&1 || echo "it is not installed and could not be fetched: .cache/prometheus/log says why" >"$cache/missing"
}

report() {
    if found; then
        echo "Prometheus: run with $(version_of prometheus)"
        return
    fi
    echo "Prometheus: NOT RUN: $(cat "$cache/missing" 2>/dev/null || echo "it is not installed and was not fetched: make prometheus")"
    [ "${1-}" != --strict ]
}

case ${1-} in
    get) get ;;
    fetch) fetch ;;
    report) shift; report "$@" ;;
    *) echo "usage: prometheus.sh get | report [--strict]" >&2; exit 2 ;;
esac
