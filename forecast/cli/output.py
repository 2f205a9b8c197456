"""Describe the result of a command in lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forecast.cli.streams import render_lines
from forecast.commands.diagnose import diagnose
from forecast.config import format_yaml_line
from forecast.errors import log_and_continue
from forecast.evaluation import (
    ALPHA,
    HEALTHY,
    UNSEEN,
    Certificate,
    Diagnosis,
    Errors,
    Metrics,
    TrainingMetrics,
    describe_combination,
    describe_coverage,
    describe_fit,
    format_number,
    remark,
    warn_of_few_windows,
)
from forecast.reports import format_timestamp, spread_of
from forecast.runs import Environment, ParentRecord, Run, RunGroup, read_evidence, read_folds

if TYPE_CHECKING:
    import pandas as pd

    from forecast.commands.detect import Detected
    from forecast.commands.export import Export
    from forecast.commands.plan import Need
    from forecast.commands.reproduce import Stage
    from forecast.commands.show import Summary
    from forecast.commands.validate import Finding

MAX_FORECAST_ROWS = 12  # Rows of a forecast that are shown.
MAX_ANOMALIES = 12  # Anomalies that are shown, the largest.
MAX_RUNS = 10  # Runs of an experiment, or trials of a search, that are shown.
METRICS = ("mae", "rmse", "mase", "wape", "bias")
STYLES = {
    "mase": "{:.3f}",
    "wape": "{:.1%}",
    "worse_by": "{:z.1%}",
    "gain": "{:z.1%}",
    "p_value": "{:.2g}",
    "parameters": "{:.0f}",
    "seconds": "{:.1f}",
}
STYLES |= {"validation_mase": "{:.3f}", "test_mase": "{:.3f}", "skill_seasonal_naive": "{:z.0%}"}
MARKS = {"ok": "✔", "warning": "⚠", "error": "✘"}
Row = Sequence[str]


def describe_training(run: Run, metrics: TrainingMetrics) -> Iterator[str]:
    """Yield the verdict, the errors of network and baselines on the test set, problems, and the next command."""
    yield f"\n{run.name}: {metrics.verdict}"
    yield from _describe_scores(metrics, "test set")
    for name, cost in metrics.missing_known.items():
        network = metrics.test.network or metrics.test.forecast
        errors = f"MAE is {format_number(cost.mae)} instead of {format_number(network.total.mae)}"
        yield f"If `{name}` is missing over the horizon and is replaced ({cost.policy}), the {errors}."
    problems: list[Diagnosis] = []
    traceback = f"Please report it with the traceback. To show it: forecast diagnose {run.directory} --debug"
    with log_and_continue("diagnosing the training", traceback):
        problems = diagnose(run)
    yield from describe_problems(problems)
    record = run.read(run.parent, ParentRecord) if run.parent.exists() else None
    if record and record.before and record.after:  # Scored on windows on which neither run was trained.
        change = f"was {format_number(record.before.mae)} and is now {format_number(record.after.mae)}"
        yield f"Continues {record.run}: MAE on the {record.windows} newest windows {change}."
    stages = run.read(run.environment, Environment).seconds
    yield "\nSeconds: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items())
    epochs = ", ".join(map(str, metrics.kept_epochs.values()))
    refit = " and refitted them on the newest rows" if run.scored.exists() else ""
    content = "Forecast, predictions, metrics" if run.forecast_file.exists() else "Predictions, metrics"
    noun = "epoch" if len(metrics.kept_epochs) == 1 else "epochs"
    yield f"Kept the weights of {noun} {epochs}{refit}. {content} and plots: {run.directory}/"
    if run.report.exists():
        yield f"HTML report: {run.report}"
    if any(comparison.outcome == "loses to" for comparison in metrics.compared.values()):
        yield f"Next: forecast diagnose {run.directory}, or forecast tune {run.config}"
    else:
        command = "predict" if run.forecast_file.exists() else "plan"  # Known covariates over the horizon are missing.
        yield f"Next: forecast {command} {run.directory}"


def describe_problems(problems: Sequence[Diagnosis]) -> Iterator[str]:
    """Yield the problems of a training, with evidence and remedy."""
    for problem in problems:
        yield f"⚠ {problem.name}: {problem.evidence}\n  {problem.remedy}"


def describe_diagnosis(directory: Path, problems: Sequence[Diagnosis]) -> Iterator[str]:
    """Yield the problems of a training, or that there are none, and a remark."""
    yield from describe_problems(problems) if problems else [f"✔ {HEALTHY}"]
    if (run := Run(directory)).finished and (sentence := remark(read_evidence(run))):
        yield f"· {sentence}"


def describe_summary(summary: Summary) -> Iterator[str]:
    """Yield the state of a run, its verdict and errors, and the settings that differ from the defaults."""
    run, metrics = summary.run, summary.metrics
    yield f"{run.name}: {metrics.verdict if metrics else f'a {summary.status.kind} run that {summary.state}.'}"
    if metrics:
        yield from _describe_scores(metrics, "all folds" if summary.status.kind == "backtest" else "test set")
    yield "\nSettings that differ from the defaults:"
    settings = [("", ""), *((f"  {key}", format_yaml_line(value)) for key, value in summary.settings.items())]
    yield from list(_align(settings, left=2))[1:]
    if metrics is None:
        can_resume = summary.status.kind == "training" and summary.state in ("was interrupted", "was killed")
        resume = f" To resume: forecast train --resume {run.directory}" if can_resume else ""
        yield f"\n{summary.status.why or f'Log: {run.log}.'}{resume}"
    elif run.report.exists():
        yield f"\nHTML report: {run.report}"


def describe_runs(table: pd.DataFrame, folder: Path, page: Path | None) -> Iterator[str]:
    """Yield a row for each run, the page that compares them, and how to see more of one."""
    if page:
        yield f"Wrote {page}"
    if table.empty:
        yield f"No run in {folder} matches. To train one: forecast train CONFIG"
        return
    titles = ["run", "kind", "state", "last change", "data", "MAE", "MASE", "best baseline", "gain"]
    columns = ["run", "kind", "state", "at", "data", "mae", "mase", "best_baseline", "gain"]
    rows = [[_format_cell(name, row[name]) for name in columns] for row in table.to_dict("records")]
    yield from _align([titles, *rows], left=5)
    for row in table[table.state == "damaged"].to_dict("records"):
        yield f"✘ {row['run']}: {row['why']}"
    yield "\nGain: how much smaller the error on the test set is than that of the best baseline."
    yield "Next: forecast show RUN"


def describe_checkup(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield each finding about the installation."""
    yield from map(_describe_finding, findings)


