"""Candidates on two hosts, and what is done to them: faults by a seed, and the wait after each."""
import contextlib
import random
import subprocess
import sys
import threading
import time

from hosts import Ledger, Starved
from judge import Failed

LEASE = 2.0
# Candidates of one lock on one host.
CANDIDATES = 3
# The longest that a fault lasts.
SPAN = 1.75 * LEASE
# Faults of more than one candidate.
WORLDLY = ("cut", "server", "machine", "full", "read-only")
# How long whoever was frozen as a whole may go on until its guard has killed it. Such lines are
# what a fencing token is for; they are counted apart. The second is for a busy machine.
MOMENT, LONGER_MOMENT = 0.75, 3.0
# Until somebody leads again after a fault is over, in seconds: a lease, a look, a slow start. An
# NFS client that was cut off tries its server again only after up to a minute.
BOUND = {"nfs3": 75.0, "nfs4": 75.0}
SHORTER_BOUND = 20.0
# What ends a run: a rig that does not obey is among these.
TROUBLE = (Failed, subprocess.TimeoutExpired, OSError)

# By builtins alone: forks would keep an emulated machine busy with nothing else.
WRITER = """# Led: writes a line of token, microseconds and name to a place of this host's own.
exec 3<>STATE/never
while :; do
    now=${EPOCHREALTIME%.*}${EPOCHREALTIME#*.}
    echo "$ELECT_FENCING_TOKEN $now $ELECT_IDENTITY" >>STATE/ledger
    read -t 0.03 -r _ <&3
done
"""
CANDIDATE = """#!/bin/sh
# One candidate of the lock $2, again and again: its name, and where this host keeps its own files.
shell=$(command -v bash || echo 'busybox sh')
round=0
while [ ! -e STATE/stop ]; do
    round=$((round + 1))
    elect run OPTIONS --lock "$2" --identity $1.$round --lease-duration LEASEs --kill-after 200ms \\
        -- $shell STATE/writer </dev/null >>STATE/$1.log 2>&1 &
    echo $! >STATE/$1.pid
    wait $!
    echo "$1.$round ended with $?" >>STATE/$1.log
    sleep 0.2
done
"""


class World:
    """What concerns all locks at once: one such fault of a place at a time, and since when all is
    calm; None while it is not."""

    def __init__(self):
        self.places = {place: threading.Lock() for place in ("server", "a", "b")}
        self.guard, self.troubles, self.calm = threading.Lock(), 0, 0.0

    @contextlib.contextmanager
    def trouble(self, place="server"):
        with self.places[place]:
            with self.guard:
                self.troubles += 1
                self.calm = None
            try:
                yield
            finally:
                with self.guard:
                    self.troubles -= 1
                    if self.troubles == 0:
                        self.calm = time.time()


