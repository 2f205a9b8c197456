"""Kinds of layers, by the name that a network's description stores. A new kind is one class, and its name here."""

from __future__ import annotations

from forecast.forecasters.network.layers import dense, embeddings, normalization, recurrent, reshaping
from forecast.forecasters.network.layers.interface import Kind

KINDS: dict[str, type[Kind]] = {
    "affine": normalization.Affine,
    "affine_inverse": normalization.AffineInverse,
    "attend": dense.Attend,
    "batch_norm": normalization.BatchNorm,
    "centre": normalization.Centre,
    "channel_embedding": embeddings.ChannelEmbedding,
    "concat": reshaping.Concat,
    "conv": dense.Conv,
    "denormalize": normalization.Denormalize,
    "dense": dense.Dense,
    "dropout": dense.Dropout,
    "embedding": embeddings.Embedding,
    "for_each": reshaping.ForEach,
    "head": dense.Head,
    "join_channels": reshaping.JoinChannels,
    "join_segments": reshaping.JoinSegments,
    "layer_norm": normalization.LayerNorm,
    "linear_skip": dense.LinearSkip,
    "normalize": normalization.Normalize,
    "positions": embeddings.Positions,
    "quantiles": reshaping.Quantiles,
    "recurrent": recurrent.Recurrent,
    "recurrent_step": recurrent.RecurrentStep,
    "repeat": reshaping.Repeat,
    "repeat_targets": reshaping.RepeatTargets,
    "scale": normalization.Scale,
    "segments": reshaping.Segments,
    "select": reshaping.Select,
    "split_channels": reshaping.SplitChannels,
    "sum": dense.Sum,
}
