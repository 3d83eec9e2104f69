"""Exercises to "The ELBO and the four prediction targets"."""

from __future__ import annotations

import math

import torch
from scipy import stats
from torch import Tensor

from ...core.schedule import Chain
from ...core.target import convert, loss_weight
from ...measure.interval import mean_interval
from ..checking import Choice, Exercise, Function, Mistake, Value

_draw = torch.Generator().manual_seed(0)
_x, _y, _z = (torch.randn(4, 3, generator=_draw, dtype=torch.float64) for _ in range(3))
_cosine = Chain.cosine(50)
_levels = [(float(_cosine.alpha_bar[t]), float(_cosine.alpha_bar[t - 1])) for t in (2, 20, 45)]

ways = Choice(
    {
        "a": "the ODE is built so that its Liouville equation is the Fokker-Planck equation of the SDE: one equation, "
             "one start, one law at each time.",
        "b": "laws of single times agree, laws of pairs do not: x_t decides x_s for the ODE, and leaves it random "
             "for the SDE.",
        "c": "the two equations share their marginals because the score is that of the marginal at each time. A "
             "learned score is not, and then the two drift apart.",
        "d": "the ODE has no noise: through each point goes one path, as long as the velocity is Lipschitz in x.",
    },
    "ad",
    "Marginals are shared with the exact score only, and nothing but the marginals.",
)  # fmt: skip


def _posterior(x_t: Tensor, x_0: Tensor, alpha_bar: float, before: float) -> Tensor:
    alpha = alpha_bar / before
    mean = math.sqrt(before) * (1 - alpha) * x_0 + math.sqrt(alpha) * (1 - before) * x_t
    return torch.stack([mean / (1 - alpha_bar), torch.full_like(mean, (1 - before) / (1 - alpha_bar) * (1 - alpha))])


def _with_variance(variance):
    def answer(x_t, x_0, alpha_bar, before):
        mean, _ = _posterior(x_t, x_0, alpha_bar, before)
        return torch.stack([mean, torch.full_like(mean, variance(alpha_bar, before))])

    return answer


def _swapped(x_t, x_0, alpha_bar, before):
    return torch.stack([_posterior(x_0, x_t, alpha_bar, before)[0], _posterior(x_t, x_0, alpha_bar, before)[1]])


posterior = Function(
    _posterior,
    [(_x, _y, *level) for level in _levels],
    [
        Mistake("The mean is right, the variance is that of q(x_t | x_{t-1}). Knowing x_0 narrows it: precisions add, "
                "1/variance = (1 - beta_t)/beta_t + 1/(1 - alpha_bar_{t-1}).",
                _with_variance(lambda alpha_bar, before: 1 - alpha_bar / before)),
        Mistake("The mean is right, the second row is a standard deviation. The variance is asked for.",
                _with_variance(lambda alpha_bar, before: math.sqrt(
                    (1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)))),
        Mistake("The weights of x_0 and x_t are exchanged: near the data, where beta_t is small, the mean has to be "
                "close to x_t.", _swapped),
    ],
    "Precisions add, and the mean weighs by them.",
)  # fmt: skip


def _price(ratio: float, d: int) -> float:
    return d / 2 * (1 / ratio - 1 + math.log(ratio))


price = Function(
    _price,
    [(0.5, 1), (2.0, 3), (1.0, 7), (10.0, 64)],
    [
        Mistake("This is KL of the model from the posterior, or the chapter's formula, whose r is beta_tilde over the "
                "model's variance, one over the r here. The bound holds KL(q || p): the expectation is taken under q, "
                "the law that training samples from.", lambda r, d: d / 2 * (r - 1 - math.log(r))),
        Mistake("This is the price of one dimension. KL of independent dimensions adds up.",
                lambda r, d: _price(r, 1)),
        Mistake("The factor 1/2 of a Gaussian's exponent is missing.", lambda r, d: 2 * _price(r, d)),
        Mistake("This is the logarithm of the normalising constants alone. The exponents differ, too: under q their "
                "difference has the mean d/2 (1/r - 1).", lambda r, d: d / 2 * math.log(r)),
    ],
    "It is zero for r = 1 alone, and of second order in r - 1 there.",
)  # fmt: skip


