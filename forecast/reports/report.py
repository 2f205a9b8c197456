"""`report`: write one page that explains a run, works offline and can be emailed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from forecast.config import Config, format_yaml_line, non_default_values
from forecast.data import describe_repairs
from forecast.errors import check_installed
from forecast.evaluation import (
    HEALTHY,
    MODEL,
    TrainingMetrics,
    column_of,
    describe_combination,
    describe_coverage,
    describe_fit,
    find_problems,
    method_of,
    remark,
    split_by_seed,
    warn_of_few_windows,
)
from forecast.reports.cards import describe_rank, describe_size, make_cards
from forecast.reports.charts import (
    MAX_BANDS,
    chart_error_per_step,
    chart_forecast,
    chart_gradients,
    chart_learning_curve,
    chart_regions,
    chart_residuals,
)
from forecast.reports.page import EXPLANATIONS, Cards, Element, Items, Section, Table, Text, render_page
from forecast.reports.result import TrainingResult, read_result
from forecast.reports.selection import pairs_of_quantiles, panels_of, select_panel
from forecast.runs import SUBSET, Run

MAX_SERIES = 2000
FACTS = ("path", "sha256", "rows", "series", "freq", "first_timestamp", "last_timestamp")  # Fields of `Contract`.
INTERVALS = (
    "The forecast has {} intervals. The width of conformal intervals is based on the errors on the validation set. Adaptive"
    " intervals also become wider or narrower after each actual value."
)
COLLAPSED = {"Training", "Importance", "Residuals", "Leak checks", "Reproduction"}  # Sections for experts.
MAX_CUTOFFS = 5  # Cutoffs with the largest errors.


def report(run: Run | str | Path) -> Path:
    """Write `report.html` into a run or backtest: diagnosis, forecasts, errors, training, residuals, data, reproduction.

    Raises:
        RunError: there is no run here, or it did not finish, is damaged, or cannot be written to.
    """
    check_installed("A report", ["scipy", "jinja2"])
    return write_report(read_result(run if isinstance(run, Run) else Run.open_scored(run)))


def write_report(result: TrainingResult) -> Path:
    """Write the page of a result into its run, and return its path."""
    run, metrics = result.run, result.metrics
    config = run.read_config()
    targets, series = ", ".join(config.data.target), result.contract.series
    facts = f"{Path(result.contract.path).name}: {targets}. Horizon: {config.windows.horizon}. Series: {series}."
    sentences = [describe_size(metrics), metrics.advice, warn_of_few_windows(metrics)]
    summary: list[Element] = [
        Text(facts, "note"),
        Text(describe_rank(metrics), "verdict"),
        Cards(list(make_cards(metrics, method_of(config)))),
        Text(" ".join(sentence for sentence in sentences if sentence).replace("`", "")),
        Text(metrics.verdict, "note"),
    ]
    sections = {
        "Forecast": _show_forecasts(result),
        "Errors": _show_errors(result, config),
        "Diagnosis": _diagnose(result),
        "Training": _show_training(result, config.model.linear_skip),
        "Importance": _show_importance(result),
        "Residuals": chart_residuals(result.predictions),
        "Data": _describe_data(result),
        "Leak checks": _show_leak_checks(result),
        "Reproduction": _show_how_to_reproduce(result, config),
    }
    elements = {heading: list(section) for heading, section in sections.items()}
    shown = [Section(heading, section, heading in COLLAPSED) for heading, section in elements.items() if section]
    run.write_text(run.report, render_page(run.name, "forecast", summary, shown))
    return run.report


def _diagnose(result: TrainingResult) -> Iterator[Element]:
    if not result.evidence:
        return
    if problems := find_problems(result.evidence):
        yield Items([(problem.name.capitalize(), f"{problem.evidence} {problem.remedy}") for problem in problems])
    else:
        yield Text(HEALTHY)
    if sentence := remark(result.evidence):
        yield Text(sentence)


def _show_forecasts(result: TrainingResult) -> Iterator[Element]:
    """Yield the test set and the future of some series."""
    predictions, future, actual = result.predictions, result.forecast, result.actual
    freq = None if result.contract.timezone else result.contract.freq
    if len(predictions):
        yield Text("In a chart: drag to zoom, double-click to show all. Keys: + and - zoom, arrows move, 0 shows all.", "note")
    for number, (series_id, target) in enumerate(panels_of(predictions)):
        tested, ahead = (
            select_panel(predictions[:0] if table is None else table, series_id, target) for table in (predictions, future)
        )
        history = pd.DataFrame({"actual": [], "subset": []}, index=pd.DatetimeIndex([]))
        if actual is not None:  # A backtest stores no rows.
            history = actual[actual.series_id == series_id].set_index("timestamp")
            history = history[[target, SUBSET]].set_axis(["actual", "subset"], axis=1)
        title = f"{series_id}: {target}"
        fitted = None
        if result.fitted is not None:
            fitted = select_panel(result.fitted, series_id, target).drop_duplicates("timestamp").set_index("timestamp").fitted
        yield chart_forecast(f"forecast-{number}", title, tested, ahead, history, freq, fitted)
        if len(ahead):
            quantiles = [column_of(end) for pair in pairs_of_quantiles(ahead) for end in pair]
            columns = ["timestamp", MODEL, *sorted(quantiles)[: 2 * MAX_BANDS]]
            bounds = "; ".join(
                f"{column_of(low)} and {column_of(high)} are the bounds of the {100 * (high - low):.4g}% interval"
                for low, high in pairs_of_quantiles(ahead[columns])
            )
            yield Table(ahead[columns], f"{title}: forecast of the next steps. {bounds}.", f"future-{number}")


def _show_errors(result: TrainingResult, config: Config) -> Iterator[Element]:
    test, per_series, folds = result.metrics.test, result.per_series, result.folds
    labels = test.labels
    totals = pd.DataFrame([vars(test.of(name).total) for name in labels], index=pd.Index(labels.values(), name="forecaster"))
    scores = (
        totals[["mae", "rmse", "mase", "wape", "bias"]]
        .rename(columns=str.upper)
        .rename(columns={"BIAS": "bias"})
        .sort_values("MAE")
        .reset_index()
    )
    scores["WAPE"] = scores.WAPE.map("{:.1%}".format, na_action="ignore")
    yield Table(scores, f"Test set: {test.windows} windows, used only for scoring.")
    yield Items([(name, EXPLANATIONS[name]) for name in scores.columns if name in EXPLANATIONS])
    if isinstance(result.metrics, TrainingMetrics):
        combination = result.metrics.combination
        sentences = [describe_combination(combination) if combination else "", describe_fit(result.metrics)]
        yield from [Text(sentence) for sentence in sentences if sentence]
    yield from map(Text, describe_coverage(result.metrics))
    if test.intervals:
        yield Text(INTERVALS.format(method_of(config)), "note")
    if folds is not None:
        yield Table(_label(folds, labels), "Mean absolute error of each fold.")
    yield chart_error_per_step(test)
    worst = result.cutoffs.nlargest(MAX_CUTOFFS, f"mae_{MODEL}")[["cutoff", *(f"mae_{name}" for name in labels)]]
    yield Table(_label(worst, labels), "Mean absolute error after the cutoffs with the largest errors.")
    if len(per_series) <= 1:
        return
    caption = f"Mean absolute error of each of {len(per_series)} series."
    if len(per_series) > MAX_SERIES:
        caption = f"Mean absolute error of the {MAX_SERIES} of {len(per_series)} series that are worst relative to naive."
        per_series = per_series.iloc[(per_series[f"mae_{MODEL}"] / per_series.mae_naive).argsort()[::-1][:MAX_SERIES]]
    yield Table(_label(per_series, labels), caption, "series")


def _label(errors: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of errors with the names of forecasters that people read."""
    return errors.rename(columns={f"mae_{name}": label for name, label in labels.items()} | {"series_id": "series"})


