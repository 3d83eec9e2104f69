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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .denoiser import Denoiser, home_of
from .law import GaussianMixture, _generator
from .schedule import Constant

__all__ = [
    "Cells", "Course", "Generation", "chi2", "coherent_sum", "discounted_sum", "error_model", "fit_mixture",
    "gaussian_chi2", "gaussian_kl", "kernel_model", "kl", "limit_ratio", "mixture_model", "recurse", "smoothed",
    "smoothed_variance",
]  # fmt: skip


def _fraction(alpha: float | Tensor, name: str = "alpha") -> Tensor:
    alpha = torch.as_tensor(alpha, dtype=torch.float64)
    if not bool(((alpha >= 0) & (alpha <= 1)).all()):
        raise ValueError(f"{name} = {alpha.tolist()}; allowed: fractions in [0, 1]")
    return alpha


def _count(name: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} = {value!r}; allowed: integers >= {least}")
    return value


def _masses(**laws: Tensor) -> list[Tensor]:
    """Checked float64 masses that sum to 1 along the last axis."""
    for name, law in laws.items():
        if not isinstance(law, Tensor) or not law.is_floating_point() or law.ndim < 1:
            raise TypeError(f"{name} = {law!r}; allowed: a floating-point tensor of masses (..., cells)")
        if not bool((law >= 0).all()) or not bool(((law.sum(-1) - 1).abs() < 1e-6).all()):
            raise ValueError(f"{name} has the minimum {law.min():g} and sums {law.sum(-1).flatten()[:3].tolist()}; "
                             "allowed: masses >= 0 that sum to 1")
    return [law.double() for law in laws.values()]


