"""`report`: one page that explains a run, works offline and can be mailed."""

from __future__ import annotations

import html
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forecast.config import differences
from forecast.diagnosis import HEALTHY, Diagnosis, diagnose, remark
from forecast.errors import check_installed
from forecast.evaluation import BASELINES, LABELS, MODEL, coverage
from forecast.intervals import column_of
from forecast.pages import Chart, Line, drawn, moment, number, page, table
from forecast.plots import histogram_edges, pairs_of_quantiles, panels_of, read_per_series, read_series, read_table, shown_series
from forecast.repairs import told
from forecast.runs import Run
from forecast.significance import ALPHA, ljung_box
from forecast.yaml12 import yaml_line

MOST_POINTS = 3000  # timestamps in one chart, the newest
MOST_BANDS = 3
MOST_SERIES = 2000
MOST_RESIDUALS = 2000
MOST_LAGS = 40
FACTS = ("path", "sha256", "rows", "series", "freq", "first_timestamp", "last_timestamp")  # of contract.json
WORST = 5  # cutoffs that are listed
COLOURS = {MODEL: "forecast", "naive": "other", "seasonal_naive": "second", "drift": "third", "mean": "fifth", "linear": "fourth"}


def report(run: Run | str | Path) -> Path:
    """Write `report.html` into a run or backtest: what is wrong, forecasts, errors, learning, residuals, data, how to repeat it.

    Raises:
        RunError: there is none here, or it did not finish, is damaged, or cannot be written to.
    """
    check_installed("A report", ["scipy"], "train")
    run = run if isinstance(run, Run) else Run.open_scored(run)
    with run.telling_damage():
        text = page(f"{run.name}: forecast", _Page(run).parts())
    run.write_text(run.report, text)
    return run.report


