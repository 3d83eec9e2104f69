"""The target table: conversions, losses, means and the printed v, against direct formulas and diffusers."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffnotes import TARGETS, Chain, Cosine, Linear, coefficients, convert, edm_target, loss_weight, mean_target

levels = st.floats(1e-3, 1.5)
values = st.lists(st.floats(-10, 10), min_size=3, max_size=3)


def close(actual, expected, rtol=1e-13, atol=0.0):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=rtol, atol=atol)


def vector(values):
    return torch.tensor([values], dtype=torch.float64)


def direct(x0, eps, alpha, sigma):
    """The four targets, written out."""
    return {"x0": x0, "eps": eps, "v": alpha * eps - sigma * x0, "score": -eps / sigma}


@given(levels, levels, values, values)
def test_sixteen_conversions_agree(alpha, sigma, x0, eps):
    """Every target is recovered from every other, there and back; the error is rounding over the determinant."""
    x0, eps = vector(x0), vector(eps)
    x_t, truth = alpha * x0 + sigma * eps, direct(x0, eps, alpha, sigma)
    scale = 1 + float(x0.abs().max() + eps.abs().max())
    for source, to in itertools.product(TARGETS, TARGETS):
        found = convert(truth[source], x_t, alpha, sigma, source=source, to=to)
        a, b = coefficients(source, alpha, sigma)
        a_to, b_to = coefficients(to, alpha, sigma)
        det = float(alpha * b - sigma * a)
        # Rounding errors of x_t and of the source, each multiplied by its coefficient in the conversion.
        amplified = (abs(float(a_to * b - b_to * a)) + abs(float(b_to * alpha - a_to * sigma)) * (
            abs(float(a)) + abs(float(b)))) / abs(det)
        assert float((found - truth[to]).abs().max()) <= 4e-15 * scale * (2 + amplified)
        back = convert(found, x_t, alpha, sigma, source=to, to=source)
        assert float((back - truth[source]).abs().max()) <= 1e-8 * scale * (1 + 1 / sigma)


@pytest.mark.parametrize("source, to", list(itertools.product(TARGETS, TARGETS)))
def test_conversions_equal_the_textbook_formulas(source, to):
    generator = torch.Generator().manual_seed(0)
    y, x_t = torch.randn(2, 50, 2, dtype=torch.float64, generator=generator)
    a, b = (level[:, None] for level in Linear()(torch.linspace(0.01, 1, 50, dtype=torch.float64)))
    x0 = {"x0": y, "eps": (x_t - b * y) / a, "v": a * x_t - b * y, "score": (x_t + b**2 * y) / a}[source]
    eps = {"x0": (x_t - a * y) / b, "eps": y, "v": b * x_t + a * y, "score": -b * y}[source]
    close(convert(y, x_t, a[:, 0], b[:, 0], source=source, to=to), direct(x0, eps, a, b)[to], rtol=1e-9, atol=1e-11)


@given(st.floats(0, 1), values, values)
def test_v_is_a_rotation(t, x0, eps):
    alpha, sigma = (float(level) for level in Linear()(t))
    x0, eps = vector(x0), vector(eps)
    x_t, v = alpha * x0 + sigma * eps, direct(x0, eps, alpha, max(sigma, 1e-300))["v"]
    size = x0.square().sum() + eps.square().sum()
    close(x_t.square().sum() + v.square().sum(), size, rtol=1e-14, atol=1e-300)
    close(alpha * x_t - sigma * v, x0, atol=1e-14 * float(1 + size.sqrt()))
    close(sigma * x_t + alpha * v, eps, atol=1e-14 * float(1 + size.sqrt()))
    a, b = coefficients("v", alpha, sigma)
    assert float(alpha * b - sigma * a) == pytest.approx(1, abs=1e-15)  # det = 1: errors are never amplified


@given(levels, levels, st.sampled_from(TARGETS), values, values)
def test_loss_weights_are_snr_factors(alpha, sigma, target, x_t, change):
    """Move the prediction of x0 by a finite step at fixed x_t; compare the squared moves of all targets."""
    x_t, change = vector(x_t), vector(change)
    zero, moved = torch.zeros_like(x_t), {}
    for name in TARGETS:
        before, after = (convert(x0, x_t, alpha, sigma, "x0", name) for x0 in (zero, change))
        moved[name] = float((after - before).square().sum())
    noise = 1e-12 * float(x_t.square().sum()) * (1 + (1 + alpha) ** 2 / sigma**4)
    snr, base = (alpha / sigma) ** 2, float(change.square().sum())
    expected = {"x0": base, "eps": snr * base, "v": (alpha**2 + sigma**2) ** 2 / sigma**2 * base,
                "score": snr / sigma**2 * base}  # fmt: skip
    for name in TARGETS:
        assert moved[name] == pytest.approx(expected[name], rel=1e-9, abs=noise)
        weight = float(loss_weight(name, alpha, sigma, like=target))
        assert weight * expected[name] == pytest.approx(expected[target], rel=1e-12, abs=1e-300)
        assert weight * float(loss_weight(target, alpha, sigma, like=name)) == pytest.approx(1, rel=1e-12, abs=0)


def test_vp_loss_weights_are_the_published_ones():
    """On a variance-preserving schedule: SNR, SNR + 1 and SNR/(1 - abar) times the x0 loss."""
    alpha, sigma = Chain.linear(1000)(torch.tensor([1, 10, 100, 300, 500, 800, 1000]))
    snr = (alpha / sigma) ** 2
    close(loss_weight("x0", alpha, sigma), snr)
    close(loss_weight("x0", alpha, sigma, like="v"), snr + 1, rtol=1e-12)
    close(loss_weight("x0", alpha, sigma, like="score"), snr / sigma**2, rtol=1e-12)
    close(snr, torch.tensor([1e4, 527, 8.7, 0.66, 0.085, 1.5e-3, 4e-5]), rtol=0.03)


def test_matched_losses_are_one_loss():
    """With matched weights the four losses of one predictor are one number, and so are their gradients."""
    generator = torch.Generator().manual_seed(3)
    x0, eps = torch.randn(2, 64, 2, dtype=torch.float64, generator=generator)
    t = 0.02 + 0.96 * torch.rand(64, dtype=torch.float64, generator=generator)
    alpha, sigma = Linear()(t)
    x_t = alpha[:, None] * x0 + sigma[:, None] * eps
    truth = direct(x0, eps, alpha[:, None], sigma[:, None])
    parameter = torch.randn(2, 2, dtype=torch.float64, generator=generator)
    losses, gradients, plain = [], [], []
    for name in TARGETS:
        theta = parameter.clone().requires_grad_()
        guess = convert(x_t @ theta, x_t, alpha, sigma, "x0", name)
        squares = (guess - truth[name]).square().sum(1)
        loss = (loss_weight(name, alpha, sigma, like="x0") * squares).mean()
        losses.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, theta)[0])
        plain.append(squares.mean().detach())
    for loss, gradient in zip(losses, gradients):
        close(loss, losses[0], rtol=1e-11)
        close(gradient, gradients[0], rtol=1e-9)
    assert max(plain) / min(plain) > 100  # unweighted they are four different losses


@pytest.mark.parametrize("chain", [Chain.linear(1000), Chain.cosine(100), Chain.from_betas([0.5, 0.1, 0.8])], ids=repr)
def test_the_four_means_are_one(chain):
    """The reverse mean written with x0, eps, v or the score is gamma1 x0 + gamma2 x_t."""
    generator = torch.Generator().manual_seed(1)
    x0, eps = torch.randn(2, chain.T, dtype=torch.float64, generator=generator)
    t = torch.arange(1, chain.T + 1)
    a, b = chain(t)
    x_t = a * x0 + b * eps
    alpha, alpha_bar = chain.alpha[1:], chain.alpha_bar
    y = direct(x0, eps, a, b)
    mean = chain.gamma1[1:] * x0 + chain.gamma2[1:] * x_t
    known = alpha.sqrt() * (1 - alpha_bar[:-1]) * x_t
    by_target = {
        "x0": (known + alpha_bar[:-1].sqrt() * (1 - alpha) * y["x0"]) / (1 - alpha_bar[1:]),
        "eps": (x_t - (1 - alpha) / b * y["eps"]) / alpha.sqrt(),
        "v": alpha.sqrt() * x_t - (1 - alpha) * alpha_bar[:-1].sqrt() / b * y["v"],
        "score": (x_t + (1 - alpha) * y["score"]) / alpha.sqrt(),
    }
    assert by_target.keys() == set(TARGETS)
    for formula in by_target.values():
        close(formula, mean, rtol=0, atol=2e-12)


def test_misprinted_v_does_not_invert():
    """Erratum: v with sqrt(alpha_t) instead of sqrt(alpha_bar_t) leaves noise in x0, and its variance is not 1."""
    chain = Chain.linear(1000)
    t = torch.tensor([1, 10, 100, 300, 500, 800, 1000])
    a, b = chain(t)
    assert math.isclose(float(a[0]), math.sqrt(chain.alpha[1]), rel_tol=1e-15)  # at t = 1 the two agree
    # x0 read from the printed v = printed_a eps - b x0 by x0 = a x_t - b v: the coefficient of eps that is left.
    printed = chain.alpha[t].sqrt()
    left = b * (a - printed)
    generator = torch.Generator().manual_seed(2)
    x0, eps = torch.randn(2, 400_000, len(t), dtype=torch.float64, generator=generator)
    x0 = x0.sign()
    x_t, v = a * x0 + b * eps, printed * eps - b * x0
    wrong = a * x_t - b * v - x0
    close(wrong, left * eps, rtol=0, atol=1e-14)
    close(left[[2, 3, 4, 6]], torch.tensor([-0.017, -0.285, -0.686, -0.984]), rtol=0, atol=6e-4)
    variance = printed**2 + b**2
    # In percent of the size of x0: 0, 0, 1.8, 30, 73, 101, 104 measured on a sample, which is this at an rms of 0.945.
    percent = torch.tensor([0, 0, 1.8, 30, 73, 101, 104], dtype=torch.float64)
    digits = torch.tensor([0.5, 0.5, 0.05, 0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
    assert ((100 * left.abs() / 0.945 - percent).abs() <= digits).all()
    close(variance[[2, 3, 4, 6]], torch.tensor([1.10, 1.60, 1.91, 1.98]), rtol=0, atol=6e-3)
    close(v.var(0), variance, rtol=0.02)
    right = direct(x0, eps, a, b)["v"]
    close(a * x_t - b * right, x0, rtol=0, atol=1e-14)
    close(right.var(0), torch.ones(len(t)), rtol=0.02)


@given(st.floats(0.05, 5), st.floats(0, 3), st.floats(1e-3, 80))
def test_edm_target_has_unit_variance(data_std, alpha, sigma):
    a, b = (float(c) for c in coefficients(edm_target(data_std), alpha, sigma))
    assert a**2 * data_std**2 + b**2 == pytest.approx(1, rel=1e-14, abs=0)
    assert alpha * a * data_std**2 + sigma * b == pytest.approx(0, abs=1e-14 * (1 + sigma))  # uncorrelated with x_t


def test_edm_target_is_the_published_preconditioning():
    """With alpha = 1: F = (x0 - c_skip x)/c_out, Karras et al. 2022, table 1."""
    s = 0.5
    sigma = torch.logspace(-2, 2, 9, dtype=torch.float64)
    c_skip, c_out = s**2 / (sigma**2 + s**2), sigma * s / (sigma**2 + s**2).sqrt()
    a, b = coefficients(edm_target(s), torch.ones_like(sigma), sigma)
    close(a, (1 - c_skip) / c_out, rtol=1e-12)
    close(b, -c_skip * sigma / c_out, rtol=1e-12)
    # Its loss weight in x0 is 1/c_out^2, the weight lambda(sigma) of the paper.
    close(loss_weight("x0", torch.ones_like(sigma), sigma, like=edm_target(s)), 1 / c_out**2, rtol=1e-12)


def test_edm_target_of_unit_data_is_minus_v():
    alpha, sigma = Cosine()(torch.linspace(0, 1, 11, dtype=torch.float64))
    for edm, v in zip(coefficients(edm_target(1.0), alpha, sigma), coefficients("v", alpha, sigma)):
        close(edm, -v, rtol=1e-14)


@pytest.mark.parametrize("chain", [Chain.linear(1000), Chain.cosine(50)], ids=repr)
def test_mean_target_is_mu_q(chain):
    """mu_q as a target is gamma1 x0 + gamma2 x_t, of which only gamma1 x0 is left to learn once x_t is known."""
    t = torch.arange(2, chain.T + 1)
    alpha, sigma = chain(t)
    mean = mean_target(lambda alpha, sigma: chain(t - 1)[0])
    x0, eps = torch.randn(2, len(t), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_t = alpha * x0 + sigma * eps
    a, b = coefficients(mean, alpha, sigma)
    close(a * x0 + b * eps, chain.gamma1[2:] * x0 + chain.gamma2[2:] * x_t, rtol=0, atol=1e-12)
    close((sigma * a - alpha * b) / sigma, chain.gamma1[2:], rtol=1e-8)


def test_one_level_per_sample_when_batch_equals_dimension():
    """(n,) levels against (n, n) samples: along the batch, never along the dimension."""
    n = 4
    alpha, sigma = Linear()(torch.linspace(0.1, 0.9, n, dtype=torch.float64))
    x0, eps = torch.randn(2, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x_t = alpha[:, None] * x0 + sigma[:, None] * eps
    together = convert(eps, x_t, alpha, sigma, "eps", "x0")
    close(together, x0, rtol=0, atol=1e-13)
    for i in range(n):
        alone = convert(eps[i : i + 1], x_t[i : i + 1], float(alpha[i]), float(sigma[i]), "eps", "x0")
        assert torch.equal(together[i : i + 1], alone)


@pytest.mark.parametrize("shape, level", [((5, 2), (5,)), ((5, 1, 3, 3), (5,)), ((4, 5, 2), (4,)), ((4, 5, 2), (4, 5))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_and_ensembles_convert(shape, level, dtype):
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.randn(2, *shape, dtype=dtype, generator=generator)
    alpha, sigma = Linear()(0.1 + 0.8 * torch.rand(level, dtype=torch.float64, generator=generator))
    wide = (*level, *[1] * (len(shape) - len(level)))
    x_t = alpha.reshape(wide).to(dtype) * x0 + sigma.reshape(wide).to(dtype) * eps
    found = convert(eps, x_t, alpha, sigma, "eps", "x0")
    assert found.dtype == dtype and found.shape == shape
    close(found, x0, rtol=0, atol=1e-12 if dtype == torch.float64 else 2e-3)


def test_a_prediction_converted_to_itself_is_untouched_at_both_ends():
    """No division at sigma = 0 or alpha = 0 where none is needed."""
    x = torch.ones(1, 1)
    for alpha, sigma in ((1.0, 0.0), (0.0, 1.0)):
        for name in TARGETS:
            assert convert(x, x, alpha, sigma, name, name) is x
        assert convert(x, x, alpha, sigma, "v", "x0").isfinite().all()
        assert convert(x, x, alpha, sigma, "v", "eps").isfinite().all()


def test_a_custom_target_goes_wherever_a_name_does():
    """The velocity dx_t/dt = alpha' x0 + sigma' eps, for alpha = cos, sigma = sin: it is v itself."""
    velocity = lambda alpha, sigma: (-sigma, alpha)  # noqa: E731
    x_t, y = torch.randn(2, 6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for name in TARGETS:
        close(convert(y, x_t, 0.8, 0.6, velocity, name), convert(y, x_t, 0.8, 0.6, "v", name), rtol=1e-14)
        close(convert(y, x_t, 0.8, 0.6, name, velocity), convert(y, x_t, 0.8, 0.6, name, "v"), rtol=1e-14)
        close(loss_weight(velocity, 0.8, 0.6, like=name), loss_weight("v", 0.8, 0.6, like=name))


@pytest.mark.parametrize("call", [
    lambda name: convert(torch.zeros(1, 1), torch.zeros(1, 1), 0.8, 0.6, source=name, to="eps"),
    lambda name: convert(torch.zeros(1, 1), torch.zeros(1, 1), 0.8, 0.6, source="eps", to=name),
    lambda name: convert(torch.zeros(1, 1), torch.zeros(1, 1), 0.8, 0.6, source=name, to=name),
    lambda name: loss_weight(name, 0.8, 0.6),
    lambda name: loss_weight("v", 0.8, 0.6, like=name),
    lambda name: coefficients(name, 0.8, 0.6),
])  # fmt: skip
@pytest.mark.parametrize("name", ["noise", "X0", "", None])
def test_unknown_targets_are_refused(call, name):
    with pytest.raises(ValueError, match=f"target = {name!r} is unknown; allowed: x0, eps, v, score, or a function"):
        call(name)


def test_shapes_that_do_not_fit_are_refused():
    x = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"value has shape \(3, 1\); allowed: the shape of x_t, \(3, 2\)"):
        convert(torch.zeros(3, 1), x, 0.8, 0.6, "eps", "x0")
    with pytest.raises(ValueError, match=r"alpha has shape \(2,\)"):
        convert(x, x, torch.ones(2), 0.6, "eps", "x0")
    with pytest.raises(ValueError, match=r"sigma has shape \(2,\)"):
        convert(x, x, 0.8, torch.ones(2), "eps", "x0")
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r"data_std = .* must be positive"):
            edm_target(bad)


# --- numbers of any kind ------------------------------------------------------------------------------------------

def test_integers_are_numbers_and_not_a_dtype_to_compute_in():
    value, x_t = torch.ones(1, 2).long(), torch.tensor([[2, 3]])
    found = convert(value, x_t, 0.8, 0.6, "eps", "x0")
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, torch.tensor([[1.75, 3.0]], dtype=torch.float64), rtol=1e-15, atol=0)
    for source, to in itertools.product(TARGETS, repeat=2):
        exact = convert(value.double(), x_t.double(), 0.8, 0.6, source, to)
        for a, b in ((value, x_t), (value.numpy(), x_t.numpy()), (value.short(), x_t.double()), (value.bool(), x_t)):
            torch.testing.assert_close(convert(a, b, 0.8, 0.6, source, to), exact, rtol=1e-15, atol=0)
        for levels in ((1, 2), (np.int64(1), np.float32(2)), (torch.tensor(1), torch.tensor(2.0, dtype=torch.float64))):
            assert float(loss_weight(source, *levels, to)) == float(loss_weight(source, 1.0, 2.0, to))
            for a, b in zip(coefficients(source, *levels), coefficients(source, 1.0, 2.0)):
                assert float(a) == float(b)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("source, to", list(itertools.product((*TARGETS, edm_target(0.5)), repeat=2)))
def test_half_precision_is_the_float64_result_rounded_once(source, to, dtype):
    g = torch.Generator().manual_seed(0)
    value, x_t = (torch.randn(30, 4, generator=g).to(dtype) for _ in range(2))
    alpha, sigma = torch.linspace(0.1, 0.9, 30).to(dtype), torch.linspace(0.9, 0.01, 30).to(dtype)
    for levels in ((alpha, sigma), (0.8, 0.6), (alpha.double(), sigma.double())):
        wide = [v.double() if isinstance(v, torch.Tensor) else v for v in levels]
        exact = convert(value.double(), x_t.double(), *wide, source, to)
        assert torch.equal(convert(value, x_t, *levels, source, to), exact.to(dtype))
        # With a float32 partner the result is float32: the half number is exact, not the dtype to compute in.
        found = convert(value.float(), x_t, *levels, source, to)
        torch.testing.assert_close(found, exact.float(), rtol=1e-5, atol=1e-5)
    wide = alpha.double(), sigma.double()
    weights = loss_weight(source, alpha, sigma, to), loss_weight(source, *wide, to)
    for result, exact in (weights, *zip(coefficients(source, alpha, sigma), coefficients(source, *wide))):
        assert result.dtype == dtype and torch.equal(result, exact.to(dtype))


def test_an_empty_batch_converts_to_an_empty_one():
    empty = torch.empty(0, 2)
    for levels in ((0.8, 0.6), (torch.empty(0), torch.empty(0))):
        assert convert(empty, empty, *levels, "v", "score").shape == (0, 2)
