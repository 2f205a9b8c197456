"""`train` writes a run that is whole, honest and free of leaks."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from forecast.cli.app import app
from forecast.cli.output import describe_training
from forecast.commands.diagnose import diagnose
from forecast.commands.export import export
from forecast.commands.predict import predict
from forecast.commands.train import resume_training, train
from forecast.config.load import load_config
from forecast.config.schema import TrainingConfig
from forecast.errors import ConfigError, DataError, RunError
from forecast.evaluation.scores import BASELINES, MODEL
from forecast.forecasters.network.fitting import Batches, compute_learning_rate
from forecast.forecasters.network.numpy_runtime import forward
from forecast.forecasters.preparation import prepare
from forecast.runs.loaded import read_trained
from forecast.runs.run import Run
from forecast.training.results import _reader_difference
from forecast.windows.windows import Windows
from tests.conftest import seasonal_rows


def two_series() -> pd.DataFrame:
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    columns = {"month": months, "sales": seasonal_rows(seed=1), "visits": 3 * seasonal_rows(seed=2)}
    return pd.concat([pd.DataFrame(columns | {"shop": name}) for name in ("a", "b")])


# --- leakage


@pytest.mark.parametrize("method", ["minmax", "standard", "robust"])
@pytest.mark.parametrize("transform", ["none", "log1p"])
@pytest.mark.parametrize("row", [84, 85, 102, 119], ids=lambda row: f"row {row}")
def test_values_after_the_training_cutoff_change_nothing_before(project, method, transform, row):
    table = two_series()
    data = {"series_id": "shop", "target": ["sales", "visits"]}
    sections = {"data": data, "scaling": {"method": method, "transform": transform}}
    before = prepare(load_config(project(table, **sections)))
    assert before.splits.borders[0, 1] == 84  # the first row after the training cutoff
    table.loc[table.index >= row, ["sales", "visits"]] *= 1e3  # this value and every later one
    after = prepare(load_config(project(table, **sections)))
    assert not np.array_equal(before.panel.values, after.panel.values)
    np.testing.assert_array_equal(before.scaler.offset, after.scaler.offset)
    np.testing.assert_array_equal(before.scaler.scale, after.scaler.scale)
    for name in ("past_values", "targets"):
        np.testing.assert_array_equal(*(getattr(side.windows["train"], name)() for side in (before, after)))


@pytest.mark.parametrize("policy", ["interpolate", "forward", "season"])
@pytest.mark.parametrize("row", [84, 86, 87], ids=lambda row: f"row {row}")
def test_filled_values_leak_nothing_either(project, policy, row):
    table = two_series()
    table.loc[table.index.isin([40, 83, 84, 85, 86]), "sales"] = np.nan  # a gap over the training cutoff
    sections = {"data": {"series_id": "shop", "target": ["sales", "visits"], "missing_values": policy}}
    before = prepare(load_config(project(table, **sections)))
    table.loc[table.index >= row, ["sales", "visits"]] *= 1e3
    after = prepare(load_config(project(table, **sections)))
    np.testing.assert_array_equal(before.scaler.offset, after.scaler.offset)
    np.testing.assert_array_equal(before.scaler.scale, after.scaler.scale)
    for name in ("past_values", "targets"):
        np.testing.assert_array_equal(*(getattr(side.windows["train"], name)() for side in (before, after)))
    assert not before.panel.filled[before.windows["train"].first - 1].any()


def test_values_inside_the_training_part_do_change_it(project):
    table = two_series()
    data = {"series_id": "shop", "target": ["sales", "visits"]}
    before = prepare(load_config(project(table, data=data)))
    table.loc[table.index == 83, ["sales", "visits"]] = 1e6
    after = prepare(load_config(project(table, data=data)))
    assert not np.array_equal(before.scaler.scale, after.scaler.scale)


# --- a whole run


@pytest.mark.explained
@pytest.mark.slow
@pytest.mark.backend
def test_a_run_is_whole(project, tmp_path):
    seen = []
    config = project(two_series(), data={"series_id": "shop", "target": ["sales", "visits"]}, splits={"test": 20})
    run = train(config, tmp_path / "run", on_progress=seen.append)
    files = {str(path.relative_to(run.directory)) for path in run.directory.rglob("*") if path.is_file()}
    assert files == {
        "report.html", "forecast.csv", "predictions.csv", "metrics.json", "config.yaml",
        "model/network.json", "model/weights.safetensors", "model/scored.safetensors", "model/intervals.safetensors",
        "model/scaler.json", "model/contract.json", "model/recent.csv", "model/SHA256SUMS",
        "evaluation/series.csv", "evaluation/cutoffs.csv", "evaluation/importance.json", "evaluation/leakage.json",
        "evaluation/diagnosis.json", "evaluation/actual.csv", "evaluation/fitted.csv",
        "training/history.csv", "training/log.txt", "training/status.json", "training/environment.json",
        "training/fingerprints.json", "training/gradients.json",
        "plots/forecast.png", "plots/learning_curve.png", "plots/error_per_step.png", "plots/residuals.png", "plots/fit.png",
    }  # fmt: skip
    assert run.read_json(run.status)["state"] == "finished"
    assert [progress.epoch for progress in seen if progress.done == 1 and not progress.refit] == [0, 1, 2]

    history = pd.read_csv(run.history_file)
    assert list(history.columns) == ["seed", "epoch", "loss", "val_loss", "learning_rate", "seconds", "gradient_norm", "clipped"]
    assert history.epoch.tolist() == [0, 1, 2]

    predictions = pd.read_csv(run.predictions_file, parse_dates=["cutoff", "timestamp"])
    quantiles = ["q0.025", "q0.1", "q0.9", "q0.975"]
    known = ["series_id", "cutoff", "timestamp", "step", "target", "actual"]
    assert list(predictions.columns) == [*known, MODEL, *BASELINES, *quantiles]
    assert len(predictions) == 2 * 18 * 3 * 2  # series, windows, steps, targets
    assert predictions.cutoff.min() == pd.Timestamp("2018-04-01")  # the last row before the 20 test months
    months = (predictions.timestamp.dt.to_period("M").astype("int64")) - (predictions.cutoff.dt.to_period("M").astype("int64"))
    assert (months == predictions.step).all()
    truth = two_series().melt(["month", "shop"]).set_index(["shop", "variable", "month"]).value
    found = predictions.set_index(["series_id", "target", "timestamp"]).actual
    np.testing.assert_allclose(found, truth.reindex(found.index))

    metrics = run.read_json(run.metrics_file)
    errors = (predictions[MODEL] - predictions.actual).abs()
    assert metrics["test"][MODEL]["total"]["mae"] == pytest.approx(errors.mean())
    per_step = errors.groupby(predictions.step).mean()
    assert metrics["test"][MODEL]["per_step"]["mae"] == pytest.approx(per_step.tolist())
    per_target = errors.groupby(predictions.target).mean()
    assert metrics["test"][MODEL]["per_target"]["visits"]["mae"] == pytest.approx(per_target["visits"])
    assert set(metrics["validation"]) == {"windows", "scored_on", "bias", MODEL, *BASELINES}
    relative = (predictions[MODEL] - predictions.actual)[predictions.target == "visits"]
    share = metrics["test"]["bias"]["visits"]["share"]
    assert share == pytest.approx(relative.mean() / np.sqrt(np.square(relative).mean()), rel=0.2), "series of one size"
    assert set(metrics["test"]) == set(metrics["validation"]) | {"intervals"}
    within = (predictions["q0.1"] <= predictions.actual) & (predictions.actual <= predictions["q0.9"])
    found = metrics["test"]["intervals"]["adaptive"]["levels"]["80"]
    assert found["coverage"] == pytest.approx(within.mean())
    assert found["per_step"]["coverage"] == pytest.approx(within.groupby(predictions.step).mean().tolist())

    contract = run.read_json(run.contract)
    assert (contract["rows"], contract["freq"], contract["repairs"]) == (240, "MS", [])
    assert contract["parts"]["test"] == {"windows": 36, "independent": 12}


@pytest.mark.slow
def test_the_fit_to_the_training_set_is_measured(trained):
    run = trained(windows={"horizon": 1}, training={"refit": False})
    fitted = pd.read_csv(run.fitted, parse_dates=["timestamp"])
    data = pd.read_csv(run.read_config().data.path, parse_dates=["month"]).set_index("month").sales
    errors = fitted.fitted - data.reindex(fitted.timestamp).to_numpy()
    assert run.metrics.training.windows == len(fitted) == run.read_json(run.contract)["parts"]["train"]["windows"]
    assert run.metrics.training.mae == pytest.approx(errors.abs().mean(), rel=1e-5)
    assert run.metrics.training.rmse == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-5)
    assert fitted.timestamp.max() < run.predictions.timestamp.min()


STEPS = {  # that come after the result is complete, and what they are called
    "write_certificate": "checking for leaks",
    "_write_forecast": "writing forecast.csv",
    "explain": "measuring the importance of the inputs",
    "write_diagnosis": "diagnosing the training",
    "write_plots": "drawing the plots",
    "write_report": "writing report.html",
}


def divide_by_zero(*_: object) -> None:
    raise ZeroDivisionError("float division by zero")


@pytest.mark.explained
@pytest.mark.slow
def test_what_only_explains_a_result_fails_no_training(project, tmp_path, monkeypatch, caplog):
    for name in STEPS:
        monkeypatch.setattr(f"forecast.commands.train.{name}", divide_by_zero)
    run = train(project(), tmp_path / "run")
    assert run.finished
    assert len(predict(run)) == 3
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    for step in STEPS.values():
        (line,) = [line for line in lines if line.startswith(step)]
        assert "failed (ZeroDivisionError: float division by zero). This is a bug in forecast." in line
        assert line.endswith(f"the traceback, which is in {run.log}.")
    assert run.log.read_text().count("in divide_by_zero") == len(STEPS)


@pytest.mark.explained
@pytest.mark.slow
def test_a_perfect_fit_is_explained(project, tmp_path, monkeypatch):
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    sales = np.r_[np.full(105, 5.0), np.random.default_rng(0).normal(5, 1, 15)]  # nothing to learn before the test part
    run = train(project(pd.DataFrame({"month": months, "sales": sales})), tmp_path / "run")
    assert pd.read_csv(run.history_file).val_loss.tolist() == [0.0, 0.0, 0.0]
    assert run.report.exists()
    assert "unstable training" not in [finding.name for finding in diagnose(run)]
    monkeypatch.setattr("forecast.cli.output.diagnose", divide_by_zero)
    assert list(describe_training(run, run.metrics))[-1].startswith("Next: forecast predict"), "whatever fails"


@pytest.mark.slow
def test_a_run_predicts_after_its_config_and_data_are_gone(project, tmp_path):
    config = project(training={"epochs": 1})
    run = train(config, tmp_path / "run")
    newer = pd.read_csv(config.parent / "data.csv")
    (config.parent / "data.csv").unlink()
    config.unlink()
    moved = tmp_path / "elsewhere"
    shutil.move(run.directory, moved)
    forecast = predict(moved)
    assert forecast.timestamp.tolist() == pd.date_range("2020-01-01", periods=3, freq="MS").tolist()
    pd.testing.assert_frame_equal(forecast, pd.read_csv(moved / "forecast.csv", parse_dates=["timestamp"]), check_dtype=False)

    newer["sales"] += 100  # the network centres each window, so its forecast follows the level
    newer["month"] = pd.date_range("2011-01-01", periods=120, freq="MS")
    newer.to_csv(tmp_path / "new.csv", index=False)
    shifted = predict(moved, tmp_path / "new.csv")
    np.testing.assert_allclose(shifted.forecast, forecast.forecast + 100, rtol=1e-4)
    assert shifted.timestamp.min() == pd.Timestamp("2021-01-01")


@pytest.mark.slow
def test_epoch_zero_is_the_linear_baseline_and_is_kept_if_nothing_beats_it(project, tmp_path):
    run = train(project(training={"learning_rate": 10.0, "optimizer": "sgd", "clipnorm": None, "epochs": 1}), tmp_path / "run")
    metrics = run.read_json(run.metrics_file)
    assert metrics["kept_epochs"] == {"1": 0}
    predictions = pd.read_csv(run.predictions_file)
    np.testing.assert_allclose(predictions[MODEL], predictions.linear, rtol=1e-4)
    assert metrics["verdict"].endswith("equals linear.")


@pytest.mark.parametrize("stride", [1, 12])
def test_the_linear_baseline_sees_every_training_window(project, stride):
    prepared = prepare(load_config(project(windows={"stride": stride})))
    assert len(prepared.windows["train"]) == 70
    assert len(prepared.network_windows["train"]) == (70 if stride == 1 else 6)
    assert (len(prepared.windows["validation"]), len(prepared.windows["test"])) == (16, 16)


def test_a_season_longer_than_the_training_part(project):
    with pytest.raises(ConfigError, match="data.season_length is 100, but the training set has 84 rows"):
        prepare(load_config(project(data={"season_length": 100})))
    assert prepare(load_config(project(splits={"validation": 50, "test": 60}, windows={"lookback": 3}))).season_length == 1


def test_data_with_more_gaps_than_windows(project):
    table = pd.DataFrame({"month": pd.date_range("2010-01-01", periods=120, freq="MS"), "sales": seasonal_rows()})
    table.loc[::3, "sales"] = np.nan
    config = load_config(project(table, data={"missing_values": "forward"}))
    with pytest.raises(ConfigError, match=r"config.yaml:\d+:3: every window of the training set contains filled values"):
        prepare(config)


def test_accumulation_beyond_an_epoch(project):
    with pytest.raises(ConfigError, match="training.accumulate_gradients is 9, but the number of batches in an epoch is 3"):
        prepare(load_config(project(training={"accumulate_gradients": 9})))


def test_auto_settings_depend_on_the_training_windows(project):
    table = pd.DataFrame({"month": pd.date_range("2020-01-01", periods=2000, freq="h"), "sales": seasonal_rows(2000)})
    path = project(table, training={"epochs": 100, "batch_size": "auto", "jit_compile": "auto"})
    training = prepare(load_config(path)).config.training  # 1391 training windows
    assert (training.batch_size, training.jit_compile) == (64, False)


@pytest.mark.slow
def test_what_was_chosen_stays_when_it_is_resumed(project, tmp_path):
    def stop(progress: object) -> None:
        if progress.epoch == 1 and progress.done == 1:
            raise KeyboardInterrupt

    path = project(training={"epochs": 2, "batch_size": "auto"})
    with pytest.raises(KeyboardInterrupt):
        train(path, tmp_path / "run", on_progress=stop)
    run = resume_training(tmp_path / "run", path)
    assert run.read_config().training.batch_size == 32


@pytest.mark.slow
@pytest.mark.backend
def test_history_tells_how_long_gradients_are_and_how_many_are_cut(trained):
    told = {}
    for clipnorm in (1e-9, None):
        history = pd.read_csv(trained(training={"clipnorm": clipnorm}, model={"cell": "simple_rnn"}).history_file)
        assert history.gradient_norm.isna().tolist() == [True, False, False], "there is none before training"
        assert (history.gradient_norm[1:] > 0).all()
        told[clipnorm] = history.clipped[1:].tolist()
    assert told == {1e-9: [1, 1], None: [0, 0]}


@pytest.mark.slow
def test_best_epoch_is_kept(project, tmp_path):
    keys = {"epochs": 12, "learning_rate": 0.05, "early_stopping": {"patience": 3}}
    run = train(project(model={"linear_skip": False}, training=keys), tmp_path / "run")
    history = pd.read_csv(run.history_file)
    kept = run.read_json(run.metrics_file)["kept_epochs"]["1"]
    assert kept == history.epoch[history.val_loss.argmin()]
    scored = run.read_json(run.metrics_file)["validation"][MODEL]["total"]["mse_scaled"]
    assert scored == pytest.approx(history.val_loss.min(), rel=1e-4)


@pytest.mark.slow
def test_same_seed_same_run(project, tmp_path):
    config = project(model={"dropout": 0.2, "recurrent_dropout": 0.1, "linear_skip": False})
    seeds = {"a": 1, "b": 1, "c": 2}
    changes = {"training.epochs": 1}
    first, second, other = (train(load_config(config, changes | {"seed": seed}), tmp_path / name) for name, seed in seeds.items())
    assert first.predictions_file.read_bytes() == second.predictions_file.read_bytes()
    assert first.predictions_file.read_bytes() != other.predictions_file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": "adamw", "schedule": "cosine", "loss": "huber", "early_stopping": None},
        {"optimizer": "rmsprop", "schedule": "plateau", "warmup_epochs": 1, "loss": "mae"},
        {"optimizer": "adam", "schedule": "step", "accumulate_gradients": 2, "mixed_precision": True},
    ],
    ids=lambda keys: "-".join(keys),
)
def test_training_options_train(project, tmp_path, keys):
    run = train(project(training=keys), tmp_path / "run")
    assert len(pd.read_csv(run.history_file)) == 3
    if "warmup_epochs" in keys:
        assert pd.read_csv(run.history_file).learning_rate.tolist() == pytest.approx([0, 1e-3, 1e-3])


@pytest.mark.slow
def test_the_plateau_schedule_takes_quantiles(project, tmp_path):
    config = project(model={"quantiles": [0.1, 0.5, 0.9]}, training={"schedule": "plateau"})
    assert train(config, tmp_path / "run").finished


@pytest.mark.slow
def test_penalties_are_not_counted_as_loss(trained):
    plain, penalised = trained(), trained(model={"l2": 10.0})
    first = [pd.read_csv(run.history_file).val_loss[0] for run in (plain, penalised)]
    assert first[0] == pytest.approx(first[1], rel=1e-6)


# --- failures


def test_loss_that_is_no_number_stops_the_run(project, tmp_path):
    keys = {"learning_rate": 1e6, "optimizer": "sgd", "clipnorm": None, "epochs": 99}
    config = project(training=keys, model={"linear_skip": False})
    message = r"the loss is no longer a number in epoch \d: .*\n  Lower training.learning_rate from 1e\+06 to 100000 and set"
    with pytest.raises(RunError, match=message):
        train(config, tmp_path / "run")
    assert Run(tmp_path / "run").read_status().state == "failed"
    assert "no longer a number" in Run(tmp_path / "run").log.read_text()
    with pytest.raises(RunError, match="the training of this run failed"):
        Run.open(tmp_path / "run")


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        (
            {"windows": {"lookback": 90}},
            ConfigError,
            r"config.yaml:\d+:3: windows.lookback is 90, but series 'data' has 84 training",
        ),
        ({"splits": {"test": 2}}, ConfigError, r"config.yaml:\d+:3: the test set of series 'data' has 2 rows"),
        ({"splits": {"test": 0.5, "validation": 0.5}}, ConfigError, "series 'data' has 0 training rows"),
        ({"data": {"target": "sale"}}, DataError, "no column `sale`"),
    ],
    ids=["lookback", "test part", "no training part", "column"],
)
def test_nothing_is_written_when_inputs_are_wrong(project, tmp_path, sections, error, message):
    with pytest.raises(error, match=message):
        train(project(**sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- parts of training


def test_batches_cover_every_window_once_in_a_new_order_each_epoch():
    rows = np.arange(60, dtype=np.float32)[:, None]
    windows = Windows(rows, rows[:, :0], rows, np.arange(5, 55), np.zeros(50, int), lookback=5, horizon=2)
    batches = Batches(windows, 16, np.random.default_rng(0))
    orders = []
    for _ in range(2):
        parts = [batches[number] for number in range(len(batches))]
        assert [len(targets) for _, targets in parts] == [16, 16, 16, 2]
        assert all((targets[:, 0] == inputs["past"][:, -1] + 1).all() for inputs, targets in parts)
        orders.append(np.concatenate([targets[:, 0, 0] for _, targets in parts]))
        batches.on_epoch_end()
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(5, 55))
    assert orders[0].tolist() != orders[1].tolist()


def test_cosine_ends_near_zero_and_plateau_keeps_what_is_left():
    cosine = TrainingConfig(schedule="cosine", epochs=10, learning_rate=1.0)
    rates = [compute_learning_rate(epoch, cosine) for epoch in range(10)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.03
    assert compute_learning_rate(5, TrainingConfig(schedule="plateau"), current=0.25) == 0.25


def test_force_does_not_delete_the_data(project, tmp_path):
    with pytest.raises(RunError, match="the run directory contains the data"):
        train(project(), tmp_path, force=True)
    assert (tmp_path / "data.csv").exists()


@pytest.mark.parametrize("evenly", [False, True])
def test_an_epoch_draws_windows_or_series_evenly(evenly):
    from forecast.forecasters.network.fitting import Batches
    from forecast.windows.windows import Windows

    rows = np.zeros((130, 1), np.float32)
    series = np.repeat([0, 1, 2], [90, 9, 1])
    windows = Windows(rows, rows[:, :0], rows, np.arange(10, 110), series, 4, 2)
    batches = Batches(windows, 32, np.random.default_rng(0), evenly)
    assert sum(len(batches[number][1]) for number in range(len(batches))) == 100
    counts = np.bincount(series[batches.order])
    assert counts.tolist() == ([34, 33, 33] if evenly else [90, 9, 1])
    before = batches.order.copy()
    batches.on_epoch_end()
    assert not np.array_equal(before, batches.order)


@pytest.mark.slow
def test_a_ragged_panel_trains_and_scores_what_it_can(project, tmp_path):
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    rows = {"long": months, "short": months[:70], "late": months[60:], "new": months[97:], "tiny": months[:5]}
    shops = [pd.DataFrame({"month": own, "shop": name, "sales": seasonal_rows(len(own))}) for name, own in rows.items()]
    data = {"series_id": "shop", "short_series": "skip"}
    config = project(pd.concat(shops), data=data, training={"epochs": 1, "sampling": "series"}, scaling={"per": "all"})
    run = train(config, tmp_path / "run")
    scored = pd.read_csv(run.predictions_file)
    assert set(scored.series_id) == {"long", "late", "new"}
    per_series = pd.read_csv(run.per_series).set_index("series_id")
    errors = (scored.forecast - scored.actual).abs().groupby(scored.series_id).mean()
    np.testing.assert_allclose(per_series.mae_forecast, errors[per_series.index])
    assert per_series.windows.to_dict() == {"late": 16, "long": 16, "new": 9}
    assert "tiny" not in pd.read_csv(run.forecast_file).series_id.tolist()
    repairs = {repair["what"]: repair["first"] for repair in run.read_json(run.contract)["repairs"]}
    assert repairs["series too short for a window, left out"] == ["tiny"]
    assert repairs["series without a training window, only scored"] == ["new"]
    assert np.isfinite(run.read_json(run.metrics_file)["test"]["forecast"]["total"]["mase"])


# --- several networks


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """A run of three seeds, on two series and two targets."""
    folder = tmp_path_factory.mktemp("ensemble")
    two_series().to_csv(folder / "data.csv", index=False)
    (folder / "config.yaml").write_text(
        "data: {path: data.csv, timestamp: month, target: [sales, visits], series_id: shop}\nsplits: {validation: 18, test: 18}\n"
        "windows: {lookback: 12, horizon: 3}\nmodel: {units: 4, linear_skip: no}\ntraining: {epochs: 2, seeds: [1, 5, 7]}\n"
    )
    shown = CliRunner().invoke(app, ["train", str(folder / "config.yaml"), "--run-dir", str(folder / "run")])
    (folder / "shown.txt").write_text(shown.output)
    return Run.open(folder / "run")


@pytest.mark.slow
def test_several_seeds_forecast_their_median(ensemble):
    trained = read_trained(ensemble, "scored")
    windows = prepare(ensemble.read_config().model_copy(update={"data": data_of(ensemble)})).windows["test"]
    each = [forward(trained.network, weights, windows.inputs()) for weights in trained.members]
    assert not np.allclose(each[0], each[1])
    median = trained.scaler.undo(np.median(each, axis=0), windows.series)
    np.testing.assert_allclose(pd.read_csv(ensemble.predictions_file).forecast, median.ravel(), rtol=1e-5)
    np.testing.assert_allclose(predict(ensemble).forecast, predict(ensemble, runtime="keras").forecast, rtol=1e-5)
    metrics = ensemble.read_json(ensemble.metrics_file)
    actual = pd.read_csv(ensemble.predictions_file).actual.to_numpy()
    errors = [np.abs(trained.scaler.undo(own, windows.series).ravel() - actual).mean() for own in each]
    assert [member["mae"] for member in metrics["test"]["members"]] == pytest.approx(errors, rel=1e-5)
    assert metrics["parameters"] == 3 * trained.network.parameters
    assert list(metrics["kept_epochs"]) == ["1", "5", "7"]
    assert pd.read_csv(ensemble.history_file).seed.tolist() == [1] * 3 + [5] * 3 + [7] * 3


def data_of(run):
    """The data section of a run's config, whose path it keeps as it was given."""
    data = run.read_config().data
    return data.model_copy(update={"path": str(run.directory.parent / "data.csv")})


