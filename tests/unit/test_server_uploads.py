import asyncio
import fcntl
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from keras_emo.serve.body import read_body
from keras_emo.serve.form import FileForm, clean_name
from keras_emo.serve.refusals import Refusal
from keras_emo.serve.settings import Settings
from keras_emo.serve.uploads import PREFIX, UploadFolder, remove_leftovers

TYPE = "multipart/form-data; boundary=line"


def make_part(content: bytes, name="file", filename="clip.mp4") -> bytes:
    head = f'--line\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
    return head.encode() + b"Content-Type: video/mp4\r\n\r\n" + content + b"\r\n"


def read_form(body: bytes, cuts=(), content_type=TYPE, max_parts=8) -> tuple[str | None, bytes]:
    form = FileForm(content_type, max_parts)
    edges = [0, *sorted(min(c, len(body)) for c in cuts), len(body)]
    for start, end in pairwise(edges):
        form.write(body[start:end])
    form.finish()
    return form.name, bytes(form.pending)


def make_request(blocks, headers=()) -> tuple[Request, list]:
    """A request whose body comes in blocks; None: the client goes, a number: so many seconds."""
    waiting = list(blocks)

    async def receive():
        if waiting and isinstance(waiting[0], float):
            await asyncio.sleep(waiting.pop(0))
        block = waiting.pop(0)
        if block is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": block, "more_body": bool(waiting)}

    pairs = [(k.encode(), v.encode()) for k, v in (("content-type", TYPE), *headers)]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": pairs}
    return Request(scope, receive), waiting


@given(st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=6))
def test_the_file_is_the_same_however_it_is_cut(content, cuts):
    if b"\r\n--line" in content:
        return
    body = make_part(content) + b"--line--\r\n"
    assert read_form(body, cuts) == ("clip.mp4", content)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (make_part(b"x"), "ends early"),
        (make_part(b"x")[:20], "ends early"),
        (b"", "ends early"),
        (b"--line--\r\n", "no file"),
        (make_part(b"x", name="model") + b"--line--\r\n", "only a file"),
        (make_part(b"x") + make_part(b"y") + b"--line--\r\n", "more than one"),
        (b"nonsense" * 10, "malformed"),
        (b"--line\r\n" + b"x" * 9000, "malformed"),
        (b"--line\r\nX: y\r\n\r\nz\r\n--line--\r\n", "only a file"),
    ],
)
def test_other_forms_are_refused(body, cause):
    with pytest.raises(Refusal, match=cause) as caught:
        read_form(body)
    assert caught.value.status == 400


def test_many_parts_are_refused():
    with pytest.raises(Refusal, match=r"more than 8 parts|more than one file"):
        read_form(make_part(b"x") * 1001 + b"--line--\r\n")
    with pytest.raises(Refusal, match="more than 0 parts"):
        read_form(make_part(b"x") + b"--line--\r\n", max_parts=0)


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 999]
)
def test_other_types_are_refused(kind):
    with pytest.raises(Refusal) as caught:
        FileForm(kind, 8)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\测试😀.mp4", "测试😀.mp4"),
        ("a\x1b[2Jb\n.mp4", "a?[2Jb?.mp4"),
        ("", None),
        ("folder/", None),
        ("x" * 999, "x" * 255),
    ],
)
def test_names_are_cleaned(name, cleaned):
    assert clean_name(name) == cleaned


def collect(blocks, headers=(), limit=100, **settings) -> bytes:
    async def read():
        request, _ = make_request(blocks, headers)
        return b"".join([b async for b in read_body(request, Settings(**settings), limit)])

    return asyncio.run(read())


def test_a_body_within_limits():
    assert collect([b"a" * 60, b"b" * 40]) == b"a" * 60 + b"b" * 40
    assert collect([0.02, b"a", 0.02, b""], stall_s=5) == b"a"


@pytest.mark.parametrize(
    ("blocks", "headers", "reason"),
    [
        ([b"a" * 60, b"b" * 41], (), "upload_limit"),
        ([], (("content-length", "101"),), "upload_limit"),
        ([b"a", None], (), "disconnected"),
        ([b"a", 30.0], (), "slow_upload"),
        ([b"a", *[0.03, b""] * 20], (), "slow_upload"),  # never silent for long, but a trickle
        ([], (("content-encoding", "gzip"),), "bad_request"),
    ],
)
def test_a_body_beyond_limits(blocks, headers, reason):
    with pytest.raises(Refusal) as caught:
        collect(blocks, headers, stall_s=0.1, min_rate=1e5)
    assert caught.value.reason == reason


@pytest.mark.parametrize("end", [b"--line--\r\n", None, b"x" * 2_000_000])
def test_an_upload_is_gone_afterwards(tmp_path, end):
    folder = UploadFolder(tmp_path)

    async def upload():
        request, _ = make_request([make_part(b"content"), end])
        async with folder.receive(request, Settings(max_upload_bytes=1_000_000)) as received:
            assert received.path.read_bytes() == b"content"
            assert received.path.stat().st_mode & 0o077 == 0
            assert (received.name, received.n_bytes) == ("clip.mp4", 7)
            raise InterruptedError

    with pytest.raises((InterruptedError, Refusal)):
        asyncio.run(upload())
    assert [p.name for p in folder.path.iterdir()] == ["lock"]
    folder.close()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_the_dead_are_removed(tmp_path):
    dead, alive = tmp_path / f"{PREFIX}dead", UploadFolder(tmp_path)
    dead.mkdir()
    (dead / "lock").touch()
    (dead / "0").write_bytes(b"somebody's face")
    (tmp_path / f"{PREFIX}strange").mkdir()  # no lock: not one of ours
    (tmp_path / f"{PREFIX}link").symlink_to(alive.path)
    other = UploadFolder(tmp_path)
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {alive.path.name, other.path.name, f"{PREFIX}strange", f"{PREFIX}link"}
    with open(alive.path / "lock") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    alive.close()
    other.close()
    assert remove_leftovers(tmp_path) == 0
    assert os.listdir(tmp_path)
