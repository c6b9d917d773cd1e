"""The two hosts of a rig as the acceptance sees them: commands, clocks, what is written there."""
import bisect
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

from judge import Failed

HERE = pathlib.Path(__file__).resolve().parent
RIG, VMCTL = str(HERE / "rig"), str(HERE / "vmctl.py")
# Between two looks at a machine's clock, and how many make one sample: the quickest of them.
CLOCK_PERIOD, CLOCK_LOOKS = 0.5, 8
# A look that took longer says too little: the machine was paused, or starved.
CLOCK_LIMIT = 0.1


class Rig:
    """One rig: its faults, and commands on its hosts."""

    def __init__(self, kind, directory):
        self.kind, self.directory = kind, pathlib.Path(directory).resolve()
        self.base = kind.split("-")[0]
        self.is_vms = self.base.startswith("nfs")
        self.state = "/run/accept" if self.is_vms else str(self.directory / "accept")
        self.clocks = {}
        self.environment = dict(os.environ)
        if kind.endswith("nolock"):
            self.environment["RIG_NFS_OPTS"] = "nolock"

    def run(self, verb, *words, timeout=120, check=True):
        """A verb of `rig`."""
        command = [RIG, verb, self.base, str(self.directory), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                              stdin=subprocess.DEVNULL, env=self.environment)
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def sh(self, host, command, **more):
        """A command on a host, in the share: its output."""
        return self.run("sh", host, command, **more).stdout

    def on(self, host, command):
        """A command on a host that needs no share, and so returns although that hangs."""
        words = ["bash", "-c", command]
        if self.is_vms:
            # As `rig sh` does, without the time that its own start takes.
            words = [sys.executable, VMCTL, str(self.port(host)), "100", "run", command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False,
                              cwd="/", stdin=subprocess.DEVNULL)
        return done.stdout

    def start(self, host, command, **more):
        """A command in the background, for hours if need be."""
        words = [RIG, "sh", self.base, str(self.directory), host, command]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                env={**self.environment, "RIG_TIMEOUT": "100000"}, **more)

    def write_file(self, host, name, text):
        """A file in the host's own state directory."""
        text = text.replace("STATE", self.state)
        self.on(host, f"mkdir -p {self.state}; cat >{self.state}/{name} <<'END'\n{text}END\n")

    def last_words(self):
        """What the candidates have said last."""
        return "".join(f"--- on {host}:\n" + self.on(host, f"tail -n 6 {self.state}/*.log")
                       for host in "ab")

    def watch_clocks(self):
        """From now on; until then, and where the hosts are this one, their time is this host's."""
        if self.is_vms:
            self.clocks = {host: Clock(self.port(host)) for host in "ab"}

    def stop_clocks(self):
        for clock in self.clocks.values():
            clock.stop()

    def port(self, host):
        base = int((self.directory / "state" / "port").read_text(encoding="ascii"))
        return base + 1 + "ab".index(host)

    def error(self):
        """How far the times of the two hosts may be apart, each being off by its own error."""
        return sum(clock.error() for clock in self.clocks.values())

    def parse(self, host, line):
        """A line of the ledger as (token, seconds of this host's clock, name, host), or None."""
        words = line.split()
        if len(words) != 3 or not words[0].isdigit() or not words[1].isdigit():
            return None
        at = int(words[1]) / 1e6
        if host in self.clocks:
            at -= self.clocks[host].offset(at)
        return int(words[0]), at, words[2], host

    def lines(self, host, name="ledger"):
        """The whole ledger of a host."""
        text = self.on(host, f"cat {self.state}/{name} 2>/dev/null || true")
        found = [self.parse(host, line) for line in text.splitlines()]
        return [line for line in found if line]


def until(condition, seconds, what):
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            raise Failed(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.1)


def bring_up(rig, elect):
    """An empty share, and this static binary in both hosts' PATH."""
    rig.run("down")
    rig.run("up", timeout=900)
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(elect, f"{place}/elect")
        rig.run("put", f"{place}/elect")


class Clock(threading.Thread):
    """How far a machine's clock is from this host's, asked twice a second all the time.

    Of some looks the quickest is a sample; half the shortest way there and back is its error. In
    between the offset is a straight line, and what it moves by from one sample to the next is
    counted as error as well: a clock that is set or stops is off by no more.
    """

    def __init__(self, port):
        super().__init__(daemon=True)
        self.samples = []  # (the machine's time, its offset, error)
        words = [sys.executable, VMCTL, str(port), "100000", "time"]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, bufsize=1)
        self.ended = threading.Event()
        self.sample(0.02)
        self.start()

    def run(self):
        while not self.ended.is_set():
            try:
                self.sample(CLOCK_PERIOD)
            except (OSError, ValueError):
                break

    def sample(self, period):
        best = None
        for _ in range(CLOCK_LOOKS):
            before = time.time()
            self.process.stdin.write("\n")
            there = int(self.process.stdout.readline()) / 1e6
            after = time.time()
            if best is None or after - before < 2 * best[2]:
                best = (there, there - (before + after) / 2, (after - before) / 2)
            self.ended.wait(period)
        if best[2] * 2 < CLOCK_LIMIT or not self.samples:
            self.samples.append(best)

    def stop(self):
        self.ended.set()
        self.join(CLOCK_PERIOD * CLOCK_LOOKS)
        self.process.kill()
        self.process.wait()

    def offset(self, at):
        samples = self.samples
        right = bisect.bisect(samples, (at,))
        if right in (0, len(samples)):
            return samples[max(right - 1, 0)][1]
        (x0, y0, _), (x1, y1, _) = samples[right - 1:right + 1]
        return y0 + (y1 - y0) * (at - x0) / (x1 - x0)

    def error(self):
        moved = [abs(b[1] - a[1]) for a, b in zip(self.samples, self.samples[1:])]
        return max(sample[2] for sample in self.samples) + max(moved, default=0.0)


class Starved(threading.Thread):
    """How late this host wakes a thread that sleeps: what a late line may be due to."""

    STEP, LATE = 0.05, 0.1

    def __init__(self):
        super().__init__(daemon=True)
        self.gaps, self.ended = [], threading.Event()
        self.start()

    def run(self):
        last = time.time()
        while not self.ended.wait(self.STEP):
            now = time.time()
            if now - last > self.STEP + self.LATE:
                self.gaps.append((now, now - last - self.STEP))
            last = now

    def stop(self):
        self.ended.set()

    def longest(self, begin=0.0, end=float("inf")):
        """The longest delay that ended in this time; 0 where none was longer than LATE."""
        return max((gap for at, gap in self.gaps if begin <= at <= end), default=0.0)


class Ledger(threading.Thread):
    """Follows the ledger of one host, and knows the last line of each lock."""

    def __init__(self, rig, host, lane_of):
        super().__init__(daemon=True)
        self.rig, self.host, self.lane_of, self.last = rig, host, lane_of, {}
        follow = (f"exec 3<{rig.state}/ledger; while :; do cat <&3; sleep 0.1; done")
        self.process = rig.start(host, f"touch {rig.state}/ledger; {follow}",
                                 stdout=subprocess.PIPE, text=True)
        self.start()

    def run(self):
        for text in self.process.stdout:
            line = self.rig.parse(self.host, text)
            if line:
                self.last[self.lane_of(line[2])] = line

    def stop(self):
        self.process.terminate()
        self.process.wait()
