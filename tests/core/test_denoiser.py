"""Denoisers: Tweedie's formula, digits at both ends, and predictions made of other predictions."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from diffnotes import TARGETS, Chain, Cosine, Exact, Hybrid, Learned, Linear, Perturbed, convert
from diffnotes.core.denoiser import Denoiser, Mirrored, members_of
from diffnotes.core.law import Empirical, GaussianMixture, ring
from diffnotes.model.sample import ddim, ddpm, ddpm_steps, grid

LINE = GaussianMixture([-1.0, 0.2, 1.5], [0.2, 0.3, 0.1], [0.5, 0.2, 0.3]).to(dtype=torch.float64)
PLANE = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.5], [0.3, -2.0]], dtype=torch.float64), [0.2, 0.5, 1.0])
X = torch.randn(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def close(actual, expected, rtol=1e-12, atol=0.0):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=rtol, atol=atol)


def read(denoiser, name, x, t):
    return getattr(denoiser, name)(x, t)


# --- exact -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.05, 0.3, 0.7, 1.0])
def test_exact_predictions_are_conditional_expectations(t):
    """E[x_0 | x_t] and E[eps | x_t] by adaptive quadrature over x_0."""
    exact = Exact(LINE, Linear())
    alpha, sigma = (float(level) for level in Linear()(t))
    for x in (-1.3, 0.1, 0.8):

        def joint(y, power, x=x):
            density = math.exp(float(LINE.log_prob(torch.tensor([[y]], dtype=torch.float64))))
            return y**power * density * math.exp(-0.5 * ((x - alpha * y) / sigma) ** 2)

        # The integrand is a few narrow bumps: integrate between their neighbourhoods.
        edges = [-4, -1.5, -1, -0.5, 0.2, 0.8, 1.5, 1.9, 4]
        if sigma / alpha < 1:
            edges = sorted({*edges, *(x / alpha + k * sigma / alpha for k in (-3, -1, 0, 1, 3))})
        total = [
            sum(quad(joint, *ends, args=(p,), epsrel=1e-11, epsabs=1e-15)[0] for ends in itertools.pairwise(edges))
            for p in (0, 1)
        ]
        mean = total[1] / total[0]
        at = torch.tensor([[x]], dtype=torch.float64)
        close(exact.x0(at, t), [[mean]], rtol=1e-8, atol=1e-9)
        close(exact.eps(at, t), [[(x - alpha * mean) / sigma]], rtol=1e-7, atol=1e-8)


@given(st.floats(0.01, 1), st.sampled_from(["line", "plane"]))
def test_four_predictions_are_consistent(t, law):
    """Tweedie: alpha E[x_0|x] = x + sigma^2 score, and all four are conversions of any one of them."""
    exact = Exact(LINE if law == "line" else PLANE, Linear())
    x = X[:, :1] if law == "line" else X
    alpha, sigma = Linear()(t)
    close(alpha * exact.x0(x, t), x + sigma**2 * exact.score(x, t), rtol=0, atol=1e-13)
    close(exact.v(x, t), alpha * exact.eps(x, t) - sigma * exact.x0(x, t))
    for source in TARGETS:
        for to in TARGETS:
            found = convert(read(exact, source, x, t), x, alpha, sigma, source, to)
            close(found, read(exact, to, x, t), rtol=1e-8, atol=1e-9 / float(alpha * sigma**2))


def test_exact_score_is_the_gradient_of_the_log_density():
    exact = Exact(PLANE, Cosine())
    for t in (0.0, 0.1, 0.5, 1.0):
        x = X.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(PLANE.log_prob_at(x, *Cosine()(t)).sum(), x)
        close(exact.score(X, t), gradient, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("schedule, t", [
    (Linear(), 1e-6), (Linear(), 1e-4), (Cosine(), 1e-5), (Linear(), 0.999), (Cosine(), 1 - 1e-6),
    (Chain.linear(1000), 1), (Chain.cosine(1000), 1000),
])  # fmt: skip
@pytest.mark.parametrize("law", [LINE, PLANE], ids=["line", "plane"])
def test_float32_keeps_its_digits_at_tiny_sigma_and_tiny_alpha(schedule, t, law):
    """eps from x0 by (x_t - alpha x0)/sigma would lose all digits at small sigma: each is asked in its own form."""
    exact = Exact(law, schedule)
    alpha, sigma = (float(level) for level in schedule(t))
    generator = torch.Generator().manual_seed(0)
    x = (alpha * law.sample(200, generator) + sigma * torch.randn(200, law.dim, generator=generator)).float()
    for name in TARGETS:
        truth = read(exact, name, x.double(), t)
        size = float(truth.square().mean().sqrt())
        # A rounding of x by 1e-7 moves the responsibilities by |d|/v <= 1e2 of it.
        assert float((read(exact, name, x, t).double() - truth).abs().max()) < 5e-5 * max(size, sigma)


def test_ends_of_time():
    """Clean data denoise to themselves; pure noise to the mean of the data."""
    exact = Exact(PLANE, Cosine())
    close(exact.x0(X, 0.0), X, rtol=1e-14)
    close(exact.eps(X, 0.0), torch.zeros_like(X), atol=0)
    close(exact.x0(X, 1.0), PLANE.mean.expand_as(X), rtol=1e-13)
    close(exact.eps(X, 1.0), X, rtol=1e-13)
    close(exact.v(X, 1.0), -PLANE.mean.expand_as(X), rtol=1e-13)
    close(exact.score(X, 1.0), -X, rtol=1e-13)


def test_exact_of_points_recalls_the_nearest():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    exact = Exact(Empirical(points), Chain.linear(1000))
    alpha, sigma = Chain.linear(1000)(1)
    x = alpha * points + 0.5 * sigma
    close(exact.x0(x, 1), points, rtol=0, atol=1e-13)
    close(exact.eps(x, 1), torch.full_like(x, 0.5), rtol=1e-10)


@pytest.mark.parametrize("name", TARGETS)
def test_one_time_or_one_time_per_sample(name):
    exact = Exact(PLANE, Linear())
    times = torch.linspace(0.1, 0.9, len(X), dtype=torch.float64)
    together = read(exact, name, X, times)
    for i in (0, 7, 39):
        alone = read(exact, name, X[i : i + 1], float(times[i]))
        close(together[i : i + 1], alone, rtol=1e-12, atol=1e-14)
    square = X[:2]  # batch equals dimension
    close(read(exact, name, square, times[:2]), together[:2], atol=1e-14)
    chain = Exact(PLANE, Chain.linear(50))
    steps = torch.arange(1, 41)
    close(read(chain, name, X, steps)[11:12], read(chain, name, X[11:12], 12), atol=1e-14)


@pytest.mark.parametrize("name", TARGETS)
def test_an_ensemble_is_one_more_leading_axis(name):
    exact = Exact(PLANE, Linear())
    x = X.reshape(4, 10, 2)
    for t in (0.4, torch.full((4,), 0.4, dtype=X.dtype), torch.full((4, 10), 0.4, dtype=X.dtype)):
        close(read(exact, name, x, t), read(exact, name, X, 0.4).reshape(4, 10, 2), atol=1e-14)


# --- learned and composed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_learned_reads_a_network_as_any_target(target):
    exact, schedule = Exact(PLANE, Linear()), Linear()
    learned = Learned(lambda x, t: read(exact, target, x, t), schedule, target)
    assert learned.members is None and learned.target == target
    times = torch.linspace(0.2, 0.9, len(X), dtype=torch.float64)
    for name in TARGETS:
        close(read(learned, name, X, times), read(exact, name, X, times), rtol=1e-9, atol=1e-10)


def test_learned_hands_x_and_t_to_the_network():
    class Net:
        members = 3
        asked = ()

        def __call__(self, x, t):
            self.asked += ((x.shape, t),)
            return torch.zeros_like(x)

    net = Net()
    learned = Learned(net, Chain.linear(10), "eps")
    x = torch.ones(3, 5, 2)
    alpha, _ = Chain.linear(10)(4)
    close(learned.x0(x, 4), x / float(alpha), rtol=1e-6)
    assert net.asked == (((3, 5, 2), 4),) and learned.members == 3
    for t, step in zip((1.0, 2.0), learned.at(torch.tensor([1.0, 2.0]))):
        step(x)
        assert net.asked[-1] == ((3, 5, 2), t)


def test_at_gives_the_native_prediction_at_each_time():
    exact = Exact(PLANE, Linear())
    times = torch.tensor([0.2, 0.8], dtype=torch.float64)
    for t, step in zip(times, exact.at(times)):
        assert torch.equal(step(X), exact.x0(X, t))


def test_hybrid_is_high_above_the_switch_and_low_below():
    schedule = Linear()
    high = Learned(lambda x, t: torch.full_like(x, 0.1), schedule, "x0")
    low = Learned(lambda x, t: torch.full_like(x, 0.2), schedule, "eps")
    hybrid = Hybrid(high, low, 0.5)
    for name in TARGETS:
        assert torch.equal(read(hybrid, name, X, 0.6), read(high, name, X, 0.6))
        close(read(hybrid, name, X, 0.5), read(low, name, X, 0.5), rtol=1e-11, atol=1e-13)
        close(read(hybrid, name, X, torch.tensor(0.1, dtype=X.dtype)), read(low, name, X, 0.1), rtol=1e-11, atol=1e-13)
    with pytest.raises(ValueError, match=r"t has shape \(40,\); allowed: one number for the whole batch"):
        hybrid.x0(X, torch.full((40,), 0.5))


@pytest.mark.parametrize("target", TARGETS)
def test_perturbed_adds_the_error_to_its_target(target):
    exact, schedule = Exact(PLANE, Linear()), Linear()
    perturbed = Perturbed(exact, lambda x, t: 0.01 * x, target)
    for t in (0.3, torch.linspace(0.2, 0.9, len(X), dtype=torch.float64)):
        close(read(perturbed, target, X, t), read(exact, target, X, t) + 0.01 * X, atol=1e-14)
        alpha, sigma = schedule(t)
        for name in TARGETS:
            expected = convert(read(exact, target, X, t) + 0.01 * X, X, alpha, sigma, target, name)
            close(read(perturbed, name, X, t), expected, rtol=1e-10, atol=1e-12)


def test_composition_keeps_the_digits_of_an_exact_base():
    """A perturbation of size zero changes nothing, even where eps from x0 would be all rounding."""
    exact = Exact(LINE, Linear())
    t = 1e-6
    x = LINE.sample(50, 0).float()
    none = Perturbed(exact, lambda x, t: torch.zeros_like(x), "eps")
    assert torch.equal(none.eps(x, t), exact.eps(x, t))
    # The score is -eps/sigma of the base's eps = -sigma score: one rounding each way.
    close(none.score(x, t), exact.score(x, t), rtol=1e-6)


def test_composition_nests():
    schedule = Linear()
    exact = Exact(PLANE, schedule)
    shifted = Perturbed(exact, lambda x, t: torch.ones_like(x), "x0")
    nested = Hybrid(Perturbed(shifted, lambda x, t: -torch.ones_like(x), "x0"), exact, 0.5)
    for t in (0.2, 0.8):
        close(nested.x0(X, t), exact.x0(X, t), rtol=1e-9, atol=1e-11)


def test_unknown_targets_are_refused_before_the_first_step():
    net = lambda x, t: x  # noqa: E731
    with pytest.raises(ValueError, match="target = 'noise' is unknown"):
        Learned(net, Linear(), "noise")
    with pytest.raises(ValueError, match="target = 'noise' is unknown"):
        Perturbed(Exact(PLANE, Linear()), net, "noise")


def test_times_that_do_not_fit_are_refused():
    exact = Exact(PLANE, Linear())
    with pytest.raises(ValueError, match=r"outside the allowed range \[0, 1\]"):
        exact.x0(X, 1.5)
    for name in TARGETS:
        with pytest.raises(ValueError, match=r"has shape \(2,\)"):
            read(exact, name, X, torch.tensor([0.1, 0.2]))


def test_mirrored_samples_are_those_of_negated_noise():
    """x_s = A x + B y(x) + r z: minus the mirror's path follows base from minus the start with minus the noise."""
    chain = Chain.linear(40, 0.01, 0.3)
    law = GaussianMixture(torch.tensor([[-1.0, 0.3], [1.2, 0.0]], dtype=torch.float64), 0.3)
    base = Perturbed(Exact(law, chain), lambda x, t: 0.2 * x.square(), "eps")
    start = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    times = [40, 25, 10, 3]
    path = -ddpm(Mirrored(base), start, times, 1, trajectory=True)
    plain = ddpm(base, start, times, 1, trajectory=True)
    p, q, r = ddpm_steps(chain, torch.tensor(times))
    for k in range(3):
        mean = [p[k] * base.x0(x[k], times[k]) + q[k] * base.eps(x[k], times[k]) for x in (path, plain)]
        noises = [(x[k + 1] - m) / r[k] for x, m in zip((path, plain), mean)]
        torch.testing.assert_close(noises[0], -noises[1], rtol=0, atol=1e-10)
    assert torch.equal(path[0], -start)


