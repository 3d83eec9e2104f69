r"""Noise schedules: how much signal and how much noise a sample holds at time t.

The forward process of every chapter is

    x_t = alpha_t x_0 + sigma_t eps,        eps ~ N(0, I),        SNR(t) = alpha_t^2 / sigma_t^2,

so a *schedule* is no more than the function t -> (alpha_t, sigma_t), decreasing in SNR. The same law is the
solution of the linear stochastic differential equation

    dx = f(t) x dt + g(t) dw,      f = d log(alpha)/dt,      g^2 = d(sigma^2)/dt - 2 f sigma^2,

which for a variance-preserving (VP) schedule, alpha^2 + sigma^2 = 1, reads dx = -beta/2 x dt + sqrt(beta) dw with
beta = -2 f. Two kinds are defined: :class:`Schedule`, in continuous time on [0, 1], and :class:`Chain`, the
discrete Markov chain t = 0, 1, ..., T of DDPM. Both are called as ``schedule(t)``.

Numerics: sigma is computed as sqrt(-expm1(2 log alpha)), never as sqrt(1 - alpha^2), whose relative error
in float32 is 6e-3 at t = 1e-5 and which can return exactly 0.

References: Song et al. 2021 (arXiv 2011.13456); Ho et al. 2020 (arXiv 2006.11239); Nichol and Dhariwal 2021
(arXiv 2102.09672); Xu et al. 2022 (arXiv 2203.02923); Lin et al. 2024 (arXiv 2305.08891); Karras et al. 2022 (arXiv
2206.00364).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, wraps

import torch
from torch import Tensor

from .numbers import count, floats, number, positive, rounded, tensor

__all__ = ["EDM", "Chain", "Constant", "Cosine", "Linear", "Quadratic", "Schedule", "Sigmoid", "ZeroTerminalSNR"]


_TINY = 1e-25  # times and parameters below it, or above its inverse, are beyond what float32 squares and products hold


def _time(t: float | Tensor) -> tuple[Tensor, bool]:
    """``t`` as a floating tensor (float64 from numbers), checked to lie in [0, 1], and whether some t is tiny."""
    t = floats(t, "t")
    # A look at values on a GPU would be a host sync in every sampler step, so only the host's times are checked.
    if t.device.type != "cpu" or not t.numel():
        return t, False
    low, high = (float(end) for end in torch.aminmax(t.detach()))
    if not (low >= 0 and high <= 1):
        raise ValueError(f"t = {t.flatten()[:4].tolist()} is outside the allowed range [0, 1]")
    return t, low < _TINY and bool(((t > 0) & (t < _TINY)).any())


def _of_time(method: Callable) -> Callable:
    """A method of times t: numbers of any kind come in as tensors, and what float32 cannot hold is done in float64.

    float64 and ordinary float32 times are computed as they are; narrower ones, tiny ones, and schedules of extreme
    parameters in float64, rounded once.
    """

    @wraps(method)
    def call(self, t: float | Tensor, *more, **named):
        t, tiny = _time(t)
        if t.dtype == torch.float64 or (t.dtype == torch.float32 and not tiny and not self._extreme):
            return method(self, t, *more, **named)
        return rounded(method(self, t.double(), *more, **named), t.dtype)

    return call


def _of_value(method: Callable) -> Callable:
    """As :func:`_of_time` for methods whose argument is not checked to be a time."""

    @wraps(method)
    def call(self, *given, **named):
        (value,) = (*given, *named.values())
        value = floats(value, method.__name__.removeprefix("time_of_") if "log_snr" in method.__name__ else "t")
        if value.dtype == torch.float64 or (value.dtype == torch.float32 and not self._extreme):
            return method(self, value)
        return rounded(method(self, value.double()), value.dtype)

    return call


def _target(log_snr: Tensor) -> Tensor:
    """A wanted log SNR, which must not be nan (looked at on the host only)."""
    if log_snr.device.type == "cpu" and bool(log_snr.isnan().any()):
        raise ValueError(f"log_snr = {log_snr.flatten()[:4].tolist()}; allowed: numbers, and -inf or inf")
    return log_snr


def _below(values: Tensor, limit: float) -> bool:
    """Whether some value is below ``limit``; on a GPU, where a look would be a host sync, always."""
    return values.device.type != "cpu" or (values.numel() > 0 and float(values.detach().min()) < limit)


def _above(values: Tensor, limit: float) -> bool:
    """Whether all values are known to be above ``limit``: looked at on the host only."""
    return values.device.type == "cpu" and (values.numel() == 0 or float(values.detach().min()) > limit)


class _Levels(ABC):
    """What follows from t -> (alpha, sigma) alone."""

    @abstractmethod
    def __call__(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), each of the shape of ``t``."""

    @abstractmethod
    def log_of_alpha(self, t: Tensor) -> Tensor:
        """log(alpha_t), also where alpha_t itself is below the smallest number."""

    def log_snr(self, t: float | Tensor) -> Tensor:
        """lambda_t = log(alpha_t^2 / sigma_t^2); +inf where there is no noise, -inf where there is no signal."""
        alpha, sigma = self(t)
        log, smallest = alpha.log(), torch.finfo(alpha.dtype).tiny
        if _below(alpha, smallest):
            log = torch.where(alpha < smallest, self.log_of_alpha(t), log)
        return 2 * (log - sigma.log())

    def snr(self, t: float | Tensor) -> Tensor:
        """alpha_t^2 / sigma_t^2, the signal-to-noise ratio for data of unit variance."""
        alpha, sigma = self(t)
        return (alpha / sigma) ** 2


