"""The built-in corpus: names, equal bytes for equal seeds, continuing, and what is inside."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_emo.data.corpora.ravdess import EMOTION_OF
from keras_emo.demo_corpus import SPEAKER_NOTE, BuiltinSpec, build_corpus, list_clips
from keras_emo.demo_corpus.corpus import EMOTION_CODES, render_clip
from keras_emo.errors import EnvironmentFailure, UsageError
from keras_emo.media.reader import read_media

SMALL = BuiltinSpec(
    n_speakers=1, n_statements=1, strong=False, min_duration_s=0.9, max_duration_s=1.1
)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return build_corpus(tmp_path_factory.mktemp("builtin"), SMALL, workers=1)


def stamps(root: Path) -> dict[str, int]:
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in root.rglob("*") if p.is_file()}


def sound_of(code_and_intensity: str, actor: int, statement: int, repetition: int) -> np.ndarray:
    name = f"01-01-{code_and_intensity}-{statement:02d}-{repetition:02d}-{actor:02d}.mp4"
    return render_clip(f"Actor_{actor:02d}/{name}", BuiltinSpec())[1]


def median_pitch_hz(waveform: np.ndarray) -> float:
    """By autocorrelation of the louder 40 ms blocks, 70 to 500 Hz."""
    x = waveform[::6].astype(float)  # 8 kHz
    blocks = x[: len(x) // 320 * 320].reshape(-1, 320)
    loud = blocks[np.std(blocks, axis=1) > 0.4 * np.std(blocks, axis=1).max()]
    spectrum = np.fft.rfft(loud - loud.mean(axis=1, keepdims=True), 1024, axis=1)
    lags = np.fft.irfft(np.abs(spectrum) ** 2, axis=1)[:, 16:115]
    return float(np.median(8000 / (16 + lags.argmax(axis=1))))


def test_default_corpus_has_thirty_clips_for_each_of_eight_speakers():
    """Named by RAVDESS's codes."""
    assert set(EMOTION_CODES) == set(EMOTION_OF)
    clips = list_clips(BuiltinSpec())
    assert len(clips) == len(set(clips)) == 240
    fields = [Path(clip).stem.split("-") for clip in clips]
    assert all([len(f) for f in names] == [2] * 7 and names[:2] == ["01", "01"] for names in fields)
    assert Counter(Path(clip).parent.name for clip in clips) == {
        f"Actor_{actor:02d}": 30 for actor in range(1, 9)
    }
    assert [Path(clip).parent.name for clip in clips] == [f"Actor_{names[6]}" for names in fields]
    emotions = Counter(EMOTION_OF[names[2]] for names in fields)
    assert emotions == dict.fromkeys(emotions, 32) | {"neutral": 48}
    assert not [names for names in fields if names[2:4] == ["01", "02"]]  # no strong neutral


@pytest.mark.parametrize(
    "change", [{"n_speakers": 0}, {"n_statements": 3}, {"seed": -1}, {"min_duration_s": 4.0}]
)
def test_a_spec_out_of_range_is_refused(change):
    with pytest.raises(ValueError, match="out of range"):
        BuiltinSpec(**change)


def test_equal_seeds_give_equal_pictures_and_sound():
    """However many other clips there are."""
    clip, more = list_clips(SMALL)[-1], replace(SMALL, n_speakers=5, n_repetitions=2, strong=True)
    (frames_a, sound_a), (frames_b, sound_b) = (render_clip(clip, s) for s in (SMALL, more))
    assert sound_a.tobytes() == sound_b.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(frames_a, frames_b, strict=True))
    frames_c, sound_c = render_clip(clip, replace(SMALL, seed=1))
    assert sound_c.tobytes() != sound_a.tobytes()
    assert next(frames_c).tobytes() != next(render_clip(clip, SMALL)[0]).tobytes()


def test_worker_processes_write_the_same_files(small, tmp_path):
    seen = []
    build_corpus(tmp_path, SMALL, workers=2, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(i, 8) for i in range(1, 9)]
    for clip in list_clips(SMALL):
        assert (tmp_path / clip).read_bytes() == (small / clip).read_bytes()


def test_the_index_carries_spec_version_and_note(small):
    index = json.loads((small / "corpus.json").read_text())
    assert index["note"] == SPEAKER_NOTE
    assert index["spec"]["seed"] == 0
    assert index["version"] >= 1
    assert stamps(small).keys() == {"corpus.json", *list_clips(SMALL)}


