"""bundle.json as a class: what is known of an exported model, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from keras_emo.inference.batch import FRAMES
from keras_emo.inference.results import MODALITIES
from keras_emo.labels import EMOTIONS
from keras_emo.metrics import Metrics
from keras_emo.spec import ClipSpec

SCHEMA = 1
INPUTS = ("face", "face_mask", "mfcc", "mfcc_mask")  # what batch.collate_clips can make
LOGITS = "logits"
OLD_KEYS = {"licence": "license", "quantisation": "quantization"}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. shape: a name stands for a size that varies. range: of its values."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    range: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.dtype != "float32":
            raise ValueError(f"{self.name} has dtype {self.dtype!r}, expected 'float32'")
        if any(isinstance(size, int) and size < 1 for size in self.shape):
            raise ValueError(f"{self.name} has shape {self.shape}")


@dataclass(frozen=True)
class MemberSplit:
    """Speakers of one network of an ensemble."""

    train: tuple[str, ...]
    val: tuple[str, ...]


@dataclass(frozen=True)
class Split(MemberSplit):
    """Speakers by what they were used for. members: of each network, if there are several."""

    test: tuple[str, ...]
    members: tuple[MemberSplit, ...] = ()


@dataclass(frozen=True)
class TrainingCorpus:
    """What a model was trained on.

    clips: digest of the prepared clips. pretrained: the pictures its face network began with.
    """

    name: str
    split: Split
    clips: str | None = None
    pretrained: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a model on a set of speakers, or of models like it over folds.

    fitted: its fusion weight was fitted on these speakers. precision: of the bundles that were
    evaluated, None for Keras networks. n_seeds: networks in each. fold_mean, fold_deviation: of
    the accuracies of n_folds folds; single_mean: of the networks one by one.
    """

    metrics: Metrics
    fitted: bool = False
    precision: str | None = None
    n_seeds: int | None = None
    n_folds: int | None = None
    fold_mean: float | None = None
    fold_deviation: float | None = None
    single_mean: float | None = None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Evaluation:
        """Inverse of to_dict. Raises KeyError, TypeError or ValueError."""
        own = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        return cls(Metrics.from_dict(data), precision=data.get("bundles"), **own)

    def to_dict(self) -> dict[str, Any]:
        """One object of plain values; the precision is called "bundles"."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "metrics"}
        own = {"bundles": own.pop("precision")} | own
        return self.metrics.to_dict() | {k: v for k, v in own.items() if v is not None and v}


@dataclass(frozen=True)
class FileEntry:
    """A file of a bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Parity:
    """How an exported graph compares with Keras.

    max_difference: by output. batches: the sizes compared. logits_deviation: of the logits, for
    scale.
    """

    max_difference: Mapping[str, float]
    batches: tuple[int, ...]
    logits_deviation: float | None = None


@dataclass(frozen=True)
class BundleManifest:
    """bundle.json.

    model: the network's name in the catalog. frames: how face crops reach it, see
    batch.collate_clips. metrics: by set of speakers, "val", "test" or "folds". parity: by format.
    files: by name, all but bundle.json. quantization: how it was made smaller. waveform: what
    waveform.onnx takes. soup: sub-networks whose weights are the mean of several.
    """

    schema: int
    name: str
    model: str
    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    frames: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    clip_spec: ClipSpec
    detector: Mapping[str, str]
    opset: int
    versions: Mapping[str, str]
    corpus: TrainingCorpus
    metrics: Mapping[str, Evaluation]
    parity: Mapping[str, Parity]
    files: Mapping[str, FileEntry]
    preset: str = "unknown"
    precision: str = "fp32"
    license: str = "unknown"
    parameters: int | None = None
    soup: tuple[str, ...] = ()
    quantization: Mapping[str, Any] | None = None
    waveform: Mapping[str, Any] | None = None
    export_seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inputs = tuple(tensor.name for tensor in self.inputs)
        for entry, names, allowed in (
            ("modalities", self.modalities, MODALITIES),
            ("inputs", inputs, INPUTS),
            ("frames", (self.frames,), FRAMES),
        ):
            if not names or not set(names) <= set(allowed):
                raise ValueError(f"{entry} has {list(names)}, not some of {list(allowed)}")
        if self.labels != EMOTIONS:
            raise ValueError(f"labels {list(self.labels)}, expected {list(EMOTIONS)}")
        if LOGITS not in [tensor.name for tensor in self.outputs]:
            raise ValueError(f"outputs lacks {LOGITS!r}")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BundleManifest:
        """Inverse of to_dict; also reads the old names of OLD_KEYS, ignores unknown entries.

        Raises ValueError naming the entry that is missing or malformed.
        """
        if data.get("schema") != SCHEMA:
            raise ValueError(f"schema {data.get('schema')!r:.20}, expected {SCHEMA}")
        return read_value(cls, {OLD_KEYS.get(key, key): value for key, value in data.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as bundle.json has them."""
        plain: dict[str, Any] = write_value(self)
        return plain


def read_value(kind: Any, value: Any, where: str = "") -> Any:
    """JSON values as a type: a dataclass, tuple or Mapping of types, union or plain type.

    where: the entry to name. Raises ValueError.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return value
    if origin is UnionType:
        return _read_union(arguments, value, where)
    if origin is tuple:
        items = _check_type(list, value, where)
        return tuple(read_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(items))
    if origin is not None:
        items = _check_type(dict, value, where).items()
        return {key: read_value(arguments[1], v, f"{where}.{key}") for key, v in items}
    if is_dataclass(kind):
        return _read_dataclass(kind, _check_type(dict, value, where), where)
    return _check_type(kind, value, where)


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    for kind in kinds:
        try:
            return read_value(kind, value, where)
        except ValueError as e:
            error = e
    raise error


def _read_dataclass(kind: Any, data: dict[str, Any], where: str) -> Any:
    if kind in (ClipSpec, Evaluation):
        build = partial(kind.from_dict, data)
    else:
        hints, values = get_type_hints(kind), {}
        for f in fields(kind):
            entry = f"{where}.{f.name}".lstrip(".")
            if f.name in data:
                values[f.name] = read_value(hints[f.name], data[f.name], entry)
            elif f.default is MISSING and f.default_factory is MISSING:
                raise ValueError(f"the entry {entry!r} is missing")
        build = partial(kind, **values)
    try:
        return build()
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        cause = f"{type(e).__name__}: {e}"
        raise ValueError(f"the entry {where!r} is malformed, {cause}" if where else e) from None


def _check_type(kind: Any, value: Any, where: str) -> Any:
    wanted = (int, float) if kind is float else kind
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"the entry {where!r} is not a {kind.__name__}: {value!r:.60}")
    return value


def write_value(value: Any) -> Any:
    """Inverse of read_value; optional entries that are not there are left out."""
    if isinstance(value, ClipSpec | Evaluation):
        return value.to_dict()
    if is_dataclass(value):
        present = {f.name: (getattr(value, f.name), f.default) for f in fields(value)}
        return {
            name: write_value(inner)
            for name, (inner, default) in present.items()
            if not (inner == default and default in (None, ()))
        }
    if isinstance(value, Mapping):
        return {key: write_value(inner) for key, inner in value.items()}
    return [write_value(inner) for inner in value] if isinstance(value, tuple | list) else value
