"""Describe the result of a command in lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from forecast.commands.diagnose import diagnose
from forecast.errors import log_and_continue
from forecast.evaluation import (
    ALPHA,
    LABELS,
    Diagnosis,
    Errors,
    Metrics,
    Scores,
    TrainingMetrics,
    describe_coverage,
    format_number,
)
from forecast.reports import format_timestamp, spread_of
from forecast.runs import Environment, ParentRecord, Run, RunGroup, read_folds, read_metrics

if TYPE_CHECKING:
    import pandas as pd

    from forecast.commands.reproduce import Stage

MAX_RUNS = 10  # Runs of an experiment, or trials of a search, that are shown.
METRICS = {"mae": 10, "rmse": 10, "mase": 8, "wape": 8, "bias": 10}  # Columns of a table of errors, and their widths.
Row = tuple[str, ...]


def describe_training(run: Run, metrics: TrainingMetrics) -> Iterator[str]:
    """Yield the verdict, the errors of network and baselines on the test set, problems, and the next command."""
    yield f"\n{run.name}: {metrics.verdict}"
    yield from _scores(metrics, "test set")
    if len(metrics.test.forecast.per_target) > 1:
        yield from _targets(metrics.test)
    yield from _intervals(metrics)
    for name, cost in metrics.missing_known.items():
        errors = f"MAE is {format_number(cost.mae)} instead of {format_number(metrics.test.forecast.total.mae)}"
        yield f"Where `{name}` is missing over the horizon ({cost.policy}), {errors}."
    yield from _advice(metrics)
    problems: list[Diagnosis] = []
    traceback = f"Please report it; forecast diagnose {run.directory} --debug shows the traceback."
    with log_and_continue("diagnosing the training", traceback):
        problems = diagnose(run)
    yield from describe_problems(problems)
    yield from _parent(run)
    stages = run.read(run.environment, Environment).seconds
    yield "\nSeconds: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items())
    epochs = ", ".join(map(str, metrics.kept_epochs.values()))
    yield f"Kept the weights of epoch {epochs}. Predictions, metrics and plots: {run.directory}/"
    if run.report.exists():
        yield f"All on one page, for a browser: {run.report}"
    command = "predict" if run.forecast.exists() else "plan"  # Known covariates over the horizon are missing.
    yield f"Next: forecast {command} {run.directory}"


def describe_problems(problems: Sequence[Diagnosis]) -> Iterator[str]:
    """Yield the problems of a training, with evidence and remedy."""
    for problem in problems:
        yield f"⚠ {problem.name}: {problem.evidence}\n  {problem.remedy}"


def _parent(run: Run) -> Iterator[str]:
    """Compare a run with the one that it continues, on windows that neither was trained on."""
    record = run.read(run.parent, ParentRecord) if run.parent.exists() else None
    if record and record.before and record.after:
        change = f"was {format_number(record.before.mae)} and is now {format_number(record.after.mae)}"
        yield f"Continues {record.run}: MAE on the {record.windows} newest windows {change}."


def describe_reproduction(stages: Sequence[Stage], verdict: str) -> Iterator[str]:
    """Yield a line for each stage, and the verdict."""
    marks = {"equal": "✔", "within tolerance": "✔", "differs": "✘", "not recorded": "·"}
    for stage in stages:
        mark = "⚠" if stage.name == "versions" and stage.detail else marks[stage.verdict]
        yield f"{mark} {stage.name:<16} {stage.verdict:<17} {stage.detail}".rstrip()
    recorded = " that was recorded" if any(stage.verdict == "not recorded" for stage in stages) else ""
    first = next((stage.name for stage in stages if stage.verdict == "differs" and stage.name != "versions"), None)
    yield {
        "equal": f"\nReproduced: everything{recorded} is equal to the last bit.",
        "within tolerance": "\nReproduced within the tolerance.",
        "differs": f"\nNot reproduced: the first stage that differs is {first}.",
        "not recorded": "\nThis run recorded too little to compare.",
    }[verdict]


def describe_backtest(run: Run, metrics: Metrics) -> Iterator[str]:
    """Yield the verdict, a row for each fold, and the errors of network and baselines over all folds."""
    folds = read_folds(run)
    yield f"\n{run.name}: {metrics.verdict}"
    dates = f"{'trained until':<20}{'cutoffs from':<20}{'to':<20}"
    rows: list[Row] = [(f"{'fold':>4}  {dates}", "windows", "MAE", "seasonal naive", "linear")]
    for row in folds.to_dict("records"):
        dates = "".join(f"{format_timestamp(row[name]):<20}" for name in ("trained_until", "first_cutoff", "last_cutoff"))
        errors = [format_number(row[f"mae_{name}"]) for name in ("forecast", "seasonal_naive", "linear")]
        rows.append((f"{row['fold']:>4}  {dates}", str(row["windows"]), *errors))
    yield ""
    yield from _aligned(rows, [0, 8, 10, 16, 10])
    yield from _scores(metrics, "all folds")
    yield from _intervals(metrics)
    yield from _advice(metrics)
    yield f"\n{run.seconds:.1f} seconds. Folds, steps, series, predictions and plots: {run.directory}/"


def _scores(metrics: Metrics, title: str) -> Iterator[str]:
    scores = metrics.test
    rows: list[Row] = [(f"{title}, {scores.windows} windows", "MAE", "RMSE", "MASE", "WAPE", "bias")]
    for name, label in LABELS.items():
        label += f" ({metrics.season_length})" if name == "seasonal_naive" else ""
        rows.append((label, *_cells(scores.of(name).total)))
        if name == "forecast" and scores.members:
            rows += _spread(scores.members)
    yield ""
    yield from _aligned(rows, [28, *METRICS.values()])


def _aligned(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Align rows of equal length: the first column left, the rest right, each at least as wide as its entry in `widths`."""
    longest = [max(map(len, column)) for column in zip(*rows, strict=True)]
    label_width, *cell_widths = map(max, widths, [longest[0], *(1 + length for length in longest[1:])])
    for label, *cells in rows:
        yield f"{label:<{label_width}}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, cell_widths, strict=True))


