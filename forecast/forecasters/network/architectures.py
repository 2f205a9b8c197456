"""Which layers a config asks for, and how they are joined.

With every part of the default decoder switched on:

    past -- targets --+-- centre, scale                        (statistics of each window)
       |              |      |
       |              +-- normalized --+-- affine -- seen -- recurrent_1 ... -+-- head --- sum -- affine_inverse -+
       |                               |              |                       |             |                     |
       +-- covariates -----------------|--------------+                       +-- context   |                     |
                                       |                                              |     |                     |
    known -----------------------------|----------------------------------------------+-- hidden, ahead           |
                                       +-- linear_skip --------------------------------------------------------- sum -- forecast

`targets` and `covariates` are only there where there are covariates, `context` to `ahead` where some are known over the horizon.
What is static is repeated beside `covariates`; convolutions and segments stand behind `seen`, attention behind the
recurrent layers. Another decoder stands in the place of `head` to `ahead`. With quantiles each target has several values up to
`forecast`, and the layer `quantiles` stands last.
"""

from __future__ import annotations

from collections.abc import Sequence

from forecast.config import Config, ModelConfig
from forecast.forecasters.network.description import CATEGORIES, KNOWN, PAST, SIZES, STATES, STATIC, Layer, Network, Shape
from forecast.windows import EPSILON, STATISTICS, Scaler

WIDEST = 16  # values that stand for a category, at most


def network_of(config: Config, scaler: Scaler) -> Network:
    """The description of the network that a config, with all durations in steps, makes of what a scaler gives it."""
    data, windows = config.data, config.windows
    block = 1 if config.model.decoder == "recursive" else windows.horizon
    return describe_network(
        config.model,
        past=(windows.lookback, len(data.channels)),
        forecast=(block, len(data.target)),
        known=data.known_channels,
        static=len(data.static_covariates),
        categories=[len(texts) + 1 for texts in scaler.static.vocabulary],
    )


def describe_network(
    model: ModelConfig,
    past: tuple[int, int],
    forecast: tuple[int, int],
    known: int = 0,
    static: int = 0,
    categories: Sequence[int] = (),
) -> Network:
    """The network that a config asks for, with `past` `(lookback, channels)` and `forecast` `(horizon, targets)`.

    The first channels are the targets, the last `known` ones the covariates that are known over the horizon, too.
    static: number of static covariates; categories: how many codes each static category has, 0 for an unknown one included.
    """
    (lookback, channels), (horizon, targets) = past, forecast
    shapes = {KNOWN: (horizon, known), STATIC: (static,), CATEGORIES: (len(categories),)}
    drawing = _Drawing(model, {PAST: past} | {name: shape for name, shape in shapes.items() if shape[-1]})
    add = drawing.add
    own = add("targets", "select", [PAST], first=0, count=targets) if channels > targets else PAST
    statistics = drawing.statistics(own)
    normalized = add("normalized", "normalize", [own, *statistics]) if statistics else own
    affine = add("affine", "affine", [normalized]) if len(statistics) > 1 else None
    beside = [add("covariates", "select", [PAST], first=targets, count=channels - targets)] if channels > targets else []
    if static or categories:
        beside.append(add("static_of_each_step", "repeat", [drawing.static(static, categories)], steps=lookback))
    ahead = [KNOWN] if known else []
    each = len(model.quantiles or [0.5])  # values of a target at each step
    if model.channel_independent and targets > 1:  # every target is a window of its own
        alone = add("channel", "split_channels", [affine or normalized])
        beside = [add(f"{name}_of_each", "for_each", [name], count=targets) for name in beside]
        ahead = [add("known_of_each", "for_each", ahead, count=targets)] if ahead else []
        decoded = drawing.network_over(alone, beside, ahead, horizon, each, targets)
        if model.quantiles:
            decoded = add("each_quantile", "split_channels", [decoded])
        seen = add("joined", "join_channels", [decoded], count=targets * each)
    else:
        seen = drawing.network_over(affine or normalized, beside, ahead, horizon, targets * each, 1)

    def of_each(name: str) -> str:  # what is the same for all quantiles of a target
        return add(f"{name}_of_each_quantile", "repeat_targets", [name], count=each) if model.quantiles else name

    if affine:
        seen = add("affine_inverse", "affine_inverse", [seen], of=affine, **({"each": each} if model.quantiles else {}))
    if model.linear_skip:
        skip = of_each(add("linear_skip", "linear_skip", [normalized], horizon=horizon, targets=targets))
        seen = add("sum", "sum", [seen, skip])
    if statistics:
        seen = add("forecast", "denormalize", [seen, *(of_each(name) for name in statistics)])
    if model.quantiles:
        add("quantiles", "quantiles", [seen], quantiles=model.quantiles)
    return Network(drawing.inputs, drawing.layers)


