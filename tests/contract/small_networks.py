"""Small networks for the tests here, every weight moved, so that agreement means something."""

import keras
import numpy as np

from keras_emo.export.provenance import Provenance
from keras_emo.inference.manifest import Split, TrainingCorpus
from keras_emo.networks import build
from keras_emo.networks.clip import ClipStatistics
from keras_emo.networks.layers import Standardize
from keras_emo.spec import AudioSpec, ClipSpec, FaceSpec
from keras_emo.training.distributed import walk_layers

SPEC = ClipSpec()
SHORT_SPEC = ClipSpec(
    face=FaceSpec(size_px=64), audio=AudioSpec(duration_s=1.0, n_mels=32, n_mfcc=32)
)
TINY = {
    "visual_alexnet": {"width": 0.125, "dense_units": 16},
    "audio_cnn": {"width": 0.125, "dense_units": 16},
    "audio_lstm": {"units": 16, "time_pool": 6},
    "fusion_concat": {"units": (16, 8)},
    "visual_residual": {"width": 0.2, "test_zoom": 1.1},
    "audio_tdnn": {"units": 16, "top_units": 16, "test_mel_shifts": (0, 2, -2)},
    "fusion_joint": {"units": 8},
    "fusion_joint_ensemble": {"units": 8},
}
PROVENANCE = Provenance(
    "compact", TrainingCorpus("builtin", Split(train=("a",), val=("b",), test=()))
)


def build_tiny(name: str, seed: int = 7, spec: ClipSpec = SPEC) -> keras.Model:
    """A network of the compact preset, made smaller by TINY."""
    keras.utils.set_random_seed(seed)
    model = build(name, "compact", TINY, spec)
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        kind = weight.path.rsplit("/", 1)[-1]
        if kind in ("bias", "beta", "balance", "log_scale", "moving_mean"):
            weight.assign(rng.normal(0, 0.2, weight.shape))
        elif kind == "moving_variance":
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    for layer in walk_layers(model):
        if isinstance(layer, Standardize):
            layer.adapt(rng.normal(0, 25, (8, *spec.audio.shape)))
        if isinstance(layer, ClipStatistics):
            layer.adapt(rng.normal(0.5, 0.5, (8, layer.mean.shape[0])))
    return model
