"""The config: every YAML key once, with its default, unit and meaning."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from forecast.config.types import (
    HOLIDAYS,
    BatchSize,
    Border,
    Calendar,
    Columns,
    Compiled,
    Count,
    Date,
    Levels,
    Name,
    Names,
    Quantiles,
    Range,
    Refit,
    Seed,
    Seeds,
    Share,
    Spans,
    Steps,
    Text,
    Trackers,
    Units,
    Wait,
    Width,
    YesNo,
)
from forecast.config.yaml12 import Dumper
from forecast.errors import did_you_mean


class Section(BaseModel):
    """A mapping of the YAML file: unknown keys and wrong types are refused, never converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ResampleConfig(Section):
    """One row per step, made of all rows within it. A first or last step that rows cover only in part is left out."""

    freq: Text = Field(description="length of a new step as a pandas frequency")
    how: Literal["mean", "sum", "first", "last", "min", "max"] = Field(description="how the rows within a step become one value")


class DataConfig(Section):
    """The file, its format, and the repairs of missing or irregular rows."""

    path: str = Field(
        min_length=1,
        description="CSV or Parquet file. A relative path starts at the folder of the config; with --set, at the current one",
    )
    timestamp: Columns = Field(
        min_length=1,
        description="name of the timestamp column, or of the columns of year, month, day, hour, minute and second, in this order",
    )
    target: Columns = Field(min_length=1, description="name of the column to forecast, or a list of columns to forecast together")
    past_covariates: Columns = Field([], description="columns that help to forecast and are known only up to the cutoff")
    known_covariates: Columns = Field(
        [],
        description="columns that are also known over the horizon, such as prices; `predict --future` reads their future values",
    )
    missing_known: dict[str, Literal["hold", "seasonal", "drop"]] = Field(
        {},
        description="known covariates that may be missing over the horizon, such as `{price: hold}`, and what replaces them."
        " hold: the last value of the lookback; seasonal: its last season; drop: its mean. All others must be given",
    )
    static_covariates: Columns = Field(
        [], description="columns of numbers that are constant within a series, such as its floor area"
    )
    static_categories: Columns = Field(
        [], description="columns of text or codes that are constant within a series, such as its region"
    )
    calendar: Calendar = Field(
        [], description="known covariates made from the timestamps: hour, day_of_week, day_of_month, month, week, holidays(DE)"
    )
    series_id: Names | None = Field(
        None, description="name of the column that identifies the series, or a list of columns; null: the file is one series"
    )
    wide: YesNo = Field(
        False,
        description="whether every column except the timestamp is a series; `target` then names their values in the results",
    )
    short_series: Literal["error", "skip"] = Field(
        "error",
        description="series without a training window. skip: leave them out, or only score them if they have later windows",
    )
    freq: Text | None = Field(
        None, description="length of one step as a pandas frequency (h, D, MS, 15min); null: inferred from the timestamps"
    )
    season_length: Steps | None = Field(
        None,
        description="length of the season in steps, or as a duration such as 7d, for seasonal naive and MASE;"
        " null: from the freq (h: 24, D: 7, W: 52, MS: 12)",
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="character between the columns; null: the comma, semicolon, tab or vertical bar that fits"
    )
    encoding: Text = Field("utf-8", description="encoding of the text, such as utf-8, latin-1 or utf-16")
    decimal: Literal[".", ","] = Field(".", description="decimal mark of numbers")
    thousands: Literal[",", ".", " ", "'"] | None = Field(
        None, description="character between groups of thousands in numbers; null: none"
    )
    date_format: Text | None = Field(
        None,
        description="strptime format such as '%d/%m/%Y', or unix or unix_ms; null: ISO 8601, or day and month in their only"
        " possible order",
    )
    timezone: Text | None = Field(
        None, description="time zone of the timestamps, such as Europe/London; null: none, or their only UTC offset"
    )
    resample: ResampleConfig | None = Field(
        None, description="`freq` and `how`, for rows at irregular times; null: rows stay as they are"
    )
    duplicates: Literal["error", "first", "last", "mean", "sum"] = Field(
        "error", description="rows of a series with the same timestamp: which one to keep, or how to merge them"
    )
    missing_timestamps: Literal["error", "fill"] = Field(
        "error", description="steps without a row. fill: add rows without values, which `missing_values` then fills"
    )
    missing_values: Literal["error", "interpolate", "forward", "season"] = Field(
        "error",
        description="empty cells. interpolate: on a line; forward: with the last value; season: with the value one season before,"
        " and in the first season with the last value",
    )
    max_gap: Steps = Field(24, description="longest run of empty cells to fill, in steps or as a duration")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands cannot both be {self.decimal!r}")
        if self.wide and (self.past_covariates or self.known_covariates or self.static):
            raise ValueError("a wide file has no covariates except the calendar")
        if self.wide and (self.series_id or len(self.target) > 1):
            raise ValueError("a wide file has no series_id and only one target, which names the values of all its columns")
        if unknown := sorted(set(self.missing_known) - set(self.known_covariates)):
            hint = did_you_mean(unknown[0], self.known_covariates) if self.known_covariates else ""
            raise ValueError(f"missing_known names {unknown[0]!r}, which is not a known covariate. {hint}".rstrip(" ."))
        if reserved := {"series_id", "timestamp"} & {*self.values, *self.static}:
            raise ValueError(
                f"a target or covariate cannot be called {reserved.pop()!r}, which is a column of every result. Rename it"
            )
        if repeated := set(name_calendar_columns(self.calendar)) & {*self.values, *self.static}:
            raise ValueError(f"data.calendar adds a column {repeated.pop()!r}, which the file already has. Rename it in the file")
        return self

    @property
    def columns(self) -> list[str]:
        """Every column to read, or of a wide file the timestamp's. A column of series ids may also be a static category."""
        ids = self.series_id or []
        values = [] if self.wide else self.values
        return [*self.timestamp, *ids, *values, *(name for name in self.static if name not in ids)]

    @property
    def values(self) -> list[str]:
        """The columns of numbers: targets, past covariates, known covariates."""
        return [*self.target, *self.past_covariates, *self.known_covariates]

    @property
    def required_known_covariates(self) -> list[str]:
        """The known covariates that must be given over the horizon: those that `missing_known` does not name."""
        return [name for name in self.known_covariates if name not in self.missing_known]

    @property
    def static(self) -> list[str]:
        """The columns that are constant within a series: numbers, then categories."""
        return [*self.static_covariates, *self.static_categories]

    @property
    def channels(self) -> list[str]:
        """The inputs of a network at each step: `values`, then the columns of the calendar."""
        return [*self.values, *name_calendar_columns(self.calendar)]

    @property
    def known_channels(self) -> int:
        """The number of channels that are known over the horizon, which are the last ones."""
        return len(self.known_covariates) + len(name_calendar_columns(self.calendar))


