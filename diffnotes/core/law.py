r"""Laws of the data whose noised versions are known in closed form: the ground truth of every experiment.

For x_t = alpha x_0 + sigma eps with eps ~ N(0, I), a :class:`Law` answers three questions at any noise level:

    log_prob_at     log p_t(x)
    score_at        grad log p_t(x)
    posterior_mean  E[x_0 | x_t = x], which by Tweedie's formula is (x + sigma^2 score)/alpha.

The last two are computed separately, each in the form that does not cancel, so that the posterior mean stays right
for alpha -> 0 and the score for sigma -> 0.

A mixture of Gaussians sum_k w_k N(mu_k, s_k^2 I) stays one: the components become N(alpha mu_k, v_k I) with
v_k = alpha^2 s_k^2 + sigma^2, and with r_k the posterior weights of the components at x

    score = sum_k r_k (alpha mu_k - x)/v_k,      E[x_0 | x] = sum_k r_k (sigma^2 mu_k + alpha s_k^2 x)/v_k.

Points are the mixture with s_k = 0 (:class:`Empirical`); boxes (:class:`Boxes`) replace the Gaussians by uniform laws.

References: Robbins 1956, Efron 2011 (Tweedie's formula); Karras et al. 2022, appendix B.3 (the ideal denoiser of
a data set).
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .generators import generator_of
from .numbers import count, floating, floats, number, positive, samples, tensor, working
from .shape import expand_like

__all__ = [
    "Boxes", "Empirical", "GaussianMixture", "Law", "chessboard", "moons", "on_line", "ring", "spiral",
    "standardised", "two_modes",
]  # fmt: skip

BLOCK = 2**20  # numbers in one temporary: rows of x are taken in blocks, so that memory stays bounded
LOG_2PI = math.log(2 * math.pi)


def _double(value, name: str) -> Tensor:
    """``value`` as a finite float64 tensor."""
    value = floats(value, name, torch.float64)
    if not bool(value.isfinite().all()):
        raise ValueError(f"{name} has non-finite entries; allowed: finite numbers")
    return value


def _dtype_of(value) -> torch.dtype:
    """float64 for float64 arrays of either byte order, else float32."""
    dtype = getattr(value, "dtype", None)
    double = dtype.newbyteorder("=") == np.float64 if isinstance(dtype, np.dtype) else dtype == torch.float64
    return torch.float64 if double else torch.float32


class Law(ABC):
    """A law on R^d (or on images) with exact scores at every noise level.

    Samples x have the shape (..., *``shape``): (n, d), (n, c, h, w), or an ensemble (members, n, d). For d = 1 a tensor
    with a single axis is taken as n points. ``alpha`` and ``sigma`` are numbers or tensors of the leading axes of x.
    Results have the dtype and device of x, wherever the law itself is: its tensors follow x, and a copy is kept on each
    device that samples came from. Parameters are kept in float64, so that float64 input gives float64 accuracy whatever
    the ``dtype`` of the samples.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    _pointlike = False  # whether some part of the law has no density, so that sigma = 0 is not allowed
    _width: int  # numbers per row of x in the largest temporary

    @property
    def dim(self) -> int:
        """The number of coordinates d."""
        return math.prod(self.shape)

    @abstractmethod
    def _draw(self, n: int, generator: torch.Generator) -> Tensor: ...

    # Kernels on rows: x (n, d); alpha and sigma (n, 1) or (1, 1).
    @abstractmethod
    def _log_prob(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor: ...
    @abstractmethod
    def _score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor: ...
    @abstractmethod
    def _mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor: ...
    @abstractmethod
    def _variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor: ...

    def _both(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Columns: the logarithm of the density, and the score."""
        return torch.cat([self._log_prob(x, alpha, sigma)[:, None], self._score(x, alpha, sigma)], 1)

    def on(self, device: torch.device) -> Law:
        """This law with its tensors on ``device``, where samples are: copied there the first time, and kept."""
        if device == self.device:
            return self
        kept = self.__dict__.setdefault("_elsewhere", {})
        if device not in kept:
            twin = copy.copy(self)
            for name, value in vars(self).items():
                if isinstance(value, Tensor):
                    setattr(twin, name, value.to(device))
            twin.device = device
            kept[device] = twin
        return kept[device]

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_elsewhere"}

    def _rows(self, kernel: str, x: Tensor, alpha, sigma, vector: bool) -> Tensor:
        """Lay x out as rows, check the input, and run ``kernel`` block by block on the device of x."""
        x = samples(x, "x")
        work = working(x.dtype)
        line = self.shape == (1,) and x.ndim <= 1
        points = x.unsqueeze(-1) if line else x
        lead = points.shape[: max(points.ndim - len(self.shape), 0)]
        if points.shape[len(lead) :] != self.shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; allowed: (..., {', '.join(map(str, self.shape))})")
        levels, zero, extreme = [], True, False
        for level, name in ((alpha, "alpha"), (sigma, "sigma")):
            given = tensor(level, name).to(work)
            level = expand_like(given, points, name, work)
            if level.shape[len(lead) :].numel() != 1:
                raise ValueError(f"{name} has shape {tuple(level.shape)}; allowed: the leading axes {tuple(lead)} of x")
            # Levels on a GPU are not looked at: each look would be a host sync in every step of a sampler.
            none = False
            if given.device.type == "cpu" and given.numel():
                low, high = (float(end) for end in torch.aminmax(given.detach()))
                if not (low >= 0 and high < math.inf):
                    raise ValueError(f"{name} has the minimum {low:g}; allowed: finite numbers >= 0")
                none = low == 0
                extreme = extreme or (name == "sigma" and (high > 1e15 or 0 < low < 1e-15))
            if none and self._pointlike and name == "sigma":
                raise ValueError("sigma has the minimum 0; allowed: numbers > 0 where the law itself has no smooth "
                                 "density")
            zero = zero and none
            levels.append(level.reshape(1, 1) if level.numel() == 1 else
                          level.reshape(level.shape[: len(lead)]).expand(lead).reshape(-1, 1))
        if zero and not bool((levels[0] + levels[1] > 0).all()):
            raise ValueError("alpha and sigma are both 0; allowed: at most one of them")
        if extreme and work == torch.float32:  # whose squares float32 does not hold
            return self._rows(kernel, x.double(), alpha, sigma, vector).to(x.dtype)
        run = getattr(self.on(x.device), kernel)
        rows, step = points.to(work).reshape(-1, self.dim), max(1, BLOCK // self._width)
        blocks = [run(rows[i : i + step], *(v if len(v) == 1 else v[i : i + step] for v in levels)).to(x.dtype)
                  for i in range(0, max(len(rows), 1), step)]
        values = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
        return values.reshape((*lead, -1) if kernel == "_both" else x.shape if vector else lead)

    def sample(self, n: int, generator: torch.Generator | int) -> Tensor:
        """Draw ``n`` samples, (n, *shape), with a generator or a seed. Raises ValueError for n < 1."""
        return self._draw(count(n, "n", 1), generator_of(generator, self.device)).to(self.device, self.dtype)

    def log_prob_at(self, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """log p_t(x_t), in nats, of the shape of the leading axes of x_t."""
        return self._rows("_log_prob", x_t, alpha, sigma, vector=False)

    def score_at(self, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """grad log p_t(x_t), of the shape of x_t."""
        return self._rows("_score", x_t, alpha, sigma, vector=True)

    def log_prob_and_score_at(
        self, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor
    ) -> tuple[Tensor, Tensor]:
        """:meth:`log_prob_at` and :meth:`score_at`, with what they share done once."""
        x_t = samples(x_t, "x")
        both = self._rows("_both", x_t, alpha, sigma, vector=True)
        return both[..., 0], both[..., 1:].reshape(x_t.shape)

    def posterior_mean(self, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """E[x_0 | x_t], of the shape of x_t."""
        return self._rows("_mean", x_t, alpha, sigma, vector=True)

    def posterior_variance(self, x_t: Tensor, alpha: float | Tensor, sigma: float | Tensor) -> Tensor:
        """Mean variance of a coordinate, tr Cov(x_0 | x_t)/d, of the shape of the leading axes of x_t.

        Its mean over x_t is the least mean square error per coordinate that a prediction of x_0 can have.
        """
        return self._rows("_variance", x_t, alpha, sigma, vector=False)


class GaussianMixture(Law):
    """sum_k w_k N(mu_k, s_k^2 I): exact density, score and posterior, closed under noising.

    Args:
        means: (k, d); for d = 1 also (k,) or a list. float64 arrays make a float64 law, anything else float32.
        std: s >= 0, a number or (k,); s = 0 is a point.
        weights: (k,) relative weights >= 0, normalised here; equal by default.

    Raises:
        ValueError: if shapes do not fit, std or weights are negative, the weights are all 0, or anything is not finite.

    >>> law = GaussianMixture([-1.0, 1.0], std=0.2)
    >>> law.noised(0.8, 0.6).std
    tensor([0.6210, 0.6210])
    """

    def __init__(self, means, std, weights=None) -> None:
        mu = _double(means, "means")
        mu = mu.reshape(-1, 1) if mu.ndim < 2 else mu
        if mu.ndim != 2 or not mu.numel():
            raise ValueError(f"means has shape {tuple(mu.shape)}; allowed: (k, d) or, for d = 1, (k,)")
        s = _double(std, "std").to(mu.device)
        w = torch.ones_like(mu[:, 0]) if weights is None else _double(weights, "weights").to(mu.device)
        if not max(float(mu.abs().max()), float(s.max()) if s.numel() else 0.0) < 1e150:
            raise ValueError(f"means = {means!r}, std = {std!r}; allowed: numbers whose squares are finite")
        if s.ndim > 1 or s.numel() not in (1, len(mu)) or (s < 0).any():
            raise ValueError(f"std = {std!r}; allowed: a number >= 0, or {len(mu)} of them")
        if w.shape != mu.shape[:1] or (w < 0).any() or not w.sum() > 0:
            raise ValueError(f"weights = {weights!r}; allowed: {len(mu)} numbers >= 0, not all 0")
        self._set(mu, s.expand(len(mu)), w / w.sum(), _dtype_of(means))

    @property
    def has_points(self) -> bool:
        """Whether a component has std 0, so that the law has no density: the parameter, not its rounding to dtype."""
        return self._pointlike

    def _set(self, mu: Tensor, s: Tensor, w: Tensor, dtype: torch.dtype) -> None:
        self._mu, self._s, self._w = mu, s, w
        self.means, self.std, self.weights = mu.to(dtype), s.to(dtype), w.to(dtype)
        self.dtype, self.device, self.shape = dtype, mu.device, (mu.shape[1],)
        self._width, self._pointlike = mu.numel(), bool((s == 0).any())

    def _like(self, mu: Tensor, s: Tensor) -> GaussianMixture:
        law = object.__new__(GaussianMixture)
        law._set(mu, s, self._w, self.dtype)
        return law

    def __repr__(self) -> str:
        return f"GaussianMixture({len(self._mu)} components, dim={self.dim}, {self.dtype}, {self.device})"

    def to(self, device=None, dtype: torch.dtype | None = None) -> GaussianMixture:
        """The same law on another device, or with samples of another floating dtype."""
        law = object.__new__(GaussianMixture)
        law._set(*(p.to(device or self.device) for p in (self._mu, self._s, self._w)), floating(dtype or self.dtype))
        return law

    def noised(self, alpha: float, sigma: float) -> GaussianMixture:
        """The law of alpha x_0 + sigma eps for two numbers, alpha of any sign and sigma >= 0."""
        alpha, sigma = float(_double(alpha, "alpha")), float(_double(sigma, "sigma"))
        if sigma < 0:
            raise ValueError(f"sigma = {sigma:g}; allowed: numbers >= 0")
        return self._like(alpha * self._mu, torch.hypot(alpha * self._s, torch.full_like(self._s, sigma)))

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        where = generator.device
        k = torch.multinomial(self._w.to(where), n, replacement=True, generator=generator)
        work = working(self.dtype)
        noise = torch.randn(n, self.dim, generator=generator, device=where, dtype=work)
        means, std = (self.means, self.std) if work == self.dtype else (self._mu, self._s)
        return means.to(where)[k] + std.to(where)[k, None] * noise

    def _parts(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """v_k (k, n or 1), and log w_k N(x; alpha mu_k, v_k I) without the 2 pi (k, n).

        Components come first, and squares are added up one coordinate after the other: with few components or few
        coordinates that is several times faster than sums over the last axes, and as exact.
        """
        mu, s, w = (p.to(x.dtype) for p in (self._mu, self._s, self._w))
        v = alpha.T**2 * s[:, None] ** 2 + sigma.T**2
        squares = sum((x[:, j] - alpha.T * mu[:, j, None]).square() for j in range(self.dim))
        return v, squares.div_(v).add_(self.dim * v.log()).mul_(-0.5).add_(w.log()[:, None])

    def _level(self, logits: Tensor) -> Tensor:
        """The logarithm of the density, of the logits of :meth:`_parts`."""
        return logits.logsumexp(0) - 0.5 * self.dim * LOG_2PI

    def _slope(self, x: Tensor, alpha: Tensor, v: Tensor, logits: Tensor) -> Tensor:
        """sum_k r_k (alpha mu_k - x)/v_k, with the shares r_k that the logits of :meth:`_parts` give."""
        r = logits.softmax(0) / v
        return alpha * (r.T @ self._mu.to(x.dtype)) - r.sum(0)[:, None] * x

    def _log_prob(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self._level(self._parts(x, alpha, sigma)[1])

    def _score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self._slope(x, alpha, *self._parts(x, alpha, sigma))

    def _both(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        v, logits = self._parts(x, alpha, sigma)
        return torch.cat([self._level(logits)[:, None], self._slope(x, alpha, v, logits)], 1)

    def _mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        v, logits = self._parts(x, alpha, sigma)
        r = (logits.softmax(0) / v).T
        return sigma**2 * (r @ self._mu.to(x.dtype)) + alpha * (r @ self._s.to(x.dtype)[:, None] ** 2) * x

    def _variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        v, logits = self._parts(x, alpha, sigma)
        r, v, s2, mu = logits.softmax(0).T, v.T, self._s.to(x.dtype) ** 2, self._mu.to(x.dtype)
        within = (r * s2 * sigma**2 / v).sum(-1)
        centre = mu + (alpha * s2 / v)[..., None] * (x[:, None] - alpha[..., None] * mu)  # E[x_0 | x, component]
        spread = centre - torch.einsum("nk,nkd->nd", r, centre)[:, None]
        return within + torch.einsum("nk,nkd,nkd->n", r, spread, spread) / self.dim

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x), in nats: (n,) for x (n, d)."""
        return self.log_prob_at(x, 1.0, 0.0)

    def score(self, x: Tensor) -> Tensor:
        """grad log p(x), of the shape of x."""
        return self.score_at(x, 1.0, 0.0)

    @property
    def mean(self) -> Tensor:
        """E[x], (d,)."""
        return (self._w @ self._mu).to(self.dtype)

    @property
    def covariance(self) -> Tensor:
        """Cov[x], (d, d)."""
        centred = self._mu - self._w @ self._mu
        within = (self._w @ self._s**2) * torch.eye(self.dim, dtype=torch.float64, device=self.device)
        return (within + (self._w[:, None] * centred).T @ centred).to(self.dtype)

    def _line(self, value: Tensor, name: str) -> Tensor:
        if self.dim != 1 or self._pointlike:
            raise ValueError(f"{name} of {self!r}; allowed: laws on the line with std > 0")
        return value.to(torch.float64).unsqueeze(-1)

    def _cdf(self, x: Tensor) -> Tensor:
        return torch.special.ndtr((x - self._mu[:, 0]) / self._s) @ self._w

    def cdf(self, x: Tensor) -> Tensor:
        """P(X <= x) in one dimension, elementwise, computed in float64. Raises ValueError for d > 1 or std = 0."""
        x = samples(x, "x")
        points = self._line(x, "cdf")
        return self.on(x.device)._cdf(points).to(x.dtype)

    def quantile(self, u: Tensor) -> Tensor:
        """The inverse of :meth:`cdf` for u in [0, 1], elementwise: bisection down to float64 spacing.

        The quantiles of the components bracket that of the mixture.
        """
        u = samples(u, "u")
        levels = self._line(u, "quantile")
        if not bool(((levels >= 0) & (levels <= 1)).all()):
            raise ValueError(f"u has entries outside [0, 1]: {u}")
        law = self.on(u.device)
        ends = law._mu[:, 0] + law._s * torch.special.ndtri(levels)
        low, high, levels = ends.amin(-1), ends.amax(-1), levels.squeeze(-1)
        for _ in range(64):
            middle = (low + high) / 2
            above = law._cdf(middle.unsqueeze(-1)) >= levels
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return ((low + high) / 2).to(u.dtype)


class Empirical(Law):
    """The law that puts mass 1/k on each of k data points: what a network would learn that only memorised them.

    Args:
        points: (k, d), or images (k, c, h, w). float64 arrays make a float64 law, anything else float32.

    Sums over the points are matrix products in float64 of centred points, in blocks: memory stays below 256 MiB beyond
    the points themselves. Squared distances carry a rounding error of about 1e-16 |x|^2.

    Raises:
        ValueError: for fewer than one point or non-finite ones.
    """

    _pointlike = True

    def __init__(self, points) -> None:
        values = tensor(points, "points")
        if values.ndim < 2 or not values.numel():
            raise ValueError(f"points has shape {tuple(values.shape)}; allowed: (k, d) or (k, c, h, w) with k >= 1")
        self.dtype, self.device, self.shape = _dtype_of(points), values.device, tuple(values.shape[1:])
        self.points, self._width = values.to(self.dtype), max(1, len(values) // 4)
        self._flat, self._chunk = self.points.flatten(1), max(1, BLOCK // self.dim)
        self._centre = sum(part.sum(0, dtype=torch.float64) for part in self._flat.split(self._chunk)) / len(values)
        self._norms = torch.empty(len(values), dtype=torch.float64, device=values.device)
        for norms, part in zip(self._norms.split(self._chunk), self._centred()):
            norms.copy_(part.square().sum(1))  # into one tensor: small results between large ones fragment the heap
        if not bool(self._norms.isfinite().all()):
            raise ValueError("points has non-finite entries; allowed: finite numbers")

    def __repr__(self) -> str:
        return f"Empirical({len(self.points)} points of shape {self.shape}, {self.dtype}, {self.device})"

    def noised(self, alpha: float, sigma: float) -> GaussianMixture:
        """The law of alpha x_0 + sigma eps, a mixture over the flattened points."""
        return GaussianMixture(self._flat, 0.0).noised(alpha, sigma)

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        k = torch.randint(len(self.points), (n,), generator=generator, device=generator.device)
        return self.points[k.to(self.device)]

    def _centred(self) -> Iterator[Tensor]:
        """Chunks of the points in float64, moved to mean 0."""
        return (part - self._centre for part in self._flat.split(self._chunk))

    def _logits(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x - alpha centre, alpha, sigma in float64, and -|x - alpha p_k|^2/(2 sigma^2) up to a constant (n, k)."""
        x, alpha, sigma = (value.to(torch.float64) for value in (x, alpha, sigma))
        x = x - alpha * self._centre
        logits = x.new_empty(len(x), len(self._flat))
        for i, part in enumerate(self._centred()):
            block = slice(i * self._chunk, (i + 1) * self._chunk)
            logits[:, block] = alpha * (x @ part.T - 0.5 * alpha * self._norms[block]) / sigma**2
        return x, alpha, sigma, logits

    def _offset(self, weights: Tensor) -> Tensor:
        """sum_k weights_k (p_k - centre)."""
        return sum(r @ part for r, part in zip(weights.split(self._chunk, 1), self._centred()))

    def _log_prob(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        x, _, sigma, logits = self._logits(x, alpha, sigma)
        return self._level(x, sigma, logits)

    def _level(self, x: Tensor, sigma: Tensor, logits: Tensor) -> Tensor:
        """The logarithm of the density, of what :meth:`_logits` gives."""
        constant = math.log(len(self.points)) + self.dim * (sigma.log() + 0.5 * LOG_2PI).squeeze(1)
        return logits.logsumexp(-1) - 0.5 * (x / sigma).square().sum(-1) - constant

    def _score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        x, alpha, sigma, logits = self._logits(x, alpha, sigma)
        return (alpha * self._offset(logits.softmax(-1)) - x) / sigma**2

    def _both(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        x, alpha, sigma, logits = self._logits(x, alpha, sigma)
        log_prob = self._level(x, sigma, logits)[:, None]
        return torch.cat([log_prob, (alpha * self._offset(logits.softmax(-1)) - x) / sigma**2], 1)

    def _mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self._centre + self._offset(self._logits(x, alpha, sigma)[-1].softmax(-1))

    def _variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        r = self._logits(x, alpha, sigma)[-1].softmax(-1)
        return ((r @ self._norms) - self._offset(r).square().sum(-1)).clamp(min=0) / self.dim


class Boxes(Law):
    r"""The uniform law on k cubes of side 2h with the given centres, in equal parts.

    A cube is a product of intervals, so all follows from one interval. In the units z = (x - alpha c)/sigma and
    b = alpha h/sigma, x_0 = c + h g with g in [-1, 1] of density proportional to exp(-(b g - z)^2/2). Differences of
    normal distribution functions cancel where b is small or |z| large; here the integral is done by Gauss-Legendre on
    that part of [-1, 1] where the integrand is above e^-40 of its maximum: float64 accuracy everywhere, in one formula.

    Args:
        centres: (k, d). float64 arrays make a float64 law, anything else float32.
        half: the half side h > 0.
    """

    _pointlike = True

    def __init__(self, centres, half: float) -> None:
        values = _double(centres, "centres")
        if values.ndim != 2 or not values.numel():
            raise ValueError(f"centres has shape {tuple(values.shape)}; allowed: (k, d)")
        half = number(half, "half")
        if not (math.isfinite(half) and half > 0):
            raise ValueError(f"half = {half!r}; allowed: numbers > 0")
        self.dtype, self.device, self.shape = _dtype_of(centres), values.device, (values.shape[1],)
        self.centres, self.half, self._c = values.to(self.dtype), float(half), values
        self._levels, self._index = values.unique(return_inverse=True)  # each interval is computed once
        nodes, weights = np.polynomial.legendre.leggauss(48)
        self._nodes, self._weights = (torch.as_tensor(v, device=values.device) for v in (nodes, weights / 2))
        self._width = self.dim * max(len(self._levels) * len(nodes), len(values))

    def __repr__(self) -> str:
        return f"Boxes({len(self._c)} boxes of side {2 * self.half:g}, dim={self.dim}, {self.dtype}, {self.device})"

    def to(self, device=None, dtype: torch.dtype | None = None) -> Boxes:
        """The same law on another device, or with samples of another floating dtype."""
        law = Boxes(self._c.to(device or self.device), self.half)
        law.dtype = floating(dtype or self.dtype)
        law.centres = law._c.to(law.dtype)
        return law

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        where = generator.device
        k = torch.randint(len(self._c), (n,), generator=generator, device=where)
        work = working(self.dtype)
        g = 2 * torch.rand(n, self.dim, generator=generator, device=where, dtype=work) - 1
        return (self.centres if work == self.dtype else self._c).to(where)[k] + self.half * g

    def _intervals(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        """For each box and coordinate (n, k, d): log density, score, E[x_0|x] and Var[x_0|x]; and the box weights."""
        x, alpha, sigma = (value.to(torch.float64)[..., None] for value in (x, alpha, sigma))
        z = (x - alpha * self._levels) / sigma
        b = (alpha * self.half / sigma).clamp(min=1e-150)  # keeps alpha = 0 in the same formula
        nearest = z.clamp(-b, b)
        r = nearest - z
        reach = 80 / ((r**2 + 80).sqrt() + r.abs())  # the integrand exp(-u^2/2 - u r) falls below e^-40 beyond it
        low, high = torch.maximum(-b - nearest, -reach), torch.minimum(b - nearest, reach)
        u = low[..., None] + (high - low)[..., None] * (self._nodes + 1) / 2
        weight = self._weights * torch.exp(-u * (u / 2 + r[..., None]))
        total = weight.sum(-1)
        shift = (weight * u).sum(-1) / total
        variance = (weight * (u - shift[..., None]) ** 2).sum(-1) / total
        log_density = (total * (high - low) / (2 * b)).log() - 0.5 * r**2 - sigma.log() - 0.5 * LOG_2PI
        mean = self._levels + self.half * ((nearest + shift) / b)
        columns = torch.arange(self.dim, device=x.device)
        log_density, score, mean, variance = (
            v.expand(z.shape)[:, columns, self._index]
            for v in (log_density, (r + shift) / sigma, mean, self.half**2 * variance / b**2)
        )
        return log_density, score, mean, variance, log_density.sum(-1).softmax(-1)[..., None]

    def _log_prob(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return self._intervals(x, alpha, sigma)[0].sum(-1).logsumexp(-1) - math.log(len(self._c))

    def _score(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        _, score, _, _, r = self._intervals(x, alpha, sigma)
        return (r * score).sum(1)

    def _mean(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        _, _, mean, _, r = self._intervals(x, alpha, sigma)
        return (r * mean).sum(1)

    def _variance(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        _, _, mean, variance, r = self._intervals(x, alpha, sigma)
        return (r * (variance + (mean - (r * mean).sum(1, keepdim=True)) ** 2)).sum(1).mean(-1)


def standardised(law: GaussianMixture) -> GaussianMixture:
    """``law`` moved to mean 0 and scaled to unit mean variance per coordinate (one scale, so shapes are kept).

    Raises:
        ValueError: for a law of variance 0.
    """
    centred = law._mu - law._w @ law._mu
    variance = float(law._w @ (law._s**2 + centred.square().mean(1)))
    if not variance > 0:
        raise ValueError(f"law = {law!r} has variance 0; allowed: laws of positive variance")
    return law._like(centred, law._s).noised(variance**-0.5, 0.0)


def _along(curves: Sequence[np.ndarray], std: float) -> GaussianMixture:
    """Equal components on polylines (m, 2), at most one std apart in arc length.

    At that distance the density along a straight line is constant to 2 exp(-2 pi^2), about 5e-9.
    """
    means = []
    for curve in curves:
        length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
        parts = math.ceil(length[-1] / std)
        places = (np.arange(parts) + 0.5) / parts * length[-1]
        means.append(np.stack([np.interp(places, length, axis) for axis in curve.T], 1))
    return GaussianMixture(torch.from_numpy(np.concatenate(means)), std).to(dtype=torch.float32)


def two_modes(separation: float = 1.0, std: float = 0.2) -> GaussianMixture:
    """1/2 N(-separation, std^2) + 1/2 N(separation, std^2) on the line."""
    return GaussianMixture([-separation, separation], std)


def ring(radius: float = 1.0, std: float = 0.1, components: int | None = None) -> GaussianMixture:
    """Gaussians equally spaced on a circle; without ``components`` so close that they form a smooth ring."""
    radius, std = positive(radius=radius, std=std)
    k = math.ceil(2 * math.pi * radius / std) if components is None else count(components, "components", 1)
    angle = 2 * math.pi * torch.arange(k, dtype=torch.float64) / k
    return GaussianMixture(radius * torch.stack([angle.cos(), angle.sin()], 1), std).to(dtype=torch.float32)


def spiral(turns: float = 2.0, noise: float = 0.05) -> GaussianMixture:
    """Archimedes' spiral r = angle/(2 pi turns) from radius .1 to 1, uniform in length, with Gaussian noise."""
    turns, noise = positive(turns=turns, noise=noise)
    r = np.linspace(0.1, 1.0, 4096)
    angle = 2 * math.pi * turns * r
    return _along([np.stack([r * np.cos(angle), r * np.sin(angle)], 1)], noise)


def moons(noise: float = 0.1) -> GaussianMixture:
    """Two interleaved half circles of radius 1 (those of scikit-learn's make_moons), with Gaussian noise about them."""
    (noise,) = positive(noise=noise)
    angle = np.linspace(0, math.pi, 2048)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    return _along([upper, np.array([1.0, 0.5]) - upper], noise)


def chessboard(cells: int = 4, half_width: float = 2.0) -> Boxes:
    """The uniform law on the dark cells of a board of ``cells`` x ``cells`` on [-half_width, half_width]^2."""
    cells = count(cells, "cells", 2)
    (half_width,) = positive(half_width=half_width)
    side = 2 * half_width / cells
    places = [(i, j) for i in range(cells) for j in range(cells) if (i + j) % 2 == 0]
    centres = (torch.tensor(places, dtype=torch.float64) + 0.5) * side - half_width
    return Boxes(centres, side / 2).to(dtype=torch.float32)


def on_line(law: GaussianMixture) -> GaussianMixture:
    if not isinstance(law, GaussianMixture) or law.dim != 1 or law.has_points:
        raise ValueError(f"law = {law!r}; allowed: a GaussianMixture on the line with std > 0")
    return law.to("cpu", torch.float64)
