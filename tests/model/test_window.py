"""Windows, their noises and the SA loss against loops, the forward process, Monte Carlo and sums of covariances."""

import numpy as np
import pytest
import torch

import diffnotes
from diffnotes.core.schedule import Chain, Linear
from diffnotes.model.net import MLP
from diffnotes.model.window import COUPLINGS, Window, correlation, sa_loss, window_noise, windows

DOUBLE = torch.float64
SMALL = Chain.linear(12, 0.02, 0.3)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


# --- windows and couplings --------------------------------------------------------------------------------------------


def test_windows_of_the_paper_and_of_the_code():
    chain = Chain.linear(5, 0.01, 0.2)
    s, w = windows(chain, Window(3, tau="literal", form="paper"))
    assert len(s) == 8
    for t, times, weights in zip(range(-2, 6), s.tolist(), w):
        expected = [float(chain.tau[i]) if 2 <= i <= 5 else 0.0 for i in range(t, t + 3)]
        assert weights.tolist() == expected
        assert all(a == b for a, b in zip(times, range(t, t + 3)) if 1 <= b <= 5)
    s, w = windows(chain, Window(3))
    assert s.tolist() == [[1, 1, 1], [2, 1, 1], [3, 2, 1], [4, 3, 2], [5, 4, 3]]
    assert w.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 1, 1]]
    assert windows(chain, Window(2, form="paper"))[1].tolist()[:4] == [[0, 0], [0, 0], [0, 1], [1, 1]]


@pytest.mark.parametrize("form", ["code", "paper"])
def test_starts_are_uniform(form):
    window = Window(3, form=form)
    u = (torch.arange(15 * 700, dtype=DOUBLE) + 0.5) / (15 * 700)
    values, counts = window.start(u, SMALL).long().unique(return_counts=True)
    assert values.tolist() == window.starts(SMALL).tolist()
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("form, step", [("code", -1), ("paper", 1)])
def test_couplings_have_the_joint_law_of_the_forward_process(form, step):
    """Markov noises against the chain itself, x_t = sqrt(1 - beta_t) x_{t-1} + sqrt(beta_t) z, at three times."""
    n, t = 400_000, 5
    x, paths = torch.zeros(n, dtype=DOUBLE), {}
    for i in range(1, 8):
        x = SMALL.alpha[i].sqrt() * x + SMALL.beta[i].sqrt() * noise(n, seed=i)
        paths[i] = x / SMALL(i)[1]
    times = torch.tensor([t, t + step, t + 2 * step])
    truth = torch.corrcoef(torch.stack([paths[int(i)] for i in times]))
    for coupling in COUPLINGS:
        rho = correlation(SMALL, times[1:], times[:-1], coupling)[:, None]
        ours = torch.corrcoef(window_noise(noise(n, seed=20), noise(2, n, seed=21), rho))
        table = correlation(SMALL, times[:, None], times, coupling)
        torch.testing.assert_close(ours, table, rtol=0, atol=6 / n**0.5)
        if coupling == "markov":
            torch.testing.assert_close(table, truth, rtol=0, atol=6 / n**0.5)


# --- the loss ---------------------------------------------------------------------------------------------------------


class Counted:
    """A nonlinear predictor that remembers what it was asked."""

    def __init__(self):
        self.calls = []

    def __call__(self, x, t):
        self.calls.append((x, t))
        return torch.tanh(x + 0.1 * t.reshape(-1, *(1,) * (x.ndim - 1)))


@pytest.mark.parametrize("window", [
    Window(2), Window(3, 0.3, "literal"), Window(4, 0.2, "one", "markov", "paper"), Window(3, 1.0, "literal", "shared"),
])
@pytest.mark.parametrize("shape", [(7, 2), (7, 1, 3, 3)])
def test_sa_loss_is_its_definition_in_one_call(window, shape):
    """Recomputed with loops from the noised samples that the predictor was given."""
    f, x0 = Counted(), noise(*shape)
    t = torch.tensor([1, 2, 3, 6, 11, 12, -1 if window.form == "paper" else 5])
    simple, sequence = sa_loss(f, x0, SMALL, window, generator=3, t=t)
    assert len(f.calls) == 1 and len(f.calls[0][0]) == window.K * 7
    x, s = (part.unflatten(0, (window.K, 7)) for part in f.calls[0])
    expected_simple = expected = 0.0
    for i in range(7):
        total = torch.zeros_like(x0[0])
        for j in range(window.K):
            time = int(t[i]) + (j if window.form == "paper" else -j)
            if not 1 <= time <= SMALL.T:
                continue
            assert int(s[j, i]) == time
            alpha, sigma = SMALL(time)
            eps = (x[j, i] - alpha * x0[i]) / sigma
            e = torch.tanh(x[j, i] + 0.1 * time) - eps
            if not (window.form == "paper" and time == 1):
                total = total + (float(SMALL.tau[time]) if window.tau == "literal" else 1.0) * e
            if window.form == "paper":
                expected_simple += float(e.square().mean()) * (SMALL.T + window.K) / (SMALL.T * window.K) / 7
            elif j == 0:
                expected_simple += float(e.square().mean()) / 7
        expected += float((total / window.K).square().mean()) / 7
    assert float(simple) == pytest.approx(expected_simple, rel=1e-9)
    assert float(sequence) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("window", [Window(2), Window(3, form="paper", coupling="markov"), Window(2, tau="literal")])
