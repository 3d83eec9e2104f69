"""The law that a sampler generates on the line."""

import math

import pytest
import torch
from lines import F64, SCHEDULE, TIMES, end, exact, mixture

from diffnotes import Exact, GaussianMixture, Hybrid, Learned, Perturbed
from diffnotes.core.law import two_modes
from diffnotes.measure.crowding import law_pair_fraction
from diffnotes.measure.flow import FlowMap, ode_map, sde_map
from diffnotes.model.net import MLP
from diffnotes.model.sample import grid, ode, prior, sde, sde_steps


def gaussian(scale, shift=0.0, points=1000):
    """The flow map x = shift + scale z."""
    z = torch.special.ndtri((torch.arange(points, dtype=F64) + 0.5) / points)
    return FlowMap(z, shift + scale * z)


def net(members=3):
    return MLP(1, width=16, depth=2, members=members, seed=0)


def test_exact_sampler_does_not_collapse():
    law = mixture()
    flow = ode_map(exact(law), TIMES)
    assert flow.z.dtype == flow.x.dtype == F64 and flow.x.shape == (1000,)
    for eps in (0.01, 0.05, 0.1, 0.2):
        assert float(flow.ratio(law, eps)) == pytest.approx(1, abs=5e-3)
        assert float(flow.ratio(end(law), eps)) == pytest.approx(1, abs=2e-3)
    assert flow.total_variation(law) < 1.5e-3 and flow.flat_share(law) == 0
    assert flow.wasserstein1(end(law)) < 1e-3
    ratio = flow.density_ratio(end(law))
    assert ratio.shape == (999,) and ratio.min() > 0.997
    assert ratio[:480].max() < 1.003 and ratio.max() < 1.2  # between the modes the density falls to 1e-5 of theirs


def test_gaussian_flow_map_in_closed_form():
    # The data are N(0, 1/4); the sampler's law N(0.1, s^2) is a mixture, too, so everything is known.
    law, wrong = mixture([0.0], 0.5), mixture([0.1], 0.3)
    flow = gaussian(0.3, 0.1)
    eps = torch.tensor([0.01, 0.1, 0.5], dtype=F64)
    torch.testing.assert_close(flow.pair_fraction(eps), law_pair_fraction(wrong, eps), rtol=1e-4, atol=0)
    torch.testing.assert_close(flow.ratio(law, eps), law_pair_fraction(wrong, eps) / law_pair_fraction(law, eps),
                               rtol=1e-4, atol=0)  # fmt: skip
    gap = mixture([0.1], math.hypot(0.5, 0.3))  # x - X for x generated, X of the law
    cross = gap.cdf(eps) - gap.cdf(-eps)
    shift, unevenness = flow.split(law, 0.1)
    assert float(shift) == pytest.approx(float(2 * (cross[1] / law_pair_fraction(law, 0.1) - 1)), rel=1e-4)
    assert float(shift + unevenness) == pytest.approx(float(flow.ratio(law, 0.1)) - 1, abs=1e-14)
    x = torch.linspace(-4, 4, 100_001, dtype=F64)
    tv = (law.log_prob(x).exp() - wrong.log_prob(x).exp()).abs().sum() * (x[1] - x[0]) / 2
    assert float(flow.total_variation(law)) == pytest.approx(float(tv), abs=2e-3)
    assert float(gaussian(0.3).wasserstein1(law)) == pytest.approx(0.2 * math.sqrt(2 / math.pi), rel=1e-3)
    assert gaussian(0.16).flat_share(law) == 1 and gaussian(0.17).flat_share(law) == 0
    middle = flow.density_ratio(law)[499]
    assert float(middle) == pytest.approx(math.exp(float(wrong.log_prob(torch.tensor([0.1], dtype=F64))
                                                         - law.log_prob(torch.tensor([0.1], dtype=F64)))), rel=1e-3)


def test_sampler_of_a_perturbed_gaussian():
    # eps overestimated by 1 + d above t = .4 narrows the law: the flow map is linear, its slope the ODE's.
    law = mixture([0.0], 0.5)
    denoiser = Hybrid(Perturbed(exact(law), lambda x, t: 0.02 * exact(law).eps(x, t)), exact(law), 0.4)
    flow = ode_map(denoiser, TIMES)
    slope = float(ode(denoiser, torch.ones(1, 1, dtype=F64), TIMES))
    torch.testing.assert_close(flow.x, slope * flow.z * float(SCHEDULE(1.0)[1]), rtol=1e-6, atol=1e-12)
    assert slope < 0.95 * 0.5 and flow.ratio(law, 0.05) > 1.05


def test_atoms_and_small_radii():
    # Half of the mass at one place: P -> 1/4 for small radii.
    z = gaussian(1.0).z
    flow = FlowMap(z, torch.where(z.abs() < 0.6744897501960817, 0.0, z.sign() * (z.abs() - 0.6744897501960817)))
    assert float(flow.pair_fraction(1e-9)) == pytest.approx(0.25, abs=2e-3)


