"""Crowding of samples, laws on the line, transported errors, and the sign law of a slope error at high noise."""

import itertools
import math

import numpy as np
import pytest
import torch
from lines import F64, SCHEDULE, TIMES, exact, mixture
from scipy.integrate import solve_ivp

from diffnotes import (
    Dense,
    Exact,
    Fleet,
    GaussianMixture,
    Learned,
    Linear,
    Perturbed,
    Run,
    Sampled,
    Setting,
    UniformLogSnr,
    kept,
)
from diffnotes.chapters import collapse as col
from diffnotes.chapters.collapse import learning_curve, slope_error_variance, transport
from diffnotes.core.data import image_split
from diffnotes.core.law import chessboard
from diffnotes.core.schedule import Constant
from diffnotes.measure.crowding import sample_split
from diffnotes.measure.flow import FlowMap, ode_map
from diffnotes.model.net import MLP
from diffnotes.model.sample import grid
from diffnotes.model.store import log_of


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


# --- the sampler's own steps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delta", [-0.1, 0.02])
def test_the_steps_of_the_samplers_approach_the_sign_law(delta):
    switch, start = 0.3, float(SCHEDULE(1.0)[0]) ** 2
    t_switch = float(SCHEDULE.time_of_log_snr(math.log(switch / (1 - switch))))
    for strength, limit in zip((0.0, 1.0), slope_error_variance(delta, start, switch)):
        grids = [grid(SCHEDULE, n, "uniform", t_min=1e-5) for n in (1000, 4000)]
        errors = [col.final_variance(SCHEDULE, times, delta, t_switch, strength) - limit for times in grids]
        assert abs(errors[1]) < 2e-3 and abs(errors[1]) < 0.5 * abs(errors[0])


# --- samples in the plane, and images ---------------------------------------------------------------------------------


def cloud(n=400, seed=0, scale=1.0, members=None):
    shape = (n, 2) if members is None else (members, n, 2)
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_the_radius_of_a_share_of_pairs():
    x = cloud(60)
    pairs = [float((x[i] - x[j]).norm()) for i, j in itertools.combinations(range(60), 2)]
    assert col.near_radius(x, 0.1) == pytest.approx(float(np.quantile(pairs, 0.1)), rel=1e-12)
    assert np.mean(np.array(pairs) <= col.near_radius(x, 0.1)) == pytest.approx(0.1, abs=1 / len(pairs))
    several = [float(np.quantile(pairs, share)) for share in (0.013, 0.5)]
    assert col.near_radius(x, [0.013, 0.5]) == pytest.approx(several, rel=1e-12)
    with pytest.raises(ValueError, match="share = 1"):
        col.near_radius(x, 1)


def test_crowding_tells_blur_from_collapse():
    data = cloud(3000, 1)
    blurred, narrowed, twins = cloud(800, 2, 1.5), cloud(800, 3, 0.7), cloud(400, 4).repeat(2, 1)
    found = col.crowding([cloud(800, 5), blurred, narrowed, twins], data)
    # Gaussians of deviation s have pairs as near as those of N(0, 1) in the ratio 1/s^2, for small radii in the plane.
    assert found.ratio.tolist()[:3] == pytest.approx([1, 1 / 1.5**2, 1 / 0.7**2], rel=0.1)
    # int (q - p)^2 / int p^2 = 1/s^2 - 4/(1 + s^2) + 1 is the unevenness of such a q.
    limits = [1 / s**2 - 4 / (1 + s**2) + 1 for s in (1, 1.5, 0.7)]
    assert found.unevenness.tolist()[:3] == pytest.approx(limits, abs=0.1)
    assert float(found.ratio[3]) == pytest.approx(1 + (1 / 799) / 0.01, rel=0.1)  # each point has a twin at distance 0
    # Densities scale with 1/s^2, those of the densest tenth too, but for the noise of counts, which is larger for few.
    assert found.densest.tolist()[:3] == pytest.approx([1, 1 / 1.5**2, 1 / 0.7**2], rel=0.2)
    with pytest.raises(ValueError, match="data has 100 rows; allowed: at least as many as samples, 200"):
        col.crowding([cloud(200)], cloud(100))


def test_data_without_a_sample_near():
    """With probability exp(-n pi r^2 q(x)) no sample of q is near to x; r^2/4 is the share of near pairs."""
    scales, found = (1, 1.5, 0.7), []
    for k in range(4):
        clouds = [cloud(800, 10 * k + i, s) for i, s in enumerate(scales)]
        found.append(col.crowding(clouds, cloud(3000, 100 + k)).empty)
    square, alone = torch.arange(0, 40, 0.001, dtype=F64), []  # |x|^2, which has the density exp(-u/2)/2
    for s in scales:
        expected = 800 * math.pi * 4 * 0.0025 * torch.exp(-square / (2 * s**2)) / (2 * math.pi * s**2)
        alone.append(float(torch.trapezoid(torch.exp(-expected - square / 2) / 2, square)))
    assert torch.stack(found).mean(0).tolist() == pytest.approx(alone, abs=0.03)


