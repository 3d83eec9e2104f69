r"""What a computation costs, counted before it is run: launches, arithmetic, memory traffic, peak memory, time.

While costs are counted (:func:`counting`, or a process with ``DIFFNOTES_DRY``), every operation of PyTorch on this
thread that is not a view counts as one launch. Its FLOPs are those of products and convolutions, by the formulas of
:mod:`torch.utils.flop_counter`; its bytes are those of the tensors it reads and makes. On a :class:`Machine` it takes

    seconds = max(launch, FLOPs / rate, bytes / bandwidth),

and all seconds are summed: an upper bound where a device works on while the host prepares the next operation.

*Loops.* Of a loop whose turns are alike three are run, the second for all between the first and the last
(:func:`few`): the steps of a training. Of the steps of a sampler two are run, the second for all others
(:func:`repeated`). What loops outside of these is run, and counted, in full.

*Large operations* on float32 tensors are counted, not computed: zeros, which take no memory, stand in for the result of
a convolution and for what is made of it; the first rows of a product stand for all. All numbers of a counted run are
thereby nonsense.

*Places.* Trainings, samplings with a network, and other operations on float32 are taken for work of the device. Other
operations are taken for work of the host, as most measurements in float64 are; so are samplings with an exact score.
What numpy, scipy or another thread computes is not seen. Peak memory is that of tensors of at least 64 KiB.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import mmap
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import conv_flop_count, flop_registry

T = TypeVar("T")


# --- machines ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What a device is assumed to do: ``launch`` in seconds an operation, FLOP/s of products in float32 (``single``)
    and float64 (``double``) and of convolutions (``convolution``), ``bandwidth`` in bytes a second."""

    launch: float
    single: float
    double: float
    convolution: float
    bandwidth: float


MACHINES = {
    "H100": Machine(8e-6, 25e12, 20e12, 5e12, 2.3e12),
    "H200": Machine(8e-6, 25e12, 20e12, 5e12, 3.4e12),
    "2 CPU cores": Machine(4e-6, 1e11, 5e10, 5e10, 2e10),
}
HOST = "2 CPU cores"
"""The machine that stands for the host of all others."""

ASSUMED = (
    "estimates, never compared with a run on a graphics card; all networks are trained anew, none is taken from those "
    "that are kept",
    "an operation takes max(launch, FLOPs / rate, bytes / bandwidth); times are summed, nothing overlaps",
    "launch: 8 us for PyTorch's eager operations on a GPU, 4 us on a processor",
    "rates on a GPU: 25 TFLOP/s in float32 without TF32 (published peak: 67), 20 in float64 (34, or 67 with tensor "
    "cores), 5 for convolutions in groups, one for each network; bandwidth 70 % of the published 3.35 TB/s "
    "(H100 SXM) and 4.8 TB/s (H200)",
    "rates on 2 CPU cores: 100 GFLOP/s in float32, 50 in float64 and for convolutions, 20 GB/s",
    "trainings, samplings with a network and other operations on float32 are the device's; all else is the host's, "
    "which is taken for 2 CPU cores; what numpy, scipy and matplotlib compute is left out",
)


@dataclass
class Cost:
    """Sums over operations: launches, FLOPs, bytes, and seconds by machine."""

    launches: float = 0.0
    flops: float = 0.0
    bytes: float = 0.0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MACHINES, 0.0))

    def __sub__(self, other: Cost) -> Cost:
        seconds = {name: value - other.seconds[name] for name, value in self.seconds.items()}
        return Cost(self.launches - other.launches, self.flops - other.flops, self.bytes - other.bytes, seconds)

    def __add__(self, other: Cost) -> Cost:
        seconds = {name: value + other.seconds[name] for name, value in self.seconds.items()}
        return Cost(self.launches + other.launches, self.flops + other.flops, self.bytes + other.bytes, seconds)


# --- what an operation is ---------------------------------------------------------------------------------------------

aten = torch.ops.aten
LARGE_FLOPS = 2**28  # of a product or a convolution in float32 that is counted, not computed
LARGE_BYTES, HUGE_BYTES = 2**25, 2**30  # of what stands in for a result and goes on, of a result that is not made
ROWS = 32  # of a large product that are computed
SMALL_BYTES = 2**16  # of tensors that peak memory leaves out
_RANDOM = {"bernoulli", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "normal", "random",
           "uniform"}  # fmt: skip