def _cells(errors: Errors) -> list[str]:
    """Format the metrics of a row, with a dash for one that is undefined."""
    styles = {"mase": "{:.3f}".format, "wape": "{:.1%}".format, "bias": _signed}
    values = {name: getattr(errors, name) for name in METRICS}
    return ["-" if value is None else styles.get(name, format_number)(value) for name, value in values.items()]


def _signed(value: float) -> str:
    text = format_number(value, digits=3)
    return text if text.startswith("-") else f"+{text}"


def _spread(members: list[Errors]) -> Iterator[Row]:
    """Yield the lowest and the highest errors of the networks of different seeds."""
    columns = {name: [value for member in members if (value := getattr(member, name)) is not None] for name in METRICS}
    for label, select in (("lowest", min), ("highest", max)):
        extremes = {name: select(values, default=None) for name, values in columns.items()}
        yield f"  {label} of {len(members)} seeds", *_cells(members[0].model_copy(update=extremes))


def _targets(scores: Scores) -> Iterator[str]:
    """Yield the MAE of each target in its own units."""
    rows: list[Row] = [("MAE by target", *LABELS.values())]
    for target in scores.forecast.per_target:
        rows.append((target, *(format_number(scores.of(name).per_target[target].mae) for name in LABELS)))
    yield ""
    yield from _aligned(rows, [16] * len(rows[0]))


def format_forecast(table: pd.DataFrame) -> str:
    """Format rows of forecasts with enough digits that different values of a series look different."""
    shown, groups = table.copy(), [table[name] for name in ("series_id", "target")]
    for name in table.select_dtypes("float"):
        spreads = table[name].groupby(groups, sort=False).transform(spread_of)
        shown[name] = [format_number(value, spread, digits=5) for value, spread in zip(table[name], spreads, strict=True)]
    return shown.to_string(index=False)


def _intervals(metrics: Metrics) -> Iterator[str]:
    """Yield the coverage of the prediction intervals, below an empty line."""
    sentences = describe_coverage(metrics)
    yield from ["", *sentences] if sentences else []


def _advice(metrics: Metrics) -> Iterator[str]:
    if metrics.advice:
        yield f"\n{metrics.advice}"


