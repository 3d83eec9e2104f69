r"""Recursive training: models trained on a mixture of data and of what the last model generated.

Generation i sees q_i = alpha p + (1 - alpha) p_i, with p the data's law, p_i that of the last model's samples and alpha
the fresh fraction; its model generates p_{i+1}. With D_i = chi^2(p_i || p) and, in the space L^2(1/p),

    chi^2(q_i || p) = (1 - alpha)^2 D_i,
    D_{i+1} = J_i + (1 - alpha)^2 D_i + 2 (1 - alpha) <p_{i+1} - q_i, p_i - p>,    J_i = int (p_{i+1} - q_i)^2/p,

so D_N is the discounted sum of the J_i exactly where the cross terms vanish, and where all errors point the same way
it is the square of the discounted sum of their roots (:func:`discounted_sum`, :func:`coherent_sum`).

All of this is computed on :class:`Cells`, the line cut into cells, where the forward process is a finite Markov chain.
Its reversal by Bayes' rule is exact, so a perfect model returns q_i to rounding, and a score error e(x, t) tilts the
reverse kernel, R(y | x) exp(e(x, t) y), which shifts its mean as a drift error does. Path divergence, energy,
observability and chi^2 are then finite sums with no error of discretisation or sampling between them.

Source: Khelifa, Turner and Venkataramanan 2026, arXiv 2602.16601 (proposition 3.1 and 3.3, theorem 3.4, lemma F.1,
proposition 4.1, theorem 4.2). The exact algebra and the coherent sum: this book.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..core import numbers
from ..core.data import image_split
from ..core.denoiser import Denoiser, Learned, home_of
from ..core.generators import generator_of
from ..core.law import GaussianMixture
from ..core.schedule import Constant
from ..measure.distance import frechet_distance
from ..measure.divergence import as_masses, chi2, kl
from ..measure.interval import Interval, mean_interval
from ..model.classifier import Recogniser, recogniser
from ..model.fleet import Fleet, Images, Pictures, Table, Trained
from ..model.sample import grid, ode, prior, sde
from ..model.store import kept

__all__ = [
    "Cells", "Course", "Generation", "ImageCourse", "ImageLineage", "Lineage", "coherent_sum", "discounted_sum",
    "error_kinds", "error_model", "fit_mixture", "kernel_model", "limit_ratio", "mixture_gaps", "mixture_model",
    "orthogonal_directions", "ratio_of_means", "recurse", "repeated", "smoothed", "smoothed_variance", "sooner",
]  # fmt: skip


def _fraction(alpha: float | Sequence[float] | Tensor, name: str = "alpha") -> Tensor:
    alpha = torch.as_tensor(alpha, dtype=torch.float64)
    if not bool(((alpha >= 0) & (alpha <= 1)).all()):
        raise ValueError(f"{name} = {alpha.tolist()}; allowed: fractions in [0, 1]")
    return alpha


# --- sums over generations --------------------------------------------------------------------------------------------


def _sum(terms: Tensor, damping: Tensor) -> Tensor:
    total, found = torch.zeros_like(terms[0]), []
    for term in terms:
        total = damping * total + term
        found.append(total)
    return torch.stack(found)


def _terms(terms) -> Tensor:
    terms = torch.as_tensor(terms, dtype=torch.float64)
    if terms.ndim < 1 or not len(terms) or not bool((terms >= 0).all()):
        raise ValueError(f"terms of shape {tuple(terms.shape)}; allowed: (generations, ...), numbers >= 0")
    return terms


def discounted_sum(terms: Tensor, alpha: float | Tensor) -> Tensor:
    """S_N = sum_{i < N} (1 - alpha)^{2 (N - 1 - i)} terms_i for N = 1, 2, ...: (generations, ...) like ``terms``.

    Source: theorem 4.2, equation 23, with terms_i = eps_i^2.

    >>> discounted_sum(torch.ones(3), 0.5).tolist()
    [1.0, 1.25, 1.3125]
    """
    return _sum(_terms(terms), (1 - _fraction(alpha)) ** 2)


def coherent_sum(terms: Tensor, alpha: float | Tensor) -> Tensor:
    """(sum_{i < N} (1 - alpha)^{N - 1 - i} sqrt(terms_i))^2: what errors of one direction add up to (this book).

    By Minkowski's inequality in L^2(1/p), it bounds D_N from above for errors of any kind if terms_i = J_i.

    >>> coherent_sum(torch.ones(2), 0.5).tolist()
    [1.0, 2.25]
    """
    return _sum(_terms(terms).sqrt(), 1 - _fraction(alpha)) ** 2


def limit_ratio(alpha: float | Tensor) -> Tensor:
    """lim coherent_sum/discounted_sum = (1/alpha^2)(1 - (1 - alpha)^2) = 2/alpha - 1 for equal terms, alpha in (0, 1].

    >>> float(limit_ratio(0.5))
    3.0
    """
    alpha = _fraction(alpha)
    if not bool((alpha > 0).all()):
        raise ValueError("alpha = 0: both sums grow without limit; allowed: fractions in (0, 1]")
    return 2 / alpha - 1


# --- the line as a finite chain ---------------------------------------------------------------------------------------


class Generation(NamedTuple):
    """What one model does, exactly: tensors of shape (members,), masses (members, cells).

    Attributes:
        law: the generated law p_{i+1}.
        energy: eps*^2, the variance of the martingale M = sum e (Y' - E Y') under the ideal path.
        path_kl: KL(learned path || ideal path) = eps^^2/2, the path energy of Girsanov's theorem.
        observability: eta = Var(E[M | Y_0])/eps*^2, 0 where there is no error.
    """

    law: Tensor
    energy: Tensor
    path_kl: Tensor
    observability: Tensor


_BLOCK = 8  # members at a time, whose tilted kernels stay in the processor's cache
_SAFE = 600.0  # exponents up to which neither exp nor its inverse leaves float64


@dataclass(frozen=True)
class Cells:
    """The line cut into cells, and the Ornstein-Uhlenbeck process on it as a finite Markov chain.

    dX = -X/2 dt + dB from t = 0 to ``end``; a step from t to t + h is N(e^{-h/2} x, 1 - e^{-h}) at the cells' centres,
    normalised. The schedule in [0, 1] is :class:`diffnotes.Constant` of rate ``end``. All is computed on the
    host, in float64, from masses and errors of any device.

    Args:
        half_width: the cells cover [-half_width, half_width].
        cells: their number, at least 16.
        steps: steps of the chain, at least 2, uniform in the log-SNR after the first.
        first: sigma after the first step; not less than a cell.
        end: the last time.

    Attributes:
        x: (cells,) the cells' centres.
        times: (steps + 1,) the times of the chain, from 0 on.
        width: of a cell.

    Raises:
        ValueError: for numbers out of range.
    """

    half_width: float = 6.0
    cells: int = 161
    steps: int = 40
    first: float = 0.12
    end: float = 5.0

    def __post_init__(self) -> None:
        numbers.count(self.cells, "cells", 16), numbers.count(self.steps, "steps", 2)
        for name in ("half_width", "first", "end"):
            if not (math.isfinite(value := getattr(self, name)) and value > 0):
                raise ValueError(f"{name} = {value}; allowed: numbers > 0")
        width, first, last = 2 * self.half_width / self.cells, self.first, math.sqrt(-math.expm1(-self.end))
        if not width <= first < last:
            raise ValueError(f"first = {first}; allowed: from the width of a cell, {width:.3g}, to {last:.3g}")
        x = (torch.arange(self.cells, dtype=torch.float64) + 0.5) * width - self.half_width
        ends = (math.log(first**2 / (1 - first**2)), math.log(math.expm1(self.end)))
        inner = torch.log1p(torch.linspace(*ends, self.steps, dtype=torch.float64).exp())  # e^t - 1 = 1/SNR
        times = torch.cat([torch.zeros(1, dtype=torch.float64), inner])
        h = times.diff()[:, None, None]
        log_kernel = -0.5 * (x - torch.exp(-h / 2) * x[:, None]) ** 2 / -torch.expm1(-h)
        log_kernel = log_kernel - log_kernel.logsumexp(-1, keepdim=True)
        found = {"width": width, "x": x, "times": times, "_log_kernel": log_kernel, "_kernel": log_kernel.exp()}
        for name, value in found.items():  # kernels are (steps, from, to)
            object.__setattr__(self, name, value)

    @property
    def schedule(self) -> Constant:
        """The same process on [0, 1]."""
        return Constant(float(self.end))

    def masses(self, law: GaussianMixture) -> Tensor:
        """The masses of a law on the line, (cells,); what lies outside goes to the cells in proportion."""
        if not isinstance(law, GaussianMixture) or law.dim != 1:
            raise ValueError(f"law = {law!r}; allowed: a GaussianMixture on the line")
        edges = torch.cat([self.x - self.width / 2, self.x[-1:] + self.width / 2])
        mass = law.to(dtype=torch.float64).cdf(edges).diff()
        mass = mass.clamp(min=1e-300)
        return mass / mass.sum()

    def marginals(self, q: Tensor) -> Tensor:
        """The laws at all times of the forward chain from masses q (..., cells): (steps + 1, ..., cells)."""
        (q,) = as_masses(q=q)
        found = [q.cpu()]
        for kernel in self._kernel:
            found.append(found[-1] @ kernel)
        return torch.stack(found)

    def smoothed(self, q: Tensor, width: float) -> Tensor:
        """What a Gaussian kernel of bandwidth ``width`` makes of masses q (..., cells).

        A kernel density estimate, if q are the shares of a sample in the cells; that of infinitely many points, if q is
        their law.

        Raises:
            ValueError: for a bandwidth less than a cell.
        """
        if not width >= self.width:
            raise ValueError(f"width = {width}; allowed: from the width of a cell, {self.width:.3g}")
        return q @ torch.softmax(-0.5 * ((self.x - self.x[:, None]) / width) ** 2, -1)

    def draw(self, q: Tensor, n: int, generator: torch.Generator | int) -> Tensor:
        """n samples of each row of masses q (members, cells), spread evenly over their cells: (members, n)."""
        (q,) = as_masses(q=q)
        generator = generator_of(generator, torch.device("cpu"))
        index = torch.multinomial(q.cpu(), numbers.count(n, "n", 1), replacement=True, generator=generator)
        jitter = torch.rand(index.shape, generator=generator, dtype=torch.float64) - 0.5
        return self.x[index] + self.width * jitter

    def generate(self, q: Tensor, error: Tensor) -> Generation:
        """The chain reversed with the score of q plus an error, started from the law of q at the last time.

        Args:
            q: masses (members, cells) that the model is trained on.
            error: the score error (members, steps, cells) or (steps, cells): row k acts in the step that leaves
                ``times[k + 1]``.

        Raises:
            ValueError: for shapes that do not fit, or errors that are not finite.
        """
        path = self.marginals(q)
        if q.ndim != 2 or error.ndim not in (2, 3) or error.shape[-2:] != (self.steps, len(self.x)):
            raise ValueError(f"q {tuple(q.shape)} and error {tuple(error.shape)}; allowed: (members, {len(self.x)}) "
                             f"and ([members,] {self.steps}, {len(self.x)})")
        if not bool(error.isfinite().all()):
            raise ValueError("error has non-finite entries; allowed: finite numbers")
        error = error.double().cpu().expand(len(q), -1, -1)
        blocks = zip(path.split(_BLOCK, 1), error.split(_BLOCK))
        return Generation(*(torch.cat(part) for part in zip(*(self._generate(*block) for block in blocks))))

    def _generate(self, path: Tensor, error: Tensor) -> Generation:
        """:meth:`generate` for the marginals (steps + 1, members, cells) of some members."""
        q, x, law, observed = path[0], self.x, path[-1], torch.zeros_like(path[-1])
        energy = path_kl = torch.zeros(len(q), dtype=torch.float64)
        for k in range(self.steps - 1, -1, -1):
            q0, q1, e, kernel = path[k], path[k + 1], error[:, k], self._kernel[k]
            mean = (q0 * x) @ kernel / q1
            variance = ((q0 * x**2) @ kernel / q1 - mean**2).clamp(min=0)
            energy = energy + (q1 * e**2 * variance).sum(-1)
            observed = (observed - e * mean) @ kernel.T + x * (e @ kernel.T)
            tilted, scale = self._tilted(k, e)  # with q0, the tilted reverse kernel up to its sum z
            z, moved = torch.bmm(torch.stack([q0, q0 * x], 1), tilted).unbind(1)
            log_z = z.log() + scale - e * mean - q1.log()
            path_kl = path_kl + (law * (e * (moved / z - mean) - log_z)).sum(-1)
            law = q0 * torch.bmm((law / z)[:, None], tilted.mT)[:, 0]
            law = law / law.sum(-1, keepdim=True)
        spread = (q * observed**2).sum(-1) - (q * observed).sum(-1) ** 2
        return Generation(law, energy, path_kl.clamp(min=0), torch.where(energy > 0, spread / energy, 0.0))

    def _tilted(self, k: int, e: Tensor) -> tuple[Tensor, Tensor]:
        """K(y -> x) exp(e(x) y - scale(x)), (members, y, x), of step k, and scale (members, x), for e (members, x)."""
        x = self.x
        if float(e.abs().max()) * (x[-1] - x[0]) > _SAFE:
            exponent = torch.addcmul(self._log_kernel[k], e[:, None], x[:, None])
            top = exponent.amax(1, keepdim=True)
            return exponent.sub_(top).exp_(), top[:, 0]
        # Cells lie evenly, so exp(e (y - x)) is a power of exp(e width), row by row; nothing overflows.
        tilted, power, done = e.new_empty(len(e), len(x), len(x)), torch.exp(e * self.width), 1
        tilted[:, 0] = torch.exp(e * (x[0] - x))
        while done < len(x):
            torch.mul(tilted[:, : min(done, len(x) - done)], power[:, None], out=tilted[:, done : 2 * done])
            power, done = power**2, 2 * done
        return tilted.mul_(self._kernel[k]), e * x

    def fields(self, members: int, generator: torch.Generator | int, waves: int = 6, length: float = 0.7) -> Tensor:
        """Smooth random score errors (members, steps, cells), of size 1 or so, that do not depend on the law.

        Sums of ``waves`` cosines in x with normal frequencies of scale 1/``length``, each with an amplitude that goes
        through at most one period over the steps.
        """
        numbers.count(members, "members", 1), numbers.count(waves, "waves", 1)
        generator = generator_of(generator, torch.device("cpu"))
        draw = [torch.randn(members, waves, generator=generator, dtype=torch.float64) for _ in range(2)]
        turn = [torch.rand(members, waves, generator=generator, dtype=torch.float64) for _ in range(3)]
        u = torch.linspace(0, 1, self.steps, dtype=torch.float64)
        size = torch.cos(2 * math.pi * (turn[0][..., None] * u + turn[1][..., None]))
        wave = torch.cos(draw[0][..., None] / length * self.x + 2 * math.pi * turn[2][..., None])
        return torch.einsum("mw,mwk,mwx->mkx", draw[1], size, wave)

    def scaled(self, q: Tensor, error: Tensor, energy: float | Tensor) -> Tensor:
        """``error`` times the factor that gives it the ``energy`` eps*^2 on the ideal path of q, member by member."""
        path, error = self.marginals(q), error.double().cpu().expand(len(q), -1, -1)
        found = torch.zeros(len(q), dtype=torch.float64)
        for k, kernel in enumerate(self._kernel):
            q0, q1 = path[k], path[k + 1]
            mean = (q0 * self.x) @ kernel / q1
            variance = ((q0 * self.x**2) @ kernel / q1 - mean**2).clamp(min=0)
            found = found + (q1 * error[:, k] ** 2 * variance).sum(-1)
        if not bool((found > 0).all()):
            raise ValueError("error is 0 for some member; allowed: errors that can be scaled")
        return error * (torch.as_tensor(energy, dtype=torch.float64) / found).sqrt()[:, None, None]

    def score_error(self, denoiser: Denoiser, q: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """A denoiser's score minus that of q on the chain, (members, steps, cells).

        The score of q at the cells comes from the chain's own posterior mean of x_0, so it is exact for the chain.

        Args:
            denoiser: on :attr:`schedule`; an ensemble has as many members as ``q``.
            q: masses (members, cells).
            dtype: in which the denoiser is asked.
        """
        path, lead = self.marginals(q), len(q)
        carried, found, guesses = torch.eye(len(self.x), dtype=torch.float64), [], []
        at = self.x.to(home_of(denoiser)[1], dtype)[:, None]
        if denoiser.members is not None:
            at = at.expand(lead, -1, -1)
        with torch.no_grad():
            for t in self.times[1:].tolist():
                guesses.append(denoiser.x0(at, t / self.end)[..., 0].double())
        guesses = torch.stack(guesses).cpu()
        for k, kernel in enumerate(self._kernel):
            carried = carried @ kernel
            mean = (path[0] * self.x) @ carried / path[k + 1]
            t = float(self.times[k + 1])
            alpha, sigma = math.exp(-t / 2), math.sqrt(-math.expm1(-t))
            found.append((alpha * (guesses[k] - mean) / sigma**2).expand(lead, -1))
        return torch.stack(found, 1)


# --- the recursion ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """A recursion on masses: tensors (generations, members) unless said otherwise; row i is what generation i made.

    Attributes:
        alpha: (members,) fresh fractions.
        laws: (generations, members, cells) p_{i+1}.
        divergence: D = chi^2(p_{i+1} || p).
        kl: KL(p_{i+1} || p).
        own: I = chi^2(p_{i+1} || q_i).
        own_kl: KL(p_{i+1} || q_i).
        step: J = int (p_{i+1} - q_i)^2/p.
        cross: 2 (1 - alpha) <p_{i+1} - q_i, p_i - p>, so that D_{i+1} = J + (1 - alpha)^2 D_i + cross.
        energy, path_kl, observability: of :class:`Generation`, NaN where the model gave masses alone.
    """

    alpha: Tensor
    laws: Tensor
    divergence: Tensor
    kl: Tensor
    own: Tensor
    own_kl: Tensor
    step: Tensor
    cross: Tensor
    energy: Tensor
    path_kl: Tensor
    observability: Tensor

    def at(self, alpha: float) -> Course:
        """The members of one fresh fraction.

        Raises:
            ValueError: for a fraction that no member has.
        """
        mine = self.alpha == alpha
        if not bool(mine.any()):
            raise ValueError(f"alpha = {alpha}; allowed: {', '.join(f'{a:g}' for a in self.fractions)}")
        return Course(*(getattr(self, name)[..., mine, :] if name == "laws" else getattr(self, name)[..., mine]
                        for name in self.__dataclass_fields__))

    def growth(self, alpha: float) -> Interval:
        """KL to the data after the last generation over that after the first, a geometric mean over repetitions.

        A first generation sees fresh data alone whatever the fraction, so repetition k is compared with the geometric
        mean of the first generations of the k-th repetitions at all fractions.

        Raises:
            ValueError: for a fraction that no member has, or fractions with different numbers of repetitions.
        """
        first = [self.at(one).kl[0].log() for one in self.fractions]
        if len({len(one) for one in first}) > 1:
            raise ValueError(f"repetitions = {[len(one) for one in first]}; allowed: as many for each fraction")
        return mean_interval(self.at(alpha).kl[-1].log() - torch.stack(first).mean(0)).exp()

    @property
    def fractions(self) -> list[float]:
        """The fresh fractions, each once."""
        return list(dict.fromkeys(self.alpha.tolist()))

    @property
    def discounted(self) -> Tensor:
        """The discounted sum of the steps J, which D equals where the cross terms vanish."""
        return discounted_sum(self.step, self.alpha)

    @property
    def by_energy(self) -> Tensor:
        """The discounted sum of the energies eps*^2, as theorem 4.2 displays it."""
        return discounted_sum(self.energy, self.alpha)

    @property
    def coherent(self) -> Tensor:
        """The coherent sum of the steps J, an upper bound of D."""
        return coherent_sum(self.step, self.alpha)


def repeated(fractions: Sequence[float], repetitions: int) -> Tensor:
    """Fresh fractions for :func:`recurse`, each for several members in a row: (fractions x repetitions,).

    >>> repeated([0.1, 0.5], 2).tolist()
    [0.1, 0.1, 0.5, 0.5]
    """
    repetitions = numbers.count(repetitions, "repetitions", 1)
    return torch.as_tensor(fractions, dtype=torch.float64).repeat_interleave(repetitions)


def ratio_of_means(top: Tensor, bottom: Tensor) -> Interval:
    """mean(top)/mean(bottom) over repetitions (n,), with the interval of its linearisation.

    With r the ratio, that of the mean of r + (top - r bottom)/mean(bottom); both are paired, repetition by repetition.

    Raises:
        ValueError: as :func:`diffnotes.measure.interval.mean_interval`.
    """
    value = top.mean() / bottom.mean()
    return mean_interval(value + (top - value * bottom) / bottom.mean())


def recurse(data: Tensor, alpha: Tensor, generations: int, model: Callable[[int, Tensor], Tensor | Generation]
            ) -> Course:
    """Train on alpha p + (1 - alpha) p_i again and again, from p_0 = p.

    Args:
        data: masses (cells,) of p, all > 0.
        alpha: (members,) fresh fractions in [0, 1].
        generations: how many models.
        model: (i, q) -> what the model trained on the masses q (members, cells) generates, as masses or a
            :class:`Generation`.

    Raises:
        ValueError: for numbers out of range, or a model that gives other shapes.
    """
    (data,), alpha = as_masses(data=data), _fraction(alpha)
    if data.ndim != 1 or alpha.ndim != 1 or not bool((data > 0).all()):
        raise ValueError(f"data {tuple(data.shape)}, alpha {tuple(alpha.shape)}; allowed: (cells,) > 0 and (members,)")
    before, rows, laws = data.expand(len(alpha), -1), [], []
    missing = torch.full((len(alpha),), math.nan, dtype=torch.float64)
    for i in range(numbers.count(generations, "generations", 1)):
        q = alpha[:, None] * data + (1 - alpha[:, None]) * before
        made = model(i, q)
        if not isinstance(made, Generation):
            made = Generation(made, missing, missing, missing)
        if made.law.shape != q.shape:
            raise ValueError(f"model gave masses of shape {tuple(made.law.shape)}; allowed: {tuple(q.shape)}")
        after, error = made.law, made.law - q
        cross = 2 * (1 - alpha) * (error * (before - data) / data).sum(-1)
        rows.append([chi2(after, data), kl(after, data), chi2(after, q), kl(after, q), (error**2 / data).sum(-1), cross,
                     made.energy, made.path_kl, made.observability])
        laws.append(after)
        before = after
    return Course(alpha, torch.stack(laws), *(torch.stack(column) for column in zip(*rows)))


class Gaps(NamedTuple):
    """Relative deviations from the identity of the mixture: the largest of chi^2, the smallest of KL."""

    chi2: Tensor
    kl: Tensor


def mixture_gaps(data: Tensor, laws: int, seed: int) -> Gaps:
    """How well D(q || p) = (1 - alpha)^2 D(r || p) holds for q = alpha p + (1 - alpha) r, with D = chi^2 and D = KL.

    Deviations are relative to D(r || p) for chi^2, and to the right side for KL, where 0 < alpha < 1; alpha goes from 0
    to 1.

    Args:
        data: masses (cells,) of p.
        laws: how many random laws r, softmax of normal numbers.
        seed: draws them.
    """
    (data,) = as_masses(data=data)
    generator, laws = torch.Generator().manual_seed(seed), numbers.count(laws, "laws", 1)
    others = torch.softmax(torch.randn(laws, len(data), generator=generator, dtype=torch.float64), -1)
    of_chi2, of_kl, found = chi2(others, data), kl(others, data), ([], [])
    for alpha in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0):
        mixed, damped = alpha * data + (1 - alpha) * others, (1 - alpha) ** 2
        found[0].append(((chi2(mixed, data) - damped * of_chi2).abs() / of_chi2).max())
        if 0 < alpha < 1:
            found[1].append((kl(mixed, data) / (damped * of_kl) - 1).abs().min())
    return Gaps(torch.stack(found[0]).max(), torch.stack(found[1]).min())


# --- closed forms -----------------------------------------------------------------------------------------------------


def smoothed(law: GaussianMixture, alpha: float, generations: int, level: tuple[float, float]) -> list[GaussianMixture]:
    """The recursion of perfect scores that stop at the noise ``level`` = (a, s), exactly: p_{i+1} = law of a X + s eps.

    X has the law q_i, so p_N = sum_{k < N} alpha (1 - alpha)^{k-1} S^k p + (1 - alpha)^{N-1} S^N p with S one
    smoothing. (1, h) is the population limit of a kernel density estimate of bandwidth h.

    Returns:
        p_1, ..., p_N.
    """
    alpha = float(_fraction(alpha))
    numbers.count(generations, "generations", 1)
    once, found = [law], []
    for _ in range(generations):
        once.append(once[-1].noised(*level))
        n = len(once) - 1
        weight = [alpha * (1 - alpha) ** (k - 1) for k in range(1, n)] + [(1 - alpha) ** (n - 1)]
        parts = [(w, one) for w, one in zip(weight, once[1:]) if w > 0]
        found.append(GaussianMixture(torch.cat([one.means for _, one in parts]),
                                     torch.cat([one.std for _, one in parts]),
                                     torch.cat([w * one.weights for w, one in parts])))
    return found


def smoothed_variance(variance: float, width: float, alpha: float, generations: int) -> float:
    """Variance of p_N in :func:`smoothed` for level (1, width): variance + width^2 (1 - (1 - alpha)^N)/alpha (mode by
    mode); variance + N width^2 for alpha = 0."""
    alpha = float(_fraction(alpha))
    rounds = numbers.count(generations, "generations", 1) if alpha == 0 else (1 - (1 - alpha) ** generations) / alpha
    return variance + width**2 * rounds


def fit_mixture(samples: Tensor, start: GaussianMixture, seed: int = 0) -> GaussianMixture:
    """The mixture of as many components as ``start`` that EM reaches from it on samples (n,), by scikit-learn.

    Raises:
        ValueError: for fewer samples than components, or a start off the line.
    """
    from sklearn.mixture import GaussianMixture as Fitted

    if start.dim != 1 or samples.ndim != 1 or len(samples) < len(start.std):
        raise ValueError(f"samples {tuple(samples.shape)}, start {start!r}; allowed: (n,) with n >= components, on the "
                         "line")
    points, start = samples.double().cpu().numpy()[:, None], start.to("cpu")
    model = Fitted(
        len(start.std), covariance_type="spherical", tol=1e-4, max_iter=1000, random_state=seed,
        weights_init=start.weights.double().numpy(), means_init=start.means.double().numpy(),
        precisions_init=start.std.double().numpy() ** -2,
    ).fit(points)  # fmt: skip
    return GaussianMixture(torch.from_numpy(model.means_), torch.from_numpy(model.covariances_).sqrt(),
                           torch.from_numpy(model.weights_))


def kernel_model(cells: Cells, n: int, width: float, generator: torch.Generator | int
                 ) -> Callable[[int, Tensor], Tensor]:
    """A model for :func:`recurse` with the exact score of a kernel density estimate: n samples of q, smoothed by width.

    Sampling it exactly returns the estimate itself, on the cells.

    Raises:
        ValueError: for n < 1 or a bandwidth less than a cell.
    """
    numbers.count(n, "n", 1), cells.smoothed(cells.x.softmax(0), width)
    generator = generator_of(generator, torch.device("cpu"))

    def model(i: int, q: Tensor) -> Tensor:
        index = torch.multinomial(q, n, replacement=True, generator=generator)
        counts = torch.zeros_like(q).scatter_add_(1, index, torch.ones(index.shape, dtype=torch.float64))
        return cells.smoothed(counts / n, width)

    return model


def mixture_model(cells: Cells, start: GaussianMixture, n: int, generator: torch.Generator | int
                  ) -> Callable[[int, Tensor], Tensor]:
    """A model for :func:`recurse`: a mixture fitted by EM to n samples of q, from ``start`` in every generation."""
    numbers.count(n, "n", 1)
    generator = generator_of(generator, torch.device("cpu"))

    def model(i: int, q: Tensor) -> Tensor:
        return torch.stack([cells.masses(fit_mixture(row, start)) for row in cells.draw(q, n, generator)])

    return model


def error_model(cells: Cells, energy: float | Sequence[float], error: Callable[[int, Tensor], Tensor]
                ) -> Callable[[int, Tensor], Generation]:
    """A model for :func:`recurse` with the exact score of q plus error(i, q), scaled to the energy eps*^2.

    Args:
        cells: the chain.
        energy: one for all generations, or one a generation.
        error: (i, q) -> (members, steps, cells) or (steps, cells), of any size but 0; those of fewer members than q are
            repeated, so that each fresh fraction of :func:`repeated` meets the same.
    """

    def model(i: int, q: Tensor) -> Generation:
        size, found = energy[i] if isinstance(energy, Sequence) else energy, error(i, q)
        if found.ndim == 3 and len(q) % len(found) == 0:
            found = found.repeat(len(q) // len(found), 1, 1)
        return cells.generate(q, cells.scaled(q, found, size))

    return model


# --- errors -----------------------------------------------------------------------------------------------------------


def error_kinds(cells: Cells, data: Tensor, members: int, generator: torch.Generator | int) -> dict[str, Tensor]:
    """Eight kinds of score error by name, each (members, steps, cells) drawn at random, of any size.

    They depend on the state x and the time t, on the state alone, or on the time alone; smoothly, or "white", which is
    independently in every step or cell. "score of another law" is the gradient of a log ratio of noised laws, the same
    two at all times.

    Args:
        cells: the chain.
        data: masses (cells,) of the law whose score is missed.
        members: how many of each kind.
        generator: a torch.Generator or a seed.
    """
    generator, x = generator_of(generator, torch.device("cpu")), cells.x
    shape = (numbers.count(members, "members", 1), cells.steps, len(x))

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    def another_law() -> Tensor:
        phase, speed = normal(2, members, 1)
        other = data * (1 + 0.5 * torch.cos(speed * x + 3 * phase))
        path, base = cells.marginals(other / other.sum(-1, keepdim=True)), cells.marginals(data)
        (slope,) = torch.gradient((path / base[:, None]).log(), spacing=cells.width, dim=-1)
        return slope[1:].movedim(0, 1)

    def wave() -> Tensor:
        u = torch.linspace(0, 1, cells.steps, dtype=torch.float64)[:, None]
        return torch.cos(2 * math.pi * (u + torch.rand(members, 1, 1, generator=generator, dtype=torch.float64)))

    kinds = {
        "score of another law": another_law,
        "linear in x": lambda: normal(members, 1, 1) * x,
        "smooth in x and t": lambda: cells.fields(members, generator),
        "linear in x, white in t": lambda: normal(members, cells.steps, 1) * x,
        "white in x and t": lambda: normal(*shape),
        "constant": lambda: normal(members, 1, 1),
        "one wave in t": wave,
        "white in t": lambda: normal(members, cells.steps, 1),
    }
    return {kind: draw().expand(shape) for kind, draw in kinds.items()}


def orthogonal_directions(cells: Cells, data: Tensor, count: int) -> Tensor:
    """Functions f_1, ..., f_count of the state, (count, cells), with E_p f_i = 0 and E_p f_i f_j = delta_ij.

    Then p f_i are errors of no mass that are orthogonal in L^2(1/p). By Gram-Schmidt from cosines.
    """
    found = [torch.ones_like(data)]
    for k in range(1, numbers.count(count, "count", 1) + 1):
        f = torch.cos(0.7 * k * cells.x + k)
        for one in found:
            f = f - (data * f * one).sum() / (data * one * one).sum() * one
        found.append(f / (data * f * f).sum().sqrt())
    return torch.stack(found[1:])


# --- networks, generation after generation ----------------------------------------------------------------------------


def _successors(fleet: Fleet, data: Tensor, i: int, fractions: Sequence[float]) -> Fleet:
    """The fleet of generation i: its own data for each fraction and seed, seeds that no other generation has."""
    return replace(fleet, data=data, seeds=[seed + 1000 * i for seed in fleet.seeds] * len(fractions))


def _one_arm(fleet: Fleet) -> str:
    if len(fleet.arms) != 1 or fleet.run.average is not None:
        raise ValueError(f"fleet has the arms {list(fleet.arms)}, average = {fleet.run.average}; allowed: one arm, "
                         "and None")
    return next(iter(fleet.arms))


def _checked(lineage: Lineage | ImageLineage) -> None:
    _one_arm(lineage.fleet), _fraction(lineage.fractions, "fractions")
    numbers.count(lineage.generations, "generations", 1), numbers.count(lineage.points, "points", 1)


@dataclass(frozen=True)
class Lineage:
    """Networks on a line, trained anew in every generation on samples of q_i: an experiment that can be kept.

    Their scores are put on the chain, so that what they generate is known exactly. All generations' networks would
    take megabytes; kept is the :class:`Generation` that each makes, and a :class:`Course` is read.

    Args:
        fleet: what a generation trains, of one arm on ``line.schedule``; its data is the law p, a mixture on the line.
            Generation i adds 1000 i to the seeds.
        line: the chain.
        fractions: fresh fractions; each has a network for each seed.
        generations: their number.
        points: samples of q_i that generation i sees, drawn by ``seed`` + 3 + i.
        seed: of the draws.

    Raises:
        ValueError: for several arms, averaged weights, or numbers out of range.
    """

    fleet: Fleet
    line: Cells
    fractions: Sequence[float]
    generations: int
    points: int
    seed: int = 0

    def __post_init__(self) -> None:
        _checked(self)

    def blank(self) -> dict[str, nn.Module]:
        """What the generations make before it is known."""
        members, cells = len(self.fractions) * len(self.fleet.seeds), len(self.line.x)
        return {_name(i): Table(torch.zeros(members, cells + 3)) for i in range(self.generations)}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Train one generation after the other on ``device``."""
        arm, tables, log = _one_arm(self.fleet), {}, {}
        setting = self.fleet.arms[arm]

        def trained(i: int, q: Tensor) -> Generation:
            drawn = self.line.draw(q, self.points, self.seed + 3 + i).float()[..., None]
            made = _successors(self.fleet, drawn, i, self.fractions).train(device)
            log.update(_logged(made, arm, i))
            denoiser = Learned(made.networks[arm], setting.schedule, setting.target)
            found = self.line.generate(q, self.line.score_error(denoiser, q))
            tables[_name(i)] = Table(torch.cat([found.law, torch.stack(found[1:], -1)], -1))
            return found

        self._course(trained)
        return Trained(tables, log)

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> Course:
        """What the networks generate, generation after generation, float64 on the host."""

        def made(i: int, q: Tensor) -> Generation:
            values = networks[_name(i)].values.cpu()
            return Generation(values[:, :-3], *values[:, -3:].unbind(-1))

        return self._course(made)

    def _course(self, model: Callable[[int, Tensor], Generation]) -> Course:
        alpha = repeated(self.fractions, len(self.fleet.seeds))
        return recurse(self.line.masses(self.fleet.data), alpha, self.generations, model)


