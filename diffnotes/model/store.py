r"""Networks that are trained once and kept.

An experiment, such as a :class:`~diffnotes.model.fleet.Fleet`, is a value: it has one text, :func:`text_of`, and the
hash of that text and of :data:`TRAINING` is its key. :func:`kept` gives its networks: read from where they are kept, or
else trained there and then and written, whole or not at all.

Own networks lie in ``_build/networks`` of the book at hand (outside of one in the user's cache folder), published ones
in its ``book/networks``; they are looked for in that order. The environment variables ``DIFFNOTES_NETWORKS`` and
``DIFFNOTES_PUBLISHED`` name other folders, and with ``DIFFNOTES_TRAIN=1`` all are trained anew.

A file ``KEY.safetensors`` holds the weights of each network, in half precision (:func:`rounded`), the log of its
training, and as metadata "diffnotes" the experiment as text, ``TRAINING``, a checksum of the numbers, seconds, device,
date and versions. What is damaged, or does not belong to the experiment, is trained again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..core import cost
from ..core.denoiser import Denoiser
from ..core.law import Law
from ..core.schedule import Chain
from .fleet import Trained

__all__ = ["TRAINING", "Experiment", "Header", "kept", "key_of", "log_of", "text_of", "used"]

TRAINING = 1
"""Raised whenever training would give other weights than before; ``tests/model/test_golden.py`` says when it must."""

_used: dict[str, dict[str, Any]] = {}  # key -> how this process came by the networks
_under_way: list[str] = []  # keys of the experiments that are being trained, each a part of the one before
_counted: dict[str, Trained] = {}  # key -> what came of an experiment whose costs were counted


class Experiment(Protocol):
    """What :func:`kept` keeps: a frozen dataclass of values."""

    def blank(self) -> dict[str, nn.Module]:
        """The networks before training, by name."""

    def train(self, device: torch.device | str) -> Trained:
        """The trained networks, and logs."""

    def read(self, networks: Mapping[str, nn.Module], recipe: str) -> Any:
        """What a chapter asks for, made of the networks."""


class Header(dict):
    """What is known of kept networks: experiment, training, checksum, seconds, device, date, versions."""


# --- experiments as text ----------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """The one text of an experiment, or of a value in it: the same on every machine.

    Numbers count to six digits, and in a tensor not at all below 1e-9 of its largest one, so that rounding in how a
    law was computed makes no other experiment.

    Raises:
        TypeError: for what has no such text, like a function.

    >>> from diffnotes.model.setting import Run
    >>> text_of(Run(steps=64))[:26]
    'Run(steps=64, batch=128, r'
    """
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, str):
        return repr(str(value))  # of numpy's strings too
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return f"{value + 0.0:.6g}"  # -0.0 is 0.0
    if isinstance(value, np.generic):
        return text_of(value.item())
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text_of(k)}: {text_of(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):  # a range is the numbers in it
        return "(" + ", ".join(map(text_of, value)) + ")"
    if isinstance(value, Tensor):
        return _numbers(value)
    if isinstance(value, Chain):
        more = f", {_numbers(value._log_alpha_bar)}" if value.beta.max() > 0.9995 else ""  # 1 - beta has few digits
        return f"Chain({_numbers(value.beta)}{more})"
    if isinstance(value, Law):
        parts = ((name, part) for name, part in sorted(vars(value).items()) if not name.startswith("_"))
        told = [f"{name}={text_of(part)}" for name, part in parts if name not in ("device", "dtype", "shape")]
        if told:
            return f"{type(value).__name__}({value.dtype}, {', '.join(told)})"
    if isinstance(value, Denoiser):
        if recipe := getattr(value, "recipe", None):
            return f"network({recipe})"
        parts = {name: part for name, part in vars(value).items() if name != "recipe"}
        return f"{type(value).__name__}({', '.join(f'{name}={text_of(part)}' for name, part in parts.items())})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f for f in dataclasses.fields(value) if f.init and not _left_out(value, f)]
        told = (f"{f.name}={text_of(getattr(value, f.name))}" for f in fields)
        return f"{type(value).__name__}({', '.join(told)})"
    raise TypeError(f"{value!r} in an experiment; allowed: numbers, texts, lists, tensors, laws, schedules, denoisers "
                    "that were kept, and frozen dataclasses of these")


def _left_out(value: Any, field: dataclasses.Field) -> bool:
    """Whether a field is not told: it came later and has its default, so that older experiments keep their key."""
    return bool(field.metadata.get("later")) and text_of(getattr(value, field.name)) == text_of(field.default)


def _numbers(value: Tensor) -> str:
    """A tensor as text: its shape, and its numbers to six digits, or where they are many a hash of these."""
    flat = value.detach().cpu().double().flatten()
    finite = flat[flat.isfinite()].abs()
    noise = 1e-9 * float(finite.max()) if len(finite) else 0.0
    told = " ".join(f"{number:.6g}" for number in torch.where(flat.abs() <= noise, 0.0, flat).tolist())
    if value.numel() > 16:
        told = hashlib.sha256(told.encode()).hexdigest()[:16]
    return f"tensor{tuple(value.shape)}[{told}]"


def key_of(experiment: Experiment) -> str:
    """24 hexadecimal digits that stand for the experiment, and for :data:`TRAINING`."""
    return _key(text_of(experiment))


def _key(text: str) -> str:
    return hashlib.sha256(f"{TRAINING} {text}".encode()).hexdigest()[:24]


# --- folders ----------------------------------------------------------------------------------------------------------


def _book() -> Path | None:
    """The book at or above the working folder."""
    here = Path.cwd()
    return next((f for f in (here, *here.parents) if (f / "_toc.yml").is_file() and (f / "notebooks").is_dir()), None)


def _folders() -> tuple[Path, Path | None]:
    """Where own networks lie, and where published ones may."""
    book = _book()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "diffnotes" / "networks"
    own = os.environ.get("DIFFNOTES_NETWORKS") or (book / "_build" / "networks" if book else cache)
    published = os.environ.get("DIFFNOTES_PUBLISHED") or (book / "book" / "networks" if book else None)
    return Path(own), Path(published) if published else None


def _say(text: str) -> None:
    """A message to whoever watches; a run of the book has it in its record."""
    watched = sys.stderr.isatty() or "ipykernel" in sys.modules
    if watched and os.environ.get("TQDM_DISABLE", "0") in ("", "0"):
        print(text, file=sys.stderr)


@contextlib.contextmanager
def _alone(folder: Path, key: str) -> Iterator[bool]:
    """Hold the lock on a key, waiting for another process that has it; False where the folder cannot be written to."""
    lock = _lock(folder, key)
    if lock is None:
        yield os.access(folder, os.W_OK)
        return
    with lock:
        try:
            for left in folder.glob(f".{key}-*.tmp"):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)
            yield True
        finally:
            with contextlib.suppress(OSError):
                os.unlink(lock.name)


def _lock(folder: Path, key: str) -> IO[str] | None:
    """The locked file of a key; None where the folder cannot be written to, or files cannot be locked."""
    try:
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        while True:
            lock = open(folder / f"{key}.lock", "w")
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), os.stat(lock.name)):
                    return lock
            lock.close()  # whoever held it has removed it meanwhile
    except (ImportError, OSError):
        return None


# --- files ------------------------------------------------------------------------------------------------------------


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the numbers, in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _write(path: Path, tensors: dict[str, Tensor], header: Header) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)  # it may have been removed since
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    os.close(handle)
    try:
        save_file(tensors, name, metadata={"diffnotes": json.dumps(header)})
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, SafetensorError):  # how safetensors tells of a full disk
            raise OSError(str(error)) from error
        raise


def _read(path: Path, text: str) -> tuple[dict[str, Tensor], Header]:
    """The tensors and the header of a file that keeps the experiment ``text``; ValueError says why it cannot serve."""
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("diffnotes", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"it cannot be read ({type(error).__name__})") from error
    if not isinstance(header, dict) or not header.keys() >= {"seconds", "device", "date"}:
        raise ValueError("it does not say how its networks were trained")
    if header.get("training") != TRAINING:
        raise ValueError(f"it is of training {header.get('training')}, not {TRAINING}")
    if header.get("experiment") != text:
        raise ValueError("it is of another experiment")
    if header.get("checksum") != _checksum(tensors):
        raise ValueError("its numbers are not those that were written")
    return tensors, Header(header)


def _filled(experiment: Experiment, tensors: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """The experiment's networks with the weights of ``tensors``; ValueError where these are not theirs."""
    networks = experiment.blank()
    for name, net in networks.items():
        own = net.state_dict()
        state = {part: tensors.get(f"net/{name}/{part}") for part in own}
        if any(value is None or value.shape != own[part].shape for part, value in state.items()):
            raise ValueError("its networks are of other sizes")
        if any(value.dtype not in (own[part].dtype, _narrow(own[part]).dtype) for part, value in state.items()):
            raise ValueError("its networks are of another dtype")
        state = {part: value.to(own[part].dtype) for part, value in state.items()}
        net.load_state_dict(state, assign=True)  # a copy would go astray where parts of a blank one share memory
    return networks


