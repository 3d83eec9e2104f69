"""Import paths of version 0.1: ``from diffnotes.schedule import Linear`` goes on to work, from where the name is now.

A module of then stands for the modules that hold its names now, asked in turn; it holds nothing itself.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Iterator, Sequence

MOVED = {
    "collapse": "measure.crowding measure.flow chapters.collapse",
    "crowding": "measure.crowding chapters.measuring",
    "data": "core.data",
    "denoiser": "core.denoiser",
    "device": "core.device",
    "distance": "measure.distance measure.divergence",
    "elbo": "chapters.targets",
    "explore": "show.explore chapters.collapse_figures chapters.recursion_figures chapters.gradients_figures",
    "features": "model.classifier",
    "figures": "show.figures",
    "fleet": "model.fleet",
    "helmholtz": "chapters.gradients measure.divergence",
    "information": "measure.information",
    "interval": "measure.interval",
    "law": "core.law",
    "lipschitz": "chapters.lipschitz model.condition",
    "net": "model.net model.condition",
    "pairs": "measure.pairs",
    "ranking": "measure.ranking",
    "recursion": "chapters.recursion measure.divergence",
    "sample": "model.sample",
    "schedule": "core.schedule",
    "sequence": "model.window chapters.sequence",
    "target": "core.target",
    "train": "model.train model.setting",
    "unet": "model.unet",
}

RENAMED = {"chi2_quadrature": "chi2", "invisible": "Invisible", "kl_quadrature": "kl"}


class Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of ``MOVED`` in the package ``root``."""

    def __init__(self, root: str) -> None:
        self.root = root

    def find_spec(self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
                  ) -> importlib.machinery.ModuleSpec | None:
        root, _, old = name.rpartition(".")
        return importlib.machinery.ModuleSpec(name, self) if root == self.root and old in MOVED else None

    def exec_module(self, module: types.ModuleType) -> None:
        old = module.__name__.rpartition(".")[2]

        def places() -> Iterator[types.ModuleType]:
            for place in MOVED[old].split():
                yield importlib.import_module(f"{self.root}.{place}")

        def of_now(name: str) -> object:
            if name == "__all__":  # for "import *"
                return sorted({one for now in places() for one in now.__all__})
            for now in places() if not name.startswith("__") else ():
                if hasattr(now, new := RENAMED.get(name, name)):
                    return getattr(now, new)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__doc__ = f"The names of ``{old}``, now in {MOVED[old].replace(' ', ', ')}."
        module.__getattr__ = of_now
        module.__dir__ = lambda: sorted({*vars(module), *of_now("__all__")})


def install(root: str) -> None:
    """Let the package ``root`` be imported by its paths of before."""
    if not any(isinstance(finder, Moved) and finder.root == root for finder in sys.meta_path):
        sys.meta_path.append(Moved(root))
