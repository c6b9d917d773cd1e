# shellcheck shell=bash
# NFS between three kernels: a server and two clients, each a small qemu VM. The VMs' networks are
# unix sockets in DIR; each has a control port on 127.0.0.1, served by nfs-guest/ctl.

# shellcheck disable=SC2034 # read by check.sh
FLOCK=conflict NLINK=2
case $KIND in
nfs3) VERS=3 EXPORT=/export PORT=${RIG_NFS3_PORT:-2200} ;;
nfs4) VERS=4.2 EXPORT=/ PORT=${RIG_NFS4_PORT:-2210} ;;
esac
case $(dpkg --print-architecture) in
amd64) QEMU=(qemu-system-x86_64) QEMU_PACKAGE=qemu-system-x86 CONSOLE=ttyS0 ;;
arm64) QEMU=(qemu-system-aarch64 -M virt) QEMU_PACKAGE=qemu-system-arm CONSOLE=ttyAMA0 ;;
*) die "the NFS rigs know amd64 and arm64 only" ;;
esac
VMS=(server a b)
KERNEL_WORDS="quiet panic=5 mitigations=off random.trust_cpu=on"

rig_install() {
    need "$QEMU_PACKAGE" busybox-static cpio kmod nfs-common nfs-kernel-server rpcbind \
        e2fsprogs iproute2 xz-utils zstd
    command -v python3 >/dev/null || need python3
}

rig_up() {
    local vm lock
    rig_install
    echo "$PORT" >"$DIR/state/port"
    for vm in "${VMS[@]}"; do need_port "$(port_of "$vm")" "RIG_${KIND^^}_PORT"; done
    mkdir -p "${RIG_CACHE:=$DIR/cache}"
    RIG_CACHE=$(realpath "$RIG_CACHE")
    # shellcheck source=nfs-image.sh
    . "$RIGS/nfs-image.sh"
    # Two rigs may share a cache. No daemon may inherit the lock, so it is closed before they start.
    exec {lock}>"$RIG_CACHE/lock"
    flock -w 600 "$lock" || die "another rig has held $RIG_CACHE/lock for 600 s"
    build_image
    exec {lock}>&-
    start_vms
    for vm in "${VMS[@]}"; do wait_for "${RIG_BOOT_SECONDS:-120}" "boot of $vm" vm_ready "$vm"; done
    for vm in a b; do mount_client "$vm"; done
    for vm in "${VMS[@]}"; do
        python3 "$RIGS/vmctl.py" "$(port_of "$vm")" 20 clock || die "could not set the clock of $vm"
    done
    touch "$DIR/state/mounted"
}

start_vms() {
    local nic=virtio-net-pci mac=52:54:00:00 disk="$DIR/state/disk.img"
    truncate -s 256M "$disk"
    mkfs.ext4 -q -F "$disk"
    start_vm server "rig.a=10.9.1.1 rig.b=10.9.2.1 rig.lease=${RIG_NFS_LEASE:-15}" \
        -netdev "stream,id=a,server=on,addr.type=unix,addr.path=$DIR/state/a.s" \
        -device "$nic,netdev=a,mac=$mac:01:01" \
        -netdev "stream,id=b,server=on,addr.type=unix,addr.path=$DIR/state/b.s" \
        -device "$nic,netdev=b,mac=$mac:02:01" \
        -drive "file=$disk,format=raw,if=none,id=d,cache=writeback" -device virtio-blk-pci,drive=d
    wait_for 10 "network socket a" test -S "$DIR/state/a.s"
    wait_for 10 "network socket b" test -S "$DIR/state/b.s"
    start_vm a "rig.ip=10.9.1.2 rig.server=10.9.1.1" \
        -netdev "stream,id=n,server=off,addr.type=unix,addr.path=$DIR/state/a.s" \
        -device "$nic,netdev=n,mac=$mac:01:02"
    start_vm b "rig.ip=10.9.2.2 rig.server=10.9.2.1" \
        -netdev "stream,id=n,server=off,addr.type=unix,addr.path=$DIR/state/b.s" \
        -device "$nic,netdev=n,mac=$mac:02:02"
}

