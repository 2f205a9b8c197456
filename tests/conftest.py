"""What several test files need: a small project on disk, and the shared data sets."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from forecast.runs.run import Run

SHARED = Path(__file__).parents[2] / "shared" / "data"


def seasonal_rows(rows: int = 120, seed: int = 0) -> np.ndarray:
    """A monthly season on a trend with a little noise."""
    time = np.arange(rows)
    return 50 + 0.3 * time + 10 * np.sin(2 * np.pi * time / 12) + np.random.default_rng(seed).normal(0, 0.5, rows)


def kill_workers(count: int) -> list[int]:
    """Kill so many processes that compute jobs; returns which they were."""
    killed = [process.pid for process in multiprocessing.active_children()][:count]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    return killed


@pytest.fixture(autouse=True)
def _forget_networks() -> Iterator[None]:
    """Let Keras forget the networks of a test, which would else fill the memory."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
        if not gc.get_freeze_count():
            gc.freeze()  # The garbage collector need not look at the modules of TensorFlow after each test, which takes 0.3 s.


@pytest.fixture(scope="session", autouse=True)
def explained() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Trainings write no importance, gradients, plots and report, half of a short training, except within this context."""
    names = [f"forecast.commands.train.{name}" for name in ("explain", "write_plots", "write_report")]
    steps = {name: pkgutil.resolve_name(name) for name in names}

    @contextlib.contextmanager
    def explain() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name, step in steps.items():
                patch.setattr(name, step)
            yield

    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setattr(name, lambda *_: None)
        yield explain


@pytest.fixture(autouse=True)
def _explained_if_marked(request: pytest.FixtureRequest, explained: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Let the trainings of a test marked `explained` write everything."""
    with explained() if "explained" in request.keywords else contextlib.nullcontext():
        yield


def write_project(folder: Path, table: pd.DataFrame | None = None, **sections: dict) -> Path:
    """Write data.csv and config.yaml into a folder and return the config's path; sections given are merged in."""
    if table is None:
        months = pd.date_range("2010-01-01", periods=120, freq="MS")
        table = pd.DataFrame({"month": months, "sales": seasonal_rows()})
    table.to_csv(folder / "data.csv", index=False)
    config: dict = {
        "data": {"path": "data.csv", "timestamp": "month", "target": "sales"},
        "splits": {"validation": 18, "test": 18},
        "windows": {"lookback": 12, "horizon": 3},
        "model": {"units": [4]},
        "training": {"epochs": 2},
    }
    for name, section in sections.items():
        config[name] = {**config[name], **section} if isinstance(section, dict) and name in config else section
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Writes a project into the folder of the test; see `write_project`."""
    return partial(write_project, tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Trains a project once for all tests that only read its run; see `write_project`. A test that changes the run copies it."""
    from forecast.commands.train import train  # Which few tests need.

    runs: dict[str, Run] = {}

    def find(table: pd.DataFrame | None = None, **sections: dict) -> Run:
        key = repr((None if table is None else table.to_csv(), sections))
        if key not in runs:
            folder = tmp_path_factory.mktemp("trained")
            runs[key] = train(write_project(folder, table, **sections), folder / "run")
        return runs[key]

    return find


@pytest.fixture
def shared_data() -> Path:
    """The folder of shared data sets; absent on a user's machine, never in CI."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is absent in CI")
        pytest.skip(f"{SHARED} is absent: the shared data sets are only on the project's own machines")
    return SHARED


@pytest.fixture(scope="session")
def priced_run(tmp_path_factory):
    """Trained with the price known ahead, the visits known up to the cutoff, and the day of the week."""
    from forecast.commands.train import train  # which few tests need
    from tests.shops import priced

    folder = tmp_path_factory.mktemp("covariates")
    priced().to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: day, target: sales, series_id: shop, known_covariates: price,"
        " past_covariates: visits, calendar: day_of_week}\nsplits: {validation: 60, test: 60}\n"
        "windows: {lookback: 7, horizon: 3}\nmodel: {units: 16, normalization: none}\n"
        "training: {epochs: 40, learning_rate: 0.01, early_stopping: {patience: 10}}\n"
    )
    return train(folder / "config.yaml", folder / "run")


@pytest.fixture(scope="session")
def sales(tmp_path_factory, explained):
    """A folder with a config, its data, the run that it trains and a backtest of it, with three folds."""
    from forecast.commands.backtest import backtest
    from forecast.commands.train import train

    folder = tmp_path_factory.mktemp("sales")
    months = pd.date_range("2005-01-01", periods=180, freq="MS")
    time = np.arange(180)
    sales = 50 + 0.3 * time + 10 * np.sin(2 * np.pi * time / 12) + np.random.default_rng(0).normal(0, 2, 180)
    pd.DataFrame({"month": months, "sales": sales}).to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: sales}\nsplits: {validation: 24, test: 27}\n"
        "windows: {lookback: 12, horizon: 3}\nmodel: {units: 4}\ntraining: {epochs: 2}\nbacktest: {folds: 3}\n"
    )
    with explained():
        train(folder / "config.yaml", folder / "run")
    backtest(folder / "config.yaml", folder / "backtest")
    return folder
