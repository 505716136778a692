"""Claim: training reads from shards as fast as from memory, and holds none of the clips.

On made-up clips of 12 crops and 3 s of sound, in turn in one process: shuffled crops read in
batches of 64, from memory, from shards in the page cache, and from shards just dropped from it;
then the input of training alone, ``stream_faces`` with its augmentation, in steps a second. Medians
and the median ratio of rounds that followed each other. Then, each in a process of its own, the
peak memory of reading an epoch of crops and of sound, against the number of clips.

python benchmarks/shards.py [--sizes 64 224] [--clips 1000] [--rounds 5] [--memory 100 1000 10000]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from keras_emo.data.augment import FaceChanges
from keras_emo.data.clips import Clips, load_clips, open_clips
from keras_emo.data.packing import pack_clips
from keras_emo.data.samples import Sample
from keras_emo.data.shard_files import verify_files
from keras_emo.data.shards import open_shards
from keras_emo.labels import EMOTIONS
from keras_emo.media.reader import ClipSource
from keras_emo.spec import ClipSpec, FaceSpec

N_CROPS, BATCH = 12, 64
MIB = 1 << 20


def name_files(folder: Path, n: int) -> dict[str, Path]:
    return {f"builtin/{i}": folder / f"{i:024d}.npz" for i in range(n)}


def write_clips(folder: Path, n: int, spec: ClipSpec) -> dict[str, Path]:
    """Prepared files of noise, as build_cache writes them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    info = {"duration_s": 4.0, "frames_examined": 12, "states": [], "warnings": []}
    files = name_files(folder, n)
    for path in files.values():
        np.savez(
            path,
            face=rng.integers(0, 256, (N_CROPS, *spec.face.shape), np.uint8),
            face_found=np.ones(N_CROPS, bool),
            times_s=np.arange(N_CROPS, dtype=np.float32),
            boxes=np.zeros((N_CROPS, 4), np.float32),
            mfcc=rng.random(spec.audio.shape, np.float32),
            info=np.array(json.dumps(info)),
        )
    return files


def name_takes(files: dict[str, Path]) -> list[Sample]:
    return [
        Sample(name, "builtin", "builtin/01", "male", EMOTIONS[i % len(EMOTIONS)], ClipSource())
        for i, name in enumerate(files)
    ]


def drop_cache(folder: Path) -> None:
    """Ask the system to forget what it holds of files; a disk's own memory stays."""
    for path in folder.glob("*.npz"):
        with open(path, "rb") as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_crops(clips: Clips, seed: int) -> float:
    """Crops a second over one shuffled epoch, as float32."""
    order = np.random.default_rng(seed).permutation(len(clips.faces))
    start_s = time.perf_counter()
    for i in range(0, len(order) - BATCH + 1, BATCH):
        clips.faces[order[i : i + BATCH]].astype(np.float32)
    return len(order) / (time.perf_counter() - start_s)


def run_input(clips: Clips, seed: int, n_steps: int) -> float:
    """Steps a second of the input alone, after two that warm up."""
    from keras_emo.data.pipeline import stream_faces

    data, _ = stream_faces(clips, BATCH, seed, 4, FaceChanges())
    steps = iter(data)
    for _ in range(2):
        next(steps)
    start_s = time.perf_counter()
    for _ in range(n_steps):
        next(steps)
    return n_steps / (time.perf_counter() - start_s)


def race(peers: dict[str, Callable[[int], float]], rounds: int) -> dict[str, list[float]]:
    """Rates of each, in turn; the first round warms up."""
    rates: dict[str, list[float]] = {name: [] for name in peers}
    for i in range(rounds + 1):
        for name, call in peers.items():
            rate = call(i)
            if i:
                rates[name].append(rate)
    return rates


def print_race(title: str, unit: str, rates: dict[str, list[float]]) -> None:
    for name, values in rates.items():
        shares = [v / m for v, m in zip(values, rates["memory"], strict=True)]
        print(f"{title} {name:13} {median(values):10.1f} {unit}, {median(shares):.2f} of memory")


