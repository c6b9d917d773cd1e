#!/bin/bash
# One task of leader.sbatch: a candidate for handing out work, and a worker beside that.
set -u
directory=$1 pieces=$2

# `--repeat`: who has lost the lead, or finished, stays a candidate until told to end.
elect run --repeat --lock "$directory/lock" --lease-duration "${LEASE:-15s}" --kill-after 2s \
    -- "$(dirname "$0")/hand-out.sh" "$directory" "$pieces" &
candidate=$!
trap 'kill -TERM "$candidate" 2>/dev/null; wait "$candidate"; exit 143' TERM

while [ "$(ls "$directory/done" | wc -l)" -lt "$pieces" ]; do
    for piece in "$directory"/todo/*; do
        name=${piece##*/}
        # Renaming is atomic: one worker gets the piece.
        mv "$piece" "$directory/taken/$name.$SLURM_PROCID" 2>/dev/null || continue
        sleep "${PIECE_SECONDS:-0.1}" # the work itself
        echo "$SLURM_PROCID" >"$directory/taken/$name.$SLURM_PROCID"
        mv "$directory/taken/$name.$SLURM_PROCID" "$directory/done/$name"
    done
    sleep 0.2 &
    wait $! # a signal ends this wait, not a sleep in the foreground
done
kill -TERM "$candidate" 2>/dev/null
wait "$candidate"
exit 0
