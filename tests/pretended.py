"""A pretended CUDA device: numbers on the host, the rules and the costs of a GPU.

In ``with pretended() as gpu:`` there is a device "cuda". A tensor on it is a :class:`There`, which keeps its numbers on
the host and says "cuda:0". What Python asks of PyTorch goes through :class:`_Names`, which translates "cuda" for its
C++: there such a tensor is on "meta", the one device besides the CPU that every build knows. What C++ does with such
tensors comes to :class:`Device`, which

* refuses what CUDA refuses (:class:`Refused`, or the TypeError of CUDA's own): tensors on two devices, with CUDA's own
  exceptions (a number in a 0-dim tensor of the host, an index on the host), values on the host for an indexed write,
  anything in place into the other device, a generator of the other device, a look at the numbers by numpy;
* counts what costs: launches, among them those in float64, uploads, host syncs, and sums whose order differs from run
  to run, each with the line of the package or of the chapter's cell that asked for it.

Since the numbers are the host's, a run on the pretended device must give those of the CPU, bit for bit.
What is not pretended: other kernels and their rounding, the numbers a CUDA generator draws, memory, streams, time.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

import diffnotes

__all__ = ["Refused", "There", "pretended"]

CPU, META, CUDA = torch.device("cpu"), torch.device("meta"), torch.device("cuda", 0)
PACKAGE = str(Path(diffnotes.__file__).parent) + "/"
CELL = "cell "  # how the file names of chapters' cells begin

aten = torch.ops.aten
_Generator = torch.Generator


class Refused(RuntimeError):
    """What CUDA would have refused."""


# --- tensors and generators -------------------------------------------------------------------------------------------


_PRESENT: list[Device] = []  # the devices of the contexts that one is in


class There(Tensor):
    """A tensor on the pretended device; its numbers are in ``here``."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)
    is_meta = property(lambda self: False)
    data = property(lambda self: self.detach())  # to set it is not pretended

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        made = Tensor._make_wrapper_subclass(
            cls, here.shape, strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype, device=META
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if not _PRESENT:
            raise Refused(f"{func}: a tensor of the pretended device, outside of it")
        return _PRESENT[-1].__torch_dispatch__(func, types, args, kwargs)

    def get_device(self) -> int:
        return 0

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, *, force=False):
        if force:
            return self.cpu().numpy()
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                        f"memory first. (at {place()})")

    def __array__(self, *args, **kwargs):
        return self.numpy()

    def __format__(self, how):
        return format(self.item(), how) if self.ndim == 0 else object.__format__(self, how)

    def __repr__(self):
        return f"{self.detach().cpu()!r} on cuda:0" if _PRESENT else f"{self.here!r} on a device that is no more"

    def __deepcopy__(self, memo):
        with torch.no_grad():
            new = self.clone()
        new.requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            new._is_param = True
        return memo.setdefault(id(self), new)


class _OfGenerator(type(torch.Generator)):
    def __instancecheck__(cls, value) -> bool:
        return type.__instancecheck__(_Generator, value)


_ON_CUDA: set[int] = set()  # C++ addresses: an operation is given another Python object for the same generator


class Generator(_Generator, metaclass=_OfGenerator):
    """A generator of the host that says where it belongs."""

    def __new__(cls, device="cpu"):
        made = _Generator.__new__(cls)
        if torch.device(device).type == "cuda":
            _ON_CUDA.add(made._cdata)
        else:
            _ON_CUDA.discard(made._cdata)  # of a generator that is no more
        return made

    device = property(lambda self: CUDA if self._cdata in _ON_CUDA else CPU)


# --- what an operation is ---------------------------------------------------------------------------------------------

