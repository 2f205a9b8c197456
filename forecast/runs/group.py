"""An experiment or a search, which is a directory of many runs."""

from __future__ import annotations

from pathlib import Path

from forecast.runs.documents import Kind
from forecast.runs.layout import RunDirectory
from forecast.runs.run import creating, make_directory
from forecast.storage import translate_write_errors


class RunGroup(RunDirectory):
    """An experiment or a search: a directory of many runs."""

    @classmethod
    def open_or_create(cls, kind: Kind, directory: str | Path, force: bool = False) -> RunGroup:
        """Return the directory of an experiment or a search, with what it holds already, unless `force`.

        Raises:
            RunError: another kind of run or something else is there, or it cannot be written.
        """
        group = cls(directory)
        with translate_write_errors(group.directory):
            exists = group.is_run and group.read_status().kind == kind
        if force or not exists:
            with creating(directory):
                make_directory(group.directory, force)
            with translate_write_errors(group.runs):
                group.runs.mkdir()
        group.kind = kind
        group.write_status("running")
        return group
