"""One trained network, or several of one configuration as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_emo.core.spec import ClipSpec
from keras_emo.data.files import naming_content
from keras_emo.models import build_model
from keras_emo.models.ensemble import average_models
from keras_emo.training.fit import load_trained
from keras_emo.training.run import MODEL_FILE


def load_network(
    runs: Sequence[Path], name: str, config: dict[str, Any], spec: ClipSpec
) -> keras.Model:
    """The network of a run; of several runs the mean of their logits.

    config: as config.json of the first run has it; the others' differs in the seed alone. Raises
    UsageError where that, or the weights, cannot be read.
    """
    members = []
    for run in runs:
        with naming_content(run / "config.json"):
            model = build_model(name, config["preset"], config["model"], spec)
        members.append(load_trained(model, run / name / MODEL_FILE))
    return members[0] if len(members) == 1 else average_models(members)
