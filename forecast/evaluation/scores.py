"""Typed documents of an evaluation: errors, coverage of intervals, the metrics of a run (metrics.json), and its problems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from forecast.documents import Document
from forecast.evaluation.significance import Comparison
from forecast.forecasters.baselines import SIMPLE
from forecast.forecasters.combination import NETWORK, Combination

MODEL = "forecast"  # The name of the network or the combination among the forecasters, and its column in predictions.csv.
BASELINES = SIMPLE
LABELS = {MODEL: "this network", NETWORK: "network alone"} | {name: name.replace("_", " ") for name in BASELINES}
LABELS |= {"theta": "Theta", "ets": "ETS", "arima": "ARIMA", "boosting": "boosting"}  # All forecasters, in the order of tables.


def _check_every_baseline(compared: dict[str, Comparison]) -> dict[str, Comparison]:
    if missing := [name for name in BASELINES if name not in compared]:
        raise ValueError(f"there is no {missing[0]}")
    return compared


class Errors(Document):
    """Errors of a forecaster over all windows, in the units of the data. None where one is undefined.

    mae_scaled, mse_scaled: after scaling, over all targets.
    """

    mae: float
    rmse: float | None
    mape: float | None
    smape: float | None
    wape: float | None
    bias: float
    mase: float | None
    rmsse: float | None
    mae_scaled: float | None = None
    mse_scaled: float | None = None


class StepErrors(Document):
    """Errors of a forecaster by horizon step."""

    mae: list[float]
    rmse: list[float | None]
    mape: list[float | None]
    smape: list[float | None]
    wape: list[float | None]
    bias: list[float]
    mase: list[float | None]
    rmsse: list[float | None]


class ForecasterScores(Document):
    """Errors of the network or of a baseline: over everything, by horizon step and by target."""

    total: Errors
    per_step: StepErrors
    per_target: dict[str, Errors]


class Bias(Document):
    """The bias of a target as a share of the root mean squared error, and the p-value that there is none."""

    share: float
    p_value: float | None


class LevelStepScores(Document):
    """`LevelScores` by horizon step."""

    coverage: list[float]
    width: list[float]
    winkler: list[float]
    below: list[float] = []  # Runs of earlier versions lack it.


class LevelScores(Document):
    """Measures of intervals of one level: the share of actual values within and below them, their mean width and Winkler score.

    coverage_low, coverage_high: 95% confidence interval of the coverage, None with few cutoffs.
    """

    coverage: float
    width: float
    winkler: float
    below: float | None = None  # Runs of earlier versions lack it.
    per_step: LevelStepScores
    coverage_low: float | None
    coverage_high: float | None


class IntervalScores(Document):
    """Measures of the intervals that one method makes: by level, the pinball loss by quantile, and the CRPS."""

    levels: dict[str, LevelScores]
    pinball: dict[str, float]
    crps: float


class Scores(Document):
    """Everything that is measured on the windows of the validation set or the test set.

    scored_on: digest of the data and the windows. bias: by target. members: errors of each seed's network, if there are several.
    intervals: by method.
    """

    windows: int
    scored_on: str | None = None  # Runs of earlier versions lack it.
    bias: dict[str, Bias] = {}  # Runs of earlier versions lack it.
    members: list[Errors] = []
    forecast: ForecasterScores
    naive: ForecasterScores
    seasonal_naive: ForecasterScores
    drift: ForecasterScores
    mean: ForecasterScores
    linear: ForecasterScores
    network: ForecasterScores | None = None  # The network alone, where the forecast is a combination.
    theta: ForecasterScores | None = None
    ets: ForecasterScores | None = None
    arima: ForecasterScores | None = None
    boosting: ForecasterScores | None = None
    intervals: dict[str, IntervalScores] = {}

    def of(self, forecaster: str) -> ForecasterScores:
        """Return the errors of the network or of a baseline by its name."""
        scores = getattr(self, forecaster)
        assert isinstance(scores, ForecasterScores)
        return scores

    @property
    def labels(self) -> dict[str, str]:
        """The forecasters that were scored, with their names for people, in the order of tables."""
        labels = {name: label for name, label in LABELS.items() if getattr(self, name)}
        return labels | ({MODEL: "combination"} if self.network else {})


class Metrics(Document):
    """The result of a backtest, and the part of the result of a training that it shares with one.

    skill, compared: the network against each baseline. persistence: distance of the forecasts from the last value, as a fraction
    of that of the actual values. season_length: in steps. calibration_windows: independent windows on which intervals rest.
    """

    verdict: str
    advice: str
    skill: dict[str, float | None]
    compared: Annotated[dict[str, Comparison], AfterValidator(_check_every_baseline)]
    persistence: float
    season_length: int
    test: Scores
    calibration_windows: int | None = None  # Runs of earlier versions lack it.

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.verdict!r})"


class TrainingErrors(Document):
    """Errors of the network alone on windows of the training set, in the units of the data. It learned from these windows."""

    windows: int
    mae: float
    rmse: float


class MissingCost(Document):
    """The MAE on the test set if a known covariate is missing over the horizon and its policy replaces it."""

    policy: str
    mae: float


class TrainingMetrics(Metrics):
    """The result of a training (metrics.json).

    kept_epochs: by seed. missing_known: by known covariate. runtime_difference: between the forecasts of NumPy and of Keras, as a
    fraction of the largest. linear_strength: the chosen penalty of the linear baseline by target. combination: its members.
    training: before the network was refitted.
    """

    missing_known: dict[str, MissingCost] = {}
    kept_epochs: dict[int, int]
    parameters: int
    runtime_difference: float | None = None
    linear_strength: dict[str, float] = {}
    combination: Combination | None = None
    training: TrainingErrors | None = None  # Runs of earlier versions lack it.
    validation: Scores


@dataclass(frozen=True)
class Diagnosis:
    """A problem: its name, the figures that show it, and what to change."""

    name: str
    evidence: str
    remedy: str


class Diagnoses(Document):
    """The problems of a training, causes before effects (diagnosis.json)."""

    problems: list[Diagnosis]
