"""MTCNN's three networks as ONNX files, from the weights the ``mtcnn`` package ships.

``python -m keras_emo.export.detector`` writes them into the package; TensorFlow is not imported.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx

from keras_emo.errors import EmoError, EnvironmentFailure, Reason
from keras_emo.export.onnx import GraphBuilder
from keras_emo.export.quantize import halve_weights
from keras_emo.features.mtcnn import PACKAGE_DATA

# elements: kernels this large are stored as float16, which moves a box by 0.1 px; P-Net, whose
# scores decide ties, has none
_HALVED = 10_000


class _Graph(GraphBuilder):
    """A network whose weights are taken one after another from a Keras weight list."""

    def __init__(self, name: str, weights: list[np.ndarray], height: str | int, width: str | int):
        super().__init__(name)
        self.weights = weights
        self.inputs = {"image": ("batch", height, width, 3)}
        self.outputs: dict[str, tuple[str | int, ...]] = {}

    def take(self, *shape: int) -> np.ndarray:
        """The next weight array. Raises EmoError unless it has ``shape``."""
        found = np.asarray(self.weights.pop(0)) if self.weights else np.empty(0)
        if found.shape != shape:
            cause = f"expected weights of shape {shape}, found {found.shape}"
            raise EmoError(self.name, Reason.EXPORT_FAILED, cause)
        return found

    def conv(self, x: str, name: str, n_in: int, n_out: int, size: int) -> str:
        kernel, bias = self.take(size, size, n_in, n_out), self.take(n_out)
        weight = self.constant(kernel.transpose(3, 2, 0, 1), f"{name}.weight")
        bias_name = self.constant(bias, f"{name}.bias")
        return self.add("Conv", x, weight, bias_name, output=name, kernel_shape=[size, size])

    def prelu(self, x: str, *shape: int) -> str:
        slope = self.take(*shape)
        slope = slope.reshape(-1, 1, 1) if len(shape) == 3 else slope
        return self.add("PRelu", x, self.constant(slope, f"{x}.slope"), output=f"{x}.prelu")

    def pool(self, x: str, name: str, size: int, same: bool = True) -> str:
        # ceil mode equals TensorFlow's "same" here: it pads at the end, with the lowest value
        window = {"kernel_shape": [size, size], "strides": [2, 2], "ceil_mode": int(same)}
        return self.add("MaxPool", x, output=name, **window)

    def conv_block(self, x: str, name: str, n_in: int, n_out: int, size: int) -> str:
        return self.prelu(self.conv(x, name, n_in, n_out, size), 1, 1, n_out)

    def dense(self, x: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        names = [self.constant(weight, f"{name}.weight"), self.constant(bias, f"{name}.bias")]
        return self.add("Gemm", x, *names, output=name)

    def flat_dense(self, x: str, name: str, side: int, channels: int, n_out: int) -> str:
        """Flatten and dense layer; Keras flattens (width, height, channel), ONNX NCHW."""
        weight, bias = self.take(side * side * channels, n_out), self.take(n_out)
        weight = weight.reshape(side, side, channels, n_out).transpose(2, 1, 0, 3)
        flat = self.add("Flatten", x, output=f"{name}.flat", axis=1)
        return self.prelu(self.dense(flat, name, weight.reshape(-1, n_out), bias), n_out)

    def scores(self, logits: str, *shape: str) -> None:
        """Face probability: the second of two classes on axis 1."""
        # a softmax as in Keras, not a sigmoid of the difference: it reaches 1.0 at the same
        # windows, and ties at 1.0 decide which window wins
        both = self.add("Softmax", logits, output="softmax", axis=1)
        face = self.constant(np.array(1, np.int64), "face_class")
        self.add("Gather", both, face, output="scores", axis=1)
        self.outputs["scores"] = shape

    def model(self) -> onnx.ModelProto:
        if self.weights:
            cause = f"{len(self.weights)} weight arrays left over"
            raise EmoError(self.name, Reason.EXPORT_FAILED, cause)
        model = self.build(self.inputs, self.outputs)
        halve_weights(model.graph, _HALVED)
        onnx.checker.check_model(model, full_check=True)
        return model


def _pnet(weights: list[np.ndarray]) -> onnx.ModelProto:
    g = _Graph("pnet", weights, "height", "width")
    x = g.add("Transpose", "image", output="nchw", perm=[0, 3, 1, 2])
    x = g.pool(g.conv_block(x, "conv1", 3, 10, 3), "pool1", 2)
    x = g.conv_block(x, "conv2", 10, 16, 3)
    x = g.conv_block(x, "conv3", 16, 32, 3)
    g.add("Transpose", g.conv(x, "conv4_1", 32, 4, 1), output="boxes", perm=[0, 2, 3, 1])
    g.outputs["boxes"] = ("batch", "rows", "columns", 4)
    g.scores(g.conv(x, "conv4_2", 32, 2, 1), "batch", "rows", "columns")
    return g.model()


def _rnet(weights: list[np.ndarray]) -> onnx.ModelProto:
    g = _Graph("rnet", weights, 24, 24)
    x = g.add("Transpose", "image", output="nchw", perm=[0, 3, 1, 2])
    x = g.pool(g.conv_block(x, "conv1", 3, 28, 3), "pool1", 3)
    x = g.pool(g.conv_block(x, "conv2", 28, 48, 3), "pool2", 3, same=False)
    x = g.conv_block(x, "conv3", 48, 64, 2)
    x = g.flat_dense(x, "fc4", 3, 64, 128)
    g.dense(x, "boxes", g.take(128, 4), g.take(4))
    g.outputs["boxes"] = ("batch", 4)
    g.scores(g.dense(x, "fc5_2", g.take(128, 2), g.take(2)), "batch")
    return g.model()


def _onet(weights: list[np.ndarray]) -> onnx.ModelProto:
    g = _Graph("onet", weights, 48, 48)
    x = g.add("Transpose", "image", output="nchw", perm=[0, 3, 1, 2])
    x = g.pool(g.conv_block(x, "conv1", 3, 32, 3), "pool1", 3)
    x = g.pool(g.conv_block(x, "conv2", 32, 64, 3), "pool2", 3, same=False)
    x = g.pool(g.conv_block(x, "conv3", 64, 64, 3), "pool3", 2)
    x = g.conv_block(x, "conv4", 64, 128, 2)
    x = g.flat_dense(x, "fc5", 3, 128, 256)
    for name, size in (("boxes", 4), ("landmarks", 10)):
        g.dense(x, name, g.take(256, size), g.take(size))
        g.outputs[name] = ("batch", size)
    g.scores(g.dense(x, "fc6_3", g.take(256, 2), g.take(2)), "batch")
    return g.model()


_BUILDERS = {"pnet": _pnet, "rnet": _rnet, "onet": _onet}


def _weights_folder() -> Path:
    spec = importlib.util.find_spec("mtcnn")  # found, not imported: importing loads TensorFlow
    if spec is None or spec.origin is None:
        cause = "install the training packages: pip install 'keras_emo[train]'"
        raise EnvironmentFailure("mtcnn", Reason.MISSING_PACKAGE, cause)
    return Path(spec.origin).parent / "assets" / "weights"


def export_detector(folder: Path) -> dict[str, Path]:
    """Write pnet.onnx, rnet.onnx and onet.onnx; the same weights give the same bytes.

    Each takes ``image``, float32 NHWC RGB scaled by (pixel - 127.5) / 128: any size from
    12x12 up for pnet, exactly 24x24 for rnet and 48x48 for onet. Each returns ``boxes``,
    the regression of (x1, y1, x2, y2) in box sizes, and ``scores``, the face
    probability 0..1; onet also ``landmarks``, five x then five y in box sizes.

    Returns the paths by network name. Raises EmoError when the weights are not MTCNN's,
    EnvironmentFailure when a package is missing.
    """
    try:
        import joblib  # the files are lz4: joblib needs that package as well
        import lz4.frame  # noqa: F401
    except ImportError as error:
        raise EnvironmentFailure("mtcnn", Reason.MISSING_PACKAGE, str(error)) from error
    source = _weights_folder()
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, build in _BUILDERS.items():
        model = build(list(joblib.load(source / f"{name}.lz4")))
        paths[name] = folder / f"{name}.onnx"
        paths[name].write_bytes(model.SerializeToString(deterministic=True))
    return paths


if __name__ == "__main__":
    for path in export_detector(PACKAGE_DATA).values():
        print(f"{path} ({path.stat().st_size} bytes)")