clean = Function(
    lambda x_t, v, alpha, sigma: convert(v, x_t, alpha, sigma, "v", "x0"),
    [(_x, _y, 0.6, 0.8), (_x, _y, 1.0, 2.0), (_x, _z, 0.1, 0.7)],
    [
        Mistake("This is right where alpha^2 + sigma^2 = 1 alone. Elsewhere (x_t, v) is a rotation of (x_0, eps) and "
                "stretched: divide by alpha^2 + sigma^2.", lambda x, v, a, s: a * x - s * v),
        Mistake("This is eps, the other row of the inverse.", lambda x, v, a, s: (s * x + a * v) / (a * a + s * s)),
        Mistake("A sign is turned. Put x_t = alpha x_0 + sigma eps and v = alpha eps - sigma x_0 in: eps cancels.",
                lambda x, v, a, s: (a * x + s * v) / (a * a + s * s)),
        Mistake("This inverts x_t = alpha x_0 + sigma eps as if v were eps.", lambda x, v, a, s: (x - s * v) / a),
    ],
    "The inverse of a rotation is its transpose, over the stretch.",
)  # fmt: skip

_chain = Chain.linear(1000)


def _first(amplified: Tensor) -> float:
    return float(amplified.nonzero()[0])


def _noise_of(t: Tensor | slice) -> Tensor:
    return ((1 - _chain.alpha_bar[t]) / _chain.alpha_bar[t]).sqrt()


amplified = Value(
    lambda: _first(_noise_of(slice(None)) > 10),
    [
        Mistake("At this step the squared error grows tenfold. Its size, the root, grows by 3.2 there.",
                lambda: _first(_noise_of(slice(None)).square() > 10)),
        Mistake("Steps are counted from t = 1 here; entry 0 of chain.alpha_bar is clean data, so that the index is the "
                "step already.", lambda: _first(_noise_of(slice(None)) > 10) + 1),
        Mistake("This is one below the step: the index in chain.alpha_bar[1:], perhaps, where entry 0 is t = 1. Or it "
                "is 1/alpha, without sigma: the error of eps enters x_0 = (x_t - sigma eps)/alpha with the factor "
                "sigma/alpha.",
                lambda: _first(1 / _chain.alpha_bar.sqrt() > 10)),
    ],
    "An eps-network says little of the image there, and what it says is multiplied by ten and more.",
    tolerance=1e-9,
    far="Take the first t with sigma/alpha above 10 on Chain.linear(1000).",
)  # fmt: skip

weight = Function(
    lambda alpha, sigma: loss_weight("eps", alpha, sigma, like="v"),
    [(0.6, 0.8), (0.8, 0.6), (0.28, 0.96), (0.96, 0.28)],
    [
        Mistake("This makes the plain x_0-loss: an error of v is 1/sigma times one of x_0.", lambda a, s: s**2 / a**2),
        Mistake("This weighs an error of x_0: there it is 1/sigma^2, since (v - v') = -(x_0 - x_0')/sigma. From eps to "
                "v the factor is 1/alpha.", lambda a, s: 1 / s**2),
        Mistake("This is the factor between the errors. Losses are squares.", lambda a, s: 1 / a),
        Mistake("Turned over: an error of eps is alpha times one of v, so the v-error is the larger one, and its "
                "weight on the eps-loss is above one.", lambda a, s: a**2),
    ],
    "At the noise end the plain v-loss counts errors of eps far more than the plain eps-loss does.",
)  # fmt: skip


def _verdict(differences: Tensor, rule: float) -> int:
    low, high = (float(end) for end in mean_interval(differences)[1:])
    return (low > rule) - (high < rule)


def _by(quantile, unbiased=True, of_mean=True):
    def answer(differences, rule):
        n = len(differences)
        half = quantile(n) * float(differences.std(unbiased=unbiased)) / (math.sqrt(n) if of_mean else 1)
        mean = float(differences.mean())
        return (mean - half > rule) - (mean + half < rule)

    return answer


