"""int8 and float16 graphs: what changes in them, what stays, and how near their outputs are."""

import logging

import numpy as np
import pytest

pytest.importorskip("tensorflow")
onnx = pytest.importorskip("onnx")

from onnx import numpy_helper  # noqa: E402

from keras_emo.export.onnx import ExportError, convert_onnx  # noqa: E402
from keras_emo.export.parity import run_onnx, sample_feed  # noqa: E402
from keras_emo.export.quantize import NothingToQuantize, quantize_int8, store_half  # noqa: E402
from keras_emo.inference.batch import softmax  # noqa: E402
from keras_emo.networks import MODELS  # noqa: E402

from .small_networks import SPEC, build_tiny  # noqa: E402

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module", params=["fusion_concat", "fusion_multi_lstm"])
def case(request):
    """(entry, float32 graph, the same in int8)."""
    entry = MODELS[request.param]
    proto = convert_onnx(build_tiny(request.param), {"model": "x"})
    feeds = [sample_feed(entry, 1, SPEC, seed=i) for i in range(8)]
    return entry, proto, quantize_int8(proto, feeds, request.param)


def test_int8_predicts_nearly_the_same(case):
    entry, proto, small = case
    feed = sample_feed(entry, 7, SPEC, seed=99)  # not among the calibration inputs
    before, after = (softmax(run_onnx(p)(feed)["logits"]) for p in (proto, small))
    assert np.abs(before - after).max() < 0.1
    assert before.std() > 0.02  # otherwise agreement would prove nothing


def test_convolutions_and_dense_layers_are_int8_and_the_rest_is_not(case):
    _, proto, small = case
    makers = {name: n for n in small.graph.node for name in n.output}
    constants = {t.name: t for t in small.graph.initializer}
    n_quantized = 0
    for node in small.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        kernel = makers.get(node.input[1])
        if kernel is None:  # the logits
            assert 7 in constants[node.input[1]].dims
            continue
        n_quantized += 1
        assert kernel.op_type == "DequantizeLinear"
        assert constants[kernel.input[0]].data_type == onnx.TensorProto.INT8
        assert makers[node.input[0]].op_type == "DequantizeLinear"
    assert n_quantized >= 2
    types = [n.op_type for n in small.graph.node]
    for kind in ("LSTM", "Softmax", "ReduceSum"):
        assert types.count(kind) == len([n for n in proto.graph.node if n.op_type == kind])
    for node in small.graph.node:
        if node.op_type == "LSTM":
            near = [makers[i].op_type for i in node.input if i in makers]
            assert "DequantizeLinear" not in near
            assert numpy_helper.to_array(constants[node.input[1]]).dtype == np.float32
    assert 3 * small.ByteSize() < 2 * proto.ByteSize()


def test_int8_keeps_names_dimensions_and_metadata(case):
    entry, proto, small = case
    for kind in ("input", "output"):
        assert list(getattr(small.graph, kind)) == list(getattr(proto.graph, kind))
    assert [(p.key, p.value) for p in small.metadata_props] == [("model", "x")]
    assert [(o.domain, o.version) for o in small.opset_import] == [("", 18)]
    run = run_onnx(small)
    for n in (1, 3, 8):
        assert run(sample_feed(entry, n, SPEC))["logits"].shape == (n, 7)


def test_networks_that_do_not_gain_and_weights_beyond_float16_are_refused(caplog):
    proto = convert_onnx(build_tiny("audio_lstm"), {})
    with caplog.at_level(logging.WARNING), pytest.raises(NothingToQuantize, match="no convolution"):
        quantize_int8(proto, [], "audio_lstm")
    assert caplog.messages == []
    with pytest.raises(NothingToQuantize, match="float16"):
        store_half(proto, "audio_lstm", 1 << 30)
    tensors = [t for t in proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    tensor = max(tensors, key=lambda t: np.prod(t.dims))
    value = numpy_helper.to_array(tensor).copy()
    value.flat[0] = 1e6
    tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    with pytest.raises(ExportError, match="beyond float16"):
        store_half(proto, "x", 64)