start_vm() { # NAME KERNEL-ARGUMENTS QEMU-ARGUMENTS...
    local name=$1 arguments=$2
    shift 2
    spawn "$name" "${QEMU[@]}" -name "$name" -accel "${RIG_ACCEL:-tcg}" -cpu "${RIG_CPU:-max}" -smp 1 \
        -m "${RIG_VM_MB:-512}" -display none -nodefaults -no-reboot \
        -kernel "$RIG_CACHE/vmlinuz" -initrd "$INITRD" -serial "file:$DIR/log/$name.console" \
        -append "console=$CONSOLE $KERNEL_WORDS rig.name=$name $arguments" \
        -netdev "user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:$(port_of "$name")-:2000" \
        -device virtio-net-pci,netdev=control "$@"
}

vm_ready() {
    runs "$1" || return 9
    grep -q "^READY" "$DIR/log/$1.console"
}

mount_client() {
    local options=vers=$VERS${RIG_NFS_OPTS:+,$RIG_NFS_OPTS}
    RIG_TIMEOUT=60 control "$1" "
        mount.nfs server:$EXPORT /mnt/share -o $options && cd /mnt/share &&
        flock -w 40 .up true && rm -f .up" >>"$DIR/log/mount" 2>&1 ||
        die "client $1 could not mount or lock with -o $options"
}

rig_down() {
    local vm
    for vm in b a server; do stop "$vm" KILL; done # KILL reaches a stopped qemu too
}

healthy() {
    local vm
    for vm in "${VMS[@]}"; do runs "$vm" || return 1; done
    [ -e "$DIR/state/mounted" ]
}

port_of() {
    local base
    base=$(cat "$DIR/state/port")
    case $1 in
    server) echo "$base" ;;
    a) echo $((base + 1)) ;;
    b) echo $((base + 2)) ;;
    *) die "no such machine: $1 (server, a or b)" ;;
    esac
}

control() { # VM COMMAND: returns the command's exit code, 124 after RIG_TIMEOUT seconds
    python3 "$RIGS/vmctl.py" "$(port_of "$1")" "$RIG_TIMEOUT" run "$2"
}

rig_sh() {
    local port
    port=$(port_of "$1")
    exec python3 "$RIGS/vmctl.py" "$port" "$RIG_TIMEOUT" run "$2"
}

# Into the clients' memory, so that a hung share never stops the program from running.
rig_put() {
    local vm
    for vm in a b; do
        python3 "$RIGS/vmctl.py" "$(port_of "$vm")" "$RIG_TIMEOUT" put "$1" || die "put into $vm failed"
    done
}

rig_pause() { signal_vm "$1" STOP T; }
rig_resume() { signal_vm "$1" CONT '[RS]'; }

signal_vm() {
    local pid
    pid=$(pid_of "$1") || die "no such machine: $1 (server, a or b)"
    kill -s "$2" "$pid"
    wait_for 5 "SIG$2 of $1" grep -qE "^State:[[:space:]]$3" "/proc/$pid/status"
}

# At the server's end of the cable: for the client, packets vanish without any error.
rig_cut() { server_link "$1" down; }
rig_join() { server_link "$1" up; }

server_link() {
    case $1 in a | b) ;; *) die "no such client: $1 (a or b)" ;; esac
    RIG_TIMEOUT=20 control server "ip link set net-$1 $2" || die "the server did not obey (is it paused?)"
}

# Of the export, by the server.
rig_readonly() { export_as ro; }
rig_writable() { export_as rw; }

export_as() {
    RIG_TIMEOUT=20 control server \
        "exportfs -o $1,sync,no_subtree_check,no_root_squash,fsid=0 10.9.0.0/16:/export" ||
        die "the server did not obey (is it paused?)"
}

rig_fill() { control server "$FILL" || die "could not fill the export"; }
rig_free() { control server 'rm -f filler rest rest.2' || die "could not free the export"; }
