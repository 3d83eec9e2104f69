"""Lipschitz constants and sharing against closed forms, finite differences, autograd, quadrature and brute force."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from diffnotes import (
    EDM,
    MLP,
    Chain,
    Condition,
    Constant,
    Cosine,
    Dense,
    Empirical,
    Exact,
    Fleet,
    GaussianMixture,
    Learned,
    Linear,
    Quadratic,
    Run,
    Setting,
    Shared,
    Sigmoid,
    Smooth,
    ZeroTerminalSNR,
    ddim,
    ddpm,
    fit,
    grid,
    kept,
    two_modes,
)
from diffnotes.chapters.lipschitz import (
    Distances,
    LeftEnd,
    Radii,
    SharedExact,
    SharedTimes,
    StepWaves,
    answers_at,
    distances,
    end_slopes,
    first_interval,
    left_end_error,
    line_distance,
    mean_score,
    misfit,
    opposite_corners,
    perturbation_response,
    plane_measures,
    ratio,
    sampled,
    seen,
    shared_over_plain,
    sharing_cost,
    sine_chain,
    slope,
    step_constants,
    time_derivative,
    time_lipschitz,
)
from diffnotes.measure.information import expectation_nodes, mmse

DOUBLE = torch.float64
SCHEDULES = [Linear(), Quadratic(), Sigmoid(), Constant(), Cosine(), Cosine(0.0), ZeroTerminalSNR(), EDM()]
LAW = two_modes(1.0, 0.2).to(dtype=DOUBLE)
POINTS = GaussianMixture(torch.tensor([-1.0, 1.0], dtype=DOUBLE), 0.0)
DATA = Empirical(torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=DOUBLE))
CHAIN = Chain.linear(1000)


def gaussian(std, d=1):
    return GaussianMixture(torch.zeros(1, d, dtype=DOUBLE), std)


# --- sharing ---------------------------------------------------------------------------------------------------------


def test_a_shared_network_is_constant_inside_sub_intervals_and_jumps_at_borders():
    told = Condition(schedule=CHAIN, map=Shared(5, 100))
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


def end(law, schedule, target, clock="t"):
    """The slope from 1e-7 to 1e-6."""
    times = torch.tensor([1e-7, 1e-6], dtype=DOUBLE)
    return float(time_lipschitz(law, schedule, target, times, clock).log10().diff())


def test_rates_of_divergence():
    for target, smooth, points in (("eps", -0.5, -1.0), ("v", -0.5, -1.0), ("score", 0.0, -1.5)):
        assert end(LAW, Linear(), target) == pytest.approx(smooth, abs=2e-3)
        assert end(POINTS, Linear(), target) == pytest.approx(points, abs=2e-3)
    assert end(LAW, Linear(), "x0") == pytest.approx(0, abs=2e-3)
    assert end(LAW, Cosine(0.0), "eps") == pytest.approx(0, abs=2e-3)
    assert end(LAW, Cosine(), "eps") == pytest.approx(-0.5, abs=2e-3)
    assert end(POINTS, Cosine(0.0), "eps") == pytest.approx(-1, abs=2e-3)
    assert end(LAW, Linear(), "eps", "sigma") == pytest.approx(0, abs=2e-3)
    assert end(POINTS, Linear(), "eps", "log_snr") == pytest.approx(0, abs=2e-3)


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
    plane = time_lipschitz(wide, Linear(), "x0", torch.tensor([0.01]), generator=0)
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
    alpha, sigma = chain(cost.times.long())
    assert torch.allclose(cost.bayes, mmse(LAW, alpha, sigma, "eps"), rtol=1e-8)
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
    told = Condition(schedule=chain)
    arms = {
        "shared": Setting(schedule=chain, condition=Condition(schedule=chain, map=Shared(5, 20))),
        "sigma": Setting("x0", chain, condition=Condition("sigma", chain)),
        "times": Setting(schedule=chain, times=SharedTimes(5, 20), condition=told), "other": Setting("v", other),
    }
    data = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))

    def trained(arms):
        fleet = Fleet(arms, data, Dense(2, 8, 1), Run(40, 16), (0, 1))
        return fleet.read(fleet.train().networks)

    together = trained(arms)
    assert together["other"].schedule is other and together["sigma"].schedule is chain
    for name, setting in arms.items():
        alone = trained({name: setting})
        for mine, theirs in zip(together[name].net.parameters(), alone[name].net.parameters()):
            assert torch.allclose(mine, theirs, atol=1e-5)


def test_smoothing_with_no_strength_is_plain_training_and_with_much_it_flattens():
    chain = Chain.linear(100, 1e-3, 0.2)
    data = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    told = Condition(schedule=chain)
    losses = {"plain": {}, "same": dict(loss=Smooth(0.0, 1)), "flat": dict(loss=Smooth(1e4, 1))}
    nets = {name: MLP(1, width=16, depth=1, condition=told, seed=(0, 1)) for name in losses}
    for name, loss in losses.items():
        fit(nets[name], data, Setting(schedule=chain, **loss), Run(300, 32, 3e-3))
    for mine, theirs in zip(nets["plain"].parameters(), nets["same"].parameters()):
        assert torch.allclose(mine, theirs, atol=1e-5)
    k = [step_constants(Learned(nets[name], chain, "eps"), data, torch.arange(1, 50)).mean(1)
         for name in ("plain", "flat")]
    assert bool((k[1] < 0.2 * k[0]).all())
    for wrong in (dict(strength=-1.0, reach=1), dict(strength=1.0, reach=0), dict(strength=math.nan, reach=1)):
        with pytest.raises(ValueError, match=r"strength|reach"):
            Smooth(**wrong)


# --- the chapter's measures ------------------------------------------------------------------------------------------


def test_slopes_are_those_of_scipy():
    x, y = np.geomspace(1, 9, 7), np.random.default_rng(0).uniform(1, 5, 7)
    assert slope(x, torch.tensor(y)) == pytest.approx(stats.linregress(np.log(x), np.log(y)).slope, rel=1e-12)
    times = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=DOUBLE)
    found = end_slopes(times, {"cube": times**3, "bent": torch.tensor([1.0, 2.0, 4.0, 99.0]), "none": 0 * times})
    assert found == {"cube": pytest.approx(3.0), "bent": pytest.approx(1.0)}
    for x, y in (([1], [1]), ([1, 2], [1, 0]), ([1, 2], [1, 2, 3]), ([1, -2], [1, 2])):
        with pytest.raises(ValueError, match="positive numbers"):
            slope(x, y)


def test_mean_size_of_the_score():
    """N(0, s^2): E|x|/s^2 = sqrt(2/pi)/s; and a mixture against scipy."""
    assert mean_score(gaussian(0.3)) == pytest.approx(math.sqrt(2 / math.pi) / 0.3, rel=1e-10)
    means, std = (-1.0, 0.5), 0.4

    def integrand(x):
        parts = [stats.norm.pdf(x, m, std) / 2 for m in means]
        return abs(sum(p * (m - x) / std**2 for p, m in zip(parts, means)))

    area = integrate.quad(integrand, -5, 5, limit=400, epsrel=1e-11, points=[-1, -0.5, -0.25, 0, 0.5])[0]
    assert mean_score(GaussianMixture(torch.tensor(means, dtype=DOUBLE), std)) == pytest.approx(area, rel=1e-8)
    for law in (POINTS, DATA):
        with pytest.raises((ValueError, AttributeError), match="law"):
            mean_score(law)


def test_price_of_the_first_sub_interval_tends_to_its_limit():
    """beta_0 Delta/(18 s^2) for N(0, s^2), where J = 1/s^2."""
    found = first_interval(gaussian(0.5), Linear(), torch.tensor([1e-6, 1e-5, 1e-2], dtype=DOUBLE))
    assert torch.allclose(found.predicted, 0.1 * found.length / 18 / 0.25, rtol=1e-10)
    assert torch.allclose(found.excess[:2], found.predicted[:2], rtol=1e-3)
    assert float(found.excess[2]) > 1.5 * float(found.predicted[2])  # beta grows


def test_what_bolting_on_costs_for_a_gaussian():
    """eps = sigma x/v_t with v_t = alpha^2 s^2 + sigma^2: the excess is (c_t - c_left)^2 v_t."""
    s, errors = 0.7, []
    for t in range(1, 100):
        (a, b), (c, d) = ([float(v) for v in CHAIN(at)] for at in (t, t // 20 * 20))
        v, w = a**2 * s**2 + b**2, c**2 * s**2 + d**2
        errors.append((b / v - d / w) ** 2 * v)
    assert left_end_error(gaussian(s), CHAIN, 5, 100) == pytest.approx(sum(errors) / 99, rel=1e-9)
    with pytest.raises(ValueError, match="dimension 2"):
        left_end_error(gaussian(s, 2), CHAIN, 5, 100)


def test_price_and_share_are_means_over_the_times():
    cost = sharing_cost(LAW, CHAIN, 5, 100)
    assert cost.price == pytest.approx(float(cost.excess.mean()), rel=1e-12)
    assert cost.share == pytest.approx(float(cost.excess.mean() / cost.bayes.mean()), rel=1e-12)
    assert sharing_cost(gaussian(0.0), CHAIN, 5, 100).share == math.inf


def test_opposite_corners():
    law = opposite_corners(3, 0.2)
    assert law.means.tolist() == [[-1.0] * 3, [1.0] * 3] and law.dtype == DOUBLE
    assert float(law.sample(20_000, 0).norm(dim=1).square().mean()) == pytest.approx(3 * (1 + 0.04), rel=0.01)


def test_a_chain_with_sigma_like_a_sine():
    chain = sine_chain(1000)
    t = torch.arange(1, 1001, dtype=DOUBLE)
    assert torch.allclose(chain(t)[1], (0.995 * math.pi / 2 * t / 1000).sin(), rtol=1e-9)
    step = step_constants(Exact(LAW, chain), LAW, torch.tensor([1, 2, 3]))
    fine = step_constants(Exact(LAW, sine_chain(10_000)), LAW, torch.tensor([1, 2, 3]))
    assert torch.allclose(step * 1000, fine * 10_000, rtol=0.02)  # no singularity: the rate does not grow
    for wrong in (dict(T=0), dict(T=10, share=1.0)):
        with pytest.raises(ValueError, match="share"):
            sine_chain(**wrong)


def test_shared_times_are_visited_in_training_and_in_sampling():
    visited = SharedTimes(5, 100)
    u = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    seen = visited(u, CHAIN)
    below = seen[seen < 100].unique(return_counts=True)
    assert below[0].tolist() == [1, 20, 40, 60, 80]
    shares = torch.tensor([0.019, 0.02, 0.02, 0.02, 0.02], dtype=DOUBLE)
    assert torch.allclose(below[1] / len(u), shares.float(), atol=0.004)
    assert torch.equal(seen[seen >= 100], (1000 * u).ceil()[seen >= 100])
    times = visited.grid(CHAIN, 100)
    by_hand = sorted({max(1, t // 20 * 20) if t < 100 else t for t in grid(CHAIN, 100, "skip")[:-1].tolist()})[::-1]
    assert times.tolist() == [*by_hand, 0]
    with pytest.raises(ValueError, match="n = 0"):
        SharedTimes(0, 100)


def test_samples_of_a_case_are_those_of_its_sampler():
    net = Learned(MLP(2, 8, 1, condition=Condition(schedule=CHAIN), seed=(0, 1)), CHAIN, "eps")
    times = torch.tensor([801, 601, 401, 201, 1, 0])  # 1, 1 + T/n, ... of five steps
    for kind, sampler in (("ddpm", ddpm), ("ddim", ddim)):
        generator = torch.Generator().manual_seed(7 + 5)
        start = float(CHAIN(801)[1]) * torch.randn(2, 6, 2, generator=generator)
        by_hand = sampler(net, start, times, generator)
        assert torch.equal(sampled(net, (kind, 5), (2, 6, 2), 7), by_hand)
    found = sampled(net, ("dpm", 5), (2, 6, 2), 7)
    assert torch.equal(found, sampled(net, ("dpm", 5), (2, 6, 2), 7, grid(CHAIN, 5, "log_snr")))
    short = sampled(net, ("ddim", 5), (2, 6, 2), 7, torch.tensor([801, 0]))
    assert not torch.equal(short, sampled(net, ("ddim", 5), (2, 6, 2), 7))
    with pytest.raises(ValueError, match="case = "):
        sampled(net, ("euler", 5), (2, 6, 2), 7)


def test_misfit_of_a_predictor_that_is_off_by_a_number():
    """For eps + c the mean squared error is c^2, whatever the noise; each member has its own."""
    law = gaussian(0.5, 2)
    exact = Exact(law, CHAIN)

    def off(x, t):
        return exact.eps(x, t) + torch.tensor([0.1, 0.3], dtype=DOUBLE)[:, None, None]

    clean = law.sample(7, 0)
    found = misfit(Learned(off, CHAIN, "eps", members=2), law, clean, [1, 50, 99], 3)
    assert torch.allclose(found, torch.tensor([0.01, 0.09], dtype=DOUBLE), rtol=1e-9)
    assert float(misfit(exact, law, clean, [1, 50], 3)) == 0


def test_ratio_over_cases_is_the_mean_of_logarithms():
    cases = [("ddim", 10), ("ddpm", 100)]
    a, b = torch.tensor([[1.0, 2.0, 4.0], [2.0, 2.0, 2.0]]), torch.tensor([[1.0, 1.0, 1.0], [1.0, 4.0, 1.0]])
    distances = {"plain": dict(zip(cases, b)), "other": dict(zip(cases, a))}
    logs = (a.log() - b.log()).mean(0)
    found = ratio(distances, "other", cases)
    assert found.value == pytest.approx(math.exp(logs.mean()), rel=1e-6)
    half = stats.t.ppf(0.975, 2) * float(logs.std()) / math.sqrt(3)
    assert found.high == pytest.approx(math.exp(logs.mean() + half), rel=1e-6)
    assert ratio(distances, "plain", cases, "other").value == pytest.approx(1 / found.value, rel=1e-6)


def test_distance_on_the_line_falls_with_the_steps_as_the_exact_flow_says():
    """For N(0, s^2) DDIM multiplies the start by a number, so the distance is |that - s| E|z|."""
    s, chain = 0.5, Chain.linear(1000)
    for n in (5, 50):
        times = grid(chain, n, "skip")
        factor = float(chain(int(times[0]))[1])
        for t, after in zip(times[:-1].tolist(), times[1:].tolist()):
            (a, b), (c, d) = ([float(v) for v in chain(at)] for at in (t, after))
            factor *= (c * a * s**2 + d * b) / (a**2 * s**2 + b**2)
        found = line_distance(Exact(gaussian(s), chain), gaussian(s), n, 4000)
        assert found == pytest.approx(abs(factor - s) * math.sqrt(2 / math.pi), rel=0.02)


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


# --- what is told, what is seen -------------------------------------------------------------------------------------


def test_waves_are_ddpm_s_in_steps_of_the_chain():
    """sin(t w), cos(t w) with w from 1 to 1e-4 rad a step; shared times have the features of the left end."""
    chain = Chain.linear(1000)
    told = StepWaves("t", chain)
    t = torch.tensor([1.0, 37.0, 999.0], dtype=DOUBLE)
    rates = torch.logspace(0, -4, 32, dtype=DOUBLE)
    by_hand = torch.cat([(t[:, None] * rates).sin(), (t[:, None] * rates).cos()], 1)
    assert told.size == 64 and torch.allclose(told(t), by_hand, atol=1e-9)
    shared = StepWaves("t", chain, map=Shared(5, 100))
    assert torch.equal(shared(torch.tensor([21, 39])), told(torch.tensor([20, 20])))
    assert torch.allclose(StepWaves("sigma", chain)(1000.0), told(1000.0), atol=1e-9)
    with pytest.raises(ValueError, match="chain"):
        StepWaves("t", Linear())
    with pytest.raises(ValueError, match="frequencies = 1"):
        StepWaves("t", chain, frequencies=1)


def test_constant_of_v_keeps_x_where_alpha_does_not_move():
    """K_v/sigma' -> E|s_0 + x|, also on the EDM-like schedule, whose alpha is 1; on Gaussian data |1 - 1/s^2| E|x|."""
    assert mean_score(gaussian(0.5), 1.0) == pytest.approx(3 * 0.5 * math.sqrt(2 / math.pi), rel=1e-9)
    t = torch.tensor([1e-7], dtype=DOUBLE)
    found = float(time_lipschitz(LAW, EDM(), "v", t)[0]) / float(EDM().rates(1e-7)[1])
    assert found == pytest.approx(mean_score(LAW, 1.0), rel=2e-3)
    assert abs(found / mean_score(LAW) - 1) > 0.01


