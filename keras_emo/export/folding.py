"""Rewrites of an ONNX graph that keep what it says and cost integers less."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

MIN_STRIDE = 3  # narrower strides gain nothing
PIXEL_MAX = 255


def fold_graph(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which dense layers are one Gemm each and wide strides became channels.

    Same inputs, outputs and answers but for float32 rounding.
    """
    folded = onnx.ModelProto()
    folded.CopyFrom(proto)
    _fold_dense(folded.graph)
    _fold_strides(folded)
    drop_unused(folded.graph)
    return folded


def constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Initialisers by name."""
    return {t.name: numpy_helper.to_array(t) for t in graph.initializer}


def users(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Which nodes read a tensor; a graph's output counts as a reader of its own."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            found.setdefault(name, []).append(node)
    for output in graph.output:
        found.setdefault(output.name, []).append(onnx.NodeProto(op_type="Output"))
    return found


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes as Python values."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove initialisers that no node reads."""
    read = {name for node in graph.node for name in node.input}
    kept = [t for t in graph.initializer if t.name in read]
    if len(kept) < len(graph.initializer):
        del graph.initializer[:]
        graph.initializer.extend(kept)


def _add_constant(graph: onnx.GraphProto, name: str, value: Any) -> str:
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name


def _replace(graph: onnx.GraphProto, old: onnx.NodeProto, new: list[onnx.NodeProto]) -> None:
    nodes = list(graph.node)
    index = nodes.index(old)
    nodes[index : index + 1] = new
    del graph.node[:]
    graph.node.extend(nodes)


def _fold_dense(graph: onnx.GraphProto) -> None:
    """MatMul and the additions and multiplications by constants after it to one Gemm.

    tf2onnx leaves a bias and a batch normalisation after a dense layer as four nodes.
    """
    known, readers = constants(graph), users(graph)
    for node in list(graph.node):
        if node.op_type != "MatMul" or known.get(node.input[1], np.empty(0)).ndim != 2:
            continue
        kernel = known[node.input[1]].astype(np.float64)
        bias, output, after = np.zeros(kernel.shape[1]), node.output[0], []
        while len(readers[output]) == 1 and readers[output][0].op_type in ("Add", "Mul"):
            step = readers[output][0]
            value = next((known[i] for i in step.input if i != output and i in known), None)
            if value is None or value.size not in (1, kernel.shape[1]):
                break
            value = value.astype(np.float64).reshape(-1)
            if step.op_type == "Add":
                bias = bias + value
            else:
                kernel, bias = kernel * value, bias * value
            output = step.output[0]
            after.append(step)
        if not after:
            continue
        names = [
            _add_constant(graph, f"{node.name}/kernel", kernel.astype(np.float32)),
            _add_constant(graph, f"{node.name}/bias", bias.astype(np.float32)),
        ]
        gemm = helper.make_node("Gemm", [node.input[0], *names], [output], name=node.name)
        _replace(graph, node, [gemm])
        for step in after:
            graph.node.remove(step)


