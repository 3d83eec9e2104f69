"""The package and every chapter on a pretended GPU: nothing is refused, and the host waits only where results are due.

The numbers must be those of the CPU, bit for bit: the pretended device computes on the host.
"""

import contextlib
import importlib
import json
import pkgutil
import tomllib
from functools import partial
from pathlib import Path
from unittest import mock

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from pretended import CELL, pretended

import diffnotes
from diffnotes import information, lipschitz, sample, sequence, train

# All of the package, before anything of it is replaced.
MODULES = {
    one.name: importlib.import_module(f"diffnotes.{one.name}")
    for one in pkgutil.iter_modules(diffnotes.__path__)
    if not one.name.startswith("_") and not one.ispkg
}  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]
PROFILES = tomllib.loads((ROOT / "notebooks" / "profiles.toml").read_text(encoding="utf-8"))


# --- chapters ---------------------------------------------------------------------------------------------------------

# Below the settings of the profile "smoke", which are for a run without a pretended device.
SMALLER = {
    "collapse": {"steps": 32, "factor_steps": 32, "plane_steps": 32, "image_steps": 32, "plane_grid": 6, "ode_steps": 6,
                 "map_points": 50, "image_samples": 50, "plane_samples": 60},
    "gradients": {"course_steps": 100, "random_errors": 2, "ring_steps": 5, "sampler_steps": 5, "cells": 21},
    "lipschitz": {"samples": 20, "quantiles": 10, "cost_samples": 2},
    "measuring": {"grid_steps": 6, "image_grid": 5},
    "recursion": {"chain_steps": 6, "steps": 32, "image_grid": 5},
    "sequence": {"draws": 4, "points": 50, "long_points": 50, "gap_samples": 10},
    "targets": {"sweep_steps": 32, "steps": 32, "digit_steps": 32, "paths": 500},
}  # fmt: skip
FEW = 8


def few(times):
    """At most ``FEW`` of the times, the ends among them, and for each of ``times`` which of the few comes next."""
    times = torch.as_tensor(times)
    kept = torch.linspace(0, len(times) - 1, min(FEW, len(times))).round().long()
    return times[kept], torch.bucketize(torch.arange(len(times)), kept)


def few_steps(sampler):
    """The sampler in few steps: each is like the one before."""

    def call(denoiser, x, times, *rest, **options):
        whole = options.get("trajectory") or isinstance(options.get("variance"), torch.Tensor)
        return sampler(denoiser, x, times if whole else few(times)[0], *rest, **options)

    return call


def few_times(measure, at, between=0):
    """A measure at times, its argument ``at``, at few of them, and repeated."""

    def call(*given, **options):
        times, place = few(given[at])
        found = measure(*given[:at], times, *given[at + 1 :], **options)
        if isinstance(found, dict):
            return {name: values[..., place] for name, values in found.items()}
        return found[..., place[between:] - between]

    return call


SHORTER = {
    **{f"diffnotes.sample.{name}": few_steps(getattr(sample, name)) for name in ("ddim", "ddpm", "ode", "sde")},
    "diffnotes.lipschitz.step_constants": few_times(lipschitz.step_constants, 2, between=1),
    "diffnotes.lipschitz.perturbation_response": few_times(lipschitz.perturbation_response, 2),
    "diffnotes.lipschitz.time_lipschitz": few_times(lipschitz.time_lipschitz, 3),
    "diffnotes.information.excess_error": few_times(information.excess_error, 2),
    "diffnotes.train.gradient_statistics": partial(train.gradient_statistics, batches=4),
    "diffnotes.sequence.population_minimiser": partial(sequence.population_minimiser, points=33, nodes=6),
}


def execute(name, settings):
    """Run the code cells of a chapter; the values it glues, the figures' texts and the effects of its claims."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    made: list[tuple] = []

    def show(fig, *, name, caption, alt):
        plt.close(fig)
        made.append((name, caption, alt))

    def record(ledger, claim, **effects):
        made.append((claim, {part: (one.value, one.low, one.high) for part, one in effects.items()}))

    with contextlib.ExitStack() as patches:
        for what, by in {
            **SHORTER,
            "diffnotes.figures.show": show,
            "diffnotes.press.page.glue": lambda **values: made.extend((key, str(v)) for key, v in values.items()),
            "diffnotes.press.ledger.Ledger.record": record,
            "diffnotes.press.ledger.Ledger.summary": lambda ledger: None,
            "IPython.display.display": lambda *things, **options: None,
        }.items():  # fmt: skip
            patches.enter_context(mock.patch(what, by))
        names = {"__name__": "__main__"}
        for i, cell in enumerate(cells):
            if cell["cell_type"] == "code":
                exec(compile("".join(cell["source"]), f"{CELL}{i}", "exec"), names)
            if "parameters" in cell["metadata"].get("tags", ()):
                unknown = set(settings) - set(names)
                assert not unknown, unknown
                names |= settings
    return made


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_chapters_run_on_a_gpu(name, monkeypatch, capsys):
    matplotlib.use("agg")
    with pretended() as gpu:
        made = execute(name, PROFILES[name]["smoke"] | SMALLER[name] | {"profile": "smoke", "device": "cuda"})
    assert made and gpu.launches > 500
    assert not gpu.unordered
