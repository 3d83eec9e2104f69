"""Exercises to "The estimation gap and the sequence-aware loss"."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from ...chapters.sequence import bounds, wider
from ...core.schedule import Chain
from ...model.sample import sampled_variance
from ...model.window import Window, windows
from ..checking import Choice, Construction, Exercise, Function, Mistake, Value, Wrong, tensor_of

_draw = torch.Generator().manual_seed(0)

whose = Choice(
    {
        "a": "the proof uses nothing but the two chains and the definition of eps_t. The chapter tests it on functions "
             "that nobody has trained.",
        "b": "the reference chain has other states than the model, and f has another error there. With its states the "
             "sum is not the gap.",
        "c": "the step to t = 0 has gamma2 = 0: it forgets all that was before, and y_0 - x_0 is a multiple of e_1.",
        "d": "x_t does not tell the noise, so e_t = f* - eps_t is not zero even for the best predictor: it is the "
             "noise that nobody can know.",
        "e": "eps_i is what separates x_0 from the model's own x_i, and where the model is depends on its predictor.",
    },
    "ae",
    "The identity is about the model's own path, and about nothing that a training loss sees.",
)  # fmt: skip


def _levels(alpha_bar: float) -> tuple[float, float]:
    return math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)


def _gammas(alpha_bar: float, before: float) -> tuple[float, float]:
    """gamma1 and gamma2 of the step between two levels of signal power."""
    kept = alpha_bar / before
    return math.sqrt(before) * (1 - kept) / (1 - alpha_bar), math.sqrt(kept) * (1 - before) / (1 - alpha_bar)


def _deterministic(alpha_bar: float, before: float, end: float) -> float:
    """Two chains at x_0 = 0 from one state 0, of which the model's first step has the error 1."""
    (at, st), (as_, ss), (_, se) = map(_levels, (alpha_bar, before, end))
    model = as_ * (0 - st * 1.0) / at + ss * 1.0
    return 0 - se / ss * model


def _own_step(alpha_bar, before):
    (at, st), (as_, ss) = _levels(alpha_bar), _levels(before)
    return as_ * st / at - ss


def _kept_by_ancestors(before, end):
    return math.sqrt(before / end) * (1 - end) / (1 - before)


def _tau(alpha_bar, before, end):
    (at, st) = _levels(alpha_bar)
    return _kept_by_ancestors(before, end) * _gammas(alpha_bar, before)[0] * st / at


deterministic = Function(
    _deterministic,
    [(0.1, 0.3, 0.99), (0.5, 0.7, 0.9), (0.02, 0.05, 0.999), (0.6, 0.9, 0.9)],
    [
        Mistake("The sign is turned: the gap is reference minus model. Where f is too large, the model's x_0 is too "
                "small, and y lies above x.", lambda a, b, e: -_deterministic(a, b, e)),
        Mistake("This is the weight in the gap right after the step. The later steps multiply the gap by "
                "sigma_s/sigma_t each, which makes sigma_1/sigma_{i-1} together.", lambda a, b, e: _own_step(a, b)),
        Mistake("The later steps carry the gap here as those of the ancestral sampler do, by gamma2. A step of DDIM "
                "multiplies it by sigma_s/sigma_t.", lambda a, b, e: _own_step(a, b) * _kept_by_ancestors(b, e)),
        Mistake("This is tau_i of the ancestral sampler, whose step is another one.", _tau),
        Mistake("Only the error of the predicted x_0 is counted. DDIM also puts sigma_s f back, which undoes a part of "
                "it.", lambda a, b, e: _levels(e)[1] / _levels(b)[1] * _levels(b)[0] * _levels(a)[1] / _levels(a)[0]),
    ],
    "The weight is sigma_1 times the growth of the root of the signal-to-noise ratio in the step, less one.",
)  # fmt: skip

_chain = Chain.linear(1000)


def _most_of(weights: Tensor) -> float:
    return float((weights.cumsum(0) >= 0.9 * weights.sum()).nonzero()[0])


most = Value(
    lambda: _most_of(_chain.tau),
    [
        Mistake("This is the step up to which nine tenths of the sum of tau^2 lie, as for errors that are not "
                "correlated. Errors of one direction add up themselves, not their squares.",
                lambda: _most_of(_chain.tau.square())),
        Mistake("This would be right for equal weights. What is done early in sampling, where i is large, is all but "
                "forgotten at t = 1.", lambda: _most_of(torch.ones(999)) + 2),
        Mistake("This counts from the first weight that is not zero. chain.tau is indexed by i itself: its entry 2 is "
                "tau_2.", lambda: _most_of(_chain.tau[2:])),
        Mistake("These are the steps i,...,T at high noise that make nine tenths when one adds up from T down. The "
                "steps 2,...,i at the clean end are asked for.", lambda: 1000 - _most_of(_chain.tau.flip(0))),
    ],
    "Errors of one size and direction make most of the gap in the last steps of sampling.",
    tolerance=1e-9,
    far="Add up chain.tau from small i on, until nine tenths of the whole sum are reached.",
)  # fmt: skip