def test_radii_see_the_width_and_not_the_angle():
    """|x| of N(0, s^2 I) in the plane is Rayleigh: the distance of two is |s - r| sqrt(pi/2)."""
    radii = Radii(gaussian(1.0, 2), 40_000, 0)
    x = torch.stack([gaussian(s, 2).sample(20_000, 1) for s in (1.0, 1.5)])
    assert float(radii(x)[0]) < 0.02 and float(radii(x)[1]) == pytest.approx(0.5 * math.sqrt(math.pi / 2), rel=0.03)
    turned = x[1] @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=x.dtype)
    assert torch.allclose(radii(turned[None]), radii(x[1:]))


def test_what_the_sampler_alone_explains_is_not_seen():
    assert seen(torch.tensor([0.1]), torch.tensor([0.3])) and not seen(torch.tensor([0.1]), torch.tensor([0.15]))
    assert seen(torch.tensor([0.1]), torch.tensor([0.16]), 0.67)


def test_distances_of_networks_and_ratios_of_what_is_shared():
    nets = {name: Exact(gaussian(s), CHAIN) for name, s in (("a", 0.5), ("b", 1.0))}
    mean_size = {"size": lambda x: x.abs().mean((-2, -1))}
    found = distances(nets, mean_size, [("ddim", 20), ("dpm", 10)], (2, 4000, 1), 0)["size"]
    assert set(found["a"]) == {("ddim", 20), ("dpm", 10)} and found["a"]["dpm", 10].shape == (2,)
    assert float(found["a"]["dpm", 10].mean()) == pytest.approx(0.5 * math.sqrt(2 / math.pi), rel=0.05)
    two = {"plain": torch.tensor([[1.0, 3.0], [2.0, 2.0]]), "shared": torch.tensor([[1.0, 1.0], [1.0, 1.0]])}
    assert shared_over_plain({"at": two}, lambda k: k.mean(1))["at"].value == pytest.approx(0.5)