def test_ratios_over_radii_are_those_of_each_radius():
    data, sets = cloud(900, 1), torch.stack([cloud(200, 2, 0.8), cloud(200, 3)])
    found = col.ratio_curves({"a": sets, "b": data[None, :200]}, data, [0.01, 0.2])
    assert found["a"].shape == (2, 2) and found["b"].shape == (1, 2)
    radius = float(torch.pdist(data).quantile(0.2))
    near = [float((torch.pdist(x) <= radius).double().mean()) for x in (sets[0], data)]
    assert float(found["a"][0, 1]) == pytest.approx(near[0] / near[1], rel=1e-9)


def planes():
    return {"board": chessboard(), "ring": GaussianMixture(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 0.2)}


def plane_nets():
    nets = {}
    for i, name in enumerate(planes()):
        nets[name] = {
            arm: Learned(MLP(2, width=8, depth=1, seed=(2 * i + k, 2 * i + k + 1)), SCHEDULE, "eps")
            for k, arm in enumerate(("eps", "eps, averaged"))
        }
    return nets


def test_clouds_of_all_data_sets():
    clouds = col.plane_clouds(planes(), plane_nets(), 300, 30, seed=3)
    assert list(clouds) == ["board", "ring"]
    for kinds in clouds.values():
        assert list(kinds) == ["ODE", "SDE", "averaged ODE", "averaged SDE", "exact ODE"]
        assert all(x.shape == ((1 if kind.startswith("exact") else 2), 300, 2) for kind, x in kinds.items())
    # The exact samplers reach their laws: few points off the cells, and modes of width 0.2.
    assert float(col.off_cells(clouds["board"]["exact ODE"])) < 0.2
    x = clouds["ring"]["exact ODE"][0]
    assert float((x[:, 0].abs() - 1).std()) == pytest.approx(0.2, abs=0.05)
    data = {name: law.sample(1000, 9).double() for name, law in planes().items()}
    found = col.plane_crowding(clouds, data)
    assert [float(found[name]["data"].ratio) for name in clouds] == pytest.approx([1, 1], abs=0.15)
    assert float(found["ring"]["exact ODE"].ratio) == pytest.approx(1, abs=0.25)
    assert found["board"]["ODE"].ratio.shape == found["board"]["SDE"].unevenness.shape == (2,)


def test_points_off_the_cells():
    board = chessboard().sample(2000, 0)
    assert float(col.off_cells(board)) == 0
    square = 4 * torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)) - 2
    assert float(col.off_cells(square)) == pytest.approx(0.5, abs=0.02)
    # Moved by a cell along the diagonal, three of the eight dark cells leave the board.
    moved = col.off_cells(torch.stack([board, board + 1, board + 10]))
    assert moved.tolist() == pytest.approx([0, 3 / 8, 1], abs=0.04)
    small = chessboard(6, 1.5).sample(500, 1)
    assert float(col.off_cells(small, 6, 1.5)) == 0 < float(col.off_cells(small))


def test_points_on_threads_are_near_to_one_another():
    inside = torch.full((50, 2), 0.5, dtype=F64)  # in a dark cell: they are left out
    along = torch.linspace(0.01, 0.09, 20, dtype=F64)
    thread = torch.stack([along, torch.full_like(along, -0.5)], 1)
    assert float(col.off_cells(inside)) == 0 and float(col.off_cells(thread)) == 1
    clouds = torch.stack([torch.cat([inside, thread]), torch.cat([inside, 10 + 100 * thread])])
    assert col.thread_crowding(clouds).tolist() == [1, 0]
    assert col.thread_crowding(inside[None]).tolist() == [0]


def test_held_out_images_have_the_ratio_one():
    narrow = Perturbed(Exact(GaussianMixture(torch.zeros(1, 64), 0.01), SCHEDULE), lambda x, t: 0 * x, members=2)
    shares = [0.01, 0.3]
    found = col.image_pairs("digits", narrow, [0, 1], 50, 20, shares)
    for of in found:
        assert list(of) == ["ODE", "SDE", "held out"] and all(values.shape == (2, 2) for values in of.values())
    assert found.ratio["held out"][:, 0].tolist() == pytest.approx([1, 1], abs=0.15)
    # Images that are all but one point: every pair is near, so the ratio is one over the share of near pairs.
    x = image_split("digits", 0)[0].x.double()
    for k, share in enumerate(shares):
        near = float((torch.pdist(x) <= col.near_radius(x[:2000], share)).double().mean())
        assert found.ratio["ODE"][:, k].tolist() == pytest.approx([1 / near] * 2, rel=0.05)
    assert found.pairs["ODE"].tolist() == [[50 * 49 / 2] * 2] * 2


