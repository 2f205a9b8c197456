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

from forecast.cli import app
from forecast.diagnosis import diagnose
from forecast.errors import RunError
from forecast.pages import Chart, Line, drawn, page, table
from forecast.reports import report
from forecast.runs import Run
from forecast.training import train

WIDTHS = {"desktop": 1280, "phone": 390}
MOST_BYTES = 2_000_000


def headings(run: Run) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", run.report.read_text())


@pytest.mark.slow
def test_train_ends_with_a_report_that_begins_with_the_verdict(sales):
    run = Run(sales / "run")
    text = run.report.read_text()
    whole = ["Diagnosis", "Forecast", "Errors", "Training", "What it looks at", "Residuals", "Data", "Leaks", "How to repeat it"]
    assert headings(run) == whole
    verdict = run.read_json(run.metrics)["verdict"].split(" (")[0]
    assert text.index(verdict) < text.index("Diagnosis")
    assert "training.epochs</td><td>2<" in text
    assert "p = " in text, "Ljung-Box"
    assert "data.csv" in text
    assert "Within the 80% interval: " in text
    future = pd.read_csv(run.forecast)
    assert all(f"<td>{value:.4g}</td>" in text for value in future.forecast), "what comes next, in numbers"


@pytest.mark.slow
def test_a_backtest_has_one_of_its_folds(sales):
    run = Run(sales / "backtest")
    assert headings(run) == ["Forecast", "Errors", "Residuals", "Data", "How to repeat it"]
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
@pytest.mark.parametrize("text", ["{}", "[]", '{"verdict": 3, "advice": ""}'])
def test_a_damaged_run_is_told(sales, tmp_path, text):
    shutil.copytree(sales / "run", tmp_path / "run")
    (tmp_path / "run" / "metrics.json").write_text(text)
    for explain in (report, diagnose):
        with pytest.raises(RunError, match="its files do not hold what a run's do"):
            explain(tmp_path / "run")


@pytest.mark.slow
def test_a_page_that_cannot_be_made_costs_no_training(sales, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("forecast.reports._residuals", None)
    run = train(sales / "config.yaml", tmp_path / "run")
    assert run.finished
    assert not run.report.exists()
    assert "report.html could not be made" in caplog.text


def test_nothing_in_a_page_is_code_but_its_own():
    chart = Chart("<b>", "</script><script>alert(1)</script>", np.arange(2), [Line("</script>", np.ones(2), "other")], "", "")
    text = page("<i>", [drawn(chart, "one"), table(pd.DataFrame({"<u>": ["<script>alert(2)</script>"]}), "<s>", "two")])
    assert "alert(1)</script>" not in text
    assert "<script>alert(2)" not in text
    assert not re.search(r"<(b|i|u|s)>", text)
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", text)


def test_numbers_of_a_chart_are_json_and_missing_ones_null():
    values = np.array([100_000_000.0, 100_000_123.456789, np.nan, np.inf])
    chart = Chart("t", "w", np.arange(4), [Line("l", values, "other")], "", "")
    assert '"values":[100000000.0,100000123.46,null,null]' in drawn(chart, "one"), "fine enough for their range"
    assert '"x":[0,1,2,3]' in drawn(chart, "one")
    small = Chart("t", "w", np.arange(2), [Line("l", np.array([1.0, 1.23456e-9]), "other")], "", "", log=True)
    assert '"values":[1.0,1.235e-09]' in drawn(small, "one")


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
def many_series_run(tmp_path_factory):
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
    return train(folder / "config.yaml", folder / "run")


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("which", ["run", "backtest", "many"])
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
            found = Axe().run(tab).response["violations"]
            assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
            assert tab.locator(".uplot").count() == tab.locator("[data-chart]").count() > 3
            assert tab.evaluate("document.documentElement.scrollWidth") <= WIDTHS[width], "nothing sticks out"
    assert told == []
    assert asked == [run.report.resolve().as_uri()] * 2


@pytest.mark.slow
def test_a_browser_keeps_the_page_from_loading_anything(tmp_path):
    (tmp_path / "page.html").write_text(page("x", ['<img src="https://example.com/x.png" alt="">']))
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
        whole = tab.evaluate(span)
        chart.focus()
        chart.press("+")
        assert tab.evaluate(span) == pytest.approx(whole / 2)
        chart.press("0")
        assert tab.evaluate(span) == pytest.approx(whole)
