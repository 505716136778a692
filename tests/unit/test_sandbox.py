"""Recordings read in a process of their own: its limits, its messages and its end."""

import ctypes
import io
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from keras_emo import cli, load
from keras_emo.errors import ClipError, ClipTimeout, EnvironmentFailure, Reason
from keras_emo.features.clip import ClipInputs
from keras_emo.inference.bundle import load_bundle
from keras_emo.inference.predict import TrackedWindow
from keras_emo.inference.results import Face
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.sandbox import sandbox as sandbox_module
from keras_emo.sandbox import wire as sandbox_wire
from keras_emo.sandbox.limits import Limits, landlock_version
from keras_emo.sandbox.sandbox import Sandbox
from keras_emo.spec import ClipSpec, FaceSpec

FOLDER = Path(__file__).parents[2] / "saved_models" / "default"
SPEC = ClipSpec(FaceSpec(size_px=32, max_frames=8))
LIMITS = Limits(memory_bytes=1 << 30, cpu_s=1, wall_s=60)
SERVE = "sandbox_worker.main(not cut_off)"
# What a recording that has taken over the worker might do, by the recording's name.
ACTS = {
    "segfault": "ctypes.string_at(0)",
    "exit": "os._exit(7)",
    "sleep": "time.sleep(600)",
    "burn": "while True: pass",
    "busy": "end_s = time.process_time() + 0.5\nwhile time.process_time() < end_s: pass",
    "memory": "[bytes(1 << 26) for _ in range(64)]",  # taken, not written: that is time
    "files": "[open('/dev/null') for _ in range(100)]",
    "write": "with open(folder + '/written', 'wb') as f: f.write(b'x')",
    "delete": "os.remove(folder + '/mine')",
    "empty_out": "os.truncate(folder + '/mine', 0)",
    "start": "os.execv('/bin/true', ['true'])",
    "signal": "os.kill(os.getppid(), 0)",
    "connect": "socket.create_connection(('127.0.0.1', int(open(folder + '/port').read())), 5)",
    "environment": "raise RuntimeError(' '.join(sorted(os.environ)))",
    "print": "print('hello', flush=True)\nos.write(1, b'from a library')\nos.write(2, b'error')",
    "garbage": "os.write(worker._out.fileno(), os.urandom(100000))\ntime.sleep(600)",
    "endless": "os.write(worker._out.fileno(), (1 << 31).to_bytes(4, 'little'))",
    "half": "os.write(worker._out.fileno(), (1 << 19).to_bytes(4, 'little') + b'{')\nos._exit(0)",
    "escape": "worker._send({'crash': '\\x1b[2J\\u202e gone'})\ntime.sleep(600)",
}
STUB = f"""
import ctypes, os, socket, sys, time
acts, folder = {ACTS!r}, os.environ["PATH"].split(":")[0]
whole, Worker = sandbox_worker.Model.prepare, sandbox_worker.Worker

def prepare(model, source):
    exec(acts.get(source.path.stem, ""))
    return whole(model, source)

def make_worker(*arguments):
    global worker
    worker = Worker(*arguments)
    return worker

sandbox_worker.Model.prepare, sandbox_worker.Worker = prepare, make_worker
"""
BOOT = sandbox_module._BOOT


def boot_with(stub: str) -> str:
    return BOOT.replace(SERVE, stub + SERVE)


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(FOLDER)


@pytest.fixture(scope="module")
def clips(make, tmp_path_factory) -> dict[str, Path]:
    """A voice; one that is longer; one for each thing the worker is made to do."""
    folder = tmp_path_factory.mktemp("clips")
    make.wav(folder / "good.wav", make.sine(1.0))
    make.wav(folder / "long.wav", make.sine(5.0))
    for name in ACTS:
        (folder / f"{name}.wav").write_bytes((folder / "good.wav").read_bytes())
    (folder / "empty.wav").touch()
    return {p.stem: p for p in folder.iterdir()}


@pytest.fixture(scope="module")
def stubbed(bundle):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox_module, "_BOOT", boot_with(STUB))
        with Sandbox(bundle, LIMITS) as sandbox:
            yield sandbox