class Schedule(_Levels):
    """A noise schedule in continuous time: ``schedule(t) -> (alpha, sigma)`` for t in [0, 1].

    A subclass gives log(alpha) and its time derivative; variance-preserving schedules need nothing else.
    Shapes and dtype follow ``t``; numbers, numpy arrays and integers give float64. Half precision is computed in
    float64 and rounded once. Times outside [0, 1] raise a ValueError.

    >>> alpha, sigma = Linear()(0.5)
    >>> round(float(alpha**2 + sigma**2), 12)
    1.0
    """

    def __init_subclass__(cls, **options) -> None:
        super().__init_subclass__(**options)
        for name in _TIMED | _VALUED:
            if name in vars(cls):
                setattr(cls, name, (_of_time if name in _TIMED else _of_value)(vars(cls)[name]))

    @cached_property
    def _extreme(self) -> bool:
        """Whether a parameter is beyond what float32 can square and multiply."""
        fields = [getattr(self, name) for name in getattr(self, "__dataclass_fields__", ())]
        return any(value._extreme if isinstance(value, Schedule) else value != 0 and not _TINY < abs(value) < 1 / _TINY
                   for value in fields if isinstance(value, (float, Schedule)))

    def log_of_alpha(self, t: Tensor) -> Tensor:
        return self.log_alpha(t)

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor:
        """log(alpha_t)."""

    @abstractmethod
    def drift(self, t: float | Tensor) -> Tensor:
        """f(t) = d log(alpha_t)/dt, the drift rate of the forward equation (per unit of time)."""

    def __call__(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), each of the shape of ``t``."""
        log_alpha = self.log_alpha(t)
        sigma = (-torch.expm1(2 * log_alpha)).sqrt()
        if t.device.type == "cpu" and _below(t, _TINY):  # on a GPU not worth more launches in every call
            lost = (sigma < torch.finfo(t.dtype).tiny ** 0.5) & (t > 0)  # there beta t underflows
            sigma = torch.where(lost, self.beta(t).sqrt() * t.sqrt(), sigma)
        return log_alpha.exp(), sigma

    def diffusion(self, t: float | Tensor) -> Tensor:
        """g(t)^2 = d sigma^2/dt - 2 f sigma^2; for a variance-preserving schedule this is beta(t) = -2 f(t)."""
        return -2 * self.drift(t)

    def rates(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha/dt, d sigma/dt) = (f alpha, (g^2/2 + f sigma^2)/sigma); the second is infinite where sigma = 0."""
        (alpha, sigma), drift = self(t), self.drift(t)
        alpha_rate, sigma_rate = drift * alpha, (self.diffusion(t) / 2 + drift * sigma**2) / sigma
        if type(self).diffusion is Schedule.diffusion and _below(1 - sigma, 0.5 * torch.finfo(sigma.dtype).eps):
            # Variance preserving: g^2/2 + f sigma^2 = -f alpha^2, which is written so where the sum has no digits left.
            alpha_rate = torch.where(alpha == 0, self._rate_at_no_signal(t, drift), alpha_rate)
            sigma_rate = torch.where(sigma == 1, -alpha * alpha_rate / sigma, sigma_rate)
        return alpha_rate, sigma_rate

    def _rate_at_no_signal(self, t: Tensor, drift: Tensor) -> Tensor:
        """d alpha/dt where alpha = 0: 0, unless a schedule reaches it with a slope."""
        return torch.zeros_like(drift)

    def log_snr_rate(self, t: float | Tensor) -> Tensor:
        """d log SNR/dt = -g(t)^2/sigma(t)^2; with t uniform, log SNR has the density 1/|rate|."""
        return -self.diffusion(t) / self(t)[1].square()

    def beta(self, t: float | Tensor) -> Tensor:
        """beta(t) = -2 d log(alpha_t)/dt, the rate at which the signal is forgotten (per unit of time)."""
        return -2 * self.drift(t)

    def time_of_log_snr(self, log_snr: float | Tensor) -> Tensor:
        """The t with log SNR(t) = ``log_snr``, by bisection (SNR decreases in t); 0 above and 1 below all that occur.

        Raises ValueError for nan.
        """
        target = _target(log_snr)
        low, high = torch.zeros_like(target), torch.ones_like(target)
        first, last = self.log_snr(low), self.log_snr(high)
        for _ in range(60 if target.dtype == torch.float64 else 30):
            middle = (low + high) / 2
            too_clean = self.log_snr(middle) > target
            low, high = torch.where(too_clean, middle, low), torch.where(too_clean, high, middle)
        return torch.where(target >= first, 0, torch.where(target <= last, 1, (low + high) / 2))


