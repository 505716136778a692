"""The built-in corpus: drawn faces and synthetic voices, made by code on first use."""

from keras_emo.demo_corpus.corpus import SPEAKER_NOTE, BuiltinSpec, build_corpus, list_clips

__all__ = ["SPEAKER_NOTE", "BuiltinSpec", "build_corpus", "list_clips"]