def chi2(p: Tensor, q: Tensor) -> Tensor:
    """chi^2(p || q) = sum (p - q)^2/q of masses (..., cells); inf where p has mass and q has none.

    Raises:
        ValueError: for negative masses, or sums other than 1.

    >>> chi2(torch.tensor([0.6, 0.4]), torch.tensor([0.5, 0.5]))
    tensor(0.0400, dtype=torch.float64)
    """
    p, q = _masses(p=p, q=q)
    return torch.where(p == q, 0.0, (p - q) ** 2 / q).sum(-1)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) = sum p log(p/q) of masses (..., cells), in nats. Raises as :func:`chi2`."""
    p, q = _masses(p=p, q=q)
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum(-1).clamp(min=0)


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


class Cells:
    """The line cut into cells, and the Ornstein-Uhlenbeck process on it as a finite Markov chain.

    dX = -X/2 dt + dB from t = 0 to ``end``; a step from t to t + h is N(e^{-h/2} x, 1 - e^{-h}) at the cells' centres,
    normalised. The schedule in [0, 1] is :class:`diffnotes.schedule.Constant` of rate ``end``. All is computed on the
    host, in float64, from masses and errors of any device.

    Args:
        half_width: the cells cover [-half_width, half_width].
        cells: their number, at least 16.
        steps: steps of the chain, at least 2, uniform in the log-SNR after the first.
        first: sigma after the first step; not less than a cell.
        end: the last time.

    Raises:
        ValueError: for numbers out of range.
    """

    def __init__(self, half_width: float = 6.0, cells: int = 161, steps: int = 40, first: float = 0.12,
                 end: float = 5.0) -> None:
        _count("cells", cells, 16), _count("steps", steps, 2)
        for name, value in dict(half_width=half_width, first=first, end=end).items():
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} = {value}; allowed: numbers > 0")
        self.width = 2 * half_width / cells
        self.end, last = float(end), math.sqrt(-math.expm1(-end))
        if not self.width <= first < last:
            raise ValueError(f"first = {first}; allowed: from the width of a cell, {self.width:.3g}, to {last:.3g}")
        self.x = (torch.arange(cells, dtype=torch.float64) + 0.5) * self.width - half_width
        ends = (math.log(first**2 / (1 - first**2)), math.log(math.expm1(end)))
        inner = torch.log1p(torch.linspace(*ends, steps, dtype=torch.float64).exp())  # e^t - 1 = 1/SNR
        self.times = torch.cat([torch.zeros(1, dtype=torch.float64), inner])
        h = self.times.diff()[:, None, None]
        log_kernel = -0.5 * (self.x - torch.exp(-h / 2) * self.x[:, None]) ** 2 / -torch.expm1(-h)
        self._log_kernel = log_kernel - log_kernel.logsumexp(-1, keepdim=True)
        self._kernel = self._log_kernel.exp()  # (steps, from, to)

    @property
    def steps(self) -> int:
        """Steps of the chain."""
        return len(self.times) - 1

    @property
    def schedule(self) -> Constant:
        """The same process on [0, 1]."""
        return Constant(self.end)

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
        (q,) = _masses(q=q)
        found = [q.cpu()]
        for kernel in self._kernel:
            found.append(found[-1] @ kernel)
        return torch.stack(found)

    def draw(self, q: Tensor, n: int, generator: torch.Generator | int) -> Tensor:
        """n samples of each row of masses q (members, cells), spread evenly over their cells: (members, n)."""
        (q,) = _masses(q=q)
        generator = _generator(generator, torch.device("cpu"))
        index = torch.multinomial(q.cpu(), _count("n", n), replacement=True, generator=generator)
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
        q, x, error = path[0], self.x, error.double().cpu().expand(len(q), -1, -1)
        law, observed = path[-1], torch.zeros_like(path[-1])
        energy = path_kl = torch.zeros(len(q), dtype=torch.float64)
        for k in range(self.steps - 1, -1, -1):
            q0, q1, e, kernel = path[k], path[k + 1], error[:, k], self._kernel[k]
            mean = (q0 * x) @ kernel / q1
            variance = ((q0 * x**2) @ kernel / q1 - mean**2).clamp(min=0)
            energy = energy + (q1 * e**2 * variance).sum(-1)
            observed = (observed - e * mean) @ kernel.T + x * (e @ kernel.T)
            # tilted[b, y, x] = K(y -> x) exp(e(x) y - top(x)): with q0, the tilted reverse kernel up to its sum z
            exponent = torch.addcmul(self._log_kernel[k], e[:, None], x[:, None])
            top = exponent.amax(1, keepdim=True)
            tilted = exponent.sub_(top).exp_()
            z, moved = torch.bmm(torch.stack([q0, q0 * x], 1), tilted).unbind(1)
            log_z = z.log() + top[:, 0] - e * mean - q1.log()
            path_kl = path_kl + (law * (e * (moved / z - mean) - log_z)).sum(-1)
            law = q0 * torch.bmm(tilted, (law / z)[..., None])[..., 0]
            law = law / law.sum(-1, keepdim=True)
        spread = (q * observed**2).sum(-1) - (q * observed).sum(-1) ** 2
        return Generation(law, energy, path_kl.clamp(min=0), torch.where(energy > 0, spread / energy, 0.0))

    def fields(self, members: int, generator: torch.Generator | int, waves: int = 6, length: float = 0.7) -> Tensor:
        """Smooth random score errors (members, steps, cells), of size 1 or so, that do not depend on the law.

        Sums of ``waves`` cosines in x with normal frequencies of scale 1/``length``, each with an amplitude that goes
        through at most one period over the steps.
        """
        _count("members", members), _count("waves", waves)
        generator = _generator(generator, torch.device("cpu"))
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

    @property
    def discounted(self) -> Tensor:
        """The discounted sum of the steps J, which D equals where the cross terms vanish."""
        return discounted_sum(self.step, self.alpha)

    @property
    def coherent(self) -> Tensor:
        """The coherent sum of the steps J, an upper bound of D."""
        return coherent_sum(self.step, self.alpha)


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
    (data,), alpha = _masses(data=data), _fraction(alpha)
    if data.ndim != 1 or alpha.ndim != 1 or not bool((data > 0).all()):
        raise ValueError(f"data {tuple(data.shape)}, alpha {tuple(alpha.shape)}; allowed: (cells,) > 0 and (members,)")
    before, rows, laws = data.expand(len(alpha), -1), [], []
    missing = torch.full((len(alpha),), math.nan, dtype=torch.float64)
    for i in range(_count("generations", generations)):
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


# --- closed forms -----------------------------------------------------------------------------------------------------


def gaussian_chi2(mean: float | Tensor, variance: float | Tensor) -> Tensor:
    """chi^2(N(mean, variance) || N(0, 1)) = exp(mean^2/(2 - v))/sqrt(v (2 - v)) - 1; inf for v >= 2.

    >>> float(gaussian_chi2(0.0, 2.0))
    inf
    """
    mean, v = (torch.as_tensor(part, dtype=torch.float64) for part in (mean, variance))
    if not bool((v > 0).all()):
        raise ValueError(f"variance has the minimum {v.min():g}; allowed: numbers > 0")
    left = (2 - v).clamp(min=0)
    return torch.where(v < 2, torch.exp(mean**2 / left) / (v * left).sqrt() - 1, math.inf)


def gaussian_kl(mean: float | Tensor, variance: float | Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) = (v - 1 - log v + mean^2)/2, in nats."""
    mean, v = (torch.as_tensor(part, dtype=torch.float64) for part in (mean, variance))
    if not bool((v > 0).all()):
        raise ValueError(f"variance has the minimum {v.min():g}; allowed: numbers > 0")
    return (v - 1 - v.log() + mean**2) / 2


