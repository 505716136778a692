import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_emo.data import cache
from keras_emo.data.augment import WaveSpec
from keras_emo.data.cache import (
    DIGESTS,
    Digests,
    build_cache,
    build_variants,
    digest_file,
    load_clip,
)
from keras_emo.data.corpus import Sample
from keras_emo.errors import ClipError, EnvironmentFailure, Reason
from keras_emo.features.clip import prepare_clip
from keras_emo.io import write_text
from keras_emo.media.reader import ClipSource
from keras_emo.spec import ClipSpec, FaceSpec

SPEC = ClipSpec(face=FaceSpec(size_px=32))


def sample_of(name: str, **source: Path) -> Sample:
    return Sample(f"builtin/{name}", "builtin", "builtin/01", "male", "happy", ClipSource(**source))


@pytest.fixture(scope="module")
def samples(make, tmp_path_factory) -> list[Sample]:
    """Half a second each: a clip, its picture alone, and sound alone."""
    folder = tmp_path_factory.mktemp("cache")
    frames, sound = make.grey_frames(15), make.sine(0.5)
    return [
        sample_of("whole", video=make.video(folder / "whole.mp4", frames, sound=sound)),
        sample_of("mute", video=make.video(folder / "mute.mp4", frames)),
        sample_of("voice", audio=make.wav(folder / "voice.wav", sound)),
    ]


def results(root: Path) -> list[Path]:
    return sorted(root.rglob("*.npz"))


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files that are read, in order."""
    seen: list[str] = []

    def read(path):
        seen.append(path.name)
        return digest_file(path)

    monkeypatch.setattr(cache, "digest_file", read)
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)  # files of a test are young
    return seen


def test_files_hold_what_prepare_clip_gives(samples, box, tmp_path):
    report = build_cache(samples, SPEC, tmp_path, workers=1)
    assert (report.computed, report.failures) == (3, [])
    assert set(report.files) == {t.sample_id for t in samples}
    for sample in samples:
        stored = load_clip(report.files[sample.sample_id])
        fresh = prepare_clip(sample.source, SPEC, box())
        for name in ("face", "face_found", "times_s", "boxes", "mfcc"):
            np.testing.assert_array_equal(getattr(stored, name), getattr(fresh, name))
        assert (stored.states, stored.warnings) == (fresh.states, fresh.warnings)
        assert stored.duration_s == fresh.duration_s
        assert stored.frames_examined == fresh.frames_examined
    assert load_clip(report.files["builtin/voice"]).states == (Reason.NO_VIDEO,)


def test_second_run_computes_and_reads_nothing(samples, box, tmp_path, monkeypatch, reads):
    first = build_cache(samples, SPEC, tmp_path, workers=1)
    stamps = [p.stat().st_mtime_ns for p in results(tmp_path)]
    monkeypatch.setattr(cache, "prepare_clip", lambda *_: pytest.fail("computed again"))
    again = build_cache(samples, SPEC, tmp_path, workers=1)
    assert (again.computed, again.files) == (0, first.files)
    assert [p.stat().st_mtime_ns for p in results(tmp_path)] == stamps
    assert reads == ["whole.mp4", "mute.mp4", "voice.wav"]  # once each


def test_worker_processes_and_progress(samples, tmp_path):
    """With the real detector, which finds no face in grey: the mute clip fails."""
    seen = []
    report = build_cache(samples, SPEC, tmp_path, workers=2, progress=lambda *n: seen.append(n))
    assert set(report.files) == {"builtin/whole", "builtin/voice"}
    assert [e.reason for e in report.failures] == [Reason.NO_MODALITY]
    assert load_clip(report.files["builtin/whole"]).states == (Reason.NO_FACE,)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert len(results(tmp_path)) == report.computed == 2
    assert build_cache(samples[::2], SPEC, tmp_path, workers=2).computed == 0


def test_failing_clips_do_not_stop_the_others(samples, box, tmp_path):
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(samples[0].source.path.read_bytes()[:2000])
    bad = [sample_of("gone", video=tmp_path / "gone.mp4"), sample_of("damaged", video=damaged)]
    report = build_cache(
        [bad[0], samples[0], bad[1], samples[2]], SPEC, tmp_path / "root", workers=1
    )
    assert set(report.files) == {"builtin/whole", "builtin/voice"}
    failed = {Path(e.path).name: e.reason for e in report.failures}
    assert failed == {"gone.mp4": Reason.NOT_FOUND, "damaged.mp4": Reason.TRUNCATED_CONTAINER}
    assert all(isinstance(e, ClipError) for e in report.failures)


def test_other_settings_use_another_folder(samples, box, tmp_path, monkeypatch):
    def file_of(spec):
        return build_cache(samples[:1], spec, tmp_path, workers=1).files["builtin/whole"]

    first = file_of(SPEC)
    other = file_of(replace(SPEC, face=FaceSpec(size_px=48)))
    assert (first.name, first.parent != other.parent) == (other.name, True)
    assert load_clip(first).face.shape[1] == 32
    assert load_clip(other).face.shape[1] == 48
    monkeypatch.setattr(box, "weights_digest", staticmethod(lambda folder=None: "other"))
    assert file_of(SPEC).parent not in (first.parent, other.parent)
    folders = [p for p in tmp_path.iterdir() if p != tmp_path / DIGESTS]
    assert len({(p / "spec.json").read_text() for p in folders}) == 3


def test_key_is_content_and_role(samples, box, tmp_path):
    """A copy under another name is the same clip; one file as picture or as sound is not."""
    path = samples[0].source.path
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(path.read_bytes())
    root = tmp_path / "root"
    first = build_cache([sample_of("a", video=path)], SPEC, root, workers=1)
    again = build_cache([sample_of("b", video=copy)], SPEC, root, workers=1)
    assert (again.computed, again.files["builtin/b"]) == (0, first.files["builtin/a"])
    sound = build_cache([sample_of("c", audio=path)], SPEC, root, workers=1)
    assert load_clip(sound.files["builtin/c"]).modalities == ("voice",)


@pytest.mark.parametrize("left", [0, 5000, -30])
def test_cut_file_is_computed_again(left, samples, box, tmp_path):
    path = build_cache(samples[:1], SPEC, tmp_path, workers=1).files["builtin/whole"]
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    report = build_cache(samples[:1], SPEC, tmp_path, workers=1)
    assert (report.computed, report.files["builtin/whole"]) == (1, path)
    assert path.read_bytes() == whole


def test_root_that_cannot_be_written_is_named(samples, box, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(EnvironmentFailure) as caught:
            build_cache(samples[:1], SPEC, root, workers=1)
        assert (caught.value.reason, caught.value.path) == (Reason.WRITE_FAILED, str(root))


def test_full_disk_stops_the_build(samples, box, tmp_path, monkeypatch):
    def savez(file, **arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(np, "savez", savez)
    with pytest.raises(EnvironmentFailure, match="No space left"):
        build_cache(samples, SPEC, tmp_path, workers=1)
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p != tmp_path / DIGESTS]
    assert [p.name for p in left] == ["spec.json"]


def test_variants_of_the_sound(samples, tmp_path):
    pytest.importorskip("librosa")
    waves = WaveSpec(n_variants=2)
    report = build_variants(samples, SPEC, waves, tmp_path, workers=1)
    assert set(report.files) == {"builtin/whole", "builtin/voice"}
    assert [e.reason for e in report.failures] == [Reason.NO_AUDIO]
    with np.load(report.files["builtin/voice"]) as data:
        assert data["mfcc"].shape == (2, *SPEC.audio.shape)
    assert build_variants(samples[::2], SPEC, waves, tmp_path, workers=1).computed == 0
    other = build_variants(samples[2:], SPEC, replace(waves, seed=1), tmp_path, workers=1)
    assert other.computed == 1


def ask(folder, *paths) -> list[str]:
    """As one start of a program does."""
    known = Digests(folder)
    found = [known(p) for p in paths]
    known.save()
    return found


def test_files_are_read_once(tmp_path, reads):
    paths = [tmp_path / "a.mp4", tmp_path / os.fsdecode(b"b\xff.mp4")]
    for path in paths:
        path.write_bytes(os.fsencode(path.name))
    first = ask(tmp_path, *paths)
    assert first == [digest_file(p) for p in paths]
    assert ask(tmp_path, *paths) == first
    assert reads == [p.name for p in paths]


def write_with_old_times(path: Path) -> None:
    """As some copying tools do; the time of the record can't be set."""
    before = path.stat()
    path.write_bytes(b"new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    "change",
    [lambda path: path.write_bytes(b"new"), lambda path: path.write_bytes(b"longer than it was"),
     write_with_old_times, lambda path: write_text(path, "new")],
)  # fmt: skip
def test_a_file_that_changed_is_read_again(tmp_path, reads, change):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    ask(tmp_path, path)
    change(path)
    assert ask(tmp_path, path) == [digest_file(path)]
    assert reads == ["a.mp4"] * 2


