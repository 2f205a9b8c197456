"""Kinds of layers, by the name that a network's description stores. A new kind needs a class or a function, and its name here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from forecast.forecasters.network.layers import dense, embeddings, normalization, recurrent, reshaping
from forecast.forecasters.network.layers.interface import Kind, Operation, Tensor

OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "centre": normalization.compute_centre,
    "concat": reshaping.concat,
    "denormalize": normalization.denormalize,
    "for_each": reshaping.repeat_windows,
    "join_channels": reshaping.join_channels,
    "join_segments": reshaping.join_segments,
    "last_step": reshaping.select_last_step,
    "normalize": normalization.normalize,
    "quantiles": reshaping.sort_quantiles,
    "repeat": reshaping.repeat_vector,
    "repeat_targets": reshaping.repeat_targets,
    "scale": normalization.compute_scale,
    "segments": reshaping.cut_segments,
    "select": reshaping.select_channels,
    "split_channels": reshaping.split_channels,
    "sum": reshaping.sum_inputs,
}

KINDS: dict[str, Callable[..., Kind]] = {
    "affine": normalization.Affine,
    "affine_inverse": normalization.AffineInverse,
    "attend": dense.Attend,
    "batch_norm": normalization.BatchNorm,
    "channel_embedding": embeddings.ChannelEmbedding,
    "conv": dense.Conv,
    "dense": dense.Dense,
    "dropout": dense.Dropout,
    "embedding": embeddings.Embedding,
    "head": dense.Head,
    "layer_norm": normalization.LayerNorm,
    "linear_skip": dense.LinearSkip,
    "positions": embeddings.Positions,
    "recurrent": recurrent.Recurrent,
    "recurrent_step": recurrent.RecurrentStep,
    **{name: partial(Operation, function) for name, function in OPERATIONS.items()},
}
