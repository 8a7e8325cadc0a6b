# Shared by the servers in this folder: private folders, free ports, processes that are ours, and the variables that
# are printed. Sourced, never run. A server folder holds `options` (what it was made with), `env` (what is printed),
# and for each process NAME.pid (its id and its start time) and NAME.log.
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

# Makes or enters the private folder $1 in $DIR, and holds it to the end of the script: two runs on one folder wait for
# each other. A folder that was made with other options is refused: its data are of another kind.
enter_folder() { # DIR OPTION…
  local options=${*:2}
  mkdir -p "$1" || die "cannot make the folder $1"
  DIR=$(cd "$1" && pwd)
  chmod 700 "$DIR"
  hold_folder
  if [ ! -e "$DIR/options" ]; then
    [ -z "$(find "$DIR" -mindepth 1 ! -name lock -print -quit)" ] || die "$DIR is not empty and no server made it" "name a new folder"
    printf '%s\n' "$options" >"$DIR/options"
  fi
  [ "$(cat "$DIR/options")" = "$options" ] ||
    die "$DIR was made with other options: '$(cat "$DIR/options")', now '$options'" "take it down and name a new folder"
  # Half of what was asked for helps nobody: unless `up` comes to its end, everything stops.
  at_end '[ -n "${IS_UP:-}" ] || stop_recorded "*"'
}

# Enters a folder that `up` made.
find_folder() {
  DIR=$(cd "$1" 2>/dev/null && pwd) || die "no such folder: $1"
  [ -e "$DIR/options" ] || die "$DIR is no folder of a server" "name the one that was given to up"
  hold_folder
}

hold_folder() {
  exec 9>"$DIR/lock"
  flock -w 300 9 || die "another run holds $DIR/lock for five minutes already"
}

# A TCP port that nobody uses, in $PORT; with an argument the port that many above it is free too. All lie below those
# that the kernel gives to clients. Another may still take it first: then the server says so and `up` tries again.
free_port() {
  local above=${1:-0} i
  for ((i = 0; i < 1000; i++)); do
    PORT=$((11000 + RANDOM % 10500))
    port_free $PORT && port_free $((PORT + above)) && return 0
  done
  die "no free TCP port between 11000 and 21500"
}

port_free() {
  local hex
  printf -v hex ':%04X ' "$1"
  ! cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '{ print $2 " " }' | grep -qF "$hex"
}

# Starts a process in the folder, with no terminal, and records it. What it prints is in NAME.log.
launch() { # NAME COMMAND…
  local name=$1 pid
  shift
  (cd "$DIR" && exec setsid "$@" >>"$DIR/$name.log" 2>&1 </dev/null 9>&-) &
  pid=$!
  echo "$pid $(start_time $pid)" >"$DIR/$name.pid"
}

# When a process was started, in ticks since boot: with its id, what tells it from a later one of the same id.
start_time() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || { echo gone; return; }
  # shellcheck disable=SC2086  # the fields behind the name, which may hold anything
  set -- ${stat##*) }
  case $1 in Z | X) echo gone ;; *) echo "${20}" ;; esac
}

# The id of a recorded process in $PID; false if it does not run any more.
alive() { # NAME
  local from
  [ -s "$DIR/$1.pid" ] && read -r PID from <"$DIR/$1.pid" && [ "$from" != gone ] && [ "$(start_time "$PID")" = "$from" ]
}

# Ends a recorded process and forgets it; one that has gone already is no error.
stop() { # NAME
  ! alive "$1" || stop_pid "$PID"
  rm -f "$DIR/$1.pid"
}

# Ends a recorded process with SIGKILL, and returns when it is gone.
kill_now() { # NAME
  if alive "$1"; then
    kill -9 "$PID"
    while alive "$1"; do sleep 0.02; done
  fi
  rm -f "$DIR/$1.pid"
}

# Ends every recorded process whose name matches a pattern, in the order of the patterns.
stop_recorded() { # PATTERN…
  local f pattern
  for pattern in "$@"; do
    for f in "$DIR"/$pattern.pid; do
      [ ! -e "$f" ] || stop "$(basename "$f" .pid)"
    done
  done
}

# The `down` of a folder. One that was never made holds nothing to stop.
down() { # DIR PATTERN…
  [ -d "$1" ] || return 0
  find_folder "$1"
  stop_recorded "${@:2}"
}

# Waits until a command succeeds. Ends with the last lines of the log if the process ends first or time is up.
wait_ready() { # NAME SECONDS COMMAND…
  local name=$1 until=$((SECONDS + $2))
  shift 2
  while ! "$@" >/dev/null 2>&1; do
    alive "$name" || return 1
    [ $SECONDS -lt $until ] || return 1
    sleep 0.05
  done
  alive "$name"
}

show_log() { # NAME
  warn "$1 did not start; the end of $DIR/$1.log:"
  tail -n 10 "$DIR/$1.log" >&2
}

# The variables that `up` prints, as pairs of a name and a value, quoted for a shell. The last thing that it does.
publish() {
  local lines=''
  while [ $# -gt 0 ]; do
    printf -v lines '%s%s=%q\n' "$lines" "$1" "$2"
    shift 2
  done
  printf '%s' "$lines" >"$DIR/env"
  IS_UP=1
  cat "$DIR/env"
}
