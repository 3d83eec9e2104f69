r"""Training: one loop for one network or for an ensemble of seeds and settings.

Every objective of the book is a weighted regression on a target y = a x_0 + b eps,

    L = E_{t, x_0, eps} w(t) |net(x_t, t) - y|^2 / d,        x_t = alpha x_0 + sigma eps.

A setting is therefore a schedule, a pair (a, b) (:mod:`diffnotes.target`), a weight w(alpha, sigma) and a density of
t, and members of an ensemble may differ in all four: they become numbers in tensors of shape (members, batch), and no
step loops over members. The losses are summed over members, which with Adam is training each of them alone.

*Sequences.* On a chain, a :class:`diffnotes.sequence.Window` adds the SA loss, the squared mean of the errors of eps at
K consecutive steps. A member's K noised samples go through the network in one batch; lambda = 0 or K = 1 is the plain
loss, bit for bit.

*Draws.* x_0, eps and a uniform u come from generators of the member's seed only, and u is turned into t by the member's
own inverse distribution function. So members of equal seed meet the same data and noise, whatever their settings: a
paired comparison; and a member's draws do not depend on its company.

*Weights.* Equal weights on different targets are different objectives. :func:`matched` turns a weight on the eps
error, one of :data:`WEIGHTINGS` or any function of the SNR, into the weight on a target's own error that gives the
same objective.

References: Ho et al. 2020 (simple); Choi et al. 2022, arXiv 2204.00227 (P2); Hang et al. 2023, arXiv 2303.09556
(min-SNR); Karras et al. 2022, arXiv 2206.00364 (EDM); Kingma et al. 2021, arXiv 2107.00630 (weight and density).
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._progress import progress
from .denoiser import Denoiser
from .law import Law
from .net import Network
from .schedule import Chain, Schedule
from .sequence import Window, combine, correlation, window_noise
from .target import Target, coefficients, loss_weight

__all__ = [
    "WEIGHTINGS", "Gradients", "History", "fit", "fit_smooth", "fit_squares", "gradient_statistics", "importance",
    "levels_of", "log_normal", "log_snr_density", "matched", "uniform_in_log_snr",
]

Weight = Callable[[Tensor, Tensor], Tensor]
Times = Callable[[Tensor], Tensor]

_CHUNK = 32  # steps whose random numbers are drawn together; part of what a seed means

WEIGHTINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "eps": torch.ones_like,
    "x0": lambda snr: 1 / snr,
    "v": lambda snr: (1 + snr) / snr,
    "p2": lambda snr: 1 / (1 + snr),
    "min_snr_5": lambda snr: (5 / snr).clamp(max=1),
}
r"""Weights on |eps - eps_hat|^2 as functions of the SNR. "v" is the plain v-loss of a variance-preserving schedule, and
EDM's weight for data of unit variance; P2 is given for k = gamma = 1, min-SNR for gamma = 5."""


def matched(target: Target, weighting: str | Callable[[Tensor], Tensor] = "eps") -> Weight:
    """The weight w(alpha, sigma) on the squared error of ``target`` that equals ``weighting`` on that of eps.

    Args:
        target: what the network predicts.
        weighting: a name of :data:`WEIGHTINGS`, or a function of the SNR.

    Raises:
        ValueError: for an unknown name.

    >>> sigma = torch.tensor(0.6)
    >>> [round(float(matched(y, "min_snr_5")(torch.tensor(0.8), sigma)), 4) for y in ("eps", "x0")]
    [1.0, 1.7778]
    """
    if not callable(weighting) and weighting not in WEIGHTINGS:
        raise ValueError(f"weighting = {weighting!r} is unknown; allowed: {', '.join(WEIGHTINGS)}, or a function")
    of_snr = weighting if callable(weighting) else WEIGHTINGS[weighting]
    return lambda alpha, sigma: of_snr((alpha / sigma) ** 2) * loss_weight(target, alpha, sigma, like="eps")


def uniform_in_log_snr(schedule: Schedule, t_min: float = 1e-3, t_max: float = 1.0) -> Times:
    """The density of t under which log SNR is uniform between its values at ``t_max`` and ``t_min``."""
    high, low = (float(schedule.log_snr(t)) for t in (t_min, t_max))
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"log SNR runs from {low} to {high} on [{t_min}, {t_max}]; allowed: finite values")
    return _inside(schedule, high, low)


