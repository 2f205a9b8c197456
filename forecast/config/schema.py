"""The config: every YAML key once, with its default, unit and meaning."""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
    """One row per step, made of all rows within it; a first or last step that they cover only in part is left out."""

    freq: Text = Field(description="length of the new step as a pandas frequency")
    how: Literal["mean", "sum", "first", "last", "min", "max"] = Field(description="what becomes of the rows within a step")


class DataConfig(Section):
    """Where the numbers are, how the file writes them, and what to do where it is not as it should be."""

    path: str = Field(
        min_length=1,
        description="CSV or Parquet file; a relative path starts at the config file's folder, or with --set at the current one",
    )
    timestamp: Columns = Field(
        min_length=1,
        description="name of the timestamp column, or those of year, month, day, hour, minute, second (as many as there are)",
    )
    target: Columns = Field(min_length=1, description="name of the column to forecast, or a list of names to forecast together")
    past_covariates: Columns = Field([], description="columns that help to forecast and are known up to the last row only")
    known_covariates: Columns = Field(
        [], description="columns that are known over the horizon, too, such as prices; `predict --future` gives them"
    )
    missing_known: dict[str, Literal["hold", "seasonal", "drop"]] = Field(
        {},
        description="known covariates that may be missing over the horizon, such as `{price: hold}`: hold, the last value of the"
        " lookback; seasonal, its last season; drop, the mean of the lookback; one that is not named here must be given",
    )
    static_covariates: Columns = Field(
        [], description="columns of numbers that stay the same in all rows of a series, such as its floor area"
    )
    static_categories: Columns = Field(
        [], description="columns of text or codes that stay the same in all rows of a series, such as its region"
    )
    calendar: Calendar = Field(
        [], description="known covariates made of the timestamps: hour, day_of_week, day_of_month, month, week, holidays(DE)"
    )
    series_id: Names | None = Field(
        None, description="name of the column that tells the series apart, or a list of them; null: the file is one series"
    )
    wide: YesNo = Field(
        False, description="every column but the timestamp is a series, and `target` is what to call their values in results"
    )
    short_series: Literal["error", "skip"] = Field(
        "error",
        description="series without a training window; skip: left out, or only scored where they have windows in later parts",
    )
    freq: Text | None = Field(
        None, description="length of one step as a pandas frequency (h, D, MS, 15min); null: inferred from the spacing"
    )
    season_length: Steps | None = Field(
        None, description="season in steps, or 7d; for seasonal naive and MASE; null: from the freq (h: 24, D: 7, W: 52, MS: 12)"
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="what separates the columns; null: the comma, semicolon, tab or vertical bar that fits"
    )
    encoding: Text = Field("utf-8", description="of the text, such as utf-8, latin-1 or utf-16")
    decimal: Literal[".", ","] = Field(".", description="decimal point of the target columns")
    thousands: Literal[",", ".", " ", "'"] | None = Field(
        None, description="what groups digits in the target columns; null: nothing"
    )
    date_format: Text | None = Field(
        None,
        description="strptime format such as '%d/%m/%Y', unix or unix_ms; null: ISO, or day and month where no doubt is possible",
    )
    timezone: Text | None = Field(
        None, description="zone of the timestamps, such as Europe/London; null: none, or their one UTC offset"
    )
    resample: ResampleConfig | None = Field(
        None, description="`freq` and `how`, for rows at irregular times; null: rows stay as they are"
    )
    duplicates: Literal["error", "first", "last", "mean", "sum"] = Field("error", description="rows with the same timestamp")
    missing_timestamps: Literal["error", "fill"] = Field("error", description="fill: adds the rows, without values")
    missing_values: Literal["error", "interpolate", "forward", "season"] = Field(
        "error",
        description="empty cells; season: the value one season before (in the first season, one step before)",
    )
    max_gap: Steps = Field(24, description="longest run of empty cells that is filled, in steps")

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands cannot both be {self.decimal!r}")
        if self.wide and (self.past_covariates or self.known_covariates or self.static):
            raise ValueError("a wide file has no covariates but the calendar")
        if self.wide and (self.series_id or len(self.target) > 1):
            raise ValueError("a wide file has no series_id and one target, the name for the values of all its columns")
        if foreign := sorted(set(self.missing_known) - set(self.known_covariates)):
            hint = did_you_mean(foreign[0], self.known_covariates)
            raise ValueError(f"missing_known names {foreign[0]!r}, which is no known covariate. {hint}".rstrip(" ."))
        if reserved := {"series_id", "timestamp"} & {*self.values, *self.static}:
            raise ValueError(
                f"a target or covariate cannot be called {reserved.pop()!r}, which is a column of every result; rename it"
            )
        if double := set(name_calendar_columns(self.calendar)) & {*self.values, *self.static}:
            raise ValueError(f"data.calendar adds a column {double.pop()!r}, which the file already has; rename it in the file")
        return self

    @property
    def columns(self) -> list[str]:
        """Every column that is read; of a wide file, the timestamp's. The series' own name may be a category of theirs."""
        ids = self.series_id or []
        return [*self.timestamp, *ids, *([] if self.wide else self.values), *(name for name in self.static if name not in ids)]

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
        """The columns that stay the same in all rows of a series: numbers, then categories."""
        return [*self.static_covariates, *self.static_categories]

    @property
    def channels(self) -> list[str]:
        """What a network sees of each step: `values`, then the calendar's columns."""
        return [*self.values, *name_calendar_columns(self.calendar)]

    @property
    def known_channels(self) -> int:
        """How many of the channels, the last ones, are known over the horizon."""
        return len(self.known_covariates) + len(name_calendar_columns(self.calendar))


