"""One page explains a run, loads nothing, and can be used by anybody."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.commands.backtest import backtest
from forecast.commands.diagnose import diagnose
from forecast.commands.train import train
from forecast.errors import RunError
from forecast.evaluation.metrics import format_number
from forecast.evaluation.significance import Comparison
from forecast.reports.cards import make_cards
from forecast.reports.charts import chart_forecast
from forecast.reports.page import Chart, Line, Picture, Table, Text, render_page, spread_of
from forecast.reports.report import report
from forecast.reports.searches import write_index_page
from forecast.runs.run import Run
from tests.hostile_runs import OLD_RUNS

WIDTHS = {"desktop": 1280, "phone": 390}
MOST_BYTES = 2_000_000
NO_HISTORY = pd.DataFrame({"actual": [], "subset": []}, index=pd.DatetimeIndex([]))


def headings(run: Run) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", run.report.read_text())


OPEN_ALL = "document.querySelectorAll('details').forEach((details) => (details.open = true))"


@pytest.mark.slow
def test_train_ends_with_a_report_that_begins_with_the_verdict(sales):
    run = Run(sales / "run")
    text = run.report.read_text()
    whole = ["Forecast", "Errors", "Diagnosis", "Training", "Importance", "Residuals", "Data", "Leak checks", "Reproduction"]
    assert headings(run) == whole
    verdict = run.read_json(run.metrics_file)["verdict"].split(" (")[0]
    assert text.index(verdict) < text.index("Diagnosis")
    assert re.search(r"training.epochs</td><td[^>]*>2<", text)
    assert "p = " in text, "Ljung-Box"
    assert "data.csv" in text
    assert "Actual values within the 80% interval: " in text
    future = pd.read_csv(run.forecast_file)
    texts = [format_number(value, spread_of(future.forecast)) for value in future.forecast]
    assert all(f"<td>{value}</td>" in text for value in texts), "what comes next, in numbers"


@pytest.mark.slow
def test_a_backtest_has_one_of_its_folds(sales):
    run = Run(sales / "backtest")
    assert headings(run) == ["Forecast", "Errors", "Residuals", "Data", "Reproduction"]
    assert "Mean absolute error of each fold." in run.report.read_text()


@pytest.mark.slow
def test_the_command_writes_it_anew(sales, tmp_path):
    shutil.copytree(sales / "run", tmp_path / "run")
    (tmp_path / "run" / "report.html").unlink()
    done = CliRunner().invoke(app, ["report", str(tmp_path / "run")])
    assert done.exit_code == 0
    assert done.stdout.startswith(f"Wrote {tmp_path / 'run' / 'report.html'}")
    assert (tmp_path / "run" / "report.html").exists()
    with pytest.raises(RunError, match="does not exist"):
        report(tmp_path / "none")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "backtest"])
def test_a_report_from_files_equals_that_of_the_training(sales, name):
    before = Run(sales / name).report.read_text()
    assert report(sales / name).read_text() == before


@pytest.mark.slow
@pytest.mark.parametrize("text", ["{}", "[]", '{"verdict": 3, "advice": ""}'])
def test_a_damaged_run_is_told(sales, tmp_path, text):
    shutil.copytree(sales / "run", tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text(text)
    for explain in (report, diagnose):
        with pytest.raises(RunError, match=r"metrics.json: this file cannot be read \("):
            explain(tmp_path / "run")


@pytest.mark.explained
@pytest.mark.slow
def test_columns_may_be_called_like_those_of_the_tool(tmp_path):
    days, rng = pd.date_range("2024-01-01", periods=60), np.random.default_rng(0)
    targets, covariates = ["cutoff", "target", "run", "day_of_week_sin"], ["step", "actual", "forecast", "q0.1", "windows"]
    series = [
        pd.DataFrame(rng.normal(9, 1, (60, 9)), columns=[*targets, *covariates]).assign(time=days, series=name, name=1.5)
        for name in ("cutoff", "timestamp")
    ]
    pd.concat(series).to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "config.yaml").write_text(
        f"data: {{path: data.csv, timestamp: time, target: {targets}, series_id: series, past_covariates: {covariates[:2]},"
        f" known_covariates: {covariates[2:]}, static_covariates: name}}\nsplits: {{validation: 10, test: 10}}\n"
        "windows: {lookback: 7, horizon: 1}\nmodel: {units: 2}\ntraining: {epochs: 1}\nbacktest: {folds: 1}\n"
    )
    run = train(tmp_path / "config.yaml", tmp_path / "run")
    assert diagnose(run) is not None
    for text in (report(run).read_text(), report(backtest(tmp_path / "config.yaml", tmp_path / "backtest")).read_text()):
        assert all(f"{name}: {target}" in text for name in ("cutoff",) for target in targets)


def test_nothing_in_a_page_is_code_but_its_own():
    lines = [Line("</script>", np.ones(2), "other")]
    chart = Chart("one", "<b>", "</script><script>alert(1)</script>", np.arange(2), lines, "</script>", "")
    table = Table(pd.DataFrame({"<u>": ["<script>alert(2)</script>"]}), "<s>", "two")
    text = render_page("<i>", "x", [Text("<b>"), chart, table])
    assert "alert(1)</script>" not in text
    assert text.count("</script>") == 2 + 1, "uPlot, our script, and the numbers of the chart"
    assert "<script>alert(2)" not in text
    assert not re.search(r"<(b|i|u|s)>", text)
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)


def test_numbers_of_a_chart_are_json_and_missing_ones_null():
    values = np.array([100_000_000.0, 100_000_123.456789, np.nan, np.inf])
    chart = Chart("one", "t", "w", np.arange(4), [Line("l", values, "other")], "", "")
    text = render_page("x", "x", [chart])
    assert '"values":[100000000.0,100000123.46,null,null]' in text, "fine enough for their range"
    assert '"x":[0,1,2,3]' in text
    small = Chart("one", "t", "w", np.arange(2), [Line("l", np.array([1.0, 1.23456e-9]), "other")], "", "", log=True)
    assert '"values":[1.0,1.235e-09]' in render_page("x", "x", [small])


NUMBERS = {
    "as they are": ([14.4213, 0.5, 1234.6], ["14.42", "0.5", "1235"]),
    "near a billion": ([1_000_000_001.2, 1_000_000_004.5], ["1,000,000,001.2", "1,000,000,004.5"]),
    "around a billion": ([999_123_456.7, 1_200_000_000.0], ["999,123,457", "1,200,000,000"]),
    "near one": ([1.00001, 1.00002], ["1.00001", "1.00002"]),
    "of any size": ([1e-9, 3e20, 0.0, -0.0], ["1e-09", "3e+20", "0", "0"]),
    "missing": ([float("nan"), 2.0], ["", "2"]),
}


@pytest.mark.parametrize(("values", "texts"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_differ_look_different(values, texts):
    assert Table(pd.DataFrame({"value": values}), "").cells() == [[text] for text in texts]


def one_step(days: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forecasts of a horizon of 1, and that of the day after them."""
    cutoffs = pd.date_range("2024-01-01", periods=days + 1)
    rows = pd.DataFrame({"cutoff": cutoffs, "timestamp": cutoffs + pd.Timedelta("1D"), "step": 1, "actual": 2.0, "forecast": 1.0})
    rows = rows.assign(seasonal_naive=0.0, **{"q0.1": 0.5, "q0.9": 1.5})
    return rows[:-1], rows[-1:].drop(columns=["cutoff", "actual", "seasonal_naive"])


