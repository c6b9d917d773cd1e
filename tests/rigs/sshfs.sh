# shellcheck shell=bash
# sshfs: one sshd with keys of its own on loopback, two mounts of the same directory.

# shellcheck disable=SC2034 # read by check.sh
MOUNT_LINE='.* fuse.sshfs ' FLOCK=none NLINK=1
PORT=${RIG_SSHFS_PORT:-2322}

rig_install() { need openssh-server sshfs fuse3; }

rig_up() {
    rig_install
    need_fuse
    need_port "$PORT" RIG_SSHFS_PORT
    rm -rf "$DIR/share"
    mkdir -p "$DIR/share" /run/sshd # sshd refuses to start without the latter
    local key m
    for key in host user; do ssh-keygen -q -t ed25519 -N '' -f "$DIR/state/$key"; done
    cat >"$DIR/state/sshd.conf" <<TEXT
Port $PORT
ListenAddress 127.0.0.1
HostKey $DIR/state/host
AuthorizedKeysFile $DIR/state/user.pub
PidFile none
Subsystem sftp internal-sftp
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
TEXT
    printf '[127.0.0.1]:%s %s\n' "$PORT" "$(cat "$DIR/state/host.pub")" >"$DIR/state/known_hosts"
    spawn sshd /usr/sbin/sshd -D -e -f "$DIR/state/sshd.conf"
    wait_for 10 "sshd on port $PORT" port_open "$PORT"
    for m in a b; do
        spawn "mount-$m" sshfs -f -p "$PORT" -F /dev/null \
            -o "IdentityFile=$DIR/state/user,UserKnownHostsFile=$DIR/state/known_hosts" \
            "root@127.0.0.1:$DIR/share" "$DIR/$m"
    done
    for m in a b; do wait_for 20 "mount $m" mounted "$DIR/$m"; done
}

rig_down() {
    unmount "$DIR/a"
    unmount "$DIR/b"
    stop mount-a
    stop mount-b
    stop sshd
}

healthy() { runs sshd && runs mount-a && runs mount-b && mounted "$DIR/a" && mounted "$DIR/b"; }
rig_sh() { local_sh "$@"; }
rig_put() { local_put "$@"; }
server_processes() { echo sshd; }