def name_calendar_columns(names: list[str]) -> list[str]:
    """Return the names of the columns that a calendar adds.

    >>> name_calendar_columns(["hour", "holidays(DE)"])
    ['hour_sin', 'hour_cos', 'holiday_DE']
    """
    columns = []
    for name in names:
        country = HOLIDAYS.fullmatch(name)
        columns += [f"holiday_{country[1]}"] if country else [f"{name}_sin", f"{name}_cos"]
    return columns


class SplitsConfig(Section):
    """The division of the rows in time into training set, validation set and test set."""

    validation: Border = Field(
        0.15,
        description="size of the validation set, which chooses epochs and ridge strength: a fraction of the rows, a number of"
        " steps, a duration, or its first date",
    )
    test: Border = Field(
        0.15,
        description="size of the test set, which is only scored: a fraction of the rows, a number of steps, a duration, or its"
        " first date",
    )
    align: Literal["dates", "ends"] = Field(
        "dates",
        description="borders of several series. dates: the sets begin at the same dates in all; ends: they count back from the"
        " end of each series",
    )
    end: Date | None = Field(None, description="date from which rows are left out of all three sets; null: all rows are used")


class ScalingConfig(Section):
    """The scaling of each series. It is fitted on training rows and undone in every result."""

    method: Literal["minmax", "standard", "robust", "none"] = Field(
        "minmax", description="minmax: to `range`; standard: to mean 0 and deviation 1; robust: by median and quartiles; none"
    )
    range: Range = Field([0.0, 1.0], description="values to which minmax maps the smallest and the largest training value")
    per: Literal["series", "all"] = Field(
        "series",
        description="series: each by its own training rows; all: one scaling for all series, which keeps their levels different",
    )
    transform: Literal["none", "log1p"] = Field(
        "none", description="log1p turns growth in percent into growth in steps. It needs values above -1"
    )


