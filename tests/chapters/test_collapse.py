"""The sign law of a slope error at high noise, against the ordinary differential equations of the variance."""

import itertools
import math

import pytest
import torch
from scipy.integrate import solve_ivp

from diffnotes import Exact, GaussianMixture, Learned, Linear, Perturbed
from diffnotes.chapters.collapse import slope_error_variance, transport
from diffnotes.core.schedule import Constant
from diffnotes.measure.flow import FlowMap
from diffnotes.model.net import MLP
from diffnotes.model.sample import grid

F64 = torch.float64
SCHEDULE = Linear()
TIMES = grid(SCHEDULE, 60, "quadratic")


def mixture(means=(-1.0, 1.0), std=0.2, weights=None):
    return GaussianMixture(torch.tensor(means, dtype=F64), std, weights)


def exact(law=None):
    return Exact(law or mixture(), SCHEDULE)


def end(law):
    """The law at the end of TIMES."""
    return law.noised(*map(float, SCHEDULE(TIMES[-1])))




def net(members=3):
    return MLP(1, width=16, depth=2, members=members, seed=0)


@pytest.mark.parametrize("delta", [-0.1, -0.02, 0.0, 0.02, 0.3])
@pytest.mark.parametrize("schedule", [Linear(), Constant(6.0)])
def test_sign_law_of_the_slope_error(delta, schedule):
    switch = 0.3
    t_switch = float(schedule.time_of_log_snr(math.log(switch / (1 - switch))))
    start = float(schedule(1.0)[0]) ** 2

    def rate(tau, variance):
        t = 1 - tau
        beta, factor = float(schedule.beta(t)), 1 + delta * (t > t_switch)
        ode, sde = variance
        return [beta * (1 - factor) * ode, beta * (1 - (2 * factor - 1) * sde)]

    state = [1.0, 1.0]
    for first, last in ((0, 1 - t_switch), (1 - t_switch, 1)):
        inside = (first + 1e-12, last - 1e-12)
        state = solve_ivp(rate, inside, state, rtol=1e-11, atol=1e-12).y[:, -1]
    assert slope_error_variance(delta, start, switch) == pytest.approx(tuple(state), rel=1e-8)


@pytest.mark.parametrize("bad", [(-0.5, 1e-4, 0.3), (0.1, 0.3, 0.3), (0.1, 0.0, 0.3), (0.1, 0.1, 1.0)])
def test_bad_input_is_named(bad):
    with pytest.raises(ValueError, match="allowed"):
        slope_error_variance(*bad)


def test_transport_is_exact_to_first_order():
    start = torch.linspace(-2.5, 2.5, 40, dtype=F64)  # not 0, the watershed, where an error is multiplied by 1e5
    gaps = []
    for size in (1e-3, 1e-4, 1e-5):
        wrong = Perturbed(exact(), lambda x, t, size=size: size * torch.sin(3 * x + t))
        result = transport(wrong, exact(), start, TIMES)
        assert result.found.shape == (40,) and result.by_time.shape == (60, 40)
        torch.testing.assert_close(result.by_time.sum(0), result.predicted, rtol=1e-12, atol=0)
        assert result.predicted.abs().max() > 0.5 * size
        gaps.append(float((result.found - result.predicted).abs().max()))
    assert [math.log10(a / b) for a, b in itertools.pairwise(gaps)] == pytest.approx([2, 2], abs=0.1)


def test_transport_of_a_gaussian_in_closed_form():
    # u = (f - g^2 (-1/v)/2) x with v the variance of p_t: an error at time t reaches the end times sqrt(v_end/v_t).
    law, times = mixture([0.0], 0.5), grid(SCHEDULE, 400, "quadratic")
    alpha, sigma = SCHEDULE(times)
    deviation = (0.25 * alpha**2 + sigma**2).sqrt()
    wrong = Perturbed(exact(law), lambda x, t: torch.full_like(x, 1e-6))
    result = transport(wrong, exact(law), torch.tensor([0.3, 1.0], dtype=F64), times)
    force = 1e-6 * SCHEDULE.diffusion(times) / (2 * sigma)  # an eps error e is a velocity error g^2 e/(2 sigma)
    parts = force * deviation[-1] / deviation
    steps = -times.diff().neg() * (parts[:-1] + parts[1:]) / 2
    torch.testing.assert_close(result.by_time[:, 0], steps, rtol=2e-2, atol=1e-12)
    assert float(result.predicted[0]) == pytest.approx(float(steps.sum()), rel=1e-4)


def test_transport_of_an_ensemble():
    result = transport(Learned(net(), SCHEDULE, "v"), exact(), torch.tensor([-1.0, 0.5]), TIMES)
    assert result.found.shape == result.predicted.shape == (3, 2) and result.by_time.shape == (3, 60, 2)
    alone = FlowMap.of(Learned(net(), SCHEDULE, "v"), TIMES, points=8)
    assert alone.x.shape == (3, 8)
