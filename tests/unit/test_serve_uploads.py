import asyncio
import fcntl
import os
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("starlette")
from starlette.requests import Request

from keras_emo.serve.refusals import Refusal
from keras_emo.serve.settings import Settings
from keras_emo.serve.uploads import PREFIX, UploadFolder, clean_name, read_body

TYPE = "multipart/form-data; boundary=line"
END = b"--line--\r\n"
DISPOSITION = 'Content-Disposition: form-data; name="file"; filename="clip.mp4"'


def make_part(content: bytes, disposition=DISPOSITION) -> bytes:
    return f"--line\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"


def make_request(blocks, content_type=TYPE, **headers) -> Request:
    """A request whose body arrives in blocks; None: the client disconnects, a float: a pause."""
    waiting = list(blocks)

    async def receive():
        if waiting and isinstance(waiting[0], float):
            await asyncio.sleep(waiting.pop(0))
        block = waiting.pop(0)
        if block is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": block, "more_body": bool(waiting)}

    headers["content-type"] = content_type
    pairs = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": pairs}, receive)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that holds nothing but its lock after each test's upload."""
    folder = UploadFolder(tmp_path_factory.mktemp("uploads"))
    yield folder
    assert os.listdir(folder.path) == ["lock"]
    folder.close()
    assert list(folder.path.parent.iterdir()) == []


def read_form(folder, blocks, content_type=TYPE) -> tuple[str, bytes]:
    """Name and content of the upload; checks that only its owner may read it."""

    async def read():
        async with folder.receive(make_request(blocks, content_type), Settings()) as upload:
            assert upload.path.parent == folder.path
            assert upload.path.stat().st_mode & 0o777 == 0o600
            return upload.name, upload.path.read_bytes()

    return asyncio.run(read())


@given(st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=6))
def test_the_file_is_the_same_for_any_blocks(folder, content, cuts):
    assume(b"\r\n--line" not in content)
    body = make_part(content) + END
    edges = [0, *sorted(min(c, len(body)) for c in cuts), len(body)]
    blocks = [body[start:end] for start, end in pairwise(edges)]
    assert read_form(folder, blocks) == ("clip.mp4", content)


def test_a_file_larger_than_memory_is_used_for(folder):
    content = os.urandom(3_000_000)
    body = make_part(content) + END
    assert read_form(folder, [body[:2_000_000], body[2_000_000:]]) == ("clip.mp4", content)


FIELD = make_part(b"y", 'Content-Disposition: form-data; name="other"')


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (make_part(b"x"), "ends early"),
        (make_part(b"x")[:20], "ends early"),
        (b"", "ends early"),
        (END, "no file"),
        (make_part(b"x", DISPOSITION.replace('"file"', '"model"')) + END, "no file 'file'"),
        (make_part(b"x") * 1001 + END, "Too many files"),
        (make_part(b"x") + FIELD + END, "Too many fields"),
        (FIELD * 1001 + END, "Too many fields"),
        (make_part(b"x", "X: y") + END, "name"),
        (b"nonsense" * 10, "Invalid"),
        (make_part(b"x", "x" * 9000) + END, "Invalid"),
        (make_part(b"x", "\r\n".join(f"X{i}: y" for i in range(99))) + END, "Invalid"),
    ],
)
def test_other_forms_are_refused(folder, body, cause):
    with pytest.raises(Refusal, match=cause) as caught:
        read_form(folder, [body])
    assert caught.value.status == 400


def test_other_types_are_refused(folder):
    multipart = "multipart/form-data"
    for kind in ("", "text/plain", multipart, f"{multipart}; boundary=" + "x" * 999):
        with pytest.raises(Refusal, match="bad_request"):
            read_form(folder, [make_part(b"x") + END], kind)


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("clip.mp4", "clip.mp4"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\测试😀.mp4", "测试😀.mp4"),
        ("a\x1b[2Jb\n.mp4", "a?[2Jb?.mp4"),
        ("", "upload"),
        ("folder/", "upload"),
        ("x" * 999, "x" * 255),
    ],
)
def test_names_are_cleaned(name, cleaned):
    assert clean_name(name) == cleaned


def read(blocks, stall_s=30.0, **headers) -> bytes:
    async def collect():
        settings = Settings(stall_s=stall_s, min_rate=1e5)
        return b"".join(
            [b async for b in read_body(make_request(blocks, **headers), settings, 100)]
        )

    return asyncio.run(collect())


def test_a_body_within_limits():
    assert read([b"a" * 60, b"b" * 40]) == b"a" * 60 + b"b" * 40
    assert read([0.02, b"a", 0.02, b""]) == b"a"


@pytest.mark.parametrize(
    ("blocks", "headers", "reason"),
    [
        ([b"a" * 60, b"b" * 41], {}, "upload_limit"),
        ([], {"content_length": "101"}, "upload_limit"),
        ([b"a", None], {}, "disconnected"),
        ([b"a", 30.0], {}, "slow_upload"),
        ([b"a", *[0.03, b""] * 20], {}, "slow_upload"),  # it trickles
        ([], {"content_encoding": "gzip"}, "bad_request"),
    ],
)
def test_a_body_beyond_limits(blocks, headers, reason):
    with pytest.raises(Refusal) as caught:
        read(blocks, stall_s=0.1, **headers)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("end", "error"), [(END, InterruptedError), (None, Refusal), (b"x" * 2_000_000, Refusal)]
)
def test_an_upload_is_removed_on_every_path(folder, end, error):
    async def upload():
        request = make_request([make_part(b"x"), end])
        async with folder.receive(request, Settings(max_upload_bytes=1_000_000)):
            raise InterruptedError

    with pytest.raises(error):
        asyncio.run(upload())
    assert os.listdir(folder.path) == ["lock"]


def test_leftovers_of_dead_services_are_removed(tmp_path):
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
    assert {p.name for p in tmp_path.iterdir()} == {f"{PREFIX}strange", f"{PREFIX}link"}
