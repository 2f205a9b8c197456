"""Trustworthy forecasts with recurrent networks: a CSV and a YAML file in, a run directory out.

The public names load on first use, so that `import forecast` costs nothing.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Config": "config.schema",
    "ConfigError": "errors",
    "DataError": "errors",
    "ForecastError": "errors",
    "Run": "runs.run",
    "RunError": "errors",
    "backtest": "commands.backtest",
    "check_leaks": "evaluation.leakage",
    "compare": "commands.compare",
    "detect": "commands.detect",
    "diagnose": "commands.diagnose",
    "experiment": "search.experiment",
    "export": "commands.export",
    "init": "commands.init",
    "load_config": "config.load",
    "plan": "commands.plan",
    "predict": "commands.predict",
    "report": "reports.report",
    "reproduce": "commands.reproduce",
    "schema": "config.schema",
    "train": "commands.train",
    "tune": "search.tune",
    "update": "commands.update",
    "validate": "commands.validate",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'forecast' has no attribute {name!r}")
    return getattr(importlib.import_module(f"forecast.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
