"""What the led work has written, and whether it can have been led by one at a time.

A line is (token, seconds, name, host): who acted under which fencing token, and when by this host's
clock. This file must not know how a rig works.
"""


class Failed(Exception):
    """The acceptance failed."""


class Late(Failed):
    """Somebody acted when another had begun."""

    def __init__(self, text, at, name):
        super().__init__(text)
        self.at, self.name = at, name


def judge(lines, thaws=(), error=0.0):
    """Checks the lines of one lock directory; what was counted, or Failed.

    `thaws` are (who, from, to): whoever was frozen as a whole may go on for that moment, until its
    guard has killed it. `error` is how far two hosts' times may be apart.
    """
    first, holder, stale, count, highest = {}, {}, 0, 0, 0
    for token, at, name, _host in sorted(lines, key=lambda line: line[1]):
        count += 1
        if token < highest:
            later = [other for other in first if other > token]
            if at > min(first[other] for other in later) + error:
                if not any(is_of(name, who) and a <= at <= b for who, a, b in thaws):
                    raise Late(f"{name} with token {token} acts at {at:.3f}, when {later[:5]} "
                               "has acted", at, name)
                stale += 1
                continue
        first.setdefault(token, at)
        highest = max(highest, token)
        if holder.setdefault(token, name) != name:
            raise Failed(f"token {token} is of {holder[token]} and of {name}")
    if not first:
        raise Failed("nobody has led")
    return {"terms": len(first), "lines": count, "stale": stale,
            "lowest": min(first), "highest": highest}


def is_of(name, who):
    """Whether `who` is this candidate, or its host."""
    return who in (name[0], name.split(".")[0])


def check_the_judge():
    """The judge itself, on ledgers that must be refused, and on one that must not."""
    def refuses(lines, thaws=(), error=0.0):
        try:
            judge([(token, at, name, "a") for token, at, name in lines], thaws, error)
        except Failed:
            return True
        return False

    overlap = [(1, 0.0, "a1.1"), (2, 1.0, "b1.1"), (1, 1.2, "a1.1")]
    assert refuses(overlap) and refuses([(1, 0.0, "a1.1"), (1, 0.1, "b1.1")])
    assert refuses([(2, 0.0, "a1.1"), (1, 0.1, "b1.1")]) and refuses([])
    assert not refuses(overlap, error=0.3) and not refuses(overlap[:2])
    assert not refuses(overlap, [("a1", 1.1, 1.3)]) and not refuses(overlap, [("a", 1.1, 1.3)])
    assert refuses(overlap, [("b1", 1.1, 1.3)]) and refuses(overlap, [("a1", 1.3, 1.4)])
    assert refuses([(1, 0.0, "a12.1"), *overlap[1:2], (1, 1.2, "a12.1")], [("a1", 1.1, 1.3)])
