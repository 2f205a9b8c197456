"""The command line: thin commands, each of which calls the public function of the same name."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import typer

import forecast
from forecast.cli import options as opt
from forecast.cli.boundary import ErrorBoundary, WarningHandler
from forecast.cli.progress import progress, reading, search_progress
from forecast.cli.results import locate_output, open_in_browser, print_result, print_scores
from forecast.cli.streams import OutputError, echo, prepare_streams

app = typer.Typer(
    cls=ErrorBoundary,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
)


def command(heading: str, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a command to the app under a heading of its help, with --debug and the options of its groups."""
    return lambda function: app.command(name, rich_help_panel=heading)(opt.expand_groups(function))


@app.callback()
def _forecast(ctx: typer.Context, version: opt.Version = False) -> None:
    """Train recurrent networks to forecast time series, and compare them with simple baselines.

    Start with:  forecast init sales.csv
    """
    logging.getLogger("forecast").handlers = [WarningHandler()]
    ctx.with_resource(reading())


@command("Start")
def quick(data: opt.DataFile, options: opt.InitOptions, printing: opt.PrintOptions, open_page: opt.Open = False) -> None:
    """Write a config for a data file and train a network with it. Combines init --quick, train and report.

    Example:  forecast quick sales.csv --open
    """
    path = options.write_config(data, "quick")
    if not printing.quiet:
        echo(f"Wrote {path}.", err=True)
    with progress(printing.quiet) as on_progress:
        run = forecast.train(path, on_progress=on_progress)
    print_scores(run, printing, open_page=open_page)


@command("Start")
def init(data: opt.DataFile, options: opt.InitOptions, quick: opt.Quick = False, thorough: opt.Thorough = False) -> None:
    """Write a commented config for a data file. It is ready for training.

    Example:  forecast init sales.csv -o sales.yaml --target revenue --horizon 14
    """
    if quick and thorough:
        raise typer.BadParameter("--quick and --thorough cannot be combined. Use one of them.")
    path = options.write_config(data, "quick" if quick else "thorough" if thorough else "usual")
    echo(f"Wrote {path}. Its comments explain each choice.\nNext: forecast train {path}")


@command("Start")
def validate(config: opt.ConfigFile, options: opt.ConfigOptions, as_json: opt.Json = False) -> None:
    """Check a config and its data without training.

    Example:  forecast validate configs/airline.yaml
    """
    from forecast.cli.output import describe_findings

    findings = forecast.validate(config, options.overrides)
    failed = any(finding.level == "error" for finding in findings)
    print_result(as_json, {"valid": not failed, "findings": findings}, describe_findings(findings, config))
    if failed:
        raise typer.Exit(1)


@command("Start")
def train(
    options: opt.TrainingOptions,
    printing: opt.PrintOptions,
    config: opt.OptionalConfigFile = None,
    resume: opt.Resume = None,
    open_page: opt.Open = False,
) -> None:
    """Train a network, and compare it with simple baselines.

    Example:  forecast train configs/airline.yaml --set training.epochs=20
    """
    from forecast.config import load_config

    if resume and (options.run_dir or options.force):
        raise typer.BadParameter("--resume continues in the directory of the run. Leave out --run-dir and --force.")
    if bool(resume) == bool(config):
        raise typer.BadParameter("Specify either a config or --resume RUN.")
    if resume:
        from forecast.runs import Run  # It loads pandas.

        config = Run.open_unfinished(resume).config
    assert config  # Either of the two is given.
    loaded = load_config(config, options.overrides)
    with progress(printing.quiet) as on_progress:
        if resume:
            run = forecast.resume_training(resume, loaded, on_progress)
        else:
            run = forecast.train(loaded, options.run_dir, options.force, on_progress)
    print_scores(run, printing, options.fail_if_worse_than, open_page)


@command("Start")
def predict(
    run: opt.RunFolder,
    source: opt.ForecastOptions,
    printing: opt.PrintOptions,
    future: opt.Future = None,
    new_series: opt.NewSeries = False,
    output: opt.ForecastOutput = None,
    runtime: opt.Runtime = "numpy",
) -> None:
    """Forecast the steps after the end of the data.

    Example:  forecast predict runs/airline-1 --data new.csv
    """
    from forecast.cli.output import describe_forecast
    from forecast.commands.predict import store_forecast
    from forecast.runs import Run

    opened = Run.open(run)
    path = locate_output(opened, output, source.data)
    table = forecast.predict(opened, source.data, runtime, new_series, future, source.steps)
    store_forecast(opened, path, table)
    lines = [str(path)] if printing.quiet else describe_forecast(table, path)
    print_result(printing.as_json, {"file": path, "forecast": table}, lines)


@command("Trust")
def report(run: opt.RunFolder, quiet: opt.Quiet = False, open_page: opt.Open = False) -> None:
    """Write an HTML report of a run. It shows forecasts, errors, training, data and problems.

    Example:  forecast report runs/airline-1
    """
    path = forecast.report(run)
    echo(str(path) if quiet else f"Wrote {path}. It opens in any browser and works offline.")
    if open_page:
        open_in_browser(path)


