#!/usr/bin/env bash
# Extracts Debian's promtool to .tmp/promtool. Installing the package would also start
# Prometheus on machines that run services.
set -euo pipefail
cd "$(dirname "$0")"
[[ -x .tmp/promtool ]] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt-get update -qq
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb -x prometheus_*.deb x)
mkdir -p .tmp
cp "$work/x/usr/bin/promtool" .tmp/promtool
.tmp/promtool --version 2>&1 | head -n 1
