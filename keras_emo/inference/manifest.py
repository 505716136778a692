"""bundle.json as a class: what is known of an exported model, checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from keras_emo.inference.batch import FRAMES
from keras_emo.inference.results import MODALITIES
from keras_emo.labels import EMOTIONS
from keras_emo.metrics import Metrics
from keras_emo.records import read_fields, write_fields
from keras_emo.spec import ClipSpec

SCHEMA = 1
INPUTS = ("face", "face_mask", "mfcc", "mfcc_mask")  # what batch.collate_clips can make
OLD_KEYS = {
    "licence": "license",
    "quantisation": "quantization",
    "soup": "averaged",
    "judges": "references",  # of quantization
}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. shape: a name stands for a size that varies. range: of its values."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    range: tuple[float, ...] | None = None
    sample_rate_hz: int | None = None

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
        return read_fields(cls, {**data, "metrics": data, "precision": data.get("bundles")})

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
class SplitAccuracy:
    """Accuracy per clip of the float32 and the int8 network, and how often they agree."""

    n_clips: int
    fp32: float
    int8: float
    agreement: float


@dataclass(frozen=True)
class Calibration:
    """The clips of training speakers that int8 was calibrated on."""

    n_clips: int
    speakers: tuple[str, ...]


@dataclass(frozen=True)
class References:
    """Reference models that were scored in place of the network, on speakers held out of each."""

    n_networks: int
    speakers: tuple[str, ...]


@dataclass(frozen=True)
class Quantization:
    """How a graph was made smaller, and what that cost.

    bytes: its size by precision. accuracy: int8, by split. min_elements, max_difference: fp16,
    the smallest weight stored so, and the largest difference of each output.
    """

    method: str
    bytes: Mapping[str, int] = field(default_factory=dict)
    calibration: Calibration | None = None
    max_drop_points: float | None = None
    accuracy: Mapping[str, SplitAccuracy] | None = None
    references: References | None = None
    min_elements: int | None = None
    max_difference: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Waveform:
    """waveform.onnx: its input, and the largest differences of features and probs from NumPy."""

    file: str
    replaces: str
    input: TensorSpec
    max_difference: Mapping[str, float]
    batches: tuple[int, ...]


@dataclass(frozen=True)
class BundleManifest:
    """bundle.json.

    model: the network's name in the catalog. frames: how face crops reach it, see
    batch.collate_clips. metrics: by set of speakers, "val", "test" or "folds". parity: by format.
    files: by name, all but bundle.json. averaged: networks whose weights are the mean
    of several runs.
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
    averaged: tuple[str, ...] = ()
    quantization: Quantization | None = None
    waveform: Waveform | None = None
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
        if "logits" not in [tensor.name for tensor in self.outputs]:
            raise ValueError("outputs lacks 'logits'")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> BundleManifest:
        """Inverse of to_dict; also reads the old names of OLD_KEYS, ignores unknown entries.

        Raises ValueError naming the entry that is missing or malformed.
        """
        if data.get("schema") != SCHEMA:
            raise ValueError(f"schema {data.get('schema')!r:.20}, expected {SCHEMA}")
        return read_fields(cls, rename_keys(data))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as bundle.json has them."""
        return write_fields(self)


def rename_keys(data: Any) -> Any:
    """Entries, of any depth, under the names they have today, see OLD_KEYS."""
    if not isinstance(data, Mapping):
        return data
    return {OLD_KEYS.get(key, key): rename_keys(value) for key, value in data.items()}
