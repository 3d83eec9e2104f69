"""The weighted split against closed forms, orthogonality and Monte Carlo; bounds and critics against exact values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnotes import Exact, Fleet, Learned, Linear, Setting
from diffnotes.chapters import gradients
from diffnotes.chapters.gradients import ROTATION, Plane, gaussian_course, gaussian_split
from diffnotes.core.denoiser import Perturbed
from diffnotes.core.law import GaussianMixture, ring
from diffnotes.model.net import MLP, Dense
from diffnotes.model.setting import Run

DOUBLE = torch.float64
S = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=DOUBLE)
LAW = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.3], [0.0, -1.0]], dtype=DOUBLE), [0.4, 0.3, 0.5])
seeds = st.integers(0, 10_000)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def spd(d, seed):
    a = noise(d, d, seed=seed)
    return a @ a.T + 0.2 * torch.eye(d, dtype=DOUBLE)


# --- Gaussian laws ----------------------------------------------------------------------------------------------------


@given(seeds, st.integers(1, 5))
@settings(deadline=None)
def test_the_split_is_orthogonal_and_the_rest_is_solenoidal(seed, d):
    error, s = noise(d, d, seed=seed), spd(d, seed + 1)
    g, split = gaussian_split(error, s)
    rest = error - g
    assert torch.allclose(g, g.T, atol=1e-9)  # a gradient
    assert torch.allclose(rest @ s, -(rest @ s).T, atol=1e-8)  # div(p r) = 0: trace and quadratic form vanish
    assert torch.isclose(split.total, split.gradient + split.solenoidal, rtol=1e-8)
    assert split.gradient <= split.total * (1 + 1e-9)
    if d == 1:
        assert split.solenoidal < 1e-12 * split.total + 1e-15  # on the line every error is a gradient


def test_known_rotations():
    invisible = 3 * ROTATION @ torch.linalg.inv(S)
    split = gaussian_split(invisible, S)[1]
    assert float(split.total) == pytest.approx(35.156, abs=1e-3) and float(split.gradient) < 1e-25
    plain = gaussian_split(ROTATION, S)[1]  # curl-free and divergence-free in the Euclidean sense, and visible
    assert float(plain.total) == pytest.approx(2.5) and float(plain.gradient) == pytest.approx(1.476, abs=1e-3)


def test_a_solenoidal_error_of_any_size_is_invisible():
    def error(t):
        return torch.tensor([0.0, 1.0, 10.0], dtype=DOUBLE)[:, None, None] * (
            ROTATION @ torch.linalg.inv(gradients.noised_covariance(S, t)))

    course = gaussian_course(S, error)
    assert torch.allclose(course.covariance, S.expand(3, 2, 2), rtol=1e-6)
    assert float(course.girsanov[2]) > 100 and bool((course.kl < 1e-9).all()) and bool((course.gradient < 1e-9).all())


@given(seeds, st.floats(0.05, 1.0))
@settings(max_examples=15, deadline=None)
def test_the_gradient_part_bounds_the_divergence(seed, size):
    a, b = size * noise(2, 2, 2, seed=seed)
    course = gaussian_course(S, lambda t: a * math.cos(t) + b * math.sin(3 * t))
    assert course.kl <= course.gradient * (1 + 1e-6)
    assert course.gradient <= course.girsanov * (1 + 1e-9)


def test_the_course_against_a_simulation():
    def error(t):
        return torch.tensor([[0.3, -0.8], [0.5, -0.2]], dtype=DOUBLE) * math.cos(t)

    steps, end = 1000, 2.0
    course, h = gaussian_course(S, error, end=end), end / steps
    y = noise(40_000, 2, seed=1) @ torch.linalg.cholesky(gradients.noised_covariance(S, end)).T
    for k in range(steps):
        t = end - k * h
        score = -torch.linalg.inv(gradients.noised_covariance(S, t)) + error(t)
        y = y + h * y @ (torch.eye(2, dtype=DOUBLE) / 2 + score).T
        y = y + math.sqrt(h) * noise(*y.shape, seed=k + 2)
    fine = gradients.euler_covariance(S, error, steps, end=end)
    assert torch.allclose(torch.cov(y.T), fine, rtol=0.05, atol=0.02)
    assert torch.allclose(fine, course.covariance, rtol=0.01)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_euler_has_order_one_and_sees_the_rotation(strength):
    def error(t):
        return 2 * ROTATION @ torch.linalg.inv(gradients.noised_covariance(S, t))

    off = [float((gradients.euler_covariance(S, error, n, strength) - S).abs().max()) for n in (1000, 2000, 4000)]
    assert off[0] / off[1] == pytest.approx(2, rel=0.2) and off[1] / off[2] == pytest.approx(2, rel=0.1)


# --- invisible fields and the plane -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [None, lambda x: torch.sin(2 * x[:, 0]) + torch.cos(2 * x[:, 1])])
def test_invisible_fields_have_no_weighted_divergence(stream):
    linear, t = Linear(), 0.3
    field = gradients.Invisible(LAW, linear, 1.7, stream)
    x = noise(50, 2, seed=3).requires_grad_()
    alpha, sigma = (float(level) for level in linear(t))

    def flux(y):
        return LAW.log_prob_at(y, alpha, sigma).exp()[:, None] * field(y, t)

    h, divergence = 1e-4, torch.zeros(50, dtype=DOUBLE)
    for i in range(2):
        step = h * torch.eye(2, dtype=DOUBLE)[i]
        divergence += ((flux(x.detach() + step) - flux(x.detach() - step)) / (2 * h))[:, i]
    assert divergence.abs().max() < 1e-7 * flux(x.detach()).abs().max() / h * 10
    assert flux(x.detach()).abs().max() > 0.01


def test_the_plane_splits_linear_fields_as_the_closed_form():
    inverse = torch.linalg.inv(S)
    plane = Plane(lambda x: -0.5 * torch.einsum("ni,ij,nj->n", x, inverse, x), half_width=7.0, cells=141)
    for seed in range(3):
        error = noise(2, 2, seed=seed)
        part, split = plane.split(plane.components(lambda x, e=error: x @ e.T))
        g, exact = gaussian_split(error, S)
        assert float(split.total) == pytest.approx(float(exact.total), rel=0.02)
        assert float(split.gradient) == pytest.approx(float(exact.gradient), rel=0.02)
        assert float(split.total) == pytest.approx(float(split.gradient + split.solenoidal), rel=1e-9)
        wanted = plane.components(lambda x, g=g: x @ g.T)
        assert float((plane.weight * (part - wanted) ** 2).sum()) < 1e-3 * float(exact.total)


def test_the_plane_finds_gradients_and_rotations():
    alpha, sigma = 0.9, math.sqrt(0.19)
    plane = Plane(lambda x: LAW.log_prob_at(x, alpha, sigma), half_width=4.0, cells=101)
    turned = plane.split(plane.components(lambda x: LAW.score_at(x, alpha, sigma) @ ROTATION.T))[1]
    assert turned.gradient < 1e-3 * turned.total
    score = plane.split(plane.components(lambda x: LAW.score_at(x, alpha, sigma)))[1]
    assert score.solenoidal < 1e-3 * score.total
    both = plane.split(torch.stack([plane.components(lambda x: x), plane.components(lambda x: x @ ROTATION.T)]))[1]
    assert both.total.shape == (2,)


# --- beside another error ---------------------------------------------------------------------------------------------

STEADY = torch.diag(torch.tensor([0.4, -0.2], dtype=DOUBLE))
SWING = torch.diag(torch.tensor([0.4, -0.4], dtype=DOUBLE))


def test_an_invisible_error_is_seen_beside_another():
    """Against Euler's method, which knows nothing of splits: one error becomes milder, another one worse."""
    errors = {"steady": lambda t: STEADY, "reversing": lambda t: math.cos(4 * t) * SWING}
    found = gradients.mixed_courses(S, errors, torch.tensor([0.0, -1.0, -3.0, -10.0]))
    kl = found["steady"].kl
    torch.testing.assert_close(kl, torch.tensor([0.966, 0.189, 0.038, 0.020], dtype=DOUBLE), rtol=0.01, atol=5e-4)
    assert float(found["reversing"].kl[2] / found["reversing"].kl[0]) > 5
    turned = gradients.euler_covariance(S, lambda t: STEADY - gradients.linear_errors(S, t)[0], 4000)
    assert float(gradients.covariance_kl(turned, S)) == pytest.approx(float(kl[1]), rel=0.03)