def test_the_expected_loss_is_the_sum_of_covariances(window):
    """Monte Carlo over x_0, t and the noises for f = c_t x against sums of covariances: values of both parts."""
    c = torch.cat([torch.zeros(1, dtype=DOUBLE), 0.3 + 0.2 * torch.sin(torch.arange(1, 13, dtype=DOUBLE))])
    f = lambda x, t: c[t.long()][:, None] * x  # noqa: E731
    runs = torch.tensor([
        [float(v) for v in sa_loss(f, 0.8 * noise(20_000, 1, seed=s), SMALL, window, generator=s + 100)]
        for s in range(20)
    ], dtype=DOUBLE)
    t = torch.arange(1, 13)
    alpha, sigma = SMALL(t)
    rho = correlation(SMALL, t[:, None], t, window.coupling)
    a, b = c[1:] * alpha * 0.8, (c[1:] - 1 / sigma) * sigma  # e_t = a x_0/0.8 + b eps_t
    E = torch.outer(a, a) + torch.outer(b, b) * rho
    s, w = windows(SMALL, window)
    expected = sum(
        float(ws @ E[idx - 1][:, idx - 1] @ ws) for idx, ws in zip(s, w)
    ) / len(s) / window.K**2
    for found, exact in zip(runs.T, (float(E.diagonal().mean()), expected)):
        assert abs(float(found.mean()) - exact) < 4 * float(found.std()) / 20**0.5


def test_sa_loss_of_an_ensemble_is_that_of_its_members():
    net = MLP(2, width=8, depth=1, seed=(0, 1, 2)).double()
    x0 = noise(9, 2)
    together = sa_loss(net, x0.expand(3, -1, -1).contiguous(), SMALL, Window(3), generator=4)
    assert together.simple.shape == (3,)
    # Members draw their own noises, so compare with a loss whose ensemble is three copies of one member.
    copies = net.select([1, 1, 1])
    same = sa_loss(copies, x0.expand(3, -1, -1).contiguous(), SMALL, Window(3), generator=4)
    torch.testing.assert_close(same.sequence[1], together.sequence[1], rtol=1e-12, atol=0)
    assert not torch.equal(same.sequence[0], together.sequence[0])


# --- bad input --------------------------------------------------------------------------------------------------------

F, X0 = (lambda x, t: x), torch.zeros(3, 1)


@pytest.mark.parametrize("call, error, word", [
    (lambda: Window(0), ValueError, "K = 0"),
    (lambda: Window(2.0), ValueError, "K = 2.0"),
    (lambda: Window(2, -1.0), ValueError, "weight = -1.0"),
    (lambda: Window(2, tau="none"), ValueError, "tau = 'none'"),
    (lambda: Window(2, coupling="free"), ValueError, "coupling = 'free'"),
    (lambda: Window(2, form="book"), ValueError, "form = 'book'"),
    (lambda: Window(2, 0.0, alone=True), ValueError, "no loss"),
    (lambda: sa_loss(F, X0, Linear(), generator=0), TypeError, "no Chain"),
    (lambda: sa_loss(F, X0, SMALL, generator=None), TypeError, "generator = None"),
    (lambda: sa_loss(F, X0[0], SMALL, generator=0), ValueError, r"x0 of shape \(1,\)"),
    (lambda: sa_loss(F, X0 / 0, SMALL, generator=0), ValueError, "finite"),
    (lambda: sa_loss(F, X0, SMALL, generator=0, t=torch.tensor([1, 2, 13])), ValueError, r"1\.\.12"),
    (lambda: sa_loss(F, X0, SMALL, generator=0, t=torch.tensor([1])), ValueError, r"shape \(1,\)"),
    (lambda: sa_loss(lambda x, t: x[:1], X0, SMALL, generator=0), ValueError, "f returned shape"),
    (lambda: correlation(SMALL, 0, 3, "markov"), ValueError, r"s ranges"),
    (lambda: correlation(SMALL, 1, 13, "shared"), ValueError, r"t ranges"),
    (lambda: correlation(SMALL, 1, 2, "free"), ValueError, "coupling"),
])  # fmt: skip
def test_bad_input_is_named(call, error, word):
    with pytest.raises(error, match=word):
        call()


def test_it_is_exported():
    assert diffnotes.sa_loss is sa_loss and diffnotes.Window is Window
    assert np.isfinite(float(sa_loss(F, X0, SMALL, generator=0).simple))
