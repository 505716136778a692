"""Shards: the very clips that were packed, whatever was killed, damaged or packed twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from keras_emo.data import packing, shard_index, shards
from keras_emo.data.augment import WaveSpec
from keras_emo.data.cache import load_clip
from keras_emo.data.clips import load_clips, load_variants, open_clips, open_variants
from keras_emo.data.packing import pack_clips, pack_voices, plan_shards, write_clip_shard
from keras_emo.data.samples import Sample
from keras_emo.data.shard_files import INDEX
from keras_emo.data.shard_index import JOURNAL, read_index, record_shards, settle_index
from keras_emo.data.shards import open_shards
from keras_emo.data.stored import ClipReader, StoredClip, number_rows
from keras_emo.errors import ClipError, EmoError, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.batch import can_predict, collate_clips
from keras_emo.media.reader import ClipSource
from keras_emo.spec import ClipSpec, FaceSpec

SPEC = ClipSpec(face=FaceSpec(size_px=16))
WAVES = WaveSpec(n_variants=3)
SMALL = 60_000  # bytes a shard: two clips or so


def make_files(folder: Path, n: int, seed: int = 0) -> dict[str, Path]:
    """Prepared files as build_cache writes them; every fifth without a face, or sound."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for i in range(n):
        rng = np.random.default_rng((seed, i))
        n_crops = 0 if i % 5 == 3 else int(rng.integers(1, 6))
        info = {
            "take_id": f"builtin/{i}",
            "duration_s": float(rng.random()),
            "frames_examined": n_crops + 1,
            "states": [str(Reason.NO_FACE)] if not n_crops else [],
            "warnings": ["ein Gesicht fehlt: ä"] * (i % 3),
        }
        arrays = {
            "face_found": rng.random(n_crops) < 0.7,
            "times_s": rng.random(n_crops).astype(np.float32),
            "boxes": rng.random((n_crops, 4)).astype(np.float32),
            "info": np.array(json.dumps(info)),
        }
        if n_crops:
            arrays["face"] = rng.integers(0, 256, (n_crops, *SPEC.face.shape), np.uint8)
        if i % 5 != 4:
            arrays["mfcc"] = rng.random(SPEC.audio.shape, np.float32)
        files[f"builtin/{i}"] = folder / f"{seed:04d}{i:020d}.npz"
        np.savez(files[f"builtin/{i}"], **arrays)
    return files


def make_voices(folder: Path, files: dict[str, Path], n_variants: int) -> dict[str, Path]:
    """Files of build_variants for every other clip that has a voice."""
    folder.mkdir(parents=True, exist_ok=True)
    voices = {}
    for i, (sample_id, path) in enumerate(files.items()):
        if "voice" in load_clip(path).modalities and i % 2 == 0:
            voices[sample_id] = folder / path.name
            shape = (n_variants, *SPEC.audio.shape)
            mfcc = np.random.default_rng(i).random(shape, np.float32)
            np.savez(voices[sample_id], mfcc=mfcc)
    return voices


def takes_of(files: dict[str, Path]) -> list[Sample]:
    emotions = ("happy", "sad", "angry")
    return [
        Sample(name, "builtin", "builtin/01", "male", emotions[i % 3], ClipSource())
        for i, name in enumerate(files)
    ]


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    return make_files(tmp_path / "cache", 23)


@pytest.fixture
def folder(files, tmp_path) -> Path:
    return pack_clips(files.values(), SPEC, tmp_path / "shards", shard_bytes=SMALL)


def shard_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npz"))


def assert_same_clip(one: ClipInputs, other: ClipInputs) -> None:
    for field in fields(ClipInputs):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(b, np.ndarray):
            assert a.dtype == b.dtype, field.name
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b, field.name


def test_every_clip_comes_back_as_load_clip_gives_it(files, folder):
    packed = open_shards(folder)
    assert len(packed) == 23
    assert len(packed.files) > 3  # or it shows little
    reader = ClipReader(packed)
    numbers = packed.find([p.stem for p in files.values()])
    for path, number in zip(files.values(), numbers, strict=True):
        stored, fresh = StoredClip(reader, number), load_clip(path)
        assert stored.modalities == fresh.modalities
        assert_same_clip(stored, fresh)