_PRODUCTS = {aten.mm, aten.addmm, aten.bmm, aten.baddbmm}


class _Kind(NamedTuple):
    view: bool
    random: bool
    writes: bool  # in place, into its first argument
    replaceable: bool
    product: bool
    convolution: bool
    flops: Callable[..., int] | None


def _kind_of(func: Any) -> _Kind:
    schema = func._schema
    name = schema.name.partition("::")[2]
    aliased = [one.alias_info for one in schema.returns if one.alias_info is not None]
    view = name in ("_unsafe_view", "_reshape_alias") or any(not info.is_write for info in aliased)
    writes = name.endswith("_") and not name.endswith("__") and len(schema.returns) == 1
    packet = func._overloadpacket
    return _Kind(
        view, name.rstrip("_") in _RANDOM, writes, writes or not schema.is_mutable,
        packet in _PRODUCTS, packet in (aten.convolution, aten.convolution_backward), flop_registry.get(packet),
    )  # fmt: skip


def _flops(func: Any, args: tuple, kwargs: dict, out: Any) -> int:
    """FLOPs of a product or a convolution; a multiplication and an addition are two."""
    if func is aten.convolution_backward.default:
        # Each of the two gradients asked for takes what the convolution itself takes; the formula of flop_counter knows
        # no groups.
        grad, x, weight, transposed, mask = args[0], args[1], args[2], args[7], args[10]
        return conv_flop_count(x.shape, weight.shape, grad.shape, transposed) * sum(map(bool, mask[:2]))
    formula = flop_registry[func._overloadpacket]
    return formula(*args, **kwargs, out_val=out)


def _tensors(args: Iterable[Any], found: list[Tensor]) -> list[Tensor]:
    for value in args:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            _tensors(value, found)
    return found


def _broadcast(tensors: Sequence[Tensor]) -> int:
    """Entries of what comes of a pointwise operation on tensors of these shapes, or of the largest one."""
    try:
        return math.prod(torch.broadcast_shapes(*(t.shape for t in tensors)))
    except RuntimeError:
        return max(t.numel() for t in tensors)


def _in_part(func: Any, args: tuple, kwargs: dict) -> Tensor:
    """A product of which the first rows are computed, and stand for all others too: so distances stay plausible."""
    given = [*args]
    at = len(given) - 2  # of the first factor; before it stands what is added
    n, axis = given[at].shape[-2], given[at].ndim - 2
    for i in range(at + 1):
        if given[i].ndim > axis and given[i].shape[axis] == n:
            given[i] = given[i].narrow(axis, 0, min(n, ROWS))
    found = func(*given, **kwargs)
    return found.index_select(axis, torch.arange(n) % ROWS)


def _zeros_like(meta: Tensor) -> Tensor:
    """Zeros of the form of ``meta`` that take no memory until they are written to."""
    size = meta.element_size() * (1 + sum((n - 1) * s for n, s in zip(meta.shape, meta.stride())))
    if not meta.numel():
        return torch.empty_strided(meta.shape, meta.stride(), dtype=meta.dtype)
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0))
    return torch.frombuffer(pages, dtype=torch.uint8).view(meta.dtype).as_strided(meta.shape, meta.stride())


# --- counting ---------------------------------------------------------------------------------------------------------


