#!/usr/bin/env bash
# Tests that clients of many implementations lose no RPC while every connection is drained
# every two seconds. Then it runs the tests in ../singlehomed that need nftables, haproxy or
# other languages, and HTTP clients of other languages in ../web, for a few seconds (`make
# nightly` runs them for a minute). It installs what it needs (Debian 12, root; packages of PyPI,
# npm, Maven and Go in .tmp) and builds the clients, if they have changed.
#
#   ./run.sh [arguments of go test, such as -run Interop/clients/grpc-js]
#
# INTEROP_LONG=1       runs the rows of make nightly instead: old versions, tonic (Rust 1.88 or
#                      later), Node 26, Chromium, more clients under load, bare servers to compare with,
#                      and clients that resolve a name whose pods grow from 2 to 3 and to 5
# INTEROP_SOAK=1       runs the rows in turn for hours instead, see soak; the arguments are its flags
# INTEROP_SECONDS=30   is how long most clients call; others call half as long, or half as long again
# INTEROP_PARALLEL=4   is how many rows of the table run at the same time
set -euo pipefail
cd "$(dirname "$0")"

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2,/^set /{/^set /d; s/^# \{0,1\}//; p}' run.sh
  exit
fi

readonly out=$PWD/.tmp proto=$PWD/../../example/proto/hello/v1
packages=(
  ca-certificates iproute2 openssl
  protobuf-compiler protobuf-compiler-grpc protobuf-compiler-grpc-java-plugin
  python3-grpcio python3-protobuf python3-venv
  ruby-grpc
  g++ pkg-config libgrpc++-dev libprotobuf-dev
  maven openjdk-17-jdk-headless libgrpc-java libnetty-java libguava-java libperfmark-java
  libprotobuf-java libgeronimo-annotation-1.3-spec-java
  nginx-light haproxy nftables nghttp2-client curl
)

# run_logged NAME COMMAND... runs a command and shows its output only if it fails.
run_logged() {
  local log=$out/$1.log failed=0
  shift
  # "if" or "||" would switch errexit off inside the command.
  set +e
  (set -e; "$@") >"$log" 2>&1
  failed=$?
  set -e
  ((failed == 0)) || { tail -n 60 "$log" >&2; echo "interop: failed: $*" >&2; return 1; }
}

# build NAME FILE... runs build_NAME, unless neither the files nor the tools have changed since it
# last succeeded.
build() {
  local name=$1 inputs
  shift
  inputs=$({ echo "$tools"; cat run.sh "$@"; } | sha256sum)
  [[ $(cat "$out/$name.built" 2>/dev/null) != "$inputs" ]] || return 0
  rm -f "$out/$name.built"
  run_logged "$name" "build_$name"
  echo "$inputs" >"$out/$name.built"
}

# versions prints the versions of everything that builds.
versions() {
  dpkg-query -W "${packages[@]}"
  node --version
  python3 --version
  command -v cargo >/dev/null && cargo --version
  true
}

missing_packages() {
  local p
  for p in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || echo "$p"
  done
  # A node from another source than Debian has its own npm.
  command -v node >/dev/null || echo nodejs
  command -v npm >/dev/null || echo npm
  [[ -z ${INTEROP_LONG:-}${INTEROP_SOAK:-} ]] || command -v chromium >/dev/null || echo chromium
}

apt_install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  # It tries twice, since another apt or a cleaner of /tmp may interfere.
  apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" ||
    { apt-get install -q -y -f -o DPkg::Lock::Timeout=120 &&
      apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"; }
}

install() {
  local missing
  mapfile -t missing < <(missing_packages)
  [[ ${#missing[@]} -eq 0 ]] || run_logged apt apt_install "${missing[@]}"
}

build_node() {
  mkdir -p "$out/node"
  cp clients/node/* "$out/node/"
  (cd "$out/node" && npm ci --no-audit --no-fund --ignore-scripts)
}

build_node26() {
  mkdir -p "$out/node26"
  cp clients/node26/* "$out/node26/"
  (cd "$out/node26" && npm ci --no-audit --no-fund --ignore-scripts)
}

# build_web makes a page with all that it needs, for a browser.
build_web() {
  mkdir -p "$out/web"
  cp clients/web/* clients/node/{connect,load}.js "$out/hello.binpb" "$out/web/"
  cd "$out/web"
  npm ci --no-audit --no-fund --ignore-scripts
  npx esbuild page.js --bundle --minify --log-level=warning --loader:.binpb=binary --inject:./process.js --outfile=bundle.js
  { echo '<!doctype html><meta charset="utf-8"><script>'; cat bundle.js; echo '</script>'; } >page.html
}

build_venv() {
  [[ -x $out/venv/bin/python ]] || python3 -m venv "$out/venv"
  "$out/venv/bin/pip" install -q --require-hashes --only-binary :all: -r clients/python/requirements.txt
}

build_cpp() {
  mkdir -p "$out/cpp"
  protoc -I"$proto" --cpp_out="$out/cpp" --grpc_out="$out/cpp" \
    --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" hello.proto
  # shellcheck disable=SC2046 # pkg-config prints words
  g++ -std=c++17 -O1 -I"$out/cpp" $(pkg-config --cflags grpc++ protobuf) -o "$out/cpp/client" \
    clients/cpp/client.cc "$out"/cpp/*.cc $(pkg-config --libs grpc++ protobuf)
}

build_java() {
  mkdir -p "$out/java/classes"
  protoc -I"$proto" --java_out="$out/java" --grpc-java_out="$out/java" \
    --plugin=protoc-gen-grpc-java="$(command -v grpc_java_plugin)" hello.proto
  javac -nowarn -cp "/usr/share/java/*" -d "$out/java/classes" clients/java/Client.java "$out"/java/hello/v1/*.java
}

# build_maven compiles the code that build_java has generated. Old code works with new jars.
build_maven() {
  local annotations=/usr/share/java/geronimo-annotation-1.3-spec.jar
  rm -rf "$out/maven"
  mvn -q -B -ntp -f clients/java/pom.xml dependency:copy-dependencies
  javac -nowarn -cp "$out/maven/lib/*:$annotations" -d "$out/maven/classes" \
    clients/java/Client.java "$out"/java/hello/v1/*.java
}

build_tonic() {
  # Debian 12's Rust is too old for tonic.
  command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.88 or later"; return 1; }
  cargo build -q --release --locked --manifest-path clients/tonic/Cargo.toml --target-dir "$out/tonic"
}

build_scripts() {
  mkdir -p "$out/python" "$out/ruby"
  protoc -I"$proto" --python_out="$out/python" --grpc_out="$out/python" \
    --plugin=protoc-gen-grpc="$(command -v grpc_python_plugin)" hello.proto
  protoc -I"$proto" --ruby_out="$out/ruby" --grpc_out="$out/ruby" \
    --plugin=protoc-gen-grpc="$(command -v grpc_ruby_plugin)" hello.proto
  protoc -I"$proto" --descriptor_set_out="$out/hello.binpb" --include_imports hello.proto
}

build_go() {
  go build -o "$out/server" ./server
  go build -o "$out/golang" ./clients/golang
}

# build_grpcgo builds one source with two versions of grpc-go, each in a module file of its own.
build_grpcgo() {
  GOWORK=off go build -C clients/grpcgo -o "$out/grpcgo-1.64" .
  GOWORK=off go build -C clients/grpcgo -modfile 1.50.mod -o "$out/grpcgo-1.50" .
}

mkdir -p "$out"
install
tools=$(versions)
# C++ takes longest, and one core.
build cpp clients/cpp/* "$proto"/*.proto &
cpp=$!
build scripts "$proto"/*.proto
build venv clients/python/requirements.txt
build node clients/node/*
build java clients/java/* "$proto"/*.proto
build maven clients/java/* "$proto"/*.proto
run_logged go build_go
wait "$cpp"
if [[ -n ${INTEROP_LONG:-}${INTEROP_SOAK:-} ]]; then
  build node26 clients/node26/*
  build web clients/web/* clients/node/{connect,load}.js "$proto"/*.proto
  build tonic clients/tonic/Cargo.* clients/tonic/src/*
  run_logged grpcgo build_grpcgo
fi
if [[ -n ${INTEROP_SOAK:-} ]]; then
  go test -tags interop -c -o "$out/interop.test" .
  go build -o "$out/soak" ./soak
  exec "$out/soak" "$@"
fi
# Four rows run at the same time. Each call mostly waits, so two cores are enough.
interop() { go test -tags interop -count=1 -timeout 50m -parallel "${INTEROP_PARALLEL:-4}" -v "$@" .; }
if [[ -n ${INTEROP_LONG:-} ]]; then
  interop -run Long "$@"
  # Each makes few calls and mostly waits for resolvers, so all run at the same time.
  INTEROP_PARALLEL=16 interop -run ScaleUp "$@"
else
  interop "$@"
  go test -tags interop -count=1 -timeout 15m -run 'ClusterIP|Haproxy|Mixed' -v "$@" ../singlehomed
  go test -tags interop -count=1 -timeout 5m -v "$@" ../faults
  # Each mostly waits, so all run at the same time.
  go test -count=1 -timeout 5m -parallel 16 -run TestOtherClients -v "$@" ../web -others -others-for 3s
fi