@command("Trust")
def show(run: opt.RunFolder, as_json: opt.Json = False, open_page: opt.Open = False) -> None:
    """Show a run: its state, verdict, errors and settings.

    Example:  forecast show runs/airline-1
    """
    from forecast.cli.output import describe_summary

    summary = forecast.show(run)
    metrics = summary.metrics.to_json() if summary.metrics else None
    status = {"state": summary.status.state, "why": summary.status.why}
    document = {"run": summary.run.directory, **status, "settings": summary.settings, "metrics": metrics}
    print_result(as_json, document, describe_summary(summary))
    if open_page:
        open_in_browser(summary.run.report)


@command("Trust")
def diagnose(run: opt.RunFolder, as_json: opt.Json = False) -> None:
    """Find problems in the training of a run. Each comes with evidence and a remedy.

    Example:  forecast diagnose runs/airline-1
    """
    from forecast.cli.output import describe_diagnosis

    problems = forecast.diagnose(run)
    print_result(as_json, problems, describe_diagnosis(run, problems))


@command("Trust")
def backtest(
    source: opt.ConfigOrRun,
    options: opt.TrainingOptions,
    printing: opt.PrintOptions,
    folds: opt.Folds = None,
    stride: opt.Stride = None,
    refit: opt.Refit = None,
) -> None:
    """Forecast from several points in the past. Each fold trains a network and scores its forecasts.

    Example:  forecast backtest configs/airline.yaml --folds 5 --stride 12
    """
    settings = [f"backtest.{key}={value}" for key, value in {"folds": folds, "stride": stride, "refit": refit}.items() if value]
    overrides = opt.ConfigOptions(settings).overrides | options.overrides
    with progress(printing.quiet) as on_progress:
        run = forecast.backtest(source, options.run_dir, options.force, overrides, on_progress)
    print_scores(run, printing, options.fail_if_worse_than)


@command("Trust")
def compare(runs: opt.RunFolders, sort: opt.Sort = "mae", plot: opt.Plot = None, as_json: opt.Json = False) -> None:
    """Rank runs scored on the same windows. A test shows whether the lead of the best run is statistically significant.

    Example:  forecast compare runs/airline-1 runs/airline-2 --sort rmse
    """
    from forecast.cli.output import describe_comparison

    table = forecast.compare(runs, sort, plot)
    print_result(as_json, table, describe_comparison(table))


@command("Trust")
def check_leaks(config: opt.ConfigOrRun, options: opt.ConfigOptions, as_json: opt.Json = False) -> None:
    """Check a config for data leakage. Changing data after a cutoff must not change anything computed from earlier data.

    Example:  forecast check-leaks configs/airline.yaml
    """
    from forecast.cli.output import describe_leak_checks
    from forecast.config import load_config
    from forecast.evaluation import Certificate
    from forecast.runs import Run

    path = Run(config).config if config.is_dir() else config
    checks = forecast.check_leaks(load_config(path, options.overrides))
    certificate = Certificate.of(checks)
    print_result(as_json, certificate.to_json(), describe_leak_checks(certificate, config))
    if not all(check.passed for check in checks):
        raise typer.Exit(1)


@command("Improve")
def experiment(source: opt.ExperimentFile, options: opt.SearchOptions, printing: opt.PrintOptions) -> None:
    """Train every combination in an experiment, and rank the runs. To resume, repeat the command.

    Example:  forecast experiment configs/experiments/cells.yaml --workers 2
    """
    from forecast.cli.output import describe_experiment

    with search_progress(printing.quiet) as on_finished:
        group = forecast.experiment(source, options.run_dir, options.force, options.overrides, options.workers, on_finished)
    document = {"run": group.directory, "leaderboard": group.read_table(group.leaderboard, {}, optional={"run": str})}
    print_result(printing.as_json, document, [str(group.directory)] if printing.quiet else describe_experiment(group))


@command("Improve")
def tune(
    config: opt.ConfigFile,
    options: opt.SearchOptions,
    printing: opt.PrintOptions,
    trials: opt.Trials = None,
    budget: opt.Budget = None,
    storage: opt.Storage = None,
) -> None:
    """Search for better settings of a config. Then train a run with the best settings. To resume, repeat the command.

    Example:  forecast tune configs/airline.yaml --budget 10m --workers 2
    """
    from forecast.cli.output import describe_search

    settings = {"tuning.trials": trials, "tuning.budget": budget}
    overrides = {key: value for key, value in settings.items() if value is not None} | options.overrides
    with search_progress(printing.quiet) as on_finished:
        group = forecast.tune(config, options.run_dir, options.force, overrides, options.workers, storage, on_finished)
    document = {"run": group.directory, "best": group.best, "trials": group.read_table(group.trials, {}, optional={"run": str})}
    print_result(printing.as_json, document, [str(group.directory)] if printing.quiet else describe_search(group))


