"""What users get for clips and folders that cannot be answered: one clear line, a code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import ROOT, run_cli

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def clips(trained, tmp_path_factory) -> dict[str, Path]:
    """A good clip, and the same without sound, without a face, and empty."""
    import av

    folder = tmp_path_factory.mktemp("clips")
    good = folder / "good.mp4"
    shutil.copy(next((trained.corpus / "Actor_06").glob("*.mp4")), good)
    for name, keep in (("silent.mp4", "video"), ("voice.wav", "audio")):
        with av.open(str(good)) as source, av.open(str(folder / name), "w") as target:
            given = getattr(source.streams, keep)[0]
            if keep == "video":
                stream = target.add_stream_from_template(given)
                for packet in source.demux(given):
                    if packet.dts is not None:
                        packet.stream = stream
                        target.mux(packet)
            else:
                stream = target.add_stream("pcm_s16le", rate=given.sample_rate)
                resampler = av.AudioResampler("s16", stream.layout, given.sample_rate)
                for frame in source.decode(given):
                    for part in resampler.resample(frame):
                        target.mux(stream.encode(part))
                target.mux(stream.encode(None))
    with av.open(str(folder / "faceless.mp4"), "w") as target:
        stream = target.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for _ in range(45):
            frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 90, np.uint8), "rgb24")
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    (folder / "empty.mp4").touch()
    (folder / "none").mkdir()
    return {p.stem: p for p in folder.iterdir()}


def check_error(done, code: int, path: Path, reason: str) -> None:
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if reason in line]
    assert len(lines) == 1, done.stderr
    assert path.name in lines[0]


def test_folder_without_clips(bundles, clips):
    bundle = bundles / "audio_cnn"
    done = run_cli("predict", clips["none"], "--bundle", bundle)
    check_error(done, 2, clips["none"], "no_clips")
    done = run_cli("evaluate", "--data", clips["none"], "--bundle", bundle)
    check_error(done, 2, clips["none"], "no_clips")
    command = [sys.executable, str(ROOT / "train.py"), "--data", str(clips["none"]), "--out",
               str(clips["none"].parent / "run")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    check_error(done, 2, clips["none"], "no_clips")


def test_empty_file(bundles, clips):
    done = run_cli("predict", clips["empty"], "--bundle", bundles / "audio_cnn")
    check_error(done, 3, clips["empty"], "empty_file")


@pytest.mark.parametrize(
    ("clip", "network", "reason"),
    [
        ("silent", "audio_cnn", "no_audio"),
        ("faceless", "visual_alexnet", "no_face"),
        ("voice", "visual_alexnet", "no_video"),
        ("faceless", "fusion_multi_cnn", "no_modality"),
    ],
)
def test_a_missing_modality_is_rejected(bundles, clips, clip, network, reason):
    done = run_cli("predict", clips[clip], "--bundle", bundles / network)
    check_error(done, 3, clips[clip], reason)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("clip", "used", "state"), [("silent", "face", "no_audio"), ("voice", "voice", "no_video")]
)
def test_a_fusion_answers_from_the_other_modality_and_says_so(bundles, clips, clip, used, state):
    bundle = bundles / "fusion_multi_lstm"
    done = run_cli("predict", clips[clip], "--bundle", bundle, "--format", "json")
    check_error(done, 4, clips[clip], state)
    (answer,) = json.loads(done.stdout)
    assert answer["modalities"] == [used]
    assert answer["states"] == [state]


def test_a_batch_goes_on(bundles, clips):
    paths = [clips["empty"], clips["good"], clips["faceless"].with_name("missing.mp4")]
    done = run_cli("predict", *paths, "--bundle", bundles / "fusion_concat", "--format", "csv")
    assert done.returncode == 4
    assert "empty_file" in done.stderr
    assert "not_found" in done.stderr
    assert "1 predicted, 2 rejected" in done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_an_altered_bundle_is_refused(bundles, clips, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(bundles / "audio_lstm", copy)
    data = bytearray((copy / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.onnx").write_bytes(data)
    done = run_cli("predict", clips["good"], "--bundle", copy)
    check_error(done, 5, copy / "model.onnx", "bad_bundle")
    done = run_cli("predict", clips["good"], "--bundle", tmp_path / "nowhere")
    check_error(done, 5, tmp_path / "nowhere", "no_bundle")


def test_export_of_what_is_not_there(trained, tmp_path):
    def export(*options):
        command = [sys.executable, str(ROOT / "export.py"), *map(str, options)]
        return subprocess.run(command, capture_output=True, text=True)

    done = export("--run", tmp_path, "--model", "all", "--out", tmp_path / "b")
    assert done.returncode == 2
    assert "not a run folder" in done.stderr
    done = export("--run", trained.run, "--model", "alexnet", "--out", tmp_path / "b")
    assert done.returncode == 2
    assert "alexnet" in done.stderr
    assert not (tmp_path / "b").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("dear")
    done = export("--run", trained.run, "--model", "audio_lstm", "--out", tmp_path / "full")
    assert done.returncode == 2
    assert "no bundle" in done.stderr
    assert (tmp_path / "full" / "thesis.txt").read_text() == "dear"
