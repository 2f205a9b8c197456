"""The command line: thin commands, each of which calls the public function of the same name, and one error boundary."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import forecast
from forecast.cli.streams import OutputError, echo, prepare_streams
from forecast.errors import ForecastError, InternalError, RunError, log_and_continue

if TYPE_CHECKING:
    import pandas as pd

    from forecast.runs import Run, RunDirectory, RunGroup


class _ErrorBoundary(TyperGroup):
    """Turns every error into a message on stderr and exit code 1. Its traceback is shown with --debug only."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort, OutputError, BrokenPipeError):
            raise  # Typer and `main` know what to do with these.
        except Exception as error:
            if ctx.obj:
                raise
            echo(_readable(_explain(error)), err=True)
            raise typer.Exit(1) from None


def _explain(error: Exception) -> str:
    """Return the message of a user's mistake, or the one that reports a bug and names the log of the run, if there is one."""
    if isinstance(error, ForecastError):
        return str(error)
    if isinstance(error, MemoryError):  # Training explains it in more detail.
        return "memory ran out.\n  Use less data at once, or a machine with more memory."
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", []))
    if isinstance(error, InternalError):
        return f"error: {error}{notes}"
    found = f"error: this is a bug in forecast ({type(error).__name__}: {error})."
    return f"{found}{notes}\n  --debug shows the traceback, please report it."


MOST_LINES = 100  # of an error's message

app = typer.Typer(
    cls=_ErrorBoundary,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
)


