"""The command line: thin commands, each of which calls the public function of the same name."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

import forecast
from forecast.cli import options as opt
from forecast.cli.boundary import ErrorBoundary, WarningHandler
from forecast.cli.results import print_json, print_lines, print_result, print_scores, read_records, to_records
from forecast.cli.streams import OutputError, echo, prepare_streams
from forecast.errors import RunError

if TYPE_CHECKING:
    from forecast.runs import Run

MAX_FORECAST_ROWS = 12  # Rows of a forecast that `predict` prints.
MAX_ANOMALIES = 12  # Anomalies that `detect` prints, the largest.

app = typer.Typer(
    cls=ErrorBoundary,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Add a command to the app, with --debug and the options of its groups."""
    return app.command()(opt.expand_groups(function))


@app.callback()
def _forecast(ctx: typer.Context, version: opt.Version = False) -> None:
    """Forecast time series with recurrent networks, and compare them with simple baselines.

    Start with:  forecast init sales.csv
    """
    from forecast.cli.progress import reading

    logging.getLogger("forecast").handlers = [WarningHandler()]
    ctx.with_resource(reading())


@command
def init(
    data: opt.DataFile,
    output: opt.ConfigOutput = None,
    target: opt.Target = None,
    horizon: opt.Horizon = None,
    force: opt.Force = False,
) -> None:
    """Inspect a data file and write a commented config that trains without changes.

    Example:  forecast init sales.csv -o sales.yaml --target revenue --horizon 14
    """
    path = forecast.init(data, output, target, horizon, force)
    echo(f"Wrote {path}. Its comments explain each choice.\nNext: forecast train {path}")