def describe_experiment(folder: RunGroup) -> Iterator[str]:
    """Yield the best runs, those that failed, and the next command."""
    import pandas as pd

    table = folder.read_table(folder.leaderboard, {"run": str, "state": str})
    finished, failed = (table[table.state == state] for state in ("finished", "failed"))
    width = max(map(len, table.run)) + 2
    rows: list[Row] = [(f"{'':<4}{'run':<{width}}", "validation MAE", "MASE", "test MAE", "MASE", "beats seasonal naive by")]
    cells = {
        "validation_mae": format_number,
        "validation_mase": "{:.3f}".format,
        "test_mae": format_number,
        "test_mase": "{:.3f}".format,
        "skill_seasonal_naive": "{:z.0%}".format,
    }
    for rank, row in enumerate(finished.head(MAX_RUNS).to_dict("records"), 1):
        texts = ("-" if pd.isna(row[name]) else style(row[name]) for name, style in cells.items())
        rows.append((f"{rank:<4}{row['run']:<{width}}", *texts))
    yield ""
    yield from _aligned(rows, [0, 15, 8, 11, 8, 25])
    if len(finished) > MAX_RUNS:
        yield f"... {len(finished) - MAX_RUNS} more runs"
    for row in failed.to_dict("records"):
        yield f"{'-':<4}{row['run']:<{width}}  failed: {row['why']}"
    yield f"\nRanked by the error on the validation set. Leaderboard and page: {folder.leaderboard}, {folder.report}"
    if len(finished):
        yield f"Next: forecast train {folder.best}"


def describe_search(folder: RunGroup) -> Iterator[str]:
    """Yield the best trials, the verdict of the best on the test set, and the next command."""
    table = folder.read_table(folder.trials, {"state": str, "error": float})
    best_trials = table.dropna(subset="error").sort_values("error", kind="stable").head(MAX_RUNS)
    yield "\n" + best_trials.drop(columns=["state", "why"]).to_string(index=False, float_format=format_number)
    states = table.state.value_counts()
    yield f"\n{len(table)} trials: " + ", ".join(f"{count} {state}" for state, count in states.items())
    best = Run(folder.runs / "best")
    yield f"{best.directory}: {read_metrics(best).verdict}"
    yield f"\nChosen by the error on the validation set. Trials, page and plots: {folder.directory}/"
    yield f"Next: forecast predict {best.directory}, or forecast train {folder.best}"


def describe_comparison(table: pd.DataFrame) -> Iterator[str]:
    """Yield the leaderboard, and the keys in which the configs of the runs differ."""
    width = max(map(len, table.run)) + 2
    titles = (f"{'':<4}{'run':<{width}}", "MAE", "RMSE", "MASE", "error above the first", "p", "parameters", "seconds")
    columns = list(table.columns)
    keys = columns[columns.index("seconds") + 1 : columns.index("worse_by")]
    rows: list[Row] = [titles]
    details = [""]
    for rank, row in enumerate(table.astype(object).where(table.notna(), None).to_dict("records"), 1):
        interval = "" if row["low"] is None else f" ({100 * row['low']:z.0f}..{100 * row['high']:z.0f})"
        cells = [
            "" if row["mae"] is None else format_number(row["mae"], spread_of(table.mae)),
            "" if row["rmse"] is None else format_number(row["rmse"], spread_of(table.rmse)),
            "" if row["mase"] is None else f"{row['mase']:.3f}",
            "" if rank == 1 or row["worse_by"] is None else f"{row['worse_by']:z.1%}{interval}",
            "" if row["p_value"] is None else f"{row['p_value']:.2g}",
            "" if row["parameters"] is None else f"{row['parameters']:.0f}",
            "" if row["seconds"] is None else f"{row['seconds']:.1f}",
        ]
        rows.append((f"{rank:<4}{row['run']:<{width}}", *cells))
        details.append(f"{'':<4}{'':<{width}}" + ", ".join(f"{key}: {row[key]}" for key in keys) if keys else "")
    for line, detail in zip(_aligned(rows, [0, 10, 10, 8, 26, 8, 12, 9]), details, strict=True):
        yield line
        if detail:
            yield detail
    p_values = table.p_value.iloc[1:].dropna()
    if len(p_values) and p_values.iloc[0] >= ALPHA:
        yield f"\nThe first two are not distinguishable: p is {ALPHA:g} or more."
    elif len(table) > 1 and not len(p_values):
        yield "\nThe cutoffs are too few to tell luck from skill. A run of forecast backtest has more."
