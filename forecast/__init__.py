"""Trustworthy forecasts with recurrent networks: a CSV and a YAML file in, a run directory out.

The public names load on first use, so that `import forecast` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forecast.commands.backtest import backtest as backtest
    from forecast.commands.compare import compare as compare
    from forecast.commands.detect import detect as detect
    from forecast.commands.diagnose import diagnose as diagnose
    from forecast.commands.doctor import doctor as doctor
    from forecast.commands.export import export as export
    from forecast.commands.init import init as init
    from forecast.commands.list_runs import list_runs as list_runs
    from forecast.commands.plan import plan as plan
    from forecast.commands.predict import predict as predict
    from forecast.commands.reproduce import reproduce as reproduce
    from forecast.commands.show import show as show
    from forecast.commands.train import resume_training as resume_training
    from forecast.commands.train import train as train
    from forecast.commands.update import UpdateOptions as UpdateOptions
    from forecast.commands.update import update as update
    from forecast.commands.validate import validate as validate
    from forecast.config.keys import schema as schema
    from forecast.config.load import load_config as load_config
    from forecast.config.schema import Config as Config
    from forecast.errors import ConfigError as ConfigError
    from forecast.errors import DataError as DataError
    from forecast.errors import ForecastError as ForecastError
    from forecast.errors import RunError as RunError
    from forecast.evaluation.leakage import check_leaks as check_leaks
    from forecast.reports.plots import plot as plot
    from forecast.reports.report import report as report
    from forecast.runs.run import Run as Run
    from forecast.search.experiment import experiment as experiment
    from forecast.search.tune import tune as tune

__version__ = "0.1.0"

_HOMES = {
    "Config": "config.schema",
    "Run": "runs.run",
    "UpdateOptions": "commands.update",
    "check_leaks": "evaluation.leakage",
    "experiment": "search.experiment",
    "load_config": "config.load",
    "plot": "reports.plots",
    "report": "reports.report",
    "resume_training": "commands.train",
    "schema": "config.keys",
    "tune": "search.tune",
}
_HOMES |= dict.fromkeys(("ConfigError", "DataError", "ForecastError", "RunError"), "errors")
_COMMANDS = "backtest compare detect diagnose doctor export init list_runs plan predict reproduce show train update validate"
_HOMES |= {name: f"commands.{name}" for name in _COMMANDS.split()}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'forecast' has no attribute {name!r}")
    return getattr(importlib.import_module(f"forecast.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