@dataclass(frozen=True)
class _Page:
    """What is shown of a run, part after part."""

    run: Run

    def parts(self) -> Iterator[str]:
        run = self.run
        metrics = run.read_json(run.metrics)
        per_series = read_per_series(run)
        shown = shown_series(per_series)
        predictions = read_series(run, run.predictions, shown)
        yield f"<h1>{html.escape(run.name)}</h1>"
        yield f'<p class="verdict">{html.escape(metrics["verdict"])}</p>'
        notes = [metrics["advice"]] if metrics["advice"] else []
        if all(found["p_value"] is None for found in metrics["compared"].values()):
            notes.append("The cutoffs are too few to tell luck from skill; forecast backtest gives more.")
        yield from (f"<p>{html.escape(note)}</p>" for note in notes)
        parts = {
            "Diagnosis": () if run.folds.exists() else _findings(diagnose(run), remark(run)),
            "Forecast": self._forecasts(predictions, shown),
            "Errors": self._errors(metrics, per_series),
            "Training": self._training(metrics),
            "What it looks at": self._importance(),
            "Residuals": _residuals(predictions),
            "Data": _data(run.read_json(run.contract)),
            "Leaks": _leaks(run.read_json(run.leakage)) if run.leakage.exists() else (),
            "How to repeat it": self._repeat(),
        }
        made = {heading: text for heading, part in parts.items() if (text := "\n".join(part))}
        ids = {heading: heading.lower().replace(" ", "-") for heading in made}
        links = " ".join(f'<a href="#{ids[heading]}">{heading}</a>' for heading in made)
        yield f"<nav aria-label='Contents'>{links}</nav>"
        for heading, text in made.items():
            yield f'<h2 id="{ids[heading]}">{heading}</h2>\n{text}'

    def _forecasts(self, predictions: pd.DataFrame, shown: list[str]) -> Iterator[str]:
        """The test part and the future of some series, with what was actual."""
        run = self.run
        future = predictions[:0]
        if run.forecast.exists():
            future = read_series(run, run.forecast, shown)
        recent = pd.DataFrame(columns=["series_id", "timestamp"])  # a backtest keeps no rows
        if run.recent.exists():
            recent = read_series(run, run.recent, shown)
        contract = run.read_json(run.contract)
        freq = None if contract["timezone"] else contract.get("freq")
        for place, (series_id, target) in enumerate(panels_of(predictions)):
            own, ahead = (rows[(rows.series_id == series_id) & (rows.target == target)] for rows in (predictions, future))
            before = recent[recent.series_id == series_id].set_index("timestamp").get(target, pd.Series(dtype=float))
            title = f"{series_id}: {target}"
            yield drawn(_forecast(title, own, ahead, before, freq), f"forecast-{place}")
            if len(ahead):
                quantiles = [column_of(end) for pair in pairs_of_quantiles(ahead) for end in pair]
                columns = ["timestamp", MODEL, *sorted(quantiles)[: 2 * MOST_BANDS]]
                yield table(ahead[columns], f"{title}: forecast of the next steps, with interval bounds.", f"future-{place}")

    def _errors(self, metrics: dict, per_series: pd.DataFrame) -> Iterator[str]:
        yield table(_scores(metrics), f"On the test part: {metrics['test']['windows']} windows that chose nothing.")
        yield from (f"<p>{html.escape(sentence)}</p>" for sentence in coverage(metrics))
        if self.run.folds.exists():
            yield table(_named(pd.read_csv(self.run.folds)), "Mean absolute error of each fold.")
        yield drawn(_error_per_step(metrics["test"]), "error-per-step")
        losses = read_table(self.run, self.run.losses, lambda piece: piece.cutoff.notna())
        worst = losses.nlargest(WORST, f"mae_{MODEL}")[["cutoff", *(f"mae_{name}" for name in (MODEL, *BASELINES))]]
        yield table(_named(worst), "The windows that were forecast worst: mean absolute error after each cutoff.")
        shown, caption = per_series, f"Mean absolute error of each of {len(per_series)} series."
        if len(per_series) > MOST_SERIES:
            shown = per_series.iloc[(per_series[f"mae_{MODEL}"] / per_series.mae_naive).argsort()[::-1][:MOST_SERIES]]
            caption = f"Mean absolute error of the {MOST_SERIES} of {len(per_series)} series that are worst beside naive."
        if len(per_series) > 1:
            yield table(_named(shown), caption, "series")

    def _training(self, metrics: dict) -> Iterator[str]:
        trained = self.run.history.exists() and not self.run.folds.exists()
        for seed, own in pd.read_csv(self.run.history).groupby("seed") if trained else ():
            kept = metrics["kept_epochs"][str(seed)]
            yield drawn(_learning_curve(own, kept, str(seed)), f"learning-{seed}")
        if self.run.gradients.exists():
            yield drawn(_gradients(self.run.read_json(self.run.gradients)), "gradients")

    def _importance(self) -> Iterator[str]:
        if not self.run.importance.exists():
            return
        found = self.run.read_json(self.run.importance)
        yield drawn(_regions(found["regions"]), "regions")
        rises = pd.Series(found["columns"]).sort_values(ascending=False).map("{:+z.1%}".format)
        caption = (
            f"How much the error rises where a column is that of another time: {found['windows']} windows of the validation part."
        )
        yield table(rises.rename_axis("column").rename("error").reset_index(), caption)

    def _repeat(self) -> Iterator[str]:
        run = self.run
        own = _keys(run)
        if run.parent.exists():
            parent = Run(run.read_json(run.parent)["run"])
            yield f"<p>This run continues {html.escape(str(parent.directory))}.</p>"
            before = _keys(parent) if parent.config.is_file() else {}  # it may be gone
            rows = [(key, before.get(key, "(default)"), own.get(key, "(default)")) for key in dict.fromkeys([*before, *own])]
            changed = pd.DataFrame([row for row in rows if row[1] != row[2]], columns=["key", "there", "here"])
            if before:
                yield table(changed, "What differs from that run.")
        rows = pd.DataFrame(own.items(), columns=["key", "value"])
        yield table(rows, "What differs from the defaults; config.yaml has every key.")
        folder = run.directory.with_name(run.name)  # while it trains, an experiment's run has another name
        name, config = (html.escape(shlex.quote(str(path))) for path in (folder, folder / run.config.name))
        commands = [f"forecast reproduce {name}", f"forecast predict {name}", f"forecast train {config}"]
        if run.folds.exists():
            commands = [f"forecast backtest {config}"]
        yield f"<pre tabindex='0'>{chr(10).join(commands[: 2 if run.parent.exists() else None])}</pre>"
        made = run.read_json(run.environment)
        versions = ", ".join(f"{package} {version}" for package, version in made["packages"].items())
        spent = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in made.get("seconds", {}).items())
        facts = [
            f"forecast {made['forecast']}, Python {made['python']}, {versions}",
            f"{made['platform']}; {made.get('cpu', '')}",
        ]
        facts += [f"Seconds: {spent}"] if spent else []
        yield "".join(f"<p class='note'>{html.escape(fact)}</p>" for fact in facts)


def _keys(run: Run) -> dict[str, str]:
    """The keys of its config that are not at their default, as YAML writes their values."""
    return {key: yaml_line(value) for key, value in differences(run.read_config()).items()}


def _findings(findings: list[Diagnosis], remark: str) -> Iterator[str]:
    items = [
        f"<li><strong>{html.escape(one.name.capitalize())}:</strong> {html.escape(one.evidence)} {html.escape(one.remedy)}</li>"
        for one in findings
    ]
    yield f'<ul class="findings">{"".join(items)}</ul>' if items else f"<p>{HEALTHY}</p>"
    if remark:
        yield f"<p>{html.escape(remark)}</p>"


