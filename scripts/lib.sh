# Shared by the scripts in this folder: saying what happens, installing what is missing, private work folders,
# and processes that are stopped by their id. Sourced, never run.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
LIBIRIS=$TARGET/release/libiris.so
IRIS=$TARGET/release/iris
# Debian's own Python: a shim or a private one earlier in PATH would need its own packages.
# shellcheck disable=SC2034  # used by the scripts that source this file
PYTHON=/usr/bin/python3

say() { printf '%s\n' "$*"; }
step() { printf '\n== %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$1" >&2
  [ -z "${2:-}" ] || printf '       %s\n' "$2" >&2
  exit 1
}

# Installs those of the Debian packages named that are missing. One `apt-get update` a run at most, and only when
# the package lists do not know a package.
need() {
  local missing=() p
  for p in "$@"; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || die "these packages are missing: ${missing[*]}" "run this as root once, or install them yourself"
  say "installing ${missing[*]}"
  apt_install "${missing[@]}"
}

apt_install() {
  local apt=(apt-get -o DPkg::Lock::Timeout=600 -q) log
  log=$(mktemp)
  if ! DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@" >"$log" 2>&1; then
    "${apt[@]}" update >"$log" 2>&1 || {
      tail -n 15 "$log" >&2
      rm -f "$log"
      die "apt-get update failed" "look at the lines above; is the package mirror reachable?"
    }
    DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@" >"$log" 2>&1 || {
      tail -n 15 "$log" >&2
      rm -f "$log"
      die "could not install $*" "look at the lines above; then run this again"
    }
  fi
  rm -f "$log"
}

# Everything that undoes something, run last to first when the script ends in whatever way.
CLEANUP=()
at_end() { CLEANUP+=("$*"); }
run_cleanup() {
  local status=$? i
  trap - EXIT INT TERM
  for ((i = ${#CLEANUP[@]} - 1; i >= 0; i--)); do eval "${CLEANUP[i]}"; done
  exit "$status"
}
trap run_cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A private folder that goes away at the end. The name is left in $WORKDIR.
make_workdir() {
  WORKDIR=$(mktemp -d "${TMPDIR:-/tmp}/iris-$1.XXXXXX")
  at_end "rm -rf '$WORKDIR'"
}

# Ends a process by its id: asks, waits up to ten seconds, then insists.
stop_pid() {
  local pid=$1 i
  kill "$pid" 2>/dev/null || return 0
  for ((i = 0; i < 100; i++)); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2>/dev/null || true
}

# Builds the release once; later calls in the same run cost a look at the time stamps.
build_release() {
  command -v cargo >/dev/null || die "cargo is not in PATH" "install a Rust toolchain: https://rustup.rs"
  need gcc libc6-dev
  (cd "$ROOT" && cargo build --release --workspace "$@") || die "the build failed" "look at the lines above"
  [ -f "$LIBIRIS" ] || die "the build left no $LIBIRIS"
  [ -x "$IRIS" ] || die "the build left no $IRIS"
}

# Seconds with three decimals that a command took, in $SECONDS_TAKEN; the command's status is returned.
timed() {
  local from to status=0
  from=$(date +%s%N)
  "$@" || status=$?
  to=$(date +%s%N)
  SECONDS_TAKEN=$(awk -v n=$((to - from)) 'BEGIN { printf "%.3f", n / 1e9 }')
  return "$status"
}

# One line for each thing below a folder: kind, mode, size, content. What two runs must agree on.
manifest() {
  (
    cd "$1" || exit 1
    find . -mindepth 1 \( -type f -printf 'file %m %s %p\n' -o -type l -printf 'link %l %p\n' \
      -o -printf '%y %m %p\n' \) | LC_ALL=C sort -k4,4 -k3,3
    find . -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum
  )
}