def list_children(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


@pytest.fixture
def no_zombies():
    """No child more than before."""
    before = list_children(os.getpid())
    yield
    assert list_children(os.getpid()) <= before


def failing(sandbox: Sandbox, path: Path, wall_s: float | None = None) -> ClipError:
    with pytest.raises(ClipError) as caught:
        sandbox.prepare(path, wall_s)
    assert str(path) in str(caught.value)
    return caught.value


def check_equal(ours: object, theirs: object) -> None:
    assert set(vars(ours)) == set(vars(theirs))
    for name, value in vars(theirs).items():
        if isinstance(value, np.ndarray):
            assert getattr(ours, name).dtype == value.dtype, name
            np.testing.assert_array_equal(getattr(ours, name), value)
        else:
            assert getattr(ours, name) == value, name


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("segfault", "SIGSEGV"), ("exit", "exit code 7"), ("half", "exit code 0"),
        ("memory", "MemoryError"), ("files", "Too many open files"),
        ("garbage", "malformed message"), ("endless", "a header of"), ("escape", "?[2J? gone"),
    ],
)  # fmt: skip
def test_a_crash_is_one_recordings_alone(kind, cause, stubbed, clips):
    """The next recording is read as ever, by another process; the old one leaves nothing."""
    before = stubbed.prepare(clips["good"])
    files, pid = len(os.listdir("/proc/self/fd")), stubbed.pid
    children = list_children(os.getpid())
    error = failing(stubbed, clips[kind])
    assert (error.reason, error.exit_code) == (Reason.DECODER_CRASHED, 3)
    assert cause in error.cause
    assert children - list_children(os.getpid()) == {pid}
    assert stubbed.pid is None
    check_equal(stubbed.prepare(clips["good"]), before)
    assert len(list_children(os.getpid())) == len(children)
    assert len(os.listdir("/proc/self/fd")) == files


def test_pictures_that_need_more_memory_are_not_damage(bundle, make, tmp_path):
    """The decoder reports it as it does a bad packet; nothing is predicted from what was left."""
    frames = [np.full((2304, 4096, 3), 10 * i, np.uint8) for i in range(14)]
    path = make.video(tmp_path / "a.mp4", frames, sound=make.sine(0.8), preset="ultrafast",
                      crf="40", refs="16")  # fmt: skip
    with Sandbox(bundle, Limits(memory_bytes=96 << 20)) as sandbox:
        assert failing(sandbox, path).reason is Reason.DECODER_CRASHED
    with Sandbox(bundle) as sandbox:
        assert sandbox.prepare(path).damaged_packets == 0


def test_time_is_a_recordings_own(stubbed, clips):
    """A second for each: 1.5 s in all are no matter, and then it is up; so is waiting time."""
    stubbed.close()
    for _ in range(3):
        stubbed.prepare(clips["busy"])
    pid = stubbed.pid
    assert "SIGXCPU" in failing(stubbed, clips["burn"]).cause
    assert stubbed.prepare(clips["good"]).modalities == ("voice",)
    pids = {pid, stubbed.pid}
    error = failing(stubbed, clips["sleep"], wall_s=0.5)
    assert isinstance(error, ClipTimeout)
    assert (error.reason, error.exit_code) == (Reason.TIMEOUT, 124)
    assert "0.5 s" in error.cause
    assert not pids & list_children(os.getpid())


@pytest.mark.parametrize("kind", ["write", "delete", "empty_out", "start", "signal"])
def test_nothing_outside_is_touched(kind, stubbed, clips, tmp_path, monkeypatch):
    if kind != "write" and landlock_version(ctypes.CDLL(None)) < 6:
        pytest.skip("no Landlock here, or an early one")
    (tmp_path / "mine").write_text("dear")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    stubbed.close()
    expected = "Error" if kind == "write" else "PermissionError"
    assert expected in failing(stubbed, clips[kind]).cause
    stubbed.close()
    assert [p.read_text() for p in tmp_path.iterdir() if p.stat().st_size] == ["dear"]


def test_no_secret_is_passed_on_and_no_output_comes_back(stubbed, clips, monkeypatch, capfd):
    monkeypatch.setenv("MY_TOKEN", "secret")
    stubbed.close()
    seen = set(failing(stubbed, clips["environment"]).cause.split())
    assert ("MALLOC_ARENA_MAX" in seen, "MY_TOKEN" in seen) == (True, False)
    assert stubbed.prepare(clips["print"]).modalities == ("voice",)
    assert capfd.readouterr() == ("", "")