def test_a_batch_of_stored_clips_feeds_a_network(files, folder):
    packed = open_shards(folder)
    reader = ClipReader(packed)
    stored = [StoredClip(reader, i) for i in packed.find([p.stem for p in files.values()])]
    fresh = [load_clip(p) for p in files.values()]
    for names, frames in ((["face"], "each"), (["face", "face_mask", "mfcc", "mfcc_mask"], "all")):
        usable = [i for i, c in enumerate(fresh) if can_predict(c, names)]
        assert usable == [i for i, c in enumerate(stored) if can_predict(c, names)]
        one = collate_clips([stored[i] for i in usable], names, frames, SPEC)
        other = collate_clips([fresh[i] for i in usable], names, frames, SPEC)
        for name in names:
            np.testing.assert_array_equal(one[name], other[name])


def test_arrays_are_those_in_memory(files, folder, tmp_path):
    samples = takes_of(files)[::-1]  # in another order than they were packed
    memory = load_clips(samples, files, SPEC.audio.shape, SPEC.face.shape)
    disk = open_clips(samples, files, open_shards(folder))
    for name in ("first", "count", "has_voice", "has_face", "labels", "crop_labels"):
        a, b = getattr(disk, name), getattr(memory, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b)
    rng = np.random.default_rng(0)
    for name in ("faces", "mfcc"):
        a, b = getattr(disk, name), getattr(memory, name)
        assert (a.shape, a.dtype, len(a)) == (b.shape, b.dtype, len(b))
        for index in (
            rng.permutation(len(b)),
            rng.integers(0, len(b), (3, 4)),
            np.arange(len(b)) % 2 == 0,
            np.array([], int),
            slice(None),
            slice(2, 11, 3),
            5,
            -1,
        ):
            np.testing.assert_array_equal(a[index], b[index])
        np.testing.assert_array_equal(np.asarray(a), b)
    with pytest.raises(IndexError):
        disk.faces[np.array([len(memory.faces)])]
    with pytest.raises(IndexError):
        disk.mfcc[np.array([0.5])]