def test_only_a_missing_file_is_written_again(small):
    clip, before, calls = list_clips(SMALL)[5], stamps(small), []
    content = (small / clip).read_bytes()
    (small / clip).unlink()
    for _ in range(2):
        build_corpus(small, SMALL, workers=1, progress=lambda *n: calls.append(n))
    assert calls == [(8, 8)]
    assert (small / clip).read_bytes() == content
    after = stamps(small)
    assert {name for name in after if after[name] != before[name]} == {clip}


def test_a_build_that_stopped_is_continued_and_another_spec_replaces_it(tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(tmp_path, SMALL, workers=1, progress=stop)
    first = stamps(tmp_path)
    (tmp_path / "Actor_01" / ".part-x.mp4").write_bytes(b"cut short")
    build_corpus(tmp_path, SMALL, workers=1)
    second = stamps(tmp_path)
    assert set(second) == {"corpus.json", *list_clips(SMALL)}
    assert sum(first.get(clip) == second[clip] for clip in list_clips(SMALL)) == 3

    with pytest.raises(KeyboardInterrupt):
        build_corpus(tmp_path, replace(SMALL, seed=1), workers=1, progress=stop)
    third = stamps(tmp_path)
    assert len(third) == 3 + 1
    assert not third.items() & second.items()


def test_recordings_of_others_are_left_alone(tmp_path):
    real = tmp_path / list_clips(SMALL)[0]
    real.parent.mkdir()
    real.write_bytes(b"a recording")
    with pytest.raises(UsageError, match="not from the built-in corpus"):
        build_corpus(tmp_path, SMALL, workers=1)
    (tmp_path / "corpus.json").write_text(json.dumps({"clips": [list_clips(SMALL)[0]]}))
    with pytest.raises(UsageError, match="not this generator's index"):
        build_corpus(tmp_path, SMALL, workers=1)
    assert real.read_bytes() == b"a recording"


def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_bytes(b"x")
    with pytest.raises(EnvironmentFailure, match="taken"):
        build_corpus(tmp_path / "taken" / "builtin", SMALL, workers=1)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a file size limit")
def test_a_full_disk_is_reported_and_leaves_no_part(tmp_path):
    code = (
        "import resource, sys; from pathlib import Path;"
        "from keras_emo.demo_corpus import BuiltinSpec, build_corpus;"
        "from keras_emo.errors import EnvironmentFailure;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))\n"
        "try: build_corpus(Path(sys.argv[1]), BuiltinSpec(n_speakers=1), workers=1)\n"
        "except EnvironmentFailure as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "write_failed" in done.stdout
    assert not list(tmp_path.glob("Actor_*/*"))


def test_clips_decode(small):
    for clip in list_clips(SMALL)[::5]:
        media = read_media(small / clip, frame_rate_hz=3.0)
        assert 0.85 < media.duration_s < 1.2
        times_s = [round(f.time_s, 2) for f in media.frames]
        assert times_s == [0.0, 0.33, 0.67, 1.0][: len(times_s)]
        assert len(times_s) >= 3
        for frame in media.frames:
            assert frame.rgb.shape == (360, 640, 3)
            assert 20 < frame.rgb.mean() < 240
            assert frame.rgb.std() > 20
        assert (media.sample_rate_hz, media.damaged_packets) == (48_000, 0)
        assert 0.02 < np.abs(media.waveform).max() <= 1.0


def test_default_durations_and_leading_silence():
    lengths = []
    for clip in list_clips(BuiltinSpec())[::24]:
        sound = render_clip(clip, BuiltinSpec())[1]
        lengths.append(len(sound) / 48_000)
        assert np.abs(sound[: round(0.2 * 48_000)]).max() < 0.1 * np.abs(sound).max()
    assert 2.95 < min(lengths) < max(lengths) < 3.65
    assert np.std(lengths) > 0.05


@pytest.mark.parametrize("actor", [1, 2])
def test_anger_is_higher_and_louder_than_sadness(actor):
    samples = [(s, r) for s in (1, 2) for r in (1, 2, 3)]
    angry, sad = ([sound_of(code, actor, s, r) for s, r in samples] for code in ("05-02", "04-02"))
    pitches = [np.median([median_pitch_hz(x) for x in sounds]) for sounds in (angry, sad)]
    levels = [np.median([x.std() for x in sounds]) for sounds in (angry, sad)]
    assert pitches[0] > 1.1 * pitches[1]
    assert levels[0] > 1.5 * levels[1]