class WindowsConfig(Section):
    """The size of a training sample."""

    lookback: Steps = Field(description="past steps given to the network")
    horizon: Steps = Field(description="steps to predict")
    stride: Steps = Field(
        1, description="steps between the starts of the network's training windows. All other computations use every window"
    )


class ConvConfig(Section):
    """Causal convolutions over time: each step sees itself and earlier steps."""

    filters: Width = Field(32, description="output channels of each convolution")
    kernel_size: Count = Field(3, description="steps that a convolution sees at once")
    strides: Count = Field(1, description="steps between outputs; 2 halves the number of steps for the recurrent layers")
    layers: Annotated[int, Field(ge=1, le=100)] = Field(1, description="number of convolutions in sequence")


class FrontConfig(Section):
    """Layers between a window and the recurrent layers."""

    conv: ConvConfig = Field(ConvConfig(), description="filters, kernel_size, strides and layers of the convolutions")
    batch_norm: YesNo = Field(False, description="normalize over the batch after each convolution")


class ModelConfig(Section):
    """The network."""

    cell: Literal["lstm", "gru", "simple_rnn", "peephole_lstm"] = Field(
        "lstm", description="recurrent cell. In peephole_lstm, the gates also see the cell state"
    )
    bidirectional: YesNo = Field(
        False, description="read each window in both directions, which doubles the outputs of each recurrent layer"
    )
    units: Units = Field([64], description="size of each stacked recurrent layer, first to last")
    segment: Steps | None = Field(
        None,
        description="steps that a recurrent layer reads at once. Windows are cut into segments, and each becomes a vector. This"
        " is faster, and better for long lookbacks; null: step by step",
    )
    front: FrontConfig | None = Field(None, description="`conv` and `batch_norm` before the recurrent layers; null: none")
    attention: YesNo = Field(
        False,
        description="combine the states of all steps with learned weights instead of using the last one; for long lookbacks",
    )
    dropout: Share = Field(0.0, description="fraction of the outputs of each recurrent layer dropped in training")
    recurrent_dropout: Share = Field(0.0, description="fraction of the recurrent state dropped in training. It prevents cuDNN")
    l2: float = Field(0.0, ge=0, le=1e6, description="penalty on the squared weights of the recurrent layers and the head")
    layer_norm: YesNo = Field(False, description="normalize the outputs of each recurrent layer")
    normalization: Literal["none", "last", "mean", "revin"] = Field(
        "mean",
        description="subtract the last value (last) or the mean (mean) of each window. revin also divides by its deviation and"
        " learns an affine map",
    )
    decoder: Literal["direct", "parallel", "seq2seq", "recursive"] = Field(
        "direct",
        description="direct: all steps at once from the last state; parallel: one recurrent step from that state to each segment"
        " of the horizon; seq2seq: a second recurrent layer that starts from it; recursive: a network of one step that continues"
        " its own forecasts",
    )
    channel_independent: YesNo = Field(
        False, description="the network sees each target separately, with the covariates; false: all targets together"
    )
    linear_skip: YesNo = Field(
        True,
        description="add a ridge regression beside the recurrent layers, which then start at zero and learn the rest",
    )
    quantiles: Quantiles | None = Field(
        None,
        description="quantiles that the network forecasts, such as [0.1, 0.5, 0.9]. They are trained with the pinball loss and"
        " cannot cross; null: one forecast, with `intervals` around it",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.cell == "peephole_lstm" and self.recurrent_dropout:
            raise ValueError("peephole_lstm has no recurrent_dropout. Use dropout")
        if self.quantiles and self.decoder == "recursive":
            raise ValueError("decoder: recursive cannot continue quantiles. Use direct, parallel or seq2seq")
        return self


class EarlyStoppingConfig(Section):
    """The end of training when the validation loss no longer improves. The weights of the best epoch are kept."""

    patience: Count = Field(20, description="epochs without improvement of the validation loss before training stops")
    min_delta: float = Field(
        0.0, ge=0, le=1e6, description="smallest improvement of the validation loss that counts, in scaled units"
    )


class TrainingConfig(Section):
    """The training of the network."""

    seeds: Seeds | None = Field(
        None,
        description="one network per seed. The forecast is their median, and the spread of their errors is reported;"
        " null: one network, with `seed`",
    )
    epochs: Count = Field(100, description="largest number of passes over the training windows")
    batch_size: BatchSize = Field(
        32,
        description="windows in each optimizer step; auto: the largest of 32, 64, 128 and 256 that leaves 16 steps in an epoch",
    )
    jit_compile: Compiled = Field(
        False,
        description="whether XLA compiles the training step on TensorFlow, which takes about 10 s. Training is then faster with"
        " GRUs, segments and small batches, and slower with dropout or wide layers; auto: true for at least 200,000 windows in"
        " all epochs, in batches of at most 64, without dropout",
    )
    sampling: Literal["windows", "series"] = Field(
        "windows",
        description="windows of an epoch. windows: all windows once; series: equally many windows from each series, however long",
    )
    learning_rate: float = Field(1e-3, gt=0, le=1e6, description="step size of the optimizer")
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field("adam", description="Keras optimizer")
    loss: Literal["mse", "mae", "huber"] | None = Field(
        None, description="loss to minimize, in scaled units; null: mse, or the pinball loss with `model.quantiles`"
    )
    clipnorm: float | None = Field(
        1.0, gt=0, description="largest norm of the gradient of a weight; null: gradients are not clipped"
    )
    early_stopping: EarlyStoppingConfig | None = Field(
        EarlyStoppingConfig(), description="patience and min_delta; null: run all epochs and keep the last weights"
    )
    schedule: Literal["constant", "step", "cosine", "plateau"] = Field(
        "constant",
        description="learning rate after warm-up. step: halved every 10 epochs; cosine: falls to zero; plateau: halved when the"
        " validation loss stalls",
    )
    warmup_epochs: int = Field(0, ge=0, le=10**9, description="epochs over which the learning rate rises to its value")
    accumulate_gradients: Count = Field(1, description="batches whose gradients are averaged in each optimizer step")
    checkpoint_every: Count | None = Field(
        None,
        description="batches between checkpoints within an epoch, for `train --resume`. Every epoch ends with a checkpoint, too;"
        " null: one per minute",
    )
    mixed_precision: YesNo = Field(
        False,
        description="recurrent layers compute in bfloat16, which is faster on GPUs, and for wide layers on CPUs that support it",
    )


class IntervalsConfig(Section):
    """Prediction intervals."""

    level: Levels = Field([80.0, 95.0], description="percent of actual values that each interval should contain")
    method: Literal["conformal", "adaptive"] = Field(
        "adaptive",
        description="conformal: as wide as the errors on the validation set; adaptive: also adjusted to the errors after each"
        " step, for series that change",
    )


class BacktestConfig(Section):
    """The folds of `forecast backtest`."""

    folds: Annotated[int, Field(ge=1, le=1000)] = Field(5, description="number of folds")
    stride: Steps | None = Field(
        None,
        description="cutoffs in each fold, for which the test set is made long enough; null: the cutoffs of the test set, divided"
        " among the folds",
    )
    refit: Refit = Field(
        "every",
        description="folds that fit network and scaling anew: every fold, never after the first, or every n-th (a number)",
    )
    training_part: Literal["expanding", "sliding"] = Field(
        "expanding",
        description="training set of later folds. expanding: all rows before the validation set; sliding: as many rows as in the"
        " first fold",
    )


class TuningConfig(Section):
    """The search of `forecast tune`."""

    search: Spans | None = Field(
        None,
        description="keys to search and their values: `{model.units: {int: [32, 256], step: 32}, training.learning_rate:"
        " {float: [1e-4, 1e-2], log: true}, windows.lookback: {choice: [12, 24]}}`. `model.layers` is the number of layers in"
        " `model.units`; null: 1 to 3 layers of 32 to 256 units, dropout up to 0.5, learning rate 1e-4 to 1e-2",
    )
    trials: Count = Field(30, description="number of trials in the whole search")
    budget: Wait | None = Field(None, description="time after which no trial starts, such as 90s, 10m or 2h; null: no limit")
    sampler: Literal["tpe", "random", "grid"] = Field(
        "tpe",
        description="tpe: learns from earlier trials; random; grid: all combinations of choices and steps, ignoring `trials`",
    )
    pruner: Literal["median", "halving", "none"] = Field(
        "median",
        description="trials that end early, by their validation loss. median: those worse than the median at the same epoch;"
        " halving: those outside the best quarter at epochs 1, 4, 16, ...; none",
    )
    objective: Literal["validation", "backtest"] = Field(
        "validation",
        description="error to minimize. validation: on the validation set; backtest: the mean over the folds of a backtest on all"
        " rows before the test set",
    )
    executions_per_trial: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="networks with different seeds in each trial, whose mean error counts"
    )


