"""One trained network, or several of one configuration as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_emo.errors import Reason, UsageError
from keras_emo.io import naming_content
from keras_emo.networks import MODELS, build, load_weights
from keras_emo.networks.catalog import ModelEntry
from keras_emo.networks.ensemble import average_models, average_weights
from keras_emo.spec import ClipSpec
from keras_emo.training.run import MODEL_FILE

HEAD = "head"


def load_network(
    runs: Sequence[Path],
    name: str,
    asked: dict[str, Any],
    spec: ClipSpec,
    soup: Sequence[str] = (),
) -> keras.Model:
    """The network of a run; of several runs the mean of their logits.

    asked: config.json of the first run; the others' differs in the seed alone. soup: the network
    or parts of it of which the weights are averaged in place of the logits, see check_soup.
    Raises UsageError where a file cannot be read, and where a soup cannot be made.
    """
    config, members = asked["config"], []
    for run in runs:
        with naming_content(run / "config.json"):
            model = build(name, config["preset"], config["model"], spec)
        load_weights(model, run / name / MODEL_FILE, f"delete {name}/ and train it again")
        members.append(model)
    if len(members) == 1:
        return members[0]
    entry = MODELS[name]
    if name in soup:
        return average_weights(members)
    return _share(members, entry, config, spec, soup) if soup else average_models(members)


def check_soup(soup: Sequence[str], runs: Sequence[Path], name: str, asked: dict[str, Any]) -> None:
    """Raise UsageError where weights cannot be averaged: of other networks, of a single run, or
    where the runs did not begin from given weights or pictures."""
    if not soup:
        return
    entry = MODELS[name]
    own = (name, *entry.branches) if not entry.trained_head else (name,)
    unknown = [s for s in soup if s not in own or MODELS[s].modalities != ("face",)]
    if unknown:
        known = [s for s in own if MODELS[s].modalities == ("face",)]
        cause = f"{name} has no {unknown[0]} of its own; known here: {', '.join(known) or 'none'}"
        raise UsageError("--soup", Reason.BAD_CONFIG, cause)
    if len(runs) < 2:
        raise UsageError("--soup", Reason.BAD_CONFIG, "weights of one run have no mean; name more")
    if not asked["start"]:
        cause = "its face network did not begin from weights that another run began from too"
        raise UsageError(runs[0], Reason.BAD_CONFIG, cause)


def _share(
    members: Sequence[keras.Model],
    entry: ModelEntry,
    config: dict[str, Any],
    spec: ClipSpec,
    soup: Sequence[str],
) -> keras.Model:
    """A fusion whose parts are the soup, or the mean, of the members' parts.

    Its head is linear in the logits: of one head the mean of answers is the answer to the mean.
    """
    parts = [
        average_weights(same) if part in soup else average_models(same)
        for part in entry.branches
        for same in [[member.get_layer(part) for member in members]]
    ]
    heads = [member.get_layer(HEAD).get_weights() for member in members]
    if any(not np.array_equal(heads[0], other) for other in heads[1:]):
        cause = "the runs weigh face and voice in other ways, fitted on validation speakers"
        raise UsageError("--soup", Reason.BAD_CONFIG, cause)
    settings = entry.settings(config["preset"], **config["model"].get(entry.name, {}))
    fusion = entry.build(spec, branches=parts, **settings)
    fusion.get_layer(HEAD).set_weights(heads[0])
    return fusion
