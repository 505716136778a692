"""Several runs of one configuration: over seeds, and over the actor folds of RAVDESS."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras

from keras_emo.data.corpus import Corpus
from keras_emo.data.splits import RAVDESS_FOLDS
from keras_emo.errors import Reason, UsageError
from keras_emo.training.config import PRETRAIN, TrainConfig
from keras_emo.training.data import prepare, split_corpus
from keras_emo.training.distributed import Crew
from keras_emo.training.pretrain import pretrain_visual
from keras_emo.training.run import METRICS_FILE, MODEL_FILE, open_run
from keras_emo.training.stages import seed_stage, train_stages


@dataclass(frozen=True)
class Plan:
    """One of several runs. fold: None where the configuration names the test speakers."""

    folder: Path
    seed: int
    fold: int | None


def plan_runs(root: Path, seeds: Sequence[int], folds: Sequence[int] | None) -> list[Plan]:
    """Run folders root/fold0/seed0 and so on, or root/seed0; every fold of a seed first."""
    if folds is None:
        return [Plan(root / f"seed{s}", s, None) for s in seeds]
    unknown = sorted(set(folds) - set(range(len(RAVDESS_FOLDS))))
    if unknown:
        raise UsageError("--folds", Reason.BAD_CONFIG, f"no fold {unknown[0]}; they are 0 to 4")
    return [Plan(root / f"fold{f}" / f"seed{s}", s, f) for s in seeds for f in folds]


def train_runs(
    plans: Iterable[Plan],
    config: TrainConfig,
    corpus: Corpus,
    cache: Path,
    workers: int = 0,
    init_from: Path | None = None,
    start: dict[str, Any] | None = None,
    crew: Crew | None = None,
) -> None:
    """Train what is not finished of each plan, one after the other.

    The seed decides the validation speakers too, so several seeds of one test part have learned
    from different people. init_from, start, crew: as for train_stages and open_run.
    """
    crew = crew or Crew()
    for plan in plans:
        seeded = replace(config, seed=plan.seed)
        split = split_corpus(corpus, seeded, plan.fold)
        prepared = crew.team.run_coordinator_first(
            partial(prepare, corpus, split, config.clip, cache, workers)
        )
        print(f"{plan.folder}: test {', '.join(split.test) or 'nobody'}; "
              f"validation {', '.join(split.val) or 'nobody'}", flush=True)  # fmt: skip
        run = open_run(plan.folder, seeded, prepared, start, crew)
        train_stages(run, init_from)
        keras.backend.clear_session()


def pretrain_once(
    root: Path, config: TrainConfig, corpus: Corpus, cache: Path, pictures: Path,
    workers: int = 0, start: dict[str, Any] | None = None, crew: Crew | None = None,
) -> Path:  # fmt: skip
    """Train the face network on single pictures, for all runs below root; returns the weights.

    No clip of the corpus is looked at, so one start serves every fold.
    """
    crew = crew or Crew()
    alone = replace(config, stages=(PRETRAIN, config.visual))
    folder = root / PRETRAIN
    split = split_corpus(corpus, config, None)
    prepared = crew.team.run_coordinator_first(
        lambda: prepare(corpus, split, config.clip, cache, workers)
    )
    run = open_run(folder, alone, prepared, start, crew)
    if not crew.team.run_on_coordinator(lambda: (folder / PRETRAIN / METRICS_FILE).exists()):
        keras.utils.set_random_seed(seed_stage(config.seed, PRETRAIN))
        pretrain_visual(run, pictures, None)
        keras.backend.clear_session()
    return folder / PRETRAIN / MODEL_FILE
