r"""Which part of a score error moves the samples: the gradient part, in the split that the density weights.

Let e be the error of a score at a time where the law is p. Only div(p e) enters the Fokker-Planck equation, and in
L^2(p) every field splits orthogonally,

    e = grad phi + r,      div(p r) = 0,      div(p grad phi) = div(p e),

so the solenoidal part r is invisible to the marginals, whatever its size. Three ways to find the split:

    gaussian_split   linear fields under a Gaussian law, a Lyapunov equation
    Plane            any field under any density in the plane, a weighted Poisson equation on cells
    dual_value       from samples and without the true score, by a critic phi:
                     |grad phi|^2_max = sup_phi 2 E[grad phi . e] - E |grad phi|^2,
                     E[grad phi . e] = E[grad phi(x_t) . (s_model(x_t) + eps/sigma)]

In the units of the noise, sigma e, and with the log-SNR as time, the KL bounds are integrals without further weights:
1/2 int E|sigma e|^2 d(log SNR) is Girsanov's, and the same with the gradient part bounds the KL divergence at the end,
provided that the expectation is that of the *learned* law; the split may be that of the learned or of the true one
(:func:`gaussian_course`).

Source: Khelifa, Turner and Venkataramanan 2026, arXiv 2606.06179. Formulas and proofs: this book.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..core.denoiser import Denoiser, Exact, home_of
from ..core.generators import generator_of
from ..core.law import GaussianMixture, Law
from ..core.schedule import Schedule
from ..measure.divergence import covariance_kl
from ..model.condition import Condition
from ..model.fleet import Fleet, Table, Trained
from ..model.net import MLP, Dense
from ..model.setting import Run
from ..model.store import rounded
from ..model.train import Task, minimise

__all__ = [
    "LINEAR_ERRORS", "Basis", "Critic", "CriticValue", "Critics", "Energies", "ErrorSplit", "GaussianCourse",
    "Invisible", "Misled", "Plane", "Splits", "bound_of", "critic_value", "dual_value", "euler_covariance",
    "euler_divergences", "gaussian_course", "gaussian_split", "linear_critic", "linear_errors", "log_snr_levels",
    "mixed_courses", "noised_covariance", "random_courses", "sized_courses", "stirred_divergence", "train_critic",
]  # fmt: skip

ROTATION = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
RIDGES = (1e-3, 1e-2, 1e-1, 1.0)  # of which the wave critic takes the best
LINEAR_ERRORS = ("turned score", "score", "plain rotation", "mixed")


class Energies(NamedTuple):
    """Energies in L^2(p) of a field, its gradient part and its solenoidal part; the first is the sum of the others."""

    total: Tensor
    gradient: Tensor
    solenoidal: Tensor


# --- Gaussian laws ----------------------------------------------------------------------------------------------------


def _matrices(**values: Tensor) -> list[Tensor]:
    for name, value in values.items():
        if not isinstance(value, Tensor) or value.ndim < 2 or value.shape[-1] != value.shape[-2]:
            raise ValueError(f"{name} = {value!r}; allowed: square matrices (..., d, d)")
        if not bool(value.isfinite().all()):
            raise ValueError(f"{name} has non-finite entries; allowed: finite numbers")
    return [value.double() for value in values.values()]


def gaussian_split(error: Tensor, covariance: Tensor) -> tuple[Tensor, Energies]:
    """The split of the field e(x) = E x under N(0, S): the symmetric G with G S + S G = E S + S E^T, and the energies.

    Args:
        error: E, (..., d, d).
        covariance: S, (..., d, d), positive definite.

    Returns:
        G, and tr(E S E^T), tr(G S G), tr((E - G) S (E - G)^T).

    Raises:
        ValueError: for matrices that are not square, or S that is not positive definite.

    >>> turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    >>> gaussian_split(turn, torch.eye(2))[1].gradient
    tensor(0., dtype=torch.float64)
    """
    error, covariance = _matrices(error=error, covariance=covariance)
    values, vectors = torch.linalg.eigh(covariance)
    if not bool((values > 0).all()):
        raise ValueError(f"covariance has the eigenvalue {values.min():g}; allowed: positive definite matrices")
    right = error @ covariance
    right = vectors.mT @ (right + right.mT) @ vectors
    gradient = vectors @ (right / (values[..., :, None] + values[..., None, :])) @ vectors.mT

    def energy(field: Tensor) -> Tensor:
        return (field @ covariance * field).sum((-2, -1))

    return gradient, Energies(energy(error), energy(gradient), energy(error - gradient))


@dataclass(frozen=True)
class GaussianCourse:
    """The reverse process with a linear score error, exactly: tensors of the batch's shape, in nats.

    Attributes:
        covariance: of the learned law at t = 0, (..., d, d).
        kl: KL(learned || true) at t = 0.
        girsanov: 1/2 int E|e|^2 dt under the learned law.
        gradient: 1/2 int E|Pi e|^2 dt, split and expectation under the learned law.
        gradient_true: the same with split and expectation under the true law, which is no bound.
        gradient_split: the same with the split under the true law and the expectation under the learned one.
    """

    covariance: Tensor
    kl: Tensor
    girsanov: Tensor
    gradient: Tensor
    gradient_true: Tensor
    gradient_split: Tensor


def noised_covariance(covariance: Tensor, t: float) -> Tensor:
    """The covariance at time t of dX = -X/2 dt + dB with ``covariance`` S at 0: e^-t S + (1 - e^-t) I, (..., d, d)."""
    eye = torch.eye(covariance.shape[-1], dtype=torch.float64, device=covariance.device)
    return math.exp(-t) * covariance - math.expm1(-t) * eye


def gaussian_course(covariance: Tensor, error: Callable[[float], Tensor], end: float = 4.0) -> GaussianCourse:
    """Run dY = (Y/2 + score + E(t) Y) ds + dB backwards from t = ``end``, exactly, with the KL bounds on the way.

    The forward process is dX = -X/2 dt + dB from N(0, covariance), the start is its law at ``end``. The covariance and
    the integrals solve an ordinary differential equation, to a relative error of 1e-10, on the host.

    Args:
        covariance: of the data, (d, d), positive definite.
        error: t -> E(t), (..., d, d).
        end: the time of the start.

    Raises:
        ValueError: as :func:`gaussian_split`, and for ``end`` <= 0.
    """
    from scipy.integrate import solve_ivp

    (covariance,) = _matrices(covariance=covariance)
    if not (end > 0 and math.isfinite(end)):
        raise ValueError(f"end = {end}; allowed: numbers > 0")
    covariance, eye = covariance.cpu(), torch.eye(len(covariance), dtype=torch.float64)
    shape = error(end).shape
    count = math.prod(shape)

    def slope(s: float, state: np.ndarray) -> np.ndarray:
        c, t = torch.from_numpy(state[:count]).reshape(shape), max(end - s, 0.0)
        e, true = error(t).cpu().double(), noised_covariance(covariance, t)
        drift = (eye / 2 - torch.linalg.inv(true) + e) @ c
        values, vectors = torch.linalg.eigh((c + c.mT) / 2)
        if not bool((values > 0).all()):  # a trial step too long, which the solver will take back
            c = vectors @ torch.diag_embed(values.clamp(min=1e-9)) @ vectors.mT
        here, (part, there) = gaussian_split(e, c)[1], gaussian_split(e, true)
        rates = torch.stack([here.total, here.gradient, there.gradient, (part @ c * part).sum((-2, -1))]) / 2
        return torch.cat([(drift + drift.mT + eye).flatten(), rates.flatten()]).numpy()

    start = noised_covariance(covariance, end).expand(shape).flatten()
    start = torch.cat([start, torch.zeros(4 * math.prod(shape[:-2]), dtype=torch.float64)]).numpy()
    last = torch.from_numpy(solve_ivp(slope, (0.0, end), start, "DOP853", (end,), rtol=1e-10, atol=1e-12).y[:, -1])
    c, sums = last[:count].reshape(shape), last[count:].reshape(4, *shape[:-2])
    return GaussianCourse(c, covariance_kl(c, covariance).clamp(min=0), *sums)


def euler_covariance(covariance: Tensor, error: Callable[[float], Tensor], steps: int, strength: float = 1.0,
                     end: float = 4.0) -> Tensor:
    """The covariance at t = 0 that Euler's method makes of the setting of :func:`gaussian_course`, exactly.

    dY = (Y/2 + (1 + strength^2)/2 (score + E(t) Y)) ds + strength dB: 1 is the reverse SDE, 0 the probability-flow ODE.
    """
    (covariance,) = _matrices(covariance=covariance)
    if steps < 1 or not strength >= 0:
        raise ValueError(f"steps = {steps}, strength = {strength}; allowed: integers >= 1, and numbers >= 0")
    covariance = covariance.cpu()
    eye, h = torch.eye(len(covariance), dtype=torch.float64), end / steps
    c = noised_covariance(covariance, end).expand(error(end).shape)
    for k in range(steps):
        t = end - k * h
        score = -torch.linalg.inv(noised_covariance(covariance, t)) + error(t).cpu().double()
        step = eye + h * (eye / 2 + (1 + strength**2) / 2 * score)
        c = step @ c @ step.mT + strength**2 * h * eye
    return c


def linear_errors(covariance: Tensor, t: float) -> Tensor:
    """Four errors E of a score under N(0, S) in the plane at time t, (4, 2, 2), named by ``LINEAR_ERRORS``.

    With s(x) = -S_t^-1 x the score and Omega the rotation by a right angle: Omega s is solenoidal, s a gradient, the
    rotation Omega x has both parts unless S is round, and (Omega + I) s/2 has as much of the one as of the other.

    Raises:
        ValueError: for a covariance that is not (2, 2).
    """
    if covariance.shape != (2, 2):
        raise ValueError(f"covariance has shape {tuple(covariance.shape)}; allowed: (2, 2)")
    score = -torch.linalg.inv(noised_covariance(covariance.double(), t))
    turn, eye = ROTATION.to(score.device), torch.eye(2, dtype=torch.float64, device=score.device)
    return torch.stack([turn @ score, score, turn, 0.5 * (turn + eye) @ score])


def sized_courses(covariance: Tensor, nats: Tensor, others: int = 3) -> dict[str, GaussianCourse]:
    """Courses with the errors of :func:`linear_errors` at given sizes: name -> course of the batch.

    ``nats`` (k,) are values of Girsanov's bound; the factors give them exactly for the turned score, which leaves the
    law as it is, and to leading order for the others, of which only the first ``others`` sizes are run.
    """
    unit = 1e6 * gaussian_course(covariance, lambda t: 1e-3 * linear_errors(covariance, t)).girsanov
    factors = (nats[:, None] / unit).sqrt()
    sizes, kinds = zip(*((i, k) for k in range(len(unit)) for i in range(others if k else len(nats))))
    sizes, kinds = torch.tensor(sizes), torch.tensor(kinds)
    scale = factors[sizes, kinds, None, None]
    course = gaussian_course(covariance, lambda t: scale * linear_errors(covariance, t)[kinds])
    return {
        name: GaussianCourse(*(getattr(course, field.name)[kinds == k] for field in fields(course)))
        for k, name in enumerate(LINEAR_ERRORS)
    }


def random_courses(covariance: Tensor, count: int, seed: int) -> GaussianCourse:
    """Courses with ``count`` random errors a (A cos t + B sin 2t): A, B normal, a from 0.01 to 1.26 in equal ratios."""
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, count, 2, 2, generator=generator, dtype=torch.float64)
    strength = torch.logspace(-2, 0.1, count, dtype=torch.float64)[:, None, None]
    return gaussian_course(covariance, lambda t: strength * (first * math.cos(t) + second * math.sin(2 * t)))


def mixed_courses(covariance: Tensor, errors: Mapping[str, Callable[[float], Tensor]], factors: Tensor
                  ) -> dict[str, GaussianCourse]:
    """Courses with E(t) + c Omega s_t: an error beside c times the turned score, name -> course of the batch.

    Args:
        covariance: of the data, (2, 2).
        errors: name -> (t -> E(t), (2, 2)).
        factors: c, (k,).
    """
    factors = factors[:, None, None].double()

    def both(t: float) -> Tensor:
        given = torch.stack([error(t) for error in errors.values()])
        return given[:, None] + factors * linear_errors(covariance, t)[0]

    course = gaussian_course(covariance, both)
    return {
        name: GaussianCourse(*(getattr(course, field.name)[k] for field in fields(course)))
        for k, name in enumerate(errors)
    }


def stirred_divergence(covariance: Tensor, error: Callable[[float], Tensor], end: float = 4.0) -> float:
    r"""KL at the end with an error E(t) beside c times the turned score in the limit of large c, in nats.

    Fast rotation along the ellipses of equal density keeps the covariance at a_t S_t, and the trace of its equation is
    da/ds = (1 - a) tr(S_t^-1)/2 + a tr E(t); KL = a - 1 - log a.
    """
    from scipy.integrate import solve_ivp

    def slope(s: float, a: np.ndarray) -> list[float]:
        t = max(end - s, 0.0)
        pull = float(torch.linalg.inv(noised_covariance(covariance.double(), t)).trace()) / 2
        return [(1 - a[0]) * pull + a[0] * float(error(t).trace())]

    a = float(solve_ivp(slope, (0.0, end), [1.0], "DOP853", (end,), rtol=1e-10, atol=1e-12).y[0, -1])
    return a - 1 - math.log(a)


def euler_divergences(covariance: Tensor, nats: float, counts: Sequence[int]) -> dict[str, dict[str, Tensor]]:
    """Divergence at the end of Euler's method over numbers of steps, with and without a turned score of ``nats``.

    Returns:
        sampler "SDE" or "ODE" -> "no error" or "turned score" -> (len(counts),) in nats.
    """
    unit = 1e6 * gaussian_course(covariance, lambda t: 1e-3 * linear_errors(covariance, t)[0]).girsanov
    factor = (nats / unit).sqrt()

    def divergence(c: float | Tensor, n: int, strength: float) -> Tensor:
        end = euler_covariance(covariance, lambda t: c * linear_errors(covariance, t)[0], n, strength)
        return covariance_kl(end, covariance)

    return {
        sampler: {
            name: torch.stack([divergence(c, n, strength) for n in counts])
            for name, c in (("no error", 0.0), ("turned score", factor))
        }
        for sampler, strength in (("SDE", 1.0), ("ODE", 0.0))
    }


# --- invisible fields -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Invisible:
    r"""A score error (x, t) -> ``size`` r with div(p_t r) = 0 at every t, for a law in the plane.

    r = Omega (grad psi + psi grad log p_t), Omega the rotation by a right angle, so p_t r = Omega grad(p_t psi).

    Args:
        law: in the plane, with an exact score.
        schedule: of the times.
        size: the factor, or factors that broadcast with x, such as one a member (members, 1, 1).
        stream: psi, (n, 2) -> (n,), differentiable; None is psi = 1.

    Raises:
        ValueError: for a law that is not in the plane, where for d = 1 there is no such field but 0.
    """

    law: Law
    schedule: Schedule
    size: float | Tensor = 1.0
    stream: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.law.dim != 2:
            raise ValueError(f"law = {self.law!r} has dimension {self.law.dim}; allowed: 2")

    def __call__(self, x: Tensor, t: float | Tensor, score: Tensor | None = None) -> Tensor:
        """The error; ``score``, grad log p_t at x, where it is known already."""
        field = self.law.score_at(x, *self.schedule(t)) if score is None else score
        if self.stream is not None:
            with torch.enable_grad():
                at = x.detach().requires_grad_()
                value = self.stream(at)
                (slope,) = torch.autograd.grad(value.sum(), at)
            field = slope + value.detach()[..., None] * field
        return self.size * (field @ _turn(x.device, x.dtype))


class Misled(Denoiser):
    """An exact ``base`` with an error of its score that is made of the score: error(x, t, score), asked for once."""

    target = "score"

    def __init__(self, base: Exact, error: Callable[[Tensor, float | Tensor, Tensor], Tensor]) -> None:
        self.base, self.error, self.schedule = base, error, base.schedule

    def predict(self, x: Tensor, t: float | Tensor) -> Tensor:
        score = self.base.score(x, t)
        return score + self.error(x, t, score)


@lru_cache(maxsize=16)
def _turn(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The rotation for rows, sent to each device once."""
    return ROTATION.T.to(device, dtype)


