"""What a clip costs at each stage, and whether that grows with the number of clips.

Prepares, reads, trains an epoch on and predicts the first 10, 100, 1,000 and all clips of a corpus,
every measurement in a process of its own: seconds, processor seconds and bytes a clip, and peak
memory. Prints a table in Markdown; --plot draws it.

python benchmarks/growth.py --data RAVDESS [--config configs/ravdess_joint.toml] \\
  [--counts 10 100 1000] [--bundle DIR] [--json FILE] [--plot PNG]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_emo.data.cache import build_cache
from keras_emo.data.corpora import read_corpus
from keras_emo.data.corpus import Sample
from keras_emo.spec import ClipSpec
from keras_emo.training.config import read_config

STAGES = {
    "prepare": "decode, find the face, compute the MFCC",
    "read": "check the prepared files, one shuffled epoch of crops",
    "train": "one epoch of the face network, four crops a clip",
    "predict": "clip to label, one process",
}
MIB = 1 << 20


def choose_samples(data: Path, n: int) -> list[Sample]:
    """The first n of all samples in an order that is the same every time and mixes speakers."""
    samples = sorted(read_corpus(data, "auto", skip_bad=True).samples, key=lambda t: t.sample_id)
    random.Random(0).shuffle(samples)
    return samples[:n] if n else samples


def find_prepared(samples: Sequence[Sample], spec: ClipSpec, root: Path) -> dict[str, Path]:
    report = build_cache(samples, spec, root / "cache", workers=1)
    if report.computed:
        raise SystemExit("the clips were to be prepared already")
    return report.files


def prepare(
    samples: Sequence[Sample], options: argparse.Namespace, spec: ClipSpec
) -> dict[str, Any]:
    report = build_cache(samples, spec, options.root / "cache", workers=0)
    return {
        "clips": len(report.files),
        "bytes": sum(p.stat().st_size for p in report.files.values()),
    }


def open_training(samples: Sequence[Sample], options: argparse.Namespace, spec: ClipSpec):
    from keras_emo.data.clips import open_clips

    files = find_prepared(samples, spec, options.root)
    started = clocks()
    return open_clips(samples, files, spec), started


def read(samples: Sequence[Sample], options: argparse.Namespace, spec: ClipSpec) -> dict[str, Any]:
    import numpy as np

    clips, started = open_training(samples, options, spec)
    order = np.random.default_rng(0).permutation(len(clips.faces))
    for i in range(0, len(order), 64):
        clips.faces[order[i : i + 64]]
    return {"clips": len(clips), **spent(started)}


def train(samples: Sequence[Sample], options: argparse.Namespace, spec: ClipSpec) -> dict[str, Any]:

    from keras_emo.data.pipeline import Schedule, stream_faces
    from keras_emo.networks import build
    from keras_emo.training.distributed import Replicas
    from keras_emo.training.fit import compile_model, cross_entropy, make_step

    config = read_config(options.config, {})
    name, replicas = "visual_residual", Replicas()
    stage = config.of_stage(name)
    clips, _ = open_training(samples, options, spec)
    data, steps = stream_faces(clips, Schedule(stage.batch, 0), stage.crops_a_clip, config.faces)
    model = build(name, config.preset, config.model, spec)
    compile_model(model, stage, steps)
    model.optimizer.build(model.trainable_variables)
    step, batches = make_step(model, cross_entropy(stage, "sum"), replicas), replicas.iterate(data)
    float(step(batches))  # builds the graph
    started = clocks()
    for _ in range(steps):
        loss = step(batches)
    float(loss)
    return {"clips": len(clips), "steps": steps, **spent(started)}


def predict(
    samples: Sequence[Sample], options: argparse.Namespace, spec: ClipSpec
) -> dict[str, Any]:
    from keras_emo import load
    from keras_emo.inference.bundle import load_bundle

    predictor = load(load_bundle(options.bundle))
    paths = [sample.source.video for sample in samples if sample.source.video is not None]
    predictor.predict(paths[0])
    started = clocks()
    for path in paths:
        predictor.predict(path)
    return {"clips": len(paths), **spent(started)}


def clocks() -> tuple[float, float]:
    """Wall and processor seconds so far, of this process and of its children that ended."""
    usage = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in usage)


def spent(since: tuple[float, float]) -> dict[str, float]:
    wall_s, cpu_s = (now - then for now, then in zip(clocks(), since, strict=True))
    return {"wall_s": wall_s, "cpu_s": cpu_s}


def measure(stage: str, n: int, options: argparse.Namespace) -> dict[str, Any]:
    """One stage with n clips, in this process."""
    spec = read_config(options.config, {}).clip
    samples = choose_samples(options.data, n)
    started = clocks()
    figures = globals()[stage](samples, options, spec)
    kib = max(
        resource.getrusage(w).ru_maxrss for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return {"stage": stage, **spent(started), **figures, "peak_mib": kib / 1024}


def measure_apart(stage: str, n: int, root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--stage", stage, "--n", str(n), "--root", str(root)]
    for name in ("data", "config", "bundle"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = [
        "| stage | clips | seconds | ms a clip | processor ms a clip | kB a clip | peak MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        n = row["clips"]
        size = f"{row['bytes'] / n / 1000:.0f}" if "bytes" in row else ""
        lines.append(
            f"| {row['stage']} | {n:,} | {row['wall_s']:.1f} | {1000 * row['wall_s'] / n:.1f} "
            f"| {1000 * row['cpu_s'] / n:.1f} | {size} | {row['peak_mib']:.0f} |"
        )
    return "\n".join(lines)


def find_growth(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """By stage, the power of the number of clips with which seconds grew over the last step."""
    powers = {}
    for stage in STAGES:
        *_, few, many = sorted((r for r in rows if r["stage"] == stage), key=lambda r: r["clips"])
        powers[stage] = math.log(many["wall_s"] / few["wall_s"]) / math.log(
            many["clips"] / few["clips"]
        )
    return powers


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Seconds and memory against the number of clips, both axes in powers of ten."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for axes, key, label in zip(
        figure.subplots(1, 2), ("wall_s", "peak_mib"), ("seconds", "peak memory, MiB"), strict=True
    ):
        for stage, what in STAGES.items():
            own = sorted((r for r in rows if r["stage"] == stage), key=lambda r: r["clips"])
            axes.loglog(
                [r["clips"] for r in own], [r[key] for r in own], "o-", label=f"{stage}: {what}"
            )
        axes.set_xlabel("clips")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("configs/ravdess_joint.toml"))
    parser.add_argument("--bundle", type=Path, default=Path("saved_models/default"))
    parser.add_argument("--counts", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--stage", choices=tuple(STAGES), help=argparse.SUPPRESS)
    parser.add_argument("--n", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(measure(options.stage, options.n, options)))
        return 0
    rows = []
    for n in (*options.counts, 0):
        with tempfile.TemporaryDirectory() as folder:
            for stage in STAGES:
                rows.append(measure_apart(stage, n, Path(folder), options))
                print(format_rows(rows[-1:]).splitlines()[-1], flush=True)
    print(format_rows(rows))
    for stage, power in find_growth(rows).items():
        print(f"{stage}: seconds grow with clips to the power of {power:.2f}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if options.plot:
        draw(rows, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
