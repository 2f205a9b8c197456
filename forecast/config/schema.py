"""The config: every YAML key once, with its default, unit and meaning."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from forecast.config.types import (
    HOLIDAYS,
    Baselines,
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
from forecast.errors import first_few

OBSERVED = "observed"  # The column that is 0 in rows added by `short_series: pad`, else 1.


class Section(BaseModel):
    """A mapping of the YAML file: unknown keys and wrong types are refused, never converted. Docstrings describe its keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class ResampleConfig(Section):
    """Resampling to one row per step. A first or last step that the rows cover only partly is left out."""

    freq: Text
    """Length of the new step as a pandas frequency."""
    how: Literal["mean", "sum", "first", "last", "min", "max"]
    """Statistic that turns the rows of a step into one value."""


class DataConfig(Section):
    """The data file, its format, and the repair of missing or irregular rows."""

    path: Text
    """CSV, Parquet or Excel file. A relative path is relative to the folder of the config file or, with `--set`, to the current
    folder."""
    timestamp: Annotated[Columns, Field(min_length=1)]
    """Timestamp column, or a list of the columns for year, month, day, hour, minute and second, in this order."""
    target: Annotated[Columns, Field(min_length=1)]
    """Column to forecast, or a list of columns to forecast together."""
    past_covariates: Columns = []
    """Columns that help to forecast the target, known only up to the cutoff."""
    known_covariates: Columns = []
    """Columns that are also known over the horizon, such as planned prices. `predict --future` reads their future values."""
    missing_known: dict[str, Literal["hold", "seasonal", "drop"]] = {}
    """Known covariates that may be missing over the horizon, each with its replacement, such as `{price: hold}`. `hold` repeats
    the last value of the lookback, `seasonal` repeats the last season of the lookback, and `drop` uses the mean of the lookback.
    All other known covariates are required."""
    static_covariates: Columns = []
    """Columns of numbers that are constant within a series, such as the floor area of a shop."""
    static_categories: Columns = []
    """Columns of text or codes that are constant within a series, such as the region of a shop."""
    calendar: Calendar = []
    """Known covariates computed from the timestamps: `hour`, `day_of_week`, `day_of_month`, `month`, `week`, and public holidays
    by country code, such as `holidays(DE)`."""
    series_id: Names | None = None
    """Column, or list of columns, that identifies the series. With null, the file holds one series."""
    wide: YesNo = False
    """Whether each column except the timestamp is a series. `target` then only names the values in the results."""
    short_series: Literal["error", "skip", "pad"] = "error"
    """What to do with a series too short for a training window. `skip` leaves it out of training, but still scores it if it has
    windows in later sets. `pad` adds `lookback` rows at the start of every series and fills them with its first value. The
    channel `observed` is 0 in these rows and 1 elsewhere."""
    freq: Text | None = None
    """Length of one step as a pandas frequency, such as `h`, `D`, `MS` or `15min`. With null, it is inferred."""
    season_length: Steps | None = None
    """Length of the season for seasonal naive and MASE, in steps or as a duration such as `7d`. With null, it depends on the
    frequency: 24 for h, 7 for D, 52 for W, and 12 for MS."""
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    """Character between the columns. With null, a comma, semicolon, tab or vertical bar is detected."""
    encoding: Text = "utf-8"
    """Text encoding of the file, such as `utf-8`, `latin-1` or `utf-16`."""
    decimal: Literal[".", ","] = "."
    """Decimal separator of numbers."""
    thousands: Literal[",", ".", " ", "'"] | None = None
    """Thousands separator of numbers. With null, there is none."""
    date_format: Text | None = None
    """Format of the timestamps: a strptime format such as `%d/%m/%Y`, `unix` (seconds since 1970) or `unix_ms` (milliseconds).
    With null, ISO 8601 timestamps and other unambiguous dates are recognized."""
    timezone: Text | None = None
    """Time zone of the timestamps, such as `Europe/London`. With null, the timestamps have no time zone, or keep
    the UTC offset that they all share."""
    resample: ResampleConfig | None = None
    """How to turn rows at irregular times into one row per step: `freq` and `how`. With null, rows stay as they are."""
    duplicates: Literal["error", "first", "last", "mean", "sum"] = "error"
    """What to do with rows of a series that have the same timestamp: keep the first or last, or take the mean or sum."""
    missing_timestamps: Literal["error", "fill"] = "error"
    """What to do with steps that have no row. `fill` adds empty rows, which `missing_values` then fills."""
    missing_values: Literal["error", "interpolate", "forward", "season"] = "error"
    """How to fill empty cells. `interpolate` draws a straight line across the gap, `forward` repeats the last value, and `season`
    repeats the value one season earlier. In the first season, it repeats the last value."""
    max_gap: Steps = 24
    """Longest gap of empty cells to fill, in steps or as a duration. A longer gap is an error."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands cannot both be {self.decimal!r}")
        if self.wide and (self.past_covariates or self.known_covariates or self.static):
            raise ValueError("a wide file cannot have covariates other than the calendar")
        if self.wide and (self.series_id or len(self.target) > 1):
            raise ValueError(
                "a wide file cannot have a series_id or several targets. Its target is only a name for the values of all columns"
            )
        if unknown := sorted(set(self.missing_known) - set(self.known_covariates)):
            names = first_few(self.known_covariates) or "none"
            raise ValueError(f"missing_known names {unknown[0]!r}, which is not among the known covariates ({names})")
        columns = {*self.values, *self.static}
        if reserved := {"series_id", "timestamp"} & columns:
            raise ValueError(
                f"a target or covariate cannot be called {reserved.pop()!r}, because every result has a column of that name."
                " Rename it"
            )
        if repeated := set(name_calendar_columns(self.computed)) & columns:
            key = "short_series: pad" if OBSERVED in repeated else "calendar"
            raise ValueError(f"data.{key} adds a column {repeated.pop()!r}, which the file already has. Rename it in the file")
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
        """The known covariates that are required over the horizon: those that `missing_known` does not name."""
        return [name for name in self.known_covariates if name not in self.missing_known]

    @property
    def static(self) -> list[str]:
        """The columns that are constant within a series: numbers, then categories."""
        return [*self.static_covariates, *self.static_categories]

    @property
    def computed(self) -> list[str]:
        """The known covariates that no file holds: the calendar, and whether a row was observed, if series are padded."""
        return [*self.calendar, *([OBSERVED] if self.short_series == "pad" else [])]

    @property
    def channels(self) -> list[str]:
        """The inputs of a network at each step: `values`, then the columns of the calendar."""
        return [*self.values, *name_calendar_columns(self.computed)]

    @property
    def known_channels(self) -> int:
        """The number of channels that are known over the horizon, which are the last ones."""
        return len(self.known_covariates) + len(name_calendar_columns(self.computed))


def name_calendar_columns(names: list[str]) -> list[str]:
    """Return the names of the columns that `DataConfig.computed` adds.

    >>> name_calendar_columns(["hour", "holidays(DE)"])
    ['hour_sin', 'hour_cos', 'holiday_DE']
    """
    columns = []
    for name in names:
        country = HOLIDAYS.fullmatch(name)
        columns += [f"holiday_{country[1]}"] if country else [OBSERVED] if name == OBSERVED else [f"{name}_sin", f"{name}_cos"]
    return columns


class SplitsConfig(Section):
    """Split of the rows by time into a training set, a validation set and a test set."""

    validation: Border = 0.15
    """Size of the validation set, on which the best epoch and the penalty of the ridge regression are chosen: a fraction of the
    rows, a number of steps, a duration, or the date at which it starts."""
    test: Border = 0.15
    """Size of the test set, which is used only for scoring: a fraction of the rows, a number of steps, a duration, or the date
    at which it starts."""
    align: Literal["dates", "ends"] = "dates"
    """How to split several series. `dates` starts each set at the same date in all series. `ends` counts back from the end of
    each series."""
    end: Date | None = None
    """First date to leave out: rows from this date on belong to none of the three sets. With null, all rows are used."""


class ScalingConfig(Section):
    """Scaling of each series. It is fitted on the training set and undone in every result."""

    method: Literal["minmax", "standard", "robust", "none"] = "minmax"
    """How to scale. `minmax` maps the training values to `range`, `standard` gives them mean 0 and standard deviation 1, and
    `robust` gives them median 0 and interquartile range 1."""
    range: Range = [0.0, 1.0]
    """Values to which `minmax` maps the smallest and the largest training value."""
    per: Literal["series", "all"] = "series"
    """Which training values to fit on. `series` fits each series on its own. `all` fits one scaling for all series, which
    preserves the differences between their levels."""
    transform: Literal["none", "log1p"] = "none"
    """Transformation before scaling. `log1p` turns exponential growth into linear growth. It requires values above -1."""


class WindowsConfig(Section):
    """Size of the windows. Each window is one sample for the network."""

    lookback: Steps
    """Number of past steps that the network sees."""
    horizon: Steps
    """Number of steps to forecast."""
    stride: Steps = 1
    """Steps from one training window to the next, for the network only. The ridge regression and all scores use every window."""


class ConvConfig(Section):
    """Causal convolutions over time: each step sees only itself and earlier steps."""

    filters: Width = 32
    """Number of output channels of each convolution."""
    kernel_size: Count = 3
    """Number of steps that a convolution sees at once."""
    strides: Count = 1
    """Steps from one output to the next. With 2, the recurrent layers read half as many steps."""
    layers: Annotated[int, Field(ge=1, le=100)] = 1
    """Number of convolutions in sequence."""


class FrontConfig(Section):
    """Layers between a window and the recurrent layers."""

    conv: ConvConfig = ConvConfig()
    """Convolutions: `filters`, `kernel_size`, `strides` and `layers`."""
    batch_norm: YesNo = False
    """Whether to apply batch normalization after each convolution."""


REPLACED = ("cell", "units", "bidirectional", "dropout", "layer_norm")  # Keys that `model.layers` replaces.
Cell = Literal["lstm", "gru", "simple_rnn", "peephole_lstm"]


class LayerConfig(Section):
    """One recurrent layer."""

    units: Width
    """Number of units."""
    cell: Cell = "lstm"
    """Recurrent cell."""
    bidirectional: YesNo = False
    """Whether to read each window in both directions."""
    dropout: Share = 0.0
    """Fraction of the outputs to drop during training."""
    layer_norm: YesNo = False
    """Whether to normalize the outputs."""
    residual: YesNo = False
    """Whether to add the input of the layer to its outputs. If their widths differ, a dense layer adapts the input."""


class ModelConfig(Section):
    """Architecture of the network."""

    cell: Cell = "lstm"
    """Recurrent cell. In `peephole_lstm`, the gates also see the cell state."""
    bidirectional: YesNo = False
    """Whether to read each window in both directions, which doubles the outputs of each recurrent layer."""
    units: Units = [64]
    """Number of units of each stacked recurrent layer, from first to last."""
    layers: Annotated[list[LayerConfig], Field(min_length=1, max_length=100)] | None = None
    """Recurrent layers from first to last, each with its own settings, such as `[{units: 64, cell: gru}, {units: 64, residual:
    true}]`. They replace `cell`, `units`, `bidirectional`, `dropout` and `layer_norm`."""
    segment: Steps | None = None
    """Number of steps that a recurrent layer reads at once. Windows are cut into segments of this length, and each segment
    becomes one vector. This is faster, and better with long lookbacks. With null, the layers read one step at a time."""
    front: FrontConfig | None = None
    """Layers before the recurrent layers: `conv` and `batch_norm`. With null, there are none."""
    attention: YesNo = False
    """Whether to combine the states of all steps with learned weights, instead of using only the last state. This
    helps with long lookbacks."""
    dropout: Share = 0.0
    """Fraction of the outputs of each recurrent layer to drop during training."""
    recurrent_dropout: Share = 0.0
    """Fraction of the recurrent state to drop during training. Values above 0 prevent the use of cuDNN, which is faster."""
    l1: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Penalty on the absolute weights of the recurrent layers and the output layer."""
    l2: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Penalty on the squared weights of the recurrent layers and the output layer."""
    initializer: Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "orthogonal"] = "glorot_uniform"
    """How to draw the initial weights of the inputs of each layer. Recurrent weights always start as an orthogonal matrix."""
    layer_norm: YesNo = False
    """Whether to normalize the outputs of each recurrent layer."""
    normalization: Literal["none", "last", "mean", "revin"] = "mean"
    """What to subtract from each window: its last value (`last`) or its mean (`mean`). `revin` subtracts the mean, divides by
    the standard deviation of the window, and learns an affine map."""
    decoder: Literal["direct", "parallel", "seq2seq", "recursive"] = "direct"
    """How to forecast the horizon. `direct` computes all steps at once from the last state. `parallel` computes each segment of
    the horizon with one recurrent step from that state. `seq2seq` starts a second recurrent layer from that state. `recursive`
    trains a network to forecast one step. Each forecast becomes the input for the next step."""
    channel_independent: YesNo = False
    """Whether the network sees each target separately, with the covariates, instead of all targets together."""
    linear_skip: YesNo = True
    """Whether to add the forecast of a ridge regression to the output of the recurrent layers. This output starts at zero, so the
    recurrent layers learn only what the regression does not explain."""
    quantiles: Quantiles | None = None
    """Quantiles to forecast, such as `[0.1, 0.5, 0.9]`. They are trained with the pinball loss and cannot cross. With null, the
    network makes one forecast, and `intervals` adds intervals around it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.recurrent_dropout and any(layer.cell == "peephole_lstm" for layer in self.stack):
            raise ValueError("peephole_lstm does not support recurrent_dropout. Use dropout")
        replaced = [name for name in REPLACED if getattr(self, name) != type(self).model_fields[name].default]
        if self.layers and replaced:
            raise ValueError(f"layers and {replaced[0]} cannot be combined. Move {replaced[0]} into the items of layers")
        if self.quantiles and self.decoder == "recursive":
            raise ValueError("decoder: recursive does not work with quantiles. Use direct, parallel or seq2seq")
        return self

    @property
    def stack(self) -> list[LayerConfig]:
        """The recurrent layers, from first to last."""
        shared = {name: getattr(self, name) for name in REPLACED if name != "units"}
        return self.layers or [LayerConfig(units=units, **shared) for units in self.units]


