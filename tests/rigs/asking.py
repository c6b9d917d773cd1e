"""`elect doctor` on both hosts of a rig at once, and what is expected of it."""
import json
import threading

from judge import Failed

# The kind that it must find, and its exit code.
EXPECTED = {
    "ext4": ("local", 0), "tmpfs": ("memory", 0),
    "nfs3": ("nfs3", 0), "nfs3-nolock": ("nfs3-local-locks", 0), "nfs4": ("nfs4", 0),
    "gluster": ("gluster", 0), "moosefs": ("moosefs", 0), "sshfs": ("sshfs", 1),
}


def ask_doctor(rig):
    """What it says on each host; Failed unless that is what is expected on this kind of rig."""
    answers = {}

    def ask(host):
        answers[host] = rig.run("sh", host, "elect doctor . --peers 1 --json 2>&1", check=False,
                                timeout=400)

    threads = [threading.Thread(target=ask, args=host) for host in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = rig.sh("a", "ls -A")
    if "elect-doctor" in left:
        raise Failed(f"doctor left something behind: {left}")
    return {host: check(rig, host, answers[host]) for host in "ab"}


def check(rig, host, done):
    kind, code = EXPECTED[rig.kind]
    # With mount options of one's own the question is what it says.
    own = rig.environment.get("RIG_NFS_OPTS", "nolock") != "nolock"
    codes = {0, 1} if own else {code}
    if done.returncode not in codes:
        raise Failed(f"doctor on {host}: {done.returncode}, not {code}: {done.stdout}")
    report = json.loads(done.stdout)
    if report["fileSystem"]["kind"] != kind:
        raise Failed(f"doctor on {host}: {report['fileSystem']}, not {kind}")
    return report


def summary(report):
    """In a line."""
    times = ", ".join(f"{name} {latency(report, name)}" for name in ("claim", "renewal"))
    won = sum(race["won"] for race in report["races"].values())
    twice = sum(race["wonTwice"] for race in report["races"].values())
    flock = " and ".join(sorted(set(report["flockElsewhere"]))) or "not tried"
    words = (f"{report['fileSystem']['kind']}, {report['verdict']}, flock between hosts {flock}, "
             f"{times} (median / 99 %), won {won} names, twice {twice}")
    if report["settings"]:
        words += f", lease from {report['settings']['leaseDurationMillis']} ms"
    return "; ".join([words, *report["reasons"]])


def latency(report, name):
    if name not in report["latencies"]:
        return "not measured"
    times = report["latencies"][name]
    return f"{times['medianMicros'] / 1000:.1f} / {times['p99Micros'] / 1000:.1f} ms"
