"""Weights stored as float16: half the file, the same arithmetic."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def halve_weights(graph: onnx.GraphProto, n_least: int) -> int:
    """Store the float32 weights of n_least elements or more as float16, cast when they are loaded.

    Returns how many. Raises ValueError naming one that float16 cannot hold.
    """
    casts = []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < n_least:
            continue
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(f"{tensor.name} holds {np.abs(value).max():.3g}, beyond float16")
        stored = f"{tensor.name}/half"
        casts.append(
            helper.make_node("Cast", [stored], [tensor.name], stored, to=TensorProto.FLOAT)
        )
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return len(casts)
