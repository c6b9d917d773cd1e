#!/bin/bash
# What the leader of leader.sbatch runs: one piece after another, each at most once.
set -u
directory=$1 pieces=$2
echo "$ELECT_FENCING_TOKEN $ELECT_IDENTITY" >>"$directory/leaders"
# The highest that was ever handed out; an earlier leader may have got that far. The places in the
# order in which a piece moves: one that moves meanwhile is seen where it comes from or where it goes.
next=$(for place in todo taken done; do ls "$directory/$place"; done |
    sed -n 's/^\([0-9]\{6\}\).*/\1/p' | sort | tail -n 1)
next=$((10#${next:-0} + 1))
while [ "$next" -le "$pieces" ]; do
    # A leader that was paused here may hand out a piece twice: work that must not be done twice
    # carries the fencing token, and whoever stores its result refuses a lower one.
    : >"$directory/todo/$(printf '%06d' "$next")"
    next=$((next + 1))
    sleep "${HAND_OUT_SECONDS:-0.05}"
done
# Nothing is left to hand out: stay, so that nobody else needs to look.
exec sleep infinity
