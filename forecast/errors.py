"""Errors that a user can cause: what was found, what was expected, what to do."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

MAX_NAME_LENGTH, MAX_NAMES = 100, 1000  # Limits of what `nearest` compares, which takes time.
MAX_ERRORS = 10  # Errors that are shown at once.
BACKENDS = {"tensorflow": None, "jax": "jax"}  # Keras backends that can train, and the extra that installs each.
log = logging.getLogger(__name__)


class ForecastError(Exception):
    """A user error: where it is, what the problem is, and what to do about it.

    >>> print(ForecastError("target has 3 empty cells.", "Fill them.", location="sales.csv:7"))
    sales.csv:7: target has 3 empty cells.
      Fill them.
    """

    def __init__(self, problem: str, remedy: str = "", location: str = ""):
        self.problem, self.remedy, self.location = problem, remedy, location
        super().__init__((f"{location}: " if location else "") + problem + (f"\n  {remedy}" if remedy else ""))

    @classmethod
    def combine(cls, errors: Sequence[ForecastError]) -> ForecastError:
        """Return one error with all of `errors`, so that a user corrects a file once and not five times."""
        more = [f"... and {len(errors) - MAX_ERRORS} more errors"] if len(errors) > MAX_ERRORS else []
        return errors[0] if len(errors) == 1 else cls("\n".join([*map(str, errors[:MAX_ERRORS]), *more]))

    @classmethod
    def collect(cls, calls: Iterable[Callable[[], Any]]) -> list[Any]:
        """Try each call, and return the results. If any fail, raise one error with all of their errors."""
        results, errors = [], []
        for call in calls:
            try:
                results.append(call())
            except cls as error:
                errors.append(error)
        if errors:
            raise cls.combine(errors)
        return results


class ConfigError(ForecastError):
    """The config, or an override of it, cannot be used."""


class DataError(ForecastError):
    """The data cannot be used as the config says."""


class RunError(ForecastError):
    """A run cannot be made, continued or read."""


class ResourceError(RunError):
    """The disk is full or cannot be written, or memory ran out. The training can go on when there is more."""


DAMAGED = "The run is damaged. Train again, or restore an undamaged copy."
BEGIN_ANEW = "Delete this file. Then --resume starts from the first epoch."  # The remedy for a damaged checkpoint.


@contextlib.contextmanager
def log_and_continue(
    step: str, remedy: str, cause: str = "This is a bug in forecast. The result itself is complete."
) -> Iterator[None]:
    """Log the failure of an optional step, such as "drawing the plots", and go on.

    cause, remedy: sentences about a failure that is neither a mistake of the user nor lack of memory.

    Raises:
        ResourceError: the disk is full or memory ran out, so later steps would fail too.
    """
    try:
        yield
    except ResourceError:
        raise
    except Exception as error:  # No optional step may fail a finished run.
        problem = error.__cause__ or error
        if isinstance(problem, ForecastError):
            log.warning("%s failed: %s", step, error)
        elif isinstance(problem, MemoryError):
            log.warning("%s failed: memory ran out. The result itself is complete.", step)
        else:
            explanation = f"{cause} {remedy}".strip()
            log.warning("%s failed (%s: %.200s). %s", step, type(problem).__name__, problem, explanation)
        log.info("The traceback of this failure:", exc_info=True)


def installation(extra: str | None = None) -> str:
    """Return the sentence that tells how to install this package with an extra.

    >>> installation("tune")
    "In the source folder, run: pip install -c constraints.txt '.[tune]'"
    """
    return "In the source folder, run: pip install -c constraints.txt " + (f"'.[{extra}]'" if extra else ".")


def check_installed(purpose: str, packages: Iterable[str], extra: str | None = None) -> None:
    """Check that packages are installed, without importing them; `extra` is the one that installs them, if one does.

    Raises:
        ForecastError: a package is missing; the error says how to install it.
    """
    missing = [f"`{name}`" for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        problem = f"{purpose} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed."
        raise ForecastError(problem, installation(extra))


def check_backend() -> str:
    """Return the backend of Keras that KERAS_BACKEND names, else keras.json, else tensorflow.

    Raises:
        ForecastError: this program cannot train with it.
    """
    backend, location = os.environ.get("KERAS_BACKEND"), "KERAS_BACKEND"
    if not backend:
        settings = Path(os.path.expanduser(os.environ.get("KERAS_HOME", "~/.keras")), "keras.json")
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # Keras ignores what it cannot read.
            backend, location = json.loads(settings.read_bytes())["backend"], str(settings)
    backend = backend or "tensorflow"
    if backend not in BACKENDS:
        names = " or ".join(BACKENDS)
        problem = f"the Keras backend is {str(backend)!r:.40}, but training supports only {' and '.join(BACKENDS)}."
        raise ForecastError(problem, f"Set the environment variable KERAS_BACKEND to {names}.", location)
    return backend


def suggest_file(path: Path, suffixes: Sequence[str]) -> str:
    """Return the remedy for a file that does not exist: download it, or use a file of its folder with one of `suffixes`.

    Returns "" if there is none.
    """
    if re.match(r"\w{2,}:/", str(path)):  # pathlib has merged the slashes of a URL.
        return "Only files on this machine can be read. Download the file first, then specify its path."
    with contextlib.suppress(OSError):
        if names := sorted(file.name for file in path.parent.iterdir() if file.suffix.lower() in suffixes):
            return did_you_mean(path.name, names)
    return ""


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice that is most like `name`, ignoring case, or None if none is similar.

    >>> nearest("Lokback", ["lookback", "horizon"])
    'lookback'
    """
    short = [choice for choice in choices if len(choice) <= MAX_NAME_LENGTH][:MAX_NAMES]
    lowered = {choice.lower(): choice for choice in short}
    near = difflib.get_close_matches(name[:MAX_NAME_LENGTH].lower(), lowered, n=1)
    return lowered[near[0]] if near else None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a remedy that names the most similar choice, or the first choices if none is similar.

    >>> did_you_mean("lokback", ["lookback", "horizon"])
    'Did you mean `lookback`?'
    >>> did_you_mean("zzz", ["lookback", "horizon"])
    'Use one of: `lookback`, `horizon`.'
    """
    choices = list(choices)
    if similar := nearest(name, choices):
        return f"Did you mean `{similar}`?"
    return f"Use one of: {first_few([f'`{choice}`' for choice in choices], 20)}."


def first_few(items: Sequence[object], count: int = 3, total: int | None = None) -> str:
    """Return the first items and how many more there are. total: their number, if only the first were collected.

    >>> first_few([4, 8, 15, 16, 23])
    '4, 8, 15 and 2 more'
    >>> first_few([4, 8, 15], total=1000)
    '4, 8, 15 and 997 more'
    """
    more = (len(items) if total is None else total) - count
    return ", ".join(map(str, items[:count])) + (f" and {more} more" if more > 0 else "")


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> format_count(1, "row"), format_count(2, "row")
    ('1 row', '2 rows')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