# --- laws on the line -------------------------------------------------------------------------------------------------


def test_the_mass_between_modes():
    law = mixture(std=0.5)
    inside = sum(0.5 * (math.erf((0.4 - m) / 0.5 / 2**0.5) - math.erf((-0.4 - m) / 0.5 / 2**0.5)) / 2 for m in (-1, 1))
    assert float(col.between_modes(law)) == pytest.approx(inside, rel=1e-12)
    z = ode_map(exact(), TIMES, 2000).z
    two = FlowMap(z, torch.stack([z, 2 * z]))
    normal = [math.erf(1 / 2**0.5), math.erf(0.5 / 2**0.5)]
    assert col.between_modes(two, 1.0).tolist() == pytest.approx(normal, abs=1e-6)


def test_the_distance_to_the_law_of_the_same_time():
    law = mixture([0.0], 0.5)
    assert float(col.to_law_of_time(exact(law), law, 0.3, 40, 500)) < 2e-3
    off = Perturbed(exact(law), lambda x, t: 0.05 * exact(law).eps(x, t))
    alpha, sigma = map(float, SCHEDULE(0.3))
    times = grid(SCHEDULE, 40, "quadratic", t_min=0.3)
    made = float(ode_map(off, times, 500).x.std())  # the law stays Gaussian: its distance to one is known by quadrature
    true = math.hypot(0.5 * alpha, sigma)
    x = np.linspace(-6, 6, 200_001)
    p, q = (np.exp(-((x / s) ** 2) / 2) / s / (2 * np.pi) ** 0.5 for s in (made, true))
    assert float(col.to_law_of_time(off, law, 0.3, 40, 500)) == pytest.approx(np.abs(p - q).sum() * 6e-5 / 2, abs=3e-3)


def test_measures_at_the_end_are_those_of_each_network():
    law, nets = mixture(), {"last": Learned(net(), SCHEDULE, "v"), "averaged": Learned(net(), SCHEDULE, "eps")}
    found = col.end_measures(nets, law, 0.1, 20, 200)
    assert list(found) == ["ratio", "uneven", "tv", "at 0.4"]
    assert all(values.shape == (2, 3) for values in found.values())
    alone = ode_map(Learned(net().member(1), SCHEDULE, "eps"), grid(SCHEDULE, 20, "quadratic"), 200)
    assert float(found["tv"][1, 1]) == pytest.approx(float(alone.total_variation(law)), abs=1e-5)
    assert float(found["ratio"][1, 1]) == pytest.approx(float(alone.ratio(law, 0.1)), rel=1e-4)
    right = col.end_measures({"exact": exact()}, law, 0.1, 40, 500)
    assert float(right["ratio"]) == pytest.approx(1, abs=0.02)
    assert max(right["tv"], right["at 0.4"], right["uneven"].abs()) < 0.02
    # Samples of the flow's law, drawn through its quantiles, have that unevenness up to their noise.
    flow = ode_map(Learned(net(), SCHEDULE, "v"), grid(SCHEDULE, 20, "quadratic"), 200)
    drawn = flow.quantile(torch.rand(6000, generator=torch.Generator().manual_seed(1), dtype=F64))[0]
    assert float(found["uneven"][0, 0]) == pytest.approx(sample_split(drawn, law, 0.1).unevenness, abs=0.05)


def test_factors_are_the_measures_of_each_fleet(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path / "own"))
    monkeypatch.setenv("DIFFNOTES_PUBLISHED", str(tmp_path / "published"))
    law, sides = mixture(), {"low": torch.tensor([0.1, 0.2], dtype=F64), "high": torch.tensor([0.9], dtype=F64)}
    data, run = law.to(dtype=torch.float32), Run(32, 16, average=0.9)
    fleets = {name: Fleet({"eps": Setting()}, data, Dense(1, width, 1), run, (0, 1))
              for name, width in (("narrow", 4), ("wide", 8))}  # fmt: skip
    experiment = col.Factors(fleets, law, 0.1, 10, 60, sides)
    kept(experiment)
    found = kept(experiment)  # read
    assert list(found) == ["narrow", "wide"] and list(found["wide"]) == [*col.MEASURES, "low", "high"]
    for name, fleet in fleets.items():
        nets = kept(fleet)
        wanted = col.end_measures(nets, law, 0.1, 10, 60)
        wanted |= {side: col.mean_errors(nets, law.to(dtype=torch.float32), times) for side, times in sides.items()}
        for measure, values in wanted.items():
            torch.testing.assert_close(found[name][measure], values.double(), rtol=1e-12, atol=0)


