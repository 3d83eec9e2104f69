r"""Training: one loop for all networks of the book.

:func:`minimise` runs Adam on a :class:`Task`: what to draw for the next steps, and the losses these give. :func:`fit`
has the task of all denoisers, a weighted regression under a :class:`~diffnotes.model.setting.Setting`; a classifier and
a critic are tasks of their own (:mod:`diffnotes.model.classifier`, :mod:`diffnotes.chapters.gradients`).

*Ensembles.* Members of an ensemble may differ in schedule, target, weight, density of t and window: these become
numbers in tensors of shape (members, batch), and no step loops over members. The losses are summed over members, which
with Adam is training each of them alone.

*Draws.* x_0, eps and a uniform u come from generators of the member's seed only, and u is turned into t by the member's
own inverse distribution function. So members of equal seed meet the same data and noise, whatever their settings: a
paired comparison; and a member's draws do not depend on its company.

*Sequences.* On a chain, a :class:`diffnotes.model.window.Window` adds the squared mean of the errors of eps at K
consecutive steps. A member's K noised samples go through the network in one batch; lambda = 0 or K = 1 is the plain
loss, bit for bit.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..core import cost
from ..core.law import Law
from ..core.progress import progress
from ..core.schedule import Chain
from ..core.target import coefficients
from .loss import Plain, Squares, Step
from .net import Network
from .setting import LogSnrBand, Run, Setting, Times
from .window import Window, WindowStep, correlation

__all__ = ["Gradients", "History", "Task", "fit", "gradient_statistics", "minimise"]

CHUNK = 32  # steps whose random numbers are drawn together; part of what a seed means


# --- the loop ---------------------------------------------------------------------------------------------------------


class Task(ABC):
    """What :func:`minimise` trains on. Attributes: ``members``, a number or None; ``device``."""

    members: int | None
    device: torch.device

    @abstractmethod
    def draw(self, steps: int) -> Any:
        """The draws of the next ``steps`` steps."""

    @abstractmethod
    def errors(self, chunk: Any, k: int) -> tuple[Tensor, Tensor]:
        """(losses, unweighted errors), each (members, batch), of step ``k`` of ``chunk``."""

    def log_snr(self, chunk: Any) -> Tensor | None:
        """Where the errors lie, (members, steps, batch), for the log; None: they are not told apart."""
        return None

    def edges(self, bins: int) -> Tensor:
        """The edges of the log's bins, on the host."""
        return torch.tensor([-math.inf, math.inf], dtype=torch.float64)

    def name(self, member: int) -> str:
        """A member, for messages."""
        return f"member {member}"


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
        average: the network of exponentially averaged weights, if the run asks for it.
    """

    step: Tensor
    loss: Tensor
    error: Tensor
    edges: Tensor
    seconds: float
    average: nn.Module | None = None


def minimise(net: nn.Module, task: Task, run: Run) -> History:
    """Train ``net`` in place with Adam on ``task``, and return the log.

    Raises:
        FloatingPointError: if a loss is not finite; checked at each row of the log, naming the member and the step.
    """
    parameters = list(net.parameters())
    optimiser = torch.optim.Adam(parameters, lr=run.rate, fused=True)
    average = None if run.average is None else copy.deepcopy(net)
    pairs = [] if average is None else [(a.detach(), p.detach()) for a, p in zip(average.parameters(), parameters)]

    began = time.perf_counter()
    cost.note(task.members or 1, run.steps, run.batch)
    log = _Log(task, task.edges(run.bins))
    every = max(1, math.ceil((run.log_every or run.steps / 50) / CHUNK))
    for c, first in enumerate(progress(cost.few(range(0, run.steps, CHUNK), "training"), "training")):
        chunk = task.draw(CHUNK)
        done = []
        for k in cost.few(range(min(CHUNK, run.steps - first))):
            if run.decay == "cosine":
                optimiser.param_groups[0]["lr"] = run.rate * (1 + math.cos(math.pi * (first + k) / run.steps)) / 2
            loss, error = task.errors(chunk, k)
            loss.mean(1).sum().backward()
            optimiser.step()
            optimiser.zero_grad()
            if pairs:
                keep = min(run.average, (1 + first + k) / (10 + first + k))
                for averaged, parameter in pairs:
                    averaged.lerp_(parameter, 1 - keep)
            done.append((loss.detach(), error.detach()))
        log.add(done, task.log_snr(chunk))
        if (c + 1) % every == 0 or first + CHUNK >= run.steps:
            log.close(min(first + CHUNK, run.steps))
    return log.history(time.perf_counter() - began, average)


class _Log:
    """Sums of losses, and of errors by bin, over the steps since the last row."""

    def __init__(self, task: Task, edges: Tensor) -> None:
        self.task, self.edges = task, edges
        self.inner = edges[1:-1].to(task.device)
        self.steps: list[int] = []
        self.losses: list[Tensor] = []
        self.errors: list[Tensor] = []
        self.clear()

    def clear(self) -> None:
        shape = (self.task.members or 1, len(self.edges) - 1)
        self.loss, self.error, self.count = 0.0, self.inner.new_zeros(shape), self.inner.new_zeros(shape)
        self.batches = 0

    def add(self, done: list[tuple[Tensor, Tensor]], log_snr: Tensor | None) -> None:
        loss, error = (torch.stack(part, 1).double() for part in zip(*done))
        if log_snr is None:
            index = torch.zeros_like(error.flatten(1), dtype=torch.long)
        else:
            index = torch.bucketize(log_snr[:, : len(done)].flatten(1).contiguous(), self.inner)
        _add_by_bin(self.error, self.count, index, error.flatten(1))
        self.loss = self.loss + loss.mean(2).sum(1)
        self.batches += len(done)

    def close(self, step: int) -> None:
        mean = (self.loss / self.batches).cpu()
        if not bool(mean.isfinite().all()):
            i = int((~mean.isfinite()).nonzero()[0])
            raise FloatingPointError(f"the loss of {self.task.name(i)} is {mean[i]:g} at or before step {step}")
        self.steps.append(step)
        self.losses.append(mean)
        self.errors.append((self.error / self.count).cpu())
        self.clear()

    def history(self, seconds: float, average: nn.Module | None) -> History:
        loss, error = torch.stack(self.losses), torch.stack(self.errors)
        if self.task.members is None:
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


# --- regression -------------------------------------------------------------------------------------------------------


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


class Regression(Task):
    """The task of :func:`fit`: the members' settings, the draws they ask for, and the losses these give."""

    def __init__(self, net: Network, data: Law | Tensor, settings: Setting | Sequence[Setting], run: Run) -> None:
        self.net, self.members, self.batch, count = net, net.members, run.batch, net.members or 1
        self.settings = (settings,) * count if isinstance(settings, Setting) else tuple(settings)
        if len(self.settings) != count:
            raise ValueError(f"settings has {len(self.settings)} entries; allowed: one, or one for each of {count} "
                             "members")
        seeds = tuple(net.seeds if run.seeds is None else run.seeds)
        if len(seeds) != count:
            raise ValueError(f"seeds has {len(seeds)} entries; allowed: one for each of {count} members")
        self.seeds = sorted(set(seeds))
        self.device, self.dtype = net.device, net.dtype
        self.loss = self._one_loss()
        stream = [self.seeds.index(seed) for seed in seeds]
        self.eps_of = self.x0_of = torch.tensor(stream, device=self.device)
        self.groups = self._grouped(stream)
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

    def _one_loss(self):
        """The loss of all members: one value, or windows of one size, which may differ in all else."""
        plain = [Plain() if isinstance(s.loss, Window) and s.loss.size == 1 else s.loss for s in self.settings]
        windows = [loss for loss in plain if isinstance(loss, Window)]
        if windows and len({loss.size for loss in plain}) == 1:
            mix = [(0.0 if one.alone else 1.0, one.weight) for one in windows]
            self._mix = torch.tensor(mix, device=self.device, dtype=self.dtype).T[..., None]
        elif any(loss != plain[0] for loss in plain):
            raise ValueError(f"settings have the losses {sorted(set(map(str, plain)))}; allowed: one, or windows of "
                             "one size (others in another call)")
        denoiser = plain[0].denoiser if isinstance(plain[0], Squares) else None
        if denoiser is not None and denoiser.members not in (None, self.members):
            raise ValueError(f"the denoiser of the loss has members = {denoiser.members}; allowed: None, or those of "
                             f"net, {self.members}")
        return plain[0]

    def _grouped(self, stream: list[int]) -> list[tuple[Setting, tuple[int, ...]]]:
        """(setting, streams of its members): the members of one setting, whose levels are computed together."""
        members: dict[int, list[int]] = {}
        for i, setting in enumerate(self.settings):
            members.setdefault(id(setting), []).append(i)
        self.order = torch.tensor([i for at in members.values() for i in at], device=self.device).argsort()
        found = [(self.settings[at[0]], tuple(stream[i] for i in at)) for at in members.values()]
        self.rows = {streams: torch.tensor(streams, device=self.device) for _, streams in found}
        return found

    def _joined(self, parts: Sequence[Tensor], axis: int) -> Tensor:
        """What the groups have, as one tensor in the order of the members, which are on ``axis``."""
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts, axis).index_select(axis, self.order)

    def name(self, member: int) -> str:
        return f"member {member} (target {self.settings[member].target!r}, seed {self.net.seeds[member]})"

    def log_snr(self, chunk: _Chunk) -> Tensor:
        return chunk.log_snr

    def draw(self, steps: int, times: Times | None = None) -> _Chunk:
        """The draws of the next ``steps`` steps, with ``times`` in place of the members' own."""
        shape = (steps, self.batch)
        x0 = self._clean(steps)
        eps = torch.stack([
            torch.randn(*shape, self.net.dim, generator=g, device=self.device, dtype=self.dtype) for g in self.noises
        ])
        u = torch.stack([
            torch.rand(shape, generator=g, device=self.device, dtype=torch.float64) for g in self.noises
        ])
        drawn: dict[tuple, Tensor] = {}  # groups of equal seeds, schedule and density share their times
        parts = []
        for setting, streams in self.groups:
            density = times or setting.times
            key = (setting.schedule, density, streams)
            if key not in drawn:
                drawn[key] = density(u[self.rows[streams]], setting.schedule)
            alpha, sigma = setting.schedule(drawn[key])
            a, b = coefficients(setting.target, alpha, sigma)
            parts.append(torch.stack([alpha, sigma, a, b, setting.weight(alpha, sigma), drawn[key]]))
        found = self._joined(parts, 1)
        levels, t = found[:5], found[5]
        sequence, seen = None, t
        if isinstance(self.loss, Window):
            sequence, seen, first = self._sequence(steps, u)
            levels[:4] = first
            t = seen[:, :, : self.batch]
        features, scale = self.net.see(seen.flatten(1) if self.members else seen[0].flatten())
        full = (len(t), steps, seen.shape[2], -1)
        return _Chunk(
            x0, eps, levels[..., None].to(self.dtype), features.to(self.dtype).reshape(full),
            None if scale is None else scale.to(self.dtype).reshape(full), 2 * (levels[0] / levels[1]).log(), t,
            sequence,
        )

    def _sequence(self, steps: int, u: Tensor) -> tuple[_Sequence, Tensor, Tensor]:
        """The windows of the members, their times (members, steps, K batch), and the levels of their first steps."""
        rows = []
        for setting, streams in self.groups:
            window, chain = setting.loss, setting.schedule
            start = window.start(u[self.rows[streams]], chain)
            s, w, plain = (v.movedim(-1, 2) for v in window.times(start, chain))
            alpha, sigma = chain(s)  # (members, steps, K, batch)
            a, b = coefficients(setting.target, alpha, sigma)
            rho = correlation(chain, s[:, :, 1:], s[:, :, :-1], window.coupling)
            rows.append((torch.stack([alpha, sigma, a, b], 1), w * alpha / (alpha * b - sigma * a), plain, rho, s))
        levels, *parts, s = (self._joined(part, 0) for part in zip(*rows))
        fresh = torch.stack([
            torch.randn(steps, self.loss.size - 1, self.batch, self.net.dim, generator=g, device=self.device,
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

    def step(self, chunk: _Chunk, k: int) -> Step:
        """Step ``k`` of ``chunk``, as losses take it."""
        alpha, sigma, a, b, w = chunk.levels[:, :, k]
        last = [s.schedule.T if isinstance(s.schedule, Chain) else 1.0 for s in self.settings]

        def read(x_t: Tensor) -> Tensor:
            x_t = x_t if chunk.scale is None else x_t * chunk.scale[:, k]
            features = chunk.features[:, k]
            return self.net.read(x_t[0], features[0])[None] if self.members is None else self.net.read(x_t, features)

        def ask(function, x_t: Tensor, t: Tensor) -> Tensor:
            return function(x_t[0], t[0])[None] if self.members is None else function(x_t, t)

        draws = (chunk.x0[self.x0_of, k], chunk.eps[self.eps_of, k], alpha, sigma, a, b, w[..., 0], chunk.times[:, k],
                 last, read, ask, self.net)  # fmt: skip
        if chunk.sequence is None:
            return Step(*draws)
        part = chunk.sequence
        weights, plain = (v[:, k, ..., 0].movedim(1, 0) for v in (part.weight, part.plain))
        fresh, rho = part.fresh[self.eps_of, k].movedim(1, 0), part.rho[:, k].movedim(1, 0)
        return WindowStep(*draws, *part.levels[:, :, k].movedim(2, 1), weights, plain, rho, fresh, self._mix)

    def errors(self, chunk: _Chunk, k: int) -> tuple[Tensor, Tensor]:
        return self.loss(self.step(chunk, k))

    def edges(self, bins: int) -> Tensor:
        """``bins`` bins of log SNR of equal width over (almost) all times that the members draw."""
        u = torch.linspace(1e-3, 1 - 1e-3, 999, dtype=torch.float64)
        seen = torch.cat([
            schedule.log_snr(times(u, schedule)) for schedule, times in {(s.schedule, s.times) for s in self.settings}
        ])
        seen = seen[seen.isfinite()]
        return torch.linspace(float(seen.min()), float(seen.max()), bins + 1, dtype=torch.float64)


def fit(net: Network, data: Law | Tensor, settings: Setting | Sequence[Setting], run: Run) -> History:
    """Train a denoising ``net`` in place, and return the log.

    Args:
        net: a network or an ensemble; its device and dtype are those of the training.
        data: a law, or samples: (n, d), or (members, n, d) where each member has its own.
        settings: what is trained on, one for all members or one a member.
        run: how long and how.

    Raises:
        ValueError: for data of another shape or that are not finite, or settings or seeds that are not one a member.
        FloatingPointError: if a loss is not finite; checked at each row of the log, naming member, step and target.

    >>> from diffnotes import MLP
    >>> net = MLP(1, width=16, depth=1, seed=(0, 1))
    >>> fit(net, torch.randn(100, 1), [Setting("eps"), Setting("v")], Run(steps=64)).loss.shape
    torch.Size([2, 2])
    """
    return minimise(net, Regression(net, data, settings, run), run)


# --- gradients --------------------------------------------------------------------------------------------------------


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
    net: Network, data: Law | Tensor, settings: Setting | Sequence[Setting], run: Run, edges: Tensor | None = None
) -> Gradients:
    """Signal and noise of the gradient of each member's loss, for mini-batches with log SNR uniform in one bin.

    With g_k the gradients of K = ``run.steps`` mini-batches: noise^2 = sum_k |g_k - mean|^2/(K - 1), and
    signal^2 = |mean|^2 - noise^2/K, set to 0 where negative. The weights stay as they are.

    Args:
        net, data, settings: as in :func:`fit`.
        run: its steps are the mini-batches, its batch their size.
        edges: increasing bin edges in log SNR, by default 10 bins of equal width over the times in use.

    Raises:
        ValueError: as :func:`fit`, or for fewer than 2 mini-batches.
    """
    if run.steps < 2:
        raise ValueError(f"steps = {run.steps} must be >= 2")
    task = Regression(net, data, settings, run)
    edges = task.edges(10) if edges is None else edges.to("cpu", torch.float64)
    parameters = list(net.parameters())
    signal, noise = [], []
    for low, high in itertools.pairwise(edges.tolist()):
        chunk = task.draw(run.steps, LogSnrBand(low, high))
        total = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
        squares = torch.zeros(net.members or 1, dtype=torch.float64, device=task.device)
        for k in cost.few(range(run.steps), "training"):
            loss, _ = task.errors(chunk, k)
            gradients = torch.autograd.grad(loss.mean(1).sum(), parameters)
            for sum_, g in zip(total, gradients):
                sum_ += g.double()
            squares += _squares(gradients, len(squares))
        mean = _squares(total, len(squares)) / run.steps**2
        noise.append((squares - run.steps * mean).clamp(min=0) / (run.steps - 1))
        signal.append((mean - noise[-1] / run.steps).clamp(min=0))
    both = [torch.stack(part, -1).sqrt().cpu() for part in (signal, noise)]
    if net.members is None:
        both = [part[0] for part in both]
    return Gradients(*both, edges)


def _squares(tensors: Sequence[Tensor], members: int) -> Tensor:
    """(members,) sums of squares over all entries of each member."""
    return sum(t.double().reshape(members, -1).square().sum(1) for t in tensors)