class Count(TorchDispatchMode):
    """Counts the operations that are done in it.

    Attributes:
        parts: "training", "sampling", "measuring" and "host" -> :class:`Cost`.
        peak: the most bytes of tensors that were alive at once.
        experiments: what was asked of :func:`diffnotes.model.store.kept`, one after the other.
        whole: every turn of every loop is run, and every operation computed.
    """

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.whole, self.began = whole, time.perf_counter()
        self.parts = {name: Cost() for name in ("training", "sampling", "measuring", "host")}
        self.part: str | None = None
        self.weight = 1.0
        self.live = self.peak = 0
        self.experiments: list[dict[str, Any]] = []
        self.trainings: list[dict[str, int]] = []
        self._within = 0  # experiments that are under way
        self._kinds: dict[Any, _Kind] = {}
        self._alive: dict[int, weakref.ref] = {}  # storages by id, as those that stand in are
        self._hollow: dict[int, weakref.ref] = {}

    @property
    def total(self) -> Cost:
        """All parts together."""
        return sum(self.parts.values(), Cost())

    def seconds(self, machine: str) -> float:
        """How long all takes on a machine, whose host is :data:`HOST`."""
        return sum(cost.seconds[HOST if name == "host" else machine] for name, cost in self.parts.items())

    @contextlib.contextmanager
    def weighed(self, weight: float, part: str | None) -> Iterator[None]:
        """What is done in this context counts ``weight`` times, and for ``part`` unless it is in a part already."""
        before = self.weight, self.part
        self.weight, self.part = self.weight * weight, self.part or part
        try:
            yield
        finally:
            self.weight, self.part = before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        kind = self._kinds.get(func)
        if kind is None:
            kind = self._kinds[func] = _kind_of(func)
        if kind.view:
            return func(*args, **kwargs)
        given = _tensors(args, [])
        small = any(t.dtype == torch.float32 for t in given)
        out = None if self.whole else self._stand_in(func, kind, args, kwargs, given if small else [])
        if out is None:
            out = func(*args, **kwargs)
        made = _tensors((out,), [])
        self._count(func, kind, args, kwargs, out, (given, made))
        for tensor in made:
            if tensor.nbytes >= SMALL_BYTES:
                self._remember(tensor)
        return out

    def _stand_in(self, func, kind: _Kind, args, kwargs, given: list[Tensor]) -> Any:
        """Zeros for the result of a large operation on float32; None where it is to be computed."""
        if kind.random or not kind.replaceable or not given:
            return None
        if kind.product and _flops(func, args, kwargs, None) >= LARGE_FLOPS:
            return _in_part(func, args, kwargs)
        large = any(t.nbytes >= LARGE_BYTES and id(t.untyped_storage()) in self._hollow for t in given)
        if not large and len(given) > 1 and not kind.flops:
            large = 4 * _broadcast(given) >= HUGE_BYTES
        if not large and not kind.convolution:
            return None
        if kind.writes:
            return args[0]
        try:
            meta = func(*tree_map_only(Tensor, _meta, args), **tree_map_only(Tensor, _meta, kwargs))
        except (NotImplementedError, RuntimeError):  # its result hangs on the numbers
            return None
        found = _tensors((meta,), [])
        if not found or not found[0].is_floating_point():
            return None
        if not large and _flops(func, args, kwargs, meta) < LARGE_FLOPS:
            return None
        out = tree_map_only(Tensor, _zeros_like, meta)
        for tensor in _tensors((out,), []):
            storage = tensor.untyped_storage()
            self._hollow[id(storage)] = weakref.ref(storage, partial(self._hollow_gone, id(storage)))
        return out

    def _hollow_gone(self, key: int, _: weakref.ref) -> None:
        self._hollow.pop(key, None)

    def _count(self, func, kind: _Kind, args, kwargs, out, tensors: tuple[list[Tensor], list[Tensor]]) -> None:
        size = sum(t.nbytes for part in tensors for t in part)
        flops = _flops(func, args, kwargs, out) if kind.flops else 0
        single = any(t.dtype == torch.float32 for part in tensors for t in part)
        # The table of a sampler's numbers is the host's.
        part = None if self.part == "sampling" and not single else self.part
        cost = self.parts[part or ("measuring" if single else "host")]
        weight = self.weight
        cost.launches += weight
        cost.flops += weight * flops
        cost.bytes += weight * size
        for name, machine in MACHINES.items():
            least = max(machine.launch, size / machine.bandwidth)
            if flops:
                rate = machine.convolution if kind.convolution else machine.single if single else machine.double
                least = max(least, flops / rate)
            cost.seconds[name] += weight * least

    def _remember(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._alive:
            return

        def gone(_: weakref.ref) -> None:
            self._alive.pop(key, None)
            self.live -= size

        self._alive[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)

    def few(self, items: Sequence[T], part: str | None) -> Iterator[T]:
        """See :func:`few`."""
        n = len(items)
        chosen = ((one, 1.0) for one in items)
        if n > 3 and not self.whole:
            chosen = ((items[0], 1.0), (items[1], n - 2.0), (items[n - 1], 1.0))
        for one, weight in chosen:
            with self.weighed(weight, part):
                yield one

    def repeated(self, steps: Iterator[T], n: int, part: str | None) -> Iterator[T]:
        """See :func:`repeated`."""
        short = n > 2 and not self.whole
        end = last = object()
        for k in range(2 if short else n):
            with self.weighed(n - 1.0 if short and k else 1.0, part):
                last = next(steps, end)
            if last is end:
                return
            yield last
        for _ in range(n - 2 if short else 0):
            yield last

    @contextlib.contextmanager
    def experiment(self) -> Iterator[dict[str, Any]]:
        """What is done in this context is an experiment, told in the dictionary that is given.

        "within" is the number of experiments that it is part of: their costs have its own in them.
        """
        before, trainings, outer = self.total, self.trainings, self.peak
        self.trainings, self.peak = [], self.live
        told: dict[str, Any] = {"within": self._within}
        self.experiments.append(told)
        self._within += 1
        try:
            yield told
        finally:
            self._within -= 1
            told |= {"trainings": self.trainings, "peak": self.peak, **asdict(self.total - before)}
            self.trainings, self.peak = trainings + self.trainings, max(outer, self.peak)

    def summary(self) -> dict[str, Any]:
        """All that was counted, as it can stand in JSON; times in seconds, memory in bytes."""
        return {
            "experiments": self.experiments, "parts": {name: asdict(cost) for name, cost in self.parts.items()},
            **asdict(self.total), "seconds": {name: self.seconds(name) for name in MACHINES}, "peak": self.peak,
            "took": time.perf_counter() - self.began, "assumed": ASSUMED,
        }  # fmt: skip


def _meta(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


_present: Count | None = None


@contextlib.contextmanager
def counting(whole: bool = False) -> Iterator[Count]:
    """In this context costs are counted, and loops shortened; with ``whole`` nothing is shortened.

    >>> with counting() as count:
    ...     _ = torch.ones(4, 8) @ torch.ones(8, 2)
    >>> count.total.launches, count.total.flops
    (3.0, 128.0)
    """
    global _present
    before, _present = _present, Count(whole)
    try:
        with _present:
            yield _present
    finally:
        _present = before


def dry() -> Count | None:
    """The count of a run in which nothing is trained in full; None in any other."""
    return None if _present is None or _present.whole else _present


def few(items: Sequence[T], part: str | None = None) -> Iterable[T]:
    """The turns of a loop: ``items``, or while costs are counted three of them that stand for all.

    Args:
        items: what the loop goes through; its turns cost the same, but perhaps for the first and the last.
        part: for which part of the costs they count.
    """
    return items if _present is None else _present.few(items, part)


def repeated(steps: Iterator[T], n: int, part: str | None = None) -> Iterator[T]:
    """The ``n`` things that ``steps`` makes; while costs are counted, the second one again and again.

    ``part``: for which part of the costs it counts to make them.
    """
    return steps if _present is None else _present.repeated(steps, n, part)


def plausible(numbers: Tensor) -> Tensor:
    """``numbers``; in a dry run others, between one and two: those of what stands in for results are zero, of which
    nothing has a ratio."""
    return numbers if dry() is None else 1 + torch.rand_like(numbers)


def note(networks: int, steps: int, batch: int) -> None:
    """A training of so many networks together; remembered while costs are counted."""
    if _present is not None:
        _present.trainings.append({"networks": networks, "steps": steps, "batch": batch})


def _begin(path: Path) -> None:
    """Count all that this process does from now on, and write the summary to ``path`` when it ends."""
    global _present
    _present = Count()
    _present.__enter__()
    atexit.register(lambda count: path.write_text(json.dumps(count.summary()), encoding="utf-8"), _present)
    from . import data

    # A dry run needs no data.
    data.mnist, data.cifar10 = (partial(_noise_images, name) for name in ("mnist", "cifar10"))


def _noise_images(name: str, split: str = "train") -> tuple[Tensor, Tensor]:
    """Random images and labels of a data set's shapes; in ten dimensions, for distances of noise in many are all
    alike."""
    from .data import SHAPES

    n = 10_000 if split == "test" else {"mnist": 60_000, "cifar10": 50_000}[name]
    random, shape = np.random.default_rng(0), SHAPES[name]
    few_numbers = random.standard_normal((n, 10), dtype=np.float32)
    patterns = random.standard_normal((10, math.prod(shape)), dtype=np.float32)
    x = torch.from_numpy(np.tanh(few_numbers @ patterns)).view(n, *shape)
    return x, torch.from_numpy(random.integers(10, size=n))


if place := os.environ.get("DIFFNOTES_DRY"):
    _begin(Path(place))
