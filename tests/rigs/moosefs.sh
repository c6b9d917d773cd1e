# shellcheck shell=bash
# MooseFS: master, one chunk server and two mounts. Its daemons refuse 127.0.0.1, so they live in a
# network namespace of their own, which ends with its last process. The mounts are visible here.

# shellcheck disable=SC2034 # read by check.sh
MOUNT_LINE='mfs.*:9421 .* fuse ' FLOCK=conflict NLINK=2
ADDRESS=10.98.0.1

rig_install() { need moosefs-master moosefs-chunkserver moosefs-client fuse3 iproute2; }

rig_up() {
    rig_install
    need_fuse
    rm -rf "$DIR/chunks"
    mkdir -p "$DIR/chunks" "$DIR"/state/{master,chunk}
    write_configuration
    spawn master unshare -n sh -c "ip link set lo up && ip addr add $ADDRESS/32 dev lo &&
        exec mfsmaster -f -c $DIR/state/master.cfg start"
    # Until then a look inside would be one into this host's own network.
    wait_for 20 "a network namespace of its own" own_network
    wait_for 20 "MooseFS master" inside_open 9421
    spawn chunkserver nsenter -t "$(pid_of master)" -n \
        mfschunkserver -f -c "$DIR/state/chunk.cfg" start
    wait_for 20 "MooseFS chunk server" inside_open 9422
    local m
    for m in a b; do
        spawn "mount-$m" nsenter -t "$(pid_of master)" -n mfsmount "$DIR/$m" -f -H "$ADDRESS"
    done
    for m in a b; do wait_for 20 "mount $m" mounted "$DIR/$m"; done
    # Data can be written only once the chunk server has registered at the master.
    for m in a b; do wait_for 60 "write through mount $m" write_works "$DIR/$m"; done
}

rig_down() {
    unmount "$DIR/a"
    unmount "$DIR/b"
    stop mount-a
    stop mount-b
    stop chunkserver
    stop master
}

healthy() {
    runs master && runs chunkserver && runs mount-a && runs mount-b &&
        mounted "$DIR/a" && mounted "$DIR/b"
}
rig_sh() { local_sh "$@"; }
rig_put() { local_put "$@"; }
server_processes() { echo master chunkserver; }
# Of the mounts: their server keeps to what it allowed when they were made.
rig_readonly() { for_mounts ro; }
rig_writable() { for_mounts rw; }
for_mounts() {
    local m
    for m in a b; do mount -o "remount,bind,$1" "$DIR/$m"; done
}
# No more names than there are, below the share's root.
rig_limit() {
    local names
    names=$(find "$DIR/a" -mindepth 1 | wc -l)
    nsenter -t "$(pid_of master)" -n mfssetquota -I "$((names + 1))" "$DIR/a" >>"$DIR/log/quota"
}
rig_unlimit() { nsenter -t "$(pid_of master)" -n mfsdelquota -I "$DIR/a" >>"$DIR/log/quota"; }

own_network() {
    local inside
    inside=$(readlink "/proc/$(pid_of master)/ns/net")
    [ -n "$inside" ] && [ "$inside" != "$(readlink /proc/self/ns/net)" ]
}
inside_open() { nsenter -t "$(pid_of master)" -n bash -c "exec 3<>/dev/tcp/$ADDRESS/$1"; }

write_works() { timeout 10 bash -c "echo x >$1/.up && rm $1/.up"; }

write_configuration() {
    printf 'MFSM NEW' >"$DIR/state/master/metadata.mfs"
    echo '* / rw,alldirs,admin,maproot=0' >"$DIR/state/exports.cfg"
    : >"$DIR/state/topology.cfg"
    echo "$DIR/chunks" >"$DIR/state/hdd.cfg"
    cat >"$DIR/state/master.cfg" <<TEXT
DATA_PATH=$DIR/state/master
WORKING_USER=root
WORKING_GROUP=root
EXPORTS_FILENAME=$DIR/state/exports.cfg
TOPOLOGY_FILENAME=$DIR/state/topology.cfg
MATOML_LISTEN_HOST=$ADDRESS
MATOCS_LISTEN_HOST=$ADDRESS
MATOCL_LISTEN_HOST=$ADDRESS
TEXT
    cat >"$DIR/state/chunk.cfg" <<TEXT
DATA_PATH=$DIR/state/chunk
WORKING_USER=root
WORKING_GROUP=root
HDD_CONF_FILENAME=$DIR/state/hdd.cfg
MASTER_HOST=$ADDRESS
CSSERV_LISTEN_HOST=$ADDRESS
HDD_LEAVE_SPACE_DEFAULT=64MiB
TEXT
}
