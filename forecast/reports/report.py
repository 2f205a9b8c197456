"""`report`: one page that explains a run, works offline and can be mailed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from forecast.config import format_yaml_line, non_default_values
from forecast.data import Contract, describe_repairs
from forecast.errors import check_installed
from forecast.evaluation import (
    BASELINES,
    HEALTHY,
    LABELS,
    MODEL,
    Certificate,
    Evidence,
    Importance,
    Metrics,
    TrainingMetrics,
    column_of,
    describe_coverage,
    find_problems,
    remark,
    split_by_seed,
)
from forecast.reports.charts import (
    MAX_BANDS,
    chart_error_per_step,
    chart_forecast,
    chart_gradients,
    chart_learning_curve,
    chart_regions,
    chart_residuals,
)
from forecast.reports.page import Element, Items, Section, Table, Text, render_page
from forecast.reports.selection import pairs_of_quantiles, panels_of, select_panel, select_series
from forecast.runs import (
    Environment,
    Gradients,
    Mask,
    ParentRecord,
    Run,
    make_series_mask,
    read_contract,
    read_cutoffs,
    read_evidence,
    read_folds,
    read_forecast,
    read_history,
    read_metrics,
    read_per_series,
    read_predictions,
    read_recent,
)

MAX_SERIES = 2000
FACTS = ("path", "sha256", "rows", "series", "freq", "first_timestamp", "last_timestamp")  # Fields of `Contract`.
MAX_CUTOFFS = 5  # Cutoffs with the largest errors.


def report(run: Run | str | Path) -> Path:
    """Write `report.html` into a run or backtest: diagnosis, forecasts, errors, training, residuals, data, reproduction.

    Raises:
        RunError: there is no run here, or it did not finish, is damaged, or cannot be written to.
    """
    check_installed("A report", ["scipy", "jinja2"])
    run = run if isinstance(run, Run) else Run.open_scored(run)
    metrics = read_metrics(run)
    summary = [Text(metrics.verdict, "verdict")]
    if metrics.advice:
        summary.append(Text(metrics.advice))
    if all(comparison.p_value is None for comparison in metrics.compared.values()):
        summary.append(Text("There are too few cutoffs for a test of significance. `forecast backtest` gives more."))
    run.write_text(run.report, render_page(run.name, "forecast", summary, list(_Sections(run, metrics).all())))
    return run.report


@dataclass(frozen=True)
class _Sections:
    """The sections of a run's page."""

    run: Run
    metrics: Metrics

    def all(self) -> Iterator[Section]:
        """Yield every section that is not empty."""
        run, per_series = self.run, read_per_series(self.run)
        shown = make_series_mask(select_series(per_series))
        predictions = read_predictions(run, shown)
        sections = {
            "Diagnosis": () if run.folds.exists() else _diagnosis(read_evidence(run)),
            "Forecast": self._forecasts(predictions, shown),
            "Errors": self._errors(per_series),
            "Training": self._training(),
            "Importance": self._importance(),
            "Residuals": chart_residuals(predictions),
            "Data": _data(read_contract(run)),
            "Leak checks": _leaks(run.read(run.leakage, Certificate)) if run.leakage.exists() else (),
            "Reproduction": self._reproduction(),
        }
        for heading, section in sections.items():
            if elements := list(section):
                yield Section(heading, elements)

    def _forecasts(self, predictions: pd.DataFrame, shown: Mask) -> Iterator[Element]:
        """Yield the test set and the future of some series."""
        run, contract = self.run, read_contract(self.run)
        future = read_forecast(run, shown) if run.forecast.exists() else predictions[:0]
        recent = pd.DataFrame(columns=["series_id", "timestamp"])  # A backtest stores no rows.
        if run.recent.exists():
            recent = read_recent(run, shown)
        freq = None if contract.timezone else contract.freq
        for number, (series_id, target) in enumerate(panels_of(predictions)):
            tested, ahead = (select_panel(table, series_id, target) for table in (predictions, future))
            past = recent[recent.series_id == series_id].set_index("timestamp").get(target, pd.Series(dtype=float))
            title = f"{series_id}: {target}"
            yield chart_forecast(f"forecast-{number}", title, tested, ahead, past, freq)
            if len(ahead):
                quantiles = [column_of(end) for pair in pairs_of_quantiles(ahead) for end in pair]
                columns = ["timestamp", MODEL, *sorted(quantiles)[: 2 * MAX_BANDS]]
                yield Table(ahead[columns], f"{title}: forecast of the next steps, with interval bounds.", f"future-{number}")

    def _errors(self, per_series: pd.DataFrame) -> Iterator[Element]:
        test = self.metrics.test
        totals = pd.DataFrame([vars(test.of(name).total) for name in LABELS], index=pd.Index(LABELS.values(), name="forecaster"))
        scores = totals[["mae", "rmse", "mase", "wape", "bias"]].rename(columns=str.upper).reset_index()
        yield Table(scores, f"Test set: {test.windows} windows, used only for scoring.")
        yield from map(Text, describe_coverage(self.metrics))
        if self.run.folds.exists():
            yield Table(_label(read_folds(self.run)), "Mean absolute error of each fold.")
        yield chart_error_per_step(test)
        cutoffs = read_cutoffs(self.run).nlargest(MAX_CUTOFFS, f"mae_{MODEL}")
        worst = cutoffs[["cutoff", *(f"mae_{name}" for name in (MODEL, *BASELINES))]]
        yield Table(_label(worst), "Mean absolute error after the cutoffs with the largest errors.")
        if len(per_series) <= 1:
            return
        shown, caption = per_series, f"Mean absolute error of each of {len(per_series)} series."
        if len(per_series) > MAX_SERIES:
            shown = per_series.iloc[(per_series[f"mae_{MODEL}"] / per_series.mae_naive).argsort()[::-1][:MAX_SERIES]]
            caption = f"Mean absolute error of the {MAX_SERIES} of {len(per_series)} series that are worst relative to naive."
        yield Table(_label(shown), caption, "series")

    def _training(self) -> Iterator[Element]:
        if isinstance(self.metrics, TrainingMetrics) and self.run.history.exists():
            for seed, curve in split_by_seed(read_history(self.run)):
                yield chart_learning_curve(curve, self.metrics.kept_epochs[seed], seed)
        if self.run.gradients.exists():
            yield chart_gradients(self.run.read(self.run.gradients, Gradients))

    def _importance(self) -> Iterator[Element]:
        if not self.run.importance.exists():
            return
        importance = self.run.read(self.run.importance, Importance)
        yield chart_regions(importance.regions)
        rises = pd.Series(importance.columns).sort_values(ascending=False).map("{:+z.1%}".format)
        caption = (
            f"Rise of the error if a column has the values of another time: {importance.windows} windows of the validation set."
        )
        yield Table(rises.rename_axis("column").rename("error").reset_index(), caption)

    def _reproduction(self) -> Iterator[Element]:
        run, settings, continues = self.run, _settings(self.run), self.run.parent.exists()
        if continues:
            parent = Run(run.read(run.parent, ParentRecord).run)
            yield Text(f"This run continues {parent.directory}.")
            before = _settings(parent) if parent.config.is_file() else {}  # The parent may be gone.
            rows = [(key, before.get(key, "(default)"), settings.get(key, "(default)")) for key in before | settings]
            changed = pd.DataFrame([row for row in rows if row[1] != row[2]], columns=["key", "that run", "this run"])
            if before:
                yield Table(changed, "Settings that differ from that run.")
        table = pd.DataFrame(settings.items(), columns=["key", "value"])
        yield Table(table, "Settings that differ from the defaults. config.yaml has every key.")
        folder = run.directory.with_name(run.name)  # An experiment's run has another name while it trains.
        name, config = (shlex.quote(str(path)) for path in (folder, folder / run.config.name))
        commands = [f"forecast reproduce {name}", f"forecast predict {name}", f"forecast train {config}"]
        commands = [f"forecast backtest {config}"] if run.folds.exists() else commands[: 2 if continues else 3]
        yield Text("\n".join(commands), "code")
        environment = run.read(run.environment, Environment)
        versions = ", ".join(f"{package} {version}" for package, version in environment.packages.items())
        yield Text(f"forecast {environment.forecast}, Python {environment.python}, {versions}", "note")
        yield Text(f"{environment.platform}; {environment.cpu}", "note")
        if environment.seconds:
            spent = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in environment.seconds.items())
            yield Text(f"Seconds: {spent}", "note")