class Lane:
    """One lock with its candidates, whose faults come one after another."""

    def __init__(self, arena, number, seed):
        self.arena, self.rig, self.number = arena, arena.rig, number
        self.dice = random.Random(f"{seed}-{number}")
        self.path = f"work/x{number}.lock"
        numbers = range(number * CANDIDATES + 1, (number + 1) * CANDIDATES + 1)
        self.names = [f"{host}{n}" for host in "ab" for n in numbers]
        self.replaced = None

    def last_line(self):
        """Who wrote last, of both hosts."""
        lines = [ledger.last.get(self.number) for ledger in self.arena.ledgers]
        return max((line for line in lines if line), key=lambda line: line[1], default=None)

    def wait_for_leader(self, after):
        """Until somebody leads later than `after`; how long that took since trouble was over."""
        limit, world = self.arena.bound, self.arena.world
        end = max(time.time(), after) + limit
        while time.time() < end and not self.arena.ended.is_set():
            line, calm = self.last_line(), world.calm
            if calm is None:
                end = time.time() + limit
            if line and line[1] > after:
                since = calm if calm is not None and after < calm < line[1] else after
                return line[1] - since
            time.sleep(0.03)
        raise Failed(f"nobody leads {limit} s after a fault of {self.path} was over")

    def faults(self, number):
        """So many faults beside each other, and their end; then somebody must lead again."""
        leader = self.last_line()[2].split(".")[0]
        name = leader if self.dice.random() < 0.7 else self.dice.choice(self.names)
        # No candidate twice: to thaw one that was killed would find its successor.
        others = self.dice.sample([other for other in self.names if other != name], number - 1)
        drawn = [(self.dice.choice(self.arena.kinds), who, self.dice.uniform(0.3, SPAN))
                 for who in [name, *others]]
        pause = self.dice.uniform(0.0, LEASE / 2)
        beside_each_other([lambda fault=fault: self.fault(*fault) for fault in drawn])
        over = time.time()
        gap = self.wait_for_leader(over)
        for kind, who, _span in drawn:
            self.arena.count(kind, who, gap)
        time.sleep(pause)

    def fault(self, kind, name, span):
        began = time.time()
        getattr(self, "do_" + kind.replace("-", "_"))(name, span)
        self.arena.history.append((began, time.time(), kind, name))

    def send(self, name, number, whole=False):
        """To the candidate's elect; `whole`: to all below it as well, the led work first."""
        pid = f"$(cat {self.rig.state}/{name}.pid)"
        if not whole:
            return self.rig.on(name[0], f"kill -{number} {pid} 2>/dev/null || true")
        tree = (
            "below() { for c in $(cat /proc/$1/task/*/children 2>/dev/null); do below $c; done; "
            f"echo $1; }}; kill -{number} $(below {pid}) 2>/dev/null || true"
        )
        return self.rig.on(name[0], tree)

    def do_kill(self, name, _span):
        self.send(name, "KILL")

    def do_stop(self, name, span):
        self.send(name, "STOP")
        time.sleep(span)
        self.send(name, "CONT")

    def do_freeze(self, name, span):
        self.send(name, "STOP", whole=True)
        time.sleep(span)
        self.arena.thawed(lambda: self.send(name, "CONT", whole=True), name)

    def do_machine(self, name, span):
        with self.arena.world.trouble(name[0]):
            self.rig.run("pause", name[0])
            time.sleep(span)
            self.arena.thawed(lambda: self.rig.run("resume", name[0]), name[0])

    def do_cut(self, name, span):
        with self.arena.world.trouble():
            self.rig.run("cut", name[0])
            time.sleep(span)
            self.rig.run("join", name[0])

    def do_server(self, _name, span):
        with self.arena.world.trouble():
            self.rig.run("pause", "server")
            time.sleep(span)
            self.rig.run("resume", "server")

    def do_full(self, _name, span):
        with self.arena.world.trouble():
            self.rig.run("fill")
            time.sleep(span)
            self.rig.run("free")

    def do_read_only(self, _name, span):
        with self.arena.world.trouble():
            self.rig.run("readonly")
            time.sleep(span)
            self.rig.run("writable")

    def replace_directory(self):
        """An admin renames the lock directory under a leader, on the host that it is not on."""
        host = "b" if self.last_line()[3] == "a" else "a"
        aside = self.path.replace("/x", "/aside")
        # A candidate may be quicker than the last part.
        make = f"mkdir -m 700 {self.path} || test -d {self.path}"
        said = self.rig.sh(host, f"date +%s%N; mv {self.path} {aside} && {{ {make}; }}")
        # When it was done, not when it was asked for: that may take its time on a busy machine.
        at = int(said.split()[0]) / 1e9
        self.replaced = at - (self.rig.clocks[host].offset(at) if host in self.rig.clocks else 0.0)
        self.wait_for_leader(self.replaced + 2 * LEASE)