# --- numbers of any kind, members, empty batches ------------------------------------------------------------------


class Tiny(torch.nn.Module):
    """A network with parameters of one dtype, as torch insists that the input has."""

    def __init__(self, dtype, members=None):
        super().__init__()
        self.layer, self.members = torch.nn.Linear(2, 2).to(dtype), members

    def forward(self, x, t):
        return self.layer(x)


def many():
    exact, law = Exact(ring(), Linear()), Empirical(torch.randn(9, 2, generator=torch.Generator().manual_seed(0)))
    learned = Learned(lambda x, t: 0.5 * x, Linear(), "v")
    return {"exact": exact, "points": Exact(law, Linear()), "learned": learned, "hybrid": Hybrid(exact, learned, 0.5),
            "mirrored": Mirrored(exact), "perturbed": Perturbed(exact, lambda x, t: 0.1 * x)}


@pytest.mark.parametrize("name", many())
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_the_float64_answer_rounded_once(name, dtype):
    denoiser, x = many()[name], ring().sample(30, 1).to(dtype)
    for question in ("x0", "eps", "v", "score", "predict"):
        exact = getattr(denoiser, question)(x.double(), 0.4)
        assert torch.equal(getattr(denoiser, question)(x, 0.4), exact.to(dtype)), question


@pytest.mark.parametrize("own, dtype", [(torch.float16, torch.float32), (torch.float32, torch.float16),
                                        (torch.float64, torch.bfloat16), (torch.bfloat16, torch.float64)])
