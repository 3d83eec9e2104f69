"""Exercises to "Errors that are invisible alone"."""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from ...chapters.gradients import (
    ROTATION,
    dual_value,
    euler_covariance,
    gaussian_course,
    gaussian_split,
    linear_errors,
    stirred_divergence,
)
from ...core.law import GaussianMixture
from ...measure.ranking import rank_correlation
from ..checking import Choice, Construction, Exercise, Function, Mistake, Wrong, result_of

_double = torch.float64
_draw = torch.Generator().manual_seed(3)


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_draw, dtype=_double)


def _covariance(d: int) -> Tensor:
    root = _normal(d, d)
    return root @ root.T / d + 0.3 * torch.eye(d, dtype=_double)


_plane, _wide, _space = _covariance(2), _covariance(2), _covariance(3)
_one, _other, _third = _normal(2, 2), _normal(2, 2), _normal(3, 3)

seen = Choice(
    {
        "a": "what counts is the divergence of p r, which is p div r + grad p . r. The second term is there for "
             "every r that does not run along the lines of equal density.",
        "b": "r is orthogonal to all gradients in L^2(p), so Pythagoras' theorem holds in the mean under p.",
        "c": "div(p r) is linear in p. If it vanishes for two densities, it does so for their mean.",
        "d": "a gradient that is invisible is orthogonal to all gradients, and so to itself.",
        "e": "at another law the flux of r has the divergence p r . grad h, where 1 + h is the ratio of the laws. "
             "Another error makes such an h.",
    },
    "bcd",
    "The split belongs to a field and a density together.",
)  # fmt: skip


def _visible(x: Tensor, E: Tensor, S: Tensor) -> Tensor:
    """By differentiation of the flux."""
    x = x.detach().clone().requires_grad_()
    density = torch.exp(-0.5 * (torch.linalg.solve(S, x.T).T * x).sum(-1))
    flux = density[:, None] * (x @ E.T)
    parts = [torch.autograd.grad(flux[:, j].sum(), x, retain_graph=True)[0][:, j] for j in range(x.shape[1])]
    return (sum(parts) / density).detach()


def _dot(x: Tensor, E: Tensor, S: Tensor) -> Tensor:
    """e . S^-1 x."""
    return ((x @ E.T) * torch.linalg.solve(S, x.T).T).sum(-1)


visible = Function(
    _visible,
    [(_normal(5, 2), _one, _plane), (_normal(4, 3), _third, _space), (_normal(3, 2), ROTATION, _plane)],
    [
        Mistake("This is the divergence of e alone. Mass moves by the flux p e, whose divergence has the term "
                "e . grad p as well.", lambda x, E, S: E.trace().expand(len(x))),
        Mistake("This is the term with the score alone. The divergence of e itself is missing.",
                lambda x, E, S: -_dot(x, E, S)),
        Mistake("The score of N(0, S) is -S^-1 x: the density falls outwards.",
                lambda x, E, S: E.trace() + _dot(x, E, S)),
        Mistake("The score has the inverse of the covariance: where the law is narrow, the density falls fast.",
                lambda x, E, S: E.trace() - ((x @ E.T) * (x @ S)).sum(-1)),
    ],
    "It is zero at all x for an invisible field, and its mean under p is always zero.",
)  # fmt: skip


def _part(E: Tensor, S: Tensor) -> Tensor:
    return gaussian_split(E, S)[0]


part = Function(
    _part,
    [(_one, _plane), (_third, _space), (ROTATION, _wide), (_other @ _wide, _wide)],
    [
        Mistake("This is the symmetric part of E: the Euclidean split, which is orthogonal for round data only.",
                lambda E, S: (E + E.T) / 2),
        Mistake("S stands on the wrong side of E. e(x) = E x, so the mean of e x^T is E S.",
                lambda E, S: gaussian_split(E.T, S)[0]),
        Mistake("The unknown is taken to commute with S. G S + S G is not 2 G S.",
                lambda E, S: (E @ S + S @ E.T) @ torch.linalg.inv(S) / 2),
        Mistake("This is the right side of the equation. It is still to be solved for G.",
                lambda E, S: E @ S + S @ E.T),
    ],
    "A Lyapunov equation: in the axes of S each entry is divided by a sum of two variances.",
)  # fmt: skip

_law = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=_double), 0.5)
_FINE = "The flux p r has no divergence, but the field is too small"
_EUCLID = "This field has no divergence, but its flux p r has: it crosses the lines of equal density"
_GRADIENT = "This field is a gradient, and under no density is anything of a gradient invisible"
_LENGTH = "This field runs along the lines of equal density, but its length is wrong: what flows in has to flow out"
_SEEN = "The flux p r of this field has a divergence"


