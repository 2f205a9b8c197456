"""Trustworthy forecasts with recurrent networks: a CSV and a YAML file in, a run directory out.

The public names load on first use, so that `import forecast` costs nothing.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Config": "config",
    "ConfigError": "errors",
    "DataError": "errors",
    "ForecastError": "errors",
    "Run": "runs",
    "RunError": "errors",
    "backtest": "backtesting",
    "check_leaks": "leaks",
    "compare": "comparison",
    "detect": "detection",
    "diagnose": "diagnosis",
    "experiment": "experiments",
    "export": "exports",
    "init": "drafting",
    "load_config": "loading",
    "plan": "future",
    "predict": "prediction",
    "report": "reports",
    "reproduce": "reproduction",
    "schema": "config",
    "train": "training",
    "tune": "tuning",
    "update": "updating",
    "validate": "validation",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'forecast' has no attribute {name!r}")
    return getattr(importlib.import_module(f"forecast.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