@command("Improve")
def update(
    run: opt.RunFolder,
    data: opt.UpdateFile,
    options: opt.TrainingOptions,
    printing: opt.PrintOptions,
    intervals_only: opt.IntervalsOnly = False,
    even_if_worse: opt.EvenIfWorse = False,
) -> None:
    """Continue the training of a run on newer rows. The new run fails if it forecasts worse than the old one.

    Example:  forecast update runs/airline-1 new.csv
    """
    with progress(printing.quiet) as on_progress:
        changes = forecast.UpdateOptions(options.overrides, intervals_only, even_if_worse)
        updated = forecast.update(run, data, options.run_dir, options.force, changes, on_progress)
    print_scores(updated, printing, options.fail_if_worse_than)


@command("Operate")
def plan(
    run: opt.RunFolder, source: opt.ForecastOptions, output: opt.PlanOutput = Path("future.csv"), as_json: opt.Json = False
) -> None:
    """List the data that a forecast needs. Also write a template for the known covariates.

    Example:  forecast plan runs/sales-1 -o future.csv
    """
    from forecast.cli.output import describe_needs

    needs = forecast.plan(run, source.data, output, source.steps)
    data = f" --data {source.data}" if source.data else ""
    next_command = f"forecast predict {run}{data}" + (f" --steps {source.steps}" if source.steps else "")
    print_result(as_json, needs, describe_needs(needs, output, next_command))


@command("Operate")
def detect(run: opt.RunFolder, data: opt.TestedData = None, level: opt.Level = None, as_json: opt.Json = False) -> None:
    """Find values outside the prediction interval. Each value is forecast one step ahead.

    Example:  forecast detect runs/airline-1 --data new.csv
    """
    from forecast.cli.output import describe_anomalies

    result = forecast.detect(run, data, level)
    document = {"file": result.file, "points": result.points, "anomalies": result.anomalies}
    print_result(as_json, document, describe_anomalies(result))


@command("Operate")
def export(run: opt.RunFolder, printing: opt.PrintOptions, to: opt.Format, output: opt.ExportOutput = None) -> None:
    """Export a run's network to another format. The export includes the scaling and is checked against the run.

    Example:  forecast export runs/airline-1 --to onnx
    """
    from forecast.cli.output import describe_export

    on_stage = None if printing.quiet or printing.as_json else lambda stage: echo(f"{stage} ...", err=True)
    result = forecast.export(run, to, output, on_stage)
    print_result(printing.as_json, result, [str(result.directory)] if printing.quiet else describe_export(result))


@command("Operate")
def reproduce(
    run: opt.RunFolder,
    printing: opt.PrintOptions,
    data: opt.OriginalData = None,
    run_dir: opt.SecondRunDir = None,
    tolerance: opt.Tolerance = 1e-3,
) -> None:
    """Train a run again and compare the results. Exits with code 1 if they differ.

    Example:  forecast reproduce runs/airline-1
    """
    from forecast.cli.output import describe_reproduction
    from forecast.commands.reproduce import verdict_of

    with progress(printing.quiet) as on_progress:
        stages = forecast.reproduce(run, data, run_dir, tolerance, on_progress)
    verdict = verdict_of(stages)
    lines = [verdict] if printing.quiet else describe_reproduction(stages, verdict)
    print_result(printing.as_json, {"verdict": verdict, "stages": stages}, lines)
    if verdict == "differs":
        raise typer.Exit(1)


@command("Operate", "runs")
def list_runs(
    folder: opt.RunsFolder = Path("runs"),
    sort: opt.SortRuns = None,
    filter: opt.Filter = "",
    html: opt.Html = None,
    as_json: opt.Json = False,
    open_page: opt.Open = False,
) -> None:
    """List the runs of a folder, the newest first, with their errors on the test set.

    Example:  forecast runs --sort mase --filter sales
    """
    from forecast.cli.output import describe_runs

    page = html or (folder / "index.html" if open_page else None)
    table = forecast.list_runs(folder, sort, filter, page)
    print_result(as_json, table, describe_runs(table, folder, page))
    if open_page and page:
        open_in_browser(page)


@command("Operate")
def doctor(as_json: opt.Json = False) -> None:
    """Check the installation: versions, devices, threads, extras and the disk.

    Example:  forecast doctor
    """
    from forecast.cli.output import describe_checkup

    findings = forecast.doctor()
    print_result(as_json, findings, describe_checkup(findings))
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


@command("Config")
def config(config: opt.ConfigFile, options: opt.ConfigOptions, diff: opt.Diff = False) -> None:
    """Print a config with all defaults filled in.

    Example:  forecast config configs/airline.yaml --diff
    """
    from forecast.config import format_yaml_line, load_config, non_default_values

    loaded = load_config(config, options.overrides)
    changed = (f"{key}: {format_yaml_line(value)}\n" for key, value in non_default_values(loaded).items())
    echo("".join(changed) if diff else loaded.to_yaml(), end="")


@command("Config")
def schema() -> None:
    """Print the JSON Schema of a config. Editors use it to complete keys.

    Example:  forecast schema > config.schema.json
    """
    echo(json.dumps(forecast.schema(), indent=2))


def main() -> None:
    """Run the `forecast` command."""
    prepare_streams()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Handle a request to terminate like Ctrl-C.
    try:
        app(prog_name="forecast")
    except OutputError as error:
        echo(f"error: {error}", err=True)
        raise SystemExit(1) from None