def test_a_network_is_asked_in_its_own_dtype(own, dtype):
    net, x = Tiny(own), torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = Learned(net, Linear(), "x0").predict(x, 0.5)
    assert found.dtype == dtype and torch.equal(found, net(x.to(own), 0.5).to(dtype))
    for made in (Learned(net, Linear(), "x0"), Mirrored(Learned(net, Linear(), "x0"))):
        for question in ("x0", "eps", "v", "score"):
            assert getattr(made, question)(x, 0.5).dtype == dtype
        assert ddpm(made, x, [0.9, 0.5, 0.1], 0).dtype == dtype


def test_a_module_that_takes_float64_is_given_it():
    """Elementwise layers promote: float64 samples keep their digits beside float32 parameters."""
    class Gain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.ones(1))

        def forward(self, x, t):
            return x * self.gain

    x = torch.full((1, 2), 1 / 3, dtype=torch.float64)
    assert torch.equal(Learned(Gain(), Linear(), "x0").predict(x, 0.5), x)


@pytest.mark.parametrize("name", many())
def test_an_empty_batch_has_an_empty_answer(name):
    for question in ("x0", "eps", "v", "score"):
        assert getattr(many()[name], question)(torch.empty(0, 2), 0.4).shape == (0, 2)


def test_numpy_samples_and_times_are_numbers():
    x, t = np.arange(12.0).reshape(6, 2)[::-1], np.linspace(0.1, 0.9, 6).astype(">f8")[::-1]
    for name, denoiser in many().items():
        expected = denoiser.eps(torch.tensor(x.copy()), 0.5)
        assert torch.equal(denoiser.eps(x, np.float64(0.5)), expected), name
        if name != "hybrid":
            assert torch.equal(denoiser.eps(x, t), denoiser.eps(torch.tensor(x.copy()), torch.tensor(t.astype(float))))


