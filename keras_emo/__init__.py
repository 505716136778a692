"""keras_emo: seven emotions from the face and the voice of a person speaking."""

import os

# onnxruntime 1.29 and later report to Microsoft unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
