"""From a corpus to the prepared clips of a split."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from keras_emo.data.augment import WaveSpec
from keras_emo.data.cache import CacheReport, build_cache, build_variants, load_clip
from keras_emo.data.clips import Clips, StoredClip, open_clip, open_clips, open_variants
from keras_emo.data.corpora import read_corpus
from keras_emo.data.corpus import Corpus, Sample
from keras_emo.data.splits import Split, fold_split, make_split, select
from keras_emo.demo_corpus import BuiltinSpec, build_corpus
from keras_emo.errors import Reason, UsageError
from keras_emo.features.clip import ClipInputs
from keras_emo.progress import Progress
from keras_emo.spec import ClipSpec
from keras_emo.training.config import TrainConfig


@dataclass
class Prepared:
    """A corpus, its split and its prepared clips."""

    corpus: Corpus
    split: Split
    cache: CacheReport
    spec: ClipSpec
    root: Path
    workers: int

    def samples(self, split: str) -> list[Sample]:
        return select(self.corpus.samples, self.split, split)

    def clips(self, split: str) -> list[tuple[Sample, StoredClip | None]]:
        """Samples of a split with their prepared clips; None for those that failed."""
        files = self.cache.files
        return [
            (s, open_clip(files[s.sample_id], self.spec) if s.sample_id in files else None)
            for s in self.samples(split)
        ]

    def load(self, sample: Sample) -> ClipInputs:
        """What was prepared of one sample that did not fail."""
        return load_clip(self.cache.files[sample.sample_id])

    def training_clips(self) -> Clips:
        """All training clips, read from the cache when they are used."""
        with Progress("checked clips", "clips") as progress:
            return open_clips(self.samples("train"), self.cache.files, self.spec, progress)

    def augment_voices(self, clips: Clips, waves: WaveSpec) -> None:
        """Add augmented versions of the sound to training clips, made on first use."""
        usable = [s for s, has in zip(clips.samples, clips.has_voice, strict=True) if has]
        with Progress("augmented voices", "clips", lines=True) as progress:
            report = build_variants(usable, self.spec, waves, self.root, self.workers, progress)
        for failure in report.failures:
            print(f"warning: {failure}", file=sys.stderr)
        open_variants(clips, report.files, waves.n_variants)


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
        return make_split(corpus.samples, config.test, config.val, config.seed)
    return fold_split(corpus.samples, fold, config.seed, config.val)


def prepare(
    corpus: Corpus, split: Split, spec: ClipSpec, cache: Path, workers: int = 0
) -> Prepared:
    """Prepare every clip of the split; failures are printed and left out.

    Raises UsageError where no training or no validation clip could be prepared.
    """
    samples = [t for part in ("train", "val", "test") for t in select(corpus.samples, split, part)]
    with Progress("prepared clips", "clips", lines=True) as progress:
        report = build_cache(samples, spec, cache, workers, progress)
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    prepared = Prepared(corpus, split, report, spec, cache, workers)
    for part in [p for p in ("train", "val") if getattr(split, p)]:
        if not any(t.sample_id in report.files for t in prepared.samples(part)):
            cause = f"none of its {len(prepared.samples(part))} {part} clips could be prepared"
            raise UsageError(corpus.name, Reason.NO_CLIPS, cause)
    return prepared
