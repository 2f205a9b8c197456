"""Run directories are numbered, never overwritten, and never look finished when they are not."""

from __future__ import annotations

import pytest

from forecast.errors import RunError
from forecast.runs import Run


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
    with pytest.raises(RunError, match=r"x: this directory exists.\n  Choose another --run-dir"):
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
    with pytest.raises(RunError, match="the run directory cannot be written"):
        Run.create("a", tmp_path / "runs" / "x")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"runs: the run directory cannot be written \(File exists\)"):
        Run.create("a")


@pytest.mark.parametrize(
    ("error", "state"),
    [(None, "finished"), (RunError("broken"), "failed"), (KeyboardInterrupt("Ctrl-C"), "interrupted")],
    ids=str,
)
def test_status_says_how_it_went(tmp_path, error, state):
    run = Run.create("a", tmp_path / "x")

    def record() -> None:
        with run.recording():
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
    run.write_json(run.metrics, {"mae": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.write_json(run.metrics, {"mae": float("nan")})
    assert run.read_json(run.metrics) == {"mae": 1}


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    run = Run.create("a", tmp_path / "x")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(RunError, match=r"metrics.json: cannot be written \(No space left on device\)"):
        run.write_json(run.metrics, {})