def _forecast(title: str, predictions: pd.DataFrame, future: pd.DataFrame, before: pd.Series, freq: str | None) -> Chart:
    """Test windows one horizon apart, so that each timestamp has one forecast, then the real future."""
    cutoffs = predictions.cutoff.drop_duplicates().sort_values(ascending=False).iloc[:: int(predictions.step.max())]
    tested = predictions[predictions.cutoff.isin(cutoffs)].drop_duplicates("timestamp").set_index("timestamp")
    actual = predictions.drop_duplicates("timestamp").set_index("timestamp").actual
    actual = actual.combine_first(before[~before.index.duplicated()].astype(float))  # an hour comes twice in autumn
    ahead = future.drop_duplicates("timestamp").set_index("timestamp")
    index = actual.index.union(tested.index).union(ahead.index).sort_values()[-MOST_POINTS:]
    if freq:  # what is missing is shown as missing
        index = index.union(pd.date_range(index[0], index[-1], freq=freq))[-MOST_POINTS:]
    both = pd.concat([tested, ahead])
    lines = [
        Line("actual", actual.reindex(index).to_numpy(float), "actual"),
        Line("forecast", tested[MODEL].reindex(index).to_numpy(float), "forecast", strong=True),
        Line("seasonal naive", tested.seasonal_naive.reindex(index).to_numpy(float), "other", dashed=True),
    ]
    if len(ahead):
        lines.append(Line("future", ahead[MODEL].reindex(index).to_numpy(float), "forecast", strong=True, dashed=True))
    bands = []
    for low, high in pairs_of_quantiles(both)[:MOST_BANDS]:
        bands.append((len(lines), len(lines) + 1, 0.14))
        for quantile, word in ((low, "low"), (high, "high")):
            values = both[column_of(quantile)].reindex(index).to_numpy(float)
            lines.append(Line(f"{100 * (high - low):.4g}% {word}", values, "forecast", "edge"))
    end = f", and {len(ahead)} step{'s'[: len(ahead) > 1]} ahead, to {moment(ahead.index[-1])}" if len(ahead) else ""
    drawn_from = f"Actual values and forecasts from {moment(index[0])}{end}. Drag to zoom, double-click to show all"
    drawn_from += "; on the keyboard, + and - zoom, arrows move, 0 shows all."
    return Chart(title, drawn_from, _seconds(index), lines, "", "", bands, time=True)


def _seconds(moments: pd.Index | pd.Series) -> np.ndarray:
    """Since 1970, as charts over time have them."""
    return moments.to_numpy().astype("datetime64[s]").astype(np.int64)


def _scores(metrics: dict) -> pd.DataFrame:
    totals = {label: metrics["test"][name]["total"] for name, label in LABELS.items()}
    names = ("mae", "rmse", "mase", "wape", "bias")
    return pd.DataFrame([{"forecaster": label} | {name.upper(): own[name] for name in names} for label, own in totals.items()])


def _named(errors: pd.DataFrame) -> pd.DataFrame:
    """A table of the run with the names that people read."""
    return errors.rename(columns={f"mae_{name}": LABELS[name] for name in (MODEL, *BASELINES)} | {"series_id": "series"})


def _error_per_step(scores: dict) -> Chart:
    steps = {name: np.array(scores[name]["per_step"]["mae"], float) for name in (MODEL, *BASELINES)}
    lines = [Line(LABELS[name], values, COLOURS[name], strong=name == MODEL) for name, values in steps.items()]
    first, last = steps[MODEL][0], steps[MODEL][-1]
    what = f"Mean absolute error by step after the cutoff: this network's goes from {number(first)} to {number(last)}."
    return Chart("Error per step", what, np.arange(1, len(steps[MODEL]) + 1), lines, "step after the cutoff", "MAE", zero=True)


def _learning_curve(history: pd.DataFrame, kept: int, seed: str) -> Chart:
    errors = history.val_loss.to_numpy(float)
    best = np.where(history.epoch == kept, errors, np.nan)
    lines = [
        Line("loss (training)", history.loss.to_numpy(float), "other"),
        Line("val_loss (validation)", errors, "forecast", strong=True),
        Line("kept", best, "actual", kind="dots"),
    ]
    told_so = f"Seed {seed}: the weights of epoch {kept} were kept, of {history.epoch.max()}."
    positive = np.nanmin(np.concatenate([errors, history.loss.to_numpy(float)])) > 0
    return Chart("Learning curve", told_so, history.epoch.to_numpy(), lines, "epoch", "loss, scaled units", log=bool(positive))