def test_altered_voices_are_those_in_memory(files, folder, tmp_path):
    samples = takes_of(files)
    voices = make_voices(tmp_path / "voices", files, WAVES.n_variants)
    memory = load_clips(samples, files, SPEC.audio.shape, SPEC.face.shape)
    expected = load_variants(memory, voices, WAVES.n_variants)
    args = (SPEC, WAVES, tmp_path / "shards")
    packed = open_shards(pack_voices(voices.values(), *args, shard_bytes=2 * SMALL))
    disk = open_clips(samples, files, open_shards(folder))
    stored = open_variants(disk, voices, WAVES.n_variants, packed)
    assert (stored.shape, stored.dtype, len(packed.files) > 2) == (
        expected.shape, expected.dtype, True,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    index, choice = rng.integers(0, 23, 64), rng.integers(0, 3, 64)
    np.testing.assert_array_equal(stored[index, choice], expected[index, choice])
    np.testing.assert_array_equal(stored[index, 1], expected[index, 1])
    with pytest.raises(ClipError, match="not 2 altered versions"):
        open_variants(disk, voices, 2, packed)


def test_numbers_of_an_index_are_numpys():
    whole = np.arange(10)
    for index in (slice(None, None, -2), np.array([-1, 3]), whole > 4, 7, np.uint8(3), []):
        expected = whole[np.array(index, int) if isinstance(index, list) else index]
        np.testing.assert_array_equal(number_rows(index, 10), expected)
    for index in (10, [-11], np.zeros(9, bool), [0.5], "a"):
        with pytest.raises(IndexError):
            number_rows(index, 10)


def test_the_index_says_what_decides_the_content(files, folder):
    index = json.loads((folder / INDEX).read_text())
    assert index["key"]["spec"] == SPEC.to_dict()
    assert len(index["key"]["detector"]) >= 16
    assert (index["format"], index["clips"]) == (1, 23)
    for record in index["shards"]:
        assert (folder / record["file"]).stat().st_size == record["bytes"]
    assert sum(r["bytes"] for r in index["shards"]) == index["bytes"]
    assert max(r["bytes"] for r in index["shards"]) < 1.5 * SMALL


def test_packing_again_writes_nothing(files, folder, tmp_path, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"}
    monkeypatch.setattr(packing, "_write", lambda *_: pytest.fail("written again"))
    again = pack_clips(files.values(), SPEC, tmp_path / "shards", shard_bytes=SMALL)
    assert again == folder
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir() if p.name != ".lock"} == before


def test_new_clips_are_added_and_old_shards_stay(files, folder, tmp_path):
    before = {p: p.read_bytes() for p in shard_files(folder)}
    more = make_files(tmp_path / "cache", 3, seed=1)
    pack_clips([*files.values(), *more.values()], SPEC, tmp_path / "shards", shard_bytes=SMALL)
    packed = open_shards(folder)
    assert len(packed) == 26
    assert {p: p.read_bytes() for p in before} == before
    reader = ClipReader(packed)
    for path in (*files.values(), *more.values()):
        assert_same_clip(reader(packed.find([path.stem])[0]), load_clip(path))


def test_workers_write_the_same_shards(files, folder, tmp_path):
    args = (files.values(), SPEC, tmp_path / "parallel")
    other = pack_clips(*args, workers=2, shard_bytes=SMALL)
    assert [p.name for p in shard_files(other)] == [p.name for p in shard_files(folder)]
    for one, two in zip(shard_files(folder), shard_files(other), strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert len(open_shards(other)) == 23


def test_prepared_files_may_go_once_packed(files, tmp_path):
    clips = {sample_id: load_clip(p) for sample_id, p in files.items()}
    args = (files.values(), SPEC, tmp_path / "shards")
    folder = pack_clips(*args, drop=True, shard_bytes=SMALL)
    assert not any(p.exists() for p in files.values())
    packed = open_shards(folder)
    for sample_id, path in files.items():
        assert path.stem in packed
        assert_same_clip(ClipReader(packed)(packed.find([path.stem])[0]), clips[sample_id])
    assert pack_clips(*args, drop=True, shard_bytes=SMALL) == folder


def test_a_file_that_is_gone_is_named(files, tmp_path):
    gone = list(files.values())[7]
    gone.unlink()
    with pytest.raises(ClipError, match=f"{gone.name}.*not_found.*run again"):
        pack_clips(files.values(), SPEC, tmp_path / "shards")


def test_a_damaged_file_is_not_packed(files, tmp_path):
    bad = list(files.values())[7]
    np.savez(bad, **{**np.load(bad), "boxes": np.zeros((99, 4))})
    with pytest.raises(ClipError, match=f"{bad.name}.*unreadable.*damaged"):
        pack_clips(files.values(), SPEC, tmp_path / "shards", shard_bytes=SMALL)
    folder = next((tmp_path / "shards").iterdir())
    assert 0 < len(open_shards(folder)) <= 7  # what came before it stays


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-1]), "bytes,.*when written.*delete it"),
        (lambda p: p.write_bytes(b""), "0 bytes"),
        (lambda p: flip(p, 0.02), "sha256.*delete it and run again"),
        (lambda p: flip(p, 0.5), "sha256"),
        (lambda p: flip(p, 0.999), "sha256"),
        (lambda p: p.unlink(), "not there"),
        (lambda p: (p.unlink(), p.mkdir()), "bytes"),
    ],
)
def test_a_damaged_shard_is_refused(folder, harm, text):
    for victim in (shard_files(folder)[0], shard_files(folder)[-1]):
        whole = victim.read_bytes()
        harm(victim)
        with pytest.raises(ClipError, match=text) as caught:
            open_shards(folder)
        assert caught.value.path == str(victim)
        assert "\n" not in str(caught.value)
        victim.rmdir() if victim.is_dir() else victim.unlink(missing_ok=True)
        victim.write_bytes(whole)
        assert len(open_shards(folder)) == 23


def test_without_sha256_damage_of_the_directory_is_still_refused(folder):
    flip(shard_files(folder)[0], 0.9999)
    with pytest.raises(ClipError, match="damaged"):
        open_shards(folder, verify=False)


