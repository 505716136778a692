"""Claim: from the start of a process to the first prediction at least ten times as fast.

Measured: ``keras-emo predict CLIP`` against ``benchmarks/naive.py`` (TensorFlow, Keras, librosa,
mtcnn) with the same network, each in a fresh process, in turn; median seconds and the ratio.
Files are in the page cache after the first round, which does not count.

python benchmarks/cold_start.py CLIP [--model fusion_multi_lstm] [--rounds 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from material import missing, train_nothing
from naive import PACKAGES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default="fusion_multi_lstm")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = "import sys; from keras_emo.cli import main; sys.exit(main(sys.argv[1:]))"
        lacking = missing(PACKAGES)
        if lacking:
            print(f"naive: skipped, not installed: {', '.join(lacking)}")
            ours: list[str] = ["predict", str(options.clip)]  # the default bundle
            peers = {"keras_emo": [sys.executable, "-c", command, *ours]}
        else:
            bundle, keras_file = train_nothing(options.model, Path(folder))
            ours = ["predict", str(options.clip), "--bundle", str(bundle)]
            naive = Path(__file__).with_name("naive.py")
            peers = {
                "keras_emo": [sys.executable, "-c", command, *ours],
                "naive": [sys.executable, str(naive), str(keras_file), str(options.clip)],
            }
        spent_s: dict[str, list[float]] = {k: [] for k in peers}
        for i in range(options.rounds + 1):
            for name, arguments in peers.items():
                start_s = time.perf_counter()
                done = subprocess.run(arguments, capture_output=True, text=True)
                if done.returncode not in (0, 4):  # 4: a prediction with a warning
                    sys.exit(f"{name} failed: {done.stderr[-2000:]}")
                if i:
                    spent_s[name].append(time.perf_counter() - start_s)
    for name, times in spent_s.items():
        print(f"{name:<10} {median(times):6.2f} s to the first prediction, {len(times)} processes")
    if len(spent_s) == 2:
        pairs = zip(spent_s["naive"], spent_s["keras_emo"], strict=True)
        print(f"ratio      {median(a / b for a, b in pairs):6.1f}")


if __name__ == "__main__":
    main()