def name_calendar_columns(names: list[str]) -> list[str]:
    """The names of the columns that a calendar is made of.

    >>> name_calendar_columns(["hour", "holidays(DE)"])
    ['hour_sin', 'hour_cos', 'holiday_DE']
    """
    columns = []
    for name in names:
        country = HOLIDAYS.fullmatch(name)
        columns += [f"holiday_{country[1]}"] if country else [f"{name}_sin", f"{name}_cos"]
    return columns


class SplitsConfig(Section):
    """How the rows are divided in time: train, then validation, then test; what is not in the last two is train."""

    validation: Border = Field(
        0.15, description="fraction of the rows, number of steps, duration, or first date; chooses epochs and ridge strength"
    )
    test: Border = Field(0.15, description="fraction of the rows, number of steps, duration, or first date; only ever scored")
    align: Literal["dates", "ends"] = Field(
        "dates",
        description="where series end apart: parts begin at the same dates in all, or count back from the end of each",
    )
    end: Date | None = Field(
        None, description="rows at or after this date are left out of all three parts; null: all rows are used"
    )


class ScalingConfig(Section):
    """What is done to each series before windows are cut; fitted on its training rows, undone in every result."""

    method: Literal["minmax", "standard", "robust", "none"] = Field(
        "minmax", description="minmax: to `range`; standard: mean 0 and deviation 1; robust: median and quartiles; none"
    )
    range: Range = Field([0.0, 1.0], description="where minmax puts the smallest and largest training value")
    per: Literal["series", "all"] = Field(
        "series",
        description="series: each by its own training rows; all: one scaling for all series, which keeps their levels apart",
    )
    transform: Literal["none", "log1p"] = Field(
        "none", description="log1p turns growth in percent into growth in steps; needs values above -1"
    )


class WindowsConfig(Section):
    """What a training sample looks like."""

    lookback: Steps = Field(description="past steps given to the network")
    horizon: Steps = Field(description="steps to predict")
    stride: Steps = Field(1, description="steps between the starts of the network's training windows; all else uses every window")


class ConvConfig(Section):
    """Convolutions over time, each step seeing itself and the ones before."""

    filters: Width = Field(32, description="channels that each convolution makes")
    kernel_size: Count = Field(3, description="steps that each sees")
    strides: Count = Field(1, description="steps between its outputs; 2 halves what the recurrent layers walk over")
    layers: Annotated[int, Field(ge=1, le=100)] = Field(1, description="convolutions on top of each other")


class FrontConfig(Section):
    """What stands between a window and the recurrent layers."""

    conv: ConvConfig = Field(ConvConfig(), description="filters, kernel_size, strides and layers of the convolutions")
    batch_norm: YesNo = Field(False, description="normalise over the batch after each convolution")