def test_much_stirring_leaves_the_trace_of_an_error():
    for name, error in (("steady", lambda t: STEADY), ("reversing", lambda t: math.cos(4 * t) * SWING),
                        ("round", lambda t: 0.1 * torch.eye(2, dtype=DOUBLE))):  # fmt: skip
        course = gradients.mixed_courses(S, {name: error}, torch.tensor([20.0]))[name]
        assert float(course.kl) == pytest.approx(gradients.stirred_divergence(S, error), rel=0.1, abs=1e-3)
        assert torch.allclose(course.covariance[0], (course.covariance[0] / S).mean() * S, rtol=0.1)
    assert gradients.stirred_divergence(S, lambda t: SWING) < 1e-15


@given(seeds, st.floats(0.05, 1.0))
@settings(max_examples=5, deadline=None)
def test_the_split_at_the_true_law_bounds_with_the_mean_of_the_learned_one(seed, size):
    a, b = size * noise(2, 2, 2, seed=seed)
    course = gaussian_course(S, lambda t: a * math.cos(t) + b * math.sin(3 * t) + 2 * gradients.linear_errors(S, t)[0])
    assert course.kl <= course.gradient_split * (1 + 1e-6)
    alone = gaussian_course(S, lambda t: 2 * gradients.linear_errors(S, t)[0])
    assert float(alone.gradient_split) < 1e-12 and float(alone.kl) < 1e-12