def _show_training(result: TrainingResult, linear_skip: bool) -> Iterator[Element]:
    evidence = result.evidence
    if evidence and evidence.history is not None:
        for seed, curve in split_by_seed(evidence.history):
            yield chart_learning_curve(curve, evidence.metrics.kept_epochs[seed], seed)
    if result.gradients:
        yield chart_gradients(result.gradients, linear_skip)


def _show_importance(result: TrainingResult) -> Iterator[Element]:
    if not result.importance:
        return
    yield chart_regions(result.importance.regions)
    rises = pd.Series(result.importance.columns).sort_values(ascending=False).map("{:+z.1%}".format)
    caption = "Increase in the error when a column takes its values from other windows, measured on"
    caption += f" {result.importance.windows} windows of the validation set."
    yield Table(rises.rename_axis("column").rename("error").reset_index(), caption)


def _describe_data(result: TrainingResult) -> Iterator[Element]:
    contract = result.contract
    facts = {name.replace("_", " "): getattr(contract, name) for name in FACTS}
    if contract.repairs:
        facts["rows after repairs"] = facts.pop("rows")
    facts |= {f"{subset} windows": counts.windows for subset, counts in contract.parts.items()}
    yield Table(pd.DataFrame({"fact": facts.keys(), "value": map(str, facts.values())}), "Data file.")
    columns = pd.DataFrame([{"column": name, **vars(column)} for name, column in contract.columns.items()])
    columns["filled"] = columns.filled.map("{:.1%}".format)
    yield Table(columns, "Columns. Filled is the share of cells that were missing and filled in.")
    repairs = describe_repairs(contract.repairs)
    yield Text("Repairs:" if repairs else "Nothing was repaired.")
    if repairs:
        yield Items([("", repair) for repair in repairs])


