r"""Windows of consecutive steps, their noises, and the sequence-aware (SA) loss.

The SA loss adds to the plain loss the square of a mean error over K consecutive steps of a chain,

    L = E |e_t|^2 + lambda E |(1/K) sum_{s in window} w_s e_s|^2,      e_s = f(x_s, s) - eps_s,

and its minimiser depends on the joint law of the noises in a window (:data:`COUPLINGS`): for any two times eps_s
and eps_t are Gaussian with correlation rho, where rho = 0 (independent), 1 (shared) or, on one path of the forward
process, rho = alpha_t sigma_s/(alpha_s sigma_t) for s < t (Markov).

Source: Nguyen et al. 2024 (arXiv 2312.12431) and its published code (SA-DPM). The paper's windows run upwards from t in
1-K..T with w = tau; the code's run downwards from t in 1..T with w = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.generators import generator_of
from ..core.schedule import Chain, Schedule
from .loss import Loss, Step

__all__ = ["COUPLINGS", "Losses", "Window", "WindowStep", "correlation", "sa_loss", "window_noise", "windows"]


COUPLINGS = ("independent", "shared", "markov")


@dataclass(frozen=True)
class Window(Loss):
    r"""One SA loss: L = L_simple + ``weight`` L_sa over windows of ``K`` steps.

    Args:
        K: steps in a window, >= 1.
        weight: lambda >= 0. With 0, or with K = 1, only L_simple is left.
        tau: "one" (published code) or "literal" (the weights of Theorem 1).
        coupling: joint law of the noises, one of :data:`COUPLINGS`.
        form: "code": windows t, t-1, ..., t-K+1 from t uniform on 1..T; "paper": t, ..., t+K-1 from t uniform on
            1-K..T, with w = 0 at s = 1. In both, steps outside 1..T count as zero and the divisor stays K.
        alone: leave L_simple out.

    Raises:
        ValueError: for numbers out of range or unknown names.

    >>> Window(2, 1.0).size, Window(4, 0.0).size
    (2, 1)
    """

    K: int = 2
    weight: float = 1.0
    tau: str = "one"
    coupling: str = "independent"
    form: str = "code"
    alone: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.K, bool) or not isinstance(self.K, int) or self.K < 1:
            raise ValueError(f"K = {self.K!r} must be a whole number >= 1")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"weight = {self.weight} must be a finite number >= 0")
        allowed = {"tau": ("one", "literal"), "coupling": COUPLINGS, "form": ("code", "paper")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ValueError(f"{name} = {getattr(self, name)!r} is unknown; allowed: {', '.join(values)}")
        if self.alone and not self.weight > 0:
            raise ValueError(f"weight = {self.weight} with alone = True leaves no loss; allowed: weight > 0")

    @property
    def size(self) -> int:
        """Network evaluations a sample: K, or 1 where only the plain loss is left."""
        return 1 if (self.weight == 0 or self.K == 1) and not self.alone else self.K

    def check(self, schedule: Schedule | Chain, uniform: bool, weighted: bool) -> None:
        if self.size > 1 and not (isinstance(schedule, Chain) and uniform):
            raise ValueError(f"loss = {self} with schedule = {schedule}; allowed: a chain, and uniform times")
        if self.size > 1 and self.form == "paper" and weighted:
            raise ValueError(f"loss = {self} with a weighting; allowed: weighting = None for form = 'paper'")

    def __call__(self, step: WindowStep) -> tuple[Tensor, Tensor]:
        """The SA loss; the K noised samples of each member are read as one batch."""
        noises = window_noise(step.eps, step.fresh, step.rho)
        x_t = step.alphas * step.x0 + step.sigmas * noises  # (K, members, batch, d)
        y = step.read(x_t.movedim(0, 1).flatten(1, 2)).unflatten(1, (len(x_t), -1)).movedim(1, 0)
        errors = y - (step.as_ * step.x0 + step.bs * noises)
        simple, sequence = combine(errors, step.weights, step.plain, 1)
        keep, joint = step.mix
        return keep * step.weight * simple + joint * sequence, errors[0].square().mean(-1)

    def times(self, t: Tensor, chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
        """What windows that begin at ``t`` (...) hold, each (..., K).

        Returns:
            s: the times, moved to 1..T where a window reaches beyond.
            w: the weights of the errors in L_sa, 0 beyond the ends.
            plain: the weights of the squared errors in L_simple.
        """
        steps = torch.arange(self.K, device=t.device)
        s = t[..., None].long() + (steps if self.form == "paper" else -steps)
        inside = (s >= 1) & (s <= chain.T)
        s = s.clamp(1, chain.T)
        if self.tau == "literal":
            w = chain.table("tau", t.device)[s] * inside
        else:
            w = (inside & (s >= 2)).double() if self.form == "paper" else inside.double()
        if self.form == "paper":  # every step lies in K of the T + K windows
            plain = inside.double() * (chain.T + self.K) / (chain.T * self.K)
        else:
            plain = (steps == 0).double().expand(s.shape)
        return s, w, plain

    def starts(self, chain: Chain) -> Tensor:
        """All values of t that windows begin at."""
        return torch.arange(1 - self.K if self.form == "paper" else 1, chain.T + 1)

    def start(self, u: Tensor, chain: Chain) -> Tensor:
        """The t that a uniform ``u`` in [0, 1) picks, in the shape of u."""
        if self.form == "paper":
            return ((chain.T + self.K) * u).floor().clamp(max=chain.T + self.K - 1) + 1 - self.K
        return (chain.T * u).ceil().clamp(1, chain.T)


@dataclass(frozen=True)
class WindowStep(Step):
    """A step's draws with those of its windows, (K, members, batch, 1) unless said otherwise.

    Attributes:
        alphas, sigmas, as_, bs: levels and coefficients at the K times.
        weights: (K, members, batch) w_s alpha/det, from the error of the target to the weighted error of eps.
        plain: (K, members, batch) weights of the squared errors in L_simple.
        rho, fresh: correlations of neighbours and fresh noises, (K - 1, members, batch, 1 or d).
        mix: (2, members, 1) whether L_simple is kept, and lambda.
    """

    alphas: Tensor
    sigmas: Tensor
    as_: Tensor
    bs: Tensor
    weights: Tensor
    plain: Tensor
    rho: Tensor
    fresh: Tensor
    mix: Tensor


def windows(chain: Chain, window: Window) -> tuple[Tensor, Tensor]:
    """All windows: times (N, K) int64 and weights (N, K) float64; N = T (code) or T + K (paper).

    >>> windows(Chain.linear(3), Window(2))[0].tolist()
    [[1, 1], [2, 1], [3, 2]]
    >>> windows(Chain.linear(3), Window(2))[1].tolist()
    [[1.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    """
    s, w, _ = window.times(window.starts(chain), chain)
    return s, w


def correlation(chain: Chain, s: Tensor, t: Tensor, coupling: str) -> Tensor:
    """rho of the noises at times s and t (broadcast together), float64; 1 where s = t.

    Raises:
        ValueError: for an unknown coupling, or times on the host outside 1..T.
    """
    if coupling not in COUPLINGS:
        raise ValueError(f"coupling = {coupling!r} is unknown; allowed: {', '.join(COUPLINGS)}")
    s, t = torch.broadcast_tensors(torch.as_tensor(s), torch.as_tensor(t))
    for name, value in (("s", s), ("t", t)):
        # As for schedules, only the host's times are checked: a comparison on a GPU would be a host sync.
        if value.device.type == "cpu" and not bool(((value >= 1) & (value <= chain.T)).all()):
            raise ValueError(f"{name} ranges over [{value.min()}, {value.max()}]; allowed: 1..{chain.T}")
    if coupling != "markov":
        other = 1.0 if coupling == "shared" else 0.0
        return torch.where(s == t, torch.ones((), dtype=torch.float64, device=s.device), other)
    early, late = torch.minimum(s, t), torch.maximum(s, t)
    return (0.5 * (chain.log_snr(late) - chain.log_snr(early))).exp()


def window_noise(first: Tensor, fresh: Tensor, rho: Tensor) -> Tensor:
    """The noises of windows, (K, ...), from that of their first step and K - 1 fresh ones.

    eps_j = rho_j eps_{j-1} + sqrt(1 - rho_j^2) z_j: for Gaussian noises this gives each coupling its joint law, in
    either direction of time, since both are determined by the correlations of neighbours.

    Args:
        first: (...) the noise of step 0.
        fresh: (K - 1, ...) independent noises.
        rho: (K - 1, ...) correlations of neighbours, with as many axes as ``fresh``.
    """
    noises = [first]
    for z, r in zip(fresh, rho):
        noises.append(r * noises[-1] + (1 - r.square()).clamp(min=0).sqrt() * z)
    return torch.stack(noises)


class Losses(NamedTuple):
    """The two parts of the SA loss, means per dimension; the joint loss is simple + lambda sequence."""

    simple: Tensor
    sequence: Tensor


def combine(errors: Tensor, w: Tensor, plain: Tensor, dims: int) -> Losses:
    """Both losses, sample by sample, from the errors of windows: (K, ...) with ``dims`` axes of one sample last."""
    axes = tuple(range(-dims, 0))
    lead = w.shape + (1,) * dims
    mean = (w.reshape(lead) * errors).sum(0) / len(errors)
    return Losses((plain * errors.square().mean(axes)).sum(0), mean.square().mean(axes))


def sa_loss(
    f: Callable[[Tensor, Tensor], Tensor],
    x0: Tensor,
    chain: Chain,
    window: Window | None = None,
    *,
    generator: torch.Generator | int,
    t: Tensor | None = None,
) -> Losses:
    r"""L_simple and L_sa of a noise predictor at clean samples ``x0``: one draw of t and of the noises a sample.

        L_simple = E |f(x_t, t) - eps_t|^2/d,      L_sa = E |(1/K) sum_s w_s (f(x_s, s) - eps_s)|^2/d

    *Cost.* A sample needs its K noised versions evaluated, K times the cost of the plain loss. ``f`` is called once,
    with all K n of them in one batch. L_simple takes its error from the same evaluations.

    Args:
        f: (x, t) -> predicted noise, t of shape (K n,), such as :meth:`diffnotes.Denoiser.eps`. A stacked
            ensemble (``f.members``) gets (members, K n, ...) and t of (members, K n).
        x0: (n, d), (n, c, h, w); for an ensemble one more leading axis.
        chain: the chain whose steps windows run over.
        window: the loss; by default that of the published code with K = 2 and lambda = 1.
        generator: draws t (unless given) and the noises.
        t: where windows begin, (n,) whole numbers.

    Returns:
        (simple, sequence), scalars; for an ensemble (members,).

    Raises:
        ValueError: for shapes that do not fit and, on the host, a t outside the window's range or samples that are
            not finite.
        TypeError: without a generator or seed, or for a schedule that is no chain.

    Source: Nguyen et al. 2024, section 3.2; functions/losses.py of the published code.

    >>> f = lambda x, t: torch.zeros_like(x)
    >>> simple, sequence = sa_loss(f, torch.zeros(100_000, 1), Chain.linear(1000), Window(2), generator=0)
    >>> round(float(simple), 1), round(float(sequence), 1)
    (1.0, 0.5)
    """
    window = Window() if window is None else window
    if not isinstance(chain, Chain):
        raise TypeError(f"chain = {chain!r} is no Chain: windows run over the steps of one")
    stacked = getattr(f, "members", None) is not None or getattr(getattr(f, "__self__", None), "members", None)
    axis, here = 1 if stacked else 0, x0.device.type == "cpu"  # elsewhere a look at the numbers would be a host sync
    if x0.ndim < 2 + axis or not x0.is_floating_point() or (here and not bool(x0.isfinite().all())):
        raise ValueError(f"x0 of shape {tuple(x0.shape)}, {x0.dtype}; allowed: finite floats (n, d) or (n, c, h, w)")
    generator, n = generator_of(generator, x0.device), x0.shape[axis]
    if t is None:
        u = torch.rand(n, generator=generator, device=x0.device, dtype=torch.float64)
        t = window.start(u, chain)
    first = int(window.starts(chain)[0])
    known = t.device.type != "cpu" or bool(((t >= first) & (t <= chain.T) & (t == t.round())).all())
    if t.shape != (n,) or not known:
        raise ValueError(f"t = {t.flatten()[:4].tolist()} of shape {tuple(t.shape)}; allowed: {n} whole numbers in "
                         f"{first}..{chain.T}")
    s, w, plain = (part.movedim(-1, 0) for part in window.times(t.to(x0.device), chain))  # (K, n)
    rho = correlation(chain, s[1:], s[:-1], window.coupling)
    draw = lambda *k: torch.randn(*k, *x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)  # noqa: E731
    first_noise, fresh = draw(), draw(window.K - 1)

    def along(value: Tensor) -> Tensor:
        """(.., n) laid against x0, in its dtype."""
        shape = value.shape[:-1] + (1,) * axis + (n,) + (1,) * (x0.ndim - axis - 1)
        return value.to(x0.device, x0.dtype).reshape(shape)

    eps = window_noise(first_noise, fresh, along(rho))
    alpha, sigma = (along(level) for level in chain(s))
    x = alpha * x0 + sigma * eps  # (K, [members,] n, ...)
    batch = x.movedim(0, axis).flatten(axis, axis + 1)
    given = s.flatten().to(x0.dtype)
    y = f(batch, given.expand(len(x0), -1) if stacked else given)
    if y.shape != batch.shape:
        raise ValueError(f"f returned shape {tuple(y.shape)}; allowed: that of its input, {tuple(batch.shape)}")
    errors = y.unflatten(axis, (window.K, n)).movedim(axis, 0) - eps
    if stacked:
        w, plain = w[:, None], plain[:, None]
    losses = combine(errors, w.to(x0), plain.to(x0), x0.ndim - axis - 1)
    return Losses(*(part.mean(-1) for part in losses))
