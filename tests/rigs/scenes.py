"""A file system that takes no more under a leader, on purpose and one way at a time.

One candidate on each host, a leading. The file system becomes read-only, or full, or a quota is
used up. The leader's work must end in time, or, where a renewal needs no space, may go on; nobody
may begin to lead until the trouble is over; then somebody must, with a higher token; and each
`elect` must have said which path it could not write, and why.
"""
import contextlib
import os
import subprocess
import time

from arena import BOUND, LEASE, SHORTER_BOUND, WRITER
from hosts import until
from judge import Failed, judge

# Verb of `rig` that begins it, the one that ends it, what the system calls it.
TROUBLES = {
    "read-only": ("readonly", "writable", "Read-only file system"),
    "full": ("fill", "free", "No space left on device"),
    "quota": ("limit", "unlimit", "Disk quota exceeded"),
}
OF = {"ext4": ["read-only", "full"], "tmpfs": ["read-only", "full"], "nfs3": ["read-only", "full"],
      "nfs4": ["read-only", "full"], "gluster": ["read-only", "full"],
      "moosefs": ["read-only", "quota"]}
# Where a name for an old link never needs space: the leader goes on, and is killed at last.
GOES_ON = {("tmpfs", "full")}
# A renewal is a name for an old link, and needs space only when the directory grows. So often that
# this comes soon.
OFTEN = "--retry-period 20ms"
# Until the directory has grown; on NFS a renewal takes its time.
GROWN = 90.0
# How far the time of a name may be from that of a line: the clock of a server, whole seconds.
NAMES_ARE_OFF = {"nfs3": 0.3, "nfs4": 0.3, "moosefs": 1.0}


def play(rig, patient=False):
    """Every scene that this rig can do."""
    rig.watch_clocks()
    try:
        troubles = OF.get(rig.base, [])
        if rig.base == "gluster" and not os.path.ismount(rig.directory / "brick"):
            print(f"not tried, since the brick has no disk of its own here: {', '.join(troubles)}")
            troubles = []
        for trouble in troubles:
            Scene(rig, trouble, 3 if patient else 1).play()
    finally:
        rig.stop_clocks()


class Scene:
    """One of them, with a lock of its own."""

    def __init__(self, rig, trouble, patience):
        self.rig, self.trouble, self.patience = rig, trouble, patience
        self.begin, self.end, self.words = TROUBLES[trouble]
        self.lock, self.files = f"work/{trouble}.lock", f"{rig.state}/{trouble}"
        self.bound = patience * BOUND.get(rig.base, SHORTER_BOUND)
        self.over = 0.0
        for host in "ab":
            rig.on(host, f"mkdir -p {rig.state}; [ -p {rig.state}/never ] || "
                         f"mkfifo {rig.state}/never; rm -f {self.files}.*")
            rig.write_file(host, f"{trouble}.writer", WRITER.replace("ledger", f"{trouble}.ledger"))

    def play(self):
        with self.candidate("a"):
            until(lambda: self.lines("a"), 30 * self.patience, "a leader on a")
            with self.candidate("b"):
                until(lambda: "a leads" in self.said("b"), 30 * self.patience, "a candidate on b")
                self.play_between()

    def play_between(self):
        """The trouble, and what comes after it."""
        with self.in_trouble():
            began = time.time()
            went_on = self.ends_by_itself(began) if self.ends() else self.goes_on(began)
            time.sleep(2 * LEASE)
            if self.lines("b"):
                raise Failed(f"{self.trouble}: b leads although it can't write")
            until(lambda: self.words in self.said("b"), 10 * self.patience, f"{self.words} on b")
        until(lambda: self.lines("b"), self.bound, "a leader on b after the trouble")
        first = self.lines("b")[0]
        if first[1] < self.over - self.rig.error():
            raise Failed(f"{self.trouble}: b led {self.over - first[1]:.2f} s before it was over")
        counts = judge(self.lines("a") + self.lines("b"), error=self.rig.error())
        if counts["terms"] != 2:
            raise Failed(f"{self.trouble}: {counts} in place of two terms")
        print(f"{self.trouble}: {went_on}; nobody led until it was over, another "
              f"{first[1] - self.over:.2f} s later; tokens {counts['lowest']} and "
              f"{counts['highest']}; both said: {self.words}", flush=True)

    def ends(self):
        return (self.rig.base, self.trouble) not in GOES_ON

    def ends_by_itself(self, began):
        """The leader loses the lease and ends its work, in time after what it could do last."""
        gone = f"cat {self.files}.a.code 2>/dev/null || true"
        until(lambda: self.rig.on("a", gone).strip(), GROWN * self.patience, "the leader's end")
        code, last = self.rig.on("a", gone).strip(), self.lines("a")[-1][1]
        renewed = began if self.trouble == "read-only" else self.last_name()
        limit = LEASE * self.patience + NAMES_ARE_OFF.get(self.rig.base, 0.0)
        if code != "76" or self.words not in self.said("a") or last - renewed > limit:
            raise Failed(f"{self.trouble}: the leader ended with {code}, {last - renewed:.2f} s "
                         f"late, and said: {self.said('a')}")
        since = "it" if self.trouble == "read-only" else "the last change"
        return f"the leader's work ended {max(last - renewed, 0.0):.2f} s after {since}, with 76"

    def goes_on(self, began):
        """The leader has all that it needs; nobody has what a new one needs."""
        time.sleep(2 * LEASE)
        if self.lines("a")[-1][1] < began + LEASE:
            raise Failed(f"{self.trouble}: the leader stopped, and said: {self.said('a')}")
        self.rig.on("a", f"kill -KILL $(cat {self.files}.a.pid)")
        return "the leader went on for two leases, and was killed"

    def last_name(self):
        """When the directory changed last. The link itself says when a name was tried for last."""
        host = "server" if self.rig.is_vms else "a"
        seconds, _, rest = self.rig.sh(host, f"stat -c %Y.%y {self.lock}").partition(".")
        return float(f"{seconds}.{rest.split('.')[1].split()[0]}")

    @contextlib.contextmanager
    def in_trouble(self):
        self.rig.run(self.begin)
        try:
            yield
        finally:
            self.over = time.time()
            self.rig.run(self.end)

    @contextlib.contextmanager
    def candidate(self, host):
        files = f"{self.files}.{host}"
        command = (
            "export shell=$(command -v bash || echo 'busybox sh'); "
            f"sh -c 'echo $$ >{files}.pid; exec elect run {OFTEN} --lock {self.lock} --identity "
            f"{host} --lease-duration {LEASE:g}s --kill-after 200ms -- $shell {self.files}.writer "
            f"</dev/null >>{files}.log 2>&1'; echo $? >{files}.code")
        shell = self.rig.start(host, command, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            self.rig.on(host, f"kill -TERM $(cat {files}.pid) 2>/dev/null || true")
            shell.wait(60)

    def lines(self, host):
        # Hosts that are two mounts of this one share the file.
        lines = self.rig.lines(host, f"{self.trouble}.ledger")
        return [line for line in lines if line[2] == host]

    def said(self, host):
        return self.rig.on(host, f"cat {self.files}.{host}.log 2>/dev/null || true")
