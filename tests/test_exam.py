"""The exam for teachers: points that add up, and each formula of its solutions beside the package or quadrature."""

from __future__ import annotations

import math
import re

import numpy
import pytest
import torch
from scipy import integrate, optimize, stats
from sites import ROOT

from diffnotes import Chain, convert
from diffnotes.chapters import collapse, gradients, lipschitz, recursion, sequence, targets
from diffnotes.core.law import GaussianMixture
from diffnotes.exercises import exercise
from diffnotes.press.layout import INSTRUCTOR

TEXT = (ROOT / INSTRUCTOR / "exam.md").read_text(encoding="utf-8")
TASKS, SOLUTIONS = TEXT.split("(exam-tasks)=")[1].split("(exam-solutions)=")
double = torch.float64


def says(*formulas: str) -> None:
    """The solutions have these formulas, which the test has checked."""
    text = " ".join(SOLUTIONS.split())
    for one in formulas:
        assert " ".join(one.split()) in text, one


def pieces(text: str) -> dict[int, str]:
    parts = re.split(r"^\*\*Task (\d)", text, flags=re.M)
    return {int(number): part for number, part in zip(parts[1::2], parts[2::2])}


# --- the points ---------------------------------------------------------------------------------------------------


def test_the_points_add_up() -> None:
    rows = re.findall(r"^\| (\d) \| (\w+) \| (\d+) \|$", TEXT, re.M)
    asked = pieces(TASKS)
    assert [int(number) for number, _, _ in rows] == [*asked] == [*pieces(SOLUTIONS)] == [*range(1, 10)]
    for number, _, points in rows:
        head = re.search(r"\((\d+) points\)", asked[int(number)])
        parts = re.findall(r"\((\d)\)(?=\s|$)", asked[int(number)])
        assert int(head[1]) == int(points) == sum(map(int, parts)), number
    assert sum(int(points) for *_, points in rows) == 60 and "| **Total** | | **60** |" in TEXT
    names = ("targets", "collapse", "measuring", "sequence", "lipschitz", "recursion", "gradients")
    assert {name for _, name, _ in rows} == {*names}


def test_each_part_has_a_solution_with_its_credit() -> None:
    solved = pieces(SOLUTIONS)
    for number, text in pieces(TASKS).items():
        letters = re.findall(r"\(([abc])\)", text)
        assert [one for one in letters if f"({one})" in solved[number]] == letters
        assert len(re.findall(r"(?<!\*)\*[^*]+\*(?!\*)", solved[number])) >= len(letters), number


# --- the formulas -------------------------------------------------------------------------------------------------


def test_task_1() -> None:
    for beta, c, d in ((0.02, 0.013, 3), (0.4, 0.05, 1), (0.1, 2.0, 7)):
        def term(s2: float, beta: float = beta, c: float = c, d: int = d) -> float:
            eye = torch.eye(d, dtype=double)
            shift = torch.full((d,), math.sqrt(c), dtype=double)
            normal = torch.distributions.MultivariateNormal
            return float(torch.distributions.kl_divergence(normal(0 * shift, beta * eye), normal(shift, s2 * eye)))

        ends = (math.log(beta), math.log(beta + 2 * c))
        found = optimize.minimize_scalar(lambda log, term=term: term(math.exp(log)), bracket=ends, tol=1e-12)
        assert math.exp(found.x) == pytest.approx(beta + c, rel=1e-6)
        assert term(beta + c) == pytest.approx(d / 2 * math.log(1 + c / beta), rel=1e-12)
        cost = d / 2 * (c / beta - math.log(1 + c / beta))
        assert term(beta) - term(beta + c) == pytest.approx(cost, rel=1e-10)
    small = 1e-4
    assert (small - math.log1p(small)) / 2 == pytest.approx(small**2 / 4, rel=1e-3)
    chain = Chain.linear(50)  # the package's own best variance, with c the square of gamma1 times the error
    error = torch.full((51,), 0.3, dtype=double)
    best = targets.reverse_variance(chain, "optimal", error)
    gamma = chain.alpha_bar[:-1].sqrt() * chain.beta[1:] / (1 - chain.alpha_bar[1:])
    tilde = (1 - chain.alpha_bar[:-1]) / (1 - chain.alpha_bar[1:]) * chain.beta[1:]
    torch.testing.assert_close(best[2:], (tilde + gamma**2 * 0.3)[1:], rtol=1e-12, atol=0)
    says(r"s^2=\tilde\beta+c .", r"\frac d2\Bigl[\frac c{\tilde\beta}-\log\Bigl(1+\frac c{\tilde\beta}\Bigr)\Bigr].",
         r"$\frac d4(c/\tilde\beta)^2$")  # fmt: skip