def test_a_chart_of_a_horizon_of_1_has_one_line_bands_and_the_future():
    chart = chart_forecast("one", "a: y", *one_step(50), NO_HISTORY, "D")
    values = {line.label: line.values for line in chart.lines}
    assert np.isfinite(values["forecast"]).tolist() == [True] * 50 + [False]
    assert np.isfinite(values["future"]).tolist() == [False] * 50 + [True]
    assert np.isfinite(values["80% interval, low"]).all()
    assert [(band.label, band.low, band.high) for band in chart.bands] == [("80% interval", 4, 5)]
    assert chart.unit == "day"
    assert [name for name, _ in chart.spans] == ["test set", "future"]
    assert "and 1 step ahead" in chart.description


@contextlib.contextmanager
def browser() -> Iterator[object]:
    """Debian's Chromium, by Playwright."""
    chromium = shutil.which("chromium")
    if not chromium:
        if os.environ.get("CI"):
            pytest.fail("chromium is absent in CI")
        pytest.skip("chromium is absent: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def many_series_run(tmp_path_factory, explained):
    """500 short series, one epoch."""
    folder = tmp_path_factory.mktemp("many")
    days, rng = pd.date_range("2024-01-01", periods=60), np.random.default_rng(0)
    series = [f"shop {number} <&>" for number in range(500)]
    rows = pd.DataFrame({"day": np.tile(days, 500), "shop": np.repeat(series, 60), "sales": rng.normal(100, 10, 30_000).round(2)})
    rows.to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: day, target: sales, series_id: shop}\nsplits: {validation: 10, test: 10}\n"
        "windows: {lookback: 7, horizon: 3}\nmodel: {units: 4}\ntraining: {epochs: 1, batch_size: 512}\n"
    )
    with explained():
        return train(folder / "config.yaml", folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "width"),
    [
        *[("run", "desktop"), ("many", "phone")],
        *(
            pytest.param(*rest, marks=pytest.mark.exhaustive)
            for rest in [("run", "phone"), ("backtest", "desktop"), ("backtest", "phone"), ("many", "desktop")]
        ),
    ],
)
def test_a_browser_opens_it_without_a_complaint(which, width, sales, many_series_run):
    from axe_playwright_python.sync_playwright import Axe

    run = many_series_run if which == "many" else Run(sales / which)
    assert run.report.stat().st_size < MOST_BYTES
    told, asked = [], []
    with browser() as chromium:
        for scheme in ("light", "dark"):
            tab = chromium.new_context(
                viewport={"width": WIDTHS[width], "height": 900}, color_scheme=scheme, bypass_csp=True
            ).new_page()  # axe is a script that comes from outside
            tab.on("console", lambda message: told.append(message.text))
            tab.on("pageerror", lambda error: told.append(str(error)))
            tab.on("request", lambda request: asked.append(request.url))
            tab.goto(run.report.resolve().as_uri())
            tab.evaluate(OPEN_ALL)
            tab.wait_for_function("document.querySelectorAll('.uplot:not(.overview)').length == shown.length")
            found = Axe().run(tab).response["violations"]
            assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
            assert tab.locator(".uplot:not(.overview)").count() == tab.locator("[data-chart]").count() > 3
            assert tab.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width], "nothing sticks out"
    assert told == []
    assert asked == [run.report.resolve().as_uri()] * 2


