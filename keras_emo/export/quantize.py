"""Smaller graphs: int8 arithmetic, or weights stored as float16."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from keras_emo.errors import Reason
from keras_emo.export import IR_VERSION, OPSET
from keras_emo.export.onnx import ExportError
from keras_emo.inference.batch import Batch
from keras_emo.labels import N_EMOTIONS

METHOD = "static QDQ, per channel, weights of 7 bits, activations uint8, min-max"
QUANTIZED = ("Conv", "Gemm", "MatMul")
# between two quantized layers these stay in integers; anywhere else they stay float
CARRIERS = ("Relu", "MaxPool", "AveragePool", "Transpose", "Reshape")


class NothingToQuantize(ExportError):
    """A network that does not gain from a smaller number format."""


def quantize_int8(proto: onnx.ModelProto, feeds: Iterable[Batch], name: str) -> onnx.ModelProto:
    """The network with int8 convolutions and dense layers, by onnxruntime's static QDQ.

    feeds: calibration inputs of training speakers, one call each; they give the range of every
    activation. The last dense layer, recurrent layers and the average of a fusion stay float.
    Inputs, outputs, dynamic dimensions and metadata stay. Raises NothingToQuantize where no
    layer can be quantized.
    """
    from onnxruntime import quantization as q

    with tempfile.TemporaryDirectory() as folder:
        given, prepared, small = (Path(folder, f"{n}.onnx") for n in ("given", "prepared", "int8"))
        onnx.save(proto, given)  # a file: a ModelProto would be emptied of its weights
        q.quant_pre_process(given, prepared, skip_symbolic_shape=True)
        nodes = choose_nodes(onnx.load(prepared).graph)
        if not nodes:
            cause = "it has no convolution and no dense layer that int8 would help"
            raise NothingToQuantize(name, Reason.EXPORT_FAILED, cause)
        q.quantize_static(
            prepared,
            small,
            SimpleNamespace(get_next=partial(next, iter(feeds), None)),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=[*QUANTIZED, *CARRIERS],
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,  # weights of 7 bits: sums of AVX2, without VNNI, saturate at 8
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            calibrate_method=q.CalibrationMethod.MinMax,
            extra_options={
                "CalibMaxIntermediateOutputs": 16,  # keeps the running range, not all activations
                "ForceQuantizeNoInputCheck": True,  # for the reshapes before a first layer
            },
        )
        return _finish(onnx.load(small), proto)


def choose_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the layers to quantize and of the nodes that carry integers between them."""
    kernels = {t.name: t.dims for t in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    chosen: dict[str, None] = {}
    for node in graph.node:
        shape = kernels.get(node.input[1]) if node.op_type in QUANTIZED else None
        if shape is None or (len(shape) == 2 and N_EMOTIONS in shape):
            continue  # the logits: a few thousand products that decide the precision of the result
        chosen[node.name] = None
        before = makers.get(node.input[0])
        while before is not None and before.op_type in CARRIERS:
            chosen[before.name] = None
            before = makers.get(before.input[0])
    return list(chosen)


def store_half(proto: onnx.ModelProto, name: str, min_elements: int) -> onnx.ModelProto:
    """A copy with weights stored as float16.

    min_elements: a weight of fewer elements stays float32. Raises ExportError for a weight that
    float16 cannot hold, NothingToQuantize where all weights stay.
    """
    small = onnx.ModelProto()
    small.CopyFrom(proto)
    if not halve_weights(small.graph, min_elements):
        cause = "its logits change too much with float16, or it has no large weights"
        raise NothingToQuantize(name, Reason.EXPORT_FAILED, cause)
    return _finish(small, proto)


def halve_weights(graph: onnx.GraphProto, min_elements: int) -> int:
    """Store the float32 weights of min_elements or more as float16, cast back when loaded.

    The file halves, the arithmetic stays float32. Returns the number of weights stored so.
    Raises ExportError naming a weight that float16 cannot hold.
    """
    casts = []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < min_elements:
            continue
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all():
            cause = f"it holds {np.abs(value).max():.3g}, beyond float16"
            raise ExportError(tensor.name, Reason.EXPORT_FAILED, cause)
        stored, names = f"{tensor.name}/half", [tensor.name]
        casts.append(helper.make_node("Cast", [stored], names, stored, to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return len(casts)


def _finish(small: onnx.ModelProto, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Restore version, producer and metadata of the original network."""
    del small.graph.value_info[:]
    del small.opset_import[:]
    small.opset_import.extend([helper.make_opsetid("", OPSET)])
    small.ir_version = IR_VERSION
    small.producer_name, small.producer_version = proto.producer_name, proto.producer_version
    del small.metadata_props[:]
    small.metadata_props.extend(proto.metadata_props)
    return small
