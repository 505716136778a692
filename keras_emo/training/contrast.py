"""Supervised contrastive loss: embeddings of one emotion near each other, of others apart."""

from __future__ import annotations

import tensorflow as tf

TEMPERATURE = 0.1


def contrast_embeddings(embedding: tf.Tensor, truth: tf.Tensor, many: bool = False) -> tf.Tensor:
    """The loss summed over examples: for each, the mean over the others of its class.

    embedding: (n, dim), of any length, compared by cosine. truth: one-hot (n, classes). many:
    called on one of several replicas, whose examples are compared with those of all. Examples
    that are alone in their class add nothing. Returns float32 (). Source: Khosla et al. 2020
    (arXiv:2004.11362), L_out, on the embedding itself instead of a projection of it.
    """
    own = tf.math.l2_normalize(tf.cast(embedding, tf.float32), axis=-1, epsilon=1e-12)
    truth = tf.cast(truth, tf.float32)
    context = tf.distribute.get_replica_context()
    replica = tf.cast(context.replica_id_in_sync_group, tf.float32) if many else 0.0
    rows = tf.range(tf.cast(tf.shape(own)[0], tf.float32))  # not integers, which stay on the host
    names = tf.stack([tf.fill(tf.shape(rows), replica), rows], axis=1)
    every, classes, all_names = own, truth, names
    if many:
        together = context.all_gather(tf.concat([own, truth, names], axis=1), axis=0)
        widths = [own.shape[1], truth.shape[1], 2]
        every, classes, all_names = tf.split(together, widths, axis=1)
    itself = tf.reduce_all(names[:, None] == all_names[None], axis=-1)
    alike = tf.matmul(own, every, transpose_b=True) / TEMPERATURE
    alike = tf.where(itself, -1e9, alike)
    shares = alike - tf.reduce_logsumexp(alike, axis=1, keepdims=True)
    same = tf.where(itself, 0.0, tf.matmul(truth, classes, transpose_b=True))
    found = tf.reduce_sum(same * shares, axis=1)
    return -tf.reduce_sum(found / tf.maximum(tf.reduce_sum(same, axis=1), 1.0))
