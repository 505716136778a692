"""Networks by name: what each takes, what it is built from and how it is trained. Free of Keras.

The build functions are named by module and loaded on first use. Packages that register networks
of their own are listed in the entry-point group GROUP and imported when a name is not known.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

from keras_emo.errors import Reason, UsageError
from keras_emo.extensions import load_extensions
from keras_emo.spec import ClipSpec

if TYPE_CHECKING:
    import keras

GROUP = "keras_emo.networks"
Settings = dict[str, Any]
Frames = Literal["none", "each", "one", "all"]
# The faithful networks have no batch normalization: their learning rate is lower.
LEARNING_RATES = {"compact": 1e-3, "faithful": 1e-4}


@dataclass(frozen=True)
class ModelEntry:
    """A registered network.

    frames: how a clip's face crops reach it, see inference.batch.collate_clips.
    presets: settings of the build function by preset name.
    builder: the build function, or its place as "module:function"; it is called with the clip's
    spec, the settings, ``fixed``, and ``branches`` and ``backbone`` where the network has them.
    branches: the networks that a fusion is built from, face and voice; or those of one modality
    whose logits are averaged, with nothing to train. backbone: the network of single faces whose
    pretrained weights it uses, frozen.
    trained_head: whether a fusion's head is trained on training speakers; otherwise its few
    weights are fitted on validation speakers, see training.features.
    stage: training settings that differ from the defaults of its kind, by the field names of
    training.config.StageConfig.
    """

    name: str
    inputs: tuple[str, ...]
    presets: Mapping[str, Settings]
    builder: str | Callable[..., Any]
    frames: Frames = "none"
    branches: tuple[str, ...] = ()
    backbone: str = ""
    trained_head: bool = False
    stage: Settings = field(default_factory=dict)
    fixed: Settings = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        names = {"face": "face", "mfcc": "voice"}
        return tuple(names[i] for i in self.inputs if i in names)

    @property
    def is_fusion(self) -> bool:
        return len(self.modalities) > 1

    def settings(self, preset: str, **overrides: Any) -> Settings:
        """The preset's settings with overrides. Raises KeyError for an unknown preset or key."""
        base = self.presets[preset]
        unknown = sorted(set(overrides) - set(base))
        if unknown:
            raise KeyError(
                f"{self.name} has no setting {', '.join(unknown)}; it has {sorted(base)}"
            )
        return {**base, **overrides}

    def stage_settings(self, preset: str) -> Settings:
        """Training settings: those of its kind, then its own."""
        settings: Settings = {"learning_rate": LEARNING_RATES[preset], "epochs": 20}
        if self.trained_head:
            settings |= {"epochs": 30, "batch": 64}
        elif self.is_fusion:
            settings |= {
                "epochs": 60, "patience": 60, "learning_rate": 0.05, "weight_decay": 0.0,
                "label_smoothing": 0.0,
            }  # fmt: skip
        return {**settings, **self.stage}

    def build(self, spec: ClipSpec, **settings: Any) -> keras.Model:
        """Call the build function."""
        build = self.builder if callable(self.builder) else pkgutil.resolve_name(self.builder)
        return build(spec, **self.fixed, **settings)


PREFIXES = {("face",): "visual_", ("voice",): "audio_", ("face", "voice"): "fusion_"}
MODELS: dict[str, ModelEntry] = {}  # in the order of training: branches before fusions


def add(entry: ModelEntry) -> None:
    """Enter a network in MODELS.

    Its name begins with ``visual_``, ``audio_`` or, for a fusion, ``fusion_``. Raises ValueError
    where it does not, where it is taken, and for branches of the wrong number or modality.
    """
    name, branches, prefix = entry.name, entry.branches, PREFIXES.get(entry.modalities)
    if prefix is None or not name.startswith(prefix):
        raise ValueError(f"{name} takes {entry.inputs}: its name does not begin with {prefix}")
    if len(branches) != 2 if entry.is_fusion else len(branches) == 1:
        raise ValueError(f"{name} has the branches {branches}; a fusion has two, face and voice")
    if not entry.is_fusion and any(not branch.startswith(prefix) for branch in branches):
        raise ValueError(f"{name} has the branches {branches}; their names begin with {prefix}")
    if name in MODELS:
        raise ValueError(f"a model named {name} is registered already")
    MODELS[name] = entry