class EarlyStoppingConfig(Section):
    """End of training when the validation loss no longer improves. The weights of the best epoch are kept."""

    patience: Count = 20
    """Number of epochs without improvement of the validation loss after which training stops."""
    min_delta: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Smallest decrease of the validation loss that counts as an improvement, in scaled units."""


class TrainingConfig(Section):
    """Training of the network."""

    seeds: Seeds | None = None
    """Seeds of several networks. The forecast is their median, and the spread of their errors is reported. With null, one network
    is trained with `seed`."""
    epochs: Count = 100
    """Maximum number of passes over the training windows."""
    batch_size: BatchSize = 32
    """Number of windows in each batch. `auto` is the largest of 32, 64, 128 and 256 that leaves at least 16
    steps per epoch."""
    jit_compile: Compiled = False
    """Whether to compile the training step with XLA on TensorFlow, which makes the first step some seconds longer. Training is
    then faster with GRUs, segments and small batches, and slower with dropout or wide layers. `auto` compiles if training uses
    at least 200,000 windows over all epochs, batches of at most 64 and no dropout."""
    sampling: Literal["windows", "series"] = "windows"
    """Windows to use in each epoch. `windows` uses each window once. `series` draws the same number of windows from
    each series."""
    learning_rate: Annotated[float, Field(gt=0, le=1e6)] = 1e-3
    """Step size of the optimizer."""
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = "adam"
    """Keras optimizer."""
    loss: Literal["mse", "mae", "huber"] | None = None
    """Loss to minimize, in scaled units. With null, it is `mse`, or the pinball loss with `model.quantiles`."""
    clipnorm: Annotated[float, Field(gt=0)] | None = 1.0
    """Maximum norm of the gradient of each weight. With null, norms are not limited."""
    clipvalue: Annotated[float, Field(gt=0)] | None = None
    """Maximum absolute value of each component of a gradient. It requires `clipnorm: null`. With null, values are not limited."""
    early_stopping: EarlyStoppingConfig | None = EarlyStoppingConfig()
    """When to stop training early: `patience` and `min_delta`. With null, all epochs run, and the last weights are kept."""
    refit: YesNo = True
    """Whether to continue training once the best epoch is chosen: on the training and validation sets before the test set is
    scored, and on all rows before the final forecast. Each refit takes a fifth of the chosen number of epochs."""
    schedule: Literal["constant", "step", "cosine", "plateau"] = "constant"
    """Learning rate after the warm-up. `step` lowers it every `schedule_every` epochs, `cosine` lowers it to zero, and `plateau`
    lowers it when the validation loss has not improved for `schedule_every` epochs."""
    schedule_every: Count | None = None
    """Number of epochs for `step` and `plateau`. With null, it is 10, or for `plateau` a third of the patience of early
    stopping."""
    schedule_factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Factor by which `step` and `plateau` multiply the learning rate."""
    warmup_epochs: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Number of epochs over which the learning rate rises to `learning_rate`."""
    accumulate_gradients: Count = 1
    """Number of batches whose gradients are averaged in each optimizer step."""
    checkpoint_every: Count | None = None
    """Number of batches between checkpoints within an epoch, for `train --resume`. A checkpoint is also written after each
    epoch, but at most once per second. With null, one is written every minute."""
    mixed_precision: YesNo = False
    """Whether the recurrent layers compute in bfloat16. This is faster on GPUs, and for wide layers on CPUs that support it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.clipnorm is not None and self.clipvalue is not None:
            raise ValueError("clipnorm and clipvalue cannot be combined. Set clipnorm: null")
        return self