def _show_leak_checks(result: TrainingResult) -> Iterator[Element]:
    if not result.certificate:
        return
    passed = "No leaks were found: when all values after a cutoff were changed, nothing before it changed."
    yield Text(passed if result.certificate.passed else "LEAK: something before a cutoff depends on values after it.")
    caption = "No check can tell when the values of a covariate became known."
    yield Table(pd.DataFrame(check.model_dump(by_alias=False) for check in result.certificate.checks), caption)


def _show_how_to_reproduce(result: TrainingResult, config: Config) -> Iterator[Element]:
    run, settings, environment = result.run, _format_settings(config), result.environment
    if result.parent:
        parent = Run(result.parent.run)
        yield Text(f"This run continues {parent.directory}.")
        if parent.config.is_file():  # The parent may be gone.
            before = _format_settings(parent.read_config())
            rows = [(key, before.get(key, "(default)"), settings.get(key, "(default)")) for key in before | settings]
            changed = pd.DataFrame([row for row in rows if row[1] != row[2]], columns=["key", "that run", "this run"])
            yield Table(changed, "Settings that differ from that run.")
    table = pd.DataFrame(settings.items(), columns=["key", "value"])
    yield Table(table, "Settings that differ from the defaults. config.yaml contains all keys.")
    folder = run.directory.with_name(run.name)  # An experiment's run has another name while it trains.
    name, config_path = (shlex.quote(str(path)) for path in (folder, folder / run.config.name))
    commands = [f"forecast reproduce {name}", f"forecast predict {name}", f"forecast train {config_path}"]
    commands = [f"forecast backtest {config_path}"] if result.folds is not None else commands[: 2 if result.parent else 3]
    yield Text("\n".join(commands), "code")
    versions = ", ".join(f"{package} {version}" for package, version in environment.packages.items())
    yield Text(f"forecast {environment.forecast}, Python {environment.python}, {versions}", "note")
    yield Text(f"{environment.platform}; {environment.cpu}", "note")
    if environment.seconds:
        spent = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in environment.seconds.items())
        yield Text(f"Seconds: {spent}", "note")


def _format_settings(config: Config) -> dict[str, str]:
    """Return the keys of a config that are not at their default, with values as YAML writes them."""
    return {key: format_yaml_line(value) for key, value in non_default_values(config).items()}
