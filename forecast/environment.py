"""What a run was made with: versions, machine, threads, and the commit of the folder it was made in."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from forecast import __version__
from forecast.config import ModelConfig
from forecast.workers import THREADS

CUDNN = {"tensorflow": ("lstm", "gru"), "jax": ("lstm",)}  # cells that Keras computes by it, by backend
PACKAGES = ("tensorflow", "jax", "keras", "numpy", "pandas", "safetensors")


def environment() -> dict:
    """Plain JSON values; loads Keras, to ask for its backend and devices."""
    from forecast.models.backend import keras

    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "forecast": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cpus": os.cpu_count(),
        "threads": {name: os.environ[name] for name in (*THREADS, "XLA_FLAGS") if name in os.environ},
        "devices": keras.distribution.list_devices(),
        "backend": keras.backend.backend(),
        "packages": versions,
        "git": _git(),
    }


def without_cudnn(model: ModelConfig, found: dict) -> str | None:
    """What of a config keeps recurrent layers from cuDNN's, which are many times faster, where there is a GPU; else None.

    found: an `environment`.
    """
    cells = CUDNN.get(found["backend"], ())
    if not any(kind in device for device in found["devices"] for kind in ("gpu", "cuda")):
        return None
    if model.cell in cells and not model.recurrent_dropout:
        return None
    cause = f"model.recurrent_dropout: {model.recurrent_dropout:g}" if model.cell in cells else f"model.cell: {model.cell}"
    known = f"; on {found['backend']} it knows {' and '.join(cells)}, without recurrent_dropout" if cells else ""
    return f"cuDNN cannot compute recurrent layers with {cause}{known}."


def _cpu() -> str:
    """Its name, where the system tells."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _git() -> dict | None:
    """The commit of the folder that training was called in, and whether tracked files differ from it; None outside of one."""
    git = shutil.which("git")
    if git is None:
        return None
    ask = {"capture_output": True, "text": True, "check": True, "timeout": 10}
    try:
        commit, changes = (
            subprocess.run([git, "--no-optional-locks", *command], **ask).stdout.strip()  # noqa: S603
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):  # no repository, or one too slow to ask
        return None
    return {"commit": commit, "changed": bool(changes)}
