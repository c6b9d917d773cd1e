# shellcheck shell=bash
# A file system of this host alone, ext4 or tmpfs, seen at two places: what shared ones are compared
# with. Its clients can't be cut off, nor its server paused.

# shellcheck disable=SC2034 # read by check.sh
MOUNT_LINE=".* $KIND " FLOCK=conflict NLINK=2

rig_install() { need e2fsprogs; }

rig_up() {
    case $KIND in
    ext4)
        rig_install
        truncate -s 256M "$DIR/state/disk.img"
        mkfs.ext4 -q -F "$DIR/state/disk.img"
        mount -o loop "$DIR/state/disk.img" "$DIR/a"
        rmdir "$DIR/a/lost+found"
        ;;
    tmpfs) mount -t tmpfs -o size=256m "rig-$$" "$DIR/a" ;;
    esac
    mount --bind "$DIR/a" "$DIR/b"
}

rig_down() {
    unmount "$DIR/b"
    unmount "$DIR/a"
}

healthy() { mounted "$DIR/a" && mounted "$DIR/b"; }
rig_sh() { local_sh "$@"; }
rig_put() { local_put "$@"; }
server_processes() { die "$KIND has no server"; }
rig_cut() { die "$KIND has no clients"; }
rig_join() { rig_cut; }
# Of the file system, and so of both places.
rig_readonly() { mount -o remount,ro "$DIR/a"; }
rig_writable() { mount -o remount,rw "$DIR/a"; }
rig_fill() { (cd "$DIR/a" && bash -c "$FILL"); }
rig_free() { rm -f "$DIR"/a/{filler,rest,rest.2}; }
