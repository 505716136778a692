"""Names of clips: of their content, also where the file is not read again."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from keras_emo.data import digests
from keras_emo.data.cache import build_cache
from keras_emo.data.digests import DIGESTS, Digests, digest_file, digest_source
from keras_emo.media.reader import ClipSource
from keras_emo.spec import ClipSpec


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files that are read, in order."""
    seen: list[str] = []

    def read(path):
        seen.append(path.name)
        return digest_file(path)

    monkeypatch.setattr(digests, "digest_file", read)
    monkeypatch.setattr(digests, "SETTLED_S", -1.0)  # files of a test are young
    return seen


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


@pytest.mark.parametrize("keep_times", [False, True])
@pytest.mark.parametrize("content", [b"new", b"longer than it was"])
def test_a_file_that_changed_is_read_again(tmp_path, reads, content, keep_times):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    before = path.stat()
    ask(tmp_path, path)
    path.write_bytes(content)
    if keep_times:  # as some copying tools do; the time of the record can't be set
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert ask(tmp_path, path) == [digest_file(path)]
    assert reads == ["a.mp4"] * 2


def test_a_file_that_took_its_place_is_read(tmp_path, reads):
    path, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    path.write_bytes(b"old")
    other.write_bytes(b"new")
    ask(tmp_path, path)
    os.replace(other, path)
    assert ask(tmp_path, path) == [digest_file(path)]


def test_a_young_file_is_not_trusted(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(digests, "SETTLED_S", 60.0)
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

    monkeypatch.setattr(digests, "digest_file", read)
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


def test_the_name_of_a_clip_is_the_same(tmp_path, reads):
    (tmp_path / "a.mp4").write_bytes(b"a")
    source = ClipSource(video=tmp_path / "a.mp4", frames=(tmp_path / "a.mp4",))
    assert digest_source(source, Digests(tmp_path)) == digest_source(source)


def test_a_second_start_reads_no_source(make, box, tmp_path, reads):
    path = make.video(tmp_path / "a.mp4", make.grey_frames(15), sound=make.sine(0.5))
    sample = SimpleNamespace(sample_id="a", source=ClipSource(video=path))
    first = build_cache([sample], ClipSpec(), tmp_path / "cache", 1)
    assert reads == ["a.mp4"]
    again = build_cache([sample], ClipSpec(), tmp_path / "cache", 1)
    assert again.files == first.files
    assert reads == ["a.mp4"]