VIEWS = {
    "alias", "as_strided", "detach", "diagonal", "expand", "lift_fresh", "permute", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "_reshape_alias",
    "_unsafe_view",
}  # fmt: skip
INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}  # take indices on the host as well
COPIES = {"_to_copy", "copy_", "_local_scalar_dense"}
# Take numbers in tensors of the host, beside two and more tensors of the device.
NUMBERS = {"clamp", "clamp_", "fill_", "masked_fill", "masked_fill_", "where", "_fused_adam_"}
# The size of the result, or an error, hangs on the numbers: the host waits for them.
WAITS = {
    "_unique", "_unique2", "allclose", "bincount", "equal", "histc", "linalg_cholesky_ex", "linalg_eig",
    "linalg_inv_ex", "linalg_ldl_factor_ex", "linalg_lstsq", "linalg_lu_factor_ex", "linalg_pinv", "masked_select",
    "nonzero", "unique_consecutive", "unique_dim", "_linalg_eigh", "_linalg_eigvals", "_linalg_solve_ex", "_linalg_svd",
}  # fmt: skip
SPACES = {"linspace", "logspace"}  # ask tensors for their ends
SOMETIMES = {"multinomial", "repeat_interleave"} | SPACES  # wait or not, as they are asked
HOST_ONLY = {"histogram", "_histogramdd_bin_edges", "_histogramdd_from_bin_cts", "_histogramdd_from_bin_tensors"}
# Sums by atomic additions: PyTorch's list of what torch.use_deterministic_algorithms concerns.
UNORDERED = {
    "bincount", "cumsum", "cumsum_", "histc", "index_add", "index_add_", "index_reduce", "index_reduce_", "kthvalue",
    "median", "put", "put_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_",
    "embedding_dense_backward",
    "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_avg_pool2d_backward",
    "adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward",
    "fractional_max_pool2d_backward", "fractional_max_pool3d_backward", "grid_sampler_2d_backward",
    "grid_sampler_3d_backward", "max_pool3d_with_indices_backward", "nll_loss2d_forward",
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward",
    "replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward",
    "upsample_bicubic2d_backward", "upsample_bilinear2d_backward", "upsample_linear1d_backward",
    "upsample_trilinear3d_backward", "_upsample_bicubic2d_aa_backward", "_upsample_bilinear2d_aa_backward",
}  # fmt: skip
BACKWARD = {Tensor.backward, torch.autograd.backward, torch.autograd.grad}
FAMILIAR = {"dim", "dtype", "keepdim", "requires_grad"}  # options that name no device and no generator
DOUBLES = {torch.float64, torch.complex128}


class _Kind(NamedTuple):
    name: str
    indexed: bool
    copies: bool
    numbers: int  # at most so many tensors take part if one of them may be a number on the host; 0: none may be
    writes: bool
    view: bool
    waits: bool
    unordered: bool


_KINDS: dict = {}


def _kind(func) -> _Kind:
    known = _KINDS.get(func)
    if known is None:
        name = func._schema.name.split("::")[1]
        if name in ("resize_", "set_"):
            raise NotImplementedError(f"{name}: the pretended device does not give a tensor other numbers")
        # CUDA's kernels for one and two tensors take a number on the host; those for three (lerp, addcmul) do not.
        numbers = 9 if name in NUMBERS else 2 if torch.Tag.pointwise in func.tags or name.startswith("_foreach") else 0
        writes = (name.endswith("_") and not name.endswith("__")) or "out" in func._schema.overload_name.split("_")
        known = _KINDS[func] = _Kind(name, name in INDEXED, name in COPIES, numbers, writes, name in VIEWS,
                                     name in WAITS or name in SOMETIMES, name in UNORDERED)  # fmt: skip
    return known