class IntervalsConfig(Section):
    """Prediction intervals around the forecast."""

    level: Levels = [80.0, 95.0]
    """Percentage of the actual values that each interval should contain."""
    method: Literal["conformal", "adaptive"] = "adaptive"
    """How to set the width. `conformal` uses the errors on the validation set. `adaptive` also adjusts the width after each
    step to the errors so far. This suits series whose behaviour changes over time."""


class BacktestConfig(Section):
    """Folds of `forecast backtest`: tests of the network on successive periods."""

    folds: Annotated[int, Field(ge=1, le=1000)] = 5
    """Number of folds."""
    stride: Steps | None = None
    """Number of cutoffs in each fold. The test set is made long enough for them. With null, the cutoffs of the test set are
    divided among the folds."""
    refit: Refit = "every"
    """Folds that refit the network and the scaling: every fold (`every`), every n-th fold (a number), or only the first
    (`never`). With `never`, a backtest of a run tests the network of that run without training it."""
    training_part: Literal["expanding", "sliding"] = "expanding"
    """Training set of later folds: all rows before the validation set (`expanding`), or as many rows as in the first
    fold (`sliding`)."""


class TuningConfig(Section):
    """Hyperparameter search of `forecast tune`."""

    search: Spans | None = None
    """Keys to search, each with its values: `{model.units: {int: [32, 256], step: 32}, training.learning_rate: {float:
    [1e-4, 1e-2], log: true}, windows.lookback: {choice: [12, 24]}}`. The key `model.layers` is the number of layers in
    `model.units`. With null, the search covers 1 to 3 layers of 32 to 256 units, dropout up to 0.5, and learning rates from 1e-4
    to 1e-2."""
    trials: Count = 30
    """Total number of trials."""
    budget: Wait | None = None
    """Time after which no trial starts, such as `90s`, `10m` or `2h`. With null, there is no limit."""
    sampler: Literal["tpe", "random", "grid"] = "tpe"
    """How to choose trials. `tpe` learns from earlier trials, and `random` chooses at random. `grid` runs all combinations of
    choices and steps, and ignores `trials`."""
    pruner: Literal["median", "halving", "none"] = "median"
    """Which trials to stop early, by their validation loss. `median` stops those worse than the median at the same epoch.
    `halving` stops those outside the best quarter at epochs 1, 4, 16 and so on."""
    objective: Literal["validation", "backtest"] = "validation"
    """Error to minimize. `validation` is the error on the validation set. `backtest` is the mean over the folds of a backtest on
    all rows before the test set."""
    executions_per_trial: Annotated[int, Field(ge=1, le=100)] = 1
    """Number of networks in each trial, with different seeds. The error of the trial is their mean error."""


