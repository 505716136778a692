"""Audio-visual emotion recognition: seven emotions from the face and the voice of a speaker.

>>> import keras_emo
>>> model = keras_emo.load()                   # the pretrained model of the package
>>> p = model.predict("clip.mp4")              # doctest: +SKIP
>>> p.label, p.confidence, p.probs["happy"]    # doctest: +SKIP
('happy', 0.93, 0.93)

``model.predict`` takes a clip, ``model.timeline`` and ``model.stream`` a recording of any length.
``keras_emo.networks`` builds the networks with Keras (extra ``train``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from keras_emo.errors import (
    BundleError,
    ClipError,
    ClipTimeout,
    EmoError,
    EnvironmentFailure,
    Reason,
    UsageError,
)
from keras_emo.inference.results import Face, Prediction, Segment, Timeline, WindowPrediction
from keras_emo.labels import EMOTIONS

if TYPE_CHECKING:
    from keras_emo import networks
    from keras_emo.features.tracking import Detector
    from keras_emo.inference.bundle import Bundle
    from keras_emo.inference.model import Model
    from keras_emo.sandbox.limits import Limits

# onnxruntime 1.29 and later report to Microsoft unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = [
    "EMOTIONS", "BundleError", "ClipError", "ClipTimeout", "EmoError", "EnvironmentFailure", "Face",
    "Model", "Prediction", "Segment", "Timeline", "UsageError", "WindowPrediction", "__version__",
    "load", "networks",
]  # fmt: skip


def load(
    bundle: str | os.PathLike[str] | Bundle | None = None,
    *,
    threads: int = 0,
    providers: Sequence[str] | None = None,
    sandbox: bool | Limits = False,
    detector: Detector | None = None,
) -> Model:
    """Load a model, ready to predict.

    bundle: the folder of an exported model; by default KERAS_EMO_BUNDLE, or else the pretrained
    one. threads: of the network and of decoding; 0: one a core. providers: of onnxruntime, the
    preferred first, as ["CUDAExecutionProvider"]; by default the CPU. sandbox: read recordings in
    a process of limited rights; True or its Limits (Linux). detector: finds the faces instead of
    the bundle's own. Raises BundleError where the bundle is incomplete or altered,
    EnvironmentFailure where a provider is missing.
    """
    # here: importing the package is cheap
    from keras_emo.inference.bundle import Bundle, load_bundle
    from keras_emo.inference.model import Model
    from keras_emo.inference.session import CPU

    if not isinstance(bundle, Bundle):
        bundle = load_bundle(bundle)
    if isinstance(providers, str):
        raise TypeError(f"providers must be a sequence of names, got {providers!r}")
    providers = (CPU,) if providers is None else tuple(providers)
    if sandbox is False:
        return Model(bundle, threads=threads, providers=providers, detector=detector)
    if detector is not None or providers != (CPU,):
        cause = "its worker has the bundle's own detector and the CPU, no other"
        raise UsageError("sandbox", Reason.BAD_CONFIG, cause)
    from keras_emo.sandbox.sandbox import DEFAULT_LIMITS, Sandbox

    reader = Sandbox(bundle, DEFAULT_LIMITS if sandbox is True else sandbox, threads)
    try:
        return Model(bundle, threads=threads, reader=reader)
    except BaseException:
        reader.close()
        raise


def __getattr__(name: str) -> Any:
    """What takes longer to import, on first use."""
    if name == "Model":
        return import_module("keras_emo.inference.model").Model
    if name == "networks":
        return import_module("keras_emo.networks")
    raise AttributeError(f"module 'keras_emo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
