"""A model folder that Triton loads: config.pbtxt, labels, warm-up data and a version."""

from __future__ import annotations

import math
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from keras_emo.errors import Reason, UsageError
from keras_emo.export.messages import declare
from keras_emo.export.onnx import ExportError
from keras_emo.export.parity import BATCHES, TOLERANCE, compare, sample_feed
from keras_emo.inference.batch import Batch
from keras_emo.inference.bundle import DESCRIPTION, MODEL
from keras_emo.inference.model import Model
from keras_emo.inference.session import available_cores, open_session
from keras_emo.labels import EMOTIONS
from keras_emo.networks.catalog import ModelEntry

CONFIG, LABELS, WARM_UP = "config.pbtxt", "labels.txt", "warmup"
PLATFORM = "onnxruntime_onnx"
MAX_BATCH = 16
MAX_WAIT_US = 2000  # for requests of equal shapes that can be answered together
_TYPES = {"tensor(float)": "TYPE_FP32"}


def fill_triton(draft: Path, version: str, entry: ModelEntry, predictor: Model) -> None:
    """Write a model folder with one version, then read it back and run it as it describes itself.

    Raises ExportError.
    """
    bundle = predictor.bundle
    feed = sample_feed(entry, 1, bundle.spec, golden=True)
    (draft / version).mkdir(exist_ok=True)
    for file in (MODEL, DESCRIPTION):  # what clips it takes goes along
        shutil.copyfile(bundle.folder / file, draft / version / file)
    (draft / LABELS).write_text("\n".join(EMOTIONS) + "\n", encoding="utf-8")
    (draft / WARM_UP).mkdir()
    for name, array in feed.items():
        (draft / WARM_UP / name).write_bytes(np.ascontiguousarray(array, "<f4").tobytes())
    config = describe_model(bundle.folder.name, predictor.session)
    _add_warm_up(config, feed)
    write_config(draft / CONFIG, config)
    check_triton(draft, version, entry, predictor)


def describe_model(name: str, session: onnxruntime.InferenceSession) -> Any:
    """The ModelConfig of a graph.

    Requests are batched where the first axis of every input and output is free; the others are
    -1 where they are free.
    """
    from google.protobuf import text_format

    config = model_config()(name=name, platform=PLATFORM)
    tensors = [*session.get_inputs(), *session.get_outputs()]
    batched = all(t.shape and not isinstance(t.shape[0], int) for t in tensors)
    if batched:
        config.max_batch_size = MAX_BATCH
        config.dynamic_batching.max_queue_delay_microseconds = MAX_WAIT_US
    for values, found in (
        (config.input, session.get_inputs()),
        (config.output, session.get_outputs()),
    ):
        for tensor in found:
            dims = [n if isinstance(n, int) else -1 for n in tensor.shape[batched:]]
            text = f"data_type: {_TYPES[tensor.type]}"
            text_format.Merge(text, values.add(name=tensor.name, dims=dims))
    for output in config.output:
        if output.name == "probs":
            output.label_filename = LABELS
    text_format.Merge("count: 1 kind: KIND_CPU", config.instance_group.add())
    return config


def _add_warm_up(config: Any, feed: Batch) -> None:
    """One request of one clip, whose arrays lie in files of the inputs' names."""
    warm_up = config.model_warmup.add(name="sample", batch_size=1)
    for given in config.input:
        sample = warm_up.inputs[given.name]
        sample.data_type, sample.input_data_file = given.data_type, given.name
        sample.dims.extend(feed[given.name].shape[bool(config.max_batch_size) :])


def write_config(path: Path, config: Any) -> None:
    """A ModelConfig in protobuf's text format."""
    from google.protobuf import text_format

    path.write_text(text_format.MessageToString(config, as_utf8=True), encoding="utf-8")


def read_config(path: Path) -> Any:
    """A config.pbtxt, without the fields that are not used here.

    Raises UsageError where it is no such file.
    """
    from google.protobuf import text_format

    try:
        text = path.read_text(encoding="utf-8")
        return text_format.Parse(text, model_config()(), allow_unknown_field=True)
    except (OSError, ValueError, text_format.ParseError) as e:
        raise UsageError(path, Reason.BAD_CONFIG, f"no model configuration: {e}") from None


def check_same_signature(folder: Path, predictor: Model) -> None:
    """Raise UsageError where the versions that are there take or give something else.

    They share one config.pbtxt, which stays as it is: somebody may have settled it by hand.
    """
    if not folder.exists():
        return
    known, ours = read_config(folder / CONFIG), describe_model(folder.name, predictor.session)
    for kind in ("input", "output"):
        before, now = (
            {t.name: (t.data_type, tuple(t.dims)) for t in getattr(config, kind)}
            for config in (known, ours)
        )
        if before != now:
            cause = f"its versions have other {kind}s; export under another name"
            raise UsageError(folder / CONFIG, Reason.BAD_CONFIG, cause)


