"""The work of a plan: what is not finished is handed out, and a shard written once it is whole."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from keras_emo.progress import Progress
from keras_emo.scale.answers import ClipAnswer
from keras_emo.scale.plan import Shard
from keras_emo.scale.store import Counts, Store

Answers = Generator[tuple[tuple[Path], ClipAnswer], None, None]
Run = Callable[[Sequence[tuple[Path]]], Answers]  # jobs to (job, answer), in any order


def answer_rest(store: Store, finished: dict[Shard, Counts], run: Run) -> Counts:
    """Answer the clips of all shards but the finished ones; counts of the whole plan.

    A clip that fails is one line on stderr. Whatever stops the work leaves finished shards, and
    says how many there are.
    """
    plan, total = store.plan, Counts()
    for counts in finished.values():
        total.add(counts)
    missing = [s for s in plan.shards if s not in finished]
    owners = {plan.clips[i]: s for s in missing for i in range(s.first, s.last)}
    gathered: dict[Shard, dict[Path, ClipAnswer]] = {}
    n_done = n_before = len(plan.clips) - len(owners)
    if n_before:
        print(f"{n_before} of {len(plan.clips)} clips were done before", file=sys.stderr)
    try:
        with (
            Progress("answered", "clips", lines=True) as progress,
            closing(run([(path,) for path in owners])) as answers,
        ):
            progress(n_done, len(plan.clips))
            for (path,), answer in answers:
                if answer.error is not None:
                    progress.clear()
                    print(f"error: {answer.error}", file=sys.stderr)
                shard = owners[path]
                said = gathered.setdefault(shard, {})
                said[path] = answer
                if len(said) == len(shard):
                    in_order = [said[p] for p in plan.clips[shard.first : shard.last]]
                    total.add(store.write(shard, in_order))
                    del gathered[shard]
                n_done += 1
                progress(n_done, len(plan.clips))
    except BaseException:
        n_shards = sum(1 for s in plan.shards if (store.folder / s.name).exists())
        if n_shards:
            line = f"{n_shards} of {len(plan.shards)} shards are written"
            print(f"{line}; the same command goes on from there", file=sys.stderr)
        raise
    return total