def test_a_young_file_is_not_trusted(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED_S", 60.0)
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a")
    ask(tmp_path, path)
    ask(tmp_path, path)
    assert reads == ["a.mp4"] * 2
    assert not (tmp_path / DIGESTS).exists()


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path, reads, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def read(path):
        content = digest_file(path)
        path.write_bytes(b"longer")
        return content

    monkeypatch.setattr(cache, "digest_file", read)
    ask(tmp_path, path)
    assert not (tmp_path / DIGESTS).exists()


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"x":1}', '{"format": 9, "files": {}}', '{"format": 1, "files": 3}', "[" * 100_000,
     '{"format": 1, "files": {"NAME": 3}}', '{"format": 1, "files": {"NAME": [1, 2, 3, 4, 5]}}'],
)  # fmt: skip
def test_what_is_known_may_be_damaged(tmp_path, reads, text):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a")
    (tmp_path / DIGESTS).write_text(text.replace("NAME", str(path)))
    for _ in range(2):
        assert ask(tmp_path, path) == [digest_file(path)]
    assert reads == ["a.mp4"]


def test_what_others_kept_meanwhile_stays(tmp_path, reads):
    paths = [tmp_path / name for name in ("a.mp4", "b.mp4")]
    for path in paths:
        path.write_bytes(b"x")
    both = [Digests(tmp_path) for _ in paths]
    for known, path in zip(both, paths, strict=True):
        known(path)
    for known in both:
        known.save()
    ask(tmp_path, *paths)
    assert reads == ["a.mp4", "b.mp4"]