def test_with_no_error_the_integration_leaves_nothing():
    assert float(gaussian_course(S, lambda t: torch.zeros(2, 2, dtype=DOUBLE)).kl) < 1e-15


# --- critics ----------------------------------------------------------------------------------------------------------


def test_the_dual_value_is_at_most_the_gradient_part():
    """On N(0, S): for any symmetric G, 2 E[Gx . Ex] - E|Gx|^2 <= |Pi e|^2, with equality at the split."""
    error = noise(2, 2, seed=1)
    x = noise(200_000, 2, seed=2) @ torch.linalg.cholesky(S).T
    best, split = gaussian_split(error, S)
    at_best = gradients.dual_value(x @ best, x @ error.T)
    assert float(at_best) == pytest.approx(float(split.gradient), rel=0.02)
    for seed in range(5):
        g = best + 0.5 * (lambda m: m + m.T)(noise(2, 2, seed=seed + 9))
        assert gradients.dual_value(x @ g, x @ error.T) < at_best


class Ensemble(Perturbed):
    """Two denoisers as an ensemble: a gradient error and an invisible one."""

    members = 2

    def at(self, times):
        raise NotImplementedError


def errors_of_two_kinds(law, schedule, size):
    turned = gradients.Invisible(law, schedule, size)

    def error(x, t):
        alpha, sigma = (v.reshape(-1, 1).to(x) for v in schedule(t if not isinstance(t, torch.Tensor) or not t.ndim
                                                                 else t[0]))
        gradient = size * law.score_at(x[0], *(float(v) if v.numel() == 1 else v[:, 0] for v in (alpha, sigma)))
        solenoidal = gradient @ ROTATION.T.to(x)
        return -sigma * torch.stack([gradient, solenoidal])

    ensemble = Ensemble(Exact(law, schedule), error, target="eps")
    ensemble.members = 2
    return ensemble, turned


def test_critics_see_the_gradient_error_alone():
    law, linear, band = LAW.to(dtype=torch.float32), Linear(), (-2.0, 2.0)
    model, _ = errors_of_two_kinds(law, linear, 0.5)
    exact = []
    for u in torch.linspace(0.05, 0.95, 10):
        t = gradients.log_snr_levels(linear, u.double(), band)
        alpha, sigma = (float(v) for v in linear(t))
        x = LAW.sample(20_000, 0) * alpha + sigma * noise(20_000, 2, seed=1)
        exact.append((0.5 * sigma * LAW.score_at(x, alpha, sigma)).square().sum(-1).mean())
    exact = float(torch.stack(exact).mean())
    times = gradients.log_snr_levels(linear, torch.linspace(0.05, 0.95, 10, dtype=DOUBLE), band)
    linear_value = gradients.linear_critic(model, law, times, 30_000).mean(-1)
    assert float(linear_value[0]) == pytest.approx(exact, rel=0.1) and abs(float(linear_value[1])) < 0.1 * exact
    critic = gradients.train_critic(model, law, band, Dense(2, 32, 2), Run(400, 512, 3e-3))
    value = gradients.critic_value(critic, model, law, 20_000, band=band, seed=1).value
    assert 0.6 * exact < float(value[0]) < 1.15 * exact and abs(float(value[1])) < 0.15 * exact