class Config(Section):
    """A whole config file."""

    name: Name = Field("run", description="start of the name of the run directory; by default the name of the config file")
    seed: Seed = Field(1, description="seed of every random draw: weights, dropout, order of windows")
    data: DataConfig
    splits: SplitsConfig = SplitsConfig()
    scaling: ScalingConfig = ScalingConfig()
    windows: WindowsConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    intervals: IntervalsConfig | None = Field(IntervalsConfig(), description="`level` and `method`; null: no intervals")
    backtest: BacktestConfig = BacktestConfig()
    tuning: TuningConfig = TuningConfig()
    tracking: Trackers = Field(
        [], description="tools that also record parameters, metrics of each epoch and results: tensorboard, mlflow"
    )

    _locations: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model.quantiles and self.training.loss:
            raise ValueError(f"training.loss: {self.training.loss} cannot train model.quantiles, which use the pinball loss")
        return self

    @property
    def seeds(self) -> list[int]:
        """The seed of each network to train."""
        return self.training.seeds or [self.seed]

    def locate(self, key: str) -> str:
        """Return where `key` was set: `file:line:column`, the option, or the file alone if the key has its default."""
        return self._locations.get(key) or self._locations.get("", "")

    def to_yaml(self) -> str:
        """Return the config as YAML, with every default written out."""
        return str(yaml.dump(self.model_dump(), Dumper=Dumper, sort_keys=False, allow_unicode=True))

    def to_short_yaml(self) -> str:
        """Return the keys that are not at their default as YAML."""
        return str(yaml.dump(self.model_dump(exclude_defaults=True), Dumper=Dumper, sort_keys=False, allow_unicode=True))
