"""Keras to ONNX through tf2onnx, which can write a broken file without raising: see parity.py."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.tools.update_model_dims import update_inputs_outputs_dims

from keras_emo.errors import EmoError, ExitCode, Reason
from keras_emo.export import IR_VERSION, OPSET

if TYPE_CHECKING:
    import keras

Shapes = Mapping[str, Sequence[str | int]]  # of tensors, by name
OUTPUTS = ("probs", "logits", "embedding")
# tf2onnx copies and folds every constant many times over: visual_alexnet with the preset faithful
# takes it 242 s and 13 GB, or 8 s and 2.5 GB where kernels this large stay outside meanwhile.
LARGE_ELEMENTS = 1 << 18


class GraphBuilder:
    """Nodes and constants of a graph, in order; numbered where no name is given."""

    def __init__(self, name: str):
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def add(self, op: str, *inputs: str | np.ndarray, output: str = "", **attributes: Any) -> str:
        """Add a node named after its output; returns that name."""
        output = output or f"{self.name}/{len(self.nodes)}"
        names = [self.constant(i) if isinstance(i, np.ndarray) else i for i in inputs]
        self.nodes.append(helper.make_node(op, names, [output], output, **attributes))
        return output

    def constant(self, value: np.ndarray, name: str = "") -> str:
        name = name or f"{self.name}/constant_{len(self.tensors)}"
        self.tensors.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def build(self, inputs: Shapes, outputs: Shapes) -> onnx.ModelProto:
        """The graph with these float32 inputs and outputs, by name and shape."""
        given, returned = (
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in v.items()]
            for v in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, self.name, given, returned, self.tensors)
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="keras_emo"
        )


class ExportError(EmoError):
    """A network that cannot be exported, or a file that computes something else."""

    exit_code = ExitCode.REJECTED


def convert_onnx(model: keras.Model, metadata: Mapping[str, Any]) -> onnx.ModelProto:
    """An ONNX ModelProto of a Keras functional model with dict inputs and outputs.

    Opset 18, dimensions ``batch`` and ``frames`` dynamic, inputs and outputs named as in Keras,
    metadata as JSON strings in metadata_props. Raises ExportError where tf2onnx reports one.
    """
    import keras
    import tensorflow as tf
    from tf2onnx import convert

    large = [w for w in model.weights if len(w.shape) == 2 and np.prod(w.shape) >= LARGE_ELEMENTS]
    inputs = {n: tf.TensorSpec(t.shape, tf.float32, name=n) for n, t in model.input.items()}
    kernels = [tf.TensorSpec(w.shape, tf.float32, name=f"kernel_{i}") for i, w in enumerate(large)]

    def call(x, values):
        with keras.StatelessScope(state_mapping=list(zip(large, values, strict=True))):
            outputs = model(x, training=False)
        return {name: outputs[name] for name in OUTPUTS}

    errors = BufferingHandler(capacity=1 << 20)  # what tf2onnx logs and otherwise passes over
    errors.setLevel(logging.ERROR)
    logger = logging.getLogger("tf2onnx")
    logger.addHandler(errors)
    function = tf.function(call, input_signature=[inputs, kernels])
    try:
        proto, _ = convert.from_function(function, input_signature=[inputs, kernels], opset=OPSET)
    finally:
        logger.removeHandler(errors)
    if errors.buffer:
        cause = "; ".join(record.getMessage() for record in errors.buffer)
        raise ExportError(model.name, Reason.EXPORT_FAILED, cause)
    _insert_kernels(proto, {f"kernel_{i}": w.numpy() for i, w in enumerate(large)})
    shapes = {n: name_dimensions(t) for n, t in {**model.input, **model.output}.items()}
    found = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    if found != {*model.input, *OUTPUTS}:
        cause = f"inputs and outputs are {sorted(found)}, expected {sorted(shapes)}"
        raise ExportError(model.name, Reason.EXPORT_FAILED, cause)
    del proto.graph.value_info[:]  # tf2onnx's own dimension names would contradict these
    proto = update_inputs_outputs_dims(proto, shapes, shapes)
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "keras_emo", ""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in metadata.items()}
    helper.set_model_props(proto, texts)
    return proto


def name_dimensions(tensor: Any) -> list[str | int]:
    """The shape of a Keras tensor; the sizes that vary are called ``batch`` and ``frames``."""
    names = ("batch", "frames")
    return [names[i] if size is None else int(size) for i, size in enumerate(tensor.shape)]


def check_proto(proto: onnx.ModelProto, path: Path) -> None:
    """onnx.checker with shape inference, standard operators only, no data outside the file.

    Raises ExportError.
    """
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ExportError(path, Reason.EXPORT_FAILED, str(e)) from e
    nodes = proto.graph.node
    foreign = {f"{n.domain}.{n.op_type}" for n in nodes if n.domain not in ("", "ai.onnx")}
    refused = sorted(foreign | ({n.op_type for n in nodes} & {"Loop", "Scan", "If"}))
    if refused:
        cause = f"{', '.join(refused)} in the graph: slow, or unknown to some runtimes"
        raise ExportError(path, Reason.EXPORT_FAILED, cause)


def _insert_kernels(proto: onnx.ModelProto, kernels: dict[str, np.ndarray]) -> None:
    """Turn the inputs that stood for kernels back into constants of the graph."""
    graph = proto.graph
    for given in list(graph.input):
        name = given.name.removesuffix(":0")
        if name in kernels:
            graph.input.remove(given)
            graph.initializer.append(numpy_helper.from_array(kernels[name], given.name))