class _Warnings(logging.Handler):
    """Shows what the library warns of on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.WARNING:
            echo(_readable(f"warning: {record.getMessage()}"), err=True)


def _readable(text: str) -> str:
    """A message without what could steer the terminal, and short enough to read, whatever a file put into it."""
    lines = ["".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in text.split("\n")]
    shown = [line if len(line) <= 1000 else f"{line[:1000]}..." for line in lines[:MOST_LINES]]
    return "\n".join(shown + ([f"... and {len(lines) - MOST_LINES} more lines"] if len(lines) > MOST_LINES else []))


def _debug(ctx: typer.Context, value: bool) -> None:
    ctx.find_root().obj = value


def _quiet(ctx: typer.Context, value: bool) -> bool:
    if value:
        from forecast.storage import watch_reading

        ctx.with_resource(watch_reading(None))
    return value


def _version(value: bool) -> None:
    if value:
        echo(f"forecast {forecast.__version__}")
        raise typer.Exit


def _baseline(name: str | None) -> str | None:
    """There is such a baseline, said before hours are spent."""
    if name is not None:
        from forecast.errors import did_you_mean
        from forecast.evaluation import BASELINES

        if name not in BASELINES:
            raise RunError(f"--fail-if-worse-than: there is no baseline `{name}`.", did_you_mean(name, BASELINES))
    return name


ConfigFile = Annotated[Path, typer.Argument(help="YAML file, such as configs/airline.yaml.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(help="Run directory, such as runs/airline-1.", show_default=False)]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the config.")]
Debug = Annotated[bool, typer.Option("--debug", callback=_debug, help="Show the traceback of an error.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
RunDir = Annotated[
    Path | None,
    typer.Option("--run-dir", "-o", help="Where to write. [default: the next free folder of runs/]", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what a former call wrote there.")]
FailIfWorse = Annotated[
    str | None,
    typer.Option(
        metavar="BASELINE",
        callback=_baseline,
        help="Exit with 3 if the network is worse than it, such as seasonal_naive.",
        show_default=False,
    ),
]
FolderDir = Annotated[
    Path | None,
    typer.Option("--run-dir", "-o", help="Where to write, or go on. [default: runs/, named after the file]", show_default=False),
]
NumberOfWorkers = Annotated[int, typer.Option("--workers", min=1, help="Processes that share the cores; on Ray, all cores work.")]
Engine = Annotated[str, typer.Option(metavar="local|ray", help="Where runs are computed.")]
Address = Annotated[str | None, typer.Option(help="Of a Ray cluster, such as 10.0.0.1:6379 or auto.", show_default=False)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", callback=_quiet, help="Print no progress and no tables.")]


@app.callback()
def _forecast(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """Forecast time series with recurrent networks, and see whether they beat the obvious.

    Start with:  forecast init sales.csv
    """
    from forecast.cli.progress import reading

    logging.getLogger("forecast").handlers = [_Warnings()]
    ctx.with_resource(reading())


@app.command()
def init(
    data: Annotated[Path, typer.Argument(help="CSV or Parquet file.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="YAML to write. [default: DATA.yaml]", show_default=False)
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column to forecast. [default: the first numeric one]", show_default=False)
    ] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="Steps to forecast. [default: a season]", show_default=False)] = None,
    force: Force = False,
    debug: Debug = False,
) -> None:
    """Look at a data file and write a commented config that trains as it is.

    Example:  forecast init sales.csv -o sales.yaml --target revenue --horizon 14
    """

    path = forecast.init(data, output, target, horizon, force)
    echo(f"Wrote {path}; its comments say what was chosen and why.\nNext: forecast train {path}")


@app.command()
def validate(config: ConfigFile, override: Overrides = None, as_json: Json = False, debug: Debug = False) -> None:
    """Check a config and its data, without training.

    Example:  forecast validate configs/airline.yaml
    """
    from dataclasses import asdict

    from forecast.config import parse_overrides

    findings = forecast.validate(config, parse_overrides(override or []))
    failed = any(finding.level == "error" for finding in findings)
    if as_json:
        echo(json.dumps({"valid": not failed, "findings": [asdict(finding) for finding in findings]}))
    else:
        for finding in findings:
            mark = {"ok": "✔", "warning": "⚠", "error": "✘"}[finding.level]
            remedy = f"\n      {finding.remedy}" if finding.remedy else ""
            echo(f"{mark} {finding.subject:<8} {finding.text}{remedy}")
    if failed:
        raise typer.Exit(1)
    if not as_json and not any(finding.subject == "training" for finding in findings):
        echo(f"\nNext: forecast train {config}")


@app.command()
def train(
    config: Annotated[
        Path | None, typer.Argument(help="YAML file, such as configs/airline.yaml; not with --resume.", show_default=False)
    ] = None,
    run_dir: RunDir = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a training that was cut short.", show_default=False)
    ] = None,
    force: Force = False,
    override: Overrides = None,
    fail_if_worse_than: FailIfWorse = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the network of a config and compare it with the baselines.

    Example:  forecast train configs/airline.yaml --set training.epochs=20
    """
    from forecast.config import load_config, parse_overrides

    if (config is None) == (resume is None):
        raise typer.BadParameter("Name a config, or --resume RUN, and not both.")
    if resume and (run_dir or force):
        raise typer.BadParameter("--resume goes on in the run's own directory, without --run-dir and --force.")
    if resume:
        from forecast.runs import Run

        config = Run.open_unfinished(resume).config
    resolved = load_config(config, parse_overrides(override or []))
    from forecast.cli.output import trained
    from forecast.cli.progress import progress

    with progress(quiet) as on_progress:
        run = forecast.train(resolved, run_dir, force, on_progress, resume=resume)
    _tell(run, trained, quiet, as_json, fail_if_worse_than)


@app.command()
def report(run: RunFolder, quiet: Quiet = False, debug: Debug = False) -> None:
    """Write one page that explains a run: forecasts, errors, training, data, and what is wrong.

    Example:  forecast report runs/airline-1
    """

    path = forecast.report(run)
    echo(str(path) if quiet else f"Wrote {path}; it opens in any browser, without a network.")


@app.command()
def diagnose(run: RunFolder, as_json: Json = False, debug: Debug = False) -> None:
    """Say what is wrong with the training of a run, with the figures that say so and what to change.

    Example:  forecast diagnose runs/airline-1
    """
    from dataclasses import asdict

    from forecast.cli.output import diagnosed
    from forecast.evaluation import HEALTHY, remark
    from forecast.runs import Run, read_evidence

    found = forecast.diagnose(run)
    if as_json:
        echo(json.dumps([asdict(one) for one in found]))
        return
    for line in diagnosed(found):
        echo(line)
    if not found:
        echo(f"✔ {HEALTHY}")
    if Run(run).finished and (sentence := remark(read_evidence(Run(run)))):
        echo(f"· {sentence}")