def test_distances_that_are_kept_are_those_of_the_networks(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path / "own"))
    monkeypatch.setenv("DIFFNOTES_PUBLISHED", str(tmp_path / "published"))
    arms = {name: Setting("eps", CHAIN, condition=Condition("t", CHAIN, map=told))
            for name, told in (("plain", None), ("shared", Shared(5, 100)))}  # fmt: skip
    law, cases = gaussian(0.5, 2).to(dtype=torch.float32), [("ddim", 4), ("ddpm", 5)]
    fleet = Fleet(arms, law, Dense(2, 8, 1), Run(32, 16), (0, 1, 2))
    experiment = Distances(fleet, cases, 40, 7)
    kept(experiment)
    found = kept(experiment)  # read
    wanted = distances(kept(fleet), plane_measures(law, 7), cases, (3, 40, 2), 7)
    for measure, of in wanted.items():
        assert list(found[measure]) == list(of) and all(list(found[measure][name]) == cases for name in of)
        for name, own in of.items():
            for case in cases:
                torch.testing.assert_close(found[measure][name][case], own[case], rtol=1e-12, atol=0)
    stops = SharedTimes(5, 100)
    found = kept(Distances(fleet, [("ddim", 20)], 40, 7, stops, ["shared"]))["whole"]
    alone = {"shared": kept(fleet)["shared"]}
    wanted = distances(alone, plane_measures(law, 7), [("ddim", 20)], (3, 40, 2), 7, stops.grid(CHAIN, 20))["whole"]
    assert list(found) == ["shared"]
    torch.testing.assert_close(found["shared"]["ddim", 20], wanted["shared"]["ddim", 20], rtol=1e-12, atol=0)
    for change, word in ((dict(cases=[]), "cases"), (dict(cases=[("ddim", 4)] * 2), "cases"),
                         (dict(cases=cases, names=["other"]), "names = \\['other'\\]; allowed: 'plain', 'shared'")):
        with pytest.raises(ValueError, match=word):
            Distances(**dict(fleet=fleet, samples=40, seed=7) | change)


def test_the_measures_of_the_plane_are_at_their_floor_on_the_law_itself():
    law = gaussian(1.0, 2)
    near, far = (torch.stack([s * law.sample(4000, seed) for seed in (1, 2)]) for s in (1.0, 1.5))
    for kind, measure in plane_measures(law, 3).items():
        assert float(measure(near).max()) < 0.05 < 0.3 < float(measure(far).min()), kind


def test_answers_at_fixed_points_are_the_predictor_s():
    x, t = torch.tensor([0.2, 1.0], dtype=DOUBLE), torch.tensor([0.1, 0.2, 0.3], dtype=DOUBLE)
    found = answers_at(Exact(gaussian(0.5), Linear()), x, t)
    a, s = Linear()(t)
    assert torch.allclose(found, s * x[:, None] / (a**2 * 0.25 + s**2))