@pytest.mark.slow
def test_one_of_several_seeds_is_that_seed_alone(ensemble, tmp_path):
    config = ensemble.read_config().model_copy(update={"data": data_of(ensemble), "seed": 5})
    alone = train(config.model_copy(update={"training": config.training.model_copy(update={"seeds": None})}), tmp_path / "alone")
    own = read_trained(alone).members[0]
    for name, values in read_trained(ensemble).members[1].items():
        np.testing.assert_array_equal(values, own[name])


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", pytest.param("litert", marks=pytest.mark.exhaustive)])
def test_an_export_holds_all_networks(ensemble, to, tmp_path):
    assert export(ensemble, to, tmp_path / to).difference_scaled < 1e-5


@pytest.mark.slow
def test_weights_of_other_seeds(ensemble, tmp_path):
    shutil.copytree(ensemble.directory, tmp_path / "run")
    run = Run(tmp_path / "run")
    run.config.write_text(run.config.read_text().replace("- 7", "- 8"))
    run.seal()
    with pytest.raises(RunError, match="the weights and the description of the network differ in `"):
        predict(run)


@pytest.mark.slow
def test_the_spread_between_seeds_is_shown(ensemble):
    shown = ensemble.directory.with_name("shown.txt").read_text()
    assert "network 3/3  epoch 2/2" in shown
    lowest, highest = (line.split() for line in shown.splitlines() if "of 3 seeds" in line)
    assert float(lowest[4]) < float(highest[4])


