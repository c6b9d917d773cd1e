# shellcheck shell=bash
# What every rig uses: messages, packages, processes by recorded pid, mounts. Sourced by `rig`.

RIG_TIMEOUT=${RIG_TIMEOUT:-300} # seconds that one `rig sh` command may take

say() { printf 'rig: %s\n' "$*" >&2; }

die() {
    local log
    say "error: $*"
    [ "${verb:-}" = up ] || exit 1
    for log in "${DIR:-/nonexistent}"/log/*; do
        [ -s "$log" ] || continue
        printf -- '--- tail of %s\n' "$log" >&2
        tail -n 12 "$log" >&2
    done
    exit 1
}

now_ms() {
    local t=${EPOCHREALTIME/[.,]/}
    echo $((t / 1000))
}

# The state directory goes into configuration files and socket paths, so keep it plain and short.
use_dir() {
    DIR=$(realpath -m -- "$1")
    [[ $DIR =~ ^/[A-Za-z0-9/._-]+$ ]] || die "DIR may hold only letters, digits and / . _ -: $DIR"
    ((${#DIR} <= 80)) || die "DIR is longer than 80 characters, too long for socket paths: $DIR"
    [ "$EUID" = 0 ] || die "must run as root (mounts, network namespaces)"
    if [ -f "$DIR/kind" ] && [ "$(cat "$DIR/kind")" != "$KIND" ]; then
        DIR_KIND=$(cat "$DIR/kind")
        die "$DIR belongs to a $DIR_KIND rig"
    fi
}

require_up() { healthy || die "$KIND is not up in $DIR (try: rig up $KIND $DIR)"; }

bring_up() {
    local start
    start=$(now_ms)
    if healthy; then
        echo "$KIND is already up"
        return
    fi
    rig_down
    rm -rf "${DIR:?}"/{log,pid,bin,a,b,state}
    mkdir -p "$DIR"/{log,pid,bin,a,b,state}
    echo "$KIND" >"$DIR/kind"
    rig_up
    healthy || die "$KIND did not stay up"
    echo "$KIND is up in $((($(now_ms) - start) / 1000)).$((($(now_ms) - start) % 1000 / 100)) s"
}

# wait_for SECONDS WHAT COMMAND...: polls; every wait in these scripts ends. A command that returns 9
# says that waiting is pointless.
wait_for() {
    local seconds=$1 what=$2 end
    shift 2
    end=$(($(now_ms) + seconds * 1000))
    until "$@" >/dev/null 2>&1; do
        [ $? != 9 ] || die "$what: its process has ended"
        (($(now_ms) < end)) || die "$what: still not after $seconds s"
        sleep 0.1
    done
}

# --- packages ---------------------------------------------------------------------------------

# need PACKAGE...: installs what is missing.
need() {
    local missing=() p
    for p; do
        dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    # Stale package lists and a download that failed half-way both heal with an update.
    (
        forbid_services
        apt_install "${missing[@]}" || { apt_update && apt_install "${missing[@]}"; }
    ) || die "apt could not install: ${missing[*]}"
}

# Packages start their services unless this file says no. To be called in a subshell: undone at its end.
forbid_services() {
    local policy=/usr/sbin/policy-rc.d
    [ ! -e "$policy" ] || return 0
    # shellcheck disable=SC2064
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

apt_update() { apt_run update; }

# Only qemu-utils may be removed: a newer one than the distribution's own conflicts with its qemu.
apt_install() {
    local removed
    removed=$(apt-get -s install --no-install-recommends "$@" 2>/dev/null | awk '$1 == "Remv" {print $2}')
    [ -z "$removed" ] || say "apt will remove: $removed"
    [ -z "$removed" ] || [ "$removed" = qemu-utils ] || die "refusing, because apt would remove: $removed"
    # A download may take as long as a mirror likes, and be ended at any time; unpacking may not.
    apt_run install -y --no-install-recommends --download-only "$@" || return 1
    RIG_APT_UNTIL='' apt_run install -y --no-install-recommends "$@"
}

# RIG_APT_UNTIL: the second, of this system's clock, at which no download may last any longer.
apt_run() {
    local limit=600
    [ -z "${RIG_APT_UNTIL:-}" ] || limit=$((RIG_APT_UNTIL - $(now_ms) / 1000))
    ((limit > 0)) || { echo "no time is left for downloads" >>"$DIR/log/apt"; return 1; }
    DEBIAN_FRONTEND=noninteractive timeout "$limit" apt-get -q -o DPkg::Lock::Timeout=120 \
        -o Dpkg::Options::=--force-confold "$@" </dev/null >>"$DIR/log/apt" 2>&1
}

# --- processes --------------------------------------------------------------------------------

# spawn NAME COMMAND...: a daemon in its own session. The command line must name DIR (see pid_of).
spawn() {
    local name=$1
    shift
    setsid "$@" >"$DIR/log/$name" 2>&1 </dev/null &
    echo $! >"$DIR/pid/$name"
}

# Prints the recorded pid while that process runs. Pids are reused, so the command line must name DIR.
pid_of() {
    local pid
    pid=$(cat "$DIR/pid/$1" 2>/dev/null) || return 1
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$DIR/" || return 1
    echo "$pid"
}

runs() { pid_of "$1" >/dev/null; }
stopped() { ! runs "$1"; }

# stop NAME [SIGNAL]: asks, gives it 5 s, then kills.
stop() {
    local pid end
    pid=$(pid_of "$1") || { rm -f "$DIR/pid/$1"; return 0; }
    kill -s "${2:-TERM}" "$pid" 2>/dev/null || true
    kill -s CONT "$pid" 2>/dev/null || true # it may be paused
    end=$(($(now_ms) + 5000))
    while runs "$1" && (($(now_ms) < end)); do sleep 0.05; done
    if runs "$1"; then kill -s KILL "$pid" 2>/dev/null || true; fi
    wait_for 10 "end of $1 (pid $pid)" stopped "$1"
    rm -f "$DIR/pid/$1"
}

port_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
port_open() { ! port_free "$1"; }

need_port() {
    port_free "$1" || die "port $1 on 127.0.0.1 is taken; set $2 to another"
}

# --- mounts on this host ----------------------------------------------------------------------

# Read from /proc: a mount whose server is dead can't be asked itself.
mounted() { awk -v m="$1" '$2 == m {found = 1} END {exit !found}' /proc/self/mounts; }

unmount() {
    mounted "$1" || return 0
    timeout 5 umount "$1" 2>/dev/null || umount -l "$1" 2>/dev/null || true
    ! mounted "$1" || die "could not unmount $1"
}

need_fuse() {
    [ -e /dev/fuse ] || modprobe fuse 2>/dev/null || true
    [ -e /dev/fuse ] || die "this kernel has no /dev/fuse"
}

# local_sh HOST COMMAND: for the rigs whose clients are two mounts on this host.
local_sh() {
    case $1 in a | b) ;; *) die "no such client: $1 (a or b)" ;; esac
    export PATH="$DIR/bin:$PATH"
    cd "$DIR/$1" || die "no directory $DIR/$1"
    exec timeout -k 5 "$RIG_TIMEOUT" bash -c "$2"
}

local_put() { install -m 755 -- "$1" "$DIR/bin/"; }

# --- faults, for the rigs whose clients are two mounts on this host ----------------------------

# Overridden by the NFS rigs, which have machines and cables. Here a frozen server is its processes
# under SIGSTOP. A client that is cut off is its mount's process under SIGSTOP: calls on that mount
# hang without an error, while the programs on the client go on.
rig_pause() { signal_processes "$1" STOP T; }
rig_resume() { signal_processes "$1" CONT '[RS]'; }
rig_cut() { signal_processes "$1" STOP T; }
rig_join() { signal_processes "$1" CONT '[RS]'; }

signal_processes() { # server|a|b SIGNAL STATE
    local names name pid
    case $1 in
    server) names=$(server_processes) ;;
    a | b) names=mount-$1 ;;
    *) die "no such machine: $1 (server, a or b)" ;;
    esac
    for name in $names; do
        pid=$(pid_of "$name") || die "$name does not run"
        kill -s "$2" "$pid"
        wait_for 5 "SIG$2 of $name" grep -qE "^State:[[:space:]]$3" "/proc/$pid/status"
    done
}

# --- a file system that takes no more: not every rig can ------------------------------------------

rig_readonly() { die "$KIND can't be made read-only"; }
rig_writable() { rig_readonly; }
rig_fill() { die "$KIND can't be filled"; }
rig_free() { rig_fill; }
rig_limit() { die "$KIND has no quota"; }
rig_unlimit() { rig_limit; }

# What fills the file system of the current directory: most by a reservation, which takes no time,
# then what is left, block by block.
FILL='fallocate -l $(($(stat -f -c "%a * %S" .) - (1 << 20))) filler;
    for file in rest rest.2; do dd if=/dev/zero of=$file bs=1k conv=fsync 2>/dev/null; done; true'