def test_a_shard_that_was_deleted_is_packed_anew(files, folder, tmp_path):
    victim = shard_files(folder)[1]
    whole = victim.read_bytes()
    victim.unlink()
    pack_clips(files.values(), SPEC, tmp_path / "shards", shard_bytes=SMALL)
    assert victim.read_bytes() == whole
    assert len(open_shards(folder)) == 23


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": 9, "shards": []}', '{"format": 1}', '{"format": 1, "shards": 3}',
             '{"format": 1, "shards": [{"file": "../x"}]}']
)  # fmt: skip
def test_a_bad_index_is_refused(folder, text):
    (folder / INDEX).write_text(text)
    with pytest.raises(EmoError, match=INDEX):
        open_shards(folder)


def journal_of(folder: Path) -> bytes:
    """The folder as a kill before the end leaves it: shards in the journal; the index is older."""
    index = json.loads((folder / INDEX).read_text())
    journal = "".join(json.dumps(r) + "\n" for r in index["shards"]).encode()
    (folder / JOURNAL).write_bytes(journal)
    (folder / INDEX).write_text(json.dumps({**index, "shards": [], "clips": 0}))
    return journal


def test_recording_a_shard_rewrites_nothing(files, tmp_path, monkeypatch):
    """The index is written when packing begins and ends, the journal grows by a line a shard."""
    written, seen = [], []
    write = shard_index.write_json
    monkeypatch.setattr(shard_index, "write_json", lambda p, d: (written.append(p), write(p, d)))
    record = packing.record_shards

    def watch(folder, records):
        record(folder, records)
        seen.append((folder / JOURNAL).read_bytes().count(b"\n"))

    monkeypatch.setattr(packing, "record_shards", watch)
    folder = pack_clips(files.values(), SPEC, tmp_path / "shards", shard_bytes=SMALL)
    assert seen == list(range(1, len(shard_files(folder)) + 1))
    assert written == [folder / INDEX] * 2
    assert not (folder / JOURNAL).exists()
    assert len(seen) > 4


def test_shards_of_the_journal_count_and_are_packed_once(files, folder, tmp_path, monkeypatch):
    journal = journal_of(folder)
    assert len(open_shards(folder)) == 23
    torn = journal[:-30]  # the last line was being written
    (folder / JOURNAL).write_bytes(torn)
    records = [json.loads(line) for line in journal.splitlines()]
    assert read_index(folder)["shards"] == records[:-1]
    record_shards(folder, records[-1:])
    assert (folder / JOURNAL).read_bytes() == journal
    monkeypatch.setattr(packing, "_write", lambda *_: pytest.fail("packed again"))
    pack_clips(files.values(), SPEC, tmp_path / "shards", shard_bytes=SMALL)
    assert not (folder / JOURNAL).exists()
    index = json.loads((folder / INDEX).read_text())
    assert (index["shards"], index["clips"]) == (records, 23)


def test_a_kill_between_index_and_journal_does_no_harm(folder):
    journal = journal_of(folder)
    settle_index(folder)
    index = (folder / INDEX).read_bytes()
    (folder / JOURNAL).write_bytes(journal)  # its removal was to come
    assert len(open_shards(folder)) == 23
    settle_index(folder)
    assert (folder / INDEX).read_bytes() == index


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"x": 1}', b"\xff", b'"file"'])
def test_a_bad_journal_is_refused(folder, line):
    journal = journal_of(folder)
    (folder / JOURNAL).write_bytes(line + b"\n" + journal)
    with pytest.raises(ClipError, match=f"{JOURNAL}.*unreadable.*damaged"):
        open_shards(folder)


def test_a_shard_cut_short_while_it_is_read_is_an_error(folder):
    packed = open_shards(folder)
    everything = (packed.shard, packed.row)
    packed.read("mfcc", *everything)
    victim = packed.files[-1]
    os.truncate(victim, 5000)
    with pytest.raises(ClipError, match=f"{victim.name}.*cut short"):
        packed.read("mfcc", *everything)