def test_no_network(stubbed, clips, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "port").write_text(str(server.getsockname()[1]))
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        stubbed.close()
        error = failing(stubbed, clips["connect"])
        stubbed.close()
    if stubbed.has_network:
        pytest.skip("no network namespaces here")
    assert re.search("OSError|PermissionError", error.cause)


def test_limits_of_the_process(bundle, clips, no_zombies):
    with Sandbox(bundle, LIMITS) as sandbox:
        sandbox.prepare(clips["good"])
        limits = Path(f"/proc/{sandbox.pid}/limits").read_text().splitlines()
        found = {line[:26].strip(): line[26:].split()[:2] for line in limits}
        status = Path(f"/proc/{sandbox.pid}/status").read_text()
        namespaces = [os.readlink(f"/proc/{pid}/ns/net") for pid in (sandbox.pid, "self")]
    assert found["Max core file size"] == found["Max file size"] == ["0", "0"]
    assert found["Max open files"] == ["64", "64"]
    assert 1 << 30 < int(found["Max address space"][1]) < 3 << 30
    assert int(found["Max cpu time"][0]) < 60
    assert "NoNewPrivs:\t1" in status
    assert (namespaces[0] == namespaces[1]) == sandbox.has_network


def test_workers_that_are_worn_or_dead_are_replaced(bundle, clips, no_zombies):
    with Sandbox(bundle, Limits(n_recordings=2)) as sandbox:
        seen = []
        for _ in range(3):
            sandbox.prepare(clips["good"])
            seen.append(sandbox.pid)
        assert seen[0] == seen[1] != seen[2]
        os.kill(seen[2], signal.SIGKILL)  # while it waits
        os.waitid(os.P_PID, seen[2], os.WEXITED | os.WNOWAIT)
        assert sandbox.prepare(clips["good"]).modalities == ("voice",)
        assert sandbox.pid != seen[2]


def test_a_worker_that_does_not_start(bundle, monkeypatch, no_zombies):
    for stub, cause in (("import os; os._exit(3)\n", "code 3"), ("raise ValueError\n", "code 1")):
        monkeypatch.setattr(sandbox_module, "_BOOT", boot_with(stub))
        with pytest.raises(EnvironmentFailure, match=rf"did not start.*{cause}") as caught:
            Sandbox(bundle)
        assert caught.value.exit_code == 6


def test_limits_out_of_range():
    with pytest.raises(ValueError, match="limits out of range"):
        Limits(cpu_s=0)


@pytest.fixture(scope="module")
def both(bundle):
    """The same bundle with a sandbox and without."""
    with load(bundle, threads=1, sandbox=True) as sandboxed:
        yield sandboxed, load(bundle, threads=1)