def test_mean_errors_are_those_of_a_known_error():
    wrong = Perturbed(exact(), lambda x, t: torch.full_like(x, 0.1))  # eps is off by a tenth everywhere
    found = col.mean_errors({"wrong": wrong, "right": exact()}, mixture(), torch.tensor([0.1, 0.5, 0.9], dtype=F64))
    assert found.tolist() == pytest.approx([0.01, 0], rel=1e-6, abs=1e-12)


def test_the_largest_fall_on_the_way():
    course = torch.tensor([[0.1, 0.1], [0.4, 0.2], [0.3, 0.3], [0.35, 0.4], [0.15, 0.5]], dtype=F64)
    assert col.largest_fall(course).tolist() == pytest.approx([0.25, 0])


@pytest.mark.parametrize("delta", [-0.05, 0.02])
def test_the_spread_of_a_slope_error_is_that_of_the_sign_law(delta):
    law, switch = GaussianMixture(torch.zeros(1, dtype=F64), 1.0), 0.3
    t_switch = float(SCHEDULE.time_of_log_snr(math.log(switch / (1 - switch))))
    steep = Perturbed(Exact(law, SCHEDULE), lambda x, t: delta * Exact(law, SCHEDULE).eps(x, t))
    found = col.slope_error_spread(steep, law, torch.linspace(t_switch, 1, 41, dtype=F64))
    known, _ = slope_error_variance(delta, float(SCHEDULE(1.0)[0]) ** 2, switch)
    assert found.tolist() == pytest.approx([math.log(known)], rel=1e-6)
    ensemble = col.slope_error_spread(Learned(net(), SCHEDULE, "eps"), law, torch.tensor([0.5, 1.0], dtype=F64))
    assert ensemble.shape == (3,)


def test_the_interval_of_a_correlation_covers_it():
    generator, covered = torch.Generator().manual_seed(0), 0
    for _ in range(200):
        a, b = torch.randn(2, 24, generator=generator, dtype=F64)
        value, low, high = col.correlation(a, 0.6 * a + 0.8 * b)
        assert low < value < high
        covered += low < 0.6 < high
    assert 0.9 * 200 <= covered <= 199
    with pytest.raises(ValueError, match="allowed: twice"):
        col.correlation(a[:3], b[:3])


def test_slopes_are_those_of_a_fit():
    x, values = [1.0, 2.0, 4.0, 8.0], torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=F64)
    fitted = np.polyfit(x, values.numpy(), 1)[0]
    np.testing.assert_allclose(col.least_squares_slope(x, values).numpy(), fitted, rtol=1e-12)
    for bad in ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0]):
        with pytest.raises(ValueError, match="allowed"):
            col.least_squares_slope(bad, values)


def test_times_between():
    u = torch.linspace(0, 1, 5, dtype=F64)
    assert col.Between(0.25, 0.75)(u, SCHEDULE).tolist() == [0.25, 0.375, 0.5, 0.625, 0.75]
    for bad in ((0.3, 0.3), (-0.1, 1.0)):
        with pytest.raises(ValueError, match="allowed: 0 <= first < last"):
            col.Between(*bad)


def test_the_learning_curve_is_what_the_log_exceeds_the_best_error_by(tmp_path, monkeypatch):
    """For Gaussian data eps has the best error alpha^2 s^2/(alpha^2 s^2 + sigma^2), summed here over a fine grid."""
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path))
    law = GaussianMixture(torch.zeros(1, dtype=F64), 0.5)
    fleet = Fleet({"eps": Setting(times=UniformLogSnr())}, Sampled(law, 4000), Dense(1, 8, 1), Run(96, 64), (0, 1))
    with pytest.raises(LookupError, match="ask for them first"):
        learning_curve(fleet, "eps")
    kept(fleet)
    steps, excess = learning_curve(fleet, "eps")
    log, u = log_of(fleet), torch.linspace(0, 1, 20_001, dtype=F64)[1:-1]
    alpha, sigma = SCHEDULE(UniformLogSnr()(u, SCHEDULE))
    best = (0.5 * alpha) ** 2 / ((0.5 * alpha) ** 2 + sigma**2)
    place = torch.bucketize(2 * (alpha / sigma).log(), log["eps/edges"][1:-1].double())
    floor = torch.stack([best[place == k].mean() for k in range(10)])
    expected = (log["eps/error"].double() - floor).mean((1, 2))
    assert torch.equal(steps, log["eps/step"])
    torch.testing.assert_close(excess, expected, rtol=0, atol=0.01)
    assert float(expected[0]) > 0.05  # far from the tolerance