def _inside(schedule: Schedule | Chain, first: float, last: float) -> Times:
    return lambda u: schedule.time_of_log_snr(first + (last - first) * u)


def levels_of(like: Schedule, schedule: Schedule, band: float = 9.0) -> Times:
    """The density of t under which ``schedule`` visits the noise levels as uniform times of ``like`` do.

    Both are restricted to log SNR in [-band, band]. With ``like`` = ``schedule``, t is uniform.
    """
    first, last = (float(like.time_of_log_snr(level)) for level in (band, -band))
    if like == schedule:
        return lambda u: first + (last - first) * u
    return lambda u: schedule.time_of_log_snr(like.log_snr(first + (last - first) * u))


def log_snr_density(schedule: Schedule, log_snr: Tensor, band: float = 9.0) -> Tensor:
    """The density of log SNR for uniform times of ``schedule`` with log SNR in [-band, band]: |dt/d log SNR|."""
    first, last = (float(schedule.time_of_log_snr(level)) for level in (band, -band))
    return 1 / ((last - first) * schedule.log_snr_rate(schedule.time_of_log_snr(log_snr)).abs())


def importance(like: Schedule, schedule: Schedule, band: float = 9.0) -> Weight:
    """The weight w(alpha, sigma) that turns the density of ``schedule`` into that of ``like``: their ratio."""

    def weight(alpha: Tensor, sigma: Tensor) -> Tensor:
        log_snr = 2 * (alpha / sigma).log()
        return log_snr_density(like, log_snr, band) / log_snr_density(schedule, log_snr, band)

    return weight


def log_normal(schedule: Schedule, mean: float = -1.2, std: float = 1.2) -> Times:
    """EDM's density of t, log(sigma/alpha) ~ N(mean, std^2), cut at the ends (Karras et al. 2022, table 1)."""
    return lambda u: schedule.time_of_log_snr(-2 * (mean + std * torch.special.ndtri(u)))


@dataclass(frozen=True)
class History:
    """The log of a training: rows of steps, columns of members (no such axis for a single network).

    Attributes:
        step: (rows,) steps done at the end of each row.
        loss: (rows[, members]) mean weighted loss over the row.
        error: (rows[, members], bins) mean unweighted squared error of the target per dimension, by bin of log SNR; NaN
            where a bin was not met.
        edges: (bins + 1,) the bins' edges in log SNR, the same for all members; the outer bins are open.
        seconds: wall time.
        average: the network of exponentially averaged weights, if ``ema`` was given.
    """

    step: Tensor
    loss: Tensor
    error: Tensor
    edges: Tensor
    seconds: float
    average: Network | None = None


@dataclass(frozen=True)
class _Chunk:
    """What a run of steps needs beforehand: tensors of shape (members, steps, batch[, ...])."""

    x0: Tensor  # (seeds or members, steps, batch, d)
    eps: Tensor  # (seeds, steps, batch, d)
    levels: Tensor  # (5, members, steps, batch, 1): alpha, sigma, a, b, weight
    features: Tensor  # (members, steps, batch, f); for windows of K steps (members, steps, K batch, f)
    scale: Tensor | None  # (members, steps, batch, 1); for windows as the features
    log_snr: Tensor  # (members, steps, batch)
    times: Tensor  # (members, steps, batch)
    sequence: _Sequence | None = None


@dataclass(frozen=True)
class _Sequence:
    """What windows of K steps need besides: tensors of shape (members, steps, K, batch, 1) unless said otherwise."""

    levels: Tensor  # (4, ...): alpha, sigma, a, b
    weight: Tensor  # w_s alpha/det, from the error of the target to the weighted error of eps
    plain: Tensor  # weight of the squared error in L_simple
    rho: Tensor  # (members, steps, K - 1, batch, 1)
    fresh: Tensor  # (seeds, steps, K - 1, batch, d)


