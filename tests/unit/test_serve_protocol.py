import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("fastapi")
from keras_emo.inference.manifest import TensorSpec
from keras_emo.serve.protocol import HEADER_LENGTH, InferenceJob, read_request, write_response
from keras_emo.serve.refusals import Refusal

INPUTS = [TensorSpec("a", "float32", ("batch", 2)), TensorSpec("b", "float32", ("batch", "n"))]
OUTPUTS = ["probs", "logits"]


def make_input(name="a", shape=(1, 2), data=(1, 2), **more) -> dict:
    return {"name": name, "shape": list(shape), "datatype": "FP32", "data": list(data), **more}


def read(inputs, raw=b"", header=None, **more):
    head = json.dumps({"inputs": inputs, **more}).encode()
    length = header if header is not None else (str(len(head)) if raw else None)
    return read_request(head + raw, length, INPUTS, OUTPUTS)


B = make_input("b", (1, 3), (1, 2, 3))


def test_numbers():
    job = read([make_input(data=[[1, 2.5]]), B], id="x", outputs=None, parameters=None)
    assert job.feed["a"].tolist() == [[1, 2.5]]
    assert job.feed["b"].dtype == np.float32
    assert job.outputs == {"probs": False, "logits": False}
    assert job.id == "x"


def test_raw_tensors_follow_in_order():
    a, b = np.array([[1, 2]], "<f4"), np.array([[3, 4, 5]], "<f4")
    described = [
        {"name": n, "shape": list(x.shape), "datatype": "FP32",
         "parameters": {"binary_data_size": x.nbytes}}
        for n, x in (("b", b), ("a", a))
    ]  # fmt: skip
    job = read(described, b.tobytes() + a.tobytes(), parameters={"binary_data_output": True})
    assert job.feed["a"].tolist() == a.tolist()
    assert job.feed["b"].tolist() == b.tolist()
    assert job.outputs == {"probs": True, "logits": True}
    mixed = [described[0], make_input(data=[1, 2])]
    assert read(mixed, b.tobytes()).feed["b"].tolist() == b.tolist()


@pytest.mark.parametrize(
    ("inputs", "cause"),
    [
        (None, "inputs: .*array"),
        ([], "a is missing"),
        ([B], "a is missing"),
        ([make_input(), make_input(), B], "each once"),
        ([make_input("c")], "each once"),
        ([3], "inputs: 0: .*object"),
        ([make_input(datatype="INT32")], "FP32"),
        ([make_input(shape=(2,))], "2 numbers"),
        ([make_input(shape=(1, 3))], "expected 2"),
        ([make_input(shape=(0, 2), data=())], "shape: 0: .*1"),
        ([make_input(shape=(1 << 31, 2), data=())], "shape: 0: "),
        ([make_input(shape=(True, 2))], "shape: 0: .*integer"),
        ([make_input(shape=(1.0, 2))], "shape: 0: .*integer"),
        ([make_input(shape=(2, 2), data=range(4)), B], "expected 2"),
        ([make_input(data=(1,)), B], "not 2 numbers"),
        ([make_input(data=("1", "2")), B], "not 2 numbers"),
        ([make_input(data=(True, False)), B], "not 2 numbers"),
        ([make_input(data=(1, [2])), B], "not an array"),
        ([make_input(data=(1, float("nan"))), B], "not finite"),
        ([make_input(data=(1, 1e300)), B], "not finite"),
        ([make_input(data=(1, 10**400)), B], "not 2 numbers"),
        ([make_input() | {"data": None}, B], "not 2 numbers"),
        ([make_input(parameters=3)], "parameters: .*object"),
        ([make_input(parameters={"binary_data_size": 8}), B], "do not fit"),
        ([make_input(parameters={"binary_data_size": 1 << 31}), B], "size: .*less"),
        ([make_input(parameters={"binary_data_size": "8"}), B], "size: .*integer"),
    ],
)
def test_inputs_that_do_not_fit(inputs, cause):
    with pytest.raises(Refusal, match=cause) as caught:
        read(inputs)
    assert caught.value.status == 400


def test_requests_that_do_not_fit():
    for more in (
        {"outputs": 3}, {"outputs": [{"name": "nope"}]}, {"outputs": [3]}, {"id": 3},
        {"parameters": []}, {"parameters": {"binary_data_output": 1}},
        {"outputs": [{"name": "probs", "parameters": {"binary_data": "yes"}}]},
    ):  # fmt: skip
        with pytest.raises(Refusal):
            read([make_input(), B], **more)


def test_a_length_that_does_not_fit():
    for header in ("-1", "x", "999999", ""):
        with pytest.raises(Refusal, match="not a length"):
            read([make_input(), B], header=header)
    with pytest.raises(Refusal, match="more raw bytes"):
        read([make_input(), B], b"1234")


@given(st.binary(max_size=80))
@example(b"[" * 200_000)
def test_any_bytes_are_refused_in_one_way(body):
    with pytest.raises(Refusal):
        read_request(body, None, INPUTS, OUTPUTS)


def test_responses():
    arrays = {"probs": np.array([[0.25, 0.75]], np.float32), "logits": np.ones((1, 2), np.float32)}
    body, headers = write_response("m", InferenceJob({}, {"probs": False}, "x"), arrays)
    assert json.loads(body) == {
        "model_name": "m", "id": "x",
        "outputs": [{"name": "probs", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]}],
    }  # fmt: skip
    job = InferenceJob({}, {"logits": True, "probs": False}, None)
    body, headers = write_response("m", job, arrays)
    length = int(headers[HEADER_LENGTH])
    assert np.frombuffer(body[length:], "<f4").tolist() == [1, 1]
    assert json.loads(body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    with pytest.raises(Refusal, match="not finite"):
        write_response("m", job, {"logits": np.array([np.inf])})