def test_members_are_their_own_flow_maps():
    flow = ode_map(Learned(net(), SCHEDULE, "v"), TIMES, points=100)
    law, eps = two_modes(), torch.tensor([0.1, 0.2])
    assert flow.x.shape == (3, 100)
    assert flow.pair_fraction(eps).shape == (3, 2) and flow.pair_fraction(0.1).shape == (3,)
    assert (flow.x.diff(dim=-1) >= 0).all()
    measures = [lambda f: f.ratio(law, eps), lambda f: f.split(law, 0.1)[1], lambda f: f.total_variation(law),
                lambda f: f.wasserstein1(law), lambda f: f.flat_share(law), lambda f: f.density_ratio(law)]  # fmt: skip
    for measure in measures:
        alone = torch.stack([measure(FlowMap(flow.z, x)) for x in flow.x])
        torch.testing.assert_close(measure(flow), alone, rtol=1e-12, atol=1e-12)
    composed = ode_map(Hybrid(Learned(net(), SCHEDULE, "v"), exact(), 0.5), TIMES, points=100)
    assert composed.x.shape == (3, 100)


def test_distribution_function_of_a_flow_map():
    flow = ode_map(exact(), TIMES, points=4000)
    x = torch.tensor([-1.2, -1.0, -0.4, 0.0, 0.4, 0.9], dtype=F64)
    torch.testing.assert_close(flow.cdf(x), end(mixture()).cdf(x), atol=3e-4, rtol=0)
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=F64)
    torch.testing.assert_close(flow.cdf(flow.quantile(levels)), levels, atol=1e-12, rtol=0)
    two = FlowMap(flow.z, torch.stack([flow.x, flow.x + 0.1]))
    torch.testing.assert_close(two.cdf(x)[1], flow.cdf(x - 0.1))


@pytest.mark.parametrize("steps", [20, 90])
def test_the_law_of_the_sde_has_the_variance_of_its_recursion(steps):
    """A Gaussian law with its exact score: every step is linear, and the variance follows a recursion."""
    scale = 1.5
    law = GaussianMixture(torch.tensor([0.3], dtype=F64), scale)
    times = grid(SCHEDULE, steps, kind="quadratic")
    mean, variance = 0.0, float(SCHEDULE(times[0])[1]) ** 2
    for t, p, q, r in zip(times.tolist(), *(part.tolist() for part in sde_steps(SCHEDULE, times))):
        alpha, sigma = (float(level) for level in SCHEDULE(t))
        total = (alpha * scale) ** 2 + sigma**2
        slope = (p * alpha * scale**2 + q * sigma) / total
        mean = slope * (mean - alpha * 0.3) + p * 0.3
        variance = slope**2 * variance + r**2
    flow = sde_map(Exact(law, SCHEDULE), law, times, cells=4096)
    torch.testing.assert_close(flow.x, mean + variance**0.5 * flow.z, atol=2e-3, rtol=0)


def test_the_law_of_the_sde_is_that_of_its_samples():
    law = mixture()
    wrong = Perturbed(exact(law), lambda x, t: 0.1 * torch.sin(4 * x))
    times = grid(SCHEDULE, 30, kind="quadratic")
    n = 100_000
    start = prior(SCHEDULE, (n, 1), 0, dtype=F64)
    x = sde(wrong, start, times, generator=1)[:, 0].sort().values
    flow = sde_map(wrong, law, times)
    gap = (torch.special.ndtr(flow._between(x, flow.x, flow.z)) - (torch.arange(n) + 0.5) / n).abs().max()
    assert gap < 1.95 / n**0.5  # Kolmogorov and Smirnov at the level 0.001


def test_members_have_their_own_sde_laws():
    net = MLP(1, width=8, depth=1, seed=(0, 1, 2))
    ensemble, times = Learned(net, SCHEDULE, "v"), grid(SCHEDULE, 12, kind="quadratic")
    flow = sde_map(ensemble, mixture(), times, points=50, cells=256)
    for i in range(3):
        alone = sde_map(Learned(net.member(i), SCHEDULE, "v"), mixture(), times, points=50, cells=256)
        torch.testing.assert_close(flow.x[i], alone.x, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="cells = 10"):
        sde_map(ensemble, mixture(), times, cells=10)


def test_maps_are_also_made_by_the_class():
    law, times = mixture(), grid(SCHEDULE, 10, kind="quadratic")
    assert torch.equal(FlowMap.of(exact(), times, points=20).x, ode_map(exact(), times, 20).x)
    carried = FlowMap.of_sde(exact(), law, times, points=20, cells=128)
    assert torch.equal(carried.x, sde_map(exact(), law, times, 20, 128).x)
