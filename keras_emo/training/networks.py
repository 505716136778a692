"""Networks that config does not name: they bring their settings with their registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_emo.networks.catalog import ModelEntry

PREFIXES = ("visual_", "audio_", "fusion_")  # as models.registry.register demands


def find_added(name: str) -> ModelEntry | None:
    """A registered network by name, None where there is none. Loads Keras, which takes seconds."""
    if not name.startswith(PREFIXES):
        return None
    from keras_emo.networks import MODELS

    return MODELS.get(name)
