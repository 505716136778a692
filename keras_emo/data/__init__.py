"""Corpora, splits, cache and training pipelines."""
