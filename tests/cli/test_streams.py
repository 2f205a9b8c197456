"""Commands work with closed and full streams, and with encodings that lack characters."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pandas as pd
import pytest

from forecast.cli.progress import progress
from forecast.cli.streams import OutputError, echo, prepare_streams
from forecast.runs.run import Run
from forecast.storage import report_stage
from tests.hostile_runs import OLD_RUNS

ROOT = Path(__file__).parents[2]
FULL = "error: cannot write to standard output (No space left on device).\n"
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a device of Linux")


def shell(arguments: str, streams: str = "", folder: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    """Call `forecast` in a process of its own, with its streams redirected by a shell."""
    command = f'exec "{sys.executable}" -m forecast {arguments} {streams}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True)


@pytest.mark.parametrize("streams", ["2>&-", ">&-", "<&- >&- 2>&-", pytest.param("2>/dev/full", marks=needs_full)])
def test_a_command_writes_its_file_whatever_its_streams_are(streams, tmp_path):
    assert shell(f"predict {OLD_RUNS / 'version-2'} -o {tmp_path / 'out.csv'}", streams).returncode == 0
    assert len(pd.read_csv(tmp_path / "out.csv"))


@needs_full
def test_a_full_stdout_is_an_error_and_the_file_is_kept(tmp_path):
    done = shell(f"predict {OLD_RUNS / 'version-2'} -o {tmp_path / 'out.csv'}", ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.decode() == FULL + "  Files that the command wrote are complete. Redirect its output elsewhere.\n"
    assert len(pd.read_csv(tmp_path / "out.csv"))


@needs_full
def test_help_to_a_full_stdout_is_an_error():
    done = shell("--help", ">/dev/full")
    assert (done.returncode, done.stderr.decode()[: len(FULL)]) == (1, FULL)


@needs_full
@pytest.mark.slow
def test_a_training_with_full_streams_is_kept(project, tmp_path):
    assert shell(f"train {project()} -o run", ">/dev/full 2>/dev/full", tmp_path).returncode == 1
    assert Run(tmp_path / "run").finished


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_marks_and_names_are_spelled_where_an_encoding_lacks_them(encoding, project):
    config = project(pd.DataFrame({"month": pd.date_range("2010-01-01", periods=120, freq="MS"), "売上": range(120)}))
    done = shell(f"validate {config}", PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    assert done.stdout.decode(encoding).splitlines()[0] == "+ config    config: all keys are valid"
    assert r"x data " in done.stdout.decode(encoding)
    assert r"`\u58f2\u4e0a`" in done.stdout.decode(encoding)


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_plain_locale_is_enough(locale, project):
    assert shell(f"validate {project()}", **locale).returncode == 0


@needs_full
def test_only_stdout_fails(monkeypatch):
    with open("/dev/full", "w") as stdout, open("/dev/full", "w") as stderr, monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", stdout)
        patched.setattr(sys, "stderr", stderr)
        prepare_streams()
        echo("text", err=True)
        with pytest.raises(OutputError, match="cannot write to standard output"):
            echo("text")
        echo("text")  # Discarded.


def test_nothing_prints_beside_echo():
    printing = re.compile(r"^(?!\s*>>>).*?(?:(?:typer|click)\.s?echo\(|\bprint\(|sys\.std(?:out|err)\.write)", re.MULTILINE)
    calls = {path.stem: len(printing.findall(path.read_text())) for path in (ROOT / "forecast").rglob("*.py")}
    assert {name for name, count in calls.items() if count} == {"streams"}, "rich prints there"


def on_terminal(monkeypatch, show, columns=40) -> str:
    """What `show` writes to stderr, a terminal of so many columns, without its colours."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with open(terminal, "w") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        patched.setenv("TERM", "xterm")
        show()
        stream.flush()
        shown = (
            os.read(main, 100_000).decode().replace("\r\n", "\n").replace("\r", "\n")
        )  # A bar returns to the start of its line.
    os.close(main)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def test_lines_break_between_words_and_paths_stay_whole(monkeypatch):
    path = "/a/folder/with/a/very/long/name/that/must/stay/whole.csv"
    shown = on_terminal(monkeypatch, lambda: echo(f"warning: this file has changed since the training: {path}", err=True))
    assert shown == f"warning: this file has changed since the\ntraining:\n{path}\n"
    command = "Next: forecast predict runs/a-run-with-a-rather-long-name-1"
    assert on_terminal(monkeypatch, lambda: echo(command, err=True)) == f"{command}\n"


def test_a_warning_has_lines_of_its_own_above_a_progress_bar(monkeypatch):
    path = "/a/folder/with/a/very/long/name/that/must/stay/whole.csv"

    def show() -> None:
        with progress(quiet=False):
            report_stage("scoring")
            echo(f"warning: {path}", err=True)

    lines = [line.rstrip() for line in on_terminal(monkeypatch, show).splitlines()]
    assert "warning:" in lines
    assert path in lines
    assert any(line.startswith("scoring the test set ...") for line in lines)