def place() -> str:
    """The innermost line of the package, or of a chapter's cell, that is being executed."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PACKAGE):
            return f"{name[len(PACKAGE):]}:{frame.f_lineno} ({frame.f_code.co_name})"
        if name.startswith(CELL):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "elsewhere"


# --- the device and its name ------------------------------------------------------------------------------------------


class Device(TorchDispatchMode):
    """Does the work on the host, checks where tensors are, and counts.

    Attributes:
        launches, doubles: operations on the device, and those of them that touch float64.
        syncs, uploads, unordered: (what, where in the code) -> how often.
    """

    _should_skip_dynamo = classmethod(lambda cls: False)  # a wrapper about each operation, for a compiler not in use

    def __init__(self) -> None:
        super().__init__()
        self.launches = self.doubles = 0
        self.syncs: Counter[tuple[str, str]] = Counter()
        self.uploads: Counter[tuple[str, str]] = Counter()
        self.unordered: Counter[tuple[str, str]] = Counter()

    def sync(self, what: str) -> None:
        self.syncs[what, place()] += 1

    def upload(self, what: str) -> None:
        self.uploads[what, place()] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if There not in types:
            device, generator = kwargs.get("device"), kwargs.get("generator")
            if device is None or device.type == "cpu":
                if generator is not None and generator._cdata in _ON_CUDA:
                    self._refuse(func, "a generator on cuda for tensors on the cpu")
                return func(*args, **kwargs)
        # For the shape of a product with a derivative that is 0, forward differentiation asks the true "meta".
        if func is aten.to.dtype_layout and type(args[0]) is not There:
            return func(*args, **kwargs)
        if func is aten._efficientzerotensor.default:
            return There(torch.zeros(args[0], dtype=kwargs["dtype"])) if args[0] else func(*args, **kwargs)
        kind = _kind(func)
        tensors: list[Tensor] = []
        here = [_here(value, tensors) for value in args]
        named = {name: _here(value, tensors) for name, value in kwargs.items()} if kwargs else kwargs
        device = kwargs.get("device")
        self._check(func, kind, args, kwargs, tensors)
        if not kind.view:
            self.launches += 1
            self.doubles += any(t.dtype in DOUBLES for t in tensors)
            if kind.copies or kind.waits or kind.indexed or kind.unordered:
                self._count(kind, args, kwargs)
        if device is not None:
            named["device"] = CPU
            named.pop("pin_memory", None)
        found = func(*here, **named)
        if torch.Tag.inplace_view in func.tags:
            with torch._C._DisableTorchDispatch():
                func(*args, **kwargs)  # the shape of the wrapper
        if kind.writes:
            given = kwargs.get("out", args[0] if args else None)
            return given if isinstance(given, Tensor) else None
        if device is not None and device.type == "cpu":
            return found
        return There(found) if type(found) is Tensor else tree_map_only(Tensor, There, found)

    @staticmethod
    def _refuse(func, why: str) -> None:
        raise Refused(f"{func}: {why} (at {place()})")

    def _check(self, func, kind: _Kind, args, kwargs, tensors: list[Tensor]) -> None:
        generator = kwargs.get("generator")
        if generator is None:
            generator = next((value for value in args if isinstance(value, _Generator)), None)
        if generator is not None and generator._cdata not in _ON_CUDA:
            self._refuse(func, "a generator on the cpu for tensors on cuda")
        if kind.name in HOST_ONLY:
            self._refuse(func, "has a kernel on the cpu alone")
        if kind.name == "linalg_lstsq" and kwargs.get("driver") not in (None, "gels"):
            self._refuse(func, f"driver {kwargs['driver']!r} is for the cpu alone")
        hosts = [t for t in tensors if type(t) is not There]
        if not hosts or kind.copies or (kind.name in SPACES and not any(t.ndim for t in hosts)):
            return
        if kind.indexed:
            if type(args[0]) is not There:
                self._refuse(func, "indices or values on cuda for a tensor on the cpu")
            if len(args) > 2 and type(args[2]) is not There and args[2].ndim:
                self._refuse(func, f"values {tuple(args[2].shape)} on the cpu for a tensor on cuda")
            return
        into = kwargs.get("out", args[0] if kind.writes and args else None)
        if (kind.writes and isinstance(into, Tensor) and type(into) is not There) or any(
            t.ndim or len(tensors) > kind.numbers for t in hosts
        ):
            shapes = ", ".join(f"{tuple(t.shape)} on {t.device.type}" for t in tensors)
            self._refuse(func, f"tensors on two devices, {shapes}")

    def _count(self, kind: _Kind, args, kwargs) -> None:
        device = kwargs.get("device")
        if kind.name == "_local_scalar_dense":
            self.sync("item")
        elif kind.name == "_to_copy":
            if type(args[0]) is not There:
                self.upload("to")
            elif device is not None and device.type == "cpu":
                self.sync("to the host")
        elif kind.name == "copy_":
            if type(args[0]) is not There:
                self.sync("to the host")
            elif type(args[1]) is not There:
                self.upload("copy_")
        elif kind.name in SPACES:
            for end in args[:2]:
                if type(end) is There:
                    self.sync("item")
        elif kind.name == "multinomial":  # probabilities are checked, but for several draws with replacement
            if args[1] == 1 or not (args[2] if len(args) > 2 else kwargs.get("replacement")):
                self.sync(kind.name)
        elif kind.name == "repeat_interleave":
            if kwargs.get("output_size") is None:
                self.sync(kind.name)
        elif kind.waits:
            self.sync(kind.name)
        if kind.indexed:
            found = [index for index in args[1] if index is not None]
            masks = [index for index in found if index.dtype in (torch.bool, torch.uint8)]
            # One number written where one mask says so is a masked fill, which needs no count of the places.
            put = "index_put" in kind.name
            filled = put and len(found) == len(masks) == 1 and args[2].numel() == 1
            for index in found:
                if type(index) is not There:
                    self.upload("index")
            if any(type(index) is There for index in masks) and not filled:
                self.sync("boolean index")
            if put and (args[3] if len(args) > 3 else kwargs.get("accumulate")):
                self.unordered["index_put_ that accumulates", place()] += 1
        if kind.unordered:
            self.unordered[kind.name, place()] += 1


def _here(value, found: list[Tensor]):
    """``value`` with its tensors' numbers; the tensors themselves go to ``found``."""
    kind = type(value)
    if kind is There:
        found.append(value)
        return value.here
    if kind is list or kind is tuple:
        return kind([_here(one, found) for one in value])
    if isinstance(value, Tensor):
        found.append(value)
    return value


