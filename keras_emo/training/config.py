"""What a run was asked to do: read from TOML and options, written into the run folder."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_emo.data.augment import FaceChanges, MfccChanges, WaveSpec
from keras_emo.errors import Reason, UsageError
from keras_emo.ranges import POSITIVE, Range, check_ranges
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec
from keras_emo.training.networks import find_added

PRETRAIN = "pretrain"
ALEXNET_PARTS = ("visual_alexnet", "audio_cnn", "audio_lstm")
ALEXNET_FUSIONS = (
    "fusion_concat",
    "fusion_single_cnn",
    "fusion_single_lstm",
    "fusion_multi_cnn",
    "fusion_multi_lstm",
)
PARTS = (
    *ALEXNET_PARTS,
    "visual_residual",
    "visual_clip",
    "visual_ensemble",
    "audio_tdnn",
    "audio_ensemble",
)
FUSIONS = (
    *ALEXNET_FUSIONS,
    "fusion_joint",
    "fusion_joint_ensemble",
    "fusion_multi_tdnn",
    "fusion_ensemble_tdnn",
)
BACKBONES = {"visual_clip": "visual_residual"}  # what the pretrain stage trains for it
PRECISIONS = ("bfloat16", "float16")
PLAIN: dict[str, Any] = {"mixed_precision": "", "xla": False}  # named only where they differ
PLAIN_STAGE: dict[str, Any] = {"contrast": 0.0}  # of a stage
# of the others the averages are fitted, see features
TRAINED_HEADS = ("fusion_concat", "fusion_joint", "fusion_joint_ensemble")
STAGES = (PRETRAIN, *PARTS, *FUSIONS)
DEFAULT_STAGES = (*ALEXNET_PARTS, *ALEXNET_FUSIONS)


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
        added = None if first in STAGES else find_added(first)
        return (added.backbone if added else BACKBONES.get(first)) or first

    def of_stage(self, name: str) -> StageConfig:
        return self.stage.get(name) or default_stage(name, self.preset)

    def mfcc_of(self, name: str) -> MfccChanges:
        """How the clips of a voice network are altered while it is trained."""
        return dataclasses.replace(self.mfcc, **self.of_stage(name).mfcc)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with every stage's settings resolved."""
        data = asdict(self)
        data["stage"] = {
            name: _drop_plain(asdict(self.of_stage(name)), PLAIN_STAGE) for name in self.stages
        }
        data = _drop_plain(data, PLAIN)
        return json.loads(json.dumps(data))


def _drop_plain(data: dict[str, Any], plain: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in data.items() if k not in plain or v != plain[k]}


def default_stage(name: str, preset: str) -> StageConfig:
    """Settings that suit a stage; the faithful nets have no batch normalisation: lower rates."""
    rate = 1e-3 if preset == "compact" else 1e-4
    if name == PRETRAIN:
        return StageConfig(epochs=12, batch=64, learning_rate=rate)
    if name == "audio_cnn":
        return StageConfig(epochs=60, learning_rate=rate, patience=20)
    if name == "audio_lstm":
        return StageConfig(epochs=60, learning_rate=2e-3, patience=20)
    if name == "audio_tdnn":
        return StageConfig(epochs=45, learning_rate=2e-3, weight_decay=0.02, patience=45)
    if name == "visual_residual":
        return StageConfig(
            epochs=10, batch=64, learning_rate=1.5e-3, weight_decay=0.02, patience=10
        )
    if name == "visual_clip":
        return StageConfig(
            epochs=40, batch=64, learning_rate=5e-3, weight_decay=0.0, label_smoothing=0.0,
            patience=40,
        )  # fmt: skip
    added = None if name in STAGES else find_added(name)
    trained_head = added.trained_head if added else name in TRAINED_HEADS
    if trained_head:
        stage = StageConfig(epochs=30, batch=64, learning_rate=rate, patience=10)
    elif name in FUSIONS or (added and added.is_fusion):
        stage = StageConfig(
            epochs=60, patience=60, learning_rate=0.05, weight_decay=0.0, label_smoothing=0.0
        )
    else:
        stage = StageConfig(epochs=20, learning_rate=rate)
    return dataclasses.replace(stage, **added.stage) if added else stage


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
    known = {"run", "clip", "waves", "faces", "mfcc", "stage", "model"}
    unknown = sorted(set(data) - known)
    if unknown:
        raise ValueError(f"unknown table {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    run = {**data.get("run", {}), **changes}
    for key in ("test", "val", "stages"):
        if isinstance(run.get(key), list):
            run[key] = tuple(run[key])
    stages = run.get("stages", TrainConfig.stages)
    epochs = run.pop("epochs", None)
    preset = run.get("preset", TrainConfig.preset)
    if preset not in ("compact", "faithful"):
        raise ValueError(f"unknown preset {preset!r}; known: compact, faithful")
    for name in (*stages, *data.get("stage", {})):
        if name not in STAGES and find_added(name) is None:
            raise ValueError(f"unknown stage {name!r}; known: {', '.join(STAGES)}")
    clip = data.get("clip", {})
    _refuse_unknown("clip", clip, ("face", "audio"))
    networks = [n for n in data.get("model", {}) if n in STAGES or find_added(n) is None]
    _refuse_unknown("model", dict.fromkeys(networks), (*PARTS, *FUSIONS))
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
        **{**run, "stages": _order(stages)},
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


def _order(stages: tuple[str, ...]) -> tuple[str, ...]:
    """Stages in the order of training: fusions after what they stand on."""
    added = [s for s in dict.fromkeys(stages) if s not in STAGES]
    fusions = [s for s in added if s.startswith("fusion_")]
    parts = [s for s in added if s not in fusions]
    return tuple(s for s in (PRETRAIN, *PARTS, *parts, *FUSIONS, *fusions) if s in stages)


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