class _Drawing:
    """A network in the making; methods add layers and return the name of the last one, for the layers that take its output."""

    def __init__(self, model: ModelConfig, inputs: dict[str, Shape]) -> None:
        self.model = model
        self.inputs = {name: list(shape) for name, shape in inputs.items()}
        self.shapes: dict[str, Shape] = dict(inputs)
        self.layers: list[Layer] = []
        # With a skip beside it the last layer starts at zero, so that the untrained network is the linear baseline.
        self.start = "zeros" if model.linear_skip else "glorot_uniform"

    def add(self, name: str, kind: str, inputs: list[str], **options: object) -> str:
        shape, weights = SIZES[kind](*(self.shapes[layer] for layer in inputs), **options)
        sizes = {weight: list(size) for weight, size in weights.items()}
        self.shapes[name] = shape
        self.layers.append(Layer(name, kind, inputs, list(shape), options, sizes))
        return name

    def dense(self, name: str, seen: str, units: int, activation: str, start: str = "glorot_uniform") -> str:
        return self.add(name, "dense", [seen], units=units, activation=activation, start=start)

    def concat(self, name: str, parts: list[str]) -> str:
        return self.add(name, "concat", parts) if len(parts) > 1 else parts[0]

    def statistics(self, own: str) -> list[str]:
        """What `model.normalization` takes of each window: nothing, its centre, or its centre and scale."""
        centre, divided = STATISTICS[self.model.normalization]
        statistics = [self.add("centre", "centre", [own], method=centre)] if centre else []
        return [*statistics, self.add("scale", "scale", [own], epsilon=EPSILON)] if divided else statistics

    def static(self, static: int, categories: Sequence[int]) -> str:
        """The static covariates and the vector of each category, side by side."""
        parts = [STATIC] if static else []
        for column, size in enumerate(categories):
            name, width = f"embedding_{column + 1}", min(WIDEST, -(-size // 2))
            parts.append(self.add(name, "embedding", [CATEGORIES], column=column, size=size, units=width))
        return self.add("static_of_series", "concat", parts)

    def network_over(self, own: str, beside: list[str], ahead: list[str], horizon: int, targets: int, channels: int) -> str:
        """Encoder and decoder: normalised targets and covariates to `(horizon, targets)`; of `channels` that share it."""
        state = self.encoder(self.front(self.concat("seen", [own, *beside])))
        if self.model.decoder == "seq2seq":
            return self.recurrent_decoder(state, ahead, horizon, targets)
        if self.model.decoder == "parallel":
            return self.parallel_decoder(state, ahead, horizon, targets, channels)
        return self.direct_decoder(state, ahead, horizon, targets)

    def front(self, seen: str) -> str:
        """Convolutions, then segments, where the config asks for them."""
        front, segment = self.model.front, self.model.segment
        if front:
            options = {"filters": front.conv.filters, "kernel_size": front.conv.kernel_size, "strides": front.conv.strides}
            for number in range(1, front.conv.layers + 1):
                seen = self.add(f"conv_{number}", "conv", [seen], **options)
                if front.batch_norm:
                    seen = self.add(f"batch_norm_{number}", "batch_norm", [seen], epsilon=1e-3)
        if segment:
            cut = self.add("segments", "segments", [seen], length=segment, pad="left")
            seen = self.dense("segment_embedding", cut, self.model.units[0], "relu")
        return seen

    def encoder(self, seen: str) -> str:
        """`model.units` recurrent layers; the state that the decoder starts from."""
        model = self.model
        for number, units in enumerate(model.units, 1):
            last = number == len(model.units) and not model.attention
            options = {"cell": model.cell, "units": units, "bidirectional": model.bidirectional, "sequences": not last}
            seen = self.add(f"recurrent_{number}", "recurrent", [seen], **options)
            if model.layer_norm:
                seen = self.add(f"layer_norm_{number}", "layer_norm", [seen], epsilon=1e-3)
            if model.dropout and not (
                last and model.decoder == "parallel"
            ):  # which drops its own outputs instead, as SegRNN does
                seen = self.add(f"dropout_{number}", "dropout", [seen], rate=model.dropout)
        if not model.attention:
            return seen
        # Additive attention (Bahdanau et al. 2015) with one query for all windows.
        hidden = self.dense("attention_hidden", seen, model.units[-1], "tanh")
        return self.add("attended", "attend", [seen, self.dense("attention_scores", hidden, 1, "linear")])

    def direct_decoder(self, state: str, ahead: list[str], horizon: int, targets: int) -> str:
        """All steps from the state; and what the known covariates of each step add, in the light of the state."""
        head = self.add("head", "head", [state], start=self.start, horizon=horizon, targets=targets)
        if not ahead:
            return head
        width = self.model.units[-1]
        context = self.add("context", "head", [state], horizon=horizon, targets=width, start="glorot_uniform")
        hidden = self.dense("hidden", self.concat("context_and_known", [context, *ahead]), width, "tanh")
        return self.add("head_and_ahead", "sum", [head, self.dense("ahead", hidden, targets, "linear", self.start)])

    def recurrent_decoder(self, state: str, ahead: list[str], horizon: int, targets: int) -> str:
        """A recurrent layer over the horizon, which starts from the encoder's state and sees it, and the known covariates, at
        each step (Sutskever et al. 2014, with the context of Cho et al. 2014).
        """
        first, model = self.first_state(state), self.model
        context = self.add("context", "repeat", [state], steps=horizon)
        seen = self.concat("context_and_known", [context, *ahead])
        options = {"cell": model.cell, "units": model.units[-1], "bidirectional": False, "sequences": True}
        return self.dense("head", self.add("decoder", "recurrent", [seen, first], **options), targets, "linear", self.start)

    def parallel_decoder(self, state: str, ahead: list[str], horizon: int, targets: int, channels: int) -> str:
        """A recurrent step from the encoder's state to each segment of the horizon, told by its position, its channel and what
        is known ahead (SegRNN, Lin et al. 2023).
        """
        model, length, units = self.model, self.model.segment or 1, self.model.units[-1]
        segments = -(-horizon // length)
        told = [self.add("positions", "positions", [state], rows=segments, units=units)]
        if channels > 1:
            channel = self.add("channel_embedding", "channel_embedding", [state], channels=channels, units=units)
            told.append(self.add("channel_of_each_segment", "repeat", [channel], steps=segments))
        told += [self.add("known_segments", "segments", ahead, length=length, pad="right")] if ahead else []
        seen = self.concat("context", told)
        seen = self.add("decoder", "recurrent_step", [seen, self.first_state(state)], cell=model.cell, units=units)
        if model.dropout:
            seen = self.add("decoder_dropout", "dropout", [seen], rate=model.dropout)
        each = self.dense("head", seen, length * targets, "linear", self.start)
        return self.add("joined_segments", "join_segments", [each], horizon=horizon, targets=targets)

    def first_state(self, state: str) -> str:
        """What the decoder's cell remembers at first: the encoder's state, or a learned map of it where it needs more."""
        needed = self.model.units[-1] * STATES[self.model.cell]
        return state if self.shapes[state] == (needed,) else self.dense("first_state", state, needed, "tanh")
