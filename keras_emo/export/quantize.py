"""Smaller numbers for a network that is exported: int8 arithmetic, or float16 storage."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper

from keras_emo.errors import Reason
from keras_emo.export import IR_VERSION, OPSET
from keras_emo.export.folding import (
    constants,
    drop_unused,
    fold_graph,
    fold_scaling,
    pixel_codes,
)
from keras_emo.export.half import halve_weights
from keras_emo.export.onnx import ExportError
from keras_emo.export.parity import BATCHES, compare, sample_feed
from keras_emo.inference.batch import Batch, Run
from keras_emo.inference.session import available_cores, open_session
from keras_emo.labels import N_EMOTIONS
from keras_emo.networks.catalog import ModelEntry
from keras_emo.spec import ClipSpec

METHOD = "static QDQ, per channel, weights of 7 bits, activations uint8, min-max"
QUANTIZED = ("Conv", "Gemm", "MatMul")
# between two quantised layers these stay in integers; anywhere else they stay float
CARRIERS = ("Relu", "MaxPool", "AveragePool", "Transpose", "Reshape")
# first kernels are small and round worst: where float16 costs too much, they stay float32
HALF_MIN_ELEMENTS = (1 << 6, 1 << 12, 1 << 16, 1 << 18)
HALF_TOLERANCE = 1e-2  # on logits of the inputs tried: half of it, at most, on a probability


def quantize_int8(proto: onnx.ModelProto, feeds: Iterable[Batch], name: str) -> onnx.ModelProto:
    """The network with int8 convolutions and dense layers, by onnxruntime's static QDQ.

    feeds: inputs of training speakers, one call each, of which the largest and smallest value of
    every activation is taken. The last dense layer, recurrent layers and the average of a fusion
    stay float. Inputs, outputs, dynamic dimensions and metadata stay. Raises ExportError where
    there is nothing to quantise.
    """
    from onnxruntime import quantization as q

    folded = fold_graph(proto)
    nodes = choose_nodes(folded.graph)
    if not nodes:
        cause = "it has no convolution and no dense layer that int8 would help"
        raise NothingToQuantize(name, Reason.EXPORT_FAILED, cause)
    codes = {k: v for k, v in pixel_codes(folded.graph).items() if _is_read(folded, k, nodes)}
    overrides = {
        key: [{"scale": np.array(scale, np.float32), "zero_point": np.array(zero, np.uint8)}]
        for key, (scale, zero) in codes.items()
    }
    with tempfile.TemporaryDirectory() as folder, _QuietRoot():
        path = Path(folder) / "int8.onnx"
        q.quantize_static(
            folded,
            path,
            _Reader(feeds),
            quant_format=q.QuantFormat.QDQ,
            op_types_to_quantize=[*QUANTIZED, *CARRIERS],
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,  # weights of 7 bits: sums of AVX2, without VNNI, saturate at 8
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            calibrate_method=q.CalibrationMethod.MinMax,
            extra_options={
                "CalibMaxIntermediateOutputs": 16,  # ranges so far, not every range seen
                "ForceQuantizeNoInputCheck": True,  # for the reshapes before a first layer
                "TensorQuantOverrides": overrides,
            },
        )
        small = onnx.load(path)
    fold_scaling(small.graph, list(codes))
    return _finish(small, proto)


def choose_nodes(graph: onnx.GraphProto) -> list[str]:
    """Names of the layers to quantise and of what carries their input from one to the next."""
    known = constants(graph)
    makers = {name: node for node in graph.node for name in node.output}
    chosen: dict[str, None] = {}
    for node in graph.node:
        kernel = known.get(node.input[1]) if node.op_type in QUANTIZED else None
        if kernel is None or (kernel.ndim == 2 and kernel.shape[1] == N_EMOTIONS):
            continue  # the scores: a few thousand products, and the answer's own precision
        chosen[node.name] = None
        before = makers.get(node.input[0])
        while before is not None and before.op_type in CARRIERS:
            chosen[before.name] = None
            before = makers.get(before.input[0])
    return list(chosen)


class NothingToQuantize(ExportError):
    """A network that smaller numbers do not serve."""


def store_half(proto: onnx.ModelProto, name: str, n_least: int) -> onnx.ModelProto:
    """A copy with weights stored as float16.

    n_least: a weight of fewer elements stays as it is. Raises ExportError for one that float16
    cannot hold, NothingToQuantise where all stay.
    """
    small = onnx.ModelProto()
    small.CopyFrom(proto)
    try:
        n_halved = halve_weights(small.graph, n_least)
    except ValueError as e:
        raise ExportError(name, Reason.EXPORT_FAILED, str(e)) from None
    if not n_halved:
        cause = "float16 moves its logits too far, or it has no weights that are worth it"
        raise NothingToQuantize(name, Reason.EXPORT_FAILED, cause)
    return _finish(small, proto)


def halve_gated(
    proto: onnx.ModelProto, entry: ModelEntry, spec: ClipSpec, name: str
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """The network of store_half and what a bundle says of it.

    As many weights as the logits allow, by HALF_TOLERANCE. Raises ExportError where even the
    largest kernels alone are too many.
    """
    feeds, run = [sample_feed(entry, n, spec) for n in BATCHES], open_run(proto)
    for n_least in HALF_MIN_ELEMENTS:
        small = store_half(proto, name, n_least)
        try:
            parity = compare(run, open_run(small), feeds, name, HALF_TOLERANCE)
            break
        except ExportError:
            if n_least == HALF_MIN_ELEMENTS[-1]:
                raise
    facts = {
        "method": "weights stored as float16, arithmetic in float32",
        "least_elements": n_least,
        "parity": parity,
        "bytes": {"fp32": proto.ByteSize(), "fp16": small.ByteSize()},
    }
    return small, {"precision": "fp16", "quantization": facts}


def open_run(proto: onnx.ModelProto) -> Run:
    """A graph as the predictor runs it."""
    session = open_session(proto.SerializeToString(), available_cores())
    names = [o.name for o in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True))


def _is_read(proto: onnx.ModelProto, name: str, nodes: list[str]) -> bool:
    return all(n.name in nodes for n in proto.graph.node if name in n.input)


def _finish(small: onnx.ModelProto, proto: onnx.ModelProto) -> onnx.ModelProto:
    """Head and metadata as the network had them."""
    drop_unused(small.graph)
    del small.graph.value_info[:]
    del small.opset_import[:]
    small.opset_import.extend([helper.make_opsetid("", OPSET)])
    small.ir_version = IR_VERSION
    small.producer_name, small.producer_version = proto.producer_name, proto.producer_version
    del small.metadata_props[:]
    small.metadata_props.extend(proto.metadata_props)
    return small


class _Reader:
    """What onnxruntime's calibration takes its inputs from."""

    def __init__(self, feeds: Iterable[Batch]):
        self.feeds = iter(feeds)

    def get_next(self) -> Batch | None:
        return next(self.feeds, None)


class _QuietRoot:
    """onnxruntime.quantization advises on the root logger; nothing of it concerns a user."""

    def __enter__(self) -> None:
        self.level = logging.getLogger().level
        logging.getLogger().setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().setLevel(self.level)
