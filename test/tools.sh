#!/usr/bin/env bash
# Programs of the system that the tests run: Chromium, which looks at the status page, and logrotate.
#
#   tools.sh get NAME...           install those that are missing with the system's package manager
#   tools.sh report [--strict]     one line for each: its version, or NOT RUN and why; with --strict that fails
#
# What cannot be had is not an error of `get`: the tests skip it, and `report` says so.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

get() {
    local name sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    for name in "$@"; do
        command -v "$name" >/dev/null && continue
        echo "installing $name"
        $sudo apt-get -qq update && $sudo apt-get install -y -qq --no-install-recommends "$name" >/dev/null || echo "it could not be installed"
    done
}

report() {
    local name missing=0
    for name in chromium logrotate; do
        if command -v "$name" >/dev/null; then
            echo "$name: run with $("$name" --version 2>&1 | grep -m1 -i "^$name [0-9]")"
        else
            echo "$name: NOT RUN: it is not installed: make $name"
            missing=1
        fi
    done
    # Never installed: its package starts a service.
    if command -v rsyslogd >/dev/null; then
        echo "rsyslog: run with $(rsyslogd -v | head -1)"
    else
        echo "rsyslog: NOT RUN: it is not installed, and is not asked for"
    fi
    [ "${1-}" != --strict ] || [ "$missing" = 0 ]
}

case ${1-} in
    get) shift; get "$@" ;;
    report) shift; report "$@" ;;
    *) echo "usage: tools.sh get NAME... | report [--strict]" >&2; exit 2 ;;
esac