def _settings(run: Run) -> dict[str, str]:
    """Return the keys of its config that are not at their default, with values as YAML writes them."""
    return {key: format_yaml_line(value) for key, value in non_default_values(run.read_config()).items()}


def _label(errors: pd.DataFrame) -> pd.DataFrame:
    """Return a table of errors with the names of forecasters that people read."""
    return errors.rename(columns={f"mae_{name}": LABELS[name] for name in (MODEL, *BASELINES)} | {"series_id": "series"})


def _diagnosis(evidence: Evidence) -> Iterator[Element]:
    problems = find_problems(evidence)
    if problems:
        yield Items([(problem.name.capitalize(), f"{problem.evidence} {problem.remedy}") for problem in problems])
    else:
        yield Text(HEALTHY)
    if sentence := remark(evidence):
        yield Text(sentence)


def _data(contract: Contract) -> Iterator[Element]:
    facts = {name.replace("_", " "): getattr(contract, name) for name in FACTS}
    facts |= {f"{subset} windows": counts.windows for subset, counts in contract.parts.items()}
    yield Table(pd.DataFrame({"fact": facts.keys(), "value": map(str, facts.values())}), "Data file.")
    columns = pd.DataFrame([{"column": name, **vars(column)} for name, column in contract.columns.items()])
    yield Table(columns, "Columns. Filled is the share of missing cells, which were filled.")
    repairs = describe_repairs(contract.repairs)
    yield Text("Repairs:" if repairs else "Nothing was repaired.")
    if repairs:
        yield Items([("", repair) for repair in repairs])


def _leaks(certificate: Certificate) -> Iterator[Element]:
    passed = "No leak: all values after a cutoff were changed, and nothing before it changed."
    yield Text(passed if certificate.passed else "LEAK: something before a cutoff depends on values after it.")
    caption = "No check can tell when the values of a covariate became known."
    yield Table(pd.DataFrame(check.model_dump(by_alias=False) for check in certificate.checks), caption)
