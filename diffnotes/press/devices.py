"""What a run can use here: the processor, its cores, a CUDA GPU."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .errors import PressError
from .processes import environment

__all__ = ["DEVICES", "cores", "cpu_name", "cuda_name", "find_device"]

DEVICES = ("auto", "cpu", "cuda")


def cuda_name() -> str | None:
    """Name of the CUDA GPU that PyTorch can use, or None; asked in a process that ends at once."""
    code = "import torch; print(torch.cuda.get_device_name(0) if torch.cuda.is_available() else '')"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, env=environment())
    return done.stdout.strip() or None


def may_have_cuda() -> bool:
    """Cheap and cautious: whether it is worth the time to ask PyTorch."""
    drivers = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/dxg", "/dev/kfd")
    return bool(shutil.which("nvidia-smi")) or any(Path(driver).exists() for driver in drivers)


def cpu_name() -> str:
    """The processor's model and the number of cores this process may use."""
    with contextlib.suppress(OSError):
        if models := re.findall(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M):
            return f"{' '.join(models[0].split())}, {cores()} cores"
    name = ""
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return f"{name or platform.processor() or platform.machine()}, {cores()} cores"


def find_device(wanted: str) -> tuple[str, str]:
    """Kind ("cpu" or "cuda") and name of the device that "auto", "cpu" or "cuda" stands for here.

    Raises:
        PressError: for another word, or for "cuda" where there is none.
    """
    if wanted not in DEVICES:
        raise PressError(f"unknown device {wanted!r}; allowed: {', '.join(DEVICES)}", 2)
    gpu = cuda_name() if wanted == "cuda" or (wanted == "auto" and may_have_cuda()) else None
    if wanted == "cuda" and gpu is None:
        raise PressError("--device cuda: PyTorch finds no CUDA GPU here; nothing was run. Use --device auto or cpu.", 2)
    return ("cuda", gpu) if gpu else ("cpu", cpu_name())


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
