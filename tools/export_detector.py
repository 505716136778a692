"""MTCNN's three networks as ONNX files, from the weights the ``mtcnn`` package ships.

``python tools/export_detector.py`` writes them into the package; TensorFlow is not imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import onnx

from keras_emo.export.onnx import GraphBuilder
from keras_emo.export.quantize import halve_weights
from keras_emo.features.mtcnn import PACKAGE_DATA

# elements: kernels this large are stored as float16, which moves a box by 0.1 px; P-Net, whose
# scores decide ties, has none
_HALVED = 10_000


class _Graph(GraphBuilder):
    """A network whose weights are taken one after another from a Keras weight list."""

    def __init__(self, name: str, weights: Iterable[np.ndarray], *size: str | int):
        super().__init__(name)
        self.weights = iter(weights)
        self.inputs = {"image": ("batch", *size, 3)}
        self.outputs: dict[str, tuple[str | int, ...]] = {}
        self.add("Transpose", "image", output="nchw", perm=[0, 3, 1, 2])

    def conv(self, x: str, name: str) -> str:
        kernel, bias = next(self.weights), next(self.weights)
        size = list(kernel.shape[:2])
        weight = self.constant(kernel.transpose(3, 2, 0, 1), f"{name}.weight")
        bias_name = self.constant(bias, f"{name}.bias")
        return self.add("Conv", x, weight, bias_name, output=name, kernel_shape=size)

    def prelu(self, x: str) -> str:
        slope = next(self.weights)
        slope = slope.reshape(-1, 1, 1) if slope.ndim == 3 else slope
        return self.add("PRelu", x, self.constant(slope, f"{x}.slope"), output=f"{x}.prelu")

    def pool(self, x: str, name: str, size: int, same: bool = True) -> str:
        # ceil mode equals TensorFlow's "same" here: it pads at the end, with the lowest value
        window = {"kernel_shape": [size, size], "strides": [2, 2], "ceil_mode": int(same)}
        return self.add("MaxPool", x, output=name, **window)

    def conv_block(self, x: str, name: str) -> str:
        return self.prelu(self.conv(x, name))

    def dense(self, x: str, name: str, weight: np.ndarray | None = None) -> str:
        weight = next(self.weights) if weight is None else weight
        weight_name = self.constant(weight, f"{name}.weight")
        bias_name = self.constant(next(self.weights), f"{name}.bias")
        return self.add("Gemm", x, weight_name, bias_name, output=name)

    def flat_dense(self, x: str, name: str, side: int) -> str:
        """Flatten and dense layer; Keras flattens (width, height, channel), ONNX NCHW."""
        weight = next(self.weights)
        n_out = weight.shape[1]
        weight = weight.reshape(side, side, -1, n_out).transpose(2, 1, 0, 3).reshape(-1, n_out)
        flat = self.add("Flatten", x, output=f"{name}.flat", axis=1)
        return self.prelu(self.dense(flat, name, weight))

    def scores(self, logits: str, *shape: str) -> None:
        """Face probability: the second of two classes on axis 1."""
        # a softmax as in Keras, not a sigmoid of the difference: it reaches 1.0 at the same
        # windows, and ties at 1.0 decide which window wins
        both = self.add("Softmax", logits, output="softmax", axis=1)
        face = self.constant(np.array(1, np.int64), "face_class")
        self.add("Gather", both, face, output="scores", axis=1)
        self.outputs["scores"] = shape

    def model(self) -> onnx.ModelProto:
        model = self.build(self.inputs, self.outputs)
        halve_weights(model.graph, _HALVED)
        onnx.checker.check_model(model, full_check=True)
        return model


def _pnet(weights: Iterable[np.ndarray]) -> onnx.ModelProto:
    g = _Graph("pnet", weights, "height", "width")
    x = g.pool(g.conv_block("nchw", "conv1"), "pool1", 2)
    x = g.conv_block(g.conv_block(x, "conv2"), "conv3")
    g.add("Transpose", g.conv(x, "conv4_1"), output="boxes", perm=[0, 2, 3, 1])
    g.outputs["boxes"] = ("batch", "rows", "columns", 4)
    g.scores(g.conv(x, "conv4_2"), "batch", "rows", "columns")
    return g.model()


def _rnet(weights: Iterable[np.ndarray]) -> onnx.ModelProto:
    g = _Graph("rnet", weights, 24, 24)
    x = g.pool(g.conv_block("nchw", "conv1"), "pool1", 3)
    x = g.pool(g.conv_block(x, "conv2"), "pool2", 3, same=False)
    x = g.flat_dense(g.conv_block(x, "conv3"), "fc4", 3)
    g.dense(x, "boxes")
    g.outputs["boxes"] = ("batch", 4)
    g.scores(g.dense(x, "fc5_2"), "batch")
    return g.model()


def _onet(weights: Iterable[np.ndarray]) -> onnx.ModelProto:
    g = _Graph("onet", weights, 48, 48)
    x = g.pool(g.conv_block("nchw", "conv1"), "pool1", 3)
    x = g.pool(g.conv_block(x, "conv2"), "pool2", 3, same=False)
    x = g.pool(g.conv_block(x, "conv3"), "pool3", 2)
    x = g.flat_dense(g.conv_block(x, "conv4"), "fc5", 3)
    for name, size in (("boxes", 4), ("landmarks", 10)):
        g.dense(x, name)
        g.outputs[name] = ("batch", size)
    g.scores(g.dense(x, "fc6_3"), "batch")
    return g.model()


def export_detector(folder: Path) -> dict[str, Path]:
    """Write pnet.onnx, rnet.onnx and onet.onnx; the same weights give the same bytes.

    Each takes ``image``, float32 NHWC RGB scaled by (pixel - 127.5) / 128: any size from
    12x12 up for pnet, exactly 24x24 for rnet and 48x48 for onet. Each returns ``boxes``,
    the regression of (x1, y1, x2, y2) in box sizes, and ``scores``, the face
    probability 0..1; onet also ``landmarks``, five x then five y in box sizes.

    Returns the paths by network name. Raises ImportError without mtcnn, joblib or lz4.
    """
    import joblib
    import lz4.frame  # noqa: F401  # the files are lz4: joblib needs that package as well

    # located, not imported: importing mtcnn loads TensorFlow
    source = Path(str(distribution("mtcnn").locate_file("mtcnn/assets/weights")))
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, build in {"pnet": _pnet, "rnet": _rnet, "onet": _onet}.items():
        model = build([np.asarray(weight) for weight in joblib.load(source / f"{name}.lz4")])
        paths[name] = folder / f"{name}.onnx"
        paths[name].write_bytes(model.SerializeToString(deterministic=True))
    return paths


if __name__ == "__main__":
    for path in export_detector(PACKAGE_DATA).values():
        print(f"{path} ({path.stat().st_size} bytes)")
