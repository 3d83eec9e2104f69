"""What the keys hold for right where no tested function of the package says it: against numbers found another way."""

import pytest
import torch

from diffnotes import Exact, GaussianMixture, Linear, grid, ode
from diffnotes.chapters.collapse import final_variance
from diffnotes.exercises.keys import collapse

LINEAR = Linear()


def power(t):
    return float(LINEAR(t)[0]) ** 2


@pytest.mark.parametrize("delta, strength", [(0.1, 0.0), (0.1, 0.6), (-0.1, 0.6), (0.1, 1.5), (0.2, 1.0)])
def test_sign_law_of_any_strength(delta, strength):
    times = grid(LINEAR, 40_000, t_min=1e-5)
    stepped = final_variance(LINEAR, times, delta, 0.4, strength)
    assert collapse.strength.right(delta, power(1.0), power(0.4), strength) == pytest.approx(stepped, abs=2e-3)


@pytest.mark.parametrize("delta", [-0.2, 0.3])
def test_late_errors(delta):
    times = grid(LINEAR, 20_000, t_min=1e-6, t_max=0.5)
    stepped = [final_variance(LINEAR, times, delta, -1.0, strength) for strength in (0.0, 1.0)]
    assert collapse.late.right(delta, power(0.5)) == pytest.approx(stepped, abs=1e-3)


@pytest.mark.parametrize("std", [0.3, 2.0])
def test_errors_are_carried_as_the_ode_carries_them(std):
    law = GaussianMixture([0.0], std).to(dtype=torch.float64)
    times = grid(LINEAR, 400, kind="quadratic", t_min=1e-9, t_max=0.6)
    end = ode(Exact(law, LINEAR), torch.ones(1, 1, dtype=torch.float64), times)
    assert float(end) == pytest.approx(collapse.carried.right(std, *(float(one) for one in LINEAR(0.6))), rel=1e-3)


@pytest.mark.parametrize("m, rho", [(0.9, 0.8), (0.5, -0.5), (0.95, 0.0)])
def test_variance_of_averaged_weights(m, rho):
    j = torch.arange(600, dtype=torch.float64)
    weight = (1 - m) * m**j
    covariance = torch.sign(torch.tensor(rho)) ** (j[:, None] - j) * abs(rho) ** (j[:, None] - j).abs()
    if rho == 0:
        covariance = torch.eye(len(j), dtype=torch.float64)
    assert collapse.averaged.right(m, rho) == pytest.approx(float(weight @ covariance @ weight), rel=1e-9)
