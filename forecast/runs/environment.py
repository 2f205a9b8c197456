"""The environment of a training run: versions, machine, threads, devices, and the commit of the current folder."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from forecast import __version__
from forecast.config import Config
from forecast.runs.documents import Environment, GitState

CUDNN = {"tensorflow": ("lstm", "gru"), "jax": ("lstm",)}  # Cells that Keras computes by cuDNN, by backend.
BFLOAT16 = {"avx512_bf16", "avx_ne_convert", "amx_bf16", "bf16"}  # Flags of CPUs that compute in bfloat16.
CPUINFO = Path("/proc/cpuinfo")
PACKAGES = ("tensorflow", "jax", "keras", "numpy", "pandas", "safetensors")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def inspect_environment() -> Environment:
    """Return versions, machine, threads and devices. This loads Keras, to ask for its backend and devices."""
    from forecast.forecasters.network.backend import keras

    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return Environment(
        forecast=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_read_cpu_info("model name") or platform.processor() or platform.machine(),
        cpus=os.cpu_count(),
        threads={name: os.environ[name] for name in (*THREADS, "XLA_FLAGS") if name in os.environ},
        devices=keras.distribution.list_devices(),
        backend=keras.backend.backend(),
        packages=versions,
        git=_inspect_git(),
    )


def find_slow_settings(config: Config, environment: Environment) -> list[str]:
    """Return a sentence for each setting that makes training slower than this machine could be."""
    model, cells = config.model, CUDNN[environment.backend]
    if any(kind in device for device in environment.devices for kind in ("gpu", "cuda")):
        slow = [layer.cell for layer in model.stack if layer.cell not in cells]
        if not slow and not model.recurrent_dropout:
            return []
        cause = f"model.cell: {slow[0]}" if slow else f"model.recurrent_dropout: {model.recurrent_dropout:g}"
        able = f"With {environment.backend}, cuDNN supports {' and '.join(cells)} without recurrent_dropout."
        return [f"cuDNN cannot run recurrent layers with {cause}, so the GPU is slower than it could be. {able}"]
    flags = _read_cpu_info("flags", "Features")
    if config.training.mixed_precision and flags and not BFLOAT16 & set(flags.split()):
        problem = "this CPU does not support bfloat16, so mixed precision only slows training down."
        return [f"{problem} Set training.mixed_precision: false."]
    return []


def _read_cpu_info(*keys: str) -> str:
    """Return the first value of one of these keys on Linux, "" elsewhere."""
    with contextlib.suppress(OSError), CPUINFO.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() in keys:
                return value.strip()
    return ""


def _inspect_git() -> GitState | None:
    """Return the commit of the current folder and whether tracked files differ from it; None outside of a repository."""
    answers = []
    try:
        for question in ("rev-parse HEAD", "status --porcelain --untracked-files=no"):
            command = [shutil.which("git") or "git", "--no-optional-locks", *question.split()]
            answers.append(subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=10))  # noqa: S603
    except (OSError, subprocess.SubprocessError):  # There is no git or no repository, or it is too slow to ask.
        return None
    return GitState(commit=answers[0].decode().strip(), changed=bool(answers[1]))
