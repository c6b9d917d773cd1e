# shellcheck shell=bash
# GlusterFS without its management daemon: one brick, two FUSE clients that share no cache.

# shellcheck disable=SC2034 # read by check.sh
MOUNT_LINE='.* fuse.glusterfs ' FLOCK=conflict NLINK=2
PORT=${RIG_GLUSTER_PORT:-24999}

rig_install() { need glusterfs-server glusterfs-client fuse3 e2fsprogs; }

rig_up() {
    rig_install
    need_fuse
    need_port "$PORT" RIG_GLUSTER_PORT
    make_brick
    server_volume >"$DIR/state/server.vol"
    client_volume >"$DIR/state/client.vol"
    spawn server glusterfsd -N -f "$DIR/state/server.vol" -l "$DIR/log/server.gluster"
    wait_for 20 "GlusterFS server on port $PORT" port_open "$PORT"
    local m
    for m in a b; do
        spawn "mount-$m" glusterfs -N -f "$DIR/state/client.vol" -l "$DIR/log/$m.gluster" "$DIR/$m"
    done
    for m in a b; do wait_for 20 "mount $m" mounted "$DIR/$m"; done
    for m in a b; do wait_for 20 "answer of mount $m" timeout 5 stat -f "$DIR/$m"; done
}

rig_down() {
    unmount "$DIR/a"
    unmount "$DIR/b"
    stop mount-a
    stop mount-b
    stop server
    unmount "$DIR/brick"
}

# A disk of its own, which can be full without any other being so, where this host has loop devices.
# With the blocks of a larger one: each hard link of a file takes room in one block of attributes.
make_brick() {
    rm -rf "$DIR/brick"
    mkdir -p "$DIR/brick"
    truncate -s 256M "$DIR/state/disk.img"
    mkfs.ext4 -q -b 4096 -F "$DIR/state/disk.img"
    # A sync would be one of two file systems, each with a journal.
    mount -o loop,barrier=0 "$DIR/state/disk.img" "$DIR/brick" 2>>"$DIR/log/brick" || return 0
    rmdir "$DIR/brick/lost+found"
}

healthy() { runs server && runs mount-a && runs mount-b && mounted "$DIR/a" && mounted "$DIR/b"; }
rig_sh() { local_sh "$@"; }
rig_put() { local_put "$@"; }
server_processes() { echo server; }
# Of the brick.
rig_readonly() { mount -o remount,ro "$(brick)"; }
rig_writable() { mount -o remount,rw "$(brick)"; }
rig_fill() { (cd "$(brick)" && bash -c "$FILL"); }
rig_free() { rm -f "$(brick)"/{filler,rest,rest.2}; }

brick() {
    mounted "$DIR/brick" || die "the brick has no disk of its own here"
    echo "$DIR/brick"
}

server_volume() {
    # It would end the server where the disk is read-only.
    cat <<TEXT
volume posix
 type storage/posix
 option directory $DIR/brick
 option health-check-interval 0
end-volume
volume locks
 type features/locks
 subvolumes posix
end-volume
volume server
 type protocol/server
 option transport-type tcp
 option transport.socket.bind-address 127.0.0.1
 option transport.socket.listen-port $PORT
 option auth.addr.locks.allow *
 subvolumes locks
end-volume
TEXT
}

# The caches that a real volume has by default stand above the connection, in the usual order.
client_volume() {
    cat <<TEXT
volume client
 type protocol/client
 option transport-type tcp
 option remote-host 127.0.0.1
 option remote-port $PORT
 option remote-subvolume locks
end-volume
TEXT
    local below=client layer
    for layer in write-behind io-cache quick-read md-cache; do
        printf 'volume %s\n type performance/%s\n subvolumes %s\nend-volume\n' "$layer" "$layer" "$below"
        below=$layer
    done
}
