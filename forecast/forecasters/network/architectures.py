"""Choose the layers for a config and connect them.

With every part of the default decoder switched on:

    past -- targets --+-- centre, scale                        (statistics of each window)
       |              |      |
       |              +-- normalized --+-- affine -- seen -- recurrent_1 ... -+-- head --- sum -- affine_inverse -+
       |                               |              |                       |             |                     |
       +-- covariates -----------------|--------------+                       +-- context   |                     |
                                       |                                              |     |                     |
    known -----------------------------|----------------------------------------------+-- hidden, ahead           |
                                       +-- linear_skip --------------------------------------------------------- sum -- forecast

`targets` and `covariates` exist with covariates only, `context`, `hidden` and `ahead` with known covariates only. Static
covariates are repeated at each step, beside `covariates`. Convolutions and segments follow `seen`, and attention the recurrent
layers. Another decoder replaces `head`, `context`, `hidden` and `ahead`. With quantiles each target has several values up to
`forecast`, and `quantiles` is the last layer.
"""

from __future__ import annotations

from collections.abc import Sequence

from forecast.config import ConfigInSteps, ResolvedModelConfig
from forecast.forecasters.network.description import CATEGORIES, KNOWN, PAST, STATIC, Layer, Network, Shape
from forecast.forecasters.network.layers import KINDS
from forecast.forecasters.network.layers.recurrent import CELLS
from forecast.windows import EPSILON, STATISTICS, Scaler

MAX_EMBEDDING = 16  # Length of a category's vector.


def describe_network(config: ConfigInSteps, scaler: Scaler) -> Network:
    """Describe the network that a config asks for, with the inputs that a scaler makes."""
    data, windows = config.data, config.windows
    block = 1 if config.model.decoder == "recursive" else windows.horizon
    return describe_layers(
        config.model,
        past=(windows.lookback, len(data.channels)),
        forecast=(block, len(data.target)),
        known_covariates=data.known_channels,
        static=len(data.static_covariates),
        categories=[len(texts) + 1 for texts in scaler.static.vocabulary],
    )


def describe_layers(
    model: ResolvedModelConfig,
    past: tuple[int, int],
    forecast: tuple[int, int],
    known_covariates: int = 0,
    static: int = 0,
    categories: Sequence[int] = (),
) -> Network:
    """Describe a network with inputs `past` `(lookback, channels)` and outputs `forecast` `(horizon, targets)`.

    The first channels are the targets, and the last ones the known covariates.
    static: number of static covariates; categories: number of codes of each static category, 0 for an unknown one included.
    """
    (lookback, channels), (horizon, targets) = past, forecast
    shapes = {KNOWN: (horizon, known_covariates), STATIC: (static,), CATEGORIES: (len(categories),)}
    graph = _Graph(model, {PAST: past} | {name: shape for name, shape in shapes.items() if shape[-1]})
    add = graph.add
    series = add("targets", "select", [PAST], first=0, count=targets) if channels > targets else PAST
    statistics = graph.add_statistics(series)
    normalized = add("normalized", "normalize", [series, *statistics]) if statistics else series
    affine = add("affine", "affine", [normalized]) if len(statistics) > 1 else None
    covariates = [add("covariates", "select", [PAST], first=targets, count=channels - targets)] if channels > targets else []
    if static or categories:
        covariates.append(add("static_of_each_step", "repeat", [graph.add_static(static, categories)], steps=lookback))
    future = [KNOWN] if known_covariates else []
    values = len(model.quantiles or [0.5])  # Values of each target at each step.
    if model.channel_independent and targets > 1:  # Each target becomes a window.
        channel = add("channel", "split_channels", [affine or normalized])
        covariates = [add(f"{name}_of_each", "for_each", [name], count=targets) for name in covariates]
        future = [add("known_of_each", "for_each", future, count=targets)] if future else []
        decoded = graph.add_encoder_decoder([channel, *covariates], future, (horizon, values), targets)
        if model.quantiles:
            decoded = add("each_quantile", "split_channels", [decoded])
        decoded = add("joined", "join_channels", [decoded], count=targets * values)
    else:
        decoded = graph.add_encoder_decoder([affine or normalized, *covariates], future, (horizon, targets * values))
    if affine:
        decoded = add("affine_inverse", "affine_inverse", [decoded], of=affine)
    if model.linear_skip:
        skip = add("linear_skip", "linear_skip", [normalized], horizon=horizon, targets=targets)
        decoded = add("sum", "sum", [decoded, graph.repeat_for_quantiles(skip)])
    if statistics:
        decoded = add("forecast", "denormalize", [decoded, *map(graph.repeat_for_quantiles, statistics)])
    if model.quantiles:
        add("quantiles", "quantiles", [decoded], quantiles=model.quantiles)
    return Network(graph.inputs, graph.layers)


