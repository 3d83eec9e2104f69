"""The sign law of a slope error at high noise, against the ordinary differential equations of the variance."""

import math

import pytest
from scipy.integrate import solve_ivp

from diffnotes.collapse import slope_error_variance
from diffnotes.schedule import Constant, Linear


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