def test_task_2() -> None:
    t = torch.tensor([0.1, 0.5, 0.9], dtype=double)[:, None]
    draw = torch.Generator().manual_seed(0)
    x0, eps, guess = torch.randn(3, 3, 4, generator=draw, dtype=double)
    alpha, sigma = 1 - t, t

    def flow(alpha: torch.Tensor, sigma: torch.Tensor):
        return -torch.ones_like(alpha), torch.ones_like(sigma)

    x, u = alpha * x0 + sigma * eps, eps - x0
    torch.testing.assert_close(x - t * u, x0, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(x + (1 - t) * u, eps, rtol=1e-12, atol=1e-12)
    read = {to: convert(guess, x, alpha[:, 0], sigma[:, 0], source=flow, to=to) for to in ("x0", "eps")}
    torch.testing.assert_close(read["x0"] - x0, -t * (guess - u), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(read["eps"] - eps, (1 - t) * (guess - u), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((guess - u) ** 2, (read["eps"] - eps) ** 2 / (1 - t) ** 2, rtol=1e-10, atol=0)
    says(r"x_0=x_t-t\,u,\qquad\epsilon=x_t+(1-t)\,u .", r"w=\frac1{(1-t)^2},")


def test_task_3() -> None:
    low = {n: 0.30 - stats.t.ppf(0.975, n - 1) * 0.20 / math.sqrt(n) for n in (5, 6, 7)}
    assert f"{0.3 - low[5]:.3f}" == "0.248" and f"{low[5]:.3f}" == "0.052" and f"{0.6 - low[5]:.3f}" == "0.548"
    assert low[6] < 0.1 < low[7] and f"{low[6]:.3f}" == "0.090" and f"{low[7]:.3f}" == "0.115"
    told = re.findall(r"\d\.\d{3}", re.search(r"^\| quantile \|.*$", TASKS, re.M)[0])
    assert told == [f"{stats.t.ppf(0.975, k):.3f}" for k in (4, 5, 6, 7)]
    draws = torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.5], dtype=double)
    draws = 0.30 + 0.20 * draws / draws.std()
    assert exercise("targets.verdict").model()(draws, 0.10) == 0
    says(r"$[0.052,\,0.548]$", r"$2.447\cdot0.20/\sqrt7=0.185$")


def test_task_4() -> None:
    def closed(delta: float, a: float, b: float) -> tuple[float, float]:
        c = 1 + 2 * delta
        return (b / a) ** delta, 1 + a * 2 * delta / c * ((b / a) ** c - 1)

    for delta, a, b in ((0.1, 0.8, 0.2), (-0.2, 0.3, 1e-3), (0.5, 0.95, 0.6)):
        ode, sde = closed(delta, a, b)
        assert closed(delta, a, b) == pytest.approx(collapse.slope_error_variance(delta, b, a), rel=1e-12)

        def rate(tau: float, v: list[float], strength: int, delta: float = delta, a: float = a, b: float = b):
            wrong = delta if b < math.exp(tau) < a else 0.0  # tau is the logarithm of the signal power
            pull = 2 * wrong + 1 if strength else wrong
            return [strength - pull * v[0]]

        for strength, value in ((0, ode), (1, sde)):
            v = 1.0
            for start, end in ((math.log(b) - 3, math.log(b)), (math.log(b), math.log(a)), (math.log(a), 0.0)):
                inside = (start + 1e-12, end - 1e-12)
                v = integrate.solve_ivp(rate, inside, [v], args=(strength,), rtol=1e-10, atol=1e-12).y[0, -1]
            assert v == pytest.approx(value, rel=1e-7)
        first = closed(1e-6, a, b)
        assert first[0] - 1 == pytest.approx(1e-6 * math.log(b / a), rel=1e-4)
        assert first[1] - 1 == pytest.approx(-2e-6 * (a - b), rel=1e-4)
    assert math.log(0.3 / 1e-3) > 2 * (0.3 - 1e-3) and math.log(0.95 / 0.6) < 2 * (0.95 - 0.6)
    for a, b in ((0.99, 0.5), (0.8, 0.51), (0.6, 0.55)):  # both above one half
        assert math.log(a / b) < 2 * (a - b)
    says(r"V_{\mathrm{ODE}}=\Bigl(\frac{\bar\alpha_b}{\bar\alpha_a}\Bigr)^{\delta}.",
         r"V_{\mathrm{SDE}}=1+\bar\alpha_a\,\frac{2\delta}{1+2\delta}\Bigl[\Bigl(\frac{\bar\alpha_b}{\bar\alpha_a}"
         r"\Bigr)^{1+2\delta}-1\Bigr].", r"-2\delta(\bar\alpha_a-\bar\alpha_b)$")  # fmt: skip


def test_task_5() -> None:
    edges = torch.linspace(0, 1, 20_001, dtype=double)
    for a, b in ((0.3, 0.8), (-0.5, 0.5), (0.9, 0.1), (0.4, 0.0)):
        p, q = ((edges + wave * (2 * math.pi * edges).sin() / (2 * math.pi)).diff() for wave in (b, a))
        shift, uneven = exercise("measuring.split").model()(edges, p, q).tolist()
        assert shift == pytest.approx(2 * b * (a - b) / (2 + b**2), abs=1e-6)
        assert uneven == pytest.approx((a - b) ** 2 / (2 + b**2), abs=1e-6)
        ratio = (2 + a**2) / (2 + b**2)
        assert 1 + shift + uneven == pytest.approx(ratio, abs=1e-6)
        assert (ratio < 1) == (abs(a) < abs(b))
    assert (2 + 0.5**2) / (2 + (-0.5) ** 2) == 1
    says(r"R_0=\frac{2+a^2}{2+b^2}.",
         r"\text{shift}=\frac{2b\,(a-b)}{2+b^2},\qquad\text{unevenness}=\frac{(a-b)^2}{2+b^2}.")  # fmt: skip


def test_task_6() -> None:
    after, nothing = exercise("sequence.after").model(), 1e-14  # a chain of the package begins above zero
    for a in (0.1, 0.2, 0.5, 0.9):
        levels = torch.tensor([nothing, a, 1.0], dtype=double)
        for v in (1.0, 2.0, 4.0):
            assert after(levels, v - 1) == pytest.approx(a * (1 - a) * v**2 / (a * v + 1 - a) ** 2, rel=1e-9)
        assert after(levels, 0.0) == pytest.approx(a * (1 - a), rel=1e-9)
    assert after(torch.tensor([nothing, 0.2, 1.0], dtype=double), 3.0) == pytest.approx(1, rel=1e-9)
    assert max(x / 100 * (1 - x / 100) for x in range(101)) == 0.25
    inflated = {K: 1 + sequence.shrinkage(sequence.Window(K, 1e6)) for K in (2, 4, 5)}
    assert inflated[2] < 4 and inflated[4] < 4 < inflated[5]
    says("a\\,(1-a),", r"\frac{a\,(1-a)\,v^2}{(av+1-a)^2}.", "so $v=4$", r"It takes $K\ge5$")


def test_task_7() -> None:
    law = {"smooth": GaussianMixture([-1.0, 1.0], 0.6).to(dtype=double),
           "points": GaussianMixture([-1.0, 1.0], 0.0).to(dtype=double)}  # fmt: skip
    x = torch.linspace(-2.5, 2.5, 4001, dtype=double)[:, None]

    def constant(name: str, t: float) -> float:
        """The mean of the speed over x ~ p_t, by a difference in t and a sum over a fine grid."""
        def at(t: float) -> tuple[torch.Tensor, torch.Tensor]:
            sigma = t**2
            noised = law[name].noised(math.sqrt(1 - sigma**2), sigma)
            return -sigma * noised.score(x), noised.log_prob(x).exp()

        h = 1e-5 * t
        speed = (at(t + h)[0] - at(t - h)[0]).abs()[:, 0] / (2 * h)
        weight = at(t)[1]
        return float((speed * weight).sum() / weight.sum())

    times = torch.tensor([0.02, 0.04, 0.08], dtype=double) * 2.5
    slopes = {name: lipschitz.slope(times, torch.tensor([constant(name, float(t)) for t in times])) for name in law}
    assert slopes["smooth"] == pytest.approx(1, abs=0.05) and slopes["points"] == pytest.approx(-1, abs=0.05)
    for start, length in ((0.0, 0.1), (0.7, 0.2)):
        t, weights = (torch.as_tensor(one) for one in numpy.polynomial.legendre.leggauss(5))
        t, weights = start + length * (t + 1) / 2, weights / 2
        spread = float(weights @ t**2 - (weights @ t) ** 2)
        assert spread == pytest.approx(length**2 / 12, rel=1e-9)
        assert float(weights @ (t - start) ** 2) == pytest.approx(length**2 / 3, rel=1e-9)
    excess = exercise("lipschitz.excess").model()  # where sigma is a root
    assert excess(3.0, 3.01, 2.0, 1.5) == pytest.approx(2 * 0.01**2 * 1.5 / (48 * 3), rel=0.01)
    says(r"\frac{J\,\Delta^2}{12},", r"$J\Delta^2/3$", r"$J\tilde t^2/(12n^2)$", r"$\beta\Delta^2J/(48t)$")


def test_task_8() -> None:
    generations = 4000
    for alpha, rho in ((0.1, 0.37), (0.5, -0.8), (0.02, 0.9), (1.0, 0.3)):
        m = 1 - alpha
        lag = torch.arange(generations, dtype=double)
        damping = m**lag
        total = float(damping @ (rho ** (lag[:, None] - lag).abs()) @ damping)
        assert total == pytest.approx((1 + m * rho) / (1 - m * rho) / (1 - m**2), rel=1e-9)
    ones = torch.ones(generations, dtype=double)
    m = 0.9
    assert float(recursion.discounted_sum(ones, 0.1)[-1]) == pytest.approx(1 / (1 - m**2))
    assert float(recursion.coherent_sum(ones, 0.1)[-1]) == pytest.approx(1 / (1 - m) ** 2)
    assert (1 + m) / (1 - m) / (1 - m**2) == pytest.approx(1 / (1 - m) ** 2)  # the limit of correlation one
    assert f"{1 / 3 / m:.2f}" == "0.37"
    says(r"D_\infty=\frac J{1-m^2}\cdot\frac{1+m\rho}{1-m\rho}.", r"$\rho=0.37$", r"$J/(1-m)^2=J/\alpha^2$")


def test_task_9() -> None:
    shear = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=double)
    for a, b in ((1.0, 1.0), (2.0, 0.3), (0.4, 5.0)):
        S = torch.diag(torch.tensor([a, b], dtype=double))
        G, energies = gradients.gaussian_split(shear, S)
        expected = b / (a + b) * torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=double)
        torch.testing.assert_close(G, expected, rtol=1e-12, atol=1e-14)
        assert float(energies.total) == pytest.approx(b) and float(energies.gradient) == pytest.approx(b**2 / (a + b))
        rest = (shear - G) @ S
        torch.testing.assert_close(rest, -rest.mT, rtol=1e-12, atol=1e-12)  # invisible at this law
    says(r"G_{12}=G_{21}=\frac b{a+b},\qquad G_{11}=G_{22}=0 .", r"\frac b{a+b}.")