def test_a_critic_of_the_wrong_size_is_repaired_by_a_factor():
    law, linear, band = LAW.to(dtype=torch.float32), Linear(), (-2.0, 2.0)
    model, _ = errors_of_two_kinds(law, linear, 0.5)
    critic = gradients.train_critic(model, law, band, Dense(2, 32, 2), Run(200, 256, 3e-3))

    class Tripled(gradients.Critic):
        def slope(self, x, t, create_graph=False):
            return 3 * super().slope(x, t, create_graph)

    right, wrong = (gradients.critic_value(one, model, law, 10_000, band=band, seed=1)
                    for one in (critic, Tripled(critic.net, critic.schedule)))
    assert float(wrong.value[0]) < 0  # 2 . 3 - 9 < 0
    torch.testing.assert_close(wrong.rescaled, right.rescaled, rtol=1e-4, atol=1e-6)
    assert float(right.rescaled[0]) == pytest.approx(float(right.value[0]), rel=0.2)


def test_the_mean_noise_is_that_of_the_posterior():
    """Against E[eps | x_t] of the data's law: the mean over many samples comes near it, single draws do not."""
    linear, t = Linear(), 0.4
    alpha, sigma = (float(level) for level in linear(t))
    x0, eps = LAW.sample(500, 1), noise(500, 2, seed=2)
    x = alpha * x0 + sigma * eps
    levels = (torch.full((500, 1), level, dtype=DOUBLE) for level in (alpha, sigma))
    found = gradients._mean_noise(x, x0, LAW.sample(20_000, 3), *levels)
    exact = -sigma * LAW.score_at(x, alpha, sigma)
    assert float((found - exact).square().mean()) < 0.02 * float((eps - exact).square().mean())


def test_waves_say_little_of_a_perfect_model_and_never_much_below_zero():
    """With no error the exact value is 0; a ridge chosen on samples of its own keeps the found one near it."""
    law, linear = LAW.to(dtype=torch.float32), Linear()
    model, _ = errors_of_two_kinds(law, linear, 0.0)
    times = gradients.log_snr_levels(linear, torch.linspace(0.1, 0.9, 4, dtype=DOUBLE), (-4.0, 4.0))
    assert float(gradients.linear_critic(model, law, times, 2000).mean(-1).abs().max()) < 4e-3


def test_splits_are_kept_as_numbers():
    law = ring(std=0.3, components=4)
    fleet = Fleet({"v": Setting("v")}, law, Dense(2, 6, 1), Run(3, 8), seeds=[1, 2])
    made = gradients.Splits(fleet, law, (-2.0, 2.0), 2, 15)
    trained = made.train("cpu")
    found, blank = made.read(trained.networks), made.blank()
    assert found.total.shape == (2,) and torch.allclose(found.total, found.gradient + found.solenoidal, rtol=1e-6)
    assert blank["energies"].values.shape == trained.networks["energies"].values.shape
    (net,) = fleet.read(fleet.train("cpu").networks).values()
    times = gradients.log_snr_levels(net.schedule, torch.tensor([0.25, 0.75], dtype=DOUBLE), (-2.0, 2.0))
    torch.testing.assert_close(found.total, gradients.ErrorSplit(law, net.schedule, times, cells=15)(net).total,
                               rtol=0.02, atol=1e-4)  # weights are kept in half precision


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [
    lambda: gaussian_split(torch.ones(2, 3), S), lambda: gaussian_split(ROTATION, -S),
    lambda: gaussian_split(torch.full((2, 2), math.nan), S), lambda: gaussian_course(S, lambda t: ROTATION, end=0.0),
    lambda: gradients.euler_covariance(S, lambda t: ROTATION, 0),
    lambda: gradients.Invisible(GaussianMixture([0.0], 1.0), Linear(), 1.0),
    lambda: Plane(lambda x: -x.square().sum(-1), cells=2), lambda: Plane(lambda x: x.sum(-1), half_width=-1.0),
    lambda: Plane(lambda x: -x.square().sum(-1), cells=8).split(torch.ones(3)),
    lambda: gradients.log_snr_levels(Linear(), torch.tensor(0.5), (1.0, -1.0)),
    lambda: gradients.linear_critic(Exact(LAW, Linear()), LAW, torch.tensor([0.5]), 10),
    lambda: gradients.critic_value(None, None, ring(), 1, band=(-1.0, 1.0), seed=0), lambda: gradients.Basis(0),
    lambda: gradients.Critics(Learned(MLP(2, 4, 1, seed=(0,)), Linear(), "v"), ring(), (-1.0, 1.0), Dense(2, 4, 1),
                              Run(1), reference=-1),
    lambda: gradients.train_critic(Exact(ring(), Linear()), ring(), (-1.0, 1.0), Dense(2, 8, 2), Run(1)),
])  # fmt: skip
def test_bad_input(make):
    with pytest.raises(ValueError, match="allowed"):
        make()