class ModelConfig(Section):
    """The network."""

    cell: Literal["lstm", "gru", "simple_rnn", "peephole_lstm"] = Field(
        "lstm", description="recurrent cell; the gates of peephole_lstm also see the cell's memory"
    )
    bidirectional: YesNo = Field(False, description="read each window in both directions, which doubles the outputs of a layer")
    units: Units = Field([64], description="size of each stacked recurrent layer, first to last")
    segment: Steps | None = Field(
        None,
        description="steps that a recurrent layer reads at once: windows are cut into segments, each made a vector, which is"
        " faster, and better on long lookbacks; null: step by step",
    )
    front: FrontConfig | None = Field(None, description="`conv` and `batch_norm`, before the recurrent layers; null: none")
    attention: YesNo = Field(
        False, description="read the states of all steps, weighed by what they hold, instead of the last one; for long lookbacks"
    )
    dropout: Share = Field(0.0, description="fraction of each recurrent layer's outputs dropped in training")
    recurrent_dropout: Share = Field(0.0, description="fraction of the recurrent state dropped in training; turns cuDNN off")
    l2: float = Field(0.0, ge=0, le=1e6, description="penalty on the squared weights of the recurrent layers and the head")
    layer_norm: YesNo = Field(False, description="normalise the outputs of each recurrent layer")
    normalization: Literal["none", "last", "mean", "revin"] = Field(
        "mean",
        description="subtract each window's last value or mean; revin also divides by its deviation and learns an affine map",
    )
    decoder: Literal["direct", "parallel", "seq2seq", "recursive"] = Field(
        "direct",
        description="direct: all steps at once from the last state; parallel: one recurrent step from that state to each segment"
        " of the horizon; seq2seq: a second recurrent layer starts from it; recursive: a network of one step continues its own"
        " forecasts",
    )
    channel_independent: YesNo = Field(
        False,
        description="the network sees each target by itself, beside the covariates; false: all targets together",
    )
    linear_skip: YesNo = Field(
        True,
        description="add a ridge regression beside the recurrent stack, which then starts at zero and learns the rest",
    )
    quantiles: Quantiles | None = Field(
        None,
        description="quantiles that the network forecasts itself, such as [0.1, 0.5, 0.9], trained by the pinball loss, which"
        " cannot cross; null: the forecast alone, and `intervals` around it",
    )

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.cell == "peephole_lstm" and self.recurrent_dropout:
            raise ValueError("peephole_lstm has no recurrent_dropout; use dropout")
        if self.quantiles and self.decoder == "recursive":
            raise ValueError("decoder: recursive continues a forecast, not its quantiles; use direct, parallel or seq2seq")
        return self


class EarlyStoppingConfig(Section):
    """When to stop, and that the best epoch's weights are kept."""

    patience: Count = Field(20, description="epochs without improvement of the validation loss before stopping")
    min_delta: float = Field(0.0, ge=0, le=1e6, description="smallest fall of the validation loss that counts, in scaled units")


class TrainingConfig(Section):
    """How the network learns."""

    seeds: Seeds | None = Field(
        None,
        description="one network per seed, whose median is the forecast, and the spread of their errors; null: one, of `seed`",
    )
    epochs: Count = Field(100, description="passes over the training windows, at most")
    batch_size: BatchSize = Field(
        32,
        description="windows in each optimizer step; auto: the largest of 32, 64, 128 and 256 that leaves 16 steps in an epoch",
    )
    jit_compile: Compiled = Field(
        False,
        description="whether XLA compiles the training step on TensorFlow, which takes about 10 s; training is then faster for"
        " GRUs, segments and small batches, and slower with dropout or wide layers; auto: true for at least 200,000 windows in"
        " all epochs, in batches of at most 64, without dropout",
    )
    sampling: Literal["windows", "series"] = Field(
        "windows",
        description="what an epoch draws evenly: all windows once, or as many windows from each series, however long it is",
    )
    learning_rate: float = Field(1e-3, gt=0, le=1e6, description="step size of the optimizer")
    optimizer: Literal["adam", "adamw", "rmsprop", "sgd"] = Field("adam", description="Keras optimizer")
    loss: Literal["mse", "mae", "huber"] | None = Field(
        None, description="what training makes small, in scaled units; null: mse, or the pinball loss of `model.quantiles`"
    )
    clipnorm: float | None = Field(1.0, gt=0, description="largest norm of a weight's gradient; null: gradients are not clipped")
    early_stopping: EarlyStoppingConfig | None = Field(
        EarlyStoppingConfig(), description="patience and min_delta; null: all epochs run and the last weights are kept"
    )
    schedule: Literal["constant", "step", "cosine", "plateau"] = Field(
        "constant",
        description="step: halved every 10 epochs after warm-up; cosine: to zero; plateau: halved when validation stalls",
    )
    warmup_epochs: int = Field(0, ge=0, le=10**9, description="epochs over which the learning rate rises to its value")
    accumulate_gradients: Count = Field(1, description="batches over which gradients are averaged before a step is taken")
    checkpoint_every: Count | None = Field(
        None,
        description="batches of an epoch after which a checkpoint is written, for `train --resume`, as it is after each epoch;"
        " null: and every minute of a long one",
    )
    mixed_precision: YesNo = Field(
        False, description="recurrent layers compute in bfloat16: faster on GPUs, and for wide layers on CPUs that know it"
    )


class IntervalsConfig(Section):
    """How sure a forecast is."""

    level: Levels = Field([80.0, 95.0], description="percent of actual values that should lie within each interval")
    method: Literal["conformal", "adaptive"] = Field(
        "adaptive",
        description="conformal: as wide as the errors on the validation part say; adaptive: and moved after each step by what"
        " came true, for series that change",
    )