def check_triton(draft: Path, version: str, entry: ModelEntry, predictor: Model) -> None:
    """Read config.pbtxt back; run the version with what it declares, and its warm-up data.

    Raises ExportError where shapes, labels or answers are not those of the bundle.
    """
    name = predictor.bundle.folder.name
    config = read_config(draft / CONFIG)
    session = open_session(draft / version / MODEL, available_cores())
    outputs = [o.name for o in config.output]

    def run(feed: Batch) -> dict[str, np.ndarray]:
        answers = session.run(outputs, feed)
        _check_shapes(name, config, {**feed, **dict(zip(outputs, answers, strict=True))})
        return dict(zip(outputs, answers, strict=True))

    sizes = [n for n in BATCHES if n <= max(1, config.max_batch_size)]
    feeds = [sample_feed(entry, n, predictor.bundle.spec) for n in sizes]
    feeds.append(read_warm_up(draft, config))
    compare(predictor.run, run, feeds, f"{name}/{version}", TOLERANCE)
    labels = (draft / LABELS).read_text(encoding="utf-8").splitlines()
    (probs,) = (o for o in config.output if o.label_filename == LABELS)
    if tuple(labels) != EMOTIONS or list(probs.dims)[-1] != len(labels):
        raise ExportError(name, Reason.EXPORT_FAILED, f"{LABELS} does not fit {probs.name}")


def read_warm_up(folder: Path, config: Any) -> Batch:
    """The arrays of the first warm-up request. Raises ExportError where a file is no such."""
    feed, warm_up = {}, config.model_warmup[0]
    for name, given in warm_up.inputs.items():
        path = folder / WARM_UP / given.input_data_file
        data, dims = path.read_bytes(), list(given.dims)
        if len(data) != 4 * math.prod(dims):
            cause = f"{len(data)} bytes, expected {dims} of float32"
            raise ExportError(path, Reason.EXPORT_FAILED, cause)
        batch = [warm_up.batch_size] if config.max_batch_size else []
        feed[name] = np.frombuffer(data, "<f4").reshape(batch + dims).astype(np.float32)
    return feed


def _check_shapes(name: str, config: Any, arrays: Batch) -> None:
    """Raise ExportError where an array is not what a config declares under its name."""
    for declared in (*config.input, *config.output):
        shape = arrays[declared.name].shape[bool(config.max_batch_size) :]
        fits = len(shape) == len(declared.dims) and all(
            d in (-1, n) for d, n in zip(declared.dims, shape, strict=True)
        )
        if not fits:
            cause = f"{declared.name}: shape {shape}, {CONFIG} says {list(declared.dims)}"
            raise ExportError(name, Reason.EXPORT_FAILED, cause)


@cache
def model_config() -> Any:
    """Message class of inference.ModelConfig, as far as it is used here."""
    tensor = [("name", 1, "string"), ("data_type", 2, "DataType")]
    return declare(
        "inference",
        {
            "ModelInput": [*tensor, ("dims", 4, "many int64")],
            "ModelOutput": [*tensor, ("dims", 3, "many int64"), ("label_filename", 4, "string")],
            "ModelInstanceGroup": [("kind", 4, "Kind"), ("count", 2, "int32")],
            "ModelDynamicBatching": [("max_queue_delay_microseconds", 2, "uint64")],
            "Input": [
                ("data_type", 1, "DataType"),
                ("dims", 2, "many int64"),
                ("input_data_file", 5, "string"),
            ],
            "ModelWarmup": [
                ("name", 1, "string"),
                ("batch_size", 2, "uint32"),
                ("inputs", 3, "map Input"),
            ],
            "ModelConfig": [
                ("name", 1, "string"),
                ("platform", 2, "string"),
                ("max_batch_size", 4, "int32"),
                ("input", 5, "many ModelInput"),
                ("output", 6, "many ModelOutput"),
                ("instance_group", 7, "many ModelInstanceGroup"),
                ("dynamic_batching", 11, "ModelDynamicBatching"),
                ("model_warmup", 16, "many ModelWarmup"),
            ],
        },
        {
            # numbers as Triton has them; those not used here so that any config can be read
            "DataType": {
                "TYPE_INVALID": 0, "TYPE_BOOL": 1, "TYPE_UINT8": 2, "TYPE_UINT16": 3,
                "TYPE_UINT32": 4, "TYPE_UINT64": 5, "TYPE_INT8": 6, "TYPE_INT16": 7,
                "TYPE_INT32": 8, "TYPE_INT64": 9, "TYPE_FP16": 10, "TYPE_FP32": 11,
                "TYPE_FP64": 12, "TYPE_STRING": 13, "TYPE_BF16": 14,
            },
            "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
        },
    )["ModelConfig"]  # fmt: skip
