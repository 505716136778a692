"""Keras to ONNX through tf2onnx, which can write a broken file without raising: see parity.py."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keras_emo.errors import EmoError, ExitCode, Reason
from keras_emo.export import IR_VERSION, OPSET

if TYPE_CHECKING:
    import keras

OUTPUTS = ("probs", "logits", "embedding")
# tf2onnx copies and folds every constant many times over: a dense kernel of 4096 x 9216 costs
# it half a minute. Kernels this large stay outside while it converts.
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

    def build(
        self, inputs: Mapping[str, Sequence[str | int]], outputs: Mapping[str, Sequence[str | int]]
    ) -> onnx.ModelProto:
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
    inputs = {
        name: tf.TensorSpec(tensor.shape, tf.float32, name=name)
        for name, tensor in model.input.items()
    }
    kernels = [tf.TensorSpec(w.shape, tf.float32, name=f"kernel_{i}") for i, w in enumerate(large)]

    def call(x, values):
        with keras.StatelessScope(state_mapping=list(zip(large, values, strict=True))):
            outputs = model(x, training=False)
        return {name: outputs[name] for name in OUTPUTS}

    watch = _ErrorWatch()
    logger = logging.getLogger("tf2onnx")
    logger.addHandler(watch)
    function = tf.function(call, input_signature=[inputs, kernels])
    try:
        proto, _ = convert.from_function(function, input_signature=[inputs, kernels], opset=OPSET)
    finally:
        logger.removeHandler(watch)
    if watch.messages:
        raise ExportError(model.name, Reason.EXPORT_FAILED, "; ".join(watch.messages))
    _insert_kernels(proto, {f"kernel_{i}": w.numpy() for i, w in enumerate(large)})
    _name_dimensions(proto, model)
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "keras_emo", ""
    add_metadata(proto, metadata)
    return proto


def add_metadata(proto: onnx.ModelProto, metadata: Mapping[str, Any]) -> None:
    """Add values to metadata_props; values that are not text as JSON."""
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key = key
        entry.value = value if isinstance(value, str) else json.dumps(value)


def check_proto(proto: onnx.ModelProto, path: Path) -> None:
    """onnx.checker with shape inference, standard operators only, no data outside the file.

    Raises ExportError.
    """
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as e:
        raise ExportError(path, Reason.EXPORT_FAILED, str(e)) from e
    foreign = {n.domain for n in proto.graph.node if n.domain not in ("", "ai.onnx")}
    if foreign:
        cause = f"operators of another domain: {', '.join(sorted(foreign))}"
        raise ExportError(path, Reason.EXPORT_FAILED, cause)
    loops = sorted({n.op_type for n in proto.graph.node} & {"Loop", "Scan", "If"})
    if loops:
        cause = f"{', '.join(loops)} in the graph: slow, and refused by some runtimes"
        raise ExportError(path, Reason.EXPORT_FAILED, cause)


def _insert_kernels(proto: onnx.ModelProto, kernels: dict[str, np.ndarray]) -> None:
    """Turn the inputs that stood for kernels back into constants of the graph."""
    graph = proto.graph
    for given in list(graph.input):
        name = given.name.removesuffix(":0")
        if name in kernels:
            graph.input.remove(given)
            graph.initializer.append(numpy_helper.from_array(kernels[name], given.name))


def _name_dimensions(proto: onnx.ModelProto, model: keras.Model) -> None:
    """batch and frames instead of tf2onnx's unk__N; order of inputs and outputs as in Keras."""
    graph = proto.graph
    names = {"input": list(model.input), "output": list(OUTPUTS)}
    for kind, values in (("input", graph.input), ("output", graph.output)):
        by_name = {v.name: v for v in values}
        if set(by_name) != set(names[kind]):
            cause = f"{kind}s are {sorted(by_name)}, expected {sorted(names[kind])}"
            raise ExportError(graph.name, Reason.EXPORT_FAILED, cause)
        ordered = [by_name[n] for n in names[kind]]
        copies = [type(v).FromString(v.SerializeToString()) for v in ordered]
        del values[:]
        values.extend(copies)
        for value in values:
            tensor = (model.input if kind == "input" else model.output)[value.name]
            for axis, (dim, size) in enumerate(
                zip(value.type.tensor_type.shape.dim, tensor.shape, strict=True)
            ):
                if axis == 0:
                    dim.dim_param = "batch"
                elif size is None:
                    dim.dim_param = "frames"
                else:
                    dim.dim_value = int(size)
    del graph.value_info[:]  # tf2onnx's own dimension names would contradict these


class _ErrorWatch(logging.Handler):
    """Collects what tf2onnx logs as an error and otherwise passes over."""

    def __init__(self) -> None:
        super().__init__(level=logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())