def _slopes(answer: Any, x: Tensor, h: float = 1e-4) -> Tensor:
    """The derivatives of a field at the rows of x, (n, 2, 2): component, direction."""
    moves = h * torch.eye(2, dtype=_double)
    ends = [result_of(answer, (x + sign * move,)) for move in moves for sign in (1, -1)]
    return torch.stack([(ends[0] - ends[1]) / (2 * h), (ends[2] - ends[3]) / (2 * h)], -1)


def _test_field(answer: Any) -> None:
    line = torch.linspace(-4.5, 4.5, 121, dtype=_double)
    x = torch.cartesian_prod(line, line)
    p = _law.log_prob(x).exp() * (line[1] - line[0]) ** 2
    r = result_of(answer, (x,))
    if r.shape != x.shape:
        raise Wrong(f"for points of shape {tuple(x.shape)} the field has the shape {tuple(r.shape)}; it should be the "
                    "same")
    energy = float((p[:, None] * r**2).sum())
    if energy == 0:
        raise Wrong(f"{_FINE}: it is zero.")
    slopes = [torch.eye(2, dtype=_double)[i].expand_as(x) for i in range(2)]
    slopes += [2 * x, x.flip(-1), x * torch.tensor([1.0, -1.0], dtype=_double)]
    for k in torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -2.0], [2.0, 1.0], [3.0, 0.0]], dtype=_double):
        angle = (x @ k)[:, None]
        slopes += [angle.sin() * k, angle.cos() * k]
    met = max(abs(float((p[:, None] * r * g).sum())) / math.sqrt(energy * float((p[:, None] * g**2).sum()))
              for g in slopes)  # fmt: skip
    if met > 1e-5:
        made = _slopes(answer, _law.sample(200, 0))
        size = float(made.square().sum((-2, -1)).mean().sqrt())
        if float(made.diagonal(dim1=-2, dim2=-1).sum(-1).abs().max()) < 1e-4 * size:
            why = _EUCLID
        else:
            along = float((p[:, None] * r * _law.score(x)).sum(-1).abs().max()) < 1e-9 * energy
            why = (_GRADIENT if float((made - made.mT).abs().max()) < 1e-4 * size else _LENGTH if along else _SEEN)
        raise Wrong(f"{why}. It meets one of the gradients that were tried with the cosine {met:.3g}.")
    if energy < 100:
        raise Wrong(f"{_FINE}: its energy is {energy:.3g}; at least 100 is asked for.")


field = Construction(
    _test_field,
    lambda: lambda x: 6 * _law.score(x) @ ROTATION.T,
    [
        Mistake(_FINE, lambda: lambda x: _law.score(x) @ ROTATION.T),
        Mistake(_EUCLID, lambda: lambda x: 12 * x @ ROTATION.T),
        Mistake(_GRADIENT, lambda: lambda x: 6 * _law.score(x)),
        Mistake(_LENGTH, lambda: lambda x: 14 * torch.nn.functional.normalize(_law.score(x) @ ROTATION.T, eps=0.1)),
        Mistake(_SEEN, lambda: lambda x: 5 * _law.score(x) @ (ROTATION.T + torch.eye(2, dtype=_double))),
    ],
    "With a larger factor it becomes as large as one likes, and no marginal law shows it.",
)  # fmt: skip


@lru_cache
def _beside(first: float, second: float) -> Tensor:
    """By the package: the error alone, and beside the turned score in the limit, both after a long time."""
    eye, E = torch.eye(2, dtype=_double), torch.diag(torch.tensor([first, second], dtype=_double))
    alone = gaussian_course(eye, lambda t: E, end=40.0).kl
    return torch.stack([alone, torch.tensor(stirred_divergence(eye, lambda t: E, end=40.0), dtype=_double)])


def _excess(a: float) -> float:
    return a - 1 - math.log(a)


def _pair(stirred, alone=lambda e: _excess(1 / (1 - 2 * e)) / 2):
    """The divergence alone from each entry, and beside the turned score from the trace."""
    return lambda first, second: torch.tensor([alone(first) + alone(second), stirred(first, second)], dtype=_double)


def _alone(first: float, second: float) -> float:
    return sum(_excess(1 / (1 - 2 * e)) / 2 for e in (first, second))