def _found(experiment: Experiment, key: str, text: str) -> tuple[dict, Header, str] | None:
    """(networks, header, where) of networks that are kept, own before published; None where there are none."""
    own, published = _folders()
    for folder, source in ((own, "own"), (published, "published")):
        path = None if folder is None else folder / f"{key}.safetensors"
        if path is None or not path.is_file():
            continue
        try:
            tensors, header = _read(path, text)
            return _filled(experiment, tensors), header, source
        except ValueError as error:
            _say(f"{path}: {error}; the networks are taken from elsewhere, or trained again")
    return None


def kept(experiment: Experiment, device: torch.device | str = "cpu", name: str = "") -> Any:
    """What ``experiment.read`` makes of its networks, on ``device``: kept ones, or trained now and kept.

    Args:
        experiment: a frozen dataclass of values.
        device: where the networks are used and, if need be, trained.
        name: what the networks are for, in the record of a run; by default the names of the networks.

    Raises:
        TypeError: for an experiment that has no text.
        ValueError: for a device that is not there.
    """
    device, text = _there(device), text_of(experiment)
    key = _key(text)
    if cost.dry():
        return experiment.read(_count(experiment, key, device, name), key)
    anew = os.environ.get("DIFFNOTES_TRAIN", "0") not in ("", "0") and _used.get(key, {}).get("source") != "trained"
    found = None if anew else _found(experiment, key, text)
    if found is None:
        with _alone(_folders()[0], key) as writable:
            found = None if anew else _found(experiment, key, text)  # another process may have trained them meanwhile
            if found is None:
                found = _trained(experiment, key, text, device, writable)
    networks, header, source = found
    told = name or ", ".join(networks)
    size = sum(_narrow(p).nbytes for net in networks.values() for p in net.parameters())
    before = _used.get(key, {}).get("source", source)
    first = "trained" if "trained" in (before, source) else before
    _used[key] = {"key": key, "name": told, "source": first, "seconds": header["seconds"],
                  "device": header["device"], "date": header["date"], "bytes": size, "checksum": header["checksum"],
                  "part": bool(_under_way) and _used.get(key, {}).get("part", True)}  # fmt: skip
    return experiment.read({name: net.to(device) for name, net in networks.items()}, key)