def _describe_finding(finding: Finding) -> str:
    remedy = f"\n      {finding.remedy}" if finding.remedy else ""
    return f"{MARKS[finding.level]} {finding.subject:<9} {finding.text}{remedy}"


def describe_backtest(run: Run, metrics: Metrics) -> Iterator[str]:
    """Yield the verdict, a row for each fold, and the errors of network and baselines over all folds."""
    yield f"\n{run.name}: {metrics.verdict}\n"
    errors = [f"mae_{name}" for name in ("forecast", "seasonal_naive", "linear")]
    folds = read_folds(run)[["fold", "trained_until", "first_cutoff", "last_cutoff", "windows", *errors]]
    titles = ["fold", "trained until", "cutoffs from", "to", "windows", "MAE", "seasonal naive", "linear"]
    yield from _align([titles, *([_format_cell("mae", value) for value in row] for row in folds.to_numpy())], left=4)
    yield from _describe_scores(metrics, "all folds")
    yield f"\n{run.seconds:.1f} seconds. Folds, steps, series, predictions and plots: {run.directory}/"


def _describe_scores(metrics: Metrics, title: str) -> Iterator[str]:
    """Yield the errors of network and baselines, the coverage of the intervals, and advice."""
    scores = metrics.test
    rows: list[Row] = [(f"{title}, {scores.windows} windows", "MAE", "RMSE", "MASE", "WAPE", "bias")]
    labels, rank = scores.labels, {}
    for name, label in labels.items():
        label += f" ({metrics.season_length})" if name == "seasonal_naive" else ""
        rank[len(rows)] = scores.of(name).total.mae
        rows.append((label, *_format_errors(scores.of(name).total)))
        if scores.members and name == ("network" if scores.network else "forecast"):
            rows += _describe_members(scores.members)
    yield from ["", *_align(rows, best=min(rank, key=lambda row: rank[row]))]
    if len(scores.forecast.per_target) > 1:
        rows = [("MAE by target", *labels.values())]
        for target in scores.forecast.per_target:
            rows.append((target, *(format_number(scores.of(name).per_target[target].mae) for name in labels)))
        yield from ["", *_align(rows)]
    if sentences := describe_coverage(metrics):
        yield from ["", *sentences]
    if isinstance(metrics, TrainingMetrics):
        if metrics.combination:
            yield f"\n{describe_combination(metrics.combination)}"
        if sentence := describe_fit(metrics):
            yield f"\n{sentence}"
    if advice := [sentence for sentence in (metrics.advice, warn_of_few_windows(metrics)) if sentence]:
        yield "\n" + " ".join(advice)


