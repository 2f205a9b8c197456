"""The linear baseline is scikit-learn's ridge regression with the penalty that validation prefers."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from forecast.forecasters import linear
from forecast.windows.normalization import compute_window_statistics
from forecast.windows.windows import Windows
from tests.conftest import seasonal_rows


def windows(values: np.ndarray, first: range) -> Windows:
    return Windows(values, values[:, :0], values, np.array(first), np.zeros(len(first), int), lookback=6, horizon=3)


@pytest.mark.parametrize("normalization", ["none", "last", "mean", "revin"])
def test_linear_is_ridge_with_the_strength_that_validation_prefers(normalization):
    values = np.stack([seasonal_rows(200, seed=1), seasonal_rows(200, seed=2)], axis=1)
    train, validation = windows(values, range(6, 150)), windows(values, range(150, 180))
    fitted = linear.fit_linear(train, validation, normalization)

    def flat(part: Windows, target: int) -> tuple[np.ndarray, ...]:
        centre, scale = (s[..., target] for s in compute_window_statistics(part.past_values(), normalization))
        return (part.past_values()[..., target] - centre) / scale, (part.targets()[..., target] - centre) / scale, centre, scale

    for target in range(2):
        x, y, *_ = flat(train, target)
        x_unseen, y_unseen, centre, scale = flat(validation, target)
        penalty = len(x) * x.var(axis=0).mean()
        peers = [Ridge(strength * penalty).fit(x, y) for strength in linear.PENALTIES]
        errors = [np.square(peer.predict(x_unseen) - y_unseen).mean() for peer in peers]
        best = int(np.argmin(errors))
        assert fitted.strength[target] == pytest.approx(linear.PENALTIES[best])
        ours = fitted.forecast(validation)[..., target]
        np.testing.assert_allclose(ours, peers[best].predict(x_unseen) * scale + centre, rtol=1e-5, atol=1e-5)