def _count(experiment: Experiment, key: str, device: torch.device, name: str) -> dict[str, nn.Module]:
    """The networks of an experiment of which the costs alone are wanted: nothing is read or written."""
    if key not in _counted:
        with cost.dry().experiment() as told:
            _counted[key] = experiment.train(device)
        told["name"] = name or ", ".join(_counted[key].networks)
    return {name: net.to(device) for name, net in _counted[key].networks.items()}


def _there(device: torch.device | str) -> torch.device:
    """``device``, where numbers can be put; ValueError before anything is trained where they cannot."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(f"device = {device!r} cannot be used here ({error}); allowed: 'cpu', or 'cuda' where PyTorch "
                         "finds a GPU") from error
    return found


def _trained(experiment: Experiment, key: str, text: str, device: torch.device, writable: bool
             ) -> tuple[dict, Header, str]:
    began = time.perf_counter()
    _under_way.append(key)
    try:
        networks, log = experiment.train(device)
    finally:
        _under_way.pop()
    tensors = {f"log/{name}": value.float() if value.is_floating_point() else value for name, value in log.items()}
    for name, net in networks.items():
        tensors |= {f"net/{name}/{part}": _narrow(value) for part, value in net.state_dict().items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    header = Header(
        experiment=text, training=TRAINING, checksum=_checksum(tensors),
        seconds=round(time.perf_counter() - began, 2), device=_device(device),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), "torch": torch.__version__},
    )  # fmt: skip
    try:
        networks = _filled(experiment, tensors)  # what is used is what is kept
    except ValueError as error:
        raise ValueError(f"{type(experiment).__name__}.train and .blank do not agree: {error}") from error
    folder = _folders()[0]
    try:
        if not writable:
            raise PermissionError("the folder cannot be written to")
        _write(folder / f"{key}.safetensors", tensors, header)
    except OSError as error:
        _say(f"{folder}: {error}; the networks serve now, but are not kept")
    return networks, header, "trained"


def rounded(net: nn.Module) -> nn.Module:
    """Round the float32 weights of ``net``, in place, to the sixteen bits with which they are kept.

    What is used is what is kept: the networks of a training are those that are read later, bit for bit. Weights beyond
    the range of sixteen bits stay as they are.
    """
    with torch.no_grad():
        for value in net.state_dict().values():
            value.copy_(_narrow(value))
    return net


def _narrow(value: Tensor) -> Tensor:
    """float32 as float16 where its numbers are within range, anything else as it is."""
    if value.dtype != torch.float32:
        return value
    half = value.half()
    return half if bool((half.isfinite() == value.isfinite()).all()) else value


def _device(device: torch.device) -> str:
    """The name of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    threads = torch.get_num_threads()  # part of how sums are cut, so of the last digits
    return f"{model} ({torch.backends.cpu.get_cpu_capability()}), {threads} thread{'s' * (threads > 1)}"


def log_of(experiment: Experiment) -> dict[str, Tensor]:
    """The log of the training of kept networks: "NAME/step", "NAME/loss", "NAME/error", "NAME/edges".

    Raises:
        LookupError: where they are not kept.
    """
    text = text_of(experiment)
    key = _key(text)
    if key in _counted:
        return _counted[key].log
    for folder in _folders():
        if folder is not None and (path := folder / f"{key}.safetensors").is_file():
            with contextlib.suppress(ValueError):
                tensors, _ = _read(path, text)
                return {name.removeprefix("log/"): value for name, value in tensors.items() if name.startswith("log/")}
    raise LookupError(f"no networks of {key} are kept; ask for them first")


def used() -> list[dict[str, Any]]:
    """How this process came by the networks it asked for: key, name, source ("trained", "own" or "published"); when,
    where and in how many seconds they were trained; bytes of their weights, checksum of the file's numbers.

    What only another experiment asked for, whose own numbers are kept, is left out: a reader does without it.
    """
    return [{key: value for key, value in told.items() if key != "part"}
            for told in _used.values() if not told["part"]]  # fmt: skip