def test_critics_have_a_member_for_each_model():
    from diffnotes.core.denoiser import Learned

    model = Learned(MLP(2, 8, 1, seed=(0, 1, 2)), Linear(), "v")
    critic = gradients.train_critic(model, ring(), (-1.0, 1.0), Dense(2, 8, 2), Run(3, 16, 3e-3))
    assert gradients.critic_value(critic, model, ring(), 50, band=(-1.0, 1.0), seed=0).value.shape == (3,)


def test_the_named_linear_errors_are_what_their_names_say():
    for t in (0.0, 0.3, 2.0):
        errors, noised = gradients.linear_errors(S, t), gradients.noised_covariance(S, t)
        turned, score, rotation, mixed = (gradients.gaussian_split(e, noised)[1] for e in errors)
        assert float(turned.gradient) < 1e-24 * float(turned.total)
        assert float(score.solenoidal) < 1e-24 * float(score.total)
        assert float(turned.total) == pytest.approx(float(score.total), rel=1e-12)
        assert float(mixed.gradient) == pytest.approx(float(mixed.solenoidal), rel=1e-12)
        assert 0 < float(rotation.gradient) < float(rotation.total)
    with pytest.raises(ValueError, match="covariance has shape"):
        gradients.linear_errors(torch.eye(3), 0.0)


# --- what the chapter runs --------------------------------------------------------------------------------------------


def test_courses_have_the_sizes_asked_for():
    nats = torch.tensor([0.01, 0.1, 10.0], dtype=DOUBLE)
    found = gradients.sized_courses(S, nats, others=2)
    torch.testing.assert_close(found["turned score"].girsanov, nats, rtol=1e-6, atol=0)  # the law does not move
    assert [len(found[name].kl) for name in gradients.LINEAR_ERRORS] == [3, 2, 2, 2]
    torch.testing.assert_close(found["score"].girsanov[:1], nats[:1], rtol=0.1, atol=0)  # to leading order


def test_random_courses_repeat_and_grow():
    one, other = (gradients.random_courses(S, 5, seed=1) for _ in range(2))
    assert torch.equal(one.kl, other.kl) and not torch.equal(one.kl, gradients.random_courses(S, 5, seed=2).kl)
    assert float(one.girsanov[-1] / one.girsanov[0]) > 100


def test_euler_pays_for_a_turned_score_and_less_in_more_steps():
    found = gradients.euler_divergences(S, 4.0, [200, 400])
    for kind, strength in (("SDE", 1.0), ("ODE", 0.0)):
        none = gradients.euler_covariance(S, lambda t: torch.zeros(2, 2, dtype=DOUBLE), 200, strength)
        assert float(found[kind]["no error"][0]) == pytest.approx(float(gradients.covariance_kl(none, S)), rel=1e-9)
        few, many = found[kind]["turned score"]
        assert 3 < float(few / many) < 5  # the covariance's error falls like the step