def test_few_files_are_open(folder, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_FILES", 2)
    packed = open_shards(folder)
    before = len(os.listdir("/dev/fd"))
    for i in range(len(packed)):
        packed.read("mfcc", packed.shard[i : i + 1], packed.row[i : i + 1])
    assert len(packed.files) > 4
    assert len(os.listdir("/dev/fd")) - before == 2


def test_threads_read_at_once(files, folder, monkeypatch):
    monkeypatch.setattr(shards, "OPEN_FILES", 2)  # so that files close under the others' hands
    samples = takes_of(files)
    memory = load_clips(samples, files, SPEC.audio.shape, SPEC.face.shape)
    disk = open_clips(samples, files, open_shards(folder))
    wrong = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(60):
            index = rng.integers(0, len(memory.faces), 32)
            if not np.array_equal(disk.faces[index], memory.faces[index]):
                wrong.append(index)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == []


PACK = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from test_shards import SMALL, SPEC
from keras_emo.data import packing
savez, wait_s = np.savez, float(sys.argv[4])
def slow(f, **arrays):
    savez(f, **arrays)
    print("half", flush=True)
    time.sleep(wait_s)
packing.np.savez = slow
files = sorted(Path(sys.argv[2]).glob("*.npz"))
packing.pack_clips(files, SPEC, Path(sys.argv[3]), shard_bytes=SMALL, drop=sys.argv[5] == "drop")
"""


def start_packing(files, root: Path, wait_s: float, drop: bool = False) -> subprocess.Popen:
    place = next(iter(files.values())).parent
    command = [sys.executable, "-c", PACK, str(Path(__file__).parent), str(place), str(root)]
    command += [str(wait_s), "drop" if drop else "keep"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_killed_packer_leaves_only_whole_shards(files, folder, tmp_path):
    root = tmp_path / "killed"
    packer = start_packing(files, root, 0.05)
    for _ in range(3):
        assert packer.stdout.readline() == "half\n"
    packer.send_signal(signal.SIGKILL)
    assert packer.wait() == -signal.SIGKILL
    packer.stdout.close()
    other = next(root.iterdir())
    assert list(other.glob(".part-*"))  # it was within a shard
    n_whole = len(open_shards(other).files)
    assert 2 <= n_whole < len(shard_files(folder))
    stamps = {p: p.stat().st_mtime_ns for p in open_shards(other).files}
    pack_clips(files.values(), SPEC, root, shard_bytes=SMALL)
    assert not list(other.glob(".part-*"))
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    assert [p.read_bytes() for p in shard_files(other)] == [
        p.read_bytes() for p in shard_files(folder)
    ]
    assert len(open_shards(other)) == 23


@pytest.mark.parametrize("drop", [False, True])
def test_two_packers_at_once_do_no_harm(files, folder, tmp_path, drop):
    clips = [load_clip(p) for p in files.values()]
    root = tmp_path / "both"
    packers = [start_packing(files, root, 0.01, drop) for _ in range(2)]
    codes = [(p.communicate()[0], p.returncode)[1] for p in packers]
    assert 0 in codes  # with drop one may find a file gone that the other has packed
    assert drop or codes == [0, 0]
    packed = open_shards(next(root.iterdir()))
    numbers = packed.find([p.stem for p in files.values()])
    for number, clip in zip(numbers, clips, strict=True):
        assert_same_clip(ClipReader(packed)(number), clip)


def test_shards_written_elsewhere_count_once_recorded(files, folder, tmp_path):
    """As workers on other machines do: plan, write each, record."""
    root = tmp_path / "elsewhere"
    place = packing.settle_clips(root, SPEC)
    groups = plan_shards(list(files.values()), place, SMALL)
    records = [write_clip_shard(place, g, SPEC) for g in groups[:2]]
    assert len(open_shards(place)) == 0
    record_shards(place, records)
    assert len(open_shards(place)) == len(groups[0]) + len(groups[1])
    assert plan_shards(list(files.values()), place, SMALL) == groups[2:]


def test_opening_is_quick_and_verifies_a_file_once(folder, monkeypatch):
    open_shards(folder)
    monkeypatch.setattr("keras_emo.data.shard_files.digest_file", lambda _: pytest.fail("again"))
    open_shards(folder)
    time.sleep(0.01)
    os.utime(shard_files(folder)[0])
    with pytest.raises(pytest.fail.Exception):
        open_shards(folder)