def _correlated(K: int, rho: float) -> float:
    lag = (torch.arange(K)[:, None] - torch.arange(K)).abs()
    return float((torch.as_tensor(rho, dtype=torch.float64) ** lag).mean())


def _sum(K, rho, weight, times=2):
    return (1 + times * sum(weight(lag / K) * rho**lag for lag in range(1, K))) / K


correlated = Function(
    _correlated,
    [(2, 0.5), (4, 0.9), (3, -0.6), (10, 0.8)],
    [
        Mistake("This is for errors without correlation. With it the products u_s u_t of different steps count as "
                "well.",
                lambda K, rho: 1 / K),
        Mistake("Not every step of a window has a neighbour at the distance l in it: of K steps there are K - l pairs, "
                "which gives the factor 1 - l/K.", lambda K, rho: _sum(K, rho, lambda share: 1)),
        Mistake("Each pair of steps is counted once. In the square of a sum it stands twice, as u_s u_t and as u_t "
                "u_s.",
                lambda K, rho: _sum(K, rho, lambda share: 1 - share, 1)),
        Mistake("This is the sum over a window and not yet its mean: divide by K^2, not by K.",
                lambda K, rho: K * _correlated(K, rho)),
    ],
    "It goes from 1/K without correlation to one for errors that keep their direction.",
)  # fmt: skip

_short = _chain.respaced(50)


def _over_left(u: Tensor) -> float:
    errors = torch.zeros(1, 50, 1, dtype=torch.float64)
    errors[0, 1:, 0] = u / _short.tau[2:]
    found = bounds(errors, _short, 3)
    return found.sequence / found.upper


def _is_blind(answer) -> None:
    u = tensor_of(answer)
    if u.shape != (49,):
        raise Wrong(f"The answer has the shape {tuple(u.shape)}; it should be (49,): u_2, ..., u_50")
    if not float(u.abs().max()) > 1e-6:
        raise Wrong("These errors are zero, or next to it. The loss is to miss errors that are there.")
    share = _over_left(u)
    if share <= 0.02:
        return
    if bool((u[1:] * u[:-1] < 0).all()):
        raise Wrong("Errors that change their sign from step to step cancel in windows of two. Of three neighbours "
                    f"one is left over, and the loss still has {share:.3f} of its left side.")
    if share > 0.5:
        raise Wrong("The means of three neighbours are nearly as large as the errors. They have to cancel in each "
                    f"window, and the loss still has {share:.3f} of its left side.")
    raise Wrong("In some windows of three neighbours the mean is not small: the loss still has "
                f"{share:.3f} of its left side, and at most 0.02 is asked for.")


_k = torch.arange(49, dtype=torch.float64)

blind = Construction(
    _is_blind,
    lambda: torch.cos(2 * math.pi * _k / 3),
    [
        Mistake("Errors that change their sign from step to step cancel in windows of two", 1 - 2 * (_k % 2)),
        Mistake("These errors are zero, or next to it. The loss", torch.zeros(49)),
        Mistake("The means of three neighbours are nearly as large as the errors", torch.ones(49)),
        Mistake("In some windows of three neighbours the mean is not small: the loss still has",
                (_k % 3 == 0).double()),
    ],
    "Three neighbours cancel wherever the window lies. A small loss over windows is no small error.",
)  # fmt: skip

couplings = Choice(
    {
        "a": "with one noise the errors of a short window are all but equal, so the square of their mean is that of "
             "one error, which f* makes least.",
        "b": "given x_0, the mean of f* over the noise is not zero, and the products of two errors with independent "
             "noises see it. It pays to shrink f.",
        "c": "then the errors are independent, and the loss adds |E e|^2 times a number. This is zero at f*, so "
             "nothing pulls away from it.",
        "d": "the bias is there in the mean over all data: it is the minimiser of the population loss that is "
             "shrunken.",
        "e": "kappa tends to K - 1 and not to infinity. The windows hold squares of single errors as well, and these "
             "ask for f*.",
    },
    "ac",
    "It is the same clean sample together with independent noises that makes the bias.",
)  # fmt: skip