def time_size(root: Path, size_px: int, n: int, rounds: int, n_steps: int) -> None:
    spec = ClipSpec(face=FaceSpec(size_px=size_px))
    files = write_clips(root / "cache", n, spec)
    start_s = time.perf_counter()
    folder = pack_clips(files.values(), spec, root / "shards")
    packed_s = time.perf_counter() - start_s
    n_bytes = sum(p.stat().st_size for p in folder.glob("*.npz"))
    index = json.loads((folder / "index.json").read_text())
    start_s = time.perf_counter()
    verify_files(folder, index["shards"])
    verified_s = time.perf_counter() - start_s
    start_s = time.perf_counter()
    shards = open_shards(folder, verify=False)
    print(
        f"{size_px} px: {n} clips of {n_bytes / n / 1024:.0f} KiB, {len(shards.files)} shards; "
        f"packed at {n_bytes / MIB / packed_s:.0f} MiB/s, sha256 at "
        f"{n_bytes / MIB / verified_s:.0f} MiB/s, opened in "
        f"{1e3 * (time.perf_counter() - start_s):.0f} ms"
    )
    samples = name_takes(files)
    memory = load_clips(samples, files, spec.audio.shape, spec.face.shape)
    disk = open_clips(samples, files, shards)

    def read_cold(seed: int) -> float:
        drop_cache(folder)
        return read_crops(disk, seed)

    reads = {
        "memory": lambda seed: read_crops(memory, seed),
        "shards": lambda seed: read_crops(disk, seed),
        "shards, cold": read_cold,
    }
    print_race(f"{size_px} px, reading:", "crops/s", race(reads, rounds))

    def input_cold(seed: int) -> float:
        drop_cache(folder)
        return run_input(disk, seed, n_steps)

    inputs = {
        "memory": lambda seed: run_input(memory, seed, n_steps),
        "shards": lambda seed: run_input(disk, seed, n_steps),
        "shards, cold": input_cold,
    }
    print_race(f"{size_px} px, input:", f"steps/s of {BATCH}", race(inputs, rounds))


def measure_peak(root: Path, n: int, source: str) -> None:
    """In a process of its own: read an epoch of crops and sound, print the peak in MiB."""
    spec = ClipSpec(face=FaceSpec(size_px=64))
    files = name_files(root / "cache", n)
    samples = name_takes(files)
    before = read_peak()
    if source == "memory":
        clips = load_clips(samples, files, spec.audio.shape, spec.face.shape)
    else:
        (folder,) = (root / "shards").iterdir()
        clips = open_clips(samples, files, open_shards(folder, verify=False))
    opened = read_peak()
    for array in (clips.faces, clips.mfcc):
        order = np.random.default_rng(0).permutation(len(array))
        for i in range(0, len(order), BATCH):
            array[order[i : i + BATCH]]
    print(f"{before:.1f} {opened:.1f} {read_peak():.1f}")


def read_peak() -> float:
    """Peak resident memory of this process so far, MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def print_peaks(root: Path, n: int) -> None:
    spec = ClipSpec(face=FaceSpec(size_px=64))
    pack_clips(write_clips(root / "cache", n, spec).values(), spec, root / "shards")
    for source in ("memory", "shards"):
        command = [sys.executable, __file__, "--peak", str(root), str(n), source]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        before, opened, peak = done.stdout.split()
        print(
            f"{n:6} clips, {source}: peak {peak} MiB; {before} with their names alone, {opened} "
            "once opened",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 224])
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--memory", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--folder", type=Path, help="where clips are made (default: temporary)")
    parser.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        return measure_peak(Path(options.peak[0]), int(options.peak[1]), options.peak[2])
    for n in options.memory:
        with tempfile.TemporaryDirectory(dir=options.folder) as root:
            print_peaks(Path(root), n)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for size_px in options.sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as root:
            time_size(Path(root), size_px, options.clips, options.rounds, options.steps)
    return None


if __name__ == "__main__":
    main()