class BacktestConfig(Section):
    """How `forecast backtest` goes through the past."""

    folds: Annotated[int, Field(ge=1, le=1000)] = Field(5, description="how often the network is put to the test")
    stride: Steps | None = Field(
        None,
        description="cutoffs of each fold; null: those of the test part, divided among the folds; else that part is made to fit",
    )
    refit: Refit = Field(
        "every", description="when everything is fitted anew: never after the first fold, with every fold, or with every n-th"
    )
    training_part: Literal["expanding", "sliding"] = Field(
        "expanding", description="of later folds: all rows before the validation part, or as many as the first fold has"
    )


class TuningConfig(Section):
    """How `forecast tune` searches for better values."""

    search: Spans | None = Field(
        None,
        description="keys and where to look for their values: `{model.units: {int: [32, 256], step: 32}, training.learning_rate:"
        " {float: [1e-4, 1e-2], log: true}, windows.lookback: {choice: [12, 24]}}`; `model.layers` is how many layers of"
        " `model.units` there are; null: 1 to 3 layers of 32 to 256 units, dropout to 0.5, learning rate 1e-4 to 1e-2",
    )
    trials: Count = Field(30, description="how many values to try, in the whole study")
    budget: Wait | None = Field(None, description="time after which no trial begins, such as 90s, 10m or 2h; null: no end")
    sampler: Literal["tpe", "random", "grid"] = Field(
        "tpe",
        description="tpe learns from the trials so far; random; grid: all combinations of choices and steps, whatever `trials`",
    )
    pruner: Literal["median", "halving", "none"] = Field(
        "median",
        description="which trials end early, by their validation loss: those worse than the median at the same epoch; those"
        " outside the best quarter at epochs 1, 4, 16, ...; none",
    )
    objective: Literal["validation", "backtest"] = Field(
        "validation",
        description="what to make small: the error on the validation part; or the mean over the folds of a backtest on all rows"
        " before the test part, which is never looked at",
    )
    executions_per_trial: Annotated[int, Field(ge=1, le=100)] = Field(
        1, description="networks of different seeds that a trial trains, whose mean error counts"
    )


class Config(Section):
    """A whole config file."""

    name: Name = Field("run", description="start of the run directory's name; when not given, the config file's name")
    seed: Seed = Field(1, description="where every random draw starts: weights, dropout, order of windows")
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
        [], description="where else to record parameters, metrics of each epoch and results: tensorboard, mlflow"
    )

    _places: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.model.quantiles and self.training.loss:
            raise ValueError(f"training.loss: {self.training.loss} trains no model.quantiles, the pinball loss does")
        return self

    @property
    def seeds(self) -> list[int]:
        """The seed of each network to train."""
        return self.training.seeds or [self.seed]

    def locate(self, key: str) -> str:
        """Where `key` was set: `file:line:column`, the option, or the file alone where the default holds."""
        return self._places.get(key) or self._places.get("", "")

    def to_yaml(self) -> str:
        """The resolved config, every default written out."""
        return yaml.dump(self.model_dump(), Dumper=Dumper, sort_keys=False, allow_unicode=True)

    def to_short_yaml(self) -> str:
        """The keys that are not at their default."""
        return yaml.dump(self.model_dump(exclude_defaults=True), Dumper=Dumper, sort_keys=False, allow_unicode=True)


def schema() -> dict:
    """The JSON Schema of a config file, for completion in editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema(), "title": "forecast config"}


def non_default_values(section: Section, prefix: str = "") -> dict[str, object]:
    """The keys of a config, dotted, that are not at their default, with their values."""
    found: dict[str, object] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, Section):
            found |= non_default_values(value, f"{prefix}{name}.")
        elif field.is_required() or value != field.default:
            found[prefix + name] = value
    return found


def differing_sections(one: Config, other: Config) -> list[str]:
    """The sections in which two configs differ that bear on what is trained."""
    bearing = [name for name in Config.model_fields if name not in {"backtest", "tuning", "tracking"}]
    return [name for name in bearing if getattr(one, name) != getattr(other, name)]


def find_field(location: tuple[str | int, ...], root: type[Section] = Config) -> Any:
    """The pydantic field that a path such as ("training", "epochs") names, or None."""
    section: Any = root
    field = None
    for name in location:
        if isinstance(name, int):
            continue
        if section is None or name not in section.model_fields:
            return None
        field = section.model_fields[name]
        section = find_section(field.annotation)
    return field


def find_section(annotation: object) -> type[Section] | None:
    """The section class in a field's annotation (`X` or `X | None`), or None where the field is a value."""
    choices = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in choices if isinstance(c, type) and issubclass(c, Section)), None)
