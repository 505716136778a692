"""Thousands of mixed predictions through one Model: does it grow, do its results change?

python benchmarks/soak.py [--bundle DIR] [--n 5000] [--every 100]

Cycles through ten inputs: with face and voice, voice alone, face alone, silent, without a face,
rotated, tiny, truncated, without an index, not a recording. Prints resident memory and open
descriptors every --every predictions. Fails if, after the first fifth, memory grows by more than
GROWTH (slope of a line through the rows), if the number of descriptors changes, or if the result
for an input differs from its first one. Takes about three minutes on one core.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from keras_emo import load
from keras_emo.errors import EmoError
from keras_emo.inference.model import Model

GROWTH = 0.02  # of the memory held after warm-up, until the end
WARM_UP = 0.2  # of the predictions
SECONDS = 1.0  # of a clip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, default=Path("saved_models/default"))
    parser.add_argument("--n", type=int, default=5000, help="predictions")
    parser.add_argument("--every", type=int, default=100, help="predictions a row")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        inputs = dict(make_inputs(Path(folder)))
        model = load(options.bundle, threads=1)
        return soak(model, inputs, options.n, options.every)


def soak(model: Model, inputs: dict[str, Path], n: int, every: int) -> int:
    """Run and report; 1 if something grew or changed."""
    names, first, changed = list(inputs), {}, []
    rows: list[tuple[int, float, int]] = []
    print(f"{'predictions':>11} {'RSS MiB':>8} {'descriptors':>11} {'ms each':>8}")
    for done in range(1, n + 1):
        if done % every == 1 or every == 1:
            started_s = time.process_time()
        name = names[done % len(names)]
        result = predict(model, inputs[name])
        if first.setdefault(name, result) != result:
            changed.append((done, name))
        if done % every == 0:
            rows.append((done, *measure()))
            spent_ms = 1e3 * (time.process_time() - started_s) / every
            print("{:>11} {:>8.1f} {:>11}".format(*rows[-1]), f"{spent_ms:>8.1f}", flush=True)
    for name, (what, *_) in sorted(first.items()):
        print(f"{name}: {what}")
    return report(rows, changed, n)


def report(rows: list[tuple[int, float, int]], changed: list[tuple[int, str]], n: int) -> int:
    """Print the measurements; 1 if a limit is exceeded."""
    kept = [row for row in rows if row[0] > WARM_UP * n]
    if len(kept) < 3:
        print("error: too few rows; raise --n or lower --every", file=sys.stderr)
        return 2
    at, memory_mib, handles = (np.array(column, float) for column in zip(*kept, strict=True))
    slope, start = np.polyfit(at - at[0], memory_mib, 1)
    growth = slope * (at[-1] - at[0]) / start
    print(f"memory after warm-up {start:.1f} MiB, growth {growth:+.2%} in {at[-1] - at[0]:.0f} "
          f"predictions, at most {GROWTH:.0%}")  # fmt: skip
    print(
        f"descriptors {handles.min():.0f} to {handles.max():.0f}; changed results: {len(changed)}"
    )
    for done, name in changed[:10]:
        print(f"error: prediction {done}: the result for {name} changed", file=sys.stderr)
    return int(growth > GROWTH or handles.min() != handles.max() or bool(changed))


def predict(model: Model, path: Path) -> tuple:
    """Label and complete result for a file; for a failure its reason and cause."""
    try:
        result = model.predict(path)
    except EmoError as e:
        return str(e.reason), e.cause
    return f"{result.label} from {' and '.join(result.modalities)}", result


def measure() -> tuple[float, int]:
    """Resident memory in MiB and open descriptors of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd"))


def make_inputs(folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and files, small ones, made from a clip of the demo corpus."""
    import av
    from memory import draw_clip

    with av.open(str(draw_clip(folder))) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    frames = frames[: round(30 * SECONDS)]
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    voice = noise[: round(48_000 * SECONDS)]
    plain = [np.full_like(frames[0], 90)] * len(frames)
    whole = write_clip(folder / "whole.mp4", frames, voice)
    yield "face and voice", whole
    yield "voice alone", write_clip(folder / "voice.wav", [], voice)
    yield "face alone", write_clip(folder / "face.mp4", frames, None)
    yield "silent", write_clip(folder / "silent.mp4", frames, np.zeros_like(voice))
    yield "no face", write_clip(folder / "plain.mp4", plain, voice)
    lying = [np.rot90(f) for f in frames]
    yield "rotated", turn(write_clip(folder / "rotated.mp4", lying, voice))
    yield "tiny", write_clip(folder / "tiny.mp4", [f[::20, ::20] for f in frames], voice)
    data = write_clip(folder / "whole.mkv", frames, voice).read_bytes()
    for name, file, content in (
        ("cut short", "cut.mkv", data[: len(data) // 2]),
        ("without index", "cut.mp4", whole.read_bytes()[: whole.stat().st_size // 2]),
        ("no recording", "garbage.mp4", np.random.default_rng(1).bytes(5000)),
    ):
        (folder / file).write_bytes(content)
        yield name, folder / file


def write_clip(path: Path, frames: list[np.ndarray], sound: np.ndarray | None) -> Path:
    """RGB frames at 30 fps and mono sound at 48 kHz."""
    import av

    with av.open(str(path), "w") as container:
        if frames:
            video = container.add_stream("libx264", rate=30, options={"preset": "fast"})
            video.height, video.width = (n // 2 * 2 for n in frames[0].shape[:2])
            video.pix_fmt = "yuv420p"
        if sound is not None:
            codec = "pcm_s16le" if path.suffix == ".wav" else "aac"
            audio = container.add_stream(codec, rate=48_000, layout="mono")
        for i, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 30)
            container.mux(video.encode(frame))
        if frames:
            container.mux(video.encode())
        if sound is not None:
            block = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = 48_000, 0, Fraction(1, 48_000)
            container.mux(audio.encode(block))
            container.mux(audio.encode())
    return path


def turn(path: Path) -> Path:
    """Write a quarter turn, as a phone held upright does, into the track header of an MP4."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    matrix = at + (40 if data[at] == 0 else 52)
    values = (0, 1 << 16, 0, (-1 << 16) & 0xFFFFFFFF, 0, 0, 0, 0, 1 << 30)
    data[matrix : matrix + 36] = b"".join(v.to_bytes(4, "big") for v in values)
    path.write_bytes(data)
    return path


if __name__ == "__main__":
    sys.exit(main())
