"""What the keys hold for right where no tested function of the package says it: against numbers found another way."""

import math

import pytest
import torch
from torch import nn

from diffnotes import Chain, Exact, GaussianMixture, Linear, Run, ddim, ddpm, grid, ode
from diffnotes.chapters.collapse import final_variance
from diffnotes.chapters.sequence import Scaled, gap, wider
from diffnotes.core.denoiser import Learned
from diffnotes.core.law import two_modes
from diffnotes.exercises.keys import collapse, images, measuring, sequence
from diffnotes.measure.crowding import law_renyi2, mixture_split
from diffnotes.measure.distance import frechet_distance
from diffnotes.measure.interval import ratio_interval
from diffnotes.model.sample import sampled_variance
from diffnotes.model.train import Task, minimise

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


def test_weights_of_a_deterministic_sampler():
    chain = Chain.linear(10, 1e-2, 0.3)
    x0, start = 0.7, torch.tensor([[0.4]], dtype=torch.float64)
    alpha, sigma = (level.tolist() for level in chain(torch.arange(11)))

    def ends(wrong_at):
        def noise(x, t):
            t = int(t)
            return (x - alpha[t] * x0) / sigma[t] + (t == wrong_at)

        return float(ddim(Learned(noise, chain, "eps"), start, torch.arange(10, 0, -1)))

    power = chain.alpha_bar.tolist()
    for i in range(2, 11):
        weight = sequence.deterministic.right(power[i], power[i - 1], power[1])
        assert weight == pytest.approx(ends(0) - ends(i), rel=1e-9)


def test_what_a_step_leaves_out():
    levels = torch.tensor([0.3, 1.0], dtype=torch.float64)
    chain = Chain(1 - levels[:-1] / levels[1:])
    alpha, sigma = (float(level) for level in chain(1))
    started = alpha**2 + sigma**2  # the law of x_t, which the sampler's start leaves out
    step = sampled_variance(chain, wider(chain, 0.0), torch.tensor([1, 0])) * started / sigma**2
    assert sequence.missing.right(1.0, 0.3, 1.0) == pytest.approx(1 - step, rel=1e-9)


