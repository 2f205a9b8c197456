"""Run directories are numbered, never overwritten, and never look finished when they are not."""

from __future__ import annotations

import json
import os
import shutil
import socket

import pytest

from forecast.commands.compare import compare
from forecast.commands.diagnose import diagnose
from forecast.errors import ResourceError, RunError
from forecast.reports.report import report
from forecast.runs.checkpoints import append_history
from forecast.runs.run import Run
from tests.hostile_runs import OLD_RUNS


def test_the_next_free_number(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a-7").mkdir(parents=True)
    (tmp_path / "runs" / "a-b-9").mkdir()
    (tmp_path / "runs" / "a-²").mkdir()
    assert [Run.create(name).name for name in ("a", "a", "b")] == ["a-8", "a-9", "b-1"]


def test_an_existing_directory_is_refused_without_force(tmp_path):
    run = Run.create("a", tmp_path / "x")
    run.write_status("finished")
    run.write_text(run.config, "")
    (run.directory / "kept.txt").write_text("precious")
    with pytest.raises(RunError, match=r"x: this directory already exists.\n  Choose another --run-dir"):
        Run.create("a", tmp_path / "x")
    assert (run.directory / "kept.txt").exists()
    Run.create("a", tmp_path / "x", force=True)
    assert not (run.directory / "kept.txt").exists()


def test_force_replaces_runs_only(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    (tmp_path / "home" / "status.json").write_text('{"ok": true}')
    with pytest.raises(RunError, match="this is not a run, so --force does not replace it"):
        Run.create("a", tmp_path / "home", force=True)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"


def test_a_directory_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "runs").write_text("a file where the folder should be")
    with pytest.raises(RunError, match=r"runs/x: cannot write to this path \(Not a directory\)"):
        Run.create("a", tmp_path / "runs" / "x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"runs: cannot write to this path \(File exists\)"):
        Run.create("a")


@pytest.mark.parametrize(
    ("error", "state"),
    [(None, "finished"), (RunError("broken"), "failed"), (KeyboardInterrupt("Ctrl-C"), "interrupted")],
    ids=str,
)
def test_status_says_how_it_went(tmp_path, error, state):
    run = Run.create("a", tmp_path / "x")

    def record() -> None:
        with run.record():
            assert run.read_json(run.status)["state"] == "running"
            if error:
                raise error

    if error:
        with pytest.raises(type(error), match=str(error)):
            record()
    else:
        record()
    assert run.read_json(run.status)["state"] == state


def test_a_failed_write_leaves_the_old_file(tmp_path):
    run = Run.create("a", tmp_path / "x")
    run.write_json(run.metrics_file, {"mae": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_json(run.metrics_file, {"mae": float("nan")})
    assert run.read_json(run.metrics_file) == {"mae": 1}


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    run = Run.create("a", tmp_path / "x")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunError, match=r"metrics.json: cannot write to this path \(No space left on device\)"):
        run.write_json(run.metrics_file, {})


def test_a_run_says_whether_its_process_lives(tmp_path):
    run = Run.create("run", tmp_path / "run")
    with run.record():
        process = f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(RunError, match=rf"the training of this run is still running \({process}\)"):
            Run.open(run.directory)
    run.write_status("running")
    with pytest.raises(RunError, match="the training of this run was killed"):
        Run.open(run.directory)


def test_where_directories_cannot_be_locked_a_run_may_live(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    run = Run.create("run", tmp_path / "run")
    run.write_json(run.status, {"state": "running", "pid": 1, "host": "elsewhere", "heartbeat": "2026-01-01T00:00:00+00:00"})
    with pytest.raises(RunError, match=r"is still running, or was killed \(process 1 on elsewhere\)"):
        Run.open(run.directory)


def test_why_it_failed_is_told_though_the_disk_is_full(tmp_path, monkeypatch):
    run = Run.create("run", tmp_path / "run")

    def fill_and_fail() -> None:
        with run.record():
            monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            raise RunError("the first error")

    with pytest.raises(RunError, match="the first error"):
        fill_and_fail()


def test_only_one_process_records_in_a_run(tmp_path):
    run = Run.create("run", tmp_path / "run")
    with run.record():
        run.write_text(run.config, "")
        with pytest.raises(RunError, match="another process is using this directory"), Run(run.directory).record():
            pytest.fail("two at once")
        with pytest.raises(RunError, match="another process is using this directory"):
            Run.create("run", run.directory, force=True)
    assert run.finished
    with Run(run.directory).record():
        pass


def test_history_is_whole_at_any_moment(tmp_path, monkeypatch):
    run = Run.create("run", tmp_path / "run")
    append_history(run, {"epoch": 0, "loss": 1.5})
    before = run.history_file.read_text()
    monkeypatch.setattr("os.replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(RunError, match=r"history.csv: cannot write to this path \(No space left on device\)"):
        append_history(run, {"epoch": 1, "loss": 0.5})
    assert run.history_file.read_text() == before == "epoch,loss\n0,1.5\n"
    assert [path for path in run.directory.rglob("*") if path.is_file()] == [run.history_file]


def test_what_is_not_whole_stays_beside(tmp_path):
    (tmp_path / "run").mkdir()
    run = Run(tmp_path / "run")

    def interrupted() -> None:
        with run.stage() as part:
            part.mkdir()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="^$"):
        interrupted()
    assert not any(run.directory.iterdir())
    with run.stage() as part:
        assert not part.exists(), "what is left of the last try is gone"
        part.mkdir()
        (part / "done").touch()
    assert (run.directory / "done").exists()
    assert not part.exists()


FAILURES = {
    "a bug": (
        ZeroDivisionError("division by zero"),
        "drawing failed (ZeroDivisionError: division by zero). This is a bug in forecast.",
    ),
    "a user's": (RunError("cannot be written.", "Check it.", "x.png"), "drawing failed: x.png: cannot be written.\n  Check it."),
    "memory": (MemoryError(), "drawing failed: memory ran out."),
}


@pytest.mark.parametrize(("error", "text"), FAILURES.values(), ids=FAILURES)
def test_a_step_that_only_explains_may_fail(tmp_path, caplog, error, text):
    caplog.set_level("INFO", "forecast")
    with Run(tmp_path).log_and_continue("drawing"):
        raise error
    warning, traceback = caplog.records
    assert warning.getMessage().startswith(text)
    assert ("log.txt" in warning.getMessage()) == ("bug" in text)
    assert traceback.exc_info[1] is error


def test_a_full_disk_is_told_whatever_the_step(tmp_path):
    with pytest.raises(ResourceError, match="no space"), Run(tmp_path).log_and_continue("drawing"):
        raise ResourceError("no space left.")


@pytest.mark.parametrize("name", ["run", ".part-run"])
def test_a_bug_while_recording_is_logged_with_its_traceback(tmp_path, name):
    run = Run.create("run", tmp_path / name)

    def record() -> None:
        with run.record():
            raise KeyError("verdict")

    with pytest.raises(KeyError, match="verdict") as raised:
        record()
    assert raised.value.__notes__ == [f"The log of the run is {Run(tmp_path / 'run').log}."]
    assert "Traceback" in run.log.read_text()
    assert run.read_status().state == "failed"


DAMAGES = {
    "no field": ("metrics_file", lambda data: data["test"]["naive"].pop("total"), "`test.naive.total`: Field required"),
    "text for a number": (
        "metrics_file", lambda data: data["test"]["forecast"]["total"].update(mae="low"),
        "`test.forecast.total.mae`: Input should be a valid number",
    ),
    "no baseline": ("metrics_file", lambda data: data["compared"].pop("mean"), "`compared`: .*there is no mean"),
    "an empty object": ("metrics_file", lambda data: data.clear(), "`verdict`: Field required"),
    "no gradients": ("gradients", lambda data: data.pop("simple_rnn"), "`simple_rnn`: Field required"),
    "no checks": ("leakage", lambda data: data.pop("checks"), "`checks`: Field required"),
    "a repair of nothing": ("contract", lambda data: data.update(repairs=[{"what": 7}]), "`repairs.0.what`: Input should be"),
    "a list": ("metrics_file", lambda text: "[]", "Input should be an object"),
    "half a file": ("metrics_file", lambda text: text[:1000], "Invalid JSON"),
    "no column": ("history_file", lambda text: "seed,epoch\n1,0\n", "there is no column `loss`, `val_loss`"),
    "text for a loss": ("history_file", lambda text: text.replace("0.03", "low"), "could not convert string to float"),
    "another seed": ("history_file", lambda text: text.replace("\n1,", "\n7,"), "contains a seed for which"),
    "no time": ("predictions_file", lambda text: text.replace("2016", "when"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_with_its_name_and_field(tmp_path, name, damage, message):
    shutil.copytree(OLD_RUNS / "version-3-scored", tmp_path / "run")
    run = Run(tmp_path / "run")
    path = getattr(run, name)
    if "`" in message and path.suffix == ".json":
        damage(data := json.loads(path.read_text()))
        path.write_text(json.dumps(data))
    else:
        path.write_text(damage(path.read_text()))
    run.seal()
    with pytest.raises(RunError, match=message) as refusal:
        report(run.directory)
    assert refusal.value.location == str(path)
    assert "The run is damaged" in refusal.value.remedy


def test_a_run_of_the_earlier_layout_is_read(tmp_path):
    shutil.copytree(OLD_RUNS / "version-3-scored", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert diagnose(run) == []
    assert "Beats naive by 74%" in report(run).read_text()
    assert compare([run, run]).mae[0] == run.metrics.test.forecast.total.mae
    assert run.metrics.to_json() == json.loads(run.metrics_file.read_text())


def test_the_results_of_a_run_are_attributes(tmp_path):
    shutil.copytree(OLD_RUNS / "version-3-scored", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    error = run.predictions.eval("forecast - actual").abs().mean()
    assert error == pytest.approx(run.metrics.test.forecast.total.mae)
    assert set(run.forecast.step) == {1, 2, 3}
    assert run.history.epoch.tolist() == [0, 1, 2, 3]
    run.forecast_file.unlink()
    with pytest.raises(RunError, match=r"no forecast of the future yet.\n  Create it with: forecast predict .*run"):
        run.forecast  # noqa: B018


def test_a_run_draws_its_forecasts(tmp_path):
    run = Run(OLD_RUNS / "version-3-scored")
    names = sorted(set(run.predictions.series_id))
    assert len(names) > 1
    axes = run.plot().axes
    assert {line.get_label() for line in axes[0].lines} >= {"actual", "forecast", "seasonal naive", "future"}
    titles = [axis.get_title("left") for axis in axes]
    alone = [axis.get_title("left") for axis in run.plot(names[1]).axes]
    assert alone == [title for title in titles if title.startswith(names[1])] != titles
    with pytest.raises(RunError, match="the test set of this run has no series `shop`"):
        run.plot("shop")