def bound_of(error: Callable[[Tensor, float], Tensor], x0: Tensor, schedule: Schedule, band: tuple[float, float],
             seed: int = 0) -> float:
    """Girsanov's bound 1/2 int E|sigma e|^2 d(log SNR) over a ``band`` of log-SNR, in nats, from clean samples ``x0``.

    The integral is a sum over 24 levels, with one noise drawn by ``seed`` for all.
    """
    energy = []
    for t in log_snr_levels(schedule, (torch.arange(24, dtype=torch.float64) + 0.5) / 24, band).tolist():
        alpha, sigma = (float(level) for level in schedule(t))
        noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
        energy.append((sigma * error(alpha * x0 + sigma * noise, t)).square().sum(-1).mean())
    return 0.5 * (band[1] - band[0]) * float(torch.stack(energy).mean())


# --- the plane --------------------------------------------------------------------------------------------------------


class Plane:
    """The square [-half_width, half_width]^2 in cells, with a density: splits of fields by a weighted Poisson equation.

    A field is given by its normal components on the faces between cells, p on a face is the mean of its two cells, and
    no field crosses the boundary. Then the split is exact and orthogonal in the discrete inner product, and differs
    from that of the continuous field by O(cell^2). The equation is solved on the host, where density and fields are
    asked.

    Args:
        log_density: (n, 2) -> (n,) log p up to a constant, in float64.
        half_width, cells: of a side; at least 4 cells.
    """

    def __init__(self, log_density: Callable[[Tensor], Tensor], half_width: float = 3.5, cells: int = 81) -> None:
        import scipy.sparse
        import scipy.sparse.linalg

        if not (half_width > 0 and math.isfinite(half_width)) or cells != int(cells) or cells < 4:
            raise ValueError(f"half_width = {half_width}, cells = {cells}; allowed: a number > 0, integers >= 4")
        n, self.width = int(cells), 2 * half_width / cells
        centre = (torch.arange(n, dtype=torch.float64) + 0.5) * self.width - half_width
        points = torch.stack(torch.meshgrid(centre, centre, indexing="ij"), -1)
        logs = log_density(points.reshape(-1, 2)).reshape(n, n)
        density = (logs - logs.max()).exp()
        density = density / density.sum()
        between = (centre[1:] + centre[:-1]) / 2
        self.faces = (
            torch.stack(torch.meshgrid(between, centre, indexing="ij"), -1).reshape(-1, 2),  # carry x components
            torch.stack(torch.meshgrid(centre, between, indexing="ij"), -1).reshape(-1, 2),  # carry y components
        )
        self.weight = torch.cat([((density[1:] + density[:-1]) / 2).flatten(),
                                 ((density[:, 1:] + density[:, :-1]) / 2).flatten()])
        index = np.arange(n * n).reshape(n, n)
        left = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
        right = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
        face = np.arange(len(left))
        data = np.concatenate([np.full(len(left), -1.0), np.full(len(left), 1.0)]) / self.width
        rows, columns = np.concatenate([face, face]), np.concatenate([left, right])
        self._gradient = scipy.sparse.csr_matrix((data, (rows, columns)), shape=(len(left), n * n))
        # A floor keeps the equation solvable where p underflows; such faces carry no energy.
        weight = np.maximum(self.weight.numpy(), 1e-14 * float(self.weight.max()))
        matrix = (self._gradient.T @ scipy.sparse.diags(weight) @ self._gradient).tolil()
        matrix[0, 0] += float(weight.max())  # fixes the constant in phi, which costs nothing
        self._solver = scipy.sparse.linalg.splu(matrix.tocsc())
        self._floored = weight

    def components(self, field: Callable[[Tensor], Tensor]) -> Tensor:
        """The normal components on the faces, (..., faces), of a field (n, 2) -> (..., n, 2)."""
        return torch.cat([field(self.faces[0])[..., 0], field(self.faces[1])[..., 1]], -1).double().cpu()

    def split(self, components: Tensor) -> tuple[Tensor, Energies]:
        """The gradient part of fields (..., faces) on the faces, and the energies E_p|.|^2 of field and parts.

        Raises:
            ValueError: for another number of faces, or entries that are not finite.
        """
        if components.shape[-1] != len(self.weight) or not bool(components.isfinite().all()):
            raise ValueError(f"components {tuple(components.shape)}; allowed: finite, (..., {len(self.weight)})")
        components = components.cpu()
        flat = components.double().reshape(-1, len(self.weight)).numpy()
        phi = self._solver.solve(np.ascontiguousarray(self._gradient.T @ (self._floored * flat).T))
        part = torch.from_numpy(np.ascontiguousarray((self._gradient @ phi).T)).reshape(components.shape)

        def energy(values: Tensor) -> Tensor:
            return (self.weight * values**2).sum(-1)

        rest = components - part
        return part, Energies(energy(components), energy(part), energy(rest))


