#!/usr/bin/env bash
# Every test that needs a real Kubernetes: installs what is missing (Debian 12, root),
# builds, and runs them. Arguments go to go test, such as -run TestCycle.
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
# One package after the other: two cores carry one cluster well.
go test -p 1 -tags e2e -count=1 -timeout 40m -v "$@" ./...
