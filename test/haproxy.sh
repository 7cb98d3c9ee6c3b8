#!/usr/bin/env bash
# Other versions of HAProxy beside the installed one, for the end-to-end tests.
#
#   haproxy.sh get VERSION...               make each runnable as .cache/haproxy/haproxy-VERSION
#   haproxy.sh report [--strict] VERSION... one line for each: its exact version, or NOT RUN and why; with --strict that fails
#
# A version is a series such as 3.4. One that is installed is used as it is. Another one comes from a suite of Debian, from the mirror
# that this machine uses already: its packages are unpacked, not installed, and run with the C library they came with. What is there is
# kept; remove .cache/haproxy to renew it. What cannot be had is not an error of `get`: the tests skip it, and `report` says so.
# Needs apt-get and dpkg-deb, and no root.
set -euo pipefail
cache=$(cd "$(dirname "$0")/.." && pwd)/.cache/haproxy

# The suites to look in for a series, in this order.
suites_of() {
    case $1 in
        2.6) echo bookworm ;;
        3.0) echo trixie ;;
        3.2) echo forky sid ;;
        3.4) echo forky sid experimental ;;
        *) return 1 ;;
    esac
}

# full_version BINARY VERSION: the exact version of the program, if it is of that series.
full_version() {
    local full
    full=$("$1" -v 2>/dev/null | sed -n '1s/^HAProxy version \([^ ]*\).*/\1/p') || return 1
    [[ $full == "$2".* ]] && echo "$full"
}

# find VERSION: the exact version and the path of a program of that series.
find_version() {
    local binary full
    for binary in "$(command -v haproxy || true)" /usr/sbin/haproxy "$cache/haproxy-$1"; do
        if [ -x "$binary" ] && full=$(full_version "$binary" "$1"); then
            echo "$full $binary"
            return
        fi
    done
    return 1
}

# Where this machine has its packages from.
mirrors() {
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null || true
    sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\).*/\2/p' /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true
}

# configure SUITE DIR: an apt of its own in DIR that knows only the suite and believes that nothing is installed.
configure() {
    local suite=$1 dir=$2 uri key=/usr/share/keyrings/debian-archive-keyring.gpg
    uri=$(mirrors | grep -E '/debian/?$' | head -1) || { echo "no Debian mirror among the sources of apt"; return 1; }
    mkdir -p "$dir"/state/lists/partial "$dir"/cache/archives/partial
    : >"$dir/status"
    echo "deb [signed-by=$key] $uri $suite main" >"$dir/sources.list"
    [ "$suite" != experimental ] || echo "deb [signed-by=$key] $uri sid main" >>"$dir/sources.list"
    cat >"$dir/apt.conf" <<END
Dir::State "$dir/state";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
APT::Architecture "$(dpkg --print-architecture)";
APT::Architectures { "$(dpkg --print-architecture)"; };
APT::Install-Recommends "false";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
END
}

# fetch VERSION SUITE: unpack that series from the suite.
fetch() {
    local version=$1 suite=$2 full deb loader
    tmp=$(mktemp -d)
    trap 'rm -rf "$tmp"' EXIT
    configure "$suite" "$tmp"
    export APT_CONFIG=$tmp/apt.conf
    timeout 120 apt-get -q update
    full=$(apt-cache madison haproxy | awk '{print $3}' | grep -m 1 "^$version\.") || { echo "$suite has no HAProxy $version"; return 1; }
    timeout 300 apt-get -q -y -t "$suite" --download-only install "haproxy=$full"
    mkdir -p "$tmp/root"
    for deb in "$tmp"/cache/archives/*.deb; do
        case ${deb##*/} in haproxy_* | lib*) dpkg-deb -x "$deb" "$tmp/root" ;; esac
    done
    loader=$(find "$tmp/root" -name 'ld-linux*.so.*' -type f -printf '%P\n' | head -1)
    # The name it is started by must be that of the script: a HAProxy that reloads runs it again.
    cat >"$tmp/run" <<END
#!/bin/sh
self=\$(readlink -f "\$0")
root=\$self.root
lib=\$root/$(dirname "$loader")
exec "\$root/$loader" --argv0 "\$self" --library-path "\$lib:\$root/lib/\${lib##*/}" "\$root/usr/sbin/haproxy" "\$@"
END
    chmod 755 "$tmp/run" "$tmp/root"
    rm -rf "$cache/haproxy-$version" "$cache/haproxy-$version.root"
    mv "$tmp/root" "$cache/haproxy-$version.root"
    mv "$tmp/run" "$cache/haproxy-$version"
    full_version "$cache/haproxy-$version" "$version"
}

get() {
    local version=$1 suite suites
    rm -f "$cache/haproxy-$version.missing"
    find_version "$version" >/dev/null && return
    mkdir -p "$cache"
    echo "fetching HAProxy $version"
    suites=$(suites_of "$version") || { echo "no suite of Debian is known to have it" >"$cache/haproxy-$version.missing"; return; }
    : >"$cache/haproxy-$version.log"
    for suite in $suites; do
        # In a shell of its own, which stops at the first error.
        if "$0" fetch "$version" "$suite" >>"$cache/haproxy-$version.log" 2>&1; then return; fi
    done
    echo "it is not installed and could not be fetched from Debian's $suites: .cache/haproxy/haproxy-$version.log says why" \
        >"$cache/haproxy-$version.missing"
}

report() {
    local strict=0 version found
    [ "${1-}" != --strict ] || { strict=1; shift; }
    for version; do
        if found=$(find_version "$version"); then
            echo "HAProxy $version: run with ${found% *}"
            continue
        fi
        echo "HAProxy $version: NOT RUN: $(cat "$cache/haproxy-$version.missing" 2>/dev/null || echo "it is not installed and was not fetched")"
        [ $strict = 0 ] || status=1
    done
}

status=0
command=${1-}
[ $# = 0 ] || shift
case $command in
    get) for version; do get "$version"; done ;;
    fetch) fetch "$@" ;;
    report) report "$@" ;;
    *) echo "usage: haproxy.sh get VERSION... | report [--strict] VERSION..." >&2; exit 2 ;;
esac
exit $status
