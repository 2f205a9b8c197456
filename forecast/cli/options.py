"""The arguments and options of the commands, each declared once, and groups of options that commands share."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import forecast
from forecast.cli.boundary import set_debug
from forecast.cli.streams import echo

if TYPE_CHECKING:
    from forecast.commands.init import EffortName
    from forecast.search.workers import Workers


def expand_groups(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with --debug and, for each parameter whose type is a group below, the options of that group."""
    signature = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {name: p.annotation for name, p in signature.items() if dataclasses.is_dataclass(p.annotation)}
    options = {name: inspect.signature(group).parameters for name, group in groups.items()}
    parameters = [parameter for name, parameter in signature.items() if name not in groups]
    parameters += [option for group in options.values() for option in group.values()]
    parameters.append(inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug))
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]

    @functools.wraps(command)
    def expanded(debug: bool, **values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{option: values.pop(option) for option in options[name]})
        command(**values)

    expanded.__dict__["__signature__"] = inspect.Signature(parameters)  # Typer reads it.
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def _silence_reading(ctx: typer.Context, value: bool) -> bool:
    if value:
        from forecast.storage import watch_reading

        ctx.with_resource(watch_reading(None))
    return value


def _print_version(value: bool) -> None:
    if value:
        echo(f"forecast {forecast.__version__}")
        raise typer.Exit


