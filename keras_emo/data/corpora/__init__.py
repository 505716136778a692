"""The corpora that can be read, one in a module, registered by name."""

from keras_emo.data.corpora.registry import (
    CorpusEntry,
    known_corpora,
    read_corpus,
    register_corpus,
)

__all__ = ["CorpusEntry", "known_corpora", "read_corpus", "register_corpus"]
