#!/usr/bin/env bash
# Runs every test that needs a real Kubernetes. It installs missing packages (Debian 12, as
# root) and builds the cluster first. Arguments go to go test, such as -run TestCycle.
set -euo pipefail
cd "$(dirname "$0")"
export GOWORK=off
packages=(ca-certificates containerd runc containernetworking-plugins nftables iptables iproute2 conntrack util-linux)

missing=()
for p in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
if ((${#missing[@]})); then
  echo "e2e: installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

go run ./up -build
# -p 1 runs one package after the other, because two cores carry only one cluster well.
# Packages come before arguments, since go test ends its list of packages at a flag of the tests.
# -parallel is for tests that mostly wait: they share one cluster.
go test -p 1 -parallel 8 -tags e2e -count=1 -timeout 40m -v ${PACKAGES:-./...} "$@"
