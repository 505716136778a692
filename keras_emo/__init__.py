"""keras_emo: seven emotions from the face and the voice of a person speaking."""

__version__ = "0.1.0"
