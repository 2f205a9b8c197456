"""What a command says of a result, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from forecast.diagnosis import Diagnosis, diagnose
from forecast.evaluation import LABELS, coverage
from forecast.runs import Run
from forecast.significance import ALPHA

if TYPE_CHECKING:
    from forecast.reproduction import Stage

MOST_SHOWN = 10  # runs of an experiment
STYLES = {"mae": (10, ".4g"), "rmse": (10, ".4g"), "mase": (8, ".3f"), "wape": (8, ".1%"), "bias": (10, "+.3g")}


def trained(run: Run, metrics: dict) -> Iterator[str]:
    """The verdict, the table of network and baselines on the test part, and what to do next."""
    scores = metrics["test"]
    yield f"\n{run.name}: {metrics['verdict']}"
    yield from _scores(metrics, "test part")
    if len(scores["forecast"]["per_target"]) > 1:
        yield from _targets(scores)
    yield from _intervals(scores)
    for name, cost in metrics["missing_known"].items():
        total = scores["forecast"]["total"]["mae"]
        yield f"Where `{name}` is missing over the horizon ({cost['policy']}), MAE is {cost['mae']:.4g} instead of {total:.4g}."
    yield from _advice(metrics)
    yield from diagnosed(diagnose(run))
    yield from _updated(run)
    stages = run.read_json(run.environment)["seconds"]
    yield "\nSeconds: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items())
    epochs = ", ".join(map(str, metrics["kept_epochs"].values()))
    yield f"Kept the weights of epoch {epochs}. Predictions, metrics and plots: {run.directory}/"
    if run.report.exists():
        yield f"All on one page, for a browser: {run.report}"
    command = "predict" if run.forecast.exists() else "plan"  # known covariates over the horizon are yet to be given
    yield f"Next: forecast {command} {run.directory}"


def diagnosed(found: Sequence[Diagnosis]) -> Iterator[str]:
    """What is wrong with a training, and what to change."""
    for one in found:
        yield f"⚠ {one.name}: {one.evidence}\n  {one.remedy}"


def _updated(run: Run) -> Iterator[str]:
    """How a run that continues another compares with it, on the windows that neither was trained on."""
    told = run.read_json(run.parent) if run.parent.exists() else {}
    if "before" in told:
        before, after = (told[name]["mae"] for name in ("before", "after"))
        yield f"Continues {told['run']}: MAE on the {told['windows']} newest windows was {before:.4g}, and is {after:.4g} now."


def reproduced(stages: Sequence[Stage], verdict: str) -> Iterator[str]:
    """A line per stage, and what it comes to."""
    marks = {"equal": "✔", "within tolerance": "✔", "differs": "✘", "not recorded": "·"}
    for stage in stages:
        mark = "⚠" if stage.name == "versions" and stage.found else marks[stage.verdict]
        yield f"{mark} {stage.name:<16} {stage.verdict:<17} {stage.found}".rstrip()
    recorded = " that was recorded" if any(stage.verdict == "not recorded" for stage in stages) else ""
    first = next((stage.name for stage in stages if stage.verdict == "differs" and stage.name != "versions"), None)
    yield {
        "equal": f"\nReproduced: everything{recorded} is equal, to the last bit.",
        "within tolerance": "\nReproduced, within the tolerance.",
        "differs": f"\nNot reproduced: the first stage that differs is {first}.",
        "not recorded": "\nThis run recorded too little to compare.",
    }[verdict]


def backtested(run: Run, metrics: dict) -> Iterator[str]:
    """The verdict, a row per fold, and the table of network and baselines over all folds."""
    folds = pd.read_csv(run.folds)
    yield f"\n{run.name}: {metrics['verdict']}"
    dates = f"{'trained until':<20}{'cutoffs from':<20}{'to':<20}"
    yield f"\n{'fold':>4}  {dates}{'windows':>8}{'MAE':>10}{'seasonal naive':>16}{'linear':>10}"
    for row in folds.to_dict("records"):
        dates = "".join(f"{row[name]:<20}" for name in ("trained_until", "first_cutoff", "last_cutoff"))
        errors = f"{row['mae_forecast']:>10.4g}{row['mae_seasonal_naive']:>16.4g}{row['mae_linear']:>10.4g}"
        yield f"{row['fold']:>4}  {dates}{row['windows']:>8}{errors}"
    yield from _scores(metrics, "all folds")
    yield from _intervals(metrics["test"])
    yield from _advice(metrics)
    seconds = run.read_json(run.environment)["seconds"]["all"]
    yield f"\n{seconds:.1f} seconds. Folds, steps, series, predictions and plots: {run.directory}/"


def _scores(metrics: dict, part: str) -> Iterator[str]:
    scores = metrics["test"]
    part = f"{part}, {scores['windows']} windows"
    yield f"\n{part:<28}{'MAE':>10}{'RMSE':>10}{'MASE':>8}{'WAPE':>8}{'bias':>10}"
    for name, label in LABELS.items():
        label += f" ({metrics['season_length']})" if name == "seasonal_naive" else ""
        yield f"{label:<28}" + _cells(scores[name]["total"])
        if name == "forecast" and "members" in scores:
            yield from _spread(scores["members"])


def _cells(values: dict[str, float | None]) -> str:
    """Metrics side by side, a dash for one that is undefined."""
    texts = {name: "-" if values[name] is None else format(values[name], style) for name, (_, style) in STYLES.items()}
    return "".join(f"{texts[name]:>{width}}" for name, (width, _) in STYLES.items())


def _spread(members: list[dict]) -> Iterator[str]:
    """How far the errors of the networks of different seeds lie apart, below those of their median."""
    for label, of in (("lowest", min), ("highest", max)):
        values = {name: [member[name] for member in members if member[name] is not None] for name in STYLES}
        yield f"{f'  {label} of {len(members)} seeds':<28}" + _cells(
            {name: of(own) if own else None for name, own in values.items()}
        )


def _targets(scores: dict) -> Iterator[str]:
    """MAE of each target in its own units."""
    yield f"\n{'MAE by target':<16}" + "".join(f"{label:>16}" for label in LABELS.values())
    for target in scores["forecast"]["per_target"]:
        yield f"{target:<16}" + "".join(f"{scores[name]['per_target'][target]['mae']:>16.4g}" for name in LABELS)


def _intervals(scores: dict) -> Iterator[str]:
    """What share of the actual values lay within each interval."""
    told = coverage(scores)
    yield from ["", *told] if told else []


def _advice(metrics: dict) -> Iterator[str]:
    if metrics["advice"]:
        yield f"\n{metrics['advice']}"


def experimented(folder: Run) -> Iterator[str]:
    """The ten best runs, those that failed, and what to do next."""
    table = folder.read_pieces(folder.leaderboard)
    finished, failed = (table[table.state == state] for state in ("finished", "failed"))
    width = max(map(len, table.run)) + 2
    yield f"\n{'':<4}{'run':<{width}}{'validation MAE':>15}{'MASE':>8}{'test MAE':>11}{'MASE':>8}{'beats seasonal naive by':>25}"
    for place, row in enumerate(finished.head(MOST_SHOWN).to_dict("records"), 1):
        cells = [(15, "validation_mae", ".4g"), (8, "validation_mase", ".3f"), (11, "test_mae", ".4g"), (8, "test_mase", ".3f")]
        cells.append((25, "skill_seasonal_naive", ".0%"))
        shown = "".join(f"{'-' if pd.isna(row[name]) else format(row[name], style):>{size}}" for size, name, style in cells)
        yield f"{place:<4}{row['run']:<{width}}{shown}"
    if len(finished) > MOST_SHOWN:
        yield f"... {len(finished) - MOST_SHOWN} more runs"
    for row in failed.to_dict("records"):
        yield f"{'-':<4}{row['run']:<{width}}  failed: {row['why']}"
    yield f"\nRanked by the validation part. Leaderboard and page: {folder.leaderboard}, {folder.report}"
    if len(finished):
        yield f"Next: forecast train {folder.best}"


def tuned(folder: Run) -> Iterator[str]:
    """The best trials, how the best did on the test part, and what to do next."""
    table = folder.read_pieces(folder.trials)
    ended = (
        table.dropna(subset="error").nsmallest(MOST_SHOWN, "error", keep="all").head(MOST_SHOWN).drop(columns=["state", "why"])
    )
    yield "\n" + ended.to_string(index=False, float_format="{:.4g}".format)
    states = table.state.value_counts()
    yield f"\n{len(table)} trials: " + ", ".join(f"{count} {state}" for state, count in states.items())
    best = Run(folder.runs / "best")
    yield f"{best.directory}: {best.read_json(best.metrics)['verdict']}"
    yield f"\nChosen by the validation part. Trials, page and plots: {folder.directory}/"
    yield f"Next: forecast predict {best.directory}, or forecast train {folder.best}"


def compared(table: pd.DataFrame) -> Iterator[str]:
    """The leaderboard, and in which keys of their configs the runs differ."""
    width = max(map(len, table.run)) + 2
    heads = f"{'MAE':>10}{'RMSE':>10}{'MASE':>8}{'error above the first':>26}{'p':>8}{'parameters':>12}{'seconds':>9}"
    yield f"{'':<4}{'run':<{width}}{heads}"
    keys = list(table.columns[table.columns.get_loc("seconds") + 1 : table.columns.get_loc("worse_by")])
    for place, row in enumerate(table.astype(object).where(table.notna(), None).to_dict("records"), 1):
        sure = "" if row["low"] is None else f" ({100 * row['low']:.0f}..{100 * row['high']:.0f})"
        cells = [
            (10, row["mae"], ".4g"),
            (10, row["rmse"], ".4g"),
            (8, row["mase"], ".3f"),
            (26, None if place == 1 or row["worse_by"] is None else f"{row['worse_by']:.1%}{sure}", ""),
            (8, row["p_value"], ".2g"),
            (12, row["parameters"], ".0f"),
            (9, row["seconds"], ".1f"),
        ]
        shown = "".join(f"{'' if value is None else format(value, style):>{size}}" for size, value, style in cells)
        yield f"{place:<4}{row['run']:<{width}}{shown}"
        if keys:
            yield f"{'':<4}{'':<{width}}" + ", ".join(f"{key}: {row[key]}" for key in keys)
    known = table.p_value.iloc[1:].dropna()
    if len(known) and known.iloc[0] >= ALPHA:
        yield f"\nThe first two are not distinguishable: p is {ALPHA:g} or more."
    elif len(table) > 1 and not len(known):
        yield "\nThe cutoffs are too few to tell luck from skill; forecast backtest gives more."