@command
def validate(config: opt.ConfigFile, override: opt.Override = None, as_json: opt.Json = False) -> None:
    """Check a config and its data, without training.

    Example:  forecast validate configs/airline.yaml
    """
    findings = forecast.validate(config, opt.parse_overrides(override))
    failed = any(finding.level == "error" for finding in findings)
    if as_json:
        print_json({"valid": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            mark = {"ok": "✔", "warning": "⚠", "error": "✘"}[finding.level]
            remedy = f"\n      {finding.remedy}" if finding.remedy else ""
            echo(f"{mark} {finding.subject:<8} {finding.text}{remedy}")
    if failed:
        raise typer.Exit(1)
    if not as_json and not any(finding.subject == "training" for finding in findings):
        echo(f"\nNext: forecast train {config}")


@command
def train(
    options: opt.TrainingOptions, printing: opt.PrintOptions, config: opt.OptionalConfigFile = None, resume: opt.Resume = None
) -> None:
    """Train the network of a config and compare it with the baselines.

    Example:  forecast train configs/airline.yaml --set training.epochs=20
    """
    from forecast.config import load_config

    if resume:
        if config:
            raise typer.BadParameter("Name a config, or --resume RUN, and not both.")
        if options.run_dir or options.force:
            raise typer.BadParameter("--resume continues in the run's own directory. Leave out --run-dir and --force.")
        from forecast.runs import Run

        config = Run.open_unfinished(resume).config
    if not config:
        raise typer.BadParameter("Name a config, or --resume RUN.")
    loaded = load_config(config, options.overrides)
    from forecast.cli.output import describe_training
    from forecast.cli.progress import progress

    with progress(printing.quiet) as on_progress:
        if resume:
            run = forecast.resume_training(resume, loaded, on_progress)
        else:
            run = forecast.train(loaded, options.run_dir, options.force, on_progress)
    print_scores(run, describe_training, printing, options.fail_if_worse_than)


@command
def report(run: opt.RunFolder, quiet: opt.Quiet = False) -> None:
    """Write one page that explains a run: forecasts, errors, training, data, and problems.

    Example:  forecast report runs/airline-1
    """
    path = forecast.report(run)
    echo(str(path) if quiet else f"Wrote {path}. It opens in any browser, without a network connection.")


@command
def diagnose(run: opt.RunFolder, as_json: opt.Json = False) -> None:
    """Find problems of a training. Each comes with its evidence and a remedy.

    Example:  forecast diagnose runs/airline-1
    """
    from forecast.cli.output import describe_problems
    from forecast.evaluation import HEALTHY, remark
    from forecast.runs import Run, read_evidence

    problems = forecast.diagnose(run)
    if as_json:
        print_json([asdict(problem) for problem in problems])
        return
    print_lines(describe_problems(problems))
    if not problems:
        echo(f"✔ {HEALTHY}")
    if Run(run).finished and (sentence := remark(read_evidence(Run(run)))):
        echo(f"· {sentence}")


@command
def predict(
    run: opt.RunFolder,
    source: opt.ForecastOptions,
    printing: opt.PrintOptions,
    future: opt.Future = None,
    new_series: opt.NewSeries = False,
    output: opt.ForecastOutput = None,
    runtime: opt.Runtime = "numpy",
) -> None:
    """Forecast the steps after the last row of the data.

    Example:  forecast predict runs/airline-1 --data new.csv
    """
    from forecast.cli.output import format_forecast
    from forecast.runs import Run

    opened = Run.open(run)
    path = output or opened.locate_forecast(source.data)
    _check_output(path, opened, source.data)
    table = forecast.predict(opened, source.data, runtime, new_series, future, source.steps)
    opened.write_table(path, table)
    if printing.as_json:
        print_json({"file": str(path), "forecast": to_records(table)})
        return
    if printing.quiet:
        echo(str(path))
        return
    echo(format_forecast(table.head(MAX_FORECAST_ROWS)))
    if len(table) > MAX_FORECAST_ROWS:
        echo(f"... {len(table) - MAX_FORECAST_ROWS} more rows")
    echo(f"\nWrote {path}")


def _check_output(path: Path, run: Run, data: Path | None) -> None:
    """Refuse to replace the data, a file of the run other than a forecast, or something that is not a file.

    Raises:
        RunError: the forecast would do so.
    """
    target = Path(os.path.realpath(path))
    if data and target == Path(os.path.realpath(data)):
        raise RunError("--output would replace --data.", "Choose another file.", str(path))
    if target.parent == Path(os.path.realpath(run.directory)) and path != run.locate_forecast(data):
        raise RunError("--output would lie among the files of the run.", "Choose another folder.", str(path))
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError("--output is not a file.", "Choose another name.", str(path))


@command
def plan(
    run: opt.RunFolder,
    source: opt.ForecastOptions,
    output: opt.PlanOutput = Path("future.csv"),
    as_json: opt.Json = False,
) -> None:
    """List which rows of each column a forecast needs, and write the future rows to fill in.

    Example:  forecast plan runs/sales-1 -o future.csv
    """
    needs = forecast.plan(run, source.data, output, source.steps)
    if as_json:
        print_json([{**vars(need), "first": str(need.first), "last": str(need.last)} for need in needs])
        return
    for need in needs:
        missing = f" (may be missing: {need.missing})" if need.missing else ""
        echo(f"{need.column:<24} {need.role:<16} {need.first} to {need.last}{missing}")
    data = f" --data {source.data}" if source.data else ""
    next_command = f"forecast predict {run}{data}" + (f" --steps {source.steps}" if source.steps else "")
    if any(need.role == "known covariate" for need in needs):
        echo(f"\nWrote {output}. Fill it in and run: {next_command} --future {output}")
    else:
        echo(f"\nNo future values are needed. Next: {next_command}")


@command
def backtest(
    source: opt.ConfigOrRun,
    options: opt.TrainingOptions,
    printing: opt.PrintOptions,
    folds: opt.Folds = None,
    stride: opt.Stride = None,
    refit: opt.Refit = None,
) -> None:
    """Train and forecast at several points in the past, and compare the forecasts with what followed.

    Example:  forecast backtest configs/airline.yaml --folds 5 --stride 12
    """
    settings = {"backtest.folds": folds, "backtest.stride": stride, "backtest.refit": refit}
    shortcuts = [f"{key}={value}" for key, value in settings.items() if value is not None]
    overrides = opt.parse_overrides([*shortcuts, *(options.override or [])])
    from forecast.cli.output import describe_backtest
    from forecast.cli.progress import progress

    with progress(printing.quiet) as on_progress:
        run = forecast.backtest(source, options.run_dir, options.force, overrides, on_progress)
    print_scores(run, describe_backtest, printing, options.fail_if_worse_than)


@command
def compare(runs: opt.RunFolders, sort: opt.Sort = "mae", plot: opt.Plot = None, as_json: opt.Json = False) -> None:
    """Rank runs that were scored on the same windows. Tests whether the lead of the best is statistically significant.

    Example:  forecast compare runs/airline-1 runs/airline-2 --sort rmse
    """
    from forecast.cli.output import describe_comparison

    table = forecast.compare(runs, sort, plot)
    if as_json:
        print_json(to_records(table))
    else:
        print_lines(describe_comparison(table))


@contextlib.contextmanager
def _say_how_to_continue() -> Iterator[None]:
    """Answer Ctrl-C during a command that continues when it is called again."""
    try:
        yield
    except KeyboardInterrupt:
        echo("Interrupted. Run the same command again to continue.", err=True)
        raise typer.Exit(130) from None


@command
def experiment(source: opt.ExperimentFile, options: opt.SearchOptions, printing: opt.PrintOptions) -> None:
    """Train every combination of an experiment, and rank the runs. Call it again to continue after an interruption.

    Example:  forecast experiment configs/experiments/cells.yaml --workers 2
    """
    overrides = options.overrides
    from forecast.cli.output import describe_experiment
    from forecast.cli.progress import print_finished

    on_finished = None if printing.quiet else print_finished
    with _say_how_to_continue():
        group = forecast.experiment(source, options.run_dir, options.force, overrides, options.workers, on_finished)
    print_result(group, lambda: {"leaderboard": read_records(group, group.leaderboard)}, describe_experiment(group), printing)


@command
def tune(
    config: opt.ConfigFile,
    options: opt.SearchOptions,
    printing: opt.PrintOptions,
    trials: opt.Trials = None,
    budget: opt.Budget = None,
    storage: opt.Storage = None,
) -> None:
    """Search for better settings of a config, and train the best. Call it again to continue after an interruption.

    Example:  forecast tune configs/airline.yaml --budget 10m --workers 2
    """
    settings = {"tuning.trials": trials, "tuning.budget": budget}
    overrides = {key: value for key, value in settings.items() if value is not None} | options.overrides
    from forecast.cli.output import describe_search
    from forecast.cli.progress import print_finished

    on_finished = None if printing.quiet else print_finished
    with _say_how_to_continue():
        group = forecast.tune(config, options.run_dir, options.force, overrides, options.workers, storage, on_finished)
    print_result(
        group,
        lambda: {"best": str(group.best), "trials": read_records(group, group.trials)},
        describe_search(group),
        printing,
    )


@command
def update(
    run: opt.RunFolder,
    data: opt.UpdateFile,
    options: opt.TrainingOptions,
    printing: opt.PrintOptions,
    intervals_only: opt.IntervalsOnly = False,
    even_if_worse: opt.EvenIfWorse = False,
) -> None:
    """Continue the training of a run on newer rows. The result is a new run, refused if it is worse.

    Example:  forecast update runs/airline-1 new.csv
    """
    overrides = options.overrides
    from forecast.cli.output import describe_training
    from forecast.cli.progress import progress

    with progress(printing.quiet) as on_progress:
        changes = forecast.UpdateOptions(overrides, intervals_only, even_if_worse)
        updated = forecast.update(run, data, options.run_dir, options.force, changes, on_progress)
    print_scores(updated, describe_training, printing, options.fail_if_worse_than)


@command
def reproduce(
    run: opt.RunFolder,
    printing: opt.PrintOptions,
    data: opt.OriginalData = None,
    run_dir: opt.SecondRunDir = None,
    tolerance: opt.Tolerance = 1e-3,
) -> None:
    """Train a run again and compare data, windows, initial weights, epochs and metrics. Exits with 1 if they differ.

    Example:  forecast reproduce runs/airline-1
    """
    from forecast.cli.output import describe_reproduction
    from forecast.cli.progress import progress
    from forecast.commands.reproduce import verdict_of

    with progress(printing.quiet) as on_progress:
        stages = forecast.reproduce(run, data, run_dir, tolerance, on_progress)
    verdict = verdict_of(stages)
    if printing.as_json:
        print_json({"verdict": verdict, "stages": [asdict(stage) for stage in stages]})
    else:
        print_lines([verdict] if printing.quiet else describe_reproduction(stages, verdict))
    if verdict == "differs":
        raise typer.Exit(1)


@command
def detect(run: opt.RunFolder, data: opt.TestedData = None, level: opt.Level = None, as_json: opt.Json = False) -> None:
    """Find points outside the prediction interval one step ahead.

    Example:  forecast detect runs/airline-1 --data new.csv
    """
    from forecast.cli.output import format_forecast

    result = forecast.detect(run, data, level)
    if as_json:
        print_json({"file": str(result.file), "points": result.points, "anomalies": to_records(result.anomalies)})
        return
    count = len(result.anomalies)
    if count:
        echo(format_forecast(result.anomalies.nlargest(MAX_ANOMALIES, "score").sort_values("timestamp")) + "\n")
    share = count / max(1, result.points)
    echo(f"{count} of {result.points} points ({share:.1%}) lie outside. The interval should miss {result.expected:.0%}.")
    echo(f"Wrote {result.file} and {result.plot}")


@command
def check_leaks(config: opt.ConfigFile, override: opt.Override = None, as_json: opt.Json = False) -> None:
    """Change the data after several cutoffs and check that nothing before the cutoffs changes.

    Example:  forecast check-leaks configs/airline.yaml
    """
    overrides = opt.parse_overrides(override)
    from forecast.config import load_config
    from forecast.evaluation import UNSEEN, Certificate
    from forecast.runs import Run

    path = Run(config).config if config.is_dir() else config
    checks = forecast.check_leaks(load_config(path, overrides))
    if as_json:
        print_json(Certificate.of(checks).to_json())
    else:
        for check in checks:
            mark = "⚠" if check.doubtful else "✔" if check.passed else "✘"
            echo(f"{mark} {check.cutoff:<26} {check.subject} {check.result}")
        if any(check.subject.startswith("covariate") for check in checks):
            echo(f"\n{UNSEEN}")
    if not all(check.passed for check in checks):
        raise typer.Exit(1)
    if not as_json:
        echo(f"\nNo leak found. Next: forecast train {config}")


@command
def export(run: opt.RunFolder, printing: opt.PrintOptions, to: opt.Format, output: opt.ExportOutput = None) -> None:
    """Write the network of a run in another format, with scaling inside, and check that it forecasts the same.

    Example:  forecast export runs/airline-1 --to onnx
    """
    on_stage = None if printing.quiet or printing.as_json else lambda stage: echo(f"{stage} ...", err=True)
    result = forecast.export(run, to, output, on_stage)
    if printing.as_json:
        print_json({**asdict(result), "directory": str(result.directory)})
    elif printing.quiet:
        echo(str(result.directory))
    else:
        echo(f"Wrote {result.directory}/. Its README.md says how to run it.")
        echo(
            f"Checked on {result.windows} windows: its forecasts differ from the run's by at most {result.difference:.2g},"
            f" {result.difference_scaled:.0e} of the largest."
        )


@command
def config(config: opt.ConfigFile, diff: opt.Diff = False, override: opt.Override = None) -> None:
    """Print a config with all defaults.

    Example:  forecast config configs/airline.yaml --diff
    """
    from forecast.config import format_yaml_line, load_config, non_default_values

    loaded = load_config(config, opt.parse_overrides(override))
    if diff:
        print_lines(f"{key}: {format_yaml_line(value)}" for key, value in non_default_values(loaded).items())
    else:
        echo(loaded.to_yaml(), end="")


@command
def schema() -> None:
    """Print the JSON Schema of a config, for completion in editors.

    Example:  forecast schema > config.schema.json
    """
    echo(json.dumps(forecast.schema(), indent=2))


def main() -> None:
    """Run the `forecast` command."""
    prepare_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # A request to end is answered like Ctrl-C.
    try:
        app()
    except OutputError as error:
        echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