class ErrorSplit:
    """The exact split of denoisers' errors under the noised versions of a law in the plane, on cells.

    Args:
        law: of the data.
        schedule: of the times.
        times: where errors are split.
        half_width, cells: of the :class:`Plane`.
    """

    def __init__(self, law: Law, schedule: Schedule, times: Tensor, half_width: float = 3.6, cells: int = 81) -> None:
        self.law, self.planes = law, {}
        for t in times.tolist():
            level = tuple(float(part) for part in schedule(t))
            self.planes[t, level] = Plane(lambda x, level=level: law.log_prob_at(x, *level), half_width, cells)

    def __call__(self, model: Denoiser) -> Energies:
        """Mean energies over the times of sigma e, of its gradient part and of the rest, (members,) each."""
        found = []
        for (t, (alpha, sigma)), plane in self.planes.items():

            def error(x: Tensor, t: float = t, alpha: float = alpha, sigma: float = sigma) -> Tensor:
                at = x.float() if model.members is None else x.float().expand(model.members, -1, -1)
                with torch.no_grad():
                    return -model.eps(at, t).double() - sigma * self.law.score_at(x, alpha, sigma)

            found.append(plane.split(plane.components(error))[1])
        return Energies(*(torch.stack(part).mean(0) for part in zip(*found)))