def _window_loss(errors: Tensor, K: int, weight: float) -> float:
    index, inside = windows(Chain.linear(errors.shape[1]), Window(K))
    sums = (errors[:, index - 1] * inside).sum(-1)
    return float((errors.square() + weight * sums.square() / K**2).mean())


def _other_loss(errors, K, weight, divide=lambda there, K: float(K) ** 2, upwards=False, around=False):
    T = errors.shape[1]
    sums, there = torch.zeros_like(errors), torch.zeros(T, dtype=errors.dtype)
    for t in range(T):
        for k in range(K):
            s = t + k if upwards else t - k
            if around or 0 <= s < T:
                sums[:, t] += errors[:, s % T]
                there[t] += 1
    return float((errors.square() + weight * sums.square() / divide(there, K)).mean())


_fields = torch.randn(3, 6, generator=_draw, dtype=torch.float64)

window_loss = Function(
    _window_loss,
    [(_fields, 2, 1.0), (_fields, 4, 0.2), (_fields[:1], 3, 2.0)],
    [
        Mistake("Windows at the end are divided by the number of steps that they have. In the published code steps "
                "below the first count as zero, and the divisor stays K^2.",
                lambda e, K, w: _other_loss(e, K, w, lambda there, K: there**2)),
        Mistake("The divisor is K^2, that of the square of a mean. With 1/K the same lambda weighs K times as much.",
                lambda e, K, w: _other_loss(e, K, w, lambda there, K: float(K))),
        Mistake("The windows reach upwards from t. Those of the published code hold t, t - 1, ..., t - K + 1.",
                lambda e, K, w: _other_loss(e, K, w, upwards=True)),
        Mistake("The windows go around: torch.roll puts the last steps beside the first. Steps below the first count "
                "as zero.", lambda e, K, w: _other_loss(e, K, w, around=True)),
        Mistake("This has the squares of the errors in place of the square of their sum. Then nothing can cancel, and "
                "the windows change little more than the size of the plain loss.", lambda e, K, w: float(
                    (e.square() + w * torch.stack([e[:, max(0, t - K + 1):t + 1].square().sum(1) for t in
                                                   range(e.shape[1])], 1) / K**2).mean())),
    ],
    "This is the loss of the published code, with weights one.",
)  # fmt: skip


def _missing(s: float, alpha_bar: float, before: float) -> float:
    posterior = s**2 * (1 - alpha_bar) / (alpha_bar * s**2 + 1 - alpha_bar)
    return _gammas(alpha_bar, before)[0] ** 2 * posterior


missing = Function(
    _missing,
    [(0.8, 0.3, 0.6), (2.0, 0.05, 0.5), (0.5, 0.7, 1.0), (1.0, 0.1, 0.2)],
    [
        Mistake("This is Cov(x_0 | x_t), the spread of the clean sample. The step multiplies x_0 by gamma1, so its "
                "square is missing.", lambda s, a, b: _missing(s, a, b) / _gammas(a, b)[0] ** 2),
        Mistake("gamma1 multiplies x_0, so its square multiplies the variance.",
                lambda s, a, b: _missing(s, a, b) / _gammas(a, b)[0]),
        Mistake("This has the variance of x_0 before x_t is known. The sampler knows x_t, and what it leaves out is "
                "the spread that x_0 has given x_t.", lambda s, a, b: _gammas(a, b)[0] ** 2 * s**2),
        Mistake("This is beta_tilde, the noise that the step has. What it lacks is asked for.",
                lambda s, a, b: (1 - b) / (1 - a) * (1 - a / b)),
    ],
    "The longer the step, the larger gamma1, and the more is missing.",
)  # fmt: skip


def _after(levels: Tensor, kappa: float) -> float:
    chain = Chain((1 - levels[:-1] / levels[1:]).flip(0))
    return sampled_variance(chain, wider(chain, kappa), torch.arange(chain.T, -1, -1))


def _by_recursion(noise, guess=None, first=None):
    """As :func:`_after`, with a step's noise, prediction of x_0 or start of one's own."""

    def answer(levels, kappa):
        levels, wide = levels.tolist(), 1 + kappa
        variance = 1 - levels[0] if first is None else first
        for a, b in pairwise(levels):
            g1, g2 = _gammas(a, b)
            clean = math.sqrt(a) * wide / (a * wide + 1 - a) if guess is None else guess(a, wide)
            variance = (g1 * clean + g2) ** 2 * variance + noise(a, b)
        return variance

    return answer


