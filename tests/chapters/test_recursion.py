"""Recursive training: the finite chain against all its paths, closed forms, quadrature, and the exact algebra."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnotes import Exact, Images, Learned, Linear, Setting, grid, ode, prior, sde
from diffnotes.chapters import recursion
from diffnotes.chapters.recursion import Cells
from diffnotes.core.data import image_split
from diffnotes.core.denoiser import Perturbed
from diffnotes.core.law import GaussianMixture
from diffnotes.measure.distance import frechet_distance
from diffnotes.measure.divergence import chi2, kl
from diffnotes.measure.interval import bootstrap_interval
from diffnotes.model.fleet import Fleet
from diffnotes.model.net import Dense
from diffnotes.model.setting import Run, Uniform
from diffnotes.model.store import kept, log_of
from diffnotes.model.train import fit

DOUBLE = torch.float64
LAW = GaussianMixture(torch.tensor([-1.0, 1.0, 0.0], dtype=DOUBLE), [0.35, 0.35, 1.3], [0.45, 0.45, 0.1])
NORMAL = GaussianMixture(torch.tensor([0.0], dtype=DOUBLE), 1.0)
CELLS = Cells()
SMALL = Cells(half_width=4.0, cells=16, steps=3, first=0.6, end=2.0)
fractions = st.floats(0, 1)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def random_masses(*shape, seed=0):
    return torch.softmax(noise(*shape, seed=seed), -1)


# --- the finite chain -------------------------------------------------------------------------------------------------


def test_a_perfect_model_returns_its_mixture():
    q = torch.stack([CELLS.masses(LAW), CELLS.masses(NORMAL)])
    made = CELLS.generate(q, torch.zeros(CELLS.steps, len(CELLS.x), dtype=DOUBLE))
    assert torch.allclose(made.law, q, atol=1e-15)
    assert made.energy.abs().max() == 0 and made.observability.abs().max() == 0 and made.path_kl.max() < 1e-13


@pytest.mark.parametrize("safe", [600.0, -1.0])
def test_all_paths_by_brute_force(safe, monkeypatch):
    """Law, path divergence, energy and observability as sums over every path of a small chain, by powers and by exp."""
    monkeypatch.setattr(recursion, "_SAFE", safe)
    x, steps, m = SMALL.x, SMALL.steps, 16
    q, error = random_masses(m, seed=1), 0.4 * noise(steps, m, seed=2)
    kernels = SMALL._kernel
    path = SMALL.marginals(q)
    ideal, learned = [], []
    for k in range(steps):
        reverse = path[k][None] * kernels[k].T / path[k + 1][:, None]  # from x at k + 1 to y at k
        tilted = reverse * torch.exp(error[k][:, None] * x)
        ideal.append(reverse)
        learned.append(tilted / tilted.sum(1, keepdim=True))
    axes = torch.tensor(list(itertools.product(range(m), repeat=steps + 1)))  # Y_T, ..., Y_0
    p_star = p_hat = path[-1][axes[:, 0]]
    martingale = torch.zeros(len(axes), dtype=DOUBLE)
    for j, k in enumerate(range(steps - 1, -1, -1)):
        a, b = axes[:, j], axes[:, j + 1]
        p_star, p_hat = p_star * ideal[k][a, b], p_hat * learned[k][a, b]
        martingale = martingale + error[k][a] * (x[b] - (ideal[k] @ x)[a])
    last = axes[:, -1]
    law = torch.zeros(m, dtype=DOUBLE).index_add_(0, last, p_hat)
    end = torch.zeros(m, dtype=DOUBLE).index_add_(0, last, p_star)
    seen = torch.zeros(m, dtype=DOUBLE).index_add_(0, last, p_star * martingale) / end
    energy = (p_star * martingale**2).sum()
    made = SMALL.generate(q[None], error)
    assert torch.allclose(end, q, atol=1e-14) and abs((p_star * martingale).sum()) < 1e-14
    assert torch.allclose(made.law[0], law, atol=1e-13)
    assert torch.isclose(made.energy[0], energy, rtol=1e-11)
    assert torch.isclose(made.path_kl[0], (p_hat * (p_hat / p_star).log()).sum(), rtol=1e-10)
    assert torch.isclose(made.observability[0], (end * seen**2).sum() / energy, rtol=1e-10)


def test_members_do_not_depend_on_their_company():
    q, error = random_masses(19, 16, seed=1), noise(19, 3, 16, seed=2)
    together = SMALL.generate(q, error)
    for i in (0, 7, 8, 18):
        for part, whole in zip(SMALL.generate(q[i : i + 1], error[i : i + 1]), together):
            assert torch.allclose(part[0], whole[i], rtol=1e-12, atol=1e-15)


def test_errors_of_any_size_give_a_law():
    """An error of 300 for all x moves all mass to the last cell, and with the other sign to the first."""
    q = CELLS.masses(LAW)[None]
    for size, end in ((300.0, -1), (-300.0, 0)):
        made = CELLS.generate(q, torch.full((CELLS.steps, len(CELLS.x)), size, dtype=DOUBLE))
        assert float(made.law[0, end]) == pytest.approx(1, abs=1e-6) and bool(made.path_kl.isfinite())


@given(st.integers(0, 10_000), st.floats(1e-4, 3.0))
@settings(max_examples=40, deadline=None)
def test_girsanov_bounds_the_end(seed, energy):
    q = random_masses(1, 16, seed=seed)
    made = SMALL.generate(q, SMALL.scaled(q, noise(3, 16, seed=seed + 1), energy))
    assert torch.isclose(made.energy[0], torch.tensor(energy, dtype=DOUBLE))
    assert float(kl(made.law, q)) <= float(made.path_kl) * (1 + 1e-9) + 1e-13
    assert 0 <= float(made.observability) <= 1 + 1e-12


def test_to_first_order_chi2_is_the_observed_energy():
    q, errors = CELLS.masses(LAW).expand(6, -1), CELLS.fields(6, 0)
    for energy, tolerance in ((1e-4, 0.05), (1e-6, 0.005)):
        made = CELLS.generate(q, CELLS.scaled(q, errors, energy))
        ratio = chi2(made.law, q) / (made.observability * energy)
        assert (ratio - 1).abs().max() < tolerance


def test_constant_error_on_a_stationary_law():
    """eta = 4 (1 - e^{-T/2})^2/T and energy T for a constant error on the stationary process, up to the steps."""
    fine = Cells(cells=161, steps=80, first=0.1, end=4.0)
    made = fine.generate(fine.masses(NORMAL)[None], torch.full((80, 161), 0.01, dtype=DOUBLE))
    assert float(made.energy) / 1e-4 == pytest.approx(4.0, rel=0.06)
    assert float(made.observability) == pytest.approx(4 * (1 - math.exp(-2)) ** 2 / 4, rel=0.02)


def test_a_white_error_in_time_is_hardly_seen():
    fine = Cells(cells=81, steps=60, first=0.2)
    q = fine.masses(NORMAL)
    made = fine.generate(q.expand(20, -1), 0.01 * noise(20, 60, 1, seed=3).expand(-1, -1, 81))
    constant = fine.generate(q[None], torch.full((60, 81), 0.01, dtype=DOUBLE))
    assert float(made.observability.mean()) < 0.2 < 0.6 < float(constant.observability)


def test_the_score_of_the_chain_is_that_of_the_law():
    fine = Cells(cells=401, steps=20, first=0.2)
    error = fine.score_error(Exact(LAW, fine.schedule), fine.masses(LAW)[None], dtype=DOUBLE)
    inside = fine.marginals(fine.masses(LAW))[1:] > 1e-6
    assert error[0][inside].abs().max() < 2e-2
    shifted = Perturbed(Exact(LAW, fine.schedule), lambda x, t: 0.1 + 0 * x, target="score")
    found = fine.score_error(shifted, fine.masses(LAW)[None], dtype=DOUBLE) - error
    assert torch.allclose(found, torch.full_like(found, 0.1), atol=1e-9)


def test_draws_have_the_law():
    q = CELLS.masses(LAW)
    x = CELLS.draw(q.expand(2, -1), 40_000, 0)
    assert x.shape == (2, 40_000)
    assert torch.allclose(x.mean(1), torch.zeros(2, dtype=DOUBLE), atol=0.03)
    assert torch.allclose(x.var(1), torch.full((2,), float(LAW.covariance), dtype=DOUBLE), rtol=0.03)


# --- identities -------------------------------------------------------------------------------------------------------


@given(fractions, st.integers(0, 10_000))
@settings(deadline=None)
def test_chi2_of_the_mixture(alpha, seed):
    p, other = random_masses(2, 40, seed=seed)
    mixed = alpha * p + (1 - alpha) * other
    expected = (1 - alpha) ** 2 * float(chi2(other, p))
    assert float(chi2(mixed, p)) == pytest.approx(expected, abs=1e-12)


def test_kl_of_the_mixture_has_no_such_identity():
    p, other = random_masses(2, 40, seed=4)
    ratio = kl(0.5 * p + 0.5 * other, p) / kl(other, p)
    assert abs(float(ratio) - 0.25) > 0.01


def test_the_gaps_of_the_identity():
    """For p and r close to each other KL is chi^2/2 and has the identity too; for random laws it has not."""
    gaps = recursion.mixture_gaps(CELLS.masses(LAW), 20, 0)
    assert float(gaps.chi2) < 1e-12 and float(gaps.kl) > 0.01
    p, r = torch.full((40,), 1 / 40, dtype=DOUBLE), torch.softmax(1e-4 * noise(40), -1)
    assert float(kl(0.5 * p + 0.5 * r, p) / kl(r, p)) == pytest.approx(0.25, rel=1e-3)


@given(fractions, st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_algebra_of_one_generation(alpha, seed):
    p = random_masses(30, seed=seed)
    made = random_masses(4, 2, 30, seed=seed + 1)
    course = recursion.recurse(p, torch.tensor([alpha, 1 - alpha], dtype=DOUBLE), 4, lambda i, q: made[i])
    before = torch.cat([torch.zeros(1, 2, dtype=DOUBLE), course.divergence[:-1]])
    assert torch.allclose(course.divergence, course.step + (1 - course.alpha) ** 2 * before + course.cross, rtol=1e-9)
    assert bool((course.divergence <= course.coherent * (1 + 1e-9) + 1e-12).all())
    assert bool((course.step >= course.alpha * course.own - 1e-12).all())
    # proposition 4.1: J_i <= 2 D_{i+1} + 2 (1 - alpha)^2 D_i
    assert bool((course.step <= 2 * course.divergence + 2 * (1 - course.alpha) ** 2 * before + 1e-12).all())


def test_sums_term_by_term():
    terms, alpha = noise(7, 3, seed=5).square(), torch.tensor([0.0, 0.3, 1.0], dtype=DOUBLE)
    n = torch.arange(7)
    powers = (1 - alpha) ** (6 - n)[:, None]
    assert torch.allclose(recursion.discounted_sum(terms, alpha)[-1], (powers**2 * terms).sum(0))
    assert torch.allclose(recursion.coherent_sum(terms, alpha)[-1], (powers * terms.sqrt()).sum(0) ** 2)
    ones = torch.ones(2000, dtype=DOUBLE)
    for alpha in (0.05, 0.5, 1.0):
        ratio = recursion.coherent_sum(ones, alpha)[-1] / recursion.discounted_sum(ones, alpha)[-1]
        assert float(ratio) == pytest.approx(float(recursion.limit_ratio(alpha)), rel=1e-9)


def orthogonal_directions(p, count):
    """Functions phi with E_p phi = 0 and E_p phi_i phi_j = 0, by Gram-Schmidt in L^2(p)."""
    found = [torch.ones_like(p)]
    for k in range(1, count + 1):
        phi = torch.cos(0.9 * k * CELLS.x + k)
        for one in found:
            phi = phi - (p * phi * one).sum() / (p * one * one).sum() * one
        found.append(phi)
    return torch.stack(found[1:])


def test_orthogonal_errors_give_the_discounted_sum_and_aligned_ones_the_coherent_sum():
    p, alpha = CELLS.masses(LAW), torch.tensor([0.0, 0.1, 0.5], dtype=DOUBLE)
    phi = orthogonal_directions(p, 6)
    course = recursion.recurse(p, alpha, 6, lambda i, q: q + 0.02 * p * phi[i])
    assert torch.allclose(course.divergence, course.discounted, rtol=1e-10)
    course = recursion.recurse(p, alpha, 6, lambda i, q: q + 0.02 * p * phi[0])
    assert torch.allclose(course.divergence, course.coherent, rtol=1e-10)


def test_summable_energies_break_the_equivalence():
    """Theorem 4.2 as displayed: its right side goes to 0 while its left side is at least C > 0."""
    energies = 0.25 ** torch.arange(160, dtype=DOUBLE)
    right = recursion.discounted_sum(energies, 0.1)
    assert right[-1] < 1e-12 < 1e-3 * right[9]
    assert 1.0 / right[-1] > 1e10  # the constant that C = 1 would need


def test_directions_are_orthonormal_and_without_mass():
    p = CELLS.masses(LAW)
    f = torch.cat([torch.ones_like(p)[None], recursion.orthogonal_directions(CELLS, p, 5)])
    assert torch.allclose((p * f) @ f.T, torch.eye(6, dtype=DOUBLE), atol=1e-12)


def test_kinds_of_error_are_what_their_names_say():
    q, n = CELLS.masses(LAW), 4
    kinds = recursion.error_kinds(CELLS, q, n, 3)
    again = recursion.error_kinds(CELLS, q, n, 3)
    assert len(kinds) == 8
    for kind, error in kinds.items():
        assert error.shape == (n, CELLS.steps, len(CELLS.x)) and torch.equal(error, again[kind])
    for kind in ("constant", "one wave in t", "white in t"):  # in time alone
        assert bool((kinds[kind] == kinds[kind][..., :1]).all())
    for kind in ("linear in x", "linear in x, white in t"):
        assert torch.allclose(kinds[kind], kinds[kind][..., :1] / CELLS.x[0] * CELLS.x)
    for kind in ("linear in x", "constant"):  # in the state alone
        assert bool((kinds[kind] == kinds[kind][:, :1]).all())
    for kind in ("linear in x, white in t", "white in t"):
        assert float((kinds[kind].diff(dim=1).abs() > 0.1).double().mean()) > 0.5
    # The path of another law's score is seen almost wholly: its energy is twice the KL of the ends.
    error = kinds["score of another law"] * 1e-3
    made = CELLS.generate(q.expand(n, -1), error)
    assert float(made.observability.min()) > 0.85
    assert torch.allclose(2 * kl(made.law, q), made.energy, rtol=0.15)


def test_a_course_by_its_fractions():
    p, made = random_masses(30, seed=1), random_masses(3, 4, 30, seed=2)
    course = recursion.recurse(p, recursion.repeated([0.1, 1.0], 2), 3, lambda i, q: made[i])
    alone = recursion.recurse(p, recursion.repeated([1.0], 2), 3, lambda i, q: made[i, 2:])
    assert course.fractions == [0.1, 1.0]
    for name in ("alpha", "laws", "divergence", "kl", "own", "step", "cross", "discounted", "coherent"):
        assert torch.equal(getattr(course.at(1.0), name), getattr(alone, name))


def test_growth_by_hand():
    """Two fractions, two repetitions: the first generations of both fractions are one estimate for each repetition."""
    p, made = random_masses(30, seed=1), random_masses(3, 4, 30, seed=2)
    course = recursion.recurse(p, recursion.repeated([0.1, 1.0], 2), 3, lambda i, q: made[i])
    first = [math.sqrt(float(kl(made[0, k], p)) * float(kl(made[0, k + 2], p))) for k in (0, 1)]
    ratios = [float(kl(made[2, k + 2], p)) / first[k] for k in (0, 1)]
    found = course.growth(1.0)
    assert found.value == pytest.approx(math.sqrt(ratios[0] * ratios[1])) and found.low < found.value < found.high
    uneven = recursion.recurse(p, torch.tensor([0.1, 0.1, 1.0]), 3, lambda i, q: made[i, :3])
    with pytest.raises(ValueError, match="as many for each fraction"):
        uneven.growth(0.1)


def test_the_sum_by_energy():
    field = CELLS.fields(1, 0)
    course = recursion.recurse(CELLS.masses(LAW), torch.tensor([0.5, 1.0], dtype=DOUBLE), 2,
                               recursion.error_model(CELLS, [0.02, 0.01], lambda i, q: field))
    assert course.by_energy[-1].tolist() == pytest.approx([0.25 * 0.02 + 0.01, 0.01])


def test_ratio_of_means_against_the_bootstrap():
    top, bottom = (noise(400, seed=seed).exp() for seed in (1, 2))
    found = recursion.ratio_of_means(top, top + bottom)
    again = bootstrap_interval(lambda v: v[:, 0].mean() / v[:, 1].mean(), torch.stack([top, top + bottom], 1), 0)
    assert float(found.value) == pytest.approx(float(again.value), rel=1e-12)
    assert found.high - found.low == pytest.approx(again.high - again.low, rel=0.1)
    exact = recursion.ratio_of_means(3 * bottom, bottom)
    assert exact.value == pytest.approx(3) and exact.high - exact.low == pytest.approx(0, abs=1e-12)


# --- closed forms and models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
def test_smoothing_again_and_again(alpha):
    start = GaussianMixture(torch.tensor([0.0], dtype=DOUBLE), 0.6)
    laws = recursion.smoothed(start, alpha, 5, (1.0, 0.3))
    for n, law in enumerate(laws, 1):
        assert float(law.covariance) == pytest.approx(recursion.smoothed_variance(0.36, 0.3, alpha, n), rel=1e-12)
        assert float(law.weights.sum()) == pytest.approx(1)
    course = recursion.recurse(CELLS.masses(start), torch.tensor([alpha]), 5,
                               lambda i, q: q @ torch.softmax(-0.5 * ((CELLS.x - CELLS.x[:, None]) / 0.3) ** 2, -1))
    assert torch.allclose(course.laws[-1, 0], CELLS.masses(laws[-1]), atol=2e-4)


def test_kernel_estimates_are_right_on_average():
    q = CELLS.masses(LAW).expand(400, -1)
    made = recursion.kernel_model(CELLS, 50, 0.3, 0)(0, q)
    wide = LAW.noised(1.0, 0.3)
    assert torch.allclose(made.sum(-1), torch.ones(400, dtype=DOUBLE))
    assert (made.mean(0) - CELLS.masses(wide)).abs().max() < 1e-3


def test_infinitely_many_points_are_the_limit_of_many():
    """The mean over estimates from finite samples, and the closed form on a line that is cut finely."""
    fine = Cells(cells=241)
    q = fine.masses(LAW).expand(300, -1)
    limit = fine.smoothed(q[0], 0.3)
    assert (limit - fine.masses(LAW.noised(1.0, 0.3))).abs().max() < 2e-4
    gaps = [(recursion.kernel_model(fine, n, 0.3, 0)(0, q).mean(0) - limit).abs().sum() for n in (3, 300)]
    assert gaps[1] < 0.3 * gaps[0] < 0.1


def test_em_finds_the_mixture():
    fitted = recursion.fit_mixture(LAW.sample(20_000, 0)[:, 0], LAW)
    assert chi2(fitted, LAW) < 5e-3
    x = LAW.sample(2000, 1)
    again = recursion.fit_mixture(x[:, 0], LAW)
    assert float(again.log_prob(x).mean()) > float(LAW.log_prob(x).mean())  # a maximum of the likelihood
    course = recursion.recurse(CELLS.masses(LAW), torch.tensor([1.0, 0.5]), 1,
                               recursion.mixture_model(CELLS, LAW, 4000, 0))
    assert bool((course.divergence < 0.02).all())


def test_error_model_scales_every_generation():
    field = CELLS.fields(2, 0)
    model = recursion.error_model(CELLS, [0.02, 0.01], lambda i, q: field)
    course = recursion.recurse(CELLS.masses(LAW), torch.tensor([0.1, 1.0]), 2, model)
    assert torch.allclose(course.energy, torch.tensor([[0.02, 0.02], [0.01, 0.01]], dtype=DOUBLE), rtol=1e-9)
    assert bool((course.own_kl <= course.path_kl).all())


def test_the_same_errors_for_every_fraction():
    field = CELLS.fields(2, 0)
    model = recursion.error_model(CELLS, 0.02, lambda i, q: field)
    course = recursion.recurse(CELLS.masses(LAW), recursion.repeated([0.1, 0.9], 2), 1, model)
    assert torch.allclose(course.laws[0, :2], course.laws[0, 2:], rtol=1e-12)  # q_0 = p whatever the fraction
    assert not torch.allclose(course.laws[0, 0], course.laws[0, 1], rtol=1e-3)


# --- networks, generation after generation ----------------------------------------------------------------------------


@pytest.fixture
def networks(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path))
    monkeypatch.setenv("DIFFNOTES_PUBLISHED", str(tmp_path / "none"))
    monkeypatch.delenv("DIFFNOTES_TRAIN", raising=False)
    return tmp_path


LINE = Cells(cells=41, steps=4, first=0.4)
FLEET = Fleet({"v": Setting("v", LINE.schedule, times=Uniform(0.01))}, LAW, Dense(1, 8, 1), Run(32, 16), seeds=(3, 4))


def test_a_lineage_is_kept_and_read_again(networks):
    lineage = recursion.Lineage(FLEET, LINE, [0.0, 0.5], 2, 50, seed=7)
    first = kept(lineage)
    assert first.laws.shape == (2, 4, 41) and first.fractions == [0.0, 0.5] and bool((first.energy > 0).all())
    (file,) = networks.glob("*.safetensors")
    written = file.stat().st_mtime_ns
    again = kept(recursion.Lineage(FLEET, Cells(cells=41, steps=4, first=0.4), (0.0, 0.5), 2, 50, 7))
    assert file.stat().st_mtime_ns == written and list(networks.glob("*.safetensors")) == [file]
    for name in ("laws", "kl", "energy", "path_kl", "observability"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    log = log_of(lineage)
    assert {"generation 0/loss", "generation 1/loss"} <= log.keys()
    assert log["generation 0/loss"].shape == log["generation 0/step"].shape  # a mean over the networks


def test_a_lineage_by_hand():
    """Two generations written out: what each is trained on, with which seeds, and what it generates."""
    p, alpha = LINE.masses(LAW), torch.tensor([0.0, 0.0, 0.5, 0.5], dtype=DOUBLE)[:, None]
    setting, before = FLEET.arms["v"], p.expand(4, -1)
    for i in (0, 1):
        q = alpha * p + (1 - alpha) * before
        net = Dense(1, 8, 1).make(condition=setting.told, seed=[1000 * i + 3, 1000 * i + 4] * 2)
        fit(net, LINE.draw(q, 50, 7 + 3 + i).float()[..., None], setting, FLEET.run)
        before = LINE.generate(q, LINE.score_error(Learned(net, setting.schedule, "v"), q)).law
    lineage = recursion.Lineage(FLEET, LINE, [0.0, 0.5], 2, 50, seed=7)
    made = lineage.train().networks
    assert torch.allclose(lineage.read(made).laws[-1], before, rtol=1e-9, atol=1e-12)
    assert sum(value.numel() for value in made["generation 1"].state_dict().values()) == 4 * (41 + 3)


def test_sooner_is_a_first_generation_of_fewer_steps_on_fresh_data():
    lineage = recursion.Lineage(FLEET, LINE, [0.0, 0.5, 1.0], 3, 2000, seed=7)
    once = recursion.sooner(lineage, 16)
    assert once.fleet.run == replace(FLEET.run, steps=2) and recursion.sooner(lineage, 1000).fleet.run.steps == 1
    first, longer = (one.read(one.train().networks) for one in (once, recursion.sooner(lineage, 1)))
    assert first.laws.shape == (1, 2, 41) and first.fractions == [1.0]
    assert bool((longer.energy < first.energy).all())


@pytest.mark.parametrize("sampler", ["sde", "ode"])
def test_a_lineage_of_images_by_hand(networks, sampler):
    """Fresh fractions 1 and 0: the second generation of the latter sees what the first generated, and nothing else."""
    fleet = Fleet({"v": Setting("v")}, Images("digits"), Dense(64, 8, 1), Run(16, 8), seeds=(0, 1))
    lineage = recursion.ImageLineage(fleet, [0.0, 1.0], 2, 40, 4, seed=5, sampler=sampler, shown=3)
    found = kept(lineage)
    assert found.generated.shape == (2, 2, 2) and found.fresh.shape == (2,)
    assert torch.equal(kept(lineage).generated, found.generated)
    assert float(found.fresh.max()) < float(found.generated.min())  # hardly trained networks

    judge, generator = kept(lineage.judge), torch.Generator().manual_seed(5 + 11)
    pools, held_out = zip(*((train.x, rest.x[:80]) for train, rest in (image_split("digits", j) for j in (0, 1))))
    seen, images = [pools[k % 2][torch.randint(len(pools[k % 2]), (40,), generator=generator)] for k in range(4)], None
    for i in (0, 1):
        if i:
            fresh = [pools[k][torch.randint(len(pools[k]), (40,), generator=generator)] for k in (0, 1)]
            seen = [images[0], images[1], *fresh]
        net = Dense(64, 8, 1).make(condition=Setting("v").told, seed=[1000 * i, 1000 * i + 1] * 2)
        fit(net, torch.stack(seen), Setting("v"), fleet.run)
        start = prior(Linear(), (4, 40, 64), 5 + 17 + i)
        denoiser, times = Learned(net, Linear(), "v"), grid(Linear(), 4, kind="quadratic")
        made = {"ode": ode(denoiser, start, times, method="euler"),
                "sde": sde(denoiser, start, times, generator=5 + 29 + i)}  # fmt: skip
        images = made[sampler].clamp(-1, 1)
        torch.testing.assert_close(found.pictures[i], images[[0, 2], :3], rtol=0, atol=1 / 255 + 1e-4)
        distances = torch.stack([frechet_distance(judge(images[k]), judge(held_out[k % 2])) for k in range(4)])
        assert torch.allclose(found.generated[i].flatten(), distances.double(), rtol=1e-3)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda: Cells(cells=4), lambda: Cells(first=0.01), lambda: Cells(half_width=-1.0), lambda: Cells(steps=1),
    lambda: recursion.discounted_sum(torch.ones(2), 1.5),
    lambda: recursion.coherent_sum(-torch.ones(2), 0.5), lambda: recursion.limit_ratio(0.0),
    lambda: recursion.smoothed(LAW, 0.5, 0, (1.0, 0.1)),
    lambda: recursion.smoothed_variance(1.0, 0.1, -0.1, 3), lambda: recursion.kernel_model(CELLS, 10, 0.01, 0),
    lambda: CELLS.smoothed(CELLS.masses(LAW), 0.01),
    lambda: recursion.fit_mixture(torch.zeros(2), LAW), lambda: CELLS.generate(CELLS.masses(LAW)[None], torch.ones(2)),
    lambda: CELLS.generate(CELLS.masses(LAW)[None], torch.full((CELLS.steps, len(CELLS.x)), math.inf)),
    lambda: CELLS.scaled(CELLS.masses(LAW)[None], torch.zeros(CELLS.steps, len(CELLS.x)), 1.0),
    lambda: CELLS.masses(GaussianMixture(torch.zeros(1, 2), 1.0)),
    lambda: recursion.recurse(CELLS.masses(LAW), torch.tensor([2.0]), 1, lambda i, q: q),
    lambda: recursion.recurse(CELLS.masses(LAW), torch.tensor([0.5]), 1, lambda i, q: q[:, :3]),
    lambda: recursion.recurse(CELLS.masses(LAW), torch.tensor([0.5]), 1, lambda i, q: q).at(0.1),
    lambda: recursion.repeated([0.1], 0), lambda: recursion.error_kinds(CELLS, CELLS.masses(LAW), 0, 0),
    lambda: recursion.orthogonal_directions(CELLS, CELLS.masses(LAW), 0),
    lambda: recursion.Lineage(replace(FLEET, run=Run(1, average=0.9)), LINE, [0.1], 1, 10),
    lambda: recursion.Lineage(replace(FLEET, arms={"v": Setting("v"), "eps": Setting()}), LINE, [0.1], 1, 10),
    lambda: recursion.sooner(recursion.Lineage(FLEET, LINE, [0.1], 1, 10), 0),
    lambda: recursion.Lineage(FLEET, LINE, [0.1], 0, 10), lambda: recursion.Lineage(FLEET, LINE, [1.1], 1, 10),
    lambda: recursion.ImageLineage(FLEET, [0.1], 1, 10, 4),
    lambda: recursion.ImageLineage(replace(FLEET, data=Images("digits")), [0.1], 1, 10, 4, sampler="ddim"),
    lambda: recursion.ImageLineage(replace(FLEET, data=Images("digits")), [0.1], 1, 10, 4, shown=-1),
    lambda: recursion.ImageLineage(replace(FLEET, data=Images("digits", 0)), [0.1], 1, 10, 4),
])  # fmt: skip
def test_bad_input(make):
    with pytest.raises(ValueError, match=r"allowed|must be"):
        make()
