"""Networks by name: how each is built, what it takes and which parts it stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from keras_emo.spec import ClipSpec

Frames = Literal["none", "each", "one", "all"]


@dataclass(frozen=True)
class ModelEntry:
    """A registered network.

    frames: how a clip's face crops reach it, as core.inputs.feed_clips reads it.
    parts: the networks that a fusion is built from, face and voice; or those of one modality
    whose answers are averaged, with nothing to train. backbone: the network of single faces that
    it looks with, as the pretrain stage left it.
    trained_head: whether a fusion's head is trained on training speakers; otherwise its few
    numbers are fitted on validation speakers, see training.features. stage: what differs from
    the usual settings of training, by the names of training.config.StageConfig.
    """

    name: str
    build: Callable[..., Any]
    inputs: tuple[str, ...]
    frames: Frames
    parts: tuple[str, ...]
    presets: dict[str, dict[str, Any]]
    trained_head: bool
    stage: dict[str, Any]
    backbone: str = ""

    @property
    def modalities(self) -> tuple[str, ...]:
        names = {"face": "face", "mfcc": "voice"}
        return tuple(names[i] for i in self.inputs if i in names)

    @property
    def is_fusion(self) -> bool:
        return len(self.modalities) > 1

    def settings(self, preset: str, **overrides: Any) -> dict[str, Any]:
        """The preset's settings with overrides. Raises KeyError for an unknown preset or key."""
        base = self.presets[preset]
        unknown = sorted(set(overrides) - set(base))
        if unknown:
            raise KeyError(
                f"{self.name} has no setting {', '.join(unknown)}; it has {sorted(base)}"
            )
        return {**base, **overrides}


MODELS: dict[str, ModelEntry] = {}
PREFIXES = {("face",): "visual_", ("voice",): "audio_", ("face", "voice"): "fusion_"}


def register(
    name: str,
    *,
    inputs: tuple[str, ...],
    frames: Frames = "none",
    parts: tuple[str, ...] = (),
    presets: dict[str, dict[str, Any]],
    trained_head: bool = False,
    stage: dict[str, Any] | None = None,
    backbone: str = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator that enters a build function under a name, see ModelEntry.

    The name begins with ``visual_``, ``audio_`` or, for a fusion, ``fusion_``. Raises ValueError
    where it does not, where it is taken, and for parts of the wrong number or modality.
    """

    def enter(build: Callable[..., Any]) -> Callable[..., Any]:
        entry = ModelEntry(
            name, build, inputs, frames, parts, presets, trained_head, dict(stage or {}), backbone
        )
        prefix = PREFIXES.get(entry.modalities)
        if prefix is None or not name.startswith(prefix):
            raise ValueError(f"{name} takes {inputs}: its name does not begin with {prefix}")
        if len(parts) != 2 if entry.is_fusion else len(parts) == 1:
            raise ValueError(f"{name} has the parts {parts}; a fusion has two, face and voice")
        if not entry.is_fusion and any(not part.startswith(prefix) for part in parts):
            raise ValueError(f"{name} has the parts {parts}; their names begin with {prefix}")
        if name in MODELS:
            raise ValueError(f"a model named {name} is registered already")
        MODELS[name] = entry
        return build

    return enter


def build_model(
    name: str,
    preset: str = "compact",
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    spec: ClipSpec | None = None,
) -> Any:
    """A keras.Model with dict inputs and the outputs ``probs``, ``logits``, ``embedding``.

    settings: by model name, what differs from the preset; passed on to parts and backbone.
    spec: decides the shapes of ``face`` and ``mfcc``; the default one where None.
    Raises KeyError for an unknown name, preset or setting.
    """
    if name not in MODELS:
        raise KeyError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    entry = MODELS[name]
    chosen = entry.settings(preset, **(settings or {}).get(name, {}))
    spec = spec or ClipSpec()
    if entry.parts:
        chosen["parts"] = [build_model(part, preset, settings, spec) for part in entry.parts]
    if entry.backbone:
        chosen["backbone"] = build_model(entry.backbone, preset, settings, spec)
    return entry.build(spec, **chosen)
