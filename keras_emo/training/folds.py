"""Several runs of one configuration: over seeds, and over the actor folds of RAVDESS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras

from keras_emo.data.corpus import Corpus
from keras_emo.data.splits import RAVDESS_FOLDS
from keras_emo.errors import Reason, UsageError
from keras_emo.training.config import PRETRAIN, TrainConfig
from keras_emo.training.data import prepare, split_corpus
from keras_emo.training.distributed import Replicas
from keras_emo.training.run import MODEL_FILE, Run, open_run, summarize
from keras_emo.training.workers import Workers, train_run


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


@dataclass(frozen=True)
class Recipe:
    """What all runs have in common.

    jobs: processes that prepare clips. start: see open_run. workers: on which runs are trained;
    replicas: where they are trained in this process.
    """

    config: TrainConfig
    corpus: Corpus
    cache: Path
    jobs: int = 0
    start: Mapping[str, str] = field(default_factory=dict)
    replicas: Replicas | None = None
    workers: Workers | None = None

    def open(self, folder: Path, config: TrainConfig, fold: int | None) -> Run:
        """A run folder with the split of the config's seed; its clips are prepared."""
        split = split_corpus(self.corpus, config, fold)
        prepared = prepare(self.corpus, split, config.clip, self.cache, self.jobs)
        return open_run(folder, config, prepared, self.start, self.replicas)


def train_runs(plans: Iterable[Plan], recipe: Recipe, init_from: Path | None = None) -> None:
    """Train what is not finished of each plan, one after the other.

    The seed decides the validation speakers too, so several seeds of one test split were trained
    on different speakers.
    """
    for plan in plans:
        run = recipe.open(plan.folder, replace(recipe.config, seed=plan.seed), plan.fold)
        split = run.prepared.split
        print(f"{plan.folder}: test {', '.join(split.test) or 'none'}; "
              f"validation {', '.join(split.val) or 'none'}", flush=True)  # fmt: skip
        train_run(run, recipe.workers, init_from)
        summarize(plan.folder)
        keras.backend.clear_session()


def pretrain_once(root: Path, recipe: Recipe, pictures: Path) -> Path:
    """Train the face network on single pictures, for all runs below root; returns the weights.

    No clip of the corpus is used, so the same weights serve every fold.
    """
    config = replace(recipe.config, stages=(PRETRAIN, recipe.config.visual))
    run = recipe.open(root / PRETRAIN, config, None)
    train_run(run, recipe.workers, pretrain_data=pictures, stages=(PRETRAIN,))
    keras.backend.clear_session()
    return run.folder / PRETRAIN / MODEL_FILE