def _describe_members(members: list[Errors]) -> Iterator[Row]:
    """Yield the lowest and the highest errors of the networks of different seeds."""
    columns = {name: [value for member in members if (value := getattr(member, name)) is not None] for name in METRICS}
    for label, select in (("lowest", min), ("highest", max)):
        extremes = {name: select(values, default=None) for name, values in columns.items()}
        yield f"  {label} of {len(members)} seeds", *_format_errors(members[0].model_copy(update=extremes))


def _format_errors(errors: Errors) -> list[str]:
    return [_format_cell(name, getattr(errors, name)) for name in METRICS]


def _format_cell(name: str, value: Any, spread: float = 0.0) -> str:
    """Format a value of a column, with a dash for one that is undefined."""
    if value is None or value != value:
        return "-"
    if not isinstance(value, float):
        return format_timestamp(value)  # Or a text or a count, which stay as they are.
    if name == "bias":
        text = format_number(value, digits=3)
        return text if text.startswith("-") else f"+{text}"
    return STYLES[name].format(value) if name in STYLES else format_number(value, spread)


def _align(rows: Sequence[Row], left: int = 1, best: int | None = None) -> Iterator[str]:
    """Yield the lines of a table, the first `left` columns aligned left and the others right.

    On a terminal, the first row is bold, and row `best` green.
    """
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for number in range(len(rows[0])):
        table.add_column(justify="left" if number < left else "right", overflow="fold")
    for number, row in enumerate(rows):
        table.add_row(*row, style="bold" if number == 0 else "green" if number == best else None)
    yield from render_lines(table)


def describe_reproduction(stages: Sequence[Stage], verdict: str) -> Iterator[str]:
    """Yield a line for each stage, and the verdict."""
    marks = {"equal": "✔", "within tolerance": "✔", "differs": "✘", "not recorded": "·"}
    for stage in stages:
        mark = "⚠" if stage.name == "versions" and stage.detail else marks[stage.verdict]
        yield f"{mark} {stage.name:<16} {stage.verdict:<17} {stage.detail}".rstrip()
    recorded = " that was recorded" if any(stage.verdict == "not recorded" for stage in stages) else ""
    first = next((stage.name for stage in stages if stage.verdict == "differs" and stage.name != "versions"), None)
    yield {
        "equal": f"\nReproduced: everything{recorded} is bitwise equal.",
        "within tolerance": "\nReproduced within the tolerance.",
        "differs": f"\nNot reproduced: the first stage that differs is {first}.",
        "not recorded": "\nNot compared: this run recorded too little.",
    }[verdict]


def describe_experiment(group: RunGroup) -> Iterator[str]:
    """Yield the best runs, those that failed, and the next command."""
    table = group.read_table(group.leaderboard, {"run": str, "state": str})
    finished, failed = (table[table.state == state] for state in ("finished", "failed"))
    titles = ["", "run", "validation MAE", "MASE", "test MAE", "MASE", "beats seasonal naive by"]
    columns = ["run", "validation_mae", "validation_mase", "test_mae", "test_mase", "skill_seasonal_naive"]
    best = finished[columns].head(MAX_RUNS).to_dict("records")
    rows = [[str(rank), *(_format_cell(name, row[name]) for name in columns)] for rank, row in enumerate(best, 1)]
    yield from ["", *_align([titles, *rows], left=2)]
    if len(finished) > MAX_RUNS:
        yield f"... {len(finished) - MAX_RUNS} more runs"
    for run, why in zip(failed.run, failed.why, strict=True):
        yield f"✘ {run} failed: {why}"
    yield f"\nRanked by the error on the validation set. Leaderboard and page: {group.leaderboard}, {group.report}"
    if len(finished):
        yield f"Next: forecast train {group.best}"


def describe_search(group: RunGroup) -> Iterator[str]:
    """Yield the best trials, the verdict of the best on the test set, and the next command."""
    table = group.read_table(group.trials, {"state": str, "error": float})
    best_trials = table.dropna(subset="error").sort_values("error", kind="stable").head(MAX_RUNS)
    yield "\n" + best_trials.drop(columns=["state", "why"]).to_string(index=False, float_format=format_number)
    states = table.state.value_counts()
    yield f"\n{len(table)} trials: " + ", ".join(f"{count} {state}" for state, count in states.items())
    best = Run(group.runs / "best")
    yield f"{best.directory}: {best.metrics.verdict}"
    yield f"\nRanked by the error on the validation set. Trials, page and plots: {group.directory}/"
    yield f"Next: forecast predict {best.directory}, or forecast train {group.best}"