class Config(Section):
    """A whole config file."""

    name: Name = "run"
    """Prefix of the run directory's name. For a config file, the default is the name of the file."""
    seed: Seed = 1
    """Seed of all random numbers: initial weights, dropout, and the order of the windows."""
    data: DataConfig
    splits: SplitsConfig = SplitsConfig()
    scaling: ScalingConfig = ScalingConfig()
    windows: WindowsConfig
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    intervals: IntervalsConfig | None = IntervalsConfig()
    """Prediction intervals: `level` and `method`. With null, there are none."""
    baselines: Baselines = []
    """Baselines to score in addition to the simple ones. `theta`, `ets` and `arima` are fitted to each series, which is slow with
    many series. `boosting` fits trees to the training windows of all series."""
    combine: Literal["none", "mean", "median", "weighted"] = "none"
    """How to make the forecast. `none` uses the network alone. `mean` and `median` combine the network with linear, naive,
    seasonal naive and `baselines`. `weighted` averages them with weights that are chosen on the validation set."""
    backtest: BacktestConfig = BacktestConfig()
    tuning: TuningConfig = TuningConfig()
    tracking: Trackers = []
    """Additional tools that record the parameters, the metrics of each epoch, and the results."""

    _locations: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model.quantiles and self.training.loss:
            raise ValueError(
                f"training.loss: {self.training.loss} does not work with model.quantiles, which are trained with the pinball loss"
            )
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