class _Graph:
    """The layers of a network so far; each method adds some and returns the name of the last one, for the layers after it."""

    def __init__(self, model: ResolvedModelConfig, inputs: dict[str, Shape]) -> None:
        self.model = model
        self.inputs = {name: list(shape) for name, shape in inputs.items()}
        self.shapes: dict[str, Shape] = dict(inputs)
        self.layers: list[Layer] = []
        # With a linear skip the last layer starts at zero, so that the untrained network is the linear baseline.
        self.start = "zeros" if model.linear_skip else model.initializer

    def add(self, name: str, kind: str, inputs: list[str], **options: object) -> str:
        shape, weights = KINDS[kind](**options).infer_shapes(*(self.shapes[layer] for layer in inputs))
        self.shapes[name] = shape
        self.layers.append(Layer(name, kind, inputs, list(shape), options, {key: list(size) for key, size in weights.items()}))
        return name

    def add_dense(self, name: str, seen: str, units: int, activation: str, start: str | None = None) -> str:
        start = start or self.model.initializer
        return self.add(name, "dense", [seen], units=units, activation=activation, start=start)

    def concat(self, name: str, parts: list[str]) -> str:
        return self.add(name, "concat", parts) if len(parts) > 1 else parts[0]

    def repeat_for_quantiles(self, name: str) -> str:
        """Repeat the values of each target for its quantiles, if the network has quantiles."""
        quantiles = self.model.quantiles
        return self.add(f"{name}_of_each_quantile", "repeat_targets", [name], count=len(quantiles)) if quantiles else name

    def add_statistics(self, series: str) -> list[str]:
        """Add the statistics of each window that `model.normalization` needs: none, its centre, or its centre and scale."""
        centre, divided = STATISTICS[self.model.normalization]
        statistics = [self.add("centre", "centre", [series], method=centre)] if centre else []
        return [*statistics, self.add("scale", "scale", [series], epsilon=EPSILON)] if divided else statistics

    def add_static(self, static: int, categories: Sequence[int]) -> str:
        """Add a vector for each category, and join them with the static covariates."""
        parts = [STATIC] if static else []
        for column, size in enumerate(categories):
            name, units = f"embedding_{column + 1}", min(MAX_EMBEDDING, -(-size // 2))
            parts.append(self.add(name, "embedding", [CATEGORIES], column=column, size=size, units=units))
        return self.add("static_of_series", "concat", parts)

    def add_encoder_decoder(self, past: list[str], future: list[str], forecast: tuple[int, int], channels: int = 1) -> str:
        """Add all layers from the normalized past to `forecast` `(horizon, targets)`. channels: windows made of each window."""
        state = self.add_encoder(self.add_front(self.concat("seen", past)))
        if self.model.decoder == "seq2seq":
            return self.add_recurrent_decoder(state, future, forecast)
        if self.model.decoder == "parallel":
            return self.add_parallel_decoder(state, future, forecast, channels)
        return self.add_direct_decoder(state, future, forecast)

    def add_front(self, seen: str) -> str:
        """Add the convolutions, then the segments, that the config asks for."""
        front, segment = self.model.front, self.model.segment
        if front:
            options = {"filters": front.conv.filters, "kernel_size": front.conv.kernel_size, "strides": front.conv.strides}
            for number in range(1, front.conv.layers + 1):
                seen = self.add(f"conv_{number}", "conv", [seen], **options)
                if front.batch_norm:
                    seen = self.add(f"batch_norm_{number}", "batch_norm", [seen], epsilon=1e-3)
        if segment:
            segments = self.add("segments", "segments", [seen], length=segment, pad="left")
            seen = self.add_dense("segment_embedding", segments, self.model.stack[0].units, "relu")
        return seen

    def add_encoder(self, seen: str) -> str:
        """Add the recurrent layers of the config, up to the state that the decoder starts from."""
        model, stack = self.model, self.model.stack
        for number, layer in enumerate(stack, 1):
            below, last = seen, number == len(stack) and not model.attention
            options = {"cell": layer.cell, "units": layer.units, "bidirectional": layer.bidirectional, "sequences": not last}
            seen = self.add(f"recurrent_{number}", "recurrent", [seen], **options)
            if layer.layer_norm:
                seen = self.add(f"layer_norm_{number}", "layer_norm", [seen], epsilon=1e-3)
            # The parallel decoder drops its own outputs instead of the state, as SegRNN does.
            if layer.dropout and not (last and model.decoder == "parallel"):
                seen = self.add(f"dropout_{number}", "dropout", [seen], rate=layer.dropout)
            if layer.residual:
                seen = self.add_residual(number, self.add(f"last_step_{number}", "last_step", [below]) if last else below, seen)
        if not model.attention:
            return seen
        # Additive attention (Bahdanau et al. 2015) with the same query for all windows.
        hidden = self.add_dense("attention_hidden", seen, stack[-1].units, "tanh")
        return self.add("attended", "attend", [seen, self.add_dense("attention_scores", hidden, 1, "linear")])

    def add_residual(self, number: int, below: str, seen: str) -> str:
        """Add the input of a layer to its output. A dense layer adapts its width (He et al. 2016)."""
        width = self.shapes[seen][-1]
        if self.shapes[below][-1] != width:
            below = self.add_dense(f"shortcut_{number}", below, width, "linear")
        return self.add(f"residual_{number}", "sum", [seen, below])

    def add_direct_decoder(self, state: str, future: list[str], forecast: tuple[int, int]) -> str:
        """Add a head for all steps, and a dense layer for what known covariates, seen with the state, change at each step."""
        horizon, targets = forecast
        head = self.add("head", "head", [state], start=self.start, horizon=horizon, targets=targets)
        if not future:
            return head
        width = self.model.stack[-1].units
        context = self.add("context", "head", [state], horizon=horizon, targets=width, start=self.model.initializer)
        hidden = self.add_dense("hidden", self.concat("context_and_known", [context, *future]), width, "tanh")
        return self.add("head_and_ahead", "sum", [head, self.add_dense("ahead", hidden, targets, "linear", self.start)])

    def add_recurrent_decoder(self, state: str, future: list[str], forecast: tuple[int, int]) -> str:
        """Add a recurrent layer over the horizon, which starts from the encoder's state and sees it, and the known covariates, at
        each step (Sutskever et al. 2014, with the context of Cho et al. 2014).
        """
        (horizon, targets), layer = forecast, self.model.stack[-1]
        first_state = self.add_first_state(state)
        context = self.add("context", "repeat", [state], steps=horizon)
        seen = self.concat("context_and_known", [context, *future])
        options = {"cell": layer.cell, "units": layer.units, "bidirectional": False, "sequences": True}
        decoder = self.add("decoder", "recurrent", [seen, first_state], **options)
        return self.add_dense("head", decoder, targets, "linear", self.start)

    def add_parallel_decoder(self, state: str, future: list[str], forecast: tuple[int, int], channels: int) -> str:
        """Add a recurrent step from the encoder's state to each segment of the horizon. Its input is the vector of the segment's
        position, the vector of the channel, and the known covariates (SegRNN, Lin et al. 2023).
        """
        (horizon, targets), layer = forecast, self.model.stack[-1]
        length, units = self.model.segment or 1, layer.units
        segments = -(-horizon // length)
        context = [self.add("positions", "positions", [state], rows=segments, units=units)]
        if channels > 1:
            channel = self.add("channel_embedding", "channel_embedding", [state], channels=channels, units=units)
            context.append(self.add("channel_of_each_segment", "repeat", [channel], steps=segments))
        if future:
            context.append(self.add("known_segments", "segments", future, length=length, pad="right"))
        seen = self.concat("context", context)
        seen = self.add("decoder", "recurrent_step", [seen, self.add_first_state(state)], cell=layer.cell, units=units)
        if layer.dropout:
            seen = self.add("decoder_dropout", "dropout", [seen], rate=layer.dropout)
        joined = self.add_dense("head", seen, length * targets, "linear", self.start)
        return self.add("joined_segments", "join_segments", [joined], horizon=horizon, targets=targets)

    def add_first_state(self, state: str) -> str:
        """Return the encoder's state, or add a dense layer where the decoder's cell needs a state of another size."""
        layer = self.model.stack[-1]
        units = layer.units * CELLS[layer.cell].states
        return state if self.shapes[state] == (units,) else self.add_dense("first_state", state, units, "tanh")