def _fold_strides(proto: onnx.ModelProto) -> None:
    """A convolution that steps over a few channels widely: its columns become channels.

    Pixels (height, width, 3) read as (height, width / 4, 12) are the same bytes, and a kernel
    of 11 columns over 3 channels is one of 3 columns over 12, with zeros at its edge. Integer
    convolutions gather their input in longer pieces then, in two thirds of the time.
    """
    graph = proto.graph
    known, readers = constants(graph), users(graph)
    makers = {name: node for node in graph.node for name in node.output}
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*inferred.value_info, *inferred.input)
    }
    for conv in [n for n in graph.node if n.op_type == "Conv"]:
        given = attributes(conv)
        turn = makers.get(conv.input[0])
        if turn is None or attributes(turn).get("perm") != [0, 3, 1, 2]:
            continue
        size = shapes.get(turn.input[0], [])[1:]
        step = given.get("strides", [1, 1])[1]
        plain = given.get("group", 1) == 1 and given.get("dilations", [1, 1]) == [1, 1]
        if not plain or "pads" not in given or len(readers[turn.output[0]]) > 1:
            continue
        if len(size) < 3 or 0 in size or step < MIN_STRIDE or size[1] % step:
            continue
        kernel = known[conv.input[1]]
        n_out, n_in, rows, columns = kernel.shape
        top, left, bottom, right = given["pads"]
        shift = -left % step  # so that the padding is whole groups of columns
        width = -(-(columns + shift) // step)
        wide = np.zeros((n_out, n_in, rows, width * step), np.float32)
        wide[..., shift : shift + columns] = kernel
        wide = wide.reshape(n_out, n_in, rows, width, step).transpose(0, 4, 1, 2, 3)
        wide = wide.reshape(n_out, step * n_in, rows, width)
        n_steps = (size[1] + left + right - columns) // step + 1
        before = (left + shift) // step
        pads = [top, before, bottom, n_steps - 1 + width - size[1] // step - before]
        if pads[3] < 0:
            continue
        shape = np.array([-1, size[0], size[1] // step, step * n_in])
        names = {k: f"{conv.name}/{k}" for k in ("kernel", "shape", "grouped", "turned")}
        _add_constant(graph, names["kernel"], wide)
        _add_constant(graph, names["shape"], shape)
        new = [
            helper.make_node(
                "Reshape", [turn.input[0], names["shape"]], [names["grouped"]], names["grouped"]
            ),
            helper.make_node(
                "Transpose", [names["grouped"]], [names["turned"]], names["turned"],
                perm=[0, 3, 1, 2],
            ),
            helper.make_node(
                "Conv", [names["turned"], names["kernel"], *conv.input[2:]], conv.output,
                conv.name, pads=pads, kernel_shape=[rows, width],
                strides=[given["strides"][0], 1],
            ),
        ]  # fmt: skip
        _replace(graph, turn, [])
        _replace(graph, conv, new)


def pixel_codes(graph: onnx.GraphProto) -> dict[str, tuple[float, int]]:
    """Scaled pixels by tensor name, with the scale and zero point that fold_scaling can use.

    Pixels 0 to 255 through x * a + b, b below zero: a scale of which b is a whole multiple, so
    that pixel 0 is code 0.
    """
    known, codes = constants(graph), {}
    for _, add, a, b in _scalings(graph, known):
        zero_point = int(-b / a + 1e-6)
        if a > 0 and 0 < zero_point <= PIXEL_MAX // 2:
            scale = -b / zero_point
            if (PIXEL_MAX - zero_point) * scale >= PIXEL_MAX * a + b:
                codes[add.output[0]] = (scale, zero_point)
    return codes


def fold_scaling(graph: onnx.GraphProto, names: list[str]) -> None:
    """Quantise pixels as they are instead of scaling them first; names: of pixel_codes."""
    known, readers = constants(graph), users(graph)
    for mul, add, a, b in _scalings(graph, known):
        takers = readers[add.output[0]]
        if add.output[0] not in names or any(q.op_type != "QuantizeLinear" for q in takers):
            continue
        for q in takers:
            scale, zero_point = float(known[q.input[1]]), known[q.input[2]]
            shifted = np.round(zero_point + b / scale).astype(zero_point.dtype)
            q.input[0] = mul.input[0]
            q.input[1] = _add_constant(graph, f"{q.name}/scale", np.float32(scale / a))
            q.input[2] = _add_constant(graph, f"{q.name}/zero_point", shifted)
        graph.node.remove(mul)
        graph.node.remove(add)
    drop_unused(graph)


def _scalings(graph: onnx.GraphProto, known: dict[str, np.ndarray]):
    """(Mul, Add, a, b) wherever x * a + b stands with numbers a and b and nobody else reads it."""
    readers = users(graph)
    for mul in list(graph.node):
        if mul.op_type != "Mul" or known.get(mul.input[1], np.empty(0)).size != 1:
            continue
        takers = readers[mul.output[0]]
        if len(takers) != 1 or takers[0].op_type != "Add" or takers[0].input[1] not in known:
            continue
        add = takers[0]
        if known[add.input[1]].size == 1:
            a, b = (float(known[n.input[1]].reshape(())) for n in (mul, add))
            yield mul, add, a, b
