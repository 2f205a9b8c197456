"""Intervals cover what they say, follow what changes, know nothing of the future, and never cross."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from forecast.config.load import load_config
from forecast.config.schema import Config
from forecast.errors import RunError
from forecast.evaluation.intervals import (
    MIN_INDEPENDENT_WINDOWS,
    Calibration,
    HeldOutErrors,
    Intervals,
    Tracker,
    bounds_of,
    calibrate,
    calibrate_few,
    count_independent,
    explain_few_windows,
    fit_sizes,
    naive_growth,
    quantiles_of,
)
from forecast.evaluation.scoreboard import measure_scales
from forecast.evaluation.scoring import measure_ease
from forecast.forecasters.preparation import prepare
from forecast.windows.windows import Windows
from tests.conftest import write_project

QUANTILES = [0.025, 0.1, 0.9, 0.975]
GROWTH = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])  # (horizon, targets)
NAIVE = np.ones((1, 2))
CONFIG = Config.model_validate(
    {"data": {"path": "x", "timestamp": "t", "target": ["y"]}, "windows": {"lookback": 2, "horizon": 3}}
)


def noise(windows: int, seed: int, scale: float = 1.0, horizon: int = 3) -> np.ndarray:
    """Skewed errors that grow with the step: `(windows, horizon, 2, 1)`."""
    draws = np.random.default_rng(seed).gamma(2, scale, (windows, horizon, 2, 1)) - scale
    return draws * np.arange(1, horizon + 1)[:, None, None]


def windows_of(counts: list[int], horizon: int = 3) -> Windows:
    """So many windows of each series, of two targets."""
    first = np.concatenate([np.arange(count) + 7 for count in counts])
    series = np.repeat(np.arange(len(counts)), counts)
    return Windows(np.zeros((50, 2)), np.zeros((50, 0)), np.zeros((50, 2)), first, series, 7, horizon)


def kept_errors(errors: np.ndarray) -> HeldOutErrors:
    kept = HeldOutErrors(windows_of([len(errors)]), [], QUANTILES)
    kept.add(errors[..., 0], np.zeros((len(errors), 3, 2)), np.zeros(len(errors), int))
    return kept


def covered(errors: np.ndarray, offsets: np.ndarray, level: float) -> float:
    low, high = (offsets[..., QUANTILES.index(bound)] for bound in bounds_of(level))
    return float(np.mean((low <= errors[..., 0]) & (errors[..., 0] <= high)))


@pytest.mark.parametrize("windows", [12, 60, 1000])
def test_new_errors_of_the_same_kind_are_covered_as_often_as_the_level_says(windows):
    found = {80: [], 95: []}
    for seed in range(200 if windows < 1000 else 10):
        offsets = calibrate(noise(windows, seed), QUANTILES, []).offsets
        for level, shares in found.items():
            shares.append(covered(noise(500, 10_000 + seed), offsets, level))
    assert np.mean(found[80]) == pytest.approx(0.80, abs=0.02)
    assert np.mean(found[95]) == pytest.approx(0.95, abs=0.02 if windows > 12 else 0.03)


def test_each_step_is_as_wide_as_its_own_errors():
    offsets = calibrate(noise(1000, 0), QUANTILES, []).offsets[0]
    widths = (offsets[..., 2] - offsets[..., 1]).mean(axis=1)
    assert widths / widths[0] == pytest.approx([1, 2, 3], rel=0.1)


def test_each_step_is_as_wide_as_its_few_errors_are_large():
    errors = noise(30, 0)
    offsets, sizes = calibrate(errors, QUANTILES, []).offsets[0], np.sqrt(np.square(errors[..., 0]).mean(axis=0))
    widths = (offsets[..., 2] - offsets[..., 1]) / sizes  # (horizon, targets)
    np.testing.assert_allclose(widths, widths[[0, 0, 0]], rtol=0.2)


@pytest.mark.parametrize(("own", "base"), [([], [0, 0, 0]), ([0.1, 0.5, 0.9], [-1, 0, 1])], ids=["point", "quantiles"])
def test_an_error_is_what_came_less_what_was_forecast(own, base):
    errors = HeldOutErrors(windows_of([4]), own, [0.1, 0.5, 0.9])
    actual, forecast = np.random.default_rng(0).normal(size=(2, 4, 3, 2))
    added = errors.add(actual, forecast[..., None] + base if own else forecast, np.zeros(4, int))
    np.testing.assert_allclose(added, (actual - forecast)[..., None] - (base if own else 0))
    np.testing.assert_array_equal(errors.all()[0], added)


def test_a_networks_own_quantiles_are_moved_each_by_itself():
    errors = np.concatenate([noise(1000, 0) + 5, noise(1000, 0), noise(1000, 0) - 5], axis=-1)
    intervals = calibrate(errors, [0.1, 0.5, 0.9], [0.1, 0.5, 0.9])
    by_point = calibrate(noise(1000, 0), [0.1, 0.5, 0.9], [])
    np.testing.assert_allclose(intervals.offsets[..., 0], by_point.offsets[..., 0] + 5, atol=1e-5)
    assert (intervals.offsets[..., 1] == 0).all(), "the median is the forecast, and stays"


@settings(max_examples=200, deadline=None)
@given(
    forecast=arrays(np.float32, (2, 3, 1, 3), elements=st.floats(-1e3, 1e3, width=32)),
    offsets=arrays(np.float64, (1, 3, 1, 5), elements=st.floats(-1e3, 1e3)),
)
def test_quantiles_never_cross_and_intervals_contain_their_forecast(forecast, offsets):
    made = Intervals([0.05, 0.1, 0.5, 0.9, 0.95], [0.1, 0.5, 0.9], offsets).apply(np.sort(forecast, axis=-1), np.zeros(2, int))
    assert (np.diff(made, axis=-1) >= 0).all()
    np.testing.assert_array_equal(made[..., 2], np.sort(forecast, axis=-1)[..., 1])


def test_an_interval_contains_a_forecast_that_was_always_too_high():
    errors = np.full((400, 3, 2, 1), -1.0) + noise(400, 0, 0.01)
    made = calibrate(errors, [0.1, 0.9], []).apply(np.full((1, 3, 2), 5.0), np.zeros(1, int))
    assert (made[..., 0] < 4.1).all()
    np.testing.assert_array_equal(made[..., 1], 5)


@pytest.mark.parametrize(
    ("counts", "independent"), [([1], 1), ([3], 1), ([4], 2), ([13], 5), ([1, 1, 1], 3), ([4, 3], 3)], ids=str
)
def test_windows_that_share_a_target_step_are_not_independent(counts, independent):
    windows = windows_of(counts)
    assert count_independent(windows) == independent
    targets = [{(series, first + step) for step in range(3)} for series, first in zip(windows.series, windows.first, strict=True)]
    chosen = []
    for target in targets:  # in time order: the greedy choice is the largest
        if all(target.isdisjoint(other) for other in chosen):
            chosen.append(target)
    assert len(chosen) == independent


def test_few_windows_follow_student_and_grow_as_the_naive_forecast_does():
    errors = np.array([[1.0, -2.0], [2.0, 4.0], [3.0, -6.0]])[None, ..., None]  # one window: (1, horizon, targets, 1)
    offsets = calibrate_few(errors, QUANTILES, [], GROWTH, degrees=3).offsets[0]
    size = GROWTH * [1, 2]  # the root mean square of the errors at each target, in the shape of the growth
    student = {0.025: -3.1824, 0.1: -1.6377, 0.9: 1.6377, 0.975: 3.1824}  # 3 degrees of freedom, from a printed table
    np.testing.assert_allclose(offsets, size[..., None] * list(student.values()), rtol=1e-4)
    more = calibrate_few(np.repeat(errors, 9, axis=0), QUANTILES, [], GROWTH, degrees=19).offsets[0]
    assert (np.abs(more) < np.abs(offsets)).all()


def test_few_windows_around_a_networks_own_quantiles():
    own, spread = [0.1, 0.5, 0.9], np.array([-2.0, 0.0, 2.0])
    middle = noise(2, 0)  # errors of the median; those of the others differ by how far the network spreads them
    made = calibrate_few(middle - spread, own, own, GROWTH, degrees=3)
    by_point = calibrate_few(middle, own, [], GROWTH, degrees=3)
    np.testing.assert_allclose(made.offsets + spread, by_point.offsets)


@pytest.mark.parametrize(("windows", "few"), [(1, True), (27, True), (28, False), (300, False)])
def test_calibration_says_when_windows_are_too_few(windows, few):
    errors = kept_errors(noise(windows, 0))
    assert (errors.independent < MIN_INDEPENDENT_WINDOWS) == few
    made = Calibration(errors, GROWTH, NAIVE).conformal.offsets
    by_rank = calibrate(noise(windows, 0), QUANTILES, [])
    by_rule = calibrate_few(noise(windows, 0), QUANTILES, [], GROWTH, degrees=2 * errors.independent + 1)
    np.testing.assert_array_equal(made, (by_rule if few else by_rank).offsets)
    assert bool(explain_few_windows(errors.independent)) == few


def test_one_window_moves_adaptive_intervals_too():
    calibration = Calibration(kept_errors(noise(1, 0)), GROWTH, NAIVE)
    before = calibration.tracker.offsets.copy()
    calibration.tracker.follow(np.arange(9) + 10, np.zeros(9, int), noise(9, 1) + 100)
    assert (calibration.tracker.offsets > before).all()


def test_the_naive_forecast_sets_the_growth():
    rows = np.array([[0.0, 5.0], [1.0, 5.0], [3.0, 5.0], [6.0, 5.0]])
    windows = Windows(rows, rows[:, :0], rows, np.array([1, 2]), np.zeros(2, int), 1, 2)
    growth = naive_growth(windows)
    np.testing.assert_allclose(growth[:, 0], np.sqrt([(1 + 4) / 2, (9 + 25) / 2]))
    assert (growth[:, 1] > 0).all(), "a constant column must not divide by 0"


@pytest.mark.parametrize("shared", [True, False], ids=["one for all", "one each"])
def test_each_series_gets_its_own_offsets(shared):
    steps, ladder = np.arange(2 * 3).reshape(2, 3, 1, 1), np.array([-2.0, -1, 0, 1, 2])  # ascending, so nothing is reordered
    offsets = ladder * (1 + steps[:1] if shared else 1 + steps)
    forecast, series = np.arange(12.0).reshape(4, 3, 1), np.array([1, 0, 1, 1])
    made = Intervals([0.05, 0.1, 0.5, 0.9, 0.95], [], offsets).apply(forecast, series)
    np.testing.assert_allclose(made, forecast[..., None] + offsets[np.zeros(4, int) if shared else series])


def test_the_median_stays_the_forecast():
    start, quantiles = noise(50, 0), [0.1, 0.5, 0.9]
    tracker = Tracker(calibrate(start, quantiles, []), start.std(axis=0), 1)
    issued = tracker.follow(np.arange(30) + 7, np.zeros(30, int), noise(30, 1))
    assert (issued[..., 1] == 0).all()


def test_each_forecast_is_judged_once():
    """Rows without a forecast, such as those of a gap, move nothing."""
    start, later = noise(50, 0), noise(2, 1)
    tracker = Tracker(calibrate(start, QUANTILES, []), start.std(axis=0), 1, rate=0.1)
    before, after = tracker.follow(np.array([7, 20]), np.zeros(2, int), later)
    moves = np.array(QUANTILES) - (later[0] <= before)
    np.testing.assert_allclose(after, before + 0.1 * start.std(axis=0) * moves)


def test_fewer_windows_than_steps_count_too():
    start = noise(50, 0)
    tracker = Tracker(calibrate(start, QUANTILES, []), start.std(axis=0), 1)
    tracker.follow(np.array([7, 8]), np.zeros(2, int), noise(2, 1))
    assert (tracker.finish().offsets != tracker.start.offsets).all()


def test_offsets_grow_with_the_errors():
    """In thousands or in units, conformal or adaptive, pooled over steps or not."""
    for windows in (12, 60):
        start, later, first = noise(windows, 0), noise(30, 1), np.arange(30) + 7
        small, large = (
            Tracker(calibrate(factor * start, QUANTILES, []), factor * start.std(axis=0), 1).follow(
                first, 0 * first, factor * later
            )
            for factor in (1, 1000)
        )
        assert np.ptp(small, axis=0).all()
        np.testing.assert_allclose(large, 1000 * small, rtol=1e-9)


def test_steps_beyond_the_horizon_have_no_interval():
    made = calibrate(noise(50, 0), QUANTILES, []).apply(np.zeros((4, 5, 2)), np.zeros(4, int))
    assert np.isfinite(made[:, :3]).all()
    assert np.isnan(made[:, 3:]).all()


def test_the_tracker_follows_what_changes():
    start = noise(300, 0)
    later = noise(2000, 1, scale=3.0)
    tracker = Tracker(calibrate(start, QUANTILES, []), start.std(axis=0), series=1)
    issued = tracker.follow(np.arange(2000) + 10, np.zeros(2000, int), later)
    fixed = np.broadcast_to(tracker.start.offsets, issued.shape)
    assert covered(later[500:], fixed[500:], 80) < 0.6
    assert covered(later[500:], issued[500:], 80) == pytest.approx(0.8, abs=0.03)
    assert covered(later[500:], issued[500:], 95) == pytest.approx(0.95, abs=0.03)


def test_the_tracker_uses_no_error_before_it_is_known():
    start, later = noise(50, 0), noise(30, 1)
    first, series = np.arange(30) + 7, np.zeros(30, int)
    for window in (0, 11, 29):
        for step in range(3):
            changed = later.copy()
            changed[window, step] += 100
            begin, size = calibrate(start, QUANTILES, []), start.std(axis=0)
            own, other = (Tracker(begin, size, 1).follow(first, series, errors) for errors in (later, changed))
            moved = np.flatnonzero(np.abs(own - other).reshape(30, -1).max(axis=1))
            assert (moved > window + step).all(), "the value of step 0 is known at the next cutoff"
            if window + step + 1 < 30:
                assert len(moved), "and is used then"


def test_series_are_tracked_apart_and_pieces_are_one():
    start, later = noise(50, 0), noise(40, 1)
    first, series = np.tile(np.arange(20), 2) + 5, np.repeat([0, 1], 20)
    whole, pieces = (Tracker(calibrate(start, QUANTILES, []), start.std(axis=0), 2) for _ in range(2))
    issued = whole.follow(first, series, later)
    parts = [pieces.follow(first[part], series[part], later[part]) for part in (slice(0, 13), slice(13, 40))]
    np.testing.assert_array_equal(np.concatenate(parts), issued)
    alone = Tracker(calibrate(start, QUANTILES, []), start.std(axis=0), 2).follow(first[20:], series[20:], later[20:])
    np.testing.assert_array_equal(issued[20:], alone)
    assert not np.array_equal(whole.finish().offsets[0], whole.finish().offsets[1])


def test_the_future_is_calibrated_on_the_test_part_too():
    made = Calibration(kept_errors(noise(100, 0)), GROWTH, NAIVE).make_final_intervals("conformal", kept_errors(noise(100, 1)))
    np.testing.assert_array_equal(made.offsets, calibrate(np.concatenate([noise(100, 0), noise(100, 1)]), QUANTILES, []).offsets)


def test_many_errors_are_thinned(monkeypatch):
    monkeypatch.setattr("forecast.evaluation.intervals.MAX_ERRORS", 60)
    errors, all_of_them = HeldOutErrors(windows_of([100]), [], QUANTILES), noise(100, 0)
    for begin in range(0, 100, 4):  # pieces shorter than the stride
        piece = all_of_them[begin : begin + 4]
        assert errors.add(piece[..., 0], np.zeros((4, 3, 2)), np.arange(begin, begin + 4)).shape == (4, 3, 2, 1)
    kept, series = errors.all()
    np.testing.assert_array_equal(kept, all_of_them[::10])
    np.testing.assert_array_equal(series, np.arange(100)[::10])
    assert all(piece.base is None for piece, _ in errors.chunks), "a view would keep what was thinned out in memory"


def test_what_a_run_keeps_is_read_again():
    made = calibrate(noise(50, 0), quantiles_of(CONFIG), [])
    again = Intervals.from_arrays(made.to_arrays(), (1, 3, 2), CONFIG)
    np.testing.assert_allclose(again.offsets, made.offsets, rtol=1e-6)
    assert again.quantiles == QUANTILES
    each = replace(made, offsets=np.repeat(made.offsets, 5, axis=0)).to_arrays()  # of five series
    assert len(Intervals.from_arrays(each, (5, 3, 2), CONFIG).offsets) == 5
    sized = replace(made, sizes=np.arange(1.0, 11).reshape(5, 2))
    np.testing.assert_array_equal(Intervals.from_arrays(sized.to_arrays(), (5, 3, 2), CONFIG).sizes, sized.sizes)
    del each["sizes"]  # As earlier versions stored them.
    assert len(Intervals.from_arrays(each, (5, 3, 2), CONFIG).offsets) == 5
    for stored, shape in (
        (made.to_arrays(), (1, 4, 2)),
        (sized.to_arrays(), (4, 3, 2)),
        (each, (1, 3, 2)),
        (each, (2, 3, 2)),
        (each, (6, 3, 2)),
    ):
        with pytest.raises(RunError, match="damaged or belong to another run"):
            Intervals.from_arrays(stored, shape, CONFIG)


def test_the_last_errors_count_when_their_time_has_come():
    """Those of the last horizon are known when the part is over, and not before."""
    start, later = noise(50, 0), noise(30, 1)
    changed = later.copy()
    changed[-1] += 100
    ends = []
    for errors in (later, changed):
        calibration = Calibration(kept_errors(start), GROWTH, NAIVE)
        calibration.tracker.follow(np.arange(30) + 7, np.zeros(30, int), errors)
        ends.append(calibration.make_final_intervals("adaptive", kept_errors(start)).offsets)
    assert (ends[1] >= ends[0]).all()
    assert (ends[1] > ends[0]).any()


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_sizes_follow_the_errors_of_the_naive_forecast(exponent):
    rng = np.random.default_rng(0)
    naive = np.exp(rng.normal(size=(400, 2)))
    series = np.repeat(np.arange(400), 4)
    errors = noise(1600, 1) * (naive**exponent)[series][:, None, :, None]
    sizes = fit_sizes(errors, series, naive)
    expected = (naive / np.median(naive, axis=0)) ** exponent
    np.testing.assert_allclose(np.log(sizes), np.log(expected), atol=0.25)
    naive[7] = np.nan  # A series without two seasons is a usual one.
    np.testing.assert_array_equal(fit_sizes(errors, series, naive)[7], [1, 1])


def test_idle_series_leave_the_sizes_of_others_alone():
    naive, series = np.repeat([[0.0]] * 30 + [[1.0]] * 20 + [[4.0]] * 10, 2, axis=1), np.repeat(np.arange(60), 4)
    errors = noise(240, 0) * np.maximum(naive, 1)[series][:, None, :, None]
    sizes = fit_sizes(errors, series, naive)
    np.testing.assert_array_equal(sizes[:30], 1)
    np.testing.assert_allclose(sizes[50:] / sizes[30:40], 4, rtol=0.3)


def test_few_series_share_one_size():
    series, naive = np.repeat(np.arange(9), 5), np.arange(1.0, 19).reshape(9, 2)
    np.testing.assert_array_equal(fit_sizes(noise(45, 0), series, naive), [[1, 1]])


@pytest.mark.parametrize("method", ["conformal", "adaptive"])
def test_intervals_of_a_wild_series_are_wider(method):
    naive = np.repeat(np.logspace(-1, 1, 40)[:, None], 2, axis=1)
    series = np.repeat(np.arange(40), 30)
    windows = windows_of([30] * 40)
    errors = HeldOutErrors(windows, [], QUANTILES)
    held_out = noise(1200, 0) * naive[series][:, None, :, None]
    errors.add(held_out[..., 0], np.zeros((1200, 3, 2)), series)
    calibration, later = Calibration(errors, GROWTH, naive), noise(1200, 1) * naive[series][:, None, :, None]
    quantiles = calibration.apply(windows, np.zeros((1200, 3, 2)), later)[method]
    inside = (quantiles[..., 1] <= later[..., 0]) & (later[..., 0] <= quantiles[..., 2])  # The interval of 80%.
    for group in np.array_split(inside, 4):
        assert group.mean() == pytest.approx(0.8, abs=0.05)


def test_new_series_have_the_mean_of_all():
    offsets = np.arange(2 * 3 * 1 * 4, dtype=float).reshape(2, 3, 1, 4)
    chosen = Intervals(QUANTILES, [], offsets).select([1, None])
    np.testing.assert_array_equal(chosen.offsets, np.stack([offsets[1], offsets.mean(axis=0)]))


@pytest.mark.parametrize(
    ("series", "noise", "low", "high"), [(12, 0.5, 1.05, 1.25), (12, 2.0, 1, 1), (9, 0.5, 1, 1), (12, 0.0, 1.05, 2)]
)
def test_errors_count_more_if_the_validation_set_is_easier_than_usual(tmp_path, series, noise, low, high):
    rng, shops = np.random.default_rng(0), []
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    for shop in range(series):
        sales = rng.normal(size=120)
        sales[84:102] *= noise
        shops.append(pd.DataFrame({"month": months, "shop": shop, "sales": sales}))
    prepared = prepare(load_config(write_project(tmp_path, pd.concat(shops), data={"series_id": "shop"})))
    ease = measure_ease(prepared, measure_scales(prepared, scaled=True)[:, 0])
    assert ease.shape == (1,)
    assert low <= ease[0] <= high


def test_errors_of_an_easy_validation_set_are_enlarged():
    errors = kept_errors(noise(100, 0))
    plain, enlarged = (Calibration(errors, GROWTH, NAIVE, ease) for ease in (1.0, np.array([1.5, 1.0])))
    np.testing.assert_allclose(enlarged.conformal.offsets, plain.conformal.offsets * [[1.5], [1.0]])
    test = kept_errors(noise(100, 1))
    before, after = (calibration.make_final_intervals("conformal", test).offsets for calibration in (plain, enlarged))
    assert np.all(np.diff(after[..., 0, ::3]) > np.diff(before[..., 0, ::3]))
    np.testing.assert_array_equal(after[..., 1, :], before[..., 1, :])