def test_members_are_carried_by_whatever_is_made_of_an_ensemble():
    ensemble, exact = Learned(Tiny(torch.float32, members=3), Linear(), "x0"), Exact(ring(), Linear())

    class Wrapper(Denoiser):
        def __init__(self, base):
            self.base, self.schedule, self.target = base, base.schedule, base.target

        def predict(self, x, t):
            return self.base.predict(x, t)

    error = lambda x, t: x  # noqa: E731
    for made in (Hybrid(ensemble, exact, 0.5), Hybrid(exact, ensemble, 0.5), Mirrored(ensemble),
                 Perturbed(ensemble, error), Mirrored(Hybrid(exact, Perturbed(Wrapper(ensemble), error), 0.5)),
                 Hybrid(exact, Wrapper(ensemble), 0.5)):
        assert made.members == members_of(made) == 3
    assert members_of(Wrapper(ensemble)) == 3 and members_of(Wrapper(exact)) is None


class _Stacked(torch.nn.Module):
    """Three linear maps of the plane, one a member."""

    def __init__(self):
        super().__init__()
        self.members = 3
        self.weight = torch.nn.Parameter(torch.randn(3, 2, 2, generator=torch.Generator().manual_seed(0)) / 4)

    def forward(self, x, t):
        return x @ self.weight


