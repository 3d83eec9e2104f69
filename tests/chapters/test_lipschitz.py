"""Lipschitz constants and sharing against closed forms, finite differences, autograd, quadrature and brute force."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

import diffnotes
from diffnotes import (
    EDM,
    MLP,
    Chain,
    Condition,
    Constant,
    Cosine,
    Exact,
    Learned,
    Linear,
    Quadratic,
    Sigmoid,
    ZeroTerminalSNR,
    share_timesteps,
)
from diffnotes.chapters.lipschitz import (
    LeftEnd,
    SharedExact,
    perturbation_response,
    sharing_cost,
    step_constants,
    time_derivative,
    time_lipschitz,
)
from diffnotes.core.law import Empirical, GaussianMixture, two_modes
from diffnotes.model.fleet import Setting, train_fleet
from diffnotes.model.train import fit, fit_smooth

DOUBLE = torch.float64
SCHEDULES = [Linear(), Quadratic(), Sigmoid(), Constant(), Cosine(), Cosine(0.0), ZeroTerminalSNR(), EDM()]
LAW = two_modes(1.0, 0.2).to(dtype=DOUBLE)
POINTS = GaussianMixture(torch.tensor([-1.0, 1.0], dtype=DOUBLE), 0.0)
DATA = Empirical(torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=DOUBLE))
CHAIN = Chain.linear(1000)


def gaussian(std, d=1):
    return GaussianMixture(torch.zeros(1, d, dtype=DOUBLE), std)


# --- sharing ---------------------------------------------------------------------------------------------------------

times = st.floats(0, 2, allow_nan=False)


@given(t=st.lists(times, min_size=1, max_size=20), n=st.integers(1, 40), t_tilde=st.floats(1e-3, 2),
       dtype=st.sampled_from([torch.float32, torch.float64]))
def test_laws_of_sharing(t, n, t_tilde, dtype):
    t = torch.tensor(t, dtype=dtype)
    shared = share_timesteps(t, n, t_tilde)
    assert shared.dtype == dtype and shared.shape == t.shape
    assert bool((shared <= t).all()) and bool((shared >= 0).all())
    assert torch.equal(share_timesteps(shared, n, t_tilde), shared)
    inside = t < t_tilde
    assert torch.equal(shared[~inside], t[~inside])
    assert bool((t - shared <= t_tilde / n * (1 + 1e-5)).all())
    order = t.argsort()
    assert bool((shared[order].diff() >= 0).all())


@given(n=st.integers(1, 60), t_tilde=st.floats(1e-2, 1e3))
def test_sharing_knows_exactly_n_times(n, t_tilde):
    t = torch.linspace(0, t_tilde * (1 - 1e-9), 50 * n, dtype=DOUBLE)
    left = share_timesteps(t, n, t_tilde).unique()
    assert len(left) == n
    assert torch.allclose(left, torch.arange(n, dtype=DOUBLE) * t_tilde / n, rtol=1e-12)
    assert torch.equal(share_timesteps(left, n, t_tilde), left)


def test_sharing_against_the_floor_of_whole_times():
    t = torch.arange(1001)
    for n in (1, 2, 5, 10, 20, 50, 100):
        size = 100 // n
        by_hand = torch.where(t < 100, t // size * size, t)
        shared = share_timesteps(t, n, 100)
        assert shared.dtype == torch.int64 and torch.equal(shared, by_hand)
    assert share_timesteps(t, 3, 100).dtype == DOUBLE
    assert share_timesteps(t, 3, 100)[34] == 100 / 3


def test_sharing_keeps_shape_and_takes_numbers():
    assert share_timesteps(torch.rand(3, 4, 1), 5, 0.1).shape == (3, 4, 1)
    shared = share_timesteps(0.07, 5, 0.1)
    assert shared.dtype == DOUBLE and shared.ndim == 0 and float(shared) == pytest.approx(0.06)
    assert float(share_timesteps(0.1, 5, 0.1)) == 0.1 and float(share_timesteps(0, 5, 0.1)) == 0
    assert torch.equal(share_timesteps(torch.rand(6)[::2], 1, 2.0), torch.zeros(3))
    assert diffnotes.share_timesteps is share_timesteps


@pytest.mark.parametrize(
    "t, n, t_tilde, error, word",
    [
        (0.1, 0, 0.1, ValueError, "n = 0"), (0.1, -1, 0.1, ValueError, "n = -1"), (0.1, 1.5, 0.1, TypeError, "n = 1.5"),
        (0.1, True, 0.1, TypeError, "n = True"), (0.1, 5, 0.0, ValueError, "t_tilde"),
        (0.1, 5, math.nan, ValueError, "t_tilde"), (0.1, 5, math.inf, ValueError, "t_tilde"),
        (0.1, 5, "x", TypeError, "t_tilde"), (-0.1, 5, 0.1, ValueError, "t ="), (math.nan, 5, 0.1, ValueError, "t ="),
        (math.inf, 5, 0.1, ValueError, "t ="), ("now", 5, 0.1, TypeError, "t ="), (None, 5, 0.1, TypeError, "t ="),
        (torch.tensor([0.1, -1.0]), 5, 0.1, ValueError, "t ="), (torch.tensor([True]), 5, 0.1, TypeError, "bool"),
        (torch.tensor([1j]), 5, 0.1, TypeError, "complex"),
    ],
)  # fmt: skip
def test_sharing_refuses(t, n, t_tilde, error, word):
    with pytest.raises(error, match=word):
        share_timesteps(t, n, t_tilde)


def test_a_shared_network_is_constant_inside_sub_intervals_and_jumps_at_borders():
    told = Condition(schedule=CHAIN, map=partial(share_timesteps, n=5, t_tilde=100))
    net = Learned(MLP(2, width=8, condition=told, seed=0), CHAIN, "eps")
    x0 = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    steps = step_constants(net, x0, torch.arange(1, 121), 0)
    border = torch.tensor([t + 1 in (20, 40, 60, 80) or t + 1 >= 100 for t in range(1, 120)])
    assert bool((steps[~border] == 0).all()) and bool((steps[border] > 0).all())


# --- Lipschitz constants ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_rates_against_differences(schedule):
    for t in (1e-3, 0.2, 0.7, 0.95):
        h = 1e-5 * t
        (above, below), rates = (schedule(t + h), schedule(t - h)), schedule.rates(t)
        for a, b, rate in zip(above, below, rates):
            assert float((a - b) / (2 * h)) == pytest.approx(float(rate), rel=1e-6, abs=1e-15 / h)


def test_sigmoid_schedule_against_quadrature():
    schedule = Sigmoid(0.1, 20.0, 6.0)
    for t in (1e-6, 0.1, 0.5, 1.0):
        area = integrate.quad(lambda u: float(schedule.beta(u)), 0, t, epsabs=0, epsrel=1e-12)[0]
        assert float(schedule.log_alpha(torch.tensor(t, dtype=DOUBLE))) == pytest.approx(-area / 2, rel=1e-11)
    assert float(schedule.beta(0.5)) == pytest.approx(10.05)
    with pytest.raises(ValueError, match="slope"):
        Sigmoid(slope=0.0)


@pytest.mark.parametrize("target", ["eps", "v", "x0", "score"])
@pytest.mark.parametrize("std", [0.3, 1.0, 2.0])
def test_gaussian_data_in_closed_form(target, std):
    """For N(0, s^2) every prediction is c(t) x, so K = |c'(t)| E|x| = |c'| sqrt(2/pi) sqrt(alpha^2 s^2 + sigma^2)."""
    schedule, law = Linear(), gaussian(std)

    def slope(alpha, sigma):
        total = alpha**2 * std**2 + sigma**2
        x0, eps = alpha * std**2 / total, sigma / total
        return {"x0": x0, "eps": eps, "score": -1 / total, "v": alpha * eps - sigma * x0}[target]

    for t in (1e-5, 1e-2, 0.4):
        at = torch.tensor(t, dtype=DOUBLE, requires_grad=True)
        levels = schedule(at)
        (change,) = torch.autograd.grad(slope(*levels), at)
        alpha, sigma = (float(v.detach()) for v in levels)
        by_hand = abs(float(change)) * math.sqrt(2 / math.pi * (alpha**2 * std**2 + sigma**2))
        found = float(time_lipschitz(law, schedule, target, torch.tensor([t]))[0])
        assert found == pytest.approx(by_hand, rel=1e-5, abs=1e-11)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("law", [LAW, POINTS, DATA], ids=["modes", "points", "data"])
def test_derivative_against_differences(schedule, law):
    t, exact = 0.03, Exact(law, schedule)
    x = torch.randn(20, law.dim, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    for target in ("eps", "v", "x0", "score"):
        h = 1e-5 * t
        by_hand = (exact.read(target, x, t + h) - exact.read(target, x, t - h)) / (2 * h)
        rounding = 1e-14 * float(exact.read(target, x, t).abs().max()) / h
        found = time_derivative(law, schedule, target, x, t)
        assert torch.allclose(found, by_hand, rtol=1e-5, atol=1e-6 * float(by_hand.abs().max()) + rounding)


def test_clocks_are_the_chain_rule():
    x, t = torch.linspace(-2, 2, 9, dtype=DOUBLE)[:, None], 0.01
    schedule = Linear()
    plain = time_derivative(LAW, schedule, "eps", x, t)
    sigma = time_derivative(LAW, schedule, "eps", x, t, "sigma")
    log_snr = time_derivative(LAW, schedule, "eps", x, t, "log_snr")
    assert torch.allclose(sigma * schedule.rates(t)[1], plain, rtol=1e-12)
    rate = (schedule.log_snr(t + 1e-7) - schedule.log_snr(t - 1e-7)) / 2e-7
    assert torch.allclose(log_snr * rate, plain, rtol=1e-6)


def slope(law, schedule, target, clock="t"):
    times = torch.tensor([1e-7, 1e-6], dtype=DOUBLE)
    return float(time_lipschitz(law, schedule, target, times, clock).log10().diff())


def test_rates_of_divergence():
    for target, smooth, points in (("eps", -0.5, -1.0), ("v", -0.5, -1.0), ("score", 0.0, -1.5)):
        assert slope(LAW, Linear(), target) == pytest.approx(smooth, abs=2e-3)
        assert slope(POINTS, Linear(), target) == pytest.approx(points, abs=2e-3)
    assert slope(LAW, Linear(), "x0") == pytest.approx(0, abs=2e-3)
    assert slope(LAW, Cosine(0.0), "eps") == pytest.approx(0, abs=2e-3)
    assert slope(LAW, Cosine(), "eps") == pytest.approx(-0.5, abs=2e-3)
    assert slope(POINTS, Cosine(0.0), "eps") == pytest.approx(-1, abs=2e-3)
    assert slope(LAW, Linear(), "eps", "sigma") == pytest.approx(0, abs=2e-3)
    assert slope(POINTS, Linear(), "eps", "log_snr") == pytest.approx(0, abs=2e-3)


def test_limit_is_sigma_rate_times_mean_score():
    t, schedule = 1e-7, Linear()
    mean_score = integrate.quad(
        lambda x: abs(float(LAW.score(torch.tensor([[x]], dtype=DOUBLE))))
        * math.exp(float(LAW.log_prob(torch.tensor([[x]], dtype=DOUBLE)))), -3, 3, points=[-1, 0, 1], epsrel=1e-9,
    )[0]  # fmt: skip
    found = float(time_lipschitz(LAW, schedule, "eps", torch.tensor([t], dtype=DOUBLE))[0])
    assert found == pytest.approx(float(schedule.rates(t)[1]) * mean_score, rel=1e-3)


def test_steps_approach_the_derivative():
    schedule = Linear()
    t, h = 0.05, 1e-5
    step = step_constants(Exact(LAW, schedule), LAW, torch.tensor([t, t + h], dtype=DOUBLE))
    assert float(step) == pytest.approx(float(time_lipschitz(LAW, schedule, "eps", torch.tensor([t]))), rel=1e-2)


def test_monte_carlo_agrees_with_quadrature():
    wide = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=DOUBLE), 0.2)
    x0 = LAW.sample(40_000, 0)
    by_rule = step_constants(Exact(LAW, CHAIN), LAW, torch.tensor([1, 2, 50, 51]))
    by_draws = step_constants(Exact(LAW, CHAIN), x0, torch.tensor([1, 2, 50, 51]), 1)
    assert torch.allclose(by_rule, by_draws, rtol=0.02)
    plane = time_lipschitz(wide, Linear(), "x0", torch.tensor([0.01]), samples=4000, generator=0)
    assert float(plane) > float(time_lipschitz(LAW, Linear(), "x0", torch.tensor([0.01])))


def test_members_have_their_own_constants():
    net = MLP(1, width=8, seed=(0, 1), condition=Condition(schedule=CHAIN))
    data, at = torch.randn(30, 1), torch.tensor([1, 5, 9])
    both = Learned(net, CHAIN, "v")
    for i in range(2):
        one = Learned(net.member(i), CHAIN, "v")
        assert torch.allclose(step_constants(both, data, at, 3)[i], step_constants(one, data, at, 3), rtol=1e-4)
        assert torch.allclose(perturbation_response(both, data, at, 0.1, 3)[i],
                              perturbation_response(one, data, at, 0.1, 3), rtol=1e-3)


def test_response_of_a_linear_predictor_is_its_slope():
    law = gaussian(0.5, 3)
    data = law.sample(10, 0)
    found = perturbation_response(Exact(law, CHAIN), data, torch.tensor([1, 100]), 0.1, 0)
    for t, value in zip((1, 100), found.tolist()):
        alpha, sigma = (float(v) for v in CHAIN(t))
        assert value == pytest.approx(sigma / (alpha**2 * 0.25 + sigma**2), rel=1e-9)


# --- the price of sharing --------------------------------------------------------------------------------------------


def test_shared_predictor_against_brute_force():
    chain = Chain.linear(20, 1e-3, 0.3)
    shared, exact = SharedExact(LAW, chain, 2, 6), Exact(LAW, chain)
    x = torch.linspace(-2, 2, 11, dtype=DOUBLE)[:, None]
    for t, inside in ((1, (1, 2)), (2, (1, 2)), (3, (3, 4, 5)), (5, (3, 4, 5)), (6, (6,)), (15, (15,))):
        densities = [LAW.noised(*chain(s)).log_prob(x).exp()[:, None] for s in inside]
        by_hand = sum(p * exact.eps(x, s) for p, s in zip(densities, inside)) / sum(densities)
        assert torch.allclose(shared.eps(x, t), by_hand, atol=1e-13)


def test_continuous_sharing_against_quadrature():
    schedule = Linear()
    exact, x = Exact(LAW, schedule), torch.tensor([[0.7], [1.1]], dtype=DOUBLE)
    found = SharedExact(LAW, schedule, 2, 0.1).eps(x, 0.03)[:, 0]
    for point, value in zip(x, found.tolist()):
        def part(t, top, point=point):
            density = float(LAW.noised(*schedule(t)).log_prob(point[None]).exp())
            return density * (float(exact.eps(point[None], t)) if top else 1.0)

        top, bottom = (integrate.quad(part, 0, 0.05, (k,), epsrel=1e-11, limit=400)[0] for k in (1, 0))
        assert value == pytest.approx(top / bottom, rel=1e-8)


def test_cost_is_what_the_best_shared_predictor_loses():
    """The excess is least at SharedExact: another function of (x, sub-interval) loses more."""
    chain = Chain.linear(30, 1e-3, 0.2)
    cost = sharing_cost(LAW, chain, 1, 8)
    assert cost.times.tolist() == list(range(1, 8)) and float(cost.weights.sum()) == pytest.approx(1)
    from diffnotes.measure.information import expectation_nodes, target_mmse

    alpha, sigma = chain(cost.times.long())
    assert torch.allclose(cost.bayes, target_mmse(LAW, "eps", alpha, sigma), rtol=1e-8)
    shared, exact = SharedExact(LAW, chain, 1, 8), Exact(LAW, chain)
    total, worse = [], []
    for t in range(1, 8):
        x, w = expectation_nodes(LAW.noised(*chain(t)))
        total.append(float(w @ (shared.eps(x[:, None], t) - exact.eps(x[:, None], t))[:, 0].square()))
        worse.append(float(w @ (exact.eps(x[:, None], 4) - exact.eps(x[:, None], t))[:, 0].square()))
    assert torch.allclose(cost.excess, torch.tensor(total, dtype=DOUBLE), rtol=1e-9)
    assert sum(total) < sum(worse)


def test_cost_in_many_dimensions_agrees_with_the_line():
    """A second coordinate that is pure noise changes neither eps of the first nor, much, what x tells of t."""
    chain = Chain.linear(1000)
    line = sharing_cost(POINTS, chain, 5, 100)
    drawn = sharing_cost(GaussianMixture(POINTS.means, 1e-9), chain, 5, 100)
    assert float(drawn.weights @ drawn.excess) == pytest.approx(float(line.weights @ line.excess), rel=1e-3)
    sampled = sharing_cost(Empirical(POINTS.means), chain, 5, 100, 400, 0)
    assert float(sampled.weights @ sampled.excess) == pytest.approx(float(line.weights @ line.excess), rel=0.05)


def test_cost_falls_with_more_sub_intervals_and_higher_dimension():
    costs = [sharing_cost(LAW, CHAIN, n, 100) for n in (5, 20, 99)]
    means = [float(c.weights @ c.excess) for c in costs]
    assert means[0] > 8 * means[1] > 8 * means[2]
    by_dim = []
    for d in (2, 32):
        points = torch.stack([-torch.ones(d, dtype=DOUBLE), torch.ones(d, dtype=DOUBLE)])
        cost = sharing_cost(GaussianMixture(points, 0.0), CHAIN, 5, 100, 60, 0)
        by_dim.append(float(cost.weights @ cost.excess))
    assert by_dim[1] < 0.5 * by_dim[0]


def test_left_end_is_the_exact_predictor_asked_elsewhere():
    bolted, exact = LeftEnd(Exact(LAW, CHAIN), 5, 100), Exact(LAW, CHAIN)
    x = torch.tensor([[0.3], [1.2]], dtype=DOUBLE)
    assert torch.equal(bolted.eps(x, 37), exact.eps(x, 20))
    assert torch.equal(bolted.eps(x, 137), exact.eps(x, 137))
    times = torch.tensor([37, 137])
    assert torch.equal(bolted.eps(x, times), exact.eps(x, torch.tensor([20, 137])))


def test_bad_input_is_named():
    exact, x0 = Exact(LAW, CHAIN), LAW.sample(5, 0)
    with pytest.raises(TypeError, match="chain"):
        time_derivative(LAW, CHAIN, "eps", x0, 1)
    with pytest.raises(ValueError, match="clock = 'hour'"):
        time_derivative(LAW, Linear(), "eps", x0, 0.1, "hour")
    with pytest.raises(ValueError, match="sigma > 0"):
        time_derivative(LAW, Linear(), "eps", x0, 0.0)
    with pytest.raises(ValueError, match="strictly increasing"):
        step_constants(exact, x0, torch.tensor([3, 2]))
    with pytest.raises(TypeError, match="data"):
        step_constants(exact, "digits", torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="size = 0"):
        perturbation_response(exact, x0, torch.tensor([1]), 0)
    with pytest.raises(ValueError, match="t_tilde"):
        sharing_cost(LAW, CHAIN, 5, 1001)
    with pytest.raises(ValueError, match="n = 200"):
        sharing_cost(LAW, CHAIN, 200, 100)
    with pytest.raises(ValueError, match="one number"):
        SharedExact(LAW, CHAIN, 5, 100).eps(x0, torch.full((5,), 3))
    with pytest.raises(TypeError, match="generator"):
        sharing_cost(Empirical(x0), CHAIN, 5, 100)


# --- training --------------------------------------------------------------------------------------------------------


def test_settings_with_their_own_condition_and_schedule_are_networks_trained_alone():
    other = Chain.cosine(100)
    chain = Chain.linear(100, 1e-3, 0.2)
    shared = Condition(schedule=chain, map=partial(share_timesteps, n=5, t_tilde=20))
    arms = {"shared": Setting(condition=shared), "sigma": Setting("x0", condition=Condition("sigma", chain)),
            "other": Setting("v", schedule=other)}
    data = torch.randn(200, 2, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    sizes = dict(dim=2, width=8, depth=1, seeds=(0, 1), steps=40, batch=16)
    together = train_fleet(arms, data, chain, **sizes)
    assert together["other"].schedule is other and together["sigma"].schedule is chain
    for name, arm in arms.items():
        alone = train_fleet({name: Setting(arm.target)}, data, arm.schedule or chain, condition=arm.condition, **sizes)
        for mine, theirs in zip(together[name].net.parameters(), alone[name].net.parameters()):
            assert torch.allclose(mine, theirs, atol=1e-5)


def test_smoothing_with_no_strength_is_plain_training_and_with_much_it_flattens():
    chain = Chain.linear(100, 1e-3, 0.2)
    data = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    told = Condition(schedule=chain)
    run = dict(steps=300, batch=32, rate=3e-3)
    plain, same, flat = (MLP(1, width=16, depth=1, condition=told, seed=(0, 1)) for _ in range(3))
    fit(plain, data, chain, **run)
    fit_smooth(same, data, chain, strength=0.0, reach=1, **run)
    fit_smooth(flat, data, chain, strength=1e4, reach=1, **run)
    for mine, theirs in zip(plain.parameters(), same.parameters()):
        assert torch.allclose(mine, theirs, atol=1e-5)
    k = [step_constants(Learned(net, chain, "eps"), data, torch.arange(1, 50)).mean(1) for net in (plain, flat)]
    assert bool((k[1] < 0.2 * k[0]).all())
    single = MLP(1, width=8, depth=1, condition=told)
    assert fit_smooth(single, data, chain, strength=1.0, reach=1, steps=40).loss.ndim == 1
    for wrong in (dict(strength=-1.0, reach=1), dict(strength=1.0, reach=0), dict(strength=math.nan, reach=1)):
        with pytest.raises(ValueError, match=r"strength|reach"):
            fit_smooth(single, data, chain, steps=1, **wrong)


# --- the score as a target -------------------------------------------------------------------------------------------


def test_unweighted_score_loss_sits_on_the_first_steps():
    """The target is -eps/sigma, not 1/sigma: its second moment is d/sigma^2, most of it on the first steps."""
    generator, chain = torch.Generator().manual_seed(0), Chain.linear(1000)
    t = torch.arange(1, 1001)
    _, sigma = chain(t)
    moment = 1 / sigma.square()
    assert float(moment[:10].sum() / moment.sum()) > 0.7
    # Least squares on -eps/sigma finds the score; on 1/sigma it would find a constant.
    law, (a, s) = gaussian(0.5), (float(v) for v in chain(200))
    eps = torch.randn(200_000, 1, generator=generator, dtype=DOUBLE)
    x = a * law.sample(200_000, generator) + s * eps
    slope = float((x * (-eps / s)).mean() / x.square().mean())
    assert slope == pytest.approx(-1 / (a**2 * 0.25 + s**2), rel=0.01)
    assert abs(float((x / s).mean() / x.square().mean())) < 0.02