def test_gap_is_that_of_the_package():
    chain = Chain.linear(1000)
    law = GaussianMixture([-1.0, 1.0], 0.2).to(dtype=torch.float64)
    net, times = Exact(law, chain), grid(chain, 30, "skip")[:-1]
    x0 = law.sample(50, torch.Generator().manual_seed(0))
    begin = torch.randn(50, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    path = ddpm(net, begin, times, torch.Generator().manual_seed(2), trajectory=True)
    guess = torch.stack([net.eps(x, int(t)) for x, t in zip(path, times[:-1])])
    mine = sequence.gap.right(path[:-1], guess, x0, chain.alpha_bar[times])
    assert torch.allclose(mine, gap(net, path, times, x0).total, atol=1e-10)


@pytest.mark.parametrize("eps", [0.07, 0.5])
def test_neighbours_on_an_interval(eps):
    x = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    near = (x + eps).clamp(max=1) - (x - eps).clamp(min=0)
    assert measuring.uniform.right(eps) == pytest.approx([float(near.mean()), float(near.var())], rel=1e-4)


@pytest.mark.parametrize("d", [1, 3])
def test_ratio_of_modes_far_apart(d):
    places = torch.zeros(3, d, dtype=torch.float64)
    places[:, 0] = torch.tensor([-50.0, 0.0, 50.0])
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    widths = torch.tensor([0.1, 0.3, 0.25], dtype=torch.float64)
    quotient = law_renyi2(GaussianMixture(places, widths, weights)) / law_renyi2(GaussianMixture(places, 0.2))
    assert measuring.modes.right(weights, widths, 0.2, d) == pytest.approx(quotient, rel=1e-9)


def test_split_over_cells():
    laws = [GaussianMixture([-0.9, 1.1], 0.25).to(dtype=torch.float64), two_modes(1.0, 0.2).to(dtype=torch.float64)]
    edges = torch.linspace(-4, 4, 4001, dtype=torch.float64)
    q, p = (one.cdf(edges).diff() for one in laws)
    assert measuring.split.right(edges, p, q).tolist() == pytest.approx(mixture_split(*laws, 1e-4)[1:], abs=1e-4)


def test_ratio_of_some_copies():
    n, q, count = 40, 0.6, 200
    random, near, eps = torch.Generator().manual_seed(0), [], 0.1
    for _ in range(400):
        points, fresh = (torch.rand(size, generator=random, dtype=torch.float64) for size in (n, count))
        copies = points[torch.randint(n, (count,), generator=random)]
        x = torch.where(torch.rand(count, generator=random) < q, copies, fresh)
        near.append(measuring.share.right(x, eps))
    close = measuring.uniform.right(eps)[0]
    assert measuring.copies.right(q, n, close) == pytest.approx(sum(near) / len(near) / close, rel=0.01)


@pytest.mark.parametrize("n, m", [(2, 3), (8, 20)])
def test_floor_of_a_distance_on_the_line(n, m):
    random = torch.Generator().manual_seed(n)
    x, y = (torch.randn(200_000, k, 1, generator=random, dtype=torch.float64) for k in (n, m))
    found = frechet_distance(x, y)
    error = float(found.std()) / len(found) ** 0.5
    assert images.floor.right(n, m) == pytest.approx(float(found.mean()), abs=4 * error)


def test_half_lengths_are_those_of_the_interval_of_a_ratio():
    a, b = torch.rand(2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    _, low, high = ratio_interval(a, b)
    assert images.paired.right(a, b)[0] == pytest.approx(math.log(high / low) / 2, rel=1e-9)


@pytest.mark.parametrize("alpha, n", [(0.0, 3), (0.2, 5), (1.0, 2)])
def test_growth_is_that_of_shifts(alpha, n):
    same, other = torch.eye(n, dtype=torch.float64)[:1].expand(n, n), torch.eye(n, dtype=torch.float64)
    for errors, found in zip((same, other), images.growth.right(alpha, n, 0.25)):
        shift = torch.zeros(n, dtype=torch.float64)
        for error in errors:
            shift = (1 - alpha) * shift + error
        assert found == pytest.approx((float(shift @ shift) + 0.25) / 1.25, rel=1e-12)


@pytest.mark.parametrize("kappa", [0.0, 1 / 3])
def test_spread_is_that_of_scaled_networks(kappa):
    chain, variances = Chain.linear(12, 1e-2, 0.4), torch.tensor([2.0, 0.3, 0.1], dtype=torch.float64)
    times, found = torch.arange(12, -1, -1), []
    for own in variances.tolist():
        law = GaussianMixture(torch.zeros(1, dtype=torch.float64), own**0.5)
        net = Scaled(Exact(law, chain), kappa, float(variances.mean()) ** 0.5)
        slopes = [float(net.eps(torch.ones(1, 1, dtype=torch.float64), t)) for t in range(1, 13)]
        found.append(sampled_variance(chain, torch.tensor([0.0, *slopes], dtype=torch.float64), times))
    spread = sum(found) / float(variances.sum())
    assert images.scaled.right(chain.alpha_bar.flip(0), variances, kappa) == pytest.approx(spread, rel=1e-9)


class Falling(Task):
    """A loss whose slope is one, with which Adam moves the weight by the learning rate in every step."""

    members, device = None, torch.device("cpu")

    def __init__(self, net):
        self.net = net

    def draw(self, steps):
        return None

    def errors(self, chunk, k):
        loss = -self.net.weight.reshape(1, 1)
        return loss, loss


@pytest.mark.parametrize("average, steps", [(0.999, 70), (0.8, 400)])
def test_age_is_how_far_an_average_stays_behind(average, steps):
    net = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    log = minimise(net, Falling(net), Run(steps, 1, 1e-3, "constant", average))
    behind = float((net.weight - log.average.weight).detach()) / 1e-3
    assert images.age.right(average, steps) == pytest.approx(behind, rel=1e-6)
