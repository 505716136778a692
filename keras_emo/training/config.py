"""What a run was asked to do: read from TOML and options, written into the run folder."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_emo.data.augment import FaceChanges, MfccChanges, WaveSpec
from keras_emo.errors import Reason, UsageError
from keras_emo.networks import MODELS, ModelEntry, find
from keras_emo.networks.catalog import LEARNING_RATES
from keras_emo.spec import POSITIVE, AudioSpec, ClipSpec, FaceSpec, Range, check_ranges

PRETRAIN = "pretrain"
PRECISIONS = ("bfloat16", "float16")
DEFAULT_STAGES = (
    "visual_alexnet", "audio_cnn", "audio_lstm", "fusion_concat", "fusion_single_cnn",
    "fusion_single_lstm", "fusion_multi_cnn", "fusion_multi_lstm",
)  # fmt: skip
_TABLES = ("clip", "waves", "faces", "mfcc", "stage", "model")  # beside [run]


_STAGE_RANGES = {
    **dict.fromkeys(("epochs", "batch", "patience", "passes"), Range(1)),
    **dict.fromkeys(("crops_a_clip", "weight_decay", "contrast"), Range(0)),
    **dict.fromkeys(("learning_rate", "clip_norm"), POSITIVE),
    "drop_modality": Range(0, 0.5, below=True),
    "label_smoothing": Range(0, 1, below=True),
}


@dataclass(frozen=True)
class StageConfig:
    """How one network is trained; AdamW, cosine decay after one epoch of warm-up."""

    epochs: int = 30
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    label_smoothing: float = 0.1
    contrast: float = 0.0  # weight of the supervised contrastive loss, see training.contrast
    patience: int = 10  # epochs without a better validation score
    crops_a_clip: int = 4  # face crops of each clip an epoch, 0: all
    passes: int = 4  # a trained fusion head: augmented passes over the training clips
    clip_norm: float = 5.0
    drop_modality: float = (
        0.15  # a trained fusion head: share of clips shown without face, or voice
    )
    mfcc: dict[str, Any] = field(default_factory=dict)  # a voice network: what differs from [mfcc]

    def __post_init__(self) -> None:
        check_ranges("stage settings", self, _STAGE_RANGES)


@dataclass(frozen=True)
class TrainConfig:
    """A whole run: preset, split, seed, and what each stage does."""

    preset: str = "compact"
    seed: int = 0
    test: tuple[str, ...] = ()
    val: tuple[str, ...] | int = 2
    stages: tuple[str, ...] = DEFAULT_STAGES
    deterministic: bool = False
    mixed_precision: str = ""  # one of PRECISIONS for activations and gradients; "": float32
    xla: bool = False  # compile the training step
    clip: ClipSpec = field(default_factory=ClipSpec)
    waves: WaveSpec = field(default_factory=WaveSpec)
    faces: FaceChanges = field(default_factory=FaceChanges)
    mfcc: MfccChanges = field(default_factory=MfccChanges)
    stage: dict[str, StageConfig] = field(default_factory=dict)
    model: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, names in (("test", self.test), ("stages", self.stages)):
            if not isinstance(names, tuple) or not all(isinstance(n, str) for n in names):
                raise ValueError(f"[run] {key} is not a list of names: {names!r}")
        if isinstance(self.val, bool) or not isinstance(self.val, tuple | int):
            raise ValueError(f"[run] val is neither a list of names nor a number: {self.val!r}")
        if self.mixed_precision not in ("", *PRECISIONS):
            known = ", ".join(PRECISIONS)
            raise ValueError(f"[run] mixed_precision {self.mixed_precision!r}; known: {known}")
        for name, settings in self.model.items():
            if not isinstance(settings, dict):
                raise ValueError(f"[model] {name} is not a table")

    @property
    def visual(self) -> str:
        """The network of single faces that is trained, for the pretrain stage."""
        first = next((s for s in self.stages if s.startswith("visual")), "visual_alexnet")
        entry = find(first)
        return (entry and entry.backbone) or first

    def of_stage(self, name: str) -> StageConfig:
        return self.stage.get(name) or default_stage(name, self.preset)

    def mfcc_of(self, name: str) -> MfccChanges:
        """How MFCC are augmented while a voice network is trained."""
        return dataclasses.replace(self.mfcc, **self.of_stage(name).mfcc)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with every stage's settings resolved."""
        data = asdict(self)
        data["stage"] = {name: asdict(self.of_stage(name)) for name in self.stages}
        return json.loads(json.dumps(data))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainConfig:
        """Inverse of to_dict; missing settings have their defaults. Raises ValueError."""
        run = {key: value for key, value in data.items() if key not in _TABLES}
        return _assemble({"run": run, **{key: data[key] for key in _TABLES if key in data}}, {})