def test_the_spare_task() -> None:
    spare = " ".join(TEXT.split("(exam-images)=")[1].split())
    assert [int(one) for one in re.findall(r"\((\d)\)", spare)] == [2, 3, 2] and "(7 points)" in spare
    for d, s, c in ((1, 1.0, 0.8), (3, 0.5, 0.5), (6, 2.0, 0.9)):
        def share(radius: float, d: int = d, s: float = s) -> float:
            return float(stats.chi2.cdf(radius**2 / (2 * s**2), d))

        assert share(1e-3 / c) / share(1e-3) == pytest.approx(c**-d, rel=1e-4)
    m = 12
    images = torch.randn(m, 3, generator=torch.Generator().manual_seed(0), dtype=double)
    far = torch.cdist(images, images)
    for radius in (1e-6, 1.0, 2.0, 50.0):
        near = (far <= radius) | torch.eye(m, dtype=torch.bool)
        different = float((near.sum() - m) / (m * (m - 1)))
        drawn = 1 / m + (1 - 1 / m) * different
        assert float(near.double().mean()) == pytest.approx(drawn)  # two draws with replacement
        if different:
            assert drawn / different == pytest.approx(1 - 1 / m + 1 / (m * different))
    for formula in (r"\to c^{-d}.", r"\frac1m+\Bigl(1-\frac1m\Bigr)C_m(\varepsilon)",
                    r"1-\frac1m+\frac1{m\,C(\varepsilon)}."):  # fmt: skip
        assert formula in spare
