"""Claim: apart from its start, Ray with one worker predicts about as fast as the plain command,
and with one worker per core about as many times faster as there are cores.

Every command is a process of its own with one thread per worker, on many clips and on a quarter of
them: the difference gives clips per second, the rest of the time is the start. In turn, medians.
With --preprocess also the preparation of the same clips, by this machine's processes and by Ray.

python benchmarks/bulk.py CLIPS [--clips 96] [--rounds 1] [--workers 1 --workers 2] [--preprocess]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from material import missing

Command = list[str]


def list_clips(folder: Path, n: int) -> list[Path]:
    """The first n videos below a folder. Ends the program where there are fewer."""
    found = sorted(p for p in folder.rglob("*.mp4"))[:n]
    if len(found) < n:
        sys.exit(f"error: {str(folder)!r}: {len(found)} clips, {n} are needed")
    return found


def name_commands(bundle: Path, workers: list[int], preprocess: bool) -> dict[str, Command]:
    """Options of keras-emo by what they are called here, without the clips and the output."""
    predict = ["predict", "--bundle", str(bundle), "--threads", "1"]
    named = {"predict, plain": [*predict, "--format", "csv"]}
    named["predict, parquet"] = [*predict, "--format", "parquet"]
    for n in workers:
        named[f"predict, ray {n}"] = [
            *predict, "--format", "parquet", "--engine", "ray", "--workers", str(n),
        ]  # fmt: skip
    for n in workers if preprocess else ():
        for engine in ("local", "ray"):
            named[f"preprocess, {engine} {n}"] = [
                "preprocess", "--engine", engine, "--workers", str(n),
            ]  # fmt: skip
    return named


def spend(command: Command, clips: Path, work: Path) -> float:
    """Seconds of a command on the clips below a folder."""
    out = work / "out"
    where = ["--data", str(clips), "--cache", str(out)]
    if command[0] == "predict":
        where = [str(clips), "--out", str(out)]
    start_s = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "keras_emo", *command, *where],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    spent_s = time.perf_counter() - start_s
    shutil.rmtree(out, ignore_errors=True)
    out.unlink(missing_ok=True)
    return spent_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=Path, help="folder with videos, as the built-in corpus")
    parser.add_argument("--bundle", type=Path, default=Path("saved_models/default"))
    parser.add_argument("--clips", type=int, default=96, dest="n_clips", metavar="N")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--workers", type=int, action="append", help="of Ray (default: 1 and 2)")
    parser.add_argument("--preprocess", action="store_true")
    options = parser.parse_args()
    lacking = missing(("ray", "psutil", "pyarrow"))
    if lacking:
        sys.exit(f"skipped, not installed: {', '.join(lacking)}")
    workers = options.workers or [1, 2]
    commands = name_commands(options.bundle, workers, options.preprocess)
    sizes = (options.n_clips // 4, options.n_clips)
    spent_s: dict[tuple[str, int], list[float]] = {(c, n): [] for c in commands for n in sizes}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for n in sizes:
            (work / str(n)).mkdir()
            for clip in list_clips(options.clips, n):
                (work / str(n) / clip.name).symlink_to(clip.resolve())
        for _ in range(options.rounds):
            for (called, n), times in spent_s.items():
                times.append(spend(commands[called], work / str(n), work))
    rates = {}
    for called in commands:
        few_s, many_s = (median(spent_s[called, n]) for n in sizes)
        rates[called] = (sizes[1] - sizes[0]) / (many_s - few_s)
        start_s = many_s - sizes[1] / rates[called]
        task = called.partition(",")[0]
        base = next(rate for other, rate in rates.items() if other.startswith(task))
        print(
            f"{called:<20} {rates[called]:6.2f} clips/s  {rates[called] / base:5.2f}x  "
            f"start {start_s:5.1f} s  {options.n_clips} clips in {many_s:6.1f} s"
        )


if __name__ == "__main__":
    main()