@pytest.mark.slow
def test_a_browser_draws_a_future_of_one_step_and_large_numbers(tmp_path):
    predictions, future = one_step(50)
    large = ["actual", "forecast", "seasonal_naive", "q0.1", "q0.9"]
    predictions[large] += 1e9
    future[["forecast", "q0.1", "q0.9"]] += 1e9
    chart = chart_forecast("one", "a: y", predictions, future, NO_HISTORY, "D")
    (tmp_path / "page.html").write_text(render_page("x", "x", [chart]))
    with browser() as chromium:
        tab = chromium.new_page()
        tab.goto((tmp_path / "page.html").as_uri())
        assert tab.evaluate("[1, 2, 3, 4].map((place) => isolated(shown[0].chart, place))") == [[], [], [], [50]]
        pixel = """() => {
            const chart = shown[0].chart;
            const [x, y] = [chart.valToPos(chart.data[0][50], "x", true), chart.valToPos(chart.data[4][50], "y", true)];
            return [...chart.ctx.getImageData(x - 1, y, 1, 1).data];
        }"""
        red, green, blue, alpha = tab.evaluate(pixel)
        assert red > 150 > max(green, blue), "the dot of the future"
        labels = tab.evaluate("labels(shown[0].chart, [1e9, 1e9 + 0.5, 1e9 + 1])")
        assert labels == ["1,000,000,000", "1,000,000,000.5", "1,000,000,001"]


@pytest.mark.slow
def test_a_browser_keeps_the_page_from_loading_anything(tmp_path):
    (tmp_path / "page.html").write_text(render_page("x", "x", [Picture('<img src="https://example.com/x.png" alt="">')]))
    told = []
    with browser() as chromium:
        tab = chromium.new_page()
        tab.on("console", lambda message: told.append(message.text))
        tab.goto((tmp_path / "page.html").as_uri())
        tab.wait_for_timeout(200)
    assert any("Content Security Policy" in message for message in told)


@pytest.mark.slow
def test_tables_are_searched_and_charts_are_zoomed_by_keys(many_series_run):
    with browser() as chromium:
        tab = chromium.new_page()
        tab.goto(many_series_run.report.resolve().as_uri())
        tab.get_by_label("Search").fill("shop 49")
        assert tab.locator("#series tbody tr:visible").count() == 1 + 10  # 49, and 490 to 499
        chart = tab.locator("[data-chart]").first
        span = "() => { const { min, max } = shown[0].chart.scales.x; return max - min; }"
        first = tab.evaluate(span)
        chart.focus()
        chart.press("+")
        assert tab.evaluate(span) == pytest.approx(first / 2)
        chart.press("0")
        assert tab.evaluate(span) == tab.evaluate("shown[0].spec.x.at(-1) - shown[0].spec.x[0]") >= first