@dataclass(frozen=True)
class Splits:
    """Splits of a fleet's errors after training: an experiment of which the numbers are kept, not the networks.

    Args:
        fleet: of one arm, and with one member a seed.
        law: of the data, with an exact score.
        band, levels: the middles of ``levels`` cells of this band of log-SNR are where errors are split.
        cells: of the :class:`Plane`.
    """

    fleet: Fleet
    law: Law
    band: tuple[float, float]
    levels: int
    cells: int

    def blank(self) -> dict[str, nn.Module]:
        """The energies before they are known."""
        return {"energies": Table(torch.zeros(3, len(self.fleet.seeds)))}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Train on ``device``, and split."""
        trained = {name: rounded(net) for name, net in self.fleet.train(device).networks.items()}
        (model,) = self.fleet.read(trained).values()
        u = (torch.arange(self.levels, dtype=torch.float64) + 0.5) / self.levels
        times = log_snr_levels(model.schedule, u, self.band)
        found = ErrorSplit(self.law, model.schedule, times, cells=self.cells)(model)
        return Trained({"energies": Table(torch.stack([part.cpu() for part in found]))}, {})

    def read(self, networks: Mapping[str, nn.Module], recipe: str = "") -> Energies:
        """Mean energies over the levels, (members,) each."""
        return Energies(*networks["energies"].values.cpu())


# --- the critic -------------------------------------------------------------------------------------------------------


def log_snr_levels(schedule: Schedule, u: Tensor, band: tuple[float, float]) -> Tensor:
    """Times at which the log-SNR is uniform in ``band`` = (low, high), for u in [0, 1] (0 is the noisy end)."""
    low, high = band
    if not low < high:
        raise ValueError(f"band = {band}; allowed: two numbers in increasing order")
    return schedule.time_of_log_snr(low + (high - low) * u)


def dual_value(slope: Tensor, residual: Tensor) -> Tensor:
    """2 E[slope . residual] - E|slope|^2 over the last two axes but the members': (...,) for (..., n, d).

    For any ``slope`` = grad phi(x_t) and ``residual`` = sigma s_model + eps it is at most E|Pi(sigma e)|^2 in the mean.
    """
    return (2 * slope * residual - slope**2).sum(-1).mean(-1)


def _residual(model: Denoiser, x0: Tensor, eps: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(x_t, sigma s_model(x_t) + eps) for samples (n, d), times (n,); with members where the model has them."""
    alpha, sigma = (level.to(x0.dtype)[:, None] for level in model.schedule(t))
    x = alpha * x0 + sigma * eps
    with torch.no_grad():
        if model.members is None:
            return x, eps - model.eps(x, t)
        at = x.expand(model.members, -1, -1)
        return x, eps - model.eps(at, t.expand(model.members, -1))