def register(
    name: str, *, inputs: tuple[str, ...], presets: Mapping[str, Settings], **facts: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that registers a build function; facts: further fields of ModelEntry."""

    def enter(build: Callable[..., Any]) -> Callable[..., Any]:
        add(ModelEntry(name, inputs, presets, build, **facts))
        return build

    return enter


def find(name: str) -> ModelEntry | None:
    """A network by name, also one of another package; None where there is none."""
    if name not in MODELS and name.startswith(tuple(PREFIXES.values())):
        load_extensions(GROUP)
    return MODELS.get(name)


def build(
    name: str,
    preset: str = "compact",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    spec: ClipSpec | None = None,
    weights: Path | str | None = None,
) -> keras.Model:
    """A keras.Model with dict inputs and the outputs ``probs``, ``logits``, ``embedding``.

    settings: by model name, what differs from the preset; passed on to branches and backbone.
    spec: decides the shapes of ``face`` and ``mfcc``; the default one where None. weights: a
    .keras or .weights.h5 file of the same network.
    Raises KeyError for an unknown name, preset or setting, UsageError for weights that do not fit.
    """
    entry = find(name)
    if entry is None:
        raise KeyError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    chosen = entry.settings(preset, **(settings or {}).get(name, {}))
    spec = spec or ClipSpec()
    if entry.branches:
        chosen["branches"] = [build(branch, preset, settings, spec) for branch in entry.branches]
    if entry.backbone:
        chosen["backbone"] = build(entry.backbone, preset, settings, spec)
    model = entry.build(spec, **chosen)
    if weights is not None:
        load_weights(model, Path(weights))
    return model


def load_weights(model: keras.Model, path: Path, advice: str = "") -> None:
    """Weights from a file of the same network. Raises UsageError where they do not fit."""
    if not path.is_file():
        raise UsageError(path, Reason.NOT_FOUND, "no such weights file")
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError, BadZipFile) as e:
        first = (str(e).strip().splitlines() or [type(e).__name__])[0]
        cause = f"the weights do not fit: {first}" + (f"; {advice}" if advice else "")
        raise UsageError(path, Reason.UNREADABLE if advice else Reason.BAD_CONFIG, cause) from e


_HERE = "keras_emo.networks"
_ALL_INPUTS = ("face", "face_mask", "mfcc", "mfcc_mask")
_FAITHFUL = {"width": 1.0, "dense_units": 4096, "batch_norm": False, "dropout": 0.5}
_COMPACT = {"width": 0.375, "dense_units": 256, "batch_norm": True, "dropout": 0.4}
_WHOLE = {"n_coefficients": 0, "n_frames": 0}  # 0: all


def _one_size(**settings: Any) -> dict[str, Settings]:
    return {"faithful": settings, "compact": settings}


def _average(name: str, visual: str, audio: str, many_frames: bool = True) -> ModelEntry:
    return ModelEntry(
        name, _ALL_INPUTS, _one_size(per_class=False, scale=1.0), f"{_HERE}.fusion:build_average",
        frames="all" if many_frames else "one", branches=(visual, audio),
        fixed={"name": name, "many_frames": many_frames},
    )  # fmt: skip


def _joint(name: str, audio: str) -> ModelEntry:
    return ModelEntry(
        name, _ALL_INPUTS, _one_size(units=128, dropout=0.5), f"{_HERE}.fusion:build_joint",
        frames="all", branches=("visual_residual", audio), trained_head=True,
        fixed={"name": name},
    )  # fmt: skip


for _entry in (
    ModelEntry(
        "visual_alexnet", ("face",), {"faithful": _FAITHFUL, "compact": _COMPACT},
        f"{_HERE}.visual:build_visual_alexnet", frames="each",
    ),
    ModelEntry(
        "audio_cnn", ("mfcc",),
        {"faithful": {**_FAITHFUL, **_WHOLE}, "compact": {**_COMPACT, **_WHOLE}},
        f"{_HERE}.audio:build_audio_cnn", stage={"epochs": 60, "patience": 20},
    ),
    ModelEntry(
        "audio_lstm", ("mfcc",),
        {
            "faithful": {"units": 128, "time_pool": 1, "dropout": 0.3},
            "compact": {"units": 128, "time_pool": 3, "dropout": 0.3},
        },
        f"{_HERE}.audio:build_audio_lstm",
        stage={"epochs": 60, "learning_rate": 2e-3, "patience": 20},
    ),
    ModelEntry(
        "visual_residual", ("face",),
        _one_size(width=1.0, dropout=0.3, map_dropout=0.05, test_zoom=1.0),
        f"{_HERE}.residual:build_visual_residual", frames="each",
        stage={"epochs": 10, "batch": 64, "learning_rate": 1.5e-3, "weight_decay": 0.02},
    ),
    ModelEntry(
        "visual_clip", ("face", "face_mask"), _one_size(segments=3, enough_frames=8, l2=0.1),
        f"{_HERE}.clip:build_visual_clip", frames="all", backbone="visual_residual",
        stage={
            "epochs": 40, "batch": 64, "learning_rate": 5e-3, "weight_decay": 0.0,
            "label_smoothing": 0.0, "patience": 40,
        },
    ),
    ModelEntry(
        "visual_ensemble", ("face", "face_mask"), _one_size(),
        f"{_HERE}.ensemble:build_visual_ensemble", frames="all",
        branches=("visual_residual", "visual_clip"),
    ),
    ModelEntry(
        "audio_tdnn", ("mfcc",),
        _one_size(
            units=128, top_units=192, heads=2, dropout=0.3, map_dropout=0.1, test_mel_shifts=(0,)
        ),
        f"{_HERE}.tdnn:build_audio_tdnn",
        stage={"epochs": 45, "learning_rate": 2e-3, "weight_decay": 0.02, "patience": 45},
    ),
    ModelEntry(
        "audio_ensemble", ("mfcc",), _one_size(), f"{_HERE}.ensemble:build_audio_ensemble",
        branches=("audio_tdnn", "audio_cnn"),
    ),
    ModelEntry(
        "fusion_concat", _ALL_INPUTS,
        {
            "faithful": {"units": (4096, 1024), "dropout": 0.5, "batch_norm": False},
            "compact": {"units": (256, 64), "dropout": 0.5, "batch_norm": True},
        },
        f"{_HERE}.fusion:build_concat", frames="all", branches=("visual_alexnet", "audio_cnn"),
        trained_head=True,
    ),
    _average("fusion_single_cnn", "visual_alexnet", "audio_cnn", many_frames=False),
    _average("fusion_single_lstm", "visual_alexnet", "audio_lstm", many_frames=False),
    _average("fusion_multi_cnn", "visual_alexnet", "audio_cnn"),
    _average("fusion_multi_lstm", "visual_alexnet", "audio_lstm"),
    _joint("fusion_joint", "audio_tdnn"),
    _joint("fusion_joint_ensemble", "audio_ensemble"),
    _average("fusion_multi_tdnn", "visual_residual", "audio_tdnn"),
    _average("fusion_ensemble_tdnn", "visual_ensemble", "audio_tdnn"),
):  # fmt: skip
    add(_entry)