def forecasts_of(days: int, horizon: int) -> pd.DataFrame:
    """A window per day, in which the forecast is the number of the cutoff, and the actual value that of the day."""
    rows = [
        {
            "cutoff": pd.Timestamp("2024-01-01") + pd.Timedelta(cutoff, "D"),
            "step": step,
            "actual": cutoff + step,
            "forecast": cutoff,
        }
        for cutoff in range(days)
        for step in range(1, horizon + 1)
    ]
    table = pd.DataFrame(rows).assign(seasonal_naive=0.0)
    return table.assign(timestamp=table.cutoff + pd.to_timedelta(table.step, "D"))


def test_the_slider_shows_what_each_cutoff_would_have_said():
    predictions = forecasts_of(20, 3)
    chart = chart_forecast("one", "a: y", predictions, predictions[:0], NO_HISTORY, "D")
    assert [frame.label for frame in chart.frames] == [f"2024-01-{day:02}" for day in range(1, 21)]
    for number, frame in enumerate(chart.frames):
        stamps = pd.to_datetime(chart.x[frame.start : frame.start + 3], unit="s")
        assert stamps[0] == pd.Timestamp("2024-01-02") + pd.Timedelta(number, "D"), "the day after the cutoff"
        assert frame.lines[1].tolist() == [number] * 3


def test_the_chart_names_the_sets_and_begins_shortly_before_the_test_set():
    days = pd.date_range("2023-01-01", "2024-01-01")
    history = pd.DataFrame({"actual": 1.0, "subset": ["train"] * 300 + ["validation"] * 66}, index=days)
    predictions = forecasts_of(20, 3)
    chart = chart_forecast("one", "a: y", predictions, predictions[:0], history, "D")
    begins = {name: str(pd.Timestamp(second, unit="s").date()) for name, second in chart.spans}
    assert begins == {"training set": "2023-01-01", "validation set": "2023-10-28", "test set": "2024-01-02"}
    assert pd.Timestamp("2023-10-01") < pd.Timestamp(chart.view, unit="s") < pd.Timestamp("2024-01-01")
    assert len(chart.x) == 366 + 22


@pytest.fixture
def page(sales):
    """The report of a run in a browser."""
    with browser() as chromium:
        tab = chromium.new_context(accept_downloads=True, bypass_csp=True).new_page()
        tab.goto(Run(sales / "run").report.resolve().as_uri())
        yield tab


@pytest.mark.slow
def test_a_browser_moves_the_slider_and_saves_the_numbers_and_the_picture(page):
    values = "(line) => shown[0].chart.data[line].filter((value) => value != null).length"
    horizon = page.evaluate("shown[0].spec.frames[0].lines[1].length")
    assert page.evaluate(values, 2) > horizon
    page.locator("[data-frames]").first.fill("0")
    assert page.evaluate(values, 2) == horizon, "one window"
    assert page.locator("[data-frame]").first.text_content() != "all cutoffs"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Data (CSV)").first.click()
    table = pd.read_csv(saved.value.path(), parse_dates=["timestamp"])
    assert list(table.columns[:3]) == ["timestamp", "actual", "forecast"]
    assert len(table) == page.evaluate("shown[0].spec.x.length")
    assert table.forecast.notna().sum() == horizon, "what the slider shows"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Picture (PNG)").first.click()
    assert saved.value.path().read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_a_browser_shows_values_at_the_cursor_and_hides_lines(page):
    page.evaluate("shown[0].chart.setCursor({left: shown[0].chart.over.clientWidth - 20, top: 50})")
    text = page.locator(".tooltip").first.text_content()
    assert re.match(r"[A-Z][a-z]{2} \d{4}\n", text), "the data is monthly"
    assert "95% interval: " in text
    entries = page.locator("[data-legend]").first.locator("button")
    names = [entry.strip() for entry in entries.all_text_contents()]
    assert names == ["actual", "forecast", "seasonal naive", "network, training set", "future", "95% interval", "80% interval"]
    entries.nth(1).click()
    assert page.evaluate("shown[0].chart.series[2].show") is False


