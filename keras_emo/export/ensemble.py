"""The network of one run, or of several runs of one configuration as an ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from keras_emo.errors import Reason, UsageError
from keras_emo.io import naming_content
from keras_emo.networks import MODELS, build, load_weights
from keras_emo.networks.catalog import ModelEntry
from keras_emo.networks.ensemble import average_models, average_weights
from keras_emo.training.config import CONFIG_FILE, RunManifest, TrainConfig
from keras_emo.training.run import MODEL_FILE

HEAD = "head"
AVERAGE_WEIGHTS = "--average-weights"


def load_network(
    runs: Sequence[Path], name: str, config: TrainConfig, averaged: Sequence[str] = ()
) -> keras.Model:
    """The network of a run; of several runs an ensemble, the mean of their logits.

    config: of all runs, but for the seed. averaged: the network, or branches of it, whose weights
    are averaged instead of logits, see check_averaged. Raises UsageError where a file cannot be
    read, or the runs cannot share a head.
    """
    models = []
    for run in runs:
        with naming_content(run / CONFIG_FILE):
            model = build(name, config.preset, config.model, config.clip)
        load_weights(model, run / name / MODEL_FILE, f"delete {name}/ and train it again")
        models.append(model)
    if len(models) == 1:
        return models[0]
    if name in averaged:
        return average_weights(models)
    if averaged:
        return _average_branches(models, MODELS[name], config, averaged)
    return average_models(models)


def check_averaged(
    averaged: Sequence[str], runs: Sequence[Path], name: str, manifest: RunManifest
) -> None:
    """Raise UsageError where weights cannot be averaged.

    The mean of weights (a model soup) predicts well only for runs that were initialized from the
    same weights or face pictures, so only their face networks can be averaged.
    """
    if not averaged:
        return
    entry = MODELS[name]
    own = (name, *entry.branches) if not entry.trained_head else (name,)
    known = [network for network in own if MODELS[network].modalities == ("face",)]
    unknown = [network for network in averaged if network not in known]
    if unknown:
        cause = f"{name} has no {unknown[0]} of its own; known here: {', '.join(known) or 'none'}"
        raise UsageError(AVERAGE_WEIGHTS, Reason.BAD_CONFIG, cause)
    if len(runs) < 2:
        raise UsageError(AVERAGE_WEIGHTS, Reason.BAD_CONFIG, "it needs several runs to average")
    if not manifest.start:
        cause = "its face network was not initialized from weights that the runs share"
        raise UsageError(runs[0], Reason.BAD_CONFIG, cause)


def _average_branches(
    models: Sequence[keras.Model], entry: ModelEntry, config: TrainConfig, averaged: Sequence[str]
) -> keras.Model:
    """A fusion whose branches have averaged weights, or average the logits of all runs.

    Its head is linear in the logits, so one head over averaged logits computes the average of
    the fusions' logits.
    """
    branches = []
    for branch in entry.branches:
        same = [model.get_layer(branch) for model in models]
        average = average_weights if branch in averaged else average_models
        branches.append(average(same))
    heads = [model.get_layer(HEAD).get_weights() for model in models]
    if any(not np.array_equal(heads[0], other) for other in heads[1:]):
        cause = "the runs weigh face and voice differently, as fitted on validation speakers"
        raise UsageError(AVERAGE_WEIGHTS, Reason.BAD_CONFIG, cause)
    settings = entry.settings(config.preset, **config.model.get(entry.name, {}))
    fusion = entry.build(config.clip, branches=branches, **settings)
    fusion.get_layer(HEAD).set_weights(heads[0])
    return fusion