def _name(i: int) -> str:
    return f"generation {i}"


def _logged(made: Trained, arm: str, i: int) -> dict[str, Tensor]:
    """The log of generation i; its loss and error are means over the networks, whose own would outweigh the tables."""
    means = (f"{arm}/loss", f"{arm}/error")
    return {name.replace(arm, _name(i), 1): value.mean(1) if name in means else value
            for name, value in made.log.items()}


def sooner(lineage: Lineage | ImageLineage, part: int) -> Lineage | ImageLineage:
    """The first generation of a lineage, on fresh data alone, with the training steps divided by ``part``.

    What it makes, beside what the lineage itself makes first, says whether its networks are trained for long enough.

    Raises:
        ValueError: for a part < 1.
    """
    run = lineage.fleet.run
    fewer = replace(run, steps=max(1, run.steps // numbers.count(part, "part", 1)))
    return replace(lineage, fleet=replace(lineage.fleet, run=fewer), fractions=[1.0], generations=1)


class ImageCourse(NamedTuple):
    """Frechet distances to held-out images: of generated ones (generations, fractions, seeds), and of training images
    (seeds,); and ``pictures`` (generations, fractions, shown, d) of the first seed."""

    generated: Tensor
    fresh: Tensor
    pictures: Tensor = torch.empty(0)


@dataclass(frozen=True)
class ImageLineage:
    """Networks of images, each generation trained on samples of the last one and on fresh images: an experiment.

    The networks of all generations would take many megabytes, of which the chapter needs one number each: kept are the
    Frechet distances of the generated images to held-out ones, in the features of ``judge``.

    Args:
        fleet: what a generation trains, of one arm; its data are :class:`~diffnotes.model.fleet.Images`, split by seed.
            Generation i adds 1000 i to the seeds.
        fractions: fresh fractions; each has a network for each seed.
        generations: their number.
        points: images that a generation sees, and generates.
        steps: of the sampler, on a grid quadratic in t.
        seed: of the draws.
        sampler: "sde", Euler-Maruyama, or "ode", Euler's method for the probability-flow ODE.
        shown: how many pictures of each generation are kept, for each fraction those of the first seed.

    Raises:
        ValueError: for several arms, averaged weights, numbers out of range, data that are no images, or another
            sampler.
    """

    fleet: Fleet
    fractions: Sequence[float]
    generations: int
    points: int
    steps: int
    seed: int = 0
    sampler: str = field(default="sde", metadata={"later": True})
    shown: int = field(default=0, metadata={"later": True})

    def __post_init__(self) -> None:
        _checked(self)
        numbers.count(self.shown, "shown", 0)
        if self.sampler not in ("sde", "ode"):
            raise ValueError(f"sampler = {self.sampler!r} is unknown; allowed: 'sde', 'ode'")
        if not isinstance(self.fleet.data, Images) or self.fleet.data.seed is not None:
            raise ValueError(f"data = {self.fleet.data!r}; allowed: Images, split by the seeds of the networks")

    @property
    def judge(self) -> Recogniser:
        """The classifier in whose features distances are measured, of the first seed's split."""
        return recogniser(self.fleet.data.name, self.fleet.seeds[0])

    def blank(self) -> dict[str, nn.Module]:
        """The distances before they are known."""
        seeds = len(self.fleet.seeds)
        none = torch.zeros(self.generations, len(self.fractions), seeds, dtype=torch.float64)
        dim = self.fleet.net.dim
        return {"generated": Table(none), "fresh": Table(none[0, 0])} | self._pictures(
            torch.zeros(self.generations, len(self.fractions), min(self.shown, self.points), dim))

    def _pictures(self, x: Tensor) -> dict[str, nn.Module]:
        """``x`` (generations, fractions, shown, d) as it is kept, if any is shown."""
        return {"pictures": Pictures(x)} if self.shown else {}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Train one generation after the other on ``device``, and measure what each generates."""
        splits = [image_split(self.fleet.data.name, seed) for seed in self.fleet.seeds]
        judge = kept(self.judge)
        references = [judge(held_out.x[: 2 * self.points]) for _, held_out in splits]
        generator = torch.Generator().manual_seed(self.seed + 11)

        def fresh(j: int, count: int) -> Tensor:
            pool = splits[j][0].x
            return pool[torch.randint(len(pool), (count,), generator=generator)]

        members = [(alpha, j) for alpha in self.fractions for j in range(len(splits))]
        before, found, pictures, log = None, [], [], {}
        for i in range(self.generations):
            seen = [self._seen(partial(fresh, j), alpha, None if before is None else before[k])
                    for k, (alpha, j) in enumerate(members)]
            before = self._generation(i, torch.stack(seen), device, log)
            found.append([frechet_distance(judge(before[k]), references[j]) for k, (_, j) in enumerate(members)])
            pictures.append(before[:: len(splits), : self.shown])
        shape = (self.generations, len(self.fractions), len(splits))
        real = [frechet_distance(judge(fresh(j, self.points)), references[j]) for j in range(len(splits))]
        generated, real = (torch.tensor(part, dtype=torch.float64) for part in (found, real))
        found_parts = {"generated": Table(generated.reshape(shape)), "fresh": Table(real)}
        return Trained(found_parts | self._pictures(torch.stack(pictures)), log)

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> ImageCourse:
        """The distances, float64 on the host."""
        none = torch.zeros(self.generations, len(self.fractions), 0, self.fleet.net.dim)
        pictures = networks["pictures"].x if self.shown else none
        return ImageCourse(networks["generated"].values.cpu(), networks["fresh"].values.cpu(), pictures)

    def _seen(self, fresh: Callable[[int], Tensor], alpha: float, before: Tensor | None) -> Tensor:
        """What a member is trained on: fresh images, and a share 1 - alpha of the last generation's."""
        if before is None:
            return fresh(self.points)
        count = round(alpha * self.points)
        return torch.cat([fresh(count), before[count:]])

    def _generation(self, i: int, seen: Tensor, device: torch.device | str, log: dict[str, Tensor]) -> Tensor:
        """Train generation i on images (members, points, d), and let it generate as many."""
        arm = _one_arm(self.fleet)
        made = _successors(self.fleet, seen, i, self.fractions).train(device)
        log.update(_logged(made, arm, i))
        setting = self.fleet.arms[arm]
        denoiser = Learned(made.networks[arm], setting.schedule, setting.target)
        start = prior(setting.schedule, seen.shape, self.seed + 17 + i).to(device)
        times = grid(setting.schedule, self.steps, kind="quadratic")
        # The number of rows is part of what a seed means: other products of matrices round otherwise
        if self.sampler == "ode":
            return ode(denoiser, start, times, method="euler", rows=500).cpu().clamp(-1, 1)
        return sde(denoiser, start, times, generator=self.seed + 29 + i, rows=500).cpu().clamp(-1, 1)