def _regions(regions: list[dict]) -> Chart:
    """The oldest steps of the lookback first."""
    rises = np.array([100 * region["rise"] for region in regions])
    most = regions[int(np.argmax(rises))]
    what = (
        f"How much the error rises where a part of the lookback is hidden: most, by {max(rises):.0f}%, for the steps"
        f" {most['from']} to {most['to']} before the first one that is forecast."
    )
    steps = np.array([-(region["from"] + region["to"]) / 2 for region in regions])
    bars = [Line("rise of the error", rises, "other", kind="bars")]
    return Chart("Parts of the lookback", what, steps, bars, "steps before the first that is forecast", "%")


def _gradients(found: dict) -> Chart:
    norms = {name: np.array(found[name], float) for name in ("network", "simple_rnn")}
    steps = np.arange(len(norms["network"])) - len(norms["network"]) + 1
    labels = {"network": ("this network, trained", "forecast"), "simple_rnn": ("a simple RNN, untrained", "other")}
    lines = [Line(*labels[name][:1], np.where(values > 0, values, np.nan), labels[name][1]) for name, values in norms.items()]
    what = "Gradient of the last state by what was read at each step: where it fades, nothing is learned from."
    return Chart("How far back it learns", what, steps, lines, "steps before the last", "norm of the gradient", log=True)


def _residuals(predictions: pd.DataFrame) -> Iterator[str]:
    """Of the first series and target, one step ahead."""
    if predictions.empty:  # of many series, not every one has a window in a table that was thinned
        return
    series_id, target = panels_of(predictions)[0]
    own = predictions[(predictions.series_id == series_id) & (predictions.target == target) & (predictions.step == 1)]
    own = own.sort_values("timestamp")
    residuals = (own[MODEL] - own.actual).to_numpy(float)
    of = f"{series_id}: {target}, one step ahead"
    kept = slice(-MOST_RESIDUALS, None)
    seconds = _seconds(own.timestamp)
    what = f"Forecast minus actual, {len(residuals)} windows; bias {number(residuals.mean(), digits=3)}."
    dots = [Line("residual", residuals[kept], "forecast", kind="dots"), Line("zero", np.zeros(len(residuals[kept])), "fifth")]
    yield drawn(Chart(f"Residuals of {of}", what, seconds[kept], dots, "", "forecast - actual", time=True), "residuals-time")
    if np.ptp(residuals) <= 1e-9 * np.abs(residuals).max():  # as good as equal
        return
    counts, edges = np.histogram(residuals, bins=histogram_edges(residuals))
    bars = [Line("windows", counts, "other", kind="bars")]
    low, high = np.quantile(residuals, [0.25, 0.75])
    what = f"Distribution of the residuals: half of them lie between {number(low, digits=3)} and {number(high, digits=3)}."
    middle = (edges[:-1] + edges[1:]) / 2
    yield drawn(Chart("Distribution", what, middle, bars, "forecast - actual", "windows"), "residuals-histogram")
    lags = min(MOST_LAGS, len(residuals) // 4)
    if lags < 1:
        return
    correlations, p_value = ljung_box(residuals, lags)
    rest = "is more than noise: something is left to learn" if p_value < ALPHA else "looks like noise"
    what = f"Autocorrelation of the residuals; Ljung-Box test over {lags} lags: p = {p_value:.2g}, what remains {rest}."
    bars = [Line("autocorrelation", correlations, "other", kind="bars")]
    bound = np.full(lags, 1.96 / np.sqrt(len(residuals)))
    bars += [Line("95% bound", bound, "fifth", dashed=True), Line("95% bound below", -bound, "fifth", dashed=True)]
    yield drawn(Chart("Autocorrelation", what, np.arange(1, lags + 1), bars, "lag", "correlation"), "residuals-correlation")


def _data(contract: dict) -> Iterator[str]:
    if "path" not in contract:  # of a backtest by an earlier version
        return
    facts = {name.replace("_", " "): contract[name] for name in FACTS}
    facts |= {f"{part} windows": found["windows"] for part, found in contract.get("parts", {}).items()}
    yield table(pd.DataFrame({"what": facts.keys(), "value": [str(value) for value in facts.values()]}), "What was read.")
    columns = pd.DataFrame.from_dict(contract["columns"], orient="index").rename_axis("column").reset_index()
    yield table(columns, "Each column; filled is the share of cells that were missing and filled in.")
    repairs = told(contract["repairs"])
    yield "<p>Nothing was repaired.</p>" if not repairs else "<p>Repaired:</p>"
    if repairs:
        yield "<ul>" + "".join(f"<li>{html.escape(repair)}</li>" for repair in repairs) + "</ul>"


def _leaks(leakage: dict) -> Iterator[str]:
    passed = "No leak: what lies after a cutoff was changed, and nothing before it moved." if leakage["passed"] else "LEAK."
    yield f"<p>{passed}</p>"
    caption = "Leak checks. No check can tell when the values of a covariate became known."
    yield table(pd.DataFrame(leakage["checks"]), caption)