def test_predictions_are_the_same_to_the_bit(both, drawn, clips, tmp_path):
    ours, theirs = both
    torn = tmp_path / "torn.mp4"
    data = bytearray(drawn.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    torn.write_bytes(data)
    odd = tmp_path / os.fsdecode(b"\xff \n.mp4")
    odd.write_bytes(drawn.read_bytes())
    for path in (drawn, clips["good"], torn, odd):
        check_equal(ours.prepare(path), theirs.prepare(path))
        assert ours.predict(path) == theirs.predict(path)
    source = ClipSource(video=drawn, audio=clips["good"])
    check_equal(ours.prepare(source), theirs.prepare(source))


def test_windows_are_the_same_to_the_bit(both, drawn, clips):
    ours, theirs = both
    for path in (drawn, clips["long"]):
        a, b = (model.stream(path, 1.0, 0.5, parts=True) for model in both)
        n = 0
        for x, y in zip(a, b, strict=True):
            n += 1
            check_equal(x, y)
        assert n > 2
        assert (a.window_s, a.hop_s, a.state) == (b.window_s, b.hop_s, b.state)
        assert a.state.declared_s > 0
    next(ours.stream(clips["long"]))  # left in the middle: the next one is not confused
    check_equal(ours.prepare(clips["good"]), theirs.prepare(clips["good"]))


def test_errors_are_the_same(both, clips, tmp_path):
    """Also of the second file of a source, and of a recording that is a timeline."""
    second = ClipSource(video=clips["good"], audio=clips["empty"])
    for source in (clips["empty"], tmp_path / "none.mp4", tmp_path, second):
        ours, theirs = (model.predict_batch([source])[0] for model in both)
        assert isinstance(ours, ClipError)
        assert (type(ours), str(ours)) == (type(theirs), str(theirs))
    with pytest.raises(ClipError, match="empty_file"):
        next(both[0].stream(clips["empty"]))


def test_a_timeline_that_crashes_keeps_what_came(bundle, clips, monkeypatch):
    stub = """
from keras_emo.inference import predict
import os
whole = predict.predict_window
def predict_window(model, window, *rest):
    if window.start_s == 2:
        os.kill(os.getpid(), 11)
    return whole(model, window, *rest)
predict.predict_window = predict_window
"""
    monkeypatch.setattr(sandbox_module, "_BOOT", boot_with(stub))
    with Sandbox(bundle) as sandbox:
        answers = sandbox.windows(clips["long"])
        assert [next(answers).start_s, next(answers).start_s] == [0, 1]
        with pytest.raises(ClipError, match=r"decoder_crashed.*SIGSEGV"):
            next(answers)
        assert sandbox.prepare(clips["good"]).modalities == ("voice",)


def sample_inputs(n: int = 3, **changes) -> ClipInputs:
    rng = np.random.default_rng(0)
    inputs = ClipInputs(
        face=rng.integers(0, 256, (n, 32, 32, 3), np.uint8), face_found=np.ones(n, bool),
        times_s=np.arange(n, dtype=np.float32), boxes=np.ones((n, 4), np.float32),
        mfcc=rng.normal(size=SPEC.audio.shape).astype(np.float32), duration_s=2.5,
        frames_examined=4, states=(Reason.TOO_SHORT,), warnings=("odd",), damaged_packets=2,
        missing_s=0.5, face_id=1,
    )  # fmt: skip
    return replace(inputs, **changes)


def sample_window(**changes) -> TrackedWindow:
    probs = dict.fromkeys(EMOTIONS, 0.0) | {"happy": 1.0}
    window = TrackedWindow(
        0.0, 3.0, "happy", 1.0, probs, ("face",), (Reason.NO_AUDIO,), Face(0, (-1.0, 2, 3, 4)),
        probs_face=probs, times_s=np.zeros(2, np.float32), boxes=np.zeros((2, 4), np.float32),
        crop=np.zeros((32, 32, 3), np.uint8), crop_s=1.5,
    )  # fmt: skip
    return replace(window, **changes)


def transmit(record, **lies):
    """A record through a message whose header was changed."""
    header, arrays = sandbox_wire.encode_record(record)
    read = io.BytesIO(b"".join(sandbox_wire.pack({**header, **lies}, arrays))).read
    received = sandbox_wire.read_header(read)
    return sandbox_wire.decode_record(type(record), received, read, SPEC)


def test_records_arrive_whole():
    for inputs in (
        sample_inputs(), sample_inputs(mfcc=None),
        sample_inputs(0, face=None, face_id=None),
    ):  # fmt: skip
        check_equal(transmit(inputs), inputs)
    for window in (sample_window(), sample_window(crop=None, crop_s=None, face=None)):
        check_equal(transmit(window), window)
    nothing = sample_window(label=None, confidence=None, probs=None, probs_face=None, modalities=())
    check_equal(transmit(nothing), nothing)


CLIP_LIES = [
    {"n_frames": 9}, {"n_frames": -1}, {"n_frames": 10**400}, {"n_frames": True},
    {"n_frames": "3"}, {"n_frames": None}, {"n_frames": 2.0},
    {"arrays": None}, {"arrays": ["face", "face"]}, {"arrays": ["crop"]}, {"arrays": [1]},
    {"arrays": []},
    {"duration_s": float("nan")}, {"duration_s": -1}, {"duration_s": 10**400},
    {"duration_s": float("inf")}, {"duration_s": "1"},
    {"frames_examined": 1 << 50}, {"damaged_packets": -3}, {"missing_s": []},
    {"states": ["no_such_reason"]}, {"states": "no_face"}, {"states": [["no_face"]]},
    {"warnings": ["x"] * 1000}, {"warnings": ["x" * 10_000]}, {"warnings": {}},
    {"face_id": -1}, {"face_id": "0"},
]  # fmt: skip
WINDOW_LIES = [
    {"modalities": ["mind"]}, {"modalities": ["face", "face"]}, {"start_s": None},
    {"n_frames": 9}, {"crop_s": -1}, {"crop_s": None}, {"label": "sad"}, {"label": None},
    {"confidence": 0.5}, {"probs": {"mind": 1.0}}, {"probs_face": {"happy": 1.0}},
    {"face": {"id": 0, "box": [1, 2, 3]}}, {"face": {"id": 0, "box": [0, 0, 1, 1e300]}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "lies"), [(sample_inputs, CLIP_LIES), (sample_window, WINDOW_LIES)]
)
def test_records_that_lie(sample, lies):
    for lie in lies:
        with pytest.raises(ValueError, match=r".+"):
            transmit(sample(), **lie)


def test_arrays_that_lie():
    for name, value in (("mfcc", np.nan), ("times_s", np.inf), ("boxes", -np.inf)):
        inputs = sample_inputs()
        getattr(inputs, name).flat[1] = value
        with pytest.raises(ValueError, match="finite"):
            transmit(inputs)
    with pytest.raises(ValueError, match="flags"):
        transmit(sample_inputs(face_found=np.full(3, 7, np.uint8)))
    with pytest.raises(ValueError, match="without a face"):
        transmit(sample_inputs(face_found=np.zeros(3, bool)))


@pytest.mark.parametrize(
    "text", [b"\xff" * 20, b"[]", b"[" * 100_000, b"{" * 1000, pickle.dumps({}), b"1"]
)
def test_malformed_headers(text):
    with pytest.raises(ValueError, match=r".+"):
        sandbox_wire.read_header(io.BytesIO(len(text).to_bytes(4, "little") + text).read)


def run(capsys, *arguments):
    code = cli.main(["predict", "--bundle", str(FOLDER), "--threads", "1", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_the_command_continues_after_a_crash(clips, capsys, monkeypatch, no_zombies):
    monkeypatch.setattr(sandbox_module, "_BOOT", boot_with(STUB))
    options = "--sandbox", "--timeout-s", "6", "--memory-mb", "1024", "--format", "json"
    names = ("segfault", "good", "sleep", "long")
    code, out, err = run(capsys, *(clips[n] for n in names), *options)
    assert code == 4
    assert [Path(a["path"]).stem for a in json.loads(out)] == ["good", "long"]
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    assert ["decoder_crashed" in errors[0], "timeout: not done after 6 s" in errors[1]] == [1, 1]
    assert err.splitlines()[-1] == "2 predicted, 2 rejected"


@pytest.mark.parametrize(("names", "code"), [(["sleep"], 124), (["sleep", "empty"], 3)])
def test_codes(names, code, clips, capsys, monkeypatch):
    """124 if every failure is a timeout and nothing was predicted."""
    monkeypatch.setattr(sandbox_module, "_BOOT", boot_with(STUB))
    found, out, _ = run(capsys, *(clips[n] for n in names), "--sandbox", "--timeout-s", "0.5")
    assert (found, out) == (code, "")


def test_options_that_need_the_sandbox(clips, capsys, tmp_path):
    annotate = ["--sandbox", "--timeline", "--annotate", str(tmp_path / "a.mp4")]
    for options in (["--timeout-s", "3"], ["--memory-mb", "100"], annotate):
        code, out, err = run(capsys, clips["good"], *options)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "--sandbox" in err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)]
)
def test_the_worker_ends_with_the_command(number, code, clips):
    script = "import sys; from keras_emo.sandbox import sandbox as p\n"
    script += f"p._BOOT = {boot_with(STUB)!r}\n"
    script += "from keras_emo.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, "predict", "--bundle", str(FOLDER), "--format", "csv",
               str(clips["good"]), str(clips["sleep"]), "--sandbox", "--threads", "1"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert [process.stdout.readline().split(",")[0] for _ in range(2)][1] == str(clips["good"])
    (worker,) = list_children(process.pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    if number != signal.SIGKILL:
        assert err.splitlines()[-1] == "stopped"
    end_s = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end_s:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