_TIMED = {"__call__", "drift", "diffusion", "rates", "log_snr", "snr", "log_snr_rate", "beta"}
_VALUED = {"log_alpha", "time_of_log_snr"}
Schedule.__init_subclass__.__func__(Schedule)  # the methods that subclasses inherit, as those that they define
for _name in ("log_snr", "snr"):
    setattr(Schedule, _name, _of_time(getattr(_Levels, _name)))


def _set(schedule: Schedule, **values: float) -> None:
    """Store checked parameters as plain floats in a frozen schedule."""
    for name, value in values.items():
        object.__setattr__(schedule, name, value)


def _keep_positive(schedule: Schedule, *names: str) -> None:
    _set(schedule, **dict(zip(names, positive(**{name: getattr(schedule, name) for name in names}))))


@dataclass(frozen=True)
class Linear(Schedule):
    """VP schedule with beta(t) = beta_min + (beta_max - beta_min) t (Song et al. 2021, eq. 32-33).

    log(alpha_t) = -beta_min t/2 - (beta_max - beta_min) t^2/4. The default is the limit of DDPM's linear chain.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _keep_positive(self, "beta_min", "beta_max")

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

    def drift(self, t: float | Tensor) -> Tensor:
        return -0.5 * (self.beta_min + t * (self.beta_max - self.beta_min))

    def time_of_log_snr(self, log_snr: float | Tensor) -> Tensor:
        """The t with log SNR(t) = ``log_snr``, in closed form, clamped to [0, 1].

        -2 log(alpha) = log(1 + 1/SNR) is quadratic in t; the root is written without a difference of equal numbers.
        """
        decay = torch.nn.functional.softplus(-_target(log_snr), threshold=50)
        half, last = self.beta_min / 2, self.beta_min / 2 + self.beta_max / 2  # last: at t = 1, beyond which it is 1
        under = (half**2 + (self.beta_max - self.beta_min) / 2 * decay.clamp(max=last)).clamp(min=0)
        return torch.where(decay >= last, 1, decay / (half + under.sqrt())).clamp(0, 1)


@dataclass(frozen=True)
class Quadratic(Schedule):
    """VP schedule whose sqrt(beta) is linear in t (the "quadratic" chain of latent diffusion models).

    beta(t) = (r_0 + (r_1 - r_0) t)^2 with r_0^2 = beta_min, r_1^2 = beta_max.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _keep_positive(self, "beta_min", "beta_max")

    @property
    def _roots(self) -> tuple[float, float]:
        return math.sqrt(self.beta_min), math.sqrt(self.beta_max) - math.sqrt(self.beta_min)

    def log_alpha(self, t: Tensor) -> Tensor:
        first, slope = self._roots
        return -0.5 * t * (first**2 + t * (first * slope + t * slope**2 / 3))

    def drift(self, t: float | Tensor) -> Tensor:
        first, slope = self._roots
        return -0.5 * (first + slope * t) ** 2


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """VP schedule beta(t) = beta_min + (beta_max - beta_min) S(slope (2 t - 1)), S the logistic function.

    Xu et al. 2022 (arXiv 2203.02923, published code, slope 6). beta(0) exceeds beta_min by S(-slope) of the range.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    slope: float = 6.0

    def __post_init__(self) -> None:
        _keep_positive(self, "beta_min", "beta_max", "slope")

    def log_alpha(self, t: Tensor) -> Tensor:
        # The integral of S is a difference of softplus functions, as one log1p so that it keeps its digits at t = 0.
        start = 1 / (1 + math.exp(self.slope)) if self.slope < 700 else 0.0
        if self.slope < 1e-8:
            area = t * (start + self.slope * t * start * (1 - start))  # the first two terms in the slope
        else:
            end = math.log(torch.finfo(t.dtype).max) - 0.1  # beyond it expm1 overflows
            area = torch.log1p(torch.expm1((2 * self.slope * t).clamp(max=end)) * start) / (2 * self.slope)
            if 2 * self.slope > end:
                # log(1 + e^u) = max(u, 0) + log(1 + e^-|u|), u = slope (2 t - 1), less its value at t = 0.
                rest = torch.log1p((-self.slope * (2 * t - 1).abs()).exp()) - math.log1p(math.exp(-self.slope))
                far = (t - 0.5).clamp(min=0) + rest / 2 / self.slope
                area = torch.where((2 * t > end / self.slope) | (self.slope > 300), far, area)
        return -0.5 * (self.beta_min * t + (self.beta_max - self.beta_min) * area)

    def drift(self, t: float | Tensor) -> Tensor:
        rise = torch.sigmoid(self.slope * (2 * t - 1))
        return -0.5 * (self.beta_min + (self.beta_max - self.beta_min) * rise)


@dataclass(frozen=True)
class Cosine(Schedule):
    """VP schedule alpha_t = cos(a(t)) / cos(a(0)), a(t) = (t + offset)/(1 + offset) pi/2 (Nichol and Dhariwal 2021).

    alpha_1 = 0: there is no signal left at t = 1, where log SNR is -inf and beta diverges.
    """

    offset: float = 0.008

    def __post_init__(self) -> None:
        offset = number(self.offset, "offset")
        if not (math.isfinite(offset) and offset >= 0):
            raise ValueError(f"offset = {offset} must be a finite number >= 0")
        _set(self, offset=offset)

    def _first(self) -> float:
        """cos(a(0)), as the sine of the other angle where the offset is large."""
        half = math.pi / 2 / (1 + self.offset)
        return math.cos(self.offset * half) if self.offset < 1 else math.sin(half)

    def log_alpha(self, t: Tensor) -> Tensor:
        # cos(a) = sin(pi/2 - a), which is exactly 0 at t = 1 and does not lose digits on the way there.
        half = math.pi / 2 / (1 + self.offset)
        # log cos(a(t)) - log cos(a(0)) through log1p, so that log(alpha) keeps its digits near t = 0.
        start = self.offset * half
        near = torch.log1p(-2 * torch.sin(half * t / 2) * torch.sin(start + half * t / 2) / self._first())
        far = torch.sin(half * (1 - t)).log() - math.log(self._first())
        return torch.where(t < 0.5, near, far)

    def drift(self, t: float | Tensor) -> Tensor:
        half = math.pi / 2 / (1 + self.offset)
        return -half * torch.cos(half * (1 - t)) / torch.sin(half * (1 - t))

    def _rate_at_no_signal(self, t: Tensor, drift: Tensor) -> Tensor:
        half = math.pi / 2 / (1 + self.offset)
        return -half * torch.cos(half * (1 - t)) / self._first()


@dataclass(frozen=True)
class Constant(Schedule):
    """VP schedule with constant beta: the Ornstein-Uhlenbeck process, alpha_t = exp(-beta t/2)."""

    rate: float = 10.0

    def __post_init__(self) -> None:
        _keep_positive(self, "rate")

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * self.rate * t

    def drift(self, t: float | Tensor) -> Tensor:
        return torch.full_like(t, -0.5 * self.rate)


@dataclass(frozen=True)
class ZeroTerminalSNR(Schedule):
    """``base`` with alpha shifted and scaled so that alpha_1 = 0 while alpha_0 = 1 is kept (Lin et al. 2024, alg. 1).

    alpha_t = (a_t - a_1)/(1 - a_1), where a is the alpha of ``base``; VP.
    """

    base: Schedule = field(default_factory=Linear)

    def __post_init__(self) -> None:
        base = self.base
        if not isinstance(base, Schedule):
            raise TypeError(f"base = {base!r}; allowed: a schedule in continuous time")
        ends = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
        alpha, sigma = base(ends)
        preserving = bool(((alpha.square() + sigma.square() - 1).abs() < 1e-9).all())
        if not (preserving and float(alpha[0]) == 1 and float(base.log_alpha(ends)[2]) < 0):
            raise ValueError(f"base = {base!r}; allowed: variance-preserving schedules whose alpha falls from 1")

    def _log_last(self, like: Tensor) -> Tensor:
        return self.base.log_alpha(torch.ones_like(like))

    def log_alpha(self, t: Tensor) -> Tensor:
        # 1 - alpha_t = (1 - a_t)/(1 - a_1); near t = 0 this keeps the digits that 1 - alpha_t would lose. Both by
        # expm1, so that the ratio is exactly 1 at t = 1; the clamp keeps a last digit from making log1p a NaN.
        now, last = self.base.log_alpha(t), self._log_last(t)
        lost = torch.expm1(now) / torch.expm1(last)
        found = torch.log1p(-lost.clamp(max=1))
        kept, least = 1 - lost, 8 * torch.finfo(lost.dtype).eps
        if _below(kept, least):
            # Hardly any signal left: alpha_t = a_t (1 - a_1/a_t)/(1 - a_1) in logarithms.
            share = (-torch.expm1((last - now).clamp(max=0))).log() - (-torch.expm1(last)).log()
            found = torch.where((kept < least) & (now > -math.inf), now + share, found)
        return found

    def drift(self, t: float | Tensor) -> Tensor:
        now, last = self.base.log_alpha(t), self._log_last(t)
        alpha, end = now.exp(), last.exp()
        found = self.base.drift(t) * alpha / (alpha - end)
        kept, least = (alpha - end) / alpha, 8 * torch.finfo(t.dtype).eps  # nan where alpha itself underflows
        if not _above(kept, least):
            share = -torch.expm1((last - now).clamp(max=0))  # 1 - a_1/a_t, 0 at the end
            at_end = (now == last) | (share == 0)
            limit = torch.where(at_end, -math.inf, self.base.drift(t) / share)
            found = torch.where(kept > least, found, limit)
        return found

    def _rate_at_no_signal(self, t: Tensor, drift: Tensor) -> Tensor:
        return self.base.rates(t)[0] / -torch.expm1(self._log_last(t))


@dataclass(frozen=True)
class EDM(Schedule):
    """Variance-exploding schedule of Karras et al. 2022: alpha_t = 1, sigma on the rho-grid of their eq. 5.

    sigma_t = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho; sigma_0 = sigma_min > 0.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _keep_positive(self, "sigma_min", "sigma_max", "rho")
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min = {self.sigma_min} must be less than sigma_max = {self.sigma_max}")

    @cached_property
    def _plain(self) -> bool:
        """Whether powers of the roots hold their digits; else all is done in logarithms."""
        return 0.5 <= self.rho <= 100 and self.sigma_min > _TINY and self.sigma_max < 1 / _TINY

    def _log_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """log sigma_t and the log of its rate: sigma_max (q + t (1 - q))^rho with q = (sigma_min/sigma_max)^(1/rho).

        As sums of logarithms, so that no rho and no range of sigma overflows; rho -> inf is linear in t.
        """
        span = (math.log(self.sigma_max) - math.log(self.sigma_min)) / self.rho
        gap = -math.expm1(-span)  # 1 - q
        log_root = torch.log1p(-gap * (1 - t)) if span < 0.7 else (math.exp(-span) + t * gap).log().clamp(min=-span)
        return math.log(self.sigma_max) + self.rho * log_root, math.log(self.rho) + math.log(gap) - log_root

    def rates(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(0, d sigma/dt) = (0, g^2/(2 sigma))."""
        return super().rates(t) if self._plain else (torch.zeros_like(t), sum(self._log_sigma(t)).exp())

    def log_snr(self, t: float | Tensor) -> Tensor:
        """-2 log sigma_t."""
        return super().log_snr(t) if self._plain else -2 * self._log_sigma(t)[0]

    def log_snr_rate(self, t: float | Tensor) -> Tensor:
        """-2 d log sigma_t/dt."""
        return super().log_snr_rate(t) if self._plain else -2 * self._log_sigma(t)[1].exp()

    def _root(self, t: Tensor) -> tuple[Tensor, float]:
        first, last = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return first + t * (last - first), last - first

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def __call__(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        if not self._plain:
            return torch.ones_like(t), self._log_sigma(t)[0].exp().clamp(self.sigma_min, self.sigma_max)
        return torch.ones_like(t), self._root(t)[0] ** self.rho

    def drift(self, t: float | Tensor) -> Tensor:
        return torch.zeros_like(t)

    def diffusion(self, t: float | Tensor) -> Tensor:
        if not self._plain:
            log_sigma, log_rate = self._log_sigma(t)
            return 2 * (2 * log_sigma + log_rate).exp()
        root, slope = self._root(t)
        return 2 * self.rho * slope * root ** (2 * self.rho - 1)


_FAINT = math.log(1e-8)  # of alpha_t, below which 1 - beta_t has too few digits to give alpha_bar


class Chain(_Levels):
    r"""The Markov chain of DDPM, q(x_t | x_{t-1}) = N(sqrt(alpha_t) x_{t-1}, beta_t I), t = 1, ..., T.

    Every array is float64, of length T + 1, and indexed by the mathematical t; entry 0 stands for clean data.

    ==============  ==================================================================================
    ``beta``        beta_t, the variance added at step t (beta_0 = 0)
    ``alpha``       alpha_t = 1 - beta_t
    ``alpha_bar``   alpha_bar_t = alpha_1 ... alpha_t (1 at t = 0); sqrt(alpha_bar_t) is a schedule's alpha
    ``gamma1``      coefficient of x_0 in the mean of q(x_{t-1} | x_t, x_0)
    ``gamma2``      coefficient of x_t in that mean
    ``beta_tilde``  variance of q(x_{t-1} | x_t, x_0); 0 at t = 1
    ``tau``         weight of the error of step t in the total estimation gap (0 at t = 0 and 1)
    ==============  ==================================================================================

    Raises ValueError for an empty list of betas or a beta outside (0, 1).
    Source: Ho et al. 2020, eq. 2-7; tau: Nguyen et al. 2024 (arXiv 2312.12431), Theorem 1.

    >>> chain = Chain.linear(1000)
    >>> chain.alpha_bar.shape, float(chain.alpha_bar[0])
    (torch.Size([1001]), 1.0)
    """

    def __init__(self, betas: Tensor) -> None:
        betas = floats(betas, "betas", torch.float64).cpu()
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(f"betas has shape {tuple(betas.shape)}; allowed: a list of at least one beta")
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(f"betas range over [{betas.min():g}, {betas.max():g}]; allowed: the open interval (0, 1)")
        beta = torch.cat([torch.zeros(1, dtype=torch.float64), betas])
        # Sums of log1p keep the digits of 1 - alpha_bar, which is of the order of 1e-4 at the first steps.
        self._set(beta, 1 - beta, torch.log1p(-beta).cumsum(0))

    def _set(self, beta: Tensor, alpha: Tensor, log_alpha_bar: Tensor) -> None:
        """All columns from beta, alpha and log alpha_bar, each (T + 1,)."""
        zero = torch.zeros(1, dtype=torch.float64)
        self.beta, self.alpha, self._log_alpha_bar = beta, alpha, log_alpha_bar
        self._sent: dict[tuple[str, torch.device], Tensor] = {}
        self.alpha_bar = self._log_alpha_bar.exp()
        noise = -torch.expm1(self._log_alpha_bar)
        before = torch.cat([zero, zero, noise[1:-1]])  # sigma^2 one step earlier; unused at t = 0
        self.gamma1, self.gamma2, self.beta_tilde, self.tau = (torch.zeros_like(self.beta) for _ in range(4))
        self.gamma1[1:] = (self.alpha_bar[:-1].sqrt() * self.beta[1:]) / noise[1:]
        self.gamma2[1:] = (self.alpha.sqrt()[1:] * before[1:]) / noise[1:]
        self.beta_tilde[1:] = before[1:] / noise[1:] * self.beta[1:]
        self.tau[2:] = (
            (self.alpha_bar[1:-1] / self.alpha[1]).sqrt() * noise[1] / noise[1:-1]
            * self.gamma1[2:] * (noise[2:] / self.alpha_bar[2:]).sqrt()
        )
        # Where alpha_bar is below the smallest number, 0/0: the same product with its ratio taken in logarithms.
        log = self._log_alpha_bar
        ratio = (log[1:-1] - 0.5 * log[2:] - 0.5 * torch.log1p(-self.beta[1])).exp() * self.beta[2:] / noise[2:].sqrt()
        faint = self.alpha_bar < torch.finfo(torch.float64).tiny
        self.tau[2:] = torch.where(faint[2:], ratio * noise[1] / noise[1:-1], self.tau[2:])

    @classmethod
    def from_betas(cls, betas) -> Chain:
        """The chain with the given beta_1, ..., beta_T, each in (0, 1)."""
        return cls(betas)

    @classmethod
    def linear(cls, T: int, beta_first: float = 1e-4, beta_last: float = 0.02) -> Chain:
        """beta rising linearly from ``beta_first`` at t = 1 to ``beta_last`` at t = T (Ho et al. 2020, section 4)."""
        first, last = number(beta_first, "beta_first"), number(beta_last, "beta_last")
        return cls(torch.linspace(first, last, count(T, "T", 1), dtype=torch.float64))

    @classmethod
    def cosine(cls, T: int, offset: float = 0.008, beta_max: float = 0.999) -> Chain:
        """alpha_bar from the cosine schedule, beta clipped at ``beta_max`` (Nichol and Dhariwal 2021, eq. 17)."""
        return cls.from_schedule(Cosine(offset), T, beta_max)

    @classmethod
    def from_schedule(cls, schedule: Schedule, T: int, beta_max: float = 0.999) -> Chain:
        """The chain that visits the levels of a VP ``schedule`` at t/T, t = 1..T, beta clipped at ``beta_max``."""
        beta_max = number(beta_max, "beta_max")
        times = torch.linspace(0, 1, count(T, "T", 1) + 1, dtype=torch.float64)
        alpha, sigma = schedule(times)
        if not torch.allclose(alpha**2 + sigma**2, torch.ones_like(alpha)):
            raise ValueError(f"schedule = {schedule} is not variance preserving: alpha^2 + sigma^2 must be 1")
        log_alpha = schedule.log_alpha(times)
        return cls((-torch.expm1(2 * (log_alpha[1:] - log_alpha[:-1]))).clamp(max=beta_max))

    def respaced(self, steps: int) -> Chain:
        """The chain of ``steps`` steps that visits evenly spaced levels of this one, the last one included.

        Step i of the new chain is step round(i T / steps) of this one, so alpha_bar is kept at the visited levels. A
        step may lose so much signal that its beta rounds to 1; its alpha and alpha_bar are right all the same.
        """
        log_alpha_bar = self._log_alpha_bar[self.visited(steps)]
        log_alpha = log_alpha_bar[1:] - log_alpha_bar[:-1]
        betas = -torch.expm1(log_alpha)
        if float(log_alpha.min()) > _FAINT:
            return Chain(betas)
        chain, zero = object.__new__(Chain), torch.zeros(1, dtype=torch.float64)
        chain._set(torch.cat([zero, betas]), torch.cat([zero, log_alpha]).exp(), log_alpha_bar)
        return chain

    def visited(self, steps: int) -> Tensor:
        """The times 0 = t_0 < ... < t_steps = T that :meth:`respaced` visits, as integers of this chain."""
        steps = count(steps, "steps", 1, self.T)
        return (torch.arange(steps + 1, dtype=torch.float64) * self.T / steps).round().long()

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.beta) - 1

    def __call__(self, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """(sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t)) at whole t in 0..T, in float64 on the device of ``t``."""
        t = tensor(t, "t")
        if t.dtype == torch.bool:
            raise TypeError(f"t is {t.dtype}; allowed: whole numbers in 0..{self.T}")
        if t.device.type == "cpu" and not bool(((t >= 0) & (t <= self.T) & (t == t.round())).all()):
            raise ValueError(f"t = {t.flatten()[:4].tolist()} must be a whole number in 0..{self.T}")
        log_alpha_bar = self.table("_log_alpha_bar", t.device)[t.long()]
        return (0.5 * log_alpha_bar).exp(), (-torch.expm1(log_alpha_bar)).sqrt()

    def log_of_alpha(self, t: Tensor) -> Tensor:
        t = tensor(t, "t")
        return 0.5 * self.table("_log_alpha_bar", t.device)[t.long()]

    def table(self, name: str, device: torch.device) -> Tensor:
        """The array ``name`` on a device, sent there once."""
        if device.type == "cpu":
            return getattr(self, name)
        if (name, device) not in self._sent:
            self._sent[name, device] = getattr(self, name).to(device)
        return self._sent[name, device]

    def __getstate__(self) -> dict:
        return vars(self) | {"_sent": {}}  # copies on a device stay there

    def time_of_log_snr(self, log_snr: float | Tensor) -> Tensor:
        """The whole t in 1..T whose log SNR is nearest to ``log_snr``. Raises ValueError for nan."""
        given = _target(floats(log_snr, "log_snr", torch.float64))
        return self.T - torch.bucketize(given, self.table("_between", given.device))

    @cached_property
    def _between(self) -> Tensor:
        """The means of neighbouring levels of log SNR, increasing."""
        levels = self.log_snr(torch.arange(1, self.T + 1)).flip(0)
        return (levels[1:] + levels[:-1]) / 2

    def __repr__(self) -> str:
        return f"Chain(T={self.T}, beta={self.beta[1]:.3g}..{self.beta[-1]:.3g}, alpha_bar_T={self.alpha_bar[-1]:.3g})"
