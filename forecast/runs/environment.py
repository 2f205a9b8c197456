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
from forecast.config import Config, ModelConfig

CUDNN = {"tensorflow": ("lstm", "gru"), "jax": ("lstm",)}  # cells that Keras computes by it, by backend
BFLOAT16 = {"avx512_bf16", "avx_ne_convert", "amx_bf16", "bf16"}  # flags of CPUs that compute in it
CPUINFO = Path("/proc/cpuinfo")
PACKAGES = ("tensorflow", "jax", "keras", "numpy", "pandas", "safetensors")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def environment() -> dict:
    """Plain JSON values; loads Keras, to ask for its backend and devices."""
    from forecast.forecasters.network.backend import keras

    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "forecast": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _of_the_cpu("model name") or platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "threads": {name: os.environ[name] for name in (*THREADS, "XLA_FLAGS") if name in os.environ},
        "devices": keras.distribution.list_devices(),
        "backend": keras.backend.backend(),
        "packages": versions,
        "git": _git(),
    }


def slowed_by(config: Config, found: dict) -> list[str]:
    """What of a config makes training slower than this machine is, as sentences; found: an `environment`."""
    if any(kind in device for device in found["devices"] for kind in ("gpu", "cuda")):
        return _without_cudnn(config.model, found["backend"])
    known = _of_the_cpu("flags", "Features")
    if config.training.mixed_precision and known and not BFLOAT16 & set(known.split()):
        return ["this CPU does not compute in bfloat16, which only slows it down: set training.mixed_precision: false."]
    return []


def _without_cudnn(model: ModelConfig, backend: str) -> list[str]:
    """What keeps recurrent layers from cuDNN's, which are many times faster."""
    cells = CUDNN.get(backend, ())
    if model.cell in cells and not model.recurrent_dropout:
        return []
    cause = f"model.recurrent_dropout: {model.recurrent_dropout:g}" if model.cell in cells else f"model.cell: {model.cell}"
    known = f"; on {backend} it knows {' and '.join(cells)}, without recurrent_dropout" if cells else ""
    return [f"the GPU is not used as it could be: cuDNN cannot compute recurrent layers with {cause}{known}."]


def _of_the_cpu(*keys: str) -> str:
    """The first value of one of these, where Linux tells; else empty."""
    with contextlib.suppress(OSError), CPUINFO.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() in keys:
                return value.strip()
    return ""


def _git() -> dict | None:
    """The commit of the folder that training was called in, and whether tracked files differ from it; None outside of one."""
    git = shutil.which("git")
    if git is None:
        return None
    ask = {"capture_output": True, "encoding": "utf-8", "errors": "replace", "check": True, "timeout": 10}
    try:
        commit, changes = (
            subprocess.run([git, "--no-optional-locks", *command], **ask).stdout.strip()  # noqa: S603
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):  # no repository, or one too slow to ask
        return None
    return {"commit": commit, "changed": bool(changes)}