beside = Function(
    _beside,
    [(0.2, -0.3), (0.3, 0.1), (-0.4, -0.1), (0.25, -0.25)],
    [
        Mistake("The turned score is taken to change nothing. It does so alone; beside another error it turns what "
                "that error has done.", _pair(_alone)),
        Mistake("The rotation is taken to undo the error. What swells or shrinks the cloud as a whole stays: the "
                "trace.",
                _pair(lambda a, b: 0.0)),
        Mistake("The trace acts on two directions. Each of them gets half of it, as the average over all directions "
                "says.", _pair(lambda a, b: _excess(1 / (1 - 2 * (a + b))))),
        Mistake("The second number is that of one direction. The law in the plane has two with the variance a.",
                _pair(lambda a, b: _excess(1 / (1 - a - b)) / 2)),
        Mistake("The sign of the error is turned: a positive entry of E pushes outwards, and the variance becomes "
                "larger than one.",
                _pair(lambda a, b: _excess(1 / (1 + a + b)), lambda e: _excess(1 / (1 + 2 * e)) / 2)),
    ],
    "An error without trace is stirred away; a round one is not touched.",
)  # fmt: skip


def _energy(G: Tensor, S: Tensor) -> Tensor:
    """E|G x|^2 under N(0, S)."""
    return (G @ S * G).sum()


def _rates(E: Tensor, S: Tensor, C: Tensor) -> Tensor:
    here, there = _part(E, C), _part(E, S)
    return torch.stack([_energy(here, C), _energy(there, C), _energy(there, S)])


def _three(E, S, C, split=_part, energy=_energy):
    here, there = split(E, C), split(E, S)
    return torch.stack([energy(here, C), energy(there, C), energy(there, S)])


rates = Function(
    _rates,
    [(_one, _plane, _wide), (_other, _wide, _plane), (_third, _space, torch.eye(3, dtype=_double))],
    [
        Mistake("Here the field is not split: these are the energies of all of e, of which the first is Girsanov's.",
                partial(_three, split=lambda E, S: E)),
        Mistake("The split is the Euclidean one, the same for all laws.",
                partial(_three, split=lambda E, S: (E + E.T) / 2)),
        Mistake("The laws are exchanged: S is that of the data, C that of the model.", lambda E, S, C: _rates(E, C, S)),
        Mistake("In the second number split and mean have changed places: the split is at the true law, the mean under "
                "the learned one.",
                lambda E, S, C: torch.stack([_rates(E, S, C)[0], _energy(_part(E, C), S), _rates(E, S, C)[2]])),
        Mistake("The energies are sums of squared entries. They are means under a law: E|Gx|^2 = tr(G S G).",
                partial(_three, energy=lambda G, S: G.square().sum())),
    ],
    "The third is what samples of the data give, and it is the one without a theorem.",
)  # fmt: skip

bounds = Choice(
    {
        "a": "in the rate of KL the error meets the gradient of log(p_hat/p) in the mean under p_hat, and so can be "
             "replaced by its projection there.",
        "b": "p_hat grad log(p_hat/p) = p grad(p_hat/p), so that a part r with div(p r) = 0 contributes nothing to the "
             "rate either.",
        "c": "the mean has to be that of the learned law, where the error acts. Under the true law an error may be "
             "small in places to which the learned law has been driven.",
        "d": "the projection at p is never longer than e in the mean under p. In the mean under p_hat it may be.",
        "e": "the turned score has an energy of any size and a divergence of zero, so the function would have to "
             "vanish everywhere.",
    },
    "ab",
    "Two of the three are bounds, and one of these may be the weaker for what it does not count.",
)  # fmt: skip


def _euler(c: float, n: int, end: float) -> Tensor:
    eye = torch.eye(2, dtype=_double)
    return torch.stack([euler_covariance(eye, lambda t: c * linear_errors(eye, t)[0], n, strength, end)[0, 0]
                        for strength in (0.0, 1.0)])  # fmt: skip


def _steps(ode, sde, noise=True):
    """The variances of recursions v -> factor(c, h) v + h from one."""

    def answer(c, n, end):
        h, v = end / n, 1.0
        for _ in range(n):
            v = sde(c, h) * v + (h if noise else 0)
        return torch.tensor([ode(c, h) ** n, v], dtype=_double)

    return answer


def _by_ode(c: float, h: float) -> float:
    return 1 + (c * h / 2) ** 2


def _by_sde(c: float, h: float) -> float:
    return (1 - h / 2) ** 2 + (c * h) ** 2


