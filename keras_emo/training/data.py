"""Corpus to prepared clips of each part of the split."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from keras_emo.data.augment import WaveSpec
from keras_emo.data.cache import (
    CacheReport,
    build_cache,
    build_variants,
    load_clip,
)
from keras_emo.data.clips import (
    Clips,
    find_clips,
    load_clips,
    load_variants,
    open_clips,
    open_variants,
)
from keras_emo.data.corpora import read_corpus
from keras_emo.data.corpus import Corpus
from keras_emo.data.packing import pack_clips, pack_voices, settle_clips, settle_voices
from keras_emo.data.samples import Sample
from keras_emo.data.shards import Shards, open_shards
from keras_emo.data.splits import Split, fold_split, make_split, select
from keras_emo.data.stored import ClipReader, StoredClip
from keras_emo.demo_corpus import BuiltinSpec, build_corpus
from keras_emo.errors import ClipError, Reason, UsageError
from keras_emo.features.clip import ClipInputs
from keras_emo.io import write_json
from keras_emo.progress import Progress
from keras_emo.spec import ClipSpec
from keras_emo.training.config import TrainConfig


@dataclass(frozen=True)
class Storage:
    """Where prepared clips are kept: a file each below cache, and in shards where given.

    drop: delete a clip's file once its shard is whole. trust: compare no sha256 of shards.
    """

    cache: Path
    shards: Path | None = None
    drop: bool = False
    trust: bool = False


@dataclass
class Prepared:
    """A corpus, its split and its cache; with shards, clips are read from there."""

    corpus: Corpus
    split: Split
    cache: CacheReport
    spec: ClipSpec
    root: Path
    workers: int
    storage: Storage | None = None
    shards: Shards | None = None
    voices: Shards | None = None

    @contextmanager
    def naming_reads(self) -> Iterator[None]:
        """A shard that went bad while it was read is the error, not what tf.data makes of it."""
        try:
            yield
        except Exception as e:
            for shards in (self.shards, self.voices):
                if shards is not None and shards.failure is not None:
                    raise shards.failure from e
            raise

    def samples(self, part: str) -> list[Sample]:
        return select(self.corpus.samples, self.split, part)

    def clips(self, part: str) -> list[tuple[Sample, ClipInputs | None]]:
        """Takes of a part with what was prepared of them; None for those that failed.

        Those in shards are read when they are looked at.
        """
        samples, files = self.samples(part), self.cache.files
        if self.shards is None:
            return [
                (t, load_clip(files[t.sample_id]) if t.sample_id in files else None)
                for t in samples
            ]
        known, numbers = find_clips(samples, files, self.shards)
        reader = ClipReader(self.shards)
        stored = {t.sample_id: StoredClip(reader, i) for t, i in zip(known, numbers, strict=True)}
        return [(t, stored.get(t.sample_id)) for t in samples]

    def load(self, sample: Sample) -> ClipInputs:
        """What was prepared of one take that did not fail."""
        if self.shards is None:
            return load_clip(self.cache.files[sample.sample_id])
        _, (number,) = find_clips([sample], self.cache.files, self.shards)
        return StoredClip(ClipReader(self.shards), number)

    def training_clips(self) -> Clips:
        """All training clips, in memory unless they are in shards."""
        samples, files, spec = self.samples("train"), self.cache.files, self.spec
        if self.shards is not None:
            return open_clips(samples, files, self.shards)
        return load_clips(samples, files, spec.audio.shape, spec.face.shape)

    def augment_voices(self, clips: Clips, waves: WaveSpec) -> None:
        """Add altered versions of the sound to training clips, made on first use."""
        heard = [t for t, has in zip(clips.samples, clips.has_voice, strict=True) if has]
        storage = self.storage or Storage(self.root)
        packed: Container[str] = ()
        if storage.shards is not None:
            packed = open_shards(settle_voices(storage.shards, self.spec, waves), verify=False)
        with Progress("altered voices", "clips", lines=True) as progress:
            report = build_variants(
                heard, self.spec, waves, self.root, self.workers, progress, packed
            )
        for failure in report.failures:
            print(f"warning: {failure}", file=sys.stderr)
        if storage.shards is None:
            clips.variants = load_variants(clips, report.files, waves.n_variants)
            return
        with Progress("packed voices", "clips", lines=True) as progress:
            folder = pack_voices(
                report.files.values(), self.spec, waves, storage.shards, 1, progress, storage.drop
            )
        self.voices = open_shards(folder, verify=not storage.trust)
        clips.variants = open_variants(clips, report.files, waves.n_variants, self.voices)


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
    corpus: Corpus, split: Split, spec: ClipSpec, storage: Path | Storage, workers: int = 0
) -> Prepared:
    """Prepare every clip of the split; failures are printed and left out.

    storage: the cache, or more, see Storage. Raises UsageError where no clip of a part could be
    prepared, ClipError for a damaged shard.
    """
    if isinstance(storage, Path):
        storage = Storage(storage)
    samples = [t for part in ("train", "val", "test") for t in select(corpus.samples, split, part)]
    packed: Container[str] = ()
    if storage.shards is not None:
        packed = open_shards(settle_clips(storage.shards, spec), verify=False)
    with Progress("prepared clips", "clips", lines=True) as progress:
        report = build_cache(samples, spec, storage.cache, workers, progress, packed)
    for failure in report.failures:
        print(f"failed: {failure}", file=sys.stderr)
    prepared = Prepared(corpus, split, report, spec, storage.cache, workers, storage)
    for part in [p for p in ("train", "val") if getattr(split, p)]:
        if not any(t.sample_id in report.files for t in prepared.samples(part)):
            cause = f"none of its {len(prepared.samples(part))} {part} clips could be prepared"
            raise UsageError(corpus.name, Reason.NO_CLIPS, cause)
    if storage.shards is not None:
        with Progress("packed clips", "clips", lines=True) as progress:
            folder = pack_clips(
                report.files.values(), spec, storage.shards, 1, progress, storage.drop
            )
        prepared.shards = open_shards(folder, verify=not storage.trust)
    return prepared


def write_failures(failures: list[ClipError], path: Path) -> None:
    """List clips that could not be prepared, as JSON."""
    rows = [{"path": f.path, "reason": str(f.reason), "cause": f.cause} for f in failures]
    write_json(path, rows)