class Arena:
    """All locks, the faults that are still to come, and what came of those before."""

    def __init__(self, rig, wanted):
        self.rig, self.left, self.total = rig, wanted.faults, wanted.faults
        self.options, self.at_once = wanted.candidates, wanted.at_once
        self.until = time.time() + 60 * wanted.minutes
        bound = wanted.bound
        self.moment = LONGER_MOMENT if bound else MOMENT
        self.bound = bound or BOUND.get(rig.base, SHORTER_BOUND)
        self.world, self.guard, self.failure = World(), threading.Lock(), None
        self.kinds = ["kill", "stop", "freeze", "kill", "stop"]
        if rig.base not in ("ext4", "tmpfs"):
            self.kinds += ["cut", "server"]
        if rig.is_vms:
            self.kinds += ["machine", "full", "read-only"]
        self.thaws, self.counts, self.gaps = [], {}, {}
        self.history, self.starved = [], Starved()
        self.lanes = [Lane(self, number, wanted.seed) for number in range(wanted.lanes)]
        self.shells, self.ledgers, self.ended = [], [], threading.Event()

    def start(self):
        candidate = CANDIDATE.replace("LEASE", f"{LEASE:g}").replace("OPTIONS", self.options)
        for host in "ab":
            self.rig.on(host, f"rm -rf {self.rig.state}; mkdir -p {self.rig.state}; "
                              f"mkfifo {self.rig.state}/never")
            self.rig.write_file(host, "writer", WRITER)
            self.rig.write_file(host, "candidate", candidate)
            self.ledgers.append(Ledger(self.rig, host, lane_of))
        for lane in self.lanes:
            for name in lane.names:
                command = f"exec sh {self.rig.state}/candidate {name} {lane.path}"
                self.shells.append(self.rig.start(name[0], command, stdout=subprocess.DEVNULL))

    def stop(self):
        self.ended.set()
        for host in "ab":
            self.rig.on(host, f"touch {self.rig.state}/stop; for pid in {self.rig.state}/*.pid; do "
                              "kill -TERM $(cat $pid) 2>/dev/null; done; true")
        end = time.time() + 60
        for shell in self.shells:
            try:
                shell.wait(max(end - time.time(), 0.1))
            except subprocess.TimeoutExpired:
                shell.terminate()
        for ledger in self.ledgers:
            ledger.stop()
        self.starved.stop()

    def around(self, at, name):
        """What may explain a late line of this candidate: what was done to it, and starvation."""
        begin, end = at - 30, at + 5
        done = [f"{kind} {who} {began - at:+.2f} to {ended - at:+.2f} s"
                for began, ended, kind, who in sorted(self.history)
                if ended >= begin and began <= end
                and (who == name.split(".")[0] or kind in WORLDLY)]
        return (f"faults in seconds from then: {'; '.join(done) or 'none'}. This host ran nothing "
                f"for {self.starved.longest(begin, end):.2f} s at most in that time.")

    def thawed(self, thaw, who):
        """Remembers when this candidate, or all of this host, may have begun to move again."""
        before = time.time()
        thaw()
        with self.guard:
            self.thaws.append((who, before, time.time() + self.moment))

    def count(self, kind, name, gap):
        with self.guard:
            self.counts[kind] = self.counts.get(kind, 0) + 1
            self.gaps.setdefault(kind, []).append(max(gap, 0.0))
            done = sum(self.counts.values())
            print(f"{done}/{self.total} {kind} {name}, leads again after {gap:.1f} s",
                  file=sys.stderr, flush=True)

    def harm(self):
        """All faults, each lock's beside those of the others; then replaced directories."""
        began = time.time()
        for lane in self.lanes:
            lane.wait_for_leader(began)
        self.each(self.harm_lane)
        # A leader that survived the last fault of another lock.
        self.each(lambda lane: lane.wait_for_leader(time.time()))
        self.each(Lane.replace_directory)
        time.sleep(LEASE)

    def harm_lane(self, lane):
        while number := self.take():
            lane.faults(number)

    def take(self):
        """How many faults this lane is to do next; 0: none any more."""
        with self.guard:
            if self.failure or self.ended.is_set() or time.time() > self.until:
                return 0
            number = min(self.at_once, self.left)
            self.left -= number
            return number

    def each(self, what):
        """On all locks at once; the first failure ends the others."""
        def run(lane):
            try:
                what(lane)
            except TROUBLE as failure:
                self.failure = self.failure or failure

        beside_each_other([lambda lane=lane: run(lane) for lane in self.lanes])
        if self.failure:
            raise Failed(str(self.failure))


def beside_each_other(calls):
    """All of them at once, until the last has returned; the first of their failures is raised."""
    failures = []

    def run(call):
        try:
            call()
        except TROUBLE as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def lane_of(name):
    """The number of the lock that this candidate is one of."""
    return (int(name.split(".")[0][1:]) - 1) // CANDIDATES
