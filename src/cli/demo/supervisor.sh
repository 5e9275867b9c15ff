#!/bin/sh
# A service manager of a few lines, so that the demo needs no systemd.
#
#   supervisor.sh start|stop|restart|status RUN NAME PORT PROGRAM WHILE_PID
#
# RUN is a folder for process ids and logs. The service ends by itself once WHILE_PID is gone. The
# exit codes of `status` are those of systemctl: 0 it runs, 3 it does not.
set -u
verb=$1 run=$2 name=$3 port=$4 program=$5 while_pid=$6
pid_file=$run/$name.pid

# A number alone may belong to somebody else by now, so the command line must name our file.
runs() {
  pid=$(cat "$pid_file" 2>/dev/null) || return 1
  [ -r "/proc/$pid/cmdline" ] || return 1
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF -- "$pid_file"
}

# within TENTHS COMMAND: waits until the command holds.
within() {
  left=$1
  shift
  until "$@"; do
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    sleep 0.1
  done
}

gone() { ! runs; }

say() { echo "$(date -u +%Y-%m-%dT%H:%M:%SZ) $1 supervisor: $2"; }

# Runs the service and writes down how it ended. Whoever called must not wait for its output.
watch() {
  exec >>"$run/$name.log" 2>&1 </dev/null
  "$program" demo-service --name "$name" --port "$port" --pid-file "$pid_file" \
    --while-pid "$while_pid"
  code=$?
  if [ "$code" -gt 128 ]; then
    say ERROR "$name was killed by signal $((code - 128))"
  elif [ "$code" -gt 0 ]; then
    say ERROR "$name ended with code $code"
  fi
}

start() {
  runs && return 0
  watch &
  within 100 runs || { echo "$name did not start; see $run/$name.log" >&2; return 1; }
}

stop() {
  runs || return 0
  kill "$pid"
  within 50 gone || kill -9 "$pid"
}

case $verb in
  start) start ;;
  stop) stop ;;
  restart)
    echo "$name" >>"$run/restarts"
    stop && start && echo "$name runs as process $(cat "$pid_file")"
    ;;
  status)
    if runs; then echo "$name runs as process $pid"; else echo "$name does not run"; exit 3; fi
    ;;
  *) echo "unknown verb: $verb" >&2; exit 2 ;;
esac
