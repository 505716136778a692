"""Claim: a prediction takes little longer than decoding the file, and far less than elsewhere.

Measured on a clip of 3.7 s, 1280x720, 30 fps, made from the given one: ``Model.predict``,
warm; decoding every packet of picture and sound of the same file with PyAV, without conversion, on
as many threads; and the naive pipeline (mtcnn on every tenth frame, librosa, Keras ``predict``),
warm. All in turn in one process; median ms and the median ratio of runs that followed each other.

python benchmarks/pipeline.py CLIP [--alone] [--bundle BUNDLE] [--rounds 7] [--threads 1 ...]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from material import missing, train_nothing, write_hd_clip
from naive import PACKAGES, NaivePipeline


def decode_alone(clip: Path, threads: int) -> Callable[[], int]:
    """Demultiplex and decode everything; threads 0: as many as FFmpeg likes."""
    import av

    def decode() -> int:
        n_frames = 0
        with av.open(str(clip)) as container:
            for stream in container.streams:
                stream.codec_context.thread_count = threads
                stream.codec_context.thread_type = "AUTO"
            for packet in container.demux():
                n_frames += len(packet.decode())
        return n_frames

    return decode


def race(peers: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, in turn; the first round warms up."""
    spent_ms: dict[str, list[float]] = {name: [] for name in peers}
    for i in range(rounds + 1):
        for name, call in peers.items():
            start_s = time.perf_counter()
            call()
            if i:
                spent_ms[name].append(1e3 * (time.perf_counter() - start_s))
    return spent_ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--bundle", type=Path, help="default: an untrained fusion_multi_lstm")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, action="append", help="0: the cores at hand")
    parser.add_argument("--alone", action="store_true", help="without the naive pipeline")
    options = parser.parse_args()
    from keras_emo import load

    lacking = missing(PACKAGES)
    with tempfile.TemporaryDirectory() as folder:
        clip = write_hd_clip(options.clip, Path(folder) / "hd.mp4")
        naive, bundle = None, options.bundle or Path("saved_models/default")
        if options.alone:
            print("naive: left out")
        elif lacking:
            print(f"naive: skipped, not installed: {', '.join(lacking)}")
        else:
            made, keras_file = train_nothing("fusion_multi_lstm", Path(folder))
            naive, bundle = NaivePipeline(keras_file), options.bundle or made
        for threads in options.threads or (1, 0):
            predictor = load(bundle, threads=threads)
            peers: dict[str, Callable[[], object]] = {
                "predict": lambda p=predictor: p.predict(clip),
                "decode": decode_alone(clip, threads),
            }
            spent_ms = race(peers, options.rounds)
            print(f"threads {threads or 'all'}")
            _report(spent_ms, "predict", "decode")
        if naive is not None:
            print("threads all, the naive pipeline")
            peers = {
                "naive": lambda: naive.predict(clip),
                "predict": lambda: predictor.predict(clip),
            }
            _report(race(peers, max(2, options.rounds // 2)), "naive", "predict")


def _report(spent_ms: dict[str, list[float]], slow: str, fast: str) -> None:
    for name, times in spent_ms.items():
        print(f"  {name:<8} {median(times):8.1f} ms")
    pairs = zip(spent_ms[slow], spent_ms[fast], strict=True)
    print(f"  {slow} / {fast}: {median(a / b for a, b in pairs):.2f}")


if __name__ == "__main__":
    main()