def _beta_tilde(a, b):
    return (1 - b) / (1 - a) * (1 - a / b)


_visited = [torch.tensor(row, dtype=torch.float64) for row in (
    [0.05, 0.3, 0.8, 1.0], [0.01, 0.1, 0.3, 0.6, 0.9, 1.0], [0.2, 0.7, 1.0])]  # fmt: skip

after = Function(
    _after,
    [(_visited[0], 1 / 3), (_visited[1], 0.1), (_visited[2], 1.0), (_visited[1], 0.0)],
    [
        Mistake("The noise of the steps is missing: each adds the variance beta_tilde.",
                _by_recursion(lambda a, b: 0.0)),
        Mistake("The noise of the steps has the variance beta = 1 - alpha_bar_t/alpha_bar_s. The variance of the "
                "posterior, beta_tilde, is asked for.", _by_recursion(lambda a, b: 1 - a / b)),
        Mistake("The best prediction of x_0 for data of the variance v is alpha v x/(alpha^2 v + sigma^2). The v in "
                "the numerator is missing.",
                _by_recursion(_beta_tilde, lambda a, wide: math.sqrt(a) / (a * wide + 1 - a))),
        Mistake("The start has the variance one. The sampler starts from noise alone, N(0, sigma^2) at its first time.",
                _by_recursion(_beta_tilde, first=1.0)),
    ],
    "For Gaussian data a sampler is a recursion of one number.",
)  # fmt: skip


def _gap(x: Tensor, guess: Tensor, x0: Tensor, alpha_bar: Tensor) -> Tensor:
    """With x_0 less its guess in place of errors of the noise."""
    total = torch.zeros_like(x0)
    for k, (a, b) in enumerate(pairwise(alpha_bar.tolist())):
        (at, st), (g1, g2) = _levels(a), _gammas(a, b)
        total = g2 * total + g1 * (x0 - (x[k] - st * guess[k]) / at)
    return total


def _other_gap(carry=True, gain=True, given=True):
    def answer(x, guess, x0, alpha_bar):
        total = torch.zeros_like(x0)
        for k, (a, b) in enumerate(pairwise(alpha_bar.tolist())):
            (at, st), (g1, g2) = _levels(a), _gammas(a, b)
            error = guess[k] - (x[k] - at * x0) / st if given else guess[k]
            total = (g2 if carry else 1.0) * total + g1 * (st / at if gain else 1.0) * error
        return total

    return answer


_x, _guess = (torch.randn(4, 5, generator=_draw, dtype=torch.float64) for _ in range(2))
_x0 = torch.randn(5, generator=_draw, dtype=torch.float64)
_ends = torch.tensor([0.05, 0.2, 0.5, 0.9, 0.97], dtype=torch.float64)

gap = Function(
    _gap,
    [(_x, _guess, _x0, _ends), (_x[:2], _guess[:2], _x0, _ends[1:4])],
    [
        Mistake("The sign is turned: the gap is reference minus model.", lambda *given: -_gap(*given)),
        Mistake("The errors are added up without being carried: each step multiplies the gap so far by gamma2.",
                _other_gap(carry=False)),
        Mistake("An error of the noise is counted as if it were one of x_0. It becomes one by the factor sigma/alpha.",
                _other_gap(gain=False)),
        Mistake("The prediction itself is added up. Its error is asked for, the prediction less the noise that "
                "separates x_t from x_0.", _other_gap(given=False)),
    ],
    "The gap follows from the states of a path and the predictions there.",
)  # fmt: skip

controls = Choice(
    {
        "a": "the exact predictor has no estimation error that could be reduced. What is nearer to the data than it is "
             "must be so for another reason.",
        "b": "a step of K = 2 takes two evaluations of the network. At equal numbers of steps it has twice the cost.",
        "c": "the gap is least for a sampler that returns the mean of the data. A smaller gap may come of less spread.",
        "d": "in a thousand steps hardly anything shrinks, so there is nothing to compensate: the bias alone would be "
             "left, and the gain would turn into a loss.",
        "e": "one path has windows, cost and form in common with independent noises, and lacks the bias. So the bias "
             "is needed for the gain.",
    },
    "abe",
    "A gain is explained by the control that lacks one thing and has all others.",
)  # fmt: skip

EXERCISES: dict[str, Exercise] = {
    "whose": whose, "deterministic": deterministic, "most": most, "correlated": correlated, "blind": blind,
    "couplings": couplings, "window_loss": window_loss, "missing": missing, "after": after, "gap": gap,
    "controls": controls,
}  # fmt: skip