def _complete(list_choices: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return a function that completes a value in the shell. The choices are listed only then, because they load modules."""

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in list_choices() if choice.startswith(incomplete)]

    return complete


def _list_assignments() -> list[str]:
    from forecast.config import list_keys

    return [f"{key}=" for key in list_keys()]


def _list_formats() -> Iterable[str]:
    from forecast.commands.export import FORMATS

    return FORMATS


def _list_baselines() -> list[str]:
    from forecast.evaluation import LABELS, MODEL

    return [label for label in LABELS if label != MODEL]


def _check_baseline(name: str | None) -> str | None:
    """Refuse an unknown baseline before hours are spent on training."""
    if name is not None:
        from forecast.errors import RunError, did_you_mean

        if name not in (names := _list_baselines()):
            raise RunError(f"--fail-if-worse-than: there is no baseline `{name}`.", did_you_mean(name, names))
    return name


# Arguments.
ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="Config file, such as configs/airline.yaml.")]
OptionalConfigFile = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="Config file, such as configs/airline.yaml. Not with --resume.")
]
ConfigOrRun = Annotated[Path, typer.Argument(metavar="CONFIG|RUN", help="Config file or run directory.")]
ExperimentFile = Annotated[Path, typer.Argument(metavar="EXPERIMENT", help="YAML file with base, grid, cases and seeds.")]
DataFile = Annotated[Path, typer.Argument(metavar="DATA", help="CSV, Parquet or Excel file.")]
UpdateFile = Annotated[Path, typer.Argument(metavar="DATA", help="File with the new rows, or with all rows.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, such as runs/airline-1.")]
RunFolders = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Directories of training runs or backtests.")]

# Options of every command.
Version = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")]
Debug = Annotated[bool, typer.Option("--debug", callback=set_debug, help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_silence_reading, help="Hide progress and tables.")]
Open = Annotated[bool, typer.Option("--open", help="Open the HTML page in the browser.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing result.")]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", autocompletion=_complete(_list_assignments), help="Override a config key. Can be repeated."
    ),
]

# Output paths.
RunDir = Annotated[
    Path | None, typer.Option("--run-dir", "-o", help="Run directory to create. [default: the next free folder in runs/]")
]
GroupDir = Annotated[
    Path | None,
    typer.Option("--run-dir", "-o", help="Directory to create or continue. [default: a folder in runs/, named after the file]"),
]
SecondRunDir = Annotated[
    Path | None, typer.Option("--run-dir", "-o", help="Directory in which to keep the second run. [default: discard it]")
]
ConfigOutput = Annotated[Path | None, typer.Option("--output", "-o", help="Config file to write. [default: DATA.yaml]")]
ForecastOutput = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="CSV file to write. [default: forecast.csv or forecast-DATA.csv in the run]"),
]
PlanOutput = Annotated[Path, typer.Option("--output", "-o", help="CSV file to write, with empty cells to fill in.")]
ExportOutput = Annotated[Path | None, typer.Option("--output", "-o", help="Folder to write. [default: exports/TO in the run]")]
Plot = Annotated[Path | None, typer.Option(help="PNG file for a bar chart of the metric.")]

# Options of single commands.
Target = Annotated[str | None, typer.Option(help="Column to forecast. [default: the first numeric column]")]
Horizon = Annotated[int | None, typer.Option(min=1, help="Number of steps to forecast. [default: one season]")]
Quick = Annotated[bool, typer.Option("--quick", help="Write a config that trains in about a fifth of the usual time.")]
Thorough = Annotated[bool, typer.Option("--thorough", help="Write a config that trains 5 times as long as usual.")]
Resume = Annotated[Path | None, typer.Option(metavar="RUN", help="Resume an interrupted training run.")]
Diff = Annotated[bool, typer.Option("--diff", help="Print only the values that differ from the defaults.")]
Folds = Annotated[int | None, typer.Option(min=1, help="Number of folds. [default: backtest.folds in the config]")]
Stride = Annotated[
    str | None,
    typer.Option(help="Number of cutoffs per fold. [default: the cutoffs of the test set, divided among the folds]"),
]
Refit = Annotated[
    str | None,
    typer.Option(
        help="How often to train a network: in every fold (every), in every Nth fold (a number), or only in the first fold"
        " (never). [default: backtest.refit in the config]"
    ),
]
RunsFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder with runs.")]
SortRuns = Annotated[
    str | None, typer.Option("--sort", metavar="mae|rmse|mase|wape|gain", help="Rank by this column. [default: the newest first]")
]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="HTML page to write. It compares the runs and links to their reports.")
]
Filter = Annotated[
    str, typer.Option(metavar="TEXT", help="List only runs whose name, kind, state, data or target contains this text.")
]
Sort = Annotated[str, typer.Option(help="Metric to rank by.")]
Runtime = Annotated[str, typer.Option(help="Library that runs the network: numpy, or keras (slower to start).")]
Future = Annotated[Path | None, typer.Option(help="CSV file with the known covariates of the forecast steps. See forecast plan.")]
NewSeries = Annotated[bool, typer.Option("--new-series", help="Also forecast series that the run was not trained on.")]
Trials = Annotated[int | None, typer.Option(min=1, help="Number of trials in the study. [default: tuning.trials in the config]")]
Budget = Annotated[str | None, typer.Option(metavar="TIME", help="Time after which no new trial starts, such as 90s, 10m or 2h.")]
Storage = Annotated[str | None, typer.Option(metavar="FILE|URL", help="Journal file or database that several processes share.")]
IntervalsOnly = Annotated[bool, typer.Option("--intervals-only", help="Update only the prediction intervals, without training.")]
EvenIfWorse = Annotated[
    bool, typer.Option("--even-if-worse", help="Keep the new run even if the old one forecasts the newest rows better.")
]
OriginalData = Annotated[Path | None, typer.Option(help="Training data, if it has moved. [default: the path in the config]")]
Tolerance = Annotated[float, typer.Option(min=0, help="Largest relative difference at which numbers count as equal.")]
TestedData = Annotated[Path | None, typer.Option(help="File to search for anomalies. [default: the test set of the run]")]
Level = Annotated[float | None, typer.Option(help="Level of the prediction interval, in percent. [default: the highest]")]
Format = Annotated[
    str, typer.Option(metavar="onnx|keras|saved_model|litert", autocompletion=_complete(_list_formats), help="Format to write.")
]


@dataclass(frozen=True)
class InitOptions:
    """Settings of a config to write."""

    output: ConfigOutput = None
    target: Target = None
    horizon: Horizon = None
    force: Force = False

    def write_config(self, data: Path, effort: "EffortName") -> Path:
        """Write a config for a data file, and return its path."""
        return forecast.init(data, self.output, self.target, self.horizon, self.force, effort)


@dataclass(frozen=True)
class PrintOptions:
    """Amount and format of the printed output."""

    quiet: Quiet = False
    as_json: Json = False


@dataclass(frozen=True)
class ForecastOptions:
    """Rows to forecast from, and number of steps to forecast."""

    data: Annotated[
        Path | None,
        typer.Option(help="File that ends with newer rows. It has the same columns, and at least one lookback of each series."),
    ] = None
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps to forecast. [default: the horizon of the run]")] = (
        None
    )


@dataclass(frozen=True)
class ConfigOptions:
    """Changes of the config."""

    override: Override = None

    @property
    def overrides(self) -> dict[str, object]:
        """Return the overridden keys of the config.

        Raises:
            ConfigError: one is not of the form KEY=VALUE, or its value is not YAML.
        """
        from forecast.config import parse_overrides

        return parse_overrides(self.override or [])


@dataclass(frozen=True)
class TrainingOptions(ConfigOptions):
    """Settings of one training or backtest."""

    run_dir: RunDir = None
    force: Force = False
    fail_if_worse_than: Annotated[
        str | None,
        typer.Option(
            metavar="BASELINE",
            callback=_check_baseline,
            autocompletion=_complete(_list_baselines),
            help="Exit with code 3 if the forecast is worse than this baseline, such as seasonal_naive.",
        ),
    ] = None


@dataclass(frozen=True)
class SearchOptions(ConfigOptions):
    """Settings of an experiment or a search."""

    run_dir: GroupDir = None
    force: Force = False
    count: Annotated[
        int, typer.Option("--workers", min=1, help="Number of processes that share the cores. Ignored with --engine ray.")
    ] = 1
    engine: Annotated[str, typer.Option(metavar="local|ray", help="Where to train the networks.")] = "local"
    address: Annotated[str | None, typer.Option(help="Address of a Ray cluster, such as 10.0.0.1:6379 or auto.")] = None

    @property
    def workers(self) -> "Workers":
        """Return the processes, or the Ray cluster, that train the networks."""
        from forecast.search.workers import Workers

        return Workers(self.count, self.engine, self.address)
