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
from dataclasses import dataclass, field

import torch
from torch import Tensor

__all__ = ["EDM", "Chain", "Constant", "Cosine", "Linear", "Quadratic", "Schedule", "Sigmoid", "ZeroTerminalSNR"]


def _time(t: float | Tensor, last: float = 1.0) -> Tensor:
    """``t`` as a floating tensor (float64 from numbers), checked to lie in [0, last]."""
    t = torch.as_tensor(t, dtype=None if isinstance(t, Tensor) else torch.float64)
    if not t.is_floating_point():
        t = t.double()
    # A comparison on a GPU would be a host sync in every sampler step, so only the host's times are checked.
    if t.device.type == "cpu" and not bool(((t >= 0) & (t <= last)).all()):
        raise ValueError(f"t = {t.flatten()[:4].tolist()} is outside the allowed range [0, {last:g}]")
    return t


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} = {value} must be a positive, finite number")


class _Levels(ABC):
    """What follows from t -> (alpha, sigma) alone."""

    @abstractmethod
    def __call__(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), each of the shape of ``t``."""

    def log_snr(self, t: float | Tensor) -> Tensor:
        """lambda_t = log(alpha_t^2 / sigma_t^2); +inf where there is no noise, -inf where there is no signal."""
        alpha, sigma = self(t)
        return 2 * (alpha.log() - sigma.log())

    def snr(self, t: float | Tensor) -> Tensor:
        """alpha_t^2 / sigma_t^2, the signal-to-noise ratio for data of unit variance."""
        alpha, sigma = self(t)
        return (alpha / sigma) ** 2


class Schedule(_Levels):
    """A noise schedule in continuous time: ``schedule(t) -> (alpha, sigma)`` for t in [0, 1].

    A subclass gives log(alpha) and its time derivative; variance-preserving schedules need nothing else.
    Shapes and dtype follow ``t``; a plain number gives float64. Times outside [0, 1] raise a ValueError.

    >>> alpha, sigma = Linear()(0.5)
    >>> round(float(alpha**2 + sigma**2), 12)
    1.0
    """

    @abstractmethod
    def log_alpha(self, t: Tensor) -> Tensor:
        """log(alpha_t)."""

    @abstractmethod
    def drift(self, t: float | Tensor) -> Tensor:
        """f(t) = d log(alpha_t)/dt, the drift rate of the forward equation (per unit of time)."""

    def __call__(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t), each of the shape of ``t``."""
        log_alpha = self.log_alpha(_time(t))
        return log_alpha.exp(), (-torch.expm1(2 * log_alpha)).sqrt()

    def diffusion(self, t: float | Tensor) -> Tensor:
        """g(t)^2 = d sigma^2/dt - 2 f sigma^2; for a variance-preserving schedule this is beta(t) = -2 f(t)."""
        return -2 * self.drift(t)

    def rates(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """(d alpha/dt, d sigma/dt) = (f alpha, (g^2/2 + f sigma^2)/sigma); the second is infinite where sigma = 0."""
        (alpha, sigma), drift = self(t), self.drift(t)
        return drift * alpha, (self.diffusion(t) / 2 + drift * sigma**2) / sigma

    def log_snr_rate(self, t: float | Tensor) -> Tensor:
        """d log SNR/dt = -g(t)^2/sigma(t)^2; with t uniform, log SNR has the density 1/|rate|."""
        return -self.diffusion(t) / self(t)[1].square()

    def beta(self, t: float | Tensor) -> Tensor:
        """beta(t) = -2 d log(alpha_t)/dt, the rate at which the signal is forgotten (per unit of time)."""
        return -2 * self.drift(t)

    def time_of_log_snr(self, log_snr: float | Tensor) -> Tensor:
        """The t with log SNR(t) = ``log_snr``, by bisection (SNR decreases in t), clamped to [0, 1]."""
        target = torch.as_tensor(log_snr, dtype=None if isinstance(log_snr, Tensor) else torch.float64)
        low, high = torch.zeros_like(target), torch.ones_like(target)
        for _ in range(60 if target.dtype == torch.float64 else 30):
            middle = (low + high) / 2
            too_clean = self.log_snr(middle) > target
            low, high = torch.where(too_clean, middle, low), torch.where(too_clean, high, middle)
        return (low + high) / 2


@dataclass(frozen=True)
class Linear(Schedule):
    """VP schedule with beta(t) = beta_min + (beta_max - beta_min) t (Song et al. 2021, eq. 32-33).

    log(alpha_t) = -beta_min t/2 - (beta_max - beta_min) t^2/4. The default is the limit of DDPM's linear chain.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _positive(beta_min=self.beta_min, beta_max=self.beta_max)

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * t * (self.beta_min + 0.5 * t * (self.beta_max - self.beta_min))

    def drift(self, t: float | Tensor) -> Tensor:
        return -0.5 * (self.beta_min + _time(t) * (self.beta_max - self.beta_min))

    def time_of_log_snr(self, log_snr: float | Tensor) -> Tensor:
        """The t with log SNR(t) = ``log_snr``, in closed form, clamped to [0, 1].

        -2 log(alpha) = log(1 + 1/SNR) is quadratic in t; the root is written without a difference of equal numbers.
        """
        target = torch.as_tensor(log_snr, dtype=None if isinstance(log_snr, Tensor) else torch.float64)
        decay = torch.nn.functional.softplus(-target, threshold=50)
        half = self.beta_min / 2
        under = (half**2 + (self.beta_max - self.beta_min) / 2 * decay).clamp(min=0)
        return (decay / (half + under.sqrt())).clamp(0, 1)


@dataclass(frozen=True)
class Quadratic(Schedule):
    """VP schedule whose sqrt(beta) is linear in t (the "quadratic" chain of latent diffusion models).

    beta(t) = (r_0 + (r_1 - r_0) t)^2 with r_0^2 = beta_min, r_1^2 = beta_max.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        _positive(beta_min=self.beta_min, beta_max=self.beta_max)

    @property
    def _roots(self) -> tuple[float, float]:
        return math.sqrt(self.beta_min), math.sqrt(self.beta_max) - math.sqrt(self.beta_min)

    def log_alpha(self, t: Tensor) -> Tensor:
        first, slope = self._roots
        return -0.5 * t * (first**2 + t * (first * slope + t * slope**2 / 3))

    def drift(self, t: float | Tensor) -> Tensor:
        first, slope = self._roots
        return -0.5 * (first + slope * _time(t)) ** 2


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """VP schedule beta(t) = beta_min + (beta_max - beta_min) S(slope (2 t - 1)), S the logistic function.

    Xu et al. 2022 (arXiv 2203.02923, published code, slope 6). beta(0) exceeds beta_min by S(-slope) of the range.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    slope: float = 6.0

    def __post_init__(self) -> None:
        _positive(beta_min=self.beta_min, beta_max=self.beta_max, slope=self.slope)

    def log_alpha(self, t: Tensor) -> Tensor:
        # The integral of S is a difference of softplus functions, as one log1p so that it keeps its digits at t = 0.
        start = 1 / (1 + math.exp(self.slope))
        area = torch.log1p(torch.expm1(2 * self.slope * t) * start) / (2 * self.slope)
        return -0.5 * (self.beta_min * t + (self.beta_max - self.beta_min) * area)

    def drift(self, t: float | Tensor) -> Tensor:
        rise = torch.sigmoid(self.slope * (2 * _time(t) - 1))
        return -0.5 * (self.beta_min + (self.beta_max - self.beta_min) * rise)


@dataclass(frozen=True)
class Cosine(Schedule):
    """VP schedule alpha_t = cos(a(t)) / cos(a(0)), a(t) = (t + offset)/(1 + offset) pi/2 (Nichol and Dhariwal 2021).

    alpha_1 = 0: there is no signal left at t = 1, where log SNR is -inf and beta diverges.
    """

    offset: float = 0.008

    def __post_init__(self) -> None:
        if not (math.isfinite(self.offset) and self.offset >= 0):
            raise ValueError(f"offset = {self.offset} must be a finite number >= 0")

    def log_alpha(self, t: Tensor) -> Tensor:
        # cos(a) = sin(pi/2 - a), which is exactly 0 at t = 1 and does not lose digits on the way there.
        half = math.pi / 2 / (1 + self.offset)
        # log cos(a(t)) - log cos(a(0)) through log1p, so that log(alpha) keeps its digits near t = 0.
        start = self.offset * half
        near = torch.log1p(-2 * torch.sin(half * t / 2) * torch.sin(start + half * t / 2) / math.cos(start))
        far = torch.sin(half * (1 - t)).log() - math.log(math.cos(start))
        return torch.where(t < 0.5, near, far)

    def drift(self, t: float | Tensor) -> Tensor:
        half = math.pi / 2 / (1 + self.offset)
        t = _time(t)
        return -half * torch.cos(half * (1 - t)) / torch.sin(half * (1 - t))


@dataclass(frozen=True)
class Constant(Schedule):
    """VP schedule with constant beta: the Ornstein-Uhlenbeck process, alpha_t = exp(-beta t/2)."""

    rate: float = 10.0

    def __post_init__(self) -> None:
        _positive(rate=self.rate)

    def log_alpha(self, t: Tensor) -> Tensor:
        return -0.5 * self.rate * t

    def drift(self, t: float | Tensor) -> Tensor:
        return torch.full_like(_time(t), -0.5 * self.rate)


@dataclass(frozen=True)
class ZeroTerminalSNR(Schedule):
    """``base`` with alpha shifted and scaled so that alpha_1 = 0 while alpha_0 = 1 is kept (Lin et al. 2024, alg. 1).

    alpha_t = (a_t - a_1)/(1 - a_1), where a is the alpha of ``base``; VP.
    """

    base: Schedule = field(default_factory=Linear)

    def _log_last(self, like: Tensor) -> Tensor:
        return self.base.log_alpha(torch.ones_like(like))

    def log_alpha(self, t: Tensor) -> Tensor:
        # 1 - alpha_t = (1 - a_t)/(1 - a_1); near t = 0 this keeps the digits that 1 - alpha_t would lose. Both by
        # expm1, so that the ratio is exactly 1 at t = 1; the clamp keeps a last digit from making log1p a NaN.
        lost = torch.expm1(self.base.log_alpha(t)) / torch.expm1(self._log_last(t))
        return torch.log1p(-lost.clamp(max=1))

    def drift(self, t: float | Tensor) -> Tensor:
        t = _time(t)
        alpha, last = self.base.log_alpha(t).exp(), self._log_last(t).exp()
        return self.base.drift(t) * alpha / (alpha - last)


@dataclass(frozen=True)
class EDM(Schedule):
    """Variance-exploding schedule of Karras et al. 2022: alpha_t = 1, sigma on the rho-grid of their eq. 5.

    sigma_t = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho; sigma_0 = sigma_min > 0.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        _positive(sigma_min=self.sigma_min, sigma_max=self.sigma_max, rho=self.rho)
        if self.sigma_min >= self.sigma_max:
            raise ValueError(f"sigma_min = {self.sigma_min} must be less than sigma_max = {self.sigma_max}")

    def _root(self, t: Tensor) -> tuple[Tensor, float]:
        first, last = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return first + t * (last - first), last - first

    def log_alpha(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def __call__(self, t: float | Tensor) -> tuple[Tensor, Tensor]:
        t = _time(t)
        return torch.ones_like(t), self._root(t)[0] ** self.rho

    def drift(self, t: float | Tensor) -> Tensor:
        return torch.zeros_like(_time(t))

    def diffusion(self, t: float | Tensor) -> Tensor:
        root, slope = self._root(_time(t))
        return 2 * self.rho * slope * root ** (2 * self.rho - 1)


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
        betas = torch.as_tensor(betas, dtype=torch.float64).cpu()
        if betas.ndim != 1 or len(betas) == 0:
            raise ValueError(f"betas has shape {tuple(betas.shape)}; allowed: a list of at least one beta")
        if not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(f"betas range over [{betas.min():g}, {betas.max():g}]; allowed: the open interval (0, 1)")
        zero = torch.zeros(1, dtype=torch.float64)
        self.beta = torch.cat([zero, betas])
        self.alpha = 1 - self.beta
        # Sums of log1p keep the digits of 1 - alpha_bar, which is of the order of 1e-4 at the first steps.
        self._log_alpha_bar = torch.log1p(-self.beta).cumsum(0)
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

    @classmethod
    def from_betas(cls, betas) -> Chain:
        """The chain with the given beta_1, ..., beta_T, each in (0, 1)."""
        return cls(torch.as_tensor(betas, dtype=torch.float64))

    @classmethod
    def linear(cls, T: int, beta_first: float = 1e-4, beta_last: float = 0.02) -> Chain:
        """beta rising linearly from ``beta_first`` at t = 1 to ``beta_last`` at t = T (Ho et al. 2020, section 4)."""
        return cls(torch.linspace(beta_first, beta_last, _steps(T), dtype=torch.float64))

    @classmethod
    def cosine(cls, T: int, offset: float = 0.008, beta_max: float = 0.999) -> Chain:
        """alpha_bar from the cosine schedule, beta clipped at ``beta_max`` (Nichol and Dhariwal 2021, eq. 17)."""
        return cls.from_schedule(Cosine(offset), T, beta_max)

    @classmethod
    def from_schedule(cls, schedule: Schedule, T: int, beta_max: float = 0.999) -> Chain:
        """The chain that visits the levels of a VP ``schedule`` at t/T, t = 1..T, beta clipped at ``beta_max``."""
        times = torch.linspace(0, 1, _steps(T) + 1, dtype=torch.float64)
        alpha, sigma = schedule(times)
        if not torch.allclose(alpha**2 + sigma**2, torch.ones_like(alpha)):
            raise ValueError(f"schedule = {schedule} is not variance preserving: alpha^2 + sigma^2 must be 1")
        log_alpha = schedule.log_alpha(times)
        return cls((-torch.expm1(2 * (log_alpha[1:] - log_alpha[:-1]))).clamp(max=beta_max))

    def respaced(self, steps: int) -> Chain:
        """The chain of ``steps`` steps that visits evenly spaced levels of this one, the last one included.

        Step i of the new chain is step round(i T / steps) of this one, so alpha_bar is kept at the visited levels.
        """
        visited = self.visited(steps)
        return Chain(-torch.expm1(self._log_alpha_bar[visited[1:]] - self._log_alpha_bar[visited[:-1]]))

    def visited(self, steps: int) -> Tensor:
        """The times 0 = t_0 < ... < t_steps = T that :meth:`respaced` visits, as integers of this chain."""
        if not (isinstance(steps, int) and 1 <= steps <= self.T):
            raise ValueError(f"steps = {steps} is outside the allowed range 1..{self.T}")
        return (torch.arange(steps + 1, dtype=torch.float64) * self.T / steps).round().long()

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.beta) - 1

    def __call__(self, t: int | Tensor) -> tuple[Tensor, Tensor]:
        """(sqrt(alpha_bar_t), sqrt(1 - alpha_bar_t)) at whole t in 0..T, in float64 on the device of ``t``."""
        t = torch.as_tensor(t)
        if t.device.type == "cpu" and not bool(((t >= 0) & (t <= self.T) & (t == t.round())).all()):
            raise ValueError(f"t = {t.flatten()[:4].tolist()} must be a whole number in 0..{self.T}")
        log_alpha_bar = self._log_alpha_bar.to(t.device)[t.long()]
        return (0.5 * log_alpha_bar).exp(), (-torch.expm1(log_alpha_bar)).sqrt()

    def time_of_log_snr(self, log_snr: float | Tensor) -> Tensor:
        """The whole t in 1..T whose log SNR is nearest to ``log_snr``."""
        levels = self.log_snr(torch.arange(1, self.T + 1)).flip(0)
        given = torch.as_tensor(log_snr, dtype=torch.float64)
        return self.T - torch.bucketize(given, ((levels[1:] + levels[:-1]) / 2).to(given.device))

    def __repr__(self) -> str:
        return f"Chain(T={self.T}, beta={self.beta[1]:.3g}..{self.beta[-1]:.3g}, alpha_bar_T={self.alpha_bar[-1]:.3g})"


def _steps(T: int) -> int:
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"T = {T} must be a whole number >= 1")
    return T