def smoothed(law: GaussianMixture, alpha: float, generations: int, level: tuple[float, float]) -> list[GaussianMixture]:
    """The recursion of perfect scores that stop at the noise ``level`` = (a, s), exactly: p_{i+1} = law of a X + s eps.

    X has the law q_i, so p_N = sum_{k < N} alpha (1 - alpha)^{k-1} S^k p + (1 - alpha)^{N-1} S^N p with S one
    smoothing. (1, h) is the population limit of a kernel density estimate of bandwidth h.

    Returns:
        p_1, ..., p_N.
    """
    alpha = float(_fraction(alpha))
    _count("generations", generations)
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
    rounds = _count("generations", generations) if alpha == 0 else (1 - (1 - alpha) ** generations) / alpha
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
    _count("n", n)
    if not width >= cells.width:
        raise ValueError(f"width = {width}; allowed: from the width of a cell, {cells.width:.3g}")
    generator = _generator(generator, torch.device("cpu"))
    kernel = torch.softmax(-0.5 * ((cells.x - cells.x[:, None]) / width) ** 2, -1)

    def model(i: int, q: Tensor) -> Tensor:
        index = torch.multinomial(q, n, replacement=True, generator=generator)
        counts = torch.zeros_like(q).scatter_add_(1, index, torch.ones(index.shape, dtype=torch.float64))
        return counts / n @ kernel

    return model


def mixture_model(cells: Cells, start: GaussianMixture, n: int, generator: torch.Generator | int
                  ) -> Callable[[int, Tensor], Tensor]:
    """A model for :func:`recurse`: a mixture fitted by EM to n samples of q, from ``start`` in every generation."""
    _count("n", n)
    generator = _generator(generator, torch.device("cpu"))

    def model(i: int, q: Tensor) -> Tensor:
        return torch.stack([cells.masses(fit_mixture(row, start)) for row in cells.draw(q, n, generator)])

    return model


def error_model(cells: Cells, energy: float | Sequence[float], error: Callable[[int, Tensor], Tensor]
                ) -> Callable[[int, Tensor], Generation]:
    """A model for :func:`recurse` with the exact score of q plus error(i, q), scaled to the energy eps*^2.

    Args:
        cells: the chain.
        energy: one for all generations, or one a generation.
        error: (i, q) -> (members, steps, cells) or (steps, cells), of any size but 0.
    """

    def model(i: int, q: Tensor) -> Generation:
        size = energy[i] if isinstance(energy, Sequence) else energy
        return cells.generate(q, cells.scaled(q, error(i, q), size))

    return model
