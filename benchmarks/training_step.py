"""Claim: a training step takes less time than the same step in PyTorch on the CPU.

Measured: steps a second of ``visual_residual`` (width 0.75, 64 px) and of the compact
``visual_alexnet`` (224 px), batch 32, float32, AdamW with clipping, a constant batch in memory: a
bare tf.function, this project's loop, Keras's Model.fit, and the same networks in PyTorch,
channels last, eager and with torch.compile; beside them the loop with XLA, and both sides in
bfloat16. The loop is kept for what Model.fit cannot do, not for speed: fit fails under
MultiWorkerMirroredStrategy (Keras 3.15), and it clips the gradients of each replica before they
are summed, so that weights would depend on the number of replicas. Model.fit is measured twice:
by the call, and from its first step on, since a call prepares for a while before it. A process
each for TensorFlow and PyTorch that take turns; medians, and the median of each round's ratio to
this project's loop.

Needs the training packages, and for PyTorch a Python that has it (``pip install torch``; for
torch.compile a C++ compiler): without --torch those rows are left out.

python benchmarks/training_step.py [--torch PYTHON] [--net residual] [--rounds 25] [--steps 8]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

NETS = {"residual": "visual_residual", "alexnet": "visual_alexnet"}
WHOLE_CALL, ITS_STEPS = "Model.fit, a call", "Model.fit, its steps"
KERAS_VARIANTS = ("loop", "loop, XLA", "loop, bfloat16", "bare step", WHOLE_CALL, ITS_STEPS)
TORCH_VARIANTS = ("eager", "compiled", "bfloat16")


def build(net: str):
    """A fresh network of the size that is compared."""
    import keras

    from keras_emo.networks import build
    from keras_emo.spec import ClipSpec, FaceSpec

    keras.utils.set_random_seed(0)
    spec = ClipSpec(face=FaceSpec(size_px=64 if net == "residual" else 224))
    return build(NETS[net], "compact", {"visual_residual": {"width": 0.75}}, spec)


def serve(net: str, batch: int) -> None:
    """Measure on request, as benchmarks/torch_step.py does."""
    import keras
    import numpy as np
    import tensorflow as tf

    from keras_emo.training.config import StageConfig
    from keras_emo.training.distributed import Replicas
    from keras_emo.training.fit import compile_model, cross_entropy, make_step, run_epochs
    from keras_emo.training.run import using_precision

    rng, stage = np.random.default_rng(0), StageConfig(batch=batch, epochs=10**6)
    replicas = Replicas()
    models = {}
    for variant in KERAS_VARIANTS:
        with using_precision("bfloat16" if "bfloat16" in variant else ""):
            models[variant] = build(net)
    size = models["loop"].input["face"].shape[1]
    x = {"face": tf.constant(rng.uniform(0, 255, (batch, size, size, 3)).astype(np.float32))}
    y = {"logits": tf.one_hot(rng.integers(0, 7, batch), 7)}
    weights = {"logits": tf.constant(rng.uniform(0.5, 1.5, batch).astype(np.float32))}
    data = tf.data.Dataset.from_tensors((x, y, weights, float(batch))).repeat().prefetch(2)
    for model in models.values():
        compile_model(model, stage, 100)
        model.optimizer.build(model.trainable_variables)

    def loop(variant: str):
        model, total = models[variant], cross_entropy(stage, "sum")
        step = make_step(model, total, replicas, xla=variant == "loop, XLA")

        def run(n: int) -> None:
            run_epochs(model, data, n, range(1), [], step, replicas)

        return run

    plain = data.map(lambda x, y, w, _: (x, y, w))

    def fit(n: int) -> None:
        models[WHOLE_CALL].fit(plain, steps_per_epoch=n, verbose=0, shuffle=False)

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.start_s = time.perf_counter() if batch == 0 else self.start_s

    def fit_steps(n: int) -> float:
        clock = Clock()
        models[ITS_STEPS].fit(plain, steps_per_epoch=n, verbose=0, shuffle=False, callbacks=[clock])
        return clock.start_s

    bare, mean = models["bare step"], cross_entropy(stage, "sum_over_batch_size")

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = bare(x, training=True)["logits"]
            loss = mean(y["logits"], logits, weights["logits"])
        gradients = tape.gradient(loss, bare.trainable_variables)
        bare.optimizer.apply(gradients, bare.trainable_variables)
        return loss

    def run_bare(n: int) -> None:
        for _ in range(n):
            loss = step()
        float(loss)

    runs = {
        **{variant: loop(variant) for variant in KERAS_VARIANTS if variant.startswith("loop")},
        "bare step": run_bare,
        WHOLE_CALL: fit,
        ITS_STEPS: fit_steps,
    }
    n_parameters = sum(int(np.prod(v.shape)) for v in bare.trainable_variables)
    print(f"TensorFlow {tf.__version__} {n_parameters}", flush=True)
    for line in sys.stdin:
        variant, n = line.rsplit(maxsplit=1)
        start_s = time.perf_counter()
        start_s = runs[variant](int(n)) or start_s
        print(time.perf_counter() - start_s, flush=True)


class Peer:
    """A process that measures its variants on request."""

    def __init__(self, command: list[str], threads: int):
        settings = {
            "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OMP_WAIT_POLICY": "PASSIVE",
            "OMP_NUM_THREADS": str(threads), "TF_NUM_INTRAOP_THREADS": str(threads),
        }  # fmt: skip
        self.process = subprocess.Popen(
            command, env={**os.environ, **settings}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.name, self.version, parameters = self._read().split()
        self.n_parameters = int(parameters)

    def measure(self, variant: str, n: int) -> float:
        """Steps a second."""
        assert self.process.stdin is not None
        print(variant, n, file=self.process.stdin, flush=True)
        return n / float(self._read())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.process.args[1]} ended")  # type: ignore[index]
        return line


def compare(net: str, options: argparse.Namespace) -> None:
    """Print the table of one network."""
    here, common = Path(__file__), [net, "--batch", str(options.batch)]
    ours = Peer([sys.executable, str(here), "--serve", *common], options.threads)
    rows: list[tuple[str, Peer, str]] = [(v, ours, v) for v in KERAS_VARIANTS]
    if options.torch is not None:
        command = [options.torch, str(here.with_name("torch_step.py")), *common]
        theirs = Peer([*command, "--threads", str(options.threads)], options.threads)
        if theirs.n_parameters != ours.n_parameters:
            sys.exit(f"{ours.n_parameters} parameters here, {theirs.n_parameters} there")
        rows += [(f"PyTorch {v}", theirs, v) for v in TORCH_VARIANTS]
    rates: dict[str, list[float]] = {name: [] for name, _, _ in rows}
    for i in range(options.rounds + 1):
        for name, peer, variant in rows:
            rate = peer.measure(variant, options.steps if i else 3)  # the first traces
            if i:
                rates[name].append(rate)
    peers = {peer.name: peer for _, peer, _ in rows}.values()
    versions = ", ".join(f"{peer.name} {peer.version}" for peer in peers)
    size = f"{ours.n_parameters:,} trained weights"
    print(f"{NETS[net]}: {size}, batch {options.batch}, {options.threads} threads, {versions}")
    for name, values in rates.items():
        ratio = median(a / b for a, b in zip(rates["loop"], values, strict=True))
        print(f"  {name:<20} {median(values):7.2f} steps/s   loop is {ratio:5.2f} times as fast")
    for peer in peers:
        peer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has PyTorch")
    parser.add_argument("--net", action="append", choices=tuple(NETS))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--serve", choices=tuple(NETS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve, options.batch)
        return
    for net in options.net or NETS:
        compare(net, options)


if __name__ == "__main__":
    main()