def default_stage(name: str, preset: str) -> StageConfig:
    """Settings that suit a stage, see ModelEntry.stage_settings. Raises ValueError if unknown."""
    if name == PRETRAIN:
        return StageConfig(epochs=12, batch=64, learning_rate=LEARNING_RATES[preset])
    return StageConfig(**_find_network(name).stage_settings(preset))


def _find_network(name: str) -> ModelEntry:
    entry = find(name)
    if entry is None:
        raise ValueError(f"unknown stage {name!r}; known: {', '.join((PRETRAIN, *MODELS))}")
    return entry


def read_config(path: Path | None, changes: Mapping[str, Any] | None = None) -> TrainConfig:
    """A TrainConfig from a TOML file (or defaults) with changes to [run] on top.

    Tables: [run] preset, seed, test, val (names or a number), stages, epochs, deterministic,
    mixed_precision, xla;
    [clip.face], [clip.audio], [waves], [faces], [mfcc]; [stage.NAME], [stage.NAME.mfcc];
    [model.NAME].
    Raises UsageError naming the file and the key.
    """
    data: dict[str, Any] = {}
    where = path or Path("options")
    if path is not None:
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UsageError(path, Reason.NOT_FOUND, "no such file") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
            raise UsageError(path, Reason.BAD_CONFIG, str(e)) from None
    try:
        return _assemble(data, {k: v for k, v in (changes or {}).items() if v is not None})
    except (TypeError, ValueError, KeyError) as e:
        raise UsageError(where, Reason.BAD_CONFIG, str(e).strip("\"'")) from None


def _assemble(data: dict[str, Any], changes: dict[str, Any]) -> TrainConfig:
    known = ("run", *_TABLES)
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ValueError(f"unknown table {', '.join(unknown)}; known: {', '.join(known)}")
    run = {**data.get("run", {}), **changes}
    for key in ("test", "val", "stages"):
        if isinstance(run.get(key), list):
            run[key] = tuple(run[key])
    stages = run.get("stages", TrainConfig.stages)
    epochs = run.pop("epochs", None)
    preset = run.get("preset", TrainConfig.preset)
    if preset not in ("compact", "faithful"):
        raise ValueError(f"unknown preset {preset!r}; known: compact, faithful")
    for name in {*stages, *data.get("stage", {})} - {PRETRAIN}:
        _find_network(name)
    clip = data.get("clip", {})
    _refuse_unknown("clip", clip, ("face", "audio"))
    _refuse_unknown("model", {n: 0 for n in data.get("model", {}) if not find(n)}, tuple(MODELS))
    for name, values in data.get("stage", {}).items():
        _check(StageConfig, values, f"stage.{name}")
        _check(MfccChanges, values.get("mfcc", {}), f"stage.{name}.mfcc")
    stage = {
        name: dataclasses.replace(default_stage(name, preset), **values)
        for name, values in data.get("stage", {}).items()
    }
    if epochs is not None:
        _check(StageConfig, {"epochs": epochs}, "run")
        for name in stages:
            known_stage = stage.get(name) or default_stage(name, preset)
            stage[name] = dataclasses.replace(known_stage, epochs=epochs)
    _check(TrainConfig, run, "run")

    def build(cls: type, table: str, values: dict[str, Any]) -> Any:
        _check(cls, values, table)
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    return TrainConfig(
        **{**run, "stages": order_stages(stages)},
        clip=ClipSpec(
            face=build(FaceSpec, "clip.face", clip.get("face", {})),
            audio=build(AudioSpec, "clip.audio", clip.get("audio", {})),
        ),
        waves=build(WaveSpec, "waves", data.get("waves", {})),
        faces=build(FaceChanges, "faces", data.get("faces", {})),
        mfcc=build(MfccChanges, "mfcc", data.get("mfcc", {})),
        stage=stage,
        model=data.get("model", {}),
    )


def order_stages(stages: Iterable[str]) -> tuple[str, ...]:
    """Stages in the order of training: those of the catalog, fusions after their branches."""
    places = {name: i for i, name in enumerate(MODELS)}
    networks = [s for s in dict.fromkeys(stages) if s != PRETRAIN]
    ordered = sorted(networks, key=lambda s: (MODELS[s].is_fusion, places[s]))
    return (PRETRAIN, *ordered) if PRETRAIN in stages else tuple(ordered)


def _refuse_unknown(table: str, values: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"[{table}] has no {', '.join(unknown)}; known: {', '.join(known)}")


def _check(cls: Any, values: Mapping[str, Any], table: str) -> None:
    """Refuse keys a dataclass lacks and plain values of another type than it declares."""
    declared = {f.name: str(f.type) for f in dataclasses.fields(cls)}
    _refuse_unknown(table, values, tuple(declared))
    plain: dict[str, Any] = {
        "int": int, "float": (int, float), "bool": bool, "str": str, "dict[str, Any]": dict
    }  # fmt: skip
    for key, value in values.items():
        kind = plain.get(declared[key])
        if kind is None:
            continue
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"[{table}] {key} = {value!r} is not of type {declared[key]}")