def test_an_ensemble_inside_other_things_is_found_or_can_be_told():
    """A module around it, a denoiser that keeps it by another name, a function that is told: all sample as it does."""
    stacked, times = _Stacked(), grid(Linear(), 5)
    x = torch.randn(3, 2500, 2, generator=torch.Generator().manual_seed(1))
    plain = Learned(stacked, Linear(), "x0")

    class Around(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = stacked

        def forward(self, x, t):
            return self.inner(x, t)

    class Own(Denoiser):
        schedule, target = plain.schedule, "x0"

        def __init__(self):
            self.kept = plain

        def predict(self, x, t):
            return self.kept.predict(x, t)

    wanted = ddim(plain, x, times)
    for other in (Learned(Around(), Linear(), "x0"), Own(),
                  Learned(lambda x, t: stacked(x, t), Linear(), "x0", members=3)):
        assert torch.equal(ddim(other, x, times), wanted)
    exact = Exact(ring(), Linear())
    errors = Perturbed(exact, stacked, "x0"), Perturbed(exact, lambda x, t: stacked(x, t), "x0", members=3)
    assert torch.equal(ddim(errors[0], x, times), ddim(errors[1], x, times))
    with pytest.raises(ValueError, match="members = their number"):
        ddim(Learned(lambda x, t: stacked(x, t), Linear(), "x0"), x, times)
    with pytest.raises(ValueError, match=r"x has shape \(1, 2500, 2\); allowed: \(3, n"):
        ddim(plain, x[:1], times)
    with pytest.raises(ValueError, match="members = 0"):
        Learned(lambda x, t: x, Linear(), "x0", members=0)
