"""The JSON documents of a run, each with a class whose fields are checked when the file is read.

Here are those that runs write themselves. `Contract` is in `forecast.data`; `Metrics`, `TrainingMetrics`, `Certificate`,
`Importance` and `Diagnoses` are in `forecast.evaluation`. The scaler and the network read their own files.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from forecast.documents import Document

State = Literal["running", "finished", "failed", "interrupted"]
Kind = Literal["training", "backtest", "experiment", "search"]
SIGNS = 16  # Products of a sketch. An estimate from them is off by about a fifth.
Sketch = Annotated[list[float], Field(min_length=1 + SIGNS, max_length=1 + SIGNS)]  # A norm, then the products.


class Status(Document):
    """The state of a run, and the process that wrote it (status.json)."""

    state: State
    at: str | None = None
    kind: Kind = "training"
    why: str = ""
    pid: int | None = None
    host: str | None = None


class GitState(Document):
    """The commit of the folder in which a training was called, and whether tracked files differed from it."""

    commit: str
    changed: bool


class Environment(Document):
    """Versions, machine, threads and devices of a training, and the seconds that each stage took (environment.json)."""

    forecast: str
    python: str
    platform: str
    cpu: str = ""
    cpus: int | None = None
    threads: dict[str, str] = {}
    devices: list[str] = []
    backend: str = ""
    packages: dict[str, str]
    git: GitState | None = None
    seconds: dict[str, float] = {}


class Fingerprint(Document):
    """A digest of arrays, one of those that hold no floats, and of each array of floats a sketch."""

    sha256: str
    integers: str
    sketches: dict[str, Sketch]


class Fingerprints(Document):
    """The start of a training (fingerprints.json): what its networks see, and their initial weights by seed."""

    windows: Fingerprint | None = None
    initial_weights: dict[int, Fingerprint] = {}


class NewestErrors(Document):
    """Errors on the windows that reach beyond the data of the parent."""

    mae: float
    mase: float | None


class ParentRecord(Document):
    """The run that an update continues, and the errors of both on the newest windows (parent.json)."""

    run: str
    weights: str  # Their sha256.
    intervals_only: bool
    even_if_worse: bool
    windows: int | None = None
    before: NewestErrors | None = None
    after: NewestErrors | None = None


class Gradients(Document):
    """Norms of the gradient by recurrent step, the oldest first (gradients.json). None where one is beyond all numbers."""

    network: list[float | None]
    simple_rnn: list[float | None]


class CheckpointState(Document):
    """The part of a checkpoint that is no array. done: the epoch that each finished seed keeps. callbacks: their own states."""

    seed: int
    epoch: int
    batch: int = 0
    callbacks: dict[str, Any]
    done: dict[int, int] = {}