@pytest.mark.parametrize(
    ("rounding", "difference", "message"),
    [
        (0.0, 0.0, ""),
        (1e-3, 5e-3, "amplifies rounding errors: its forecasts are accurate only to 4.0e-03"),
        (1e-7, 1e-3, "NumPy and Keras forecasts differ by 1.0e-03 of the largest forecast."),
        (1e-7, np.nan, "NumPy and Keras forecasts differ by nan"),
    ],
    ids=["equal", "rounding", "bug", "no number"],
)
def test_readers_that_differ_by_more_than_rounding_are_a_bug(monkeypatch, caplog, rounding, difference, message):
    def by_numpy(network, weights, inputs):
        return np.full((2, 3, 1), 1 + rounding if inputs["past"].dtype == np.float32 else 1.0)

    monkeypatch.setattr("forecast.training.results.forward", by_numpy)
    seen, by_keras = {"past": np.zeros((2, 4, 1), np.float32)}, np.full((2, 3, 1), 1 + difference)
    if message.startswith("NumPy"):
        with pytest.raises(RuntimeError, match=f"(?s){message}"):
            _reader_difference(None, [{}], seen, by_keras)
    else:
        _reader_difference(None, [{}], seen, by_keras)
        assert message in caplog.text


def test_a_bug_is_reported_as_one(project, monkeypatch):
    def differ(*arguments):
        raise RuntimeError("NumPy and Keras forecast differently.")

    monkeypatch.setattr("forecast.commands.train.read_and_resolve", differ)
    done = CliRunner().invoke(app, ["train", str(project())])
    assert done.exit_code == 1
    assert done.stderr == (
        "error: this is a bug in forecast (RuntimeError: NumPy and Keras forecast differently.).\n"
        "  Please report it. --debug shows the traceback.\n"
    )