euler = Function(
    _euler,
    [(4.0, 50, 4.0), (2.0, 10, 1.0), (10.0, 400, 4.0), (0.5, 5, 2.0)],
    [
        Mistake("This is continuous time, in which a rotation keeps the variance. A straight step along the tangent "
                "leads outwards.", lambda c, n, end: torch.ones(2, dtype=_double)),
        Mistake("In the ODE the score has the factor 1/2, and so has its error.",
                _steps(lambda c, h: 1 + (c * h) ** 2, _by_sde)),
        Mistake("Step and radius are added up as lengths. They are at a right angle: their squares add.",
                _steps(lambda c, h: (1 + c * h / 2) ** 2, lambda c, h: (1 - h / 2 + c * h) ** 2)),
        Mistake("The noise of the SDE is forgotten: each step adds the variance h.",
                _steps(_by_ode, _by_sde, noise=False)),
        Mistake("In the SDE the error is forgotten. Its steps are straight, too, and its error has twice the weight.",
                _steps(_by_ode, lambda c, h: (1 - h / 2) ** 2)),
    ],
    "The excess is of the order of c^2 h: an invisible error costs steps.",
)  # fmt: skip


def _critic(slope: Tensor, score: Tensor, eps: Tensor, sigma: Tensor) -> Tensor:
    return dual_value(slope, sigma[:, None] * score + eps)


def _meets(slope: Tensor, with_field: Tensor) -> Tensor:
    return (slope * with_field).sum(-1).mean()


critic = Function(
    _critic,
    [(_normal(6, 2), _normal(6, 2), _normal(6, 2), torch.rand(6, generator=_draw, dtype=_double) + 0.1),
     (_normal(4, 3), _normal(4, 3), _normal(4, 3), torch.rand(4, generator=_draw, dtype=_double) + 0.1)],
    [
        Mistake("The sign of the noise is turned. The score of x_t given x_0 is -eps/sigma, and the error is the "
                "model's score less the true one.",
                lambda g, s, e, sigma: _critic(g, s, -e, sigma)),
        Mistake("The noise is not in the units of the score. In these units it is sigma s that is compared with -eps.",
                lambda g, s, e, sigma: _critic(g, s / sigma[:, None], e, sigma)),
        Mistake("The first term has the factor 2, from completing the square. Without it half of the best critic is "
                "best.", lambda g, s, e, sigma: _critic(g, s, e, sigma) - _meets(g, sigma[:, None] * s + e)),
        Mistake("The energy of the critic is not taken off, so that a larger critic is always better.",
                lambda g, s, e, sigma: 2 * _meets(g, sigma[:, None] * s + e)),
        Mistake("This is a mean over coordinates. Scalar product and norm are sums over them.",
                lambda g, s, e, sigma: _critic(g, s, e, sigma) / g.shape[1]),
        Mistake("The true score is left out: the noise stands for it, in the mean.",
                lambda g, s, e, sigma: _critic(g, s, 0 * e, sigma)),
    ],
    "It needs samples, the noise that was added to them, and the model; no true score.",
)  # fmt: skip


def _within(measure: Tensor, distance: Tensor) -> Tensor:
    return rank_correlation(measure, distance).mean()


def _linear(a: Tensor, b: Tensor) -> Tensor:
    a, b = (one - one.mean(-1, keepdim=True) for one in (a, b))
    return ((a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()).mean()


_levels = torch.tensor([[0.0], [1.0], [3.0]], dtype=_double)
_few = (_levels + 0.3 * _normal(3, 6)).exp()
_far = (0.5 * _levels + 0.2 * _normal(3, 6)).exp()

within = Function(
    _within,
    [(_few, _far), (_few, _far.flip(1)), (_few[:2, :4], _few[:2, :4] ** 3)],
    [
        Mistake("This is over all networks at once, where the order of the groups rules: it mostly says that more data "
                "are better.", lambda m, d: rank_correlation(m.flatten(), d.flatten())),
        Mistake("This is the correlation of the values. Measures may have any scale; only their order is asked for.",
                _linear),
        Mistake("This is the rank correlation of the groups' means, which tells nothing of the networks in a group.",
                lambda m, d: rank_correlation(m.mean(1), d.mean(1))),
        Mistake("Ranks within the groups are needed for both. Here they are those among all networks.",
                lambda m, d: _linear(*(one.flatten().argsort().argsort().reshape(one.shape).double()
                                       for one in (m, d)))),
    ],
    "What it says is free of the order of the groups.",
)  # fmt: skip

EXERCISES: dict[str, Exercise] = {
    "seen": seen, "visible": visible, "part": part, "field": field, "beside": beside, "rates": rates,
    "bounds": bounds, "euler": euler, "critic": critic, "within": within,
}  # fmt: skip