@app.command()
def predict(
    run: RunFolder,
    data: Annotated[
        Path | None, typer.Option(help="Newer rows, with the columns of the training data.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="CSV to write. [default: in the run, forecast.csv or forecast-DATA.csv]", show_default=False
        ),
    ] = None,
    runtime: Annotated[
        str, typer.Option(help="What computes the network: numpy, or keras, which takes seconds to start.")
    ] = "numpy",
    future: Annotated[
        Path | None, typer.Option(help="Known covariates of the steps to forecast; see forecast plan.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps to forecast. [default: the horizon of the run]", show_default=False)
    ] = None,
    new_series: Annotated[
        bool, typer.Option("--new-series", help="Forecast series of --data that the run does not know, too.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Forecast the steps after the last row of the data.

    Example:  forecast predict runs/airline-1 --data new.csv
    """
    from forecast.cli.output import forecast_rows
    from forecast.runs import Run

    opened = Run.open(run)
    path = output or opened.forecast_of(data)
    _check_output(path, opened, data)
    table = forecast.predict(opened, data, runtime, new_series, future, steps)
    opened.write_table(path, table)
    if as_json:
        echo(json.dumps({"file": str(path), "forecast": _records(table)}))
    elif not quiet:
        shown = table.head(12)
        echo(forecast_rows(shown))
        if len(table) > len(shown):
            echo(f"... {len(table) - len(shown)} more rows")
    if not as_json:
        echo(str(path) if quiet else f"\nWrote {path}")


def _records(table: pd.DataFrame) -> list[dict]:
    """A table's rows as JSON knows them."""
    return json.loads(table.to_json(orient="records", date_format="iso", double_precision=15))


def _rows(group: RunGroup, path: Path) -> list[dict]:
    """Return the rows of a table that a group of runs holds."""
    return _records(group.read_table(path, {}, optional={"run": str}))


def _check_output(path: Path, run: Run, data: Path | None) -> None:
    """The forecast replaces no data, no file of the run but its forecasts, and nothing that is not a file."""
    target = Path(os.path.realpath(path))
    if data and target == Path(os.path.realpath(data)):
        raise RunError("--output would replace --data.", "Choose another file.", str(path))
    if target.parent == Path(os.path.realpath(run.directory)) and path != run.forecast_of(data):
        raise RunError("--output would lie among the files of the run.", "Choose another folder.", str(path))
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError("--output is not a file.", "Choose another name.", str(path))


@app.command()
def plan(
    run: RunFolder,
    data: Annotated[Path | None, typer.Option(help="Newer rows, as for predict.", show_default=False)] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps to forecast. [default: the horizon of the run]", show_default=False)
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="CSV to write, with the cells to fill.")] = Path("future.csv"),
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say from when to when each column is needed to forecast, and write the rows of the future to fill in.

    Example:  forecast plan runs/sales-1 -o future.csv
    """

    needs = forecast.plan(run, data, output, steps)
    if as_json:
        echo(json.dumps([{**vars(need), "first": str(need.first), "last": str(need.last)} for need in needs]))
        return
    command = f"forecast predict {run}" + (f" --data {data}" if data else "") + (f" --steps {steps}" if steps else "")
    for need in needs:
        missing = f" (may be missing: {need.missing})" if need.missing else ""
        echo(f"{need.column:<24} {need.role:<16} {need.first} to {need.last}{missing}")
    if any(need.role == "known covariate" for need in needs):
        echo(f"\nWrote {output}. Fill it in and run: {command} --future {output}")
    else:
        echo(f"\nNo future values are needed. Next: {command}")


@app.command()
def backtest(
    source: Annotated[Path, typer.Argument(metavar="CONFIG|RUN", help="YAML file or run directory.", show_default=False)],
    folds: Annotated[
        int | None, typer.Option(min=1, help="How often to put it to the test. [config: 5]", show_default=False)
    ] = None,
    stride: Annotated[
        str | None, typer.Option(help="Cutoffs of each fold. [config: the test part's, divided]", show_default=False)
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(help="When to train anew: never, every, or every so many folds. [config: every]", show_default=False),
    ] = None,
    run_dir: RunDir = None,
    force: Force = False,
    override: Overrides = None,
    fail_if_worse_than: FailIfWorse = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train as if it were the past, forecast what came next, move on, and again.

    Example:  forecast backtest configs/airline.yaml --folds 5 --stride 12
    """
    from forecast.config import parse_overrides

    chosen = {"backtest.folds": folds, "backtest.stride": stride, "backtest.refit": refit}
    own = [f"{key}={value}" for key, value in chosen.items() if value is not None]
    overrides = parse_overrides([*own, *(override or [])])
    from forecast.cli.output import backtested
    from forecast.cli.progress import progress

    with progress(quiet) as on_progress:
        run = forecast.backtest(source, run_dir, force, overrides, on_progress)
    _tell(run, backtested, quiet, as_json, fail_if_worse_than)


def _tell(
    run: Run, lines: Callable[[Run, Any], Iterable[str]], quiet: bool, as_json: bool, fail_if_worse_than: str | None
) -> None:
    """Print the metrics of a run as asked for, and exit with 3 where it is worse than it may be."""
    from forecast.evaluation import is_worse_than
    from forecast.runs import read_metrics

    metrics = read_metrics(run)
    _show(run, metrics.to_json, lines(run, metrics), quiet, as_json)
    if fail_if_worse_than and is_worse_than(metrics, fail_if_worse_than):
        echo(f"The network is worse than {fail_if_worse_than} (--fail-if-worse-than).", err=True)
        raise typer.Exit(3)


def _show(run: RunDirectory, document: Callable[[], dict], lines: Iterable[str], quiet: bool, as_json: bool) -> None:
    """Print what a command made: one JSON document, the directory alone, or lines for people."""
    if as_json:
        echo(json.dumps({"run": str(run.directory), **document()}))
    elif quiet:
        echo(str(run.directory))
    else:
        shown: list[str] = []
        with log_and_continue("showing the result", "Please report it."):  # The result itself is on disk.
            shown.extend(lines)
        for line in shown:
            echo(line)


@contextlib.contextmanager
def _resumable() -> Iterator[None]:
    """Ctrl-C ends a command that can be called again."""
    try:
        yield
    except KeyboardInterrupt:
        echo("Interrupted. Run the same command again to continue.", err=True)
        raise typer.Exit(130) from None


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs or backtests.", show_default=False)],
    sort: Annotated[str, typer.Option(help="Metric to rank by.")] = "mae",
    plot: Annotated[Path | None, typer.Option(help="PNG to draw.", show_default=False)] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Rank runs that were scored on the same, and say whether the best is more than lucky.

    Example:  forecast compare runs/airline-1 runs/airline-2 --sort rmse
    """
    from forecast.cli.output import compared

    table = forecast.compare(runs, sort, plot)
    if as_json:
        echo(json.dumps(_records(table)))
    else:
        for line in compared(table):
            echo(line)


@app.command()
def experiment(
    source: Annotated[
        Path, typer.Argument(metavar="EXPERIMENT", help="YAML file with base, grid, cases, seeds.", show_default=False)
    ],
    workers: NumberOfWorkers = 1,
    engine: Engine = "local",
    address: Address = None,
    run_dir: FolderDir = None,
    force: Force = False,
    override: Overrides = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train every combination of what is varied, and rank the runs. Called again, it goes on where it was interrupted.

    Example:  forecast experiment configs/experiments/cells.yaml --workers 2
    """
    from forecast.config import parse_overrides

    overrides = parse_overrides(override or [])
    from forecast.cli.output import experimented
    from forecast.cli.progress import print_finished
    from forecast.search.workers import Workers

    shown = None if quiet else print_finished
    with _resumable():
        folder = forecast.experiment(source, run_dir, force, overrides, Workers(workers, engine, address), shown)
    _show(folder, lambda: {"leaderboard": _rows(folder, folder.leaderboard)}, experimented(folder), quiet, as_json)


@app.command()
def tune(
    config: ConfigFile,
    trials: Annotated[int | None, typer.Option(min=1, help="Of the whole study. [config: 30]", show_default=False)] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="When to stop, such as 90s, 10m or 2h.", show_default=False)
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL", help="Journal or database that several processes share.", show_default=False),
    ] = None,
    workers: NumberOfWorkers = 1,
    engine: Engine = "local",
    address: Address = None,
    run_dir: FolderDir = None,
    force: Force = False,
    override: Overrides = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Search for better values of a config, and train the best. Called again, it goes on where it was interrupted.

    Example:  forecast tune configs/airline.yaml --budget 10m --workers 2
    """
    from forecast.config import parse_overrides

    chosen = {"tuning.trials": trials, "tuning.budget": budget}
    overrides = {key: value for key, value in chosen.items() if value is not None} | parse_overrides(override or [])
    from forecast.cli.output import tuned
    from forecast.cli.progress import print_finished
    from forecast.search.workers import Workers

    shown = None if quiet else print_finished
    with _resumable():
        folder = forecast.tune(config, run_dir, force, overrides, Workers(workers, engine, address), storage, shown)
    document = {"best": str(folder.best)}
    _show(folder, lambda: document | {"trials": _rows(folder, folder.trials)}, tuned(folder), quiet, as_json)


@app.command()
def update(
    run: RunFolder,
    data: Annotated[Path, typer.Argument(help="Newer rows, or all rows.", show_default=False)],
    intervals_only: Annotated[bool, typer.Option("--intervals-only", help="Leave the network as it is.")] = False,
    run_dir: RunDir = None,
    even_if_worse: Annotated[
        bool, typer.Option("--even-if-worse", help="Take the new run though the old one forecasts the newest rows better.")
    ] = False,
    force: Force = False,
    override: Overrides = None,
    fail_if_worse_than: FailIfWorse = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Go on with newer rows: a new run, trained further from the weights of this one, if it is no worse.

    Example:  forecast update runs/airline-1 new.csv
    """
    from forecast.config import parse_overrides

    overrides = parse_overrides(override or [])
    from forecast.cli.output import trained
    from forecast.cli.progress import progress

    with progress(quiet) as on_progress:
        new = forecast.update(run, data, run_dir, force, intervals_only, even_if_worse, overrides, on_progress)
    _tell(new, trained, quiet, as_json, fail_if_worse_than)


@app.command()
def reproduce(
    run: RunFolder,
    data: Annotated[
        Path | None, typer.Option(help="Where the run's data are now. [default: where its config says]", show_default=False)
    ] = None,
    run_dir: Annotated[
        Path | None,
        typer.Option("--run-dir", "-o", help="Keep the second training here. [default: it is removed]", show_default=False),
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Relative difference up to which numbers are the same.")] = 1e-3,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a run again and compare: data, windows, initial weights, every epoch, metrics. Exits with 1 if they differ.

    Example:  forecast reproduce runs/airline-1
    """
    from dataclasses import asdict

    from forecast.cli.output import reproduced
    from forecast.cli.progress import progress
    from forecast.commands.reproduce import verdict_of

    with progress(quiet) as on_progress:
        stages = forecast.reproduce(run, data, run_dir, tolerance, on_progress)
    verdict = verdict_of(stages)
    if as_json:
        echo(json.dumps({"verdict": verdict, "stages": [asdict(stage) for stage in stages]}))
    else:
        for line in [verdict] if quiet else reproduced(stages, verdict):
            echo(line)
    if verdict == "differs":
        raise typer.Exit(1)


@app.command()
def detect(
    run: RunFolder,
    data: Annotated[Path | None, typer.Option(help="Newer rows. [default: the test part]", show_default=False)] = None,
    level: Annotated[
        float | None, typer.Option(help="Of the interval, in percent. [default: the widest]", show_default=False)
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find points outside the interval in which the run expected them one step ahead.

    Example:  forecast detect runs/airline-1 --data new.csv
    """
    from forecast.cli.output import forecast_rows

    found = forecast.detect(run, data, level)
    if as_json:
        anomalies = _records(found.anomalies)
        echo(json.dumps({"file": str(found.file), "points": found.points, "anomalies": anomalies}))
        return
    if len(found.anomalies):
        worst = found.anomalies.nlargest(12, "score").sort_values("timestamp")
        echo(forecast_rows(worst) + "\n")
    share = len(found.anomalies) / max(1, found.points)
    echo(f"{len(found.anomalies)} of {found.points} points ({share:.1%}) lie outside; {found.expected:.0%} are expected to.")
    echo(f"Wrote {found.file} and {found.plot}")


@app.command()
def check_leaks(config: ConfigFile, override: Overrides = None, as_json: Json = False, debug: Debug = False) -> None:
    """Change the data after several cutoffs and check that nothing before them moves.

    Example:  forecast check-leaks configs/airline.yaml
    """
    from forecast.config import load_config, parse_overrides
    from forecast.evaluation import UNSEEN, Certificate
    from forecast.runs import Run

    path = Run(config).config if config.is_dir() else config
    checks = forecast.check_leaks(load_config(path, parse_overrides(override or [])))
    if as_json:
        echo(json.dumps(Certificate.of(checks).to_json()))
    else:
        for made in checks:
            mark = "⚠" if made.doubtful else "✔" if made.passed else "✘"
            echo(f"{mark} {made.cutoff:<26} {made.what} {made.found}")
        if any(made.what.startswith("covariate") for made in checks):
            echo(f"\n{UNSEEN}")
    if not all(made.passed for made in checks):
        raise typer.Exit(1)
    if not as_json:
        echo(f"\nNo leak found. Next: forecast train {config}")


@app.command()
def export(
    run: RunFolder,
    to: Annotated[str, typer.Option(metavar="onnx|keras|saved_model|litert", help="The format.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write. [default: exports/TO in the run]", show_default=False),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a run in another program's format, with scaling inside, and check that it forecasts the same.

    Example:  forecast export runs/airline-1 --to onnx
    """
    from dataclasses import asdict

    made = forecast.export(run, to, output, None if quiet or as_json else lambda stage: echo(f"{stage} ...", err=True))
    if as_json:
        echo(json.dumps({**asdict(made), "directory": str(made.directory)}))
    elif quiet:
        echo(str(made.directory))
    else:
        echo(f"Wrote {made.directory}/; its README.md says how to run it.")
        echo(
            f"Checked on {made.windows} windows: its forecasts differ from the run's by at most {made.difference:.2g},"
            f" {made.difference_scaled:.0e} of the largest."
        )


@app.command()
def config(
    config: ConfigFile,
    diff: Annotated[bool, typer.Option("--diff", help="Only what differs from the defaults.")] = False,
    override: Overrides = None,
    debug: Debug = False,
) -> None:
    """Print a config with every default written out.

    Example:  forecast config configs/airline.yaml --diff
    """
    from forecast.config import format_yaml_line, load_config, non_default_values, parse_overrides

    loaded = load_config(config, parse_overrides(override or []))
    text = (
        "".join(f"{key}: {format_yaml_line(value)}\n" for key, value in non_default_values(loaded).items())
        if diff
        else loaded.to_yaml()
    )
    echo(text, end="")


@app.command()
def schema(debug: Debug = False) -> None:
    """Print the JSON Schema of a config, for completion in editors.

    Example:  forecast schema > config.schema.json
    """

    echo(json.dumps(forecast.schema(), indent=2))


def main() -> None:
    """Entry point of the `forecast` command."""
    prepare_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends it so wants what Ctrl-C does
    try:
        app()
    except OutputError as error:
        echo(f"error: {error}", err=True)
        sys.exit(1)