def _named(value):
    """ "cuda" as "meta"."""
    if isinstance(value, torch.device):
        return META if value.type == "cuda" else value
    return META if isinstance(value, str) and value.partition(":")[0] == "cuda" else value


def _listed(index):
    """An index with lists as tensors: C++ would make them where no mode sees it."""
    if isinstance(index, tuple):
        return tuple(map(_listed, index))
    return torch.tensor(list(index)) if isinstance(index, (list, range)) else index


class _Names(TorchFunctionMode):
    """Translates "cuda" in what Python asks of PyTorch, and lets ``device`` see all that comes of it.

    What has to do with the host alone is not shown to it, which saves time.
    """

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is Tensor.__getitem__ or func is Tensor.__setitem__:
            if type(args[0]) is There:
                return self._seen(func, (args[0], _listed(args[1]), *args[2:]), {})
            return func(*args)
        if func is torch.device:
            return func(*args, **kwargs or {})
        if func is Tensor.cuda:
            return self._seen(Tensor.to, (args[0], META), {})
        if func is Tensor.new_tensor and type(args[0]) is There:
            options = {"dtype": args[0].dtype, "device": CUDA}
            return self._tensor(torch.tensor, args[1:], options | (kwargs or {}))
        if func is torch.tensor or func is torch.as_tensor:
            return self._tensor(func, args, kwargs or {})
        seen = func in BACKWARD
        for value in args:
            kind = type(value)
            if kind is There or ((kind is list or kind is tuple) and value and type(value[0]) is There):
                seen = True
            elif kind is torch.device or kind is str:
                args = tuple(map(_named, args))
                seen = True
                break
        if kwargs:
            seen = seen or not FAMILIAR.issuperset(kwargs)
            kwargs = {name: _named(value) for name, value in kwargs.items()}
        if seen:
            return self._seen(func, args, kwargs or {})
        return func(*args, **kwargs) if kwargs else func(*args)

    def _seen(self, func, args, kwargs):
        torch._C._push_on_torch_dispatch_stack(self.device)
        try:
            return func(*args, **kwargs)
        finally:
            torch._C._pop_torch_dispatch_stack(None)

    def _tensor(self, func, args, kwargs):
        if args and isinstance(args[0], (list, tuple)):
            args = (tree_map_only(There, lambda t: t.tolist(), args[0]), *args[1:])
        device = kwargs.get("device")
        if device is None or torch.device(device).type != "cuda":
            return func(*args, **kwargs)
        made = func(*args, **{name: value for name, value in kwargs.items() if name != "device"})
        return self._seen(Tensor.to, (made, META), {})


@contextlib.contextmanager
def pretended() -> Iterator[Device]:
    """There is a device "cuda" in this context, of which the :class:`Device` tells what was done on it."""

    def default_device(device) -> None:
        raise Refused(f"torch.set_default_device({device!r}): devices follow the inputs (at {place()})")

    mode = Device()
    _PRESENT.append(mode)
    try:
        with (
            mock.patch("torch.Generator", Generator),
            mock.patch("torch.cuda.is_available", lambda: True),
            mock.patch("torch.cuda.device_count", lambda: 1),
            mock.patch("torch.cuda.get_device_name", lambda device=None: "a pretended GPU"),
            mock.patch("torch.cuda.synchronize", lambda device=None: mode.sync("synchronize")),
            mock.patch("torch.set_default_device", default_device),
            _Names(mode),
        ):
            yield mode
    finally:
        _PRESENT.pop()