def _student(n: int) -> float:
    return float(stats.t.ppf(0.975, n - 1))


def _seeds(mean: float, half: float, n: int = 5) -> Tensor:
    """Numbers with this mean and this half-width of Student's interval."""
    z = torch.linspace(-1, 1, n, dtype=torch.float64)
    return mean + z / z.std() * half * math.sqrt(n) / _student(n)


_runs = [(_seeds(0.3, 0.1), 0.1), (_seeds(0.0, 0.05), 0.1), (_seeds(0.12, 0.1), 0.1), (_seeds(0.2, 0.11), 0.1),
         (_seeds(0.2, 0.13), 0.1), (_seeds(-0.2, 0.28, 12), 0.1), (_seeds(0.3, 0.1), 0.25), (_seeds(0.0, 0.1), -0.2),
         (_seeds(0.2, 0.104), 0.1), (_seeds(0.2, 0.095), 0.1), (_seeds(0.174, 0.1), 0.1)]

verdict = Function(
    _verdict,
    _runs,
    [
        Mistake("With five seeds the normal quantile 1.96 is too small: Student's t with n - 1 degrees of freedom has "
                "2.78 there.", _by(lambda n: 1.96)),
        Mistake("The spread is that of single seeds. The interval is of their mean: divide by the root of n.",
                _by(_student, of_mean=False)),
        Mistake("The mean alone decides here. A mean above the rule is no verdict while the interval crosses it.",
                _by(lambda n: 0.0)),
        Mistake("The standard deviation of a sample divides by n - 1. By n it is too small, and so is the interval.",
                _by(_student, unbiased=False)),
        Mistake("This is the quantile 0.95, which leaves 5 % on either side. An interval of 95 % leaves 2.5 % on "
                "either side: the quantile is 0.975.", _by(lambda n: float(stats.t.ppf(0.95, n - 1)))),
    ],
    "The interval decides, and it may decide nothing.",
)  # fmt: skip


def _step(x_t: Tensor, eps: Tensor, alpha_bar: float, before: float, z: Tensor) -> Tensor:
    x_0 = (x_t - math.sqrt(1 - alpha_bar) * eps) / math.sqrt(alpha_bar)
    mean, variance = _posterior(x_t, x_0, alpha_bar, before)
    return mean + variance.sqrt() * z


def _beta_tilde(alpha_bar: float, before: float) -> float:
    return (1 - before) / (1 - alpha_bar) * (1 - alpha_bar / before)


step = Function(
    _step,
    [(_x, _y, *level, _z) for level in _levels] + [(_x, _y, 0.99, 1.0, _z)],
    [
        Mistake("The noise is multiplied by the variance. It takes the standard deviation.",
                lambda x, e, a, b, z: _step(x, e, a, b, 0 * z) + _beta_tilde(a, b) * z),
        Mistake("There is no noise. Without it the samples shrink towards the mean: this is no step of the chain.",
                lambda x, e, a, b, z: _step(x, e, a, b, 0 * z)),
        Mistake("The noise has the variance beta_t. This is the other common choice, whose price the bound counts; the "
                "posterior's variance is asked for, which is zero in the last step.",
                lambda x, e, a, b, z: _step(x, e, a, b, 0 * z) + math.sqrt(1 - a / b) * z),
        Mistake("This is a step of DDIM: the noise is put back as predicted, not drawn.",
                lambda x, e, a, b, z: math.sqrt(b / a) * (x - math.sqrt(1 - a) * e) + math.sqrt(1 - b) * e),
    ],
    "The posterior at the predicted x_0: one step of the ancestral sampler.",
)  # fmt: skip

EXERCISES: dict[str, Exercise] = {
    "ways": ways, "posterior": posterior, "price": price, "clean": clean, "amplified": amplified, "weight": weight,
    "verdict": verdict, "step": step,
}  # fmt: skip