@pytest.mark.slow
def test_a_chart_stays_as_it_is_when_a_section_opens_the_width_changes_or_it_gets_dark(page):
    page.locator("[data-frames]").first.fill("1")
    page.locator("[data-legend]").first.locator("button").nth(2).click()
    state = """() => {
        const { chart } = shown[0];
        return [chart.data[2].filter((value) => value != null).length, chart.series[3].show, chart.scales.x.min];
    }"""
    before = page.evaluate(state)
    assert before[1] is False
    page.evaluate(OPEN_ALL)
    page.wait_for_function("shown.length == document.querySelectorAll('[data-chart]').length")
    page.set_viewport_size({"width": 600, "height": 900})
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("shown[0].chart.width == shown[0].place.clientWidth")
    assert page.evaluate(state) == before
    for _ in range(5):
        page.locator("[data-chart]").first.press("-")
    assert page.evaluate("document.documentElement.scrollWidth") <= 600, "zooming out ends at the whole of x"


@pytest.mark.slow
def test_a_browser_sorts_tables_by_size_and_back(page):
    heading = page.locator("#errors ~ figure th button", has_text="MAE").first
    cells = "(button) => [...button.closest('table').tBodies[0].rows].map((row) => Number(row.cells[1].textContent))"
    for is_descending in (False, True):
        heading.click()
        errors = heading.evaluate(cells)
        assert errors == sorted(errors, reverse=is_descending)
    assert heading.locator("..").get_attribute("aria-sort") == "descending"


OUTCOMES = {
    "beats": (Comparison(0.5, 0.4, 0.6, 0.001), "50% better", "good"),
    "loses": (Comparison(-0.25, -0.4, -0.1, 0.001), "25% worse", "bad"),
    "cannot be told apart": (Comparison(0.1, -0.1, 0.3, 0.4), "10% better", "fair"),
    "equals": (Comparison(0.001), "equal", "fair"),
    "too few cutoffs": (Comparison(0.1), "10% better", "fair"),
    "an exact baseline": (Comparison(None), "worse", "bad"),
}


@pytest.mark.parametrize(("comparison", "value", "tone"), OUTCOMES.values(), ids=OUTCOMES)
def test_the_card_of_the_gain_is_green_only_for_a_significant_lead(comparison, value, tone):
    metrics = Run(OLD_RUNS / "version-3-scored").metrics
    others = dict.fromkeys(metrics.compared, Comparison(0.9, 0.8, 0.95, 0.001))
    cards = make_cards(metrics.model_copy(update={"compared": others | {"linear": comparison}}), "conformal")
    (card,) = [card for card in cards if card.title == "Against linear, the best baseline"]
    assert (card.value, card.tone) == (value, tone)


COVERAGES = {0.80: "good", 0.78: "good", 0.70: "fair", 0.60: "bad", 0.90: "fair", 1.0: "fair"}


@pytest.mark.parametrize(("coverage", "tone"), COVERAGES.items())
def test_the_card_of_the_coverage_is_red_only_for_narrow_intervals(coverage, tone):
    metrics = Run(OLD_RUNS / "version-3-scored").metrics
    method, scores = next(iter(metrics.test.intervals.items()))
    levels = {"80": scores.levels["80"].model_copy(update={"coverage": coverage})}
    intervals = {method: scores.model_copy(update={"levels": levels})}
    test = metrics.test.model_copy(update={"intervals": intervals})
    (card,) = [
        card for card in make_cards(metrics.model_copy(update={"test": test}), method) if card.title.startswith("Coverage")
    ]
    assert (card.value, card.tone) == (f"{coverage:.0%}", tone)


def test_the_index_page_leads_to_reports_whatever_their_runs_are_called(tmp_path):
    names = ["a#b 1", "javascript:alert(1)", "<b>"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.html").write_text("")
    row = dict.fromkeys(["kind", "state", "at", "data", "target", "best_baseline"], "x")
    numbers = dict.fromkeys(["horizon", "mae", "mase", "wape", "gain"], 0.5)
    write_index_page(tmp_path / "index.html", pd.DataFrame([{"run": str(tmp_path / name), **row, **numbers} for name in names]))
    text = (tmp_path / "index.html").read_text()
    links = re.findall(r'<a href="([^#"][^"]*)"', text)
    assert links == ["a%23b%201/report.html", "javascript%3Aalert%281%29/report.html", "%3Cb%3E/report.html"]
    assert "<b>" not in text
    assert "Better than the best baseline of the test set: 3 of 3." in text