def describe_comparison(table: pd.DataFrame) -> Iterator[str]:
    """Yield the leaderboard, and the keys in which the configs of the runs differ."""
    columns = list(table.columns)
    keys = columns[columns.index("seconds") + 1 : columns.index("worse_by")]
    spreads = {"mae": spread_of(table.mae), "rmse": spread_of(table.rmse)}
    shown = ["run", "mae", "rmse", "mase", "worse_by", "p_value", "parameters", "seconds"]
    rows: list[Row] = [["", "run", "MAE", "RMSE", "MASE", "error above the first", "p", "parameters", "seconds"]]
    details = [""]
    for rank, row in enumerate(table.to_dict("records"), 1):
        cells = {name: _format_cell(name, row[name], spreads.get(name, 0.0)) for name in shown}
        if row["low"] == row["low"] and row["low"] is not None:
            cells["worse_by"] += f" ({100 * row['low']:z.0f}..{100 * row['high']:z.0f})"
        rows.append([str(rank), *(cells[name] for name in shown)])
        details.append(", ".join(f"{key}: {row[key]}" for key in keys))
    for line, detail in zip(_align(rows, left=2), details, strict=True):
        yield line + (f"\n   {detail}" if detail else "")
    p_values = table.p_value.iloc[1:].dropna()
    if len(p_values) and p_values.iloc[0] >= ALPHA:
        yield f"\nThe difference between the first two runs is not statistically significant: p is {ALPHA:g} or more."
    elif len(table) > 1 and not len(p_values):
        yield "\nThere are too few cutoffs for a significance test. To get more, run forecast backtest with --stride."


def describe_forecast(table: pd.DataFrame, path: Path) -> Iterator[str]:
    """Yield the first rows of a forecast, and its file."""
    yield _format_forecast(table.head(MAX_FORECAST_ROWS))
    if len(table) > MAX_FORECAST_ROWS:
        yield f"... {len(table) - MAX_FORECAST_ROWS} more rows"
    yield f"\nWrote {path}"


def describe_anomalies(result: Detected) -> Iterator[str]:
    """Yield the largest anomalies, their share, and the files."""
    count = len(result.anomalies)
    if count:
        yield _format_forecast(result.anomalies.nlargest(MAX_ANOMALIES, "score").sort_values("timestamp")) + "\n"
    share = count / max(1, result.points)
    yield f"{count} of {result.points} points ({share:.1%}) are outside the interval. {result.expected:.0%} are expected."
    yield f"Wrote {result.file} and {result.plot}"


def _format_forecast(table: pd.DataFrame) -> str:
    """Format rows of forecasts with enough digits that different values of a series look different."""
    shown, groups = table.copy(), [table[name] for name in ("series_id", "target")]
    for name in table.select_dtypes("float"):
        spreads = table[name].groupby(groups, sort=False).transform(spread_of)
        shown[name] = [format_number(value, spread, digits=5) for value, spread in zip(table[name], spreads, strict=True)]
    return shown.to_string(index=False)


def describe_needs(needs: Sequence[Need], template: Path, next_command: str) -> Iterator[str]:
    """Yield the rows of each column that a forecast needs, and the next command."""
    for need in needs:
        missing = f" (may be missing: {need.missing})" if need.missing else ""
        yield f"{need.column:<24} {need.role:<16} {need.first} to {need.last}{missing}"
    if any(need.role == "known covariate" for need in needs):
        yield f"\nWrote {template}. Fill in its empty cells. Next: {next_command} --future {template}"
    else:
        yield f"\nNo future values are needed. Next: {next_command}"


def describe_findings(findings: Sequence[Finding], config: Path) -> Iterator[str]:
    """Yield each finding with its remedy, and the next command if there is no error."""
    yield from map(_describe_finding, findings)
    if not any(finding.level == "error" or finding.subject == "training" for finding in findings):
        yield f"\nNext: forecast train {config}"


def describe_leak_checks(certificate: Certificate, config: Path) -> Iterator[str]:
    """Yield the result of each check, and the next command if all passed."""
    for check in certificate.checks:
        mark = MARKS["warning" if check.doubtful else "ok" if check.passed else "error"]
        yield f"{mark} {check.cutoff:<26} {check.subject} {check.result}"
    if any(check.subject.startswith("covariate") for check in certificate.checks):
        yield f"\n{UNSEEN}"
    if all(check.passed for check in certificate.checks):
        yield f"\nNo leak found. Next: forecast train {config}"


def describe_export(result: Export) -> Iterator[str]:
    """Yield the folder of an export, and how far its forecasts are from those of the run."""
    yield f"Wrote {result.directory}/. Its README.md explains how to run it."
    differences = f"at most {result.difference:.2g}, which is {result.difference_scaled:.0e} of the largest forecast"
    yield f"Checked on {result.windows} windows: its forecasts differ from those of the run by {differences}."
