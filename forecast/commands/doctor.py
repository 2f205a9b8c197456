"""`doctor`: check the installation and the machine."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from forecast.commands.validate import Finding
from forecast.errors import ForecastError, check_backend, installation
from forecast.runs import Environment, inspect_environment

EXTRAS = {  # Packages that tell whether an extra is installed, and what it is for.
    "export": (("onnx", "onnxruntime", "tf2onnx", "ai_edge_litert"), "forecast export"),
    "parquet": (("pyarrow",), "Parquet files"),
    "excel": (("openpyxl",), "Excel files"),
    "holidays": (("holidays",), "data.calendar: holidays"),
    "tune": (("optuna",), "forecast tune"),
    "jax": (("jax",), "JAX as the backend of Keras"),
    "ray": (("ray",), "--engine ray"),
    "postgres": (("psycopg",), "--storage in PostgreSQL"),
    "tensorboard": (("tensorboard",), "tracking with TensorBoard"),
    "mlflow": (("mlflow", "alembic", "sqlalchemy"), "tracking with MLflow"),
}
MIN_FREE_BYTES = 1e9


def doctor() -> list[Finding]:
    """Check versions, the backend of Keras and its devices, threads, extras and the disk. This loads Keras."""
    findings = list(_check_backend())
    findings += [_check_extra(name, *extra) for name, extra in EXTRAS.items()]
    return [*findings, _check_disk()]


def _check_backend() -> Iterator[Finding]:
    try:
        backend = check_backend()
    except ForecastError as error:
        yield Finding("error", "backend", error.problem, error.remedy)
        return
    missing = [name for name in (backend, "keras", "sklearn") if importlib.util.find_spec(name) is None]
    if missing:
        text = f"{', '.join(missing)} not installed: this installation forecasts with trained runs, but cannot train"
        yield Finding("warning", "training", text, installation())
        return
    try:
        environment = inspect_environment()
    except (ImportError, RuntimeError, OSError, AttributeError) as error:  # Keras or its backend is broken.
        yield Finding("error", "backend", f"Keras cannot be loaded with {backend}: {error}", installation())
        return
    yield from _describe_environment(environment)


def _describe_environment(environment: Environment) -> Iterator[Finding]:
    yield Finding("ok", "versions", f"forecast {environment.forecast}, Python {environment.python}, {environment.platform}")
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    yield Finding("ok", "packages", packages)
    yield Finding("ok", "backend", f"{environment.backend}, devices: {', '.join(environment.devices)}")
    threads = ", ".join(f"{name}={value}" for name, value in environment.threads.items())
    cores = f"{environment.cpu}, {environment.cpus} cores"
    yield Finding("ok", "processor", f"{cores}, {threads or 'threads chosen by the backend'}")


def _check_extra(name: str, packages: tuple[str, ...], purpose: str) -> Finding:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if not missing:
        return Finding("ok", "extra", f"{name}: installed")
    return Finding("ok", "extra", f"{name}: not installed, needed only for {purpose}", installation(name))


def _check_disk() -> Finding:
    folder = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("error", "disk", f"{folder} cannot be written ({error.strerror})", "Use a folder that you can write to.")
    text = f"{free / 1e9:.0f} GB free in {folder}"
    return Finding("ok", "disk", text) if free > MIN_FREE_BYTES else Finding("warning", "disk", text, "Free some space.")