@dataclass(frozen=True)
class Critic:
    """A trained critic: ``net`` whose outputs sum to phi(x, t), in the units of the noise."""

    net: MLP
    schedule: Schedule

    def slope(self, x: Tensor, t: Tensor, create_graph: bool = False) -> Tensor:
        """grad phi at x (members, n, d) and times (members, n)."""
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.net(at, t).sum(), at, create_graph=create_graph)
        return slope


def _mean_noise(x: Tensor, x0: Tensor, reference: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """E[eps | x] if x0 is one of ``reference`` and its own: x, x0 (n, d), reference (m, d), levels (n, 1)."""
    own = -((x - alpha * x0) / sigma).square().sum(-1, keepdim=True) / 2
    others = -((x[:, None] - alpha[:, None] * reference) / sigma[:, None]).square().sum(-1) / 2
    share = torch.softmax(torch.cat([own, others], 1), 1)
    return (x - alpha * (share[:, :1] * x0 + share[:, 1:] @ reference)) / sigma


class _Duel(Task):
    """The critics' objective on draws of data, noise and times; all members see the same.

    With a reference batch, the noise in the objective is averaged over what its samples could have made of the same
    x_t, which has a fraction of the variance and a small bias.
    """

    def __init__(self, critic: Critic, made: Critics) -> None:
        self.critic, self.model, self.band, self.batch = critic, made.model, made.band, made.run.batch
        self.members, self.device, self.reference = made.model.members, critic.net.device, made.reference
        self.law = made.law.on(self.device)
        self.generator = generator_of(made.seed + 5_000_003, self.device)

    def draw(self, steps: int) -> list[tuple[Tensor, ...]]:
        schedule, generator = self.critic.schedule, self.generator
        drawn = [_draw(self.law, self.batch, generator, schedule, self.band) for _ in range(steps)]
        if not self.reference:
            return drawn
        return [(*draw, self.law.sample(self.reference, generator).float()) for draw in drawn]

    def errors(self, chunk: list[tuple[Tensor, ...]], k: int) -> tuple[Tensor, Tensor]:
        x0, eps, t, *reference = chunk[k]
        x, residual = _residual(self.model, x0, eps, t)
        if reference:
            alpha, sigma = (level.to(x0.dtype)[:, None] for level in self.model.schedule(t))
            residual = residual - eps + _mean_noise(x, x0, reference[0], alpha, sigma)
        slope = self.critic.slope(x.expand(self.members, -1, -1), t.expand(self.members, -1), create_graph=True)
        loss = -(2 * slope * residual - slope**2).sum(-1)
        return loss, loss


def train_critic(model: Denoiser, law: Law, band: tuple[float, float], net: Dense, run: Run, seed: int = 0) -> Critic:
    """Train one critic for each member of ``model``: :class:`Critics` without a reference batch, there and then."""
    made = Critics(model, law, band, net, run, seed)
    return made.read(made.train().networks)


@dataclass(frozen=True)
class Critics:
    """Critics of an ensemble: one for each member minimises E|grad phi|^2 - 2 E[grad phi . (sigma s_model + eps)].

    Needs samples of the data and the model's score; no true score. All members see the same samples.

    Args:
        model: an ensemble of denoisers on a schedule in continuous time.
        law: the data, to sample from.
        band: the log-SNR is uniform in it.
        net: the sizes of the critics.
        run: how long and how they are trained.
        seed: of weights and draws, on the device of the model.
        reference: with m > 0, eps is replaced in training by its mean given x_t over m further samples.

    Raises:
        ValueError: for a model without members, or numbers out of range.
    """

    model: Denoiser
    law: Law
    band: tuple[float, float]
    net: Dense
    run: Run
    seed: int = 0
    reference: int = 0

    def __post_init__(self) -> None:
        if self.model.members is None:
            raise ValueError("model has members = None; allowed: an ensemble")
        if self.reference < 0:
            raise ValueError(f"reference = {self.reference}; allowed: integers >= 0")

    def blank(self) -> dict[str, MLP]:
        """The network before training: one for each member, all alike."""
        condition = Condition("log_snr", self.model.schedule, frequencies=4)
        return {"critic": self.net.make(condition, [self.seed] * self.model.members)}

    def train(self, device: torch.device | str = "cpu") -> Trained:
        """Train it, on the device of the model."""
        net = self.blank()["critic"].to(home_of(self.model)[1])
        minimise(net, _Duel(Critic(net, self.model.schedule), self), self.run)
        return Trained({"critic": net}, {})

    def read(self, networks: Mapping[str, MLP], recipe: str = "") -> Critic:
        """The critic."""
        return Critic(networks["critic"], self.model.schedule)


def _draw(law: Law, n: int, generator: torch.Generator, schedule: Schedule, band: tuple[float, float]
          ) -> tuple[Tensor, Tensor, Tensor]:
    x0 = law.sample(n, generator).float()
    eps = torch.randn(x0.shape, generator=generator, device=x0.device)
    u = torch.rand(n, generator=generator, dtype=torch.float64, device=x0.device)
    t = log_snr_levels(schedule, u, band)
    return x0, eps, t


class CriticValue(NamedTuple):
    """What a critic finds, (members,) each: its :func:`dual_value`, and that of its best multiple."""

    value: Tensor
    rescaled: Tensor


def critic_value(critic: Critic, model: Denoiser, law: Law, n: int, *, band: tuple[float, float], seed: int
                 ) -> CriticValue:
    """:func:`dual_value` on ``n`` fresh samples: a lower bound in the mean, for any critic.

    The best multiple c = E[slope . residual]/E|slope|^2 is found on one half of the samples and judged on the other,
    and the reverse, so that it is a lower bound as well.

    Raises:
        ValueError: for n < 2.
    """
    if n < 2:
        raise ValueError(f"n = {n}; allowed: integers >= 2")
    law = law.on(critic.net.device)
    generator, found = generator_of(seed, critic.net.device), []
    for start in range(0, n, 2000):
        x0, eps, t = _draw(law, min(2000, n - start), generator, critic.schedule, band)
        x, residual = _residual(model, x0, eps, t)
        slope = critic.slope(x.expand(residual.shape), t.expand(residual.shape[:-1])).detach()
        found.append(torch.stack([(slope * residual).sum(-1), slope.square().sum(-1)]).double())
    meets, size = torch.cat(found, -1)
    halves = [(meets[:, k::2].mean(-1), size[:, k::2].mean(-1)) for k in (0, 1)]
    rescaled = torch.zeros_like(meets[:, 0])
    for (one, other), (a, b) in zip(halves, reversed(halves)):
        c = one / other.clamp(min=1e-30)
        rescaled += (2 * c * a - c**2 * b) / 2
    return CriticValue((2 * meets - size).mean(-1), rescaled)


@dataclass(frozen=True)
class Basis:
    """What :func:`linear_critic` is made of: ``features`` waves, wave vectors of scale 1/``length``.

    Raises:
        ValueError: for features < 1, or a length that is not positive.
    """

    features: int = 64
    length: float = 1.0

    def __post_init__(self) -> None:
        if self.features < 1 or not self.length > 0:
            raise ValueError(f"features = {self.features}, length = {self.length}; allowed: features >= 1, length > 0")


def linear_critic(model: Denoiser, law: GaussianMixture, times: Tensor, n: int, basis: Basis | None = None,
                  seed: int = 0) -> Tensor:
    """The dual value of the best critic among polynomials and random waves, on fresh samples: (members, times).

    phi = sum_j w_j psi_j at each time, with psi the monomials of degree 1 and 2 and the waves of ``basis``
    cos(k . x + b)/|k|, k normal of scale 1/``length``: E|grad phi|^2 - 2 E[grad phi . (sigma s_model + eps)] is a
    quadratic form in w, minimised on ``n`` samples with each of ``RIDGES`` times the mean of its diagonal. The ridge
    is chosen on ``n`` others, and the value taken on ``n`` more. By Stein's identity E[grad phi . eps] = sigma
    E[laplacian phi]; of the two the mean with the weights 1 - b and b, b = 1/(1 + sigma^2/(alpha^2 var)), has the least
    variance for linear fields and Gaussian data of the variance of ``law``.

    Raises:
        ValueError: for numbers out of range.
    """
    basis = basis or Basis()
    if n < basis.features:
        raise ValueError(f"n = {n}; allowed: at least the number of features, {basis.features}")
    features, length = basis.features, basis.length
    device = home_of(model)[1]
    variance = float(law.covariance.diagonal().mean())
    law, generator, systems, d = law.on(device), generator_of(seed, device), [], law.dim
    double = dict(dtype=torch.float64, device=device)
    eye = torch.eye(d, **double)
    pairs = [(i, j) for i in range(d) for j in range(i, d)]
    curved = torch.tensor([2.0 * (i == j) for i, j in pairs], **double)  # laplacian of x_i x_j
    for t in times.tolist():
        k = torch.randn(features, d, generator=generator, **double) / length
        size = k.norm(dim=1)
        phase = 2 * math.pi * torch.rand(features, generator=generator, **double)
        alpha, sigma = (float(level) for level in model.schedule(t))
        smooth = 1 / (1 + sigma**2 / (alpha**2 * variance))
        forms = []
        for _ in range(3):
            x0 = law.sample(n, generator).double()
            eps = torch.randn(x0.shape, generator=generator, **double)
            x = alpha * x0 + sigma * eps
            angle = x @ k.T + phase
            quadratic = torch.stack([x[:, i, None] * eye[j] + x[:, j, None] * eye[i] for i, j in pairs], 1)
            slopes = torch.cat([eye.expand(n, d, d), quadratic, -angle.sin()[..., None] * (k / size[:, None])], 1)
            laplacian = torch.cat([torch.zeros(d, **double), curved, -(angle.cos() * size).mean(0)])
            with torch.no_grad():
                at = x.float() if model.members is None else x.float().expand(model.members, -1, -1)
                guess = -model.eps(at, t).double().reshape(-1, *x.shape)  # sigma s_model
            flat = slopes.transpose(1, 2).reshape(n * d, -1)
            target = (guess + (1 - smooth) * eps).reshape(len(guess), -1)
            forms.append((flat.T @ flat / n, target @ flat / n + smooth * sigma * laplacian))
        systems.append(forms)
    # A solver looks at the numbers: a GPU is waited for once, with the systems of all times and ridges.
    (a, b), *others = [tuple(torch.stack(part) for part in zip(*forms)) for forms in zip(*systems)]
    eye = a.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(a.shape[-1], **double)
    ridged = torch.stack([a + ridge * eye for ridge in RIDGES])
    w = torch.linalg.solve(ridged, b.mT.expand(len(RIDGES), *b.mT.shape)).mT  # (ridges, times, members, functions)
    chosen, value = (2 * (w * b_new).sum(-1) - (w @ a_new * w).sum(-1) for a_new, b_new in others)
    return value.gather(0, chosen.argmax(0, keepdim=True))[0].mT
