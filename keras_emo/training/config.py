"""What a run was asked to do: read from TOML and options, and config.json of its folder."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from keras_emo.data.augment import FaceChanges, MfccChanges, WaveSpec
from keras_emo.data.splits import Split
from keras_emo.errors import Reason, UsageError
from keras_emo.io import naming_content, read_record
from keras_emo.networks import MODELS, ModelEntry, find
from keras_emo.networks.catalog import LEARNING_RATES
from keras_emo.records import read_fields, write_fields
from keras_emo.spec import POSITIVE, AudioSpec, ClipSpec, FaceSpec, Range, check_ranges

CONFIG_FILE = "config.json"
PRETRAIN = "pretrain"
PRECISIONS = ("bfloat16", "float16")
DEFAULT_STAGES = (
    "visual_alexnet", "audio_cnn", "audio_lstm", "fusion_concat", "fusion_single_cnn",
    "fusion_single_lstm", "fusion_multi_cnn", "fusion_multi_lstm",
)  # fmt: skip
_AUGMENTATION = {"waves": WaveSpec, "faces": FaceChanges, "mfcc": MfccChanges}
_TABLES = ("clip", *_AUGMENTATION, "stage", "model")  # beside [run]
T = TypeVar("T")


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
    drop_modality: float = 0.15  # a trained fusion head: proportion of clips without face, or voice
    mfcc: dict[str, Any] = field(default_factory=dict)  # a voice network: what differs from [mfcc]

    def __post_init__(self) -> None:
        check_ranges("stage settings", self, _STAGE_RANGES)


@dataclass(frozen=True)
class TrainConfig:
    """A run: preset, split, seed, and the settings of each stage."""

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
        if self.mixed_precision not in ("", *PRECISIONS):
            known = ", ".join(PRECISIONS)
            raise ValueError(f"[run] mixed_precision {self.mixed_precision!r}; known: {known}")

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
    except (TypeError, ValueError, KeyError, AttributeError) as e:
        raise UsageError(where, Reason.BAD_CONFIG, str(e).strip("\"'")) from None


def _assemble(data: Mapping[str, Any], changes: Mapping[str, Any]) -> TrainConfig:
    _refuse_unknown("", data, ("run", *_TABLES))
    tables = {name: data.get(name, {}) for name in ("run", *_TABLES)}
    clip, given = tables["clip"], tables["stage"]
    run = {**tables["run"], **changes}
    epochs, preset = run.pop("epochs", None), run.get("preset", TrainConfig.preset)
    if preset not in LEARNING_RATES:
        raise ValueError(f"unknown preset {preset!r}; known: {', '.join(LEARNING_RATES)}")
    for table, kind, values in (
        ("run", TrainConfig, run),
        ("clip", ClipSpec, clip),
        *((name, kind, tables[name]) for name, kind in _AUGMENTATION.items()),
        *((f"stage.{name}", StageConfig, values) for name, values in given.items()),
    ):
        _refuse_unknown(table, values, [f.name for f in dataclasses.fields(kind)])
    _refuse_unknown("model", {n: 0 for n in tables["model"] if not find(n)}, MODELS)
    names = run.get("stages", TrainConfig.stages)
    stages: dict[str, Any] = {
        name: {**asdict(default_stage(name, preset)), **given.get(name, {})}
        for name in {*names, *given}
        if name in given or epochs is not None
    }
    for name, values in stages.items():
        _read_table(MfccChanges, f"stage.{name}.mfcc", values["mfcc"])
        if epochs is not None and name in names:
            values["epochs"] = epochs
    settings = {key: list(v) if isinstance(v, tuple) else v for key, v in run.items()}
    settings |= {**{name: tables[name] for name in _AUGMENTATION}, "model": tables["model"]}
    config = read_fields(TrainConfig, {**settings, "stage": stages})
    return dataclasses.replace(
        config,
        stages=order_stages(config.stages),
        clip=ClipSpec(
            face=_read_table(FaceSpec, "clip.face", clip.get("face", {})),
            audio=_read_table(AudioSpec, "clip.audio", clip.get("audio", {})),
        ),
    )


def order_stages(stages: Iterable[str]) -> tuple[str, ...]:
    """Stages in the order of training: those of the catalog, fusions after their branches."""
    networks = [_find_network(s) for s in dict.fromkeys(stages) if s != PRETRAIN]
    ordered = sorted(networks, key=lambda n: (n.is_fusion, list(MODELS).index(n.name)))
    names = tuple(network.name for network in ordered)
    return (PRETRAIN, *names) if PRETRAIN in stages else names


def _refuse_unknown(table: str, values: Any, known: Iterable[str]) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(f"[{table}] is not a table")
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"[{table}] has no {', '.join(unknown)}; known: {', '.join(known)}")


def _read_table(kind: type[T], table: str, values: Any) -> T:
    """A dataclass of settings; keys that it lacks are refused."""
    _refuse_unknown(table, values, [f.name for f in dataclasses.fields(kind)])  # type: ignore[arg-type]
    return read_fields(kind, values, table)


@dataclass(frozen=True)
class RunManifest:
    """config.json of a run folder: what the run was asked to do, and with which data.

    clips: digest of the prepared clips. start: digests of what the first stage starts from.
    """

    config: TrainConfig
    split: Split
    corpus: str
    clips: str
    start: Mapping[str, str] = field(default_factory=dict)

    def list_differences(self, asked: RunManifest) -> list[str]:
        """Settings in which the asked run differs, of the stages that both have."""
        both = set(self.config.stages) & set(asked.config.stages)
        there, wanted = (_flatten(write_fields(m), both) for m in (self, asked))
        return [
            f"{key} is {there.get(key)!r}, asked {wanted.get(key)!r}"
            for key in {**there, **wanted}
            if there.get(key) != wanted.get(key)
        ]

    def extend(self, asked: RunManifest) -> RunManifest:
        """The asked run with the stages that were trained before."""
        stages = order_stages((*self.config.stages, *asked.config.stages))
        stage = {**self.config.stage, **asked.config.stage}
        config = dataclasses.replace(asked.config, stages=stages, stage=stage)
        return dataclasses.replace(asked, config=config)


def read_manifest(folder: Path, advice: str = "") -> RunManifest:
    """The manifest of a run folder. Raises UsageError where it is missing or damaged."""
    data = read_record(folder / CONFIG_FILE)
    with naming_content(folder / CONFIG_FILE, advice):
        return read_fields(RunManifest, data)


def _flatten(data: dict[str, Any], stages: set[str]) -> dict[str, Any]:
    """Values by dotted key, of the given stages only."""
    config = data["config"]
    kept = {name: config["stage"][name] for name in config["stage"] if name in stages}
    data = {**data, "config": {**config, "stage": kept}}
    del data["config"]["stages"]
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if not isinstance(value, dict):
            flat[prefix] = value
            return
        for key, inner in value.items():
            walk(f"{prefix}.{key}" if prefix else key, inner)

    walk("", data)
    return flat
