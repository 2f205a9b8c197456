"""Equal forecasters differ as often as the level says, better ones are found, and known results come out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from forecast.evaluation.significance import block_length, bootstrap, compare_losses, diebold_mariano


def overlapping(rng: np.random.Generator, cutoffs: int, horizon: int, scale: float = 1.0) -> np.ndarray:
    """Mean absolute errors of forecasts of a horizon, at successive cutoffs."""
    errors = np.abs(rng.normal(0, scale, cutoffs + horizon - 1))
    return np.convolve(errors, np.ones(horizon) / horizon, "valid")


def test_one_step_ahead_it_is_students_test():
    differences = np.random.default_rng(0).normal(0.3, 1, 40)
    assert diebold_mariano(differences, 1) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-9)


def test_the_correction_is_that_of_harvey_leybourne_and_newbold():
    d, h = np.random.default_rng(1).normal(0.2, 1, 30), 3
    n, c = len(d), d - d.mean()
    variance = (c @ c + 2 * (c[1:] @ c[:-1] + c[2:] @ c[:-2])) / n / n
    statistic = d.mean() / np.sqrt(variance) * np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    assert diebold_mariano(d, h) == pytest.approx(2 * stats.t.sf(abs(statistic), (n + 1) / h - 2), rel=1e-9)


def test_bartletts_weights_stand_in_where_the_variance_would_be_negative():
    d, n, h = 0.1 + np.tile([1.0, -1.0], 10), 20, 2
    c = d - d.mean()
    variance = (c @ c + c[1:] @ c[:-1]) / n / n  # the lag counts twice, by a half
    statistic = d.mean() / np.sqrt(variance) * np.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    assert diebold_mariano(d, h) == pytest.approx(2 * stats.t.sf(abs(statistic), (n + 1) / h - 2), rel=1e-9)


@pytest.mark.parametrize(("difference", "p_value"), [(0.0, 1.0), (0.5, 0.0)])
def test_differences_that_never_vary_are_no_luck(difference, p_value):
    assert diebold_mariano(np.full(20, difference), 1) == p_value


@pytest.mark.parametrize(("cutoffs", "horizon"), [(20, 1), (100, 1), (200, 4), (60, 12), (600, 12)])
def test_equal_forecasters_differ_as_often_as_the_level_says(cutoffs, horizon):
    rng, draws = np.random.default_rng(cutoffs), 1000
    found = [
        diebold_mariano(overlapping(rng, cutoffs, horizon) - overlapping(rng, cutoffs, horizon), horizon) < 0.05
        for _ in range(draws)
    ]
    assert np.mean(found) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / draws))


def test_power_rises_with_the_difference():
    rng = np.random.default_rng(2)
    powers = [
        np.mean([diebold_mariano(overlapping(rng, 200, 4, scale) - overlapping(rng, 200, 4), 4) < 0.05 for _ in range(200)])
        for scale in (1.0, 1.15, 1.3, 1.6)
    ]
    assert powers == sorted(powers)
    assert powers[0] < 0.1
    assert powers[-1] > 0.95


@pytest.mark.parametrize(("cutoffs", "horizon", "off"), [(100, 1, 0.025), (200, 4, 0.025), (60, 12, 0.04), (400, 12, 0.025)])
def test_bootstrap_intervals_hold_the_truth_as_often_as_they_say(cutoffs, horizon, off):
    rng, draws = np.random.default_rng(cutoffs), 1000
    held = []
    for draw in range(draws):
        samples = overlapping(rng, cutoffs, horizon) - overlapping(rng, cutoffs, horizon)
        low, high = bootstrap(samples, block_length(cutoffs, horizon), np.random.default_rng(draw))
        held.append(low <= 0 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=off)


def test_the_interval_of_independent_losses_is_students():
    samples = np.random.default_rng(3).normal(5, 1, 200)
    found = bootstrap(samples, 1, np.random.default_rng(0))
    assert found == pytest.approx(stats.t.interval(0.95, 199, samples.mean(), stats.sem(samples)), abs=0.02)


def test_skill_and_its_interval():
    rng = np.random.default_rng(4)
    good, bad = overlapping(rng, 400, 4), 2 * overlapping(rng, 400, 4)
    found = compare_losses(good, bad, np.ones(400), 4)
    assert found.skill == pytest.approx(0.5, abs=0.05)
    assert 0.4 < found.low < found.skill < found.high < 0.6
    assert found.p_value < 1e-6
    assert compare_losses(bad, good, np.ones(400), 4).skill == pytest.approx(-1, abs=0.2)


def test_too_few_cutoffs_say_nothing_of_luck():
    found = compare_losses(np.ones(13), 2 * np.ones(13), np.ones(13), 12)
    assert (found.skill, found.low, found.high, found.p_value) == (0.5, None, None, None)


def test_an_opponent_that_is_mostly_exact_has_an_interval_too():
    opponent = np.zeros(120)
    opponent[[20, 60, 100]] = 5.0
    found = compare_losses(np.full(120, 0.1), opponent, np.ones(120), 2)
    assert found.skill == pytest.approx(0.2)
    assert np.isfinite([found.low, found.high, found.p_value]).all()


def test_skill_and_test_weigh_cutoffs_alike():
    rng = np.random.default_rng(5)
    few, many = rng.normal(2.0, 0.1, 60), rng.normal(1.0, 0.1, 60)  # the network is worse at 30 cutoffs of one series
    counts = np.repeat([1, 50], 30)
    losses, opponent = np.where(counts == 1, few, many), np.where(counts == 1, many, few)
    found = compare_losses(losses, opponent, counts, 1)
    assert found.skill > 0.4
    assert found.p_value < 0.001
    assert compare_losses(losses, opponent, np.ones(60), 1).p_value > 0.5, "by cutoffs they are equal"


def test_cutoffs_with_more_series_weigh_more():
    losses, opponent, counts = np.array([1.0, 3.0]), np.array([2.0, 2.0]), np.array([3, 1])
    assert compare_losses(losses, opponent, counts, 1).skill == pytest.approx(1 - 6 / 8)
