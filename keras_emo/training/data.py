"""Corpus to prepared clips of each part of the split."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from keras_emo.core.clip import ClipInputs
from keras_emo.core.errors import ClipError, Reason, UsageError
from keras_emo.core.progress import Progress
from keras_emo.core.spec import ClipSpec
from keras_emo.data.augment import WaveSpec
from keras_emo.data.builtin import BuiltinSpec, build_corpus
from keras_emo.data.cache import (
    CacheReport,
    build_cache,
    build_variants,
    load_clip,
)
from keras_emo.data.corpora import read_corpus
from keras_emo.data.corpus import Corpus
from keras_emo.data.files import write_json
from keras_emo.data.pipeline import Clips, load_clips, load_variants
from keras_emo.data.splits import Split, fold_split, make_split, select
from keras_emo.data.takes import Take
from keras_emo.training.config import TrainConfig


@dataclass
class Prepared:
    """A corpus, its split and its cache."""

    corpus: Corpus
    split: Split
    cache: CacheReport
    spec: ClipSpec
    root: Path
    workers: int

    def takes(self, part: str) -> list[Take]:
        return select(self.corpus.takes, self.split, part)

    def clips(self, part: str) -> list[tuple[Take, ClipInputs | None]]:
        """Takes of a part with what was prepared of them; None for those that failed."""
        return [
            (t, load_clip(self.cache.files[t.take_id]) if t.take_id in self.cache.files else None)
            for t in self.takes(part)
        ]

    def training_clips(self) -> Clips:
        """All training clips in memory."""
        files, spec = self.cache.files, self.spec
        return load_clips(self.takes("train"), files, spec.audio.shape, spec.face.shape)

    def alter_voices(self, clips: Clips, waves: WaveSpec) -> None:
        """Add altered versions of the sound to training clips, made on first use."""
        heard = [t for t, has in zip(clips.takes, clips.has_voice, strict=True) if has]
        with Progress("altered voices", "clips", lines=True) as progress:
            report = build_variants(heard, self.spec, waves, self.root, self.workers, progress)
        for failure in report.failures:
            print(f"warning: {failure}", file=sys.stderr)
        clips.variants = load_variants(clips, report.files, waves.n_variants)


def open_corpus(
    source: str,
    kind: str,
    cache: Path,
    skip_bad: bool,
    workers: int = 0,
    builtin: BuiltinSpec | None = None,
) -> Corpus:
    """Read a corpus folder, or make the built-in one below the cache folder on first use.

    Raises CorpusError with every bad file at once, unless skip_bad, which prints them.
    """
    root = Path(source)
    if source == "builtin":
        root = cache / "builtin"
        with Progress("built-in corpus", "clips", lines=True) as progress:
            build_corpus(root, builtin or BuiltinSpec(), workers, progress)
    with Progress(source) as progress:
        progress.say("reading the corpus")
        corpus = read_corpus(root, kind, skip_bad)
    for problem in corpus.problems:
        print(f"skipped: {problem.path}: {problem.reason}: {problem.cause}", file=sys.stderr)
    for note in corpus.notes:
        print(f"note: {note}", file=sys.stderr)
    return corpus


def split_corpus(corpus: Corpus, config: TrainConfig, fold: int | None) -> Split:
    """The split of one run: a fold's, or the configuration's own."""
    if fold is None:
        return make_split(corpus.takes, config.test, config.val, config.seed)
    return fold_split(corpus.takes, fold, config.seed)


def prepare(
    corpus: Corpus, split: Split, spec: ClipSpec, cache: Path, workers: int = 0
) -> Prepared:
    """Prepare every clip of the split; failures are printed and left out.

    Raises UsageError where no clip of a part could be prepared.
    """
    takes = [t for part in ("train", "val", "test") for t in select(corpus.takes, split, part)]
    with Progress("prepared clips", "clips", lines=True) as progress:
        report = build_cache(takes, spec, cache, workers, progress)
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    prepared = Prepared(corpus, split, report, spec, cache, workers)
    for part in ("train", "val"):
        if not any(t.take_id in report.files for t in prepared.takes(part)):
            cause = f"none of its {len(prepared.takes(part))} {part} clips could be prepared"
            raise UsageError(corpus.name, Reason.NO_CLIPS, cause)
    return prepared


def write_failures(failures: list[ClipError], path: Path) -> None:
    """List clips that could not be prepared, as JSON."""
    rows = [{"path": f.path, "reason": str(f.reason), "cause": f.cause} for f in failures]
    write_json(path, rows)