class _Objective:
    """The settings of the members of ``net``, the draws they ask for, and the loss these give."""

    def __init__(
        self, net: Network, data: Law | Tensor, schedule, target, weight, times, seeds, t_min: float, batch: int,
        window: Window | Sequence[Window | None] | None = None,
    ) -> None:  # fmt: skip
        self.net, self.batch, count = net, batch, net.members or 1

        def each(name: str, value) -> tuple:
            values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * count
            if len(values) != count:
                raise ValueError(f"{name} has {len(values)} entries; allowed: one, or one for each of {count} members")
            return values

        if batch < 1:
            raise ValueError(f"batch = {batch} must be >= 1")
        if not 0 <= t_min < 1:
            raise ValueError(f"t_min = {t_min}; allowed: [0, 1)")
        self.t_min = t_min
        self.schedule, self.target = each("schedule", schedule), each("target", target)
        for one in self.target:
            coefficients(one, 0.8, 0.6)  # refuses an unknown name
        self.weight, self.times = each("weight", weight), each("times", times)
        seeds = each("seeds", net.seeds if seeds is None else seeds)
        self.seeds = sorted(set(seeds))
        self.device, self.dtype = net.device, net.dtype
        self._check_windows(each("window", window))
        self.stream = [self.seeds.index(seed) for seed in seeds]
        self.eps_of = self.x0_of = torch.tensor(self.stream, device=self.device)
        self.data = data
        if isinstance(data, Tensor):
            if data.ndim not in (2, 3) or data.shape[-1] != net.dim or (data.ndim == 3 and len(data) != net.members):
                allowed = f"(n, {net.dim})" + ("" if net.members is None else f" or ({net.members}, n, {net.dim})")
                raise ValueError(f"data has shape {tuple(data.shape)}; allowed: {allowed}")
            if not bool(data.isfinite().all()):
                raise ValueError("data has non-finite entries; allowed: finite samples")
            self.data = data.to(self.device, self.dtype)
            if data.ndim == 3:
                self.x0_of = torch.arange(count, device=self.device)
        where = self.device if isinstance(data, Tensor) else data.device
        # Offsets keep these streams apart from the one that drew the initial weights.
        self.picks = [torch.Generator(where).manual_seed(seed + 1_000_003) for seed in self.seeds]
        self.noises = [torch.Generator(self.device).manual_seed(seed + 2_000_003) for seed in self.seeds]
        self.others = [torch.Generator(self.device).manual_seed(seed + 3_000_003) for seed in self.seeds]

    def _check_windows(self, given: tuple[Window | None, ...]) -> None:
        """The members' windows, None where only the plain loss is left; all of one size."""
        self.window = [None if one is None or one.size == 1 else one for one in given]
        sizes = {1 if one is None else one.K for one in self.window}
        if len(sizes) > 1:
            raise ValueError(f"window: K = {sorted(sizes)} in one training; allowed: one size (others in another call)")
        (self.size,) = sizes
        for one, schedule, times, weight in zip(self.window, self.schedule, self.times, self.weight):
            if one is not None and (not isinstance(schedule, Chain) or times is not None):
                raise ValueError(f"window = {one} with schedule = {schedule}, times = {times}; allowed: a chain, and "
                                 "times = None")
            if one is not None and one.form == "paper" and weight is not None:
                raise ValueError(f"window = {one} with weight = {weight}; allowed: weight = None for form = 'paper'")
        mix = [(0.0 if one.alone else 1.0, one.weight) for one in self.window if one is not None]
        self._mix = torch.tensor(mix, device=self.device, dtype=self.dtype).T[..., None] if mix else None

    def draw(self, steps: int, times: Sequence[Times | None] | None = None) -> _Chunk:
        """The draws of the next ``steps`` steps."""
        shape = (steps, self.batch)
        x0 = self._clean(steps)
        eps = torch.stack([
            torch.randn(*shape, self.net.dim, generator=g, device=self.device, dtype=self.dtype) for g in self.noises
        ])
        u = [torch.rand(shape, generator=g, device=self.device, dtype=torch.float64) for g in self.noises]
        drawn: dict[tuple, Tensor] = {}  # members of equal seed, schedule and density share their times
        rows, ts = [], []
        for i, (schedule, density) in enumerate(zip(self.schedule, times or self.times)):
            key = (self.stream[i], schedule, density)
            if key not in drawn:
                drawn[key] = self._uniform(schedule, u[key[0]]) if density is None else density(u[key[0]])
            alpha, sigma = schedule(drawn[key])
            weight = self.weight[i]
            w = torch.ones_like(alpha) if weight is None else weight(alpha, sigma)
            rows.append(torch.stack([alpha, sigma, *coefficients(self.target[i], alpha, sigma), w]))
            ts.append(drawn[key])
        levels, t = torch.stack(rows, 1), torch.stack(ts)
        sequence, seen = None, t
        if self.size > 1:
            sequence, seen, first = self._sequence(steps, u)
            levels[:4] = first
            t = seen[:, :, : self.batch]
        features, scale = self.net.see(seen.flatten(1) if self.net.members else seen[0].flatten())
        full = (len(ts), steps, seen.shape[2], -1)
        return _Chunk(
            x0, eps, levels[..., None].to(self.dtype), features.to(self.dtype).reshape(full),
            None if scale is None else scale.to(self.dtype).reshape(full), 2 * (levels[0] / levels[1]).log(), t,
            sequence,
        )

    def _sequence(self, steps: int, u: list[Tensor]) -> tuple[_Sequence, Tensor, Tensor]:
        """The windows of the members, their times (members, steps, K batch), and the levels of their first steps."""
        rows = []
        for window, chain, target, stream in zip(self.window, self.schedule, self.target, self.stream):
            s, w, plain = (v.movedim(-1, 1) for v in window.times(window.start(u[stream], chain), chain))
            alpha, sigma = chain(s)  # (steps, K, batch)
            a, b = coefficients(target, alpha, sigma)
            rho = correlation(chain, s[:, 1:], s[:, :-1], window.coupling)
            rows.append((torch.stack([alpha, sigma, a, b]), w * alpha / (alpha * b - sigma * a), plain, rho, s))
        levels, *parts, s = (torch.stack(part) for part in zip(*rows))
        fresh = torch.stack([
            torch.randn(steps, self.size - 1, self.batch, self.net.dim, generator=g, device=self.device,
                        dtype=self.dtype) for g in self.others
        ])
        levels = levels.movedim(1, 0)
        ready = [part[..., None].to(self.dtype) for part in (levels, *parts)]
        return _Sequence(*ready, fresh), s.double().flatten(2), levels[:, :, :, 0]

    def _clean(self, steps: int) -> Tensor:
        n = steps * self.batch
        if not isinstance(self.data, Tensor):
            return torch.stack([
                self.data.sample(n, g).to(self.device, self.dtype).reshape(steps, self.batch, -1) for g in self.picks
            ])
        rows = torch.stack([
            torch.randint(self.data.shape[-2], (steps, self.batch), generator=g, device=self.device) for g in self.picks
        ])
        if self.data.ndim == 2:
            return self.data[rows]
        return self.data[self.x0_of[:, None, None], rows[self.eps_of]]

    def _uniform(self, schedule: Schedule | Chain, u: Tensor) -> Tensor:
        if isinstance(schedule, Chain):
            return (schedule.T * u).ceil().clamp(1, schedule.T)
        return self.t_min + (1 - self.t_min) * u

    def errors(self, chunk: _Chunk, k: int) -> tuple[Tensor, Tensor]:
        """(weighted loss, squared error per dimension), each (members, batch), of step ``k`` of ``chunk``."""
        alpha, sigma, a, b, w = chunk.levels[:, :, k]
        x0, eps = chunk.x0[self.x0_of, k], chunk.eps[self.eps_of, k]
        if chunk.sequence is not None:
            return self._sequence_errors(chunk, k, x0, eps, w)
        y = self._read(chunk, k, alpha * x0 + sigma * eps)
        error = (y - (a * x0 + b * eps)).square().mean(-1)
        return w[..., 0] * error, error

    def _read(self, chunk: _Chunk, k: int, x_t: Tensor) -> Tensor:
        """The network's output at x_t (members, batch, d) of step ``k``."""
        if chunk.scale is not None:
            x_t = x_t * chunk.scale[:, k]
        features = chunk.features[:, k]
        return self.net.read(x_t[0], features[0])[None] if self.net.members is None else self.net.read(x_t, features)

    def _sequence_errors(self, chunk: _Chunk, k: int, x0: Tensor, eps: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """The SA loss; the K noised samples of each member are read as one batch."""
        part = chunk.sequence
        alpha, sigma, a, b = part.levels[:, :, k].movedim(2, 1)  # (4, K, members, batch, 1)
        noises = window_noise(eps, part.fresh[self.eps_of, k].movedim(1, 0), part.rho[:, k].movedim(1, 0))
        x_t = alpha * x0 + sigma * noises  # (K, members, batch, d)
        y = self._read(chunk, k, x_t.movedim(0, 1).flatten(1, 2)).unflatten(1, (self.size, self.batch)).movedim(1, 0)
        errors = y - (a * x0 + b * noises)
        weight, plain = (v[:, k, ..., 0].movedim(1, 0) for v in (part.weight, part.plain))  # (K, members, batch)
        simple, sequence = combine(errors, weight, plain, 1)
        keep, joint = self._mix
        return keep * w[..., 0] * simple + joint * sequence, errors[0].square().mean(-1)

    def edges(self, bins: int) -> Tensor:
        """``bins`` bins of log SNR of equal width over (almost) all times that the members draw, on the host."""
        u = torch.linspace(1e-3, 1 - 1e-3, 999, dtype=torch.float64)
        seen = torch.cat([
            schedule.log_snr(self._uniform(schedule, u) if density is None else density(u))
            for schedule, density in set(zip(self.schedule, self.times))
        ])
        seen = seen[seen.isfinite()]
        return torch.linspace(float(seen.min()), float(seen.max()), bins + 1, dtype=torch.float64)


def fit(
    net: Network,
    data: Law | Tensor,
    schedule: Schedule | Chain | Sequence[Schedule | Chain],
    *,
    target: Target | Sequence[Target] = "eps",
    weight: Weight | Sequence[Weight | None] | None = None,
    times: Times | Sequence[Times | None] | None = None,
    window: Window | Sequence[Window | None] | None = None,
    steps: int,
    batch: int = 128,
    rate: float = 1e-3,
    decay: str = "cosine",
    ema: float | None = None,
    seeds: Sequence[int] | None = None,
    t_min: float = 1e-3,
    log_every: int | None = None,
    bins: int = 10,
) -> History:
    """Train ``net`` in place with Adam, and return the log.

    ``schedule``, ``target``, ``weight``, ``times``, ``window`` are one for all members, or a sequence of one a member.

    Args:
        net: a network or an ensemble; its device and dtype are those of the training.
        data: a law, or samples: (n, d), or (members, n, d) where each member has its own.
        schedule: the noise schedule or chain.
        target: what is regressed on, a name or (alpha, sigma) -> (a, b).
        weight: w(alpha, sigma) on the target's squared error; None is 1. See :func:`matched`.
        times: the density of t as its inverse distribution function, u in (0, 1) -> t; None is uniform on
            [t_min, 1], or on 1..T for a chain.
        window: the SA loss to add, on a chain; all members have the same K. See :mod:`diffnotes.sequence`.
        steps, batch: number of steps, and samples a step and member.
        rate, decay: Adam's rate, and "cosine" (to 0 at the last step) or "constant".
        ema: decay of the exponential average of the weights, in (0, 1), shortened at the start to (1 + k)/(10 + k).
        seeds: seeds of the draws, one a member; None takes those of ``net``, so that equal seeds are paired throughout.
        log_every: steps a row of the log, rounded up to a multiple of 32; None gives some 50 rows.
        bins: bins of log SNR in the log.

    Raises:
        ValueError: for unknown names, numbers out of range, or sequences that are not one a member.
        FloatingPointError: if a loss is not finite; checked at each row of the log, naming member, step and target.

    >>> from diffnotes import MLP, Linear
    >>> net = MLP(1, width=16, depth=1, seed=(0, 1))
    >>> fit(net, torch.randn(100, 1), Linear(), target=["eps", "v"], steps=64).loss.shape
    torch.Size([2, 2])
    """
    _check_run(steps, rate, decay, ema)
    objective = _Objective(net, data, schedule, target, weight, times, seeds, t_min, batch, window)
    return _run(objective, steps, rate, decay, ema, log_every, bins)


def fit_squares(
    net: Network,
    data: Law | Tensor,
    schedule: Schedule | Chain,
    denoiser: Denoiser | None = None,
    *,
    steps: int,
    batch: int = 128,
    rate: float = 1e-3,
    decay: str = "cosine",
    seeds: Sequence[int] | None = None,
    t_min: float = 1e-3,
    log_every: int | None = None,
    bins: int = 10,
) -> History:
    r"""Train ``net`` in place to predict squares of noises coordinate by coordinate, and return the log.

        without ``denoiser``   E[eps^2 | x_t]                          SN-DPM
        with it                E[(eps - denoiser.eps(x_t, t))^2 | x_t]   NPR-DPM

    Least squares with weight 1; what is learned is turned into the variances of a sampler by
    :func:`diffnotes.sample.predicted_variance`. ``denoiser`` stays as it is and has as many members as ``net``. Other
    arguments as in :func:`fit`.

    Raises:
        ValueError: as :func:`fit`, or where the members of net and denoiser differ.

    Source: Bao et al. 2022, arXiv 2206.07309 (sections 3 and 4).
    """
    if denoiser is not None and denoiser.members not in (None, net.members):
        raise ValueError(f"denoiser has members = {denoiser.members}; allowed: None, or those of net, {net.members}")
    _check_run(steps, rate, decay, None)
    objective = _Squared(net, data, schedule, "eps", None, None, seeds, t_min, batch)
    objective.denoiser = denoiser
    return _run(objective, steps, rate, decay, None, log_every, bins)


class _Squared(_Objective):
    """The objective of :func:`fit_squares`."""

    denoiser: Denoiser | None = None

    def errors(self, chunk: _Chunk, k: int) -> tuple[Tensor, Tensor]:
        alpha, sigma, *_ = chunk.levels[:, :, k]
        x0, eps = chunk.x0[self.x0_of, k], chunk.eps[self.eps_of, k]
        x_t, t = alpha * x0 + sigma * eps, chunk.times[:, k]
        residual = eps
        if self.denoiser is not None:
            with torch.no_grad():
                alone = self.net.members is None
                guess = self.denoiser.eps(x_t[0], t[0])[None] if alone else self.denoiser.eps(x_t, t)
            residual = eps - guess
        error = (self._read(chunk, k, x_t) - residual.square()).square().mean(-1)
        return error, error


def fit_smooth(
    net: Network,
    data: Law | Tensor,
    schedule: Schedule | Chain,
    *,
    strength: float,
    reach: float,
    target: Target = "eps",
    steps: int,
    batch: int = 128,
    rate: float = 1e-3,
    decay: str = "cosine",
    seeds: Sequence[int] | None = None,
    t_min: float = 1e-3,
    log_every: int | None = None,
    bins: int = 10,
) -> History:
    r"""Train ``net`` in place with a penalty on how much its answer changes with the time it is told; return the log.

        E |net(x_t, t) - y|^2/d + strength E |net(x_t, t + reach) - net(x_t, t)|^2/d

    The penalty is a regulariser of the time-Lipschitz constant, at the cost of a second evaluation a sample. Times
    t + reach beyond the schedule's last one are set to it. Other arguments as in :func:`fit`.

    Raises:
        ValueError: as :func:`fit`, for a negative or non-finite strength, or reach <= 0.
    """
    if not (math.isfinite(strength) and strength >= 0):
        raise ValueError(f"strength = {strength}; allowed: finite numbers >= 0")
    if not (math.isfinite(reach) and reach > 0):
        raise ValueError(f"reach = {reach}; allowed: positive, finite numbers")
    _check_run(steps, rate, decay, None)
    objective = _Smooth(net, data, schedule, target, None, None, seeds, t_min, batch)
    objective.strength, objective.reach = strength, reach
    return _run(objective, steps, rate, decay, None, log_every, bins)


class _Smooth(_Objective):
    """The objective of :func:`fit_smooth`."""

    strength: float
    reach: float

    def errors(self, chunk: _Chunk, k: int) -> tuple[Tensor, Tensor]:
        alpha, sigma, a, b, _ = chunk.levels[:, :, k]
        x0, eps = chunk.x0[self.x0_of, k], chunk.eps[self.eps_of, k]
        x_t = alpha * x0 + sigma * eps
        y = self._read(chunk, k, x_t)
        last = [one.T if isinstance(one, Chain) else 1.0 for one in self.schedule]
        later = torch.stack([(t + self.reach).clamp(max=end) for t, end in zip(chunk.times[:, k], last)])
        moved = (self.net(x_t[0], later[0])[None] if self.net.members is None else self.net(x_t, later)) - y
        error = (y - (a * x0 + b * eps)).square().mean(-1)
        return error + self.strength * moved.square().mean(-1), error


def _check_run(steps: int, rate: float, decay: str, ema: float | None) -> None:
    if steps < 1 or not rate > 0:
        raise ValueError(f"steps = {steps}, rate = {rate}; allowed: steps >= 1 and rate > 0")
    if decay not in ("cosine", "constant"):
        raise ValueError(f"decay = {decay!r} is unknown; allowed: 'cosine', 'constant'")
    if ema is not None and not 0 < ema < 1:
        raise ValueError(f"ema = {ema}; allowed: None, or a number in (0, 1)")


def _run(
    objective: _Objective, steps: int, rate: float, decay: str, ema: float | None, log_every: int | None, bins: int
) -> History:
    """Adam on the objective's net."""
    net = objective.net
    parameters = list(net.parameters())
    optimiser = torch.optim.Adam(parameters, lr=rate, fused=True)
    average = None if ema is None else copy.deepcopy(net)
    averaged = [] if average is None else [p.detach() for p in average.parameters()]

    began = time.perf_counter()
    log = _Log(objective, objective.edges(bins))
    every = max(1, math.ceil((log_every or steps / 50) / _CHUNK))
    for c, first in enumerate(progress(range(0, steps, _CHUNK), "training")):
        chunk = objective.draw(_CHUNK)
        done = []
        for k in range(min(_CHUNK, steps - first)):
            if decay == "cosine":
                optimiser.param_groups[0]["lr"] = rate * (1 + math.cos(math.pi * (first + k) / steps)) / 2
            loss, error = objective.errors(chunk, k)
            loss.mean(1).sum().backward()
            optimiser.step()
            optimiser.zero_grad()
            if average is not None:
                keep = min(ema, (1 + first + k) / (10 + first + k))
                torch._foreach_lerp_(averaged, [p.detach() for p in parameters], 1 - keep)
            done.append((loss.detach(), error.detach()))
        log.add(done, chunk.log_snr)
        if (c + 1) % every == 0 or first + _CHUNK >= steps:
            log.close(min(first + _CHUNK, steps))
    return log.history(time.perf_counter() - began, average)


class _Log:
    """Sums of losses, and of errors by bin, over the steps since the last row."""

    def __init__(self, objective: _Objective, edges: Tensor) -> None:
        self.objective, self.edges = objective, edges
        self.inner = edges[1:-1].to(objective.device)
        self.steps: list[int] = []
        self.losses: list[Tensor] = []
        self.errors: list[Tensor] = []
        self.clear()

    def clear(self) -> None:
        shape = (self.objective.net.members or 1, len(self.edges) - 1)
        self.loss, self.error, self.count = 0.0, self.inner.new_zeros(shape), self.inner.new_zeros(shape)
        self.batches = 0

    def add(self, done: list[tuple[Tensor, Tensor]], log_snr: Tensor) -> None:
        loss, error = (torch.stack(part, 1).double() for part in zip(*done))
        index = torch.bucketize(log_snr[:, : len(done)].flatten(1).contiguous(), self.inner)
        _add_by_bin(self.error, self.count, index, error.flatten(1))
        self.loss = self.loss + loss.mean(2).sum(1)
        self.batches += len(done)

    def close(self, step: int) -> None:
        mean = (self.loss / self.batches).cpu()
        if not bool(mean.isfinite().all()):
            i = int((~mean.isfinite()).nonzero()[0])
            raise FloatingPointError(
                f"the loss of member {i} (target {self.objective.target[i]!r}, seed {self.objective.net.seeds[i]}) "
                f"is {mean[i]:g} at or before step {step}"
            )
        self.steps.append(step)
        self.losses.append(mean)
        self.errors.append((self.error / self.count).cpu())
        self.clear()

    def history(self, seconds: float, average: Network | None) -> History:
        loss, error = torch.stack(self.losses), torch.stack(self.errors)
        if self.objective.net.members is None:
            loss, error = loss[:, 0], error[:, 0]
        return History(torch.tensor(self.steps), loss, error, self.edges, seconds, average)


def _add_by_bin(sums: Tensor, counts: Tensor, index: Tensor, values: Tensor) -> None:
    """Add ``values`` (members, n) to ``sums`` (members, bins) where ``index`` says, in an order that never changes."""
    if values.device.type == "cpu":
        sums.scatter_add_(1, index, values)
        counts.scatter_add_(1, index, torch.ones_like(values))
        return
    # On a GPU scatter_add_ adds in whatever order its threads come; a sum along an axis has one order.
    bins = torch.arange(sums.shape[1], device=sums.device)[:, None]
    group = max(1, 2**24 // values.numel())  # bins at a time, so that memory stays bounded
    for total, count, some in zip(sums.split(group, 1), counts.split(group, 1), bins.split(group)):
        here = index[:, None] == some
        total += torch.where(here, values[:, None], 0.0).sum(-1)
        count += here.sum(-1)


@dataclass(frozen=True)
class Gradients:
    """Size of a mini-batch gradient's mean and noise, by bin of log SNR.

    Attributes:
        signal: ([members,] bins) Euclidean norm of the mean gradient (without the bias that the noise adds to it).
        noise: ([members,] bins) root of the summed variances of the gradient's entries, for one mini-batch.
        edges: (bins + 1,) the bins' edges in log SNR.
    """

    signal: Tensor
    noise: Tensor
    edges: Tensor


def gradient_statistics(
    net: Network,
    data: Law | Tensor,
    schedule: Schedule | Chain | Sequence[Schedule | Chain],
    *,
    target: Target | Sequence[Target] = "eps",
    weight: Weight | Sequence[Weight | None] | None = None,
    batches: int = 32,
    batch: int = 128,
    edges: Tensor | None = None,
    seeds: Sequence[int] | None = None,
    t_min: float = 1e-3,
) -> Gradients:
    """Signal and noise of the gradient of each member's loss, for mini-batches with log SNR uniform in one bin.

    With g_k the gradients of ``batches`` mini-batches, K of them: noise^2 = sum_k |g_k - mean|^2/(K - 1), and
    signal^2 = |mean|^2 - noise^2/K, set to 0 where negative. Arguments as in :func:`fit`; ``edges`` are increasing
    bin edges in log SNR, by default 10 bins of equal width over the times in use. The weights stay as they are.

    Raises:
        ValueError: as :func:`fit`, or for fewer than 2 ``batches``.
    """
    if batches < 2:
        raise ValueError(f"batches = {batches} must be >= 2")
    objective = _Objective(net, data, schedule, target, weight, None, seeds, t_min, batch)
    edges = objective.edges(10) if edges is None else edges.to("cpu", torch.float64)
    parameters = list(net.parameters())
    signal, noise = [], []
    for low, high in itertools.pairwise(edges.tolist()):
        inside = {s: _inside(s, low, high) for s in objective.schedule}
        chunk = objective.draw(batches, [inside[s] for s in objective.schedule])
        total = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
        squares = torch.zeros(net.members or 1, dtype=torch.float64, device=objective.device)
        for k in range(batches):
            loss, _ = objective.errors(chunk, k)
            gradients = torch.autograd.grad(loss.mean(1).sum(), parameters)
            torch._foreach_add_(total, [g.double() for g in gradients])
            squares += _squares(gradients, len(squares))
        mean = _squares(total, len(squares)) / batches**2
        noise.append((squares - batches * mean).clamp(min=0) / (batches - 1))
        signal.append((mean - noise[-1] / batches).clamp(min=0))
    both = [torch.stack(part, -1).sqrt().cpu() for part in (signal, noise)]
    if net.members is None:
        both = [part[0] for part in both]
    return Gradients(*both, edges)


def _squares(tensors: Sequence[Tensor], members: int) -> Tensor:
    """(members,) sums of squares over all entries of each member."""
    return sum(t.double().reshape(members, -1).square().sum(1) for t in tensors)
