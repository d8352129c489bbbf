#!/usr/bin/env bash
# Extracts Debian's Prometheus beside the other programs of the node. Installing the package would
# also start it on machines that run services.
set -euo pipefail
cd "$(dirname "$0")"
[[ -x .tmp/bin/prometheus ]] && exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt-get update -qq
(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb -x prometheus_*.deb x)
mkdir -p .tmp/bin
cp "$work/x/usr/bin/prometheus" .tmp/bin/prometheus
.tmp/bin/prometheus --version 2>&1 | head -n 1