def test_the_bound_of_a_turned_gaussian_score():
    """1/2 int E|sigma e|^2 d(log SNR), e = c Omega grad log p_t, p_t = N(0, I): |sigma e|^2 = c^2 sigma^2 |x|^2."""
    law, linear = GaussianMixture(torch.zeros(1, 2, dtype=DOUBLE), 1.0), Linear()
    error = gradients.Invisible(law, linear, 0.3)
    found = gradients.bound_of(error, law.sample(40_000, 1), linear, (-4.0, 4.0))
    levels = torch.linspace(-4, 4, 4001, dtype=DOUBLE)
    exact = 0.5 * float(torch.trapezoid(2 * 0.09 * torch.sigmoid(-levels), levels))
    assert found == pytest.approx(exact, rel=0.02)


def test_errors_are_split_as_fields_on_the_plane_are():
    law, linear = ring(std=0.3, components=8), Linear()
    times = torch.tensor([0.3, 0.6], dtype=DOUBLE)
    factors = torch.tensor([0.5, 2.0], dtype=DOUBLE).reshape(2, 1, 1)
    model = Perturbed(Exact(law, linear), gradients.Invisible(law, linear, factors), target="score", members=2)
    found = gradients.ErrorSplit(law, linear, times, cells=41)(model)
    assert bool((found.gradient < 0.02 * found.total).all())  # invisible, to the cells
    assert float(found.total[1] / found.total[0]) == pytest.approx(16.0, rel=1e-3)
    field = gradients.Invisible(law, linear, 1.0)
    energies = []
    for t in times.tolist():
        alpha, sigma = (float(level) for level in linear(t))
        plane = Plane(lambda x, a=alpha, s=sigma: law.log_prob_at(x, a, s), 3.6, 41)
        energies.append(plane.split(plane.components(lambda x, t=t, s=sigma: s * field(x, t)))[1].total)
    assert float(found.total[0]) == pytest.approx(0.25 * float(torch.stack(energies).mean()), rel=1e-4)


def test_kept_critics_are_the_trained_ones():
    fleet, law = Learned(MLP(2, 8, 1, seed=(0, 1)), Linear(), "eps"), ring()
    averaged = gradients.Critics(fleet, law, (-1.0, 1.0), Dense(2, 4, 1), Run(3, 8), seed=2, reference=20)
    experiment = gradients.Critics(fleet, law, (-1.0, 1.0), Dense(2, 4, 1), Run(3, 8), seed=2)
    trained = experiment.read(experiment.train().networks)
    plain = gradients.train_critic(fleet, law, (-1.0, 1.0), Dense(2, 4, 1), Run(3, 8), seed=2)
    assert all(torch.equal(a, b) for a, b in zip(trained.net.parameters(), plain.net.parameters()))
    other = averaged.train().networks["critic"]
    assert not all(torch.equal(a, b) for a, b in zip(other.parameters(), plain.net.parameters()))
    assert [p.shape for p in experiment.blank()["critic"].parameters()] == [p.shape for p in plain.net.parameters()]


def test_a_misled_score_is_the_perturbed_one():
    law, linear = ring(std=0.3, components=8), Linear()
    truth, x = Exact(law, linear), noise(20, 2, seed=3)
    for stream in (None, lambda x: torch.sin(x[:, 0])):
        error = gradients.Invisible(law, linear, 0.7, stream)
        both = (gradients.Misled(truth, error), Perturbed(truth, error, target="score"))
        for target in ("score", "x0"):
            torch.testing.assert_close(*(one.read(target, x, 0.4) for one in both), rtol=1e-12, atol=1e-12)


def test_the_bounds_of_a_round_gaussian_in_closed_form():
    """Under N(0, I) at all times E|c Omega x|^2 = E|c x|^2 = 2 c^2, so half their integrals are c^2 times the end."""
    eye, c, end = torch.eye(2, dtype=DOUBLE), 0.3, 3.0
    turned = gaussian_course(eye, lambda t: c * ROTATION, end=end)
    assert float(turned.girsanov) == pytest.approx(c**2 * end, rel=1e-8) and float(turned.gradient) < 1e-12
    scaled = gaussian_course(eye, lambda t: c * eye, end=end)
    assert float(scaled.gradient_true) == pytest.approx(c**2 * end, rel=1e-8)
    assert float(scaled.gradient) == pytest.approx(float(scaled.girsanov), rel=1e-8)  # all of it is a gradient
