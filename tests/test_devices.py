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
from diffnotes import collapse, features, fleet, helmholtz, information, lipschitz, recursion, sample, sequence, train
from diffnotes.denoiser import Exact, Hybrid, Learned, Mirrored, Perturbed
from diffnotes.law import Empirical, GaussianMixture, Law
from diffnotes.net import MLP, Condition
from diffnotes.schedule import Chain, Cosine, Linear
from diffnotes.unet import UNet

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


# --- waiting for the GPU ----------------------------------------------------------------------------------------------

LINEAR, CHAIN, F64 = Linear(), Chain.linear(40), torch.float64
LINE = GaussianMixture(torch.tensor([-1.0, 0.5], dtype=F64), 0.4)
PLANE = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 0.5]], dtype=F64), [0.4, 0.5])


def network(device, schedule=LINEAR, dim=1, members=2, target="eps", **told):
    condition = Condition(schedule=schedule, frequencies=2, **told)
    net = MLP(dim, 6, 1, condition=condition, members=members, seed=3)
    return Learned(net.to(device), schedule, target)


def samples(device, *shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5), dtype=dtype).to(device)


def generator(device):
    return torch.Generator(device).manual_seed(11)


def times(schedule, steps):
    return sample.grid(schedule, steps, t_min=0 if isinstance(schedule, Chain) else 1e-2)


def predicted(device, denoiser):
    squares = network(device, CHAIN)
    return sample.predicted_variance(CHAIN, lambda x, t: squares.net(x, t), denoiser)


SAMPLERS = {
    "ddpm": lambda d, x, t, g: sample.ddpm(d, x, t, g),
    "ddpm, beta": lambda d, x, t, g: sample.ddpm(d, x, t, g, variance="beta", rows=2),
    "ddpm, a variance a step": lambda d, x, t, g: sample.ddpm(d, x, t, g, variance=torch.full(t[1:].shape, 0.01).to(x)),
    "ddpm, trajectory": lambda d, x, t, g: sample.ddpm(d, x, t, g, trajectory=True),
    "ddpm, callback": lambda d, x, t, g: sample.ddpm(d, x, t, g, callback=lambda t, x, x0: x + x0 * t),
    "ddim": lambda d, x, t, g: sample.ddim(d, x, t),
    "ddim, eta": lambda d, x, t, g: sample.ddim(d, x, t, g, eta=0.5),
    "ode, dpm2m": lambda d, x, t, g: sample.ode(d, x, t, "dpm2m"),
    "ode, euler": lambda d, x, t, g: sample.ode(d, x, t, "euler"),
    "ode, heun": lambda d, x, t, g: sample.ode(d, x, t, "heun"),
    "sde": lambda d, x, t, g: sample.sde(d, x, t, g),
    "sde, strength": lambda d, x, t, g: sample.sde(d, x, t, g, strength=0.5, callback=lambda t, x, x0: None),
}  # fmt: skip
CONTINUOUS = ("ode, euler", "ode, heun", "sde", "sde, strength")
DENOISERS = {
    "networks": network,
    "one network": lambda device, schedule: network(device, schedule, members=None),
    "told sigma": lambda device, schedule: network(device, schedule, kind="sigma", data_std=0.7),
    "told shared times": lambda device, schedule: network(
        device, schedule, map=lambda t: lipschitz.share_timesteps(t, 4, schedule.T / 2 if schedule is CHAIN else 0.5)
    ),
    "exact, law on the host": lambda device, schedule: Exact(LINE, schedule),
    "exact, points on the host": lambda device, schedule: Exact(Empirical(samples("cpu", 9, 1)), schedule),
    "hybrid": lambda device, schedule: Hybrid(
        network(device, schedule, target="v"), Exact(LINE, schedule), schedule.T / 2 if schedule is CHAIN else 0.5
    ),
    "mirrored": lambda device, schedule: Mirrored(network(device, schedule)),
    "perturbed": lambda device, schedule: Perturbed(network(device, schedule), lambda x, t: 0.1 * x, "score"),
    "scaled": lambda device, schedule: sequence.Scaled(network(device, schedule), 0.5, 1.0),
    "left ends": lambda device, schedule: lipschitz.LeftEnd(
        network(device, schedule), 4, schedule.T / 2 if schedule is CHAIN else 0.5
    ),
    "best shared": lambda device, schedule: lipschitz.SharedExact(
        LINE, schedule, 4, schedule.T / 2 if schedule is CHAIN else 0.5
    ),
}  # fmt: skip
WALKS = [(sampler, "networks", LINEAR if sampler in CONTINUOUS else CHAIN) for sampler in SAMPLERS]
WALKS += [(sampler, name, LINEAR) for name in DENOISERS for sampler in ("ddpm", "ode, heun")]
WALKS += [("ddim, eta", name, CHAIN) for name in DENOISERS]


def compared(run):
    """``run("cpu")`` and ``run("cuda")`` must agree, bit for bit; the syncs of the latter."""
    expected = leaves(run("cpu"))
    with pretended() as gpu:
        found = [value.cpu() if isinstance(value, torch.Tensor) else value for value in leaves(run("cuda"))]
    assert len(expected) == len(found) and expected
    for one, other in zip(expected, found):
        torch.testing.assert_close(other, one, rtol=0, atol=0, equal_nan=True)
    assert not gpu.unordered
    return gpu


def leaves(value):
    """The numbers and tensors in what a function of the package gives."""
    if isinstance(value, torch.nn.Module):
        return list(value.state_dict().values())
    if isinstance(value, (torch.Tensor, int, float)):
        return [value]
    if isinstance(value, dict):
        return leaves(list(value.values()))
    if isinstance(value, (list, tuple)):
        return [leaf for one in value for leaf in leaves(one)]
    if isinstance(value, Law):
        return leaves(value.sample(3, torch.Generator(value.device).manual_seed(0)))
    hidden = ("seconds", "schedule", "seeds")
    return leaves([v for name, v in getattr(value, "__dict__", {}).items() if name not in hidden and name[0] != "_"])


@pytest.mark.parametrize(("sampler", "denoiser", "schedule"), WALKS)
def test_no_sampler_waits_for_the_gpu_in_a_step(sampler, denoiser, schedule):
    def run(device, steps):
        one = DENOISERS[denoiser](device, schedule)
        x = samples(device, *(() if one.members is None else (2,)), 5, 1)
        return SAMPLERS[sampler](one, x, times(schedule, steps), generator(device))

    few, many = (compared(lambda device, n=n: run(device, n)).syncs.total() for n in (3, 7))
    assert few == many


def test_no_sampler_with_learned_or_tabulated_variances_waits_in_a_step():
    def run(device, steps):
        one, x = network(device, CHAIN), samples(device, 2, 5, 1)
        best = sample.optimal_variance(one, x, times(CHAIN, steps), generator(device))
        table = sequence.population_minimiser(Exact(LINE, CHAIN), [0.3], torch.arange(1, 41), points=17, nodes=4)[0]
        return [sample.ddpm(one, x, times(CHAIN, steps), generator(device), variance=variance)
                for variance in (best, predicted(device, None), predicted(device, one))] + [
                    sample.ddim(table, x[0].double(), times(CHAIN, steps))]  # fmt: skip

    assert len({compared(lambda device, n=n: run(device, n)).syncs.total() for n in (3, 7)}) == 1


DIFFERENT = dict(target=["eps", "v"], weight=[None, train.matched("v", "p2")])
SHARED = Condition("sigma", CHAIN, 2, map=lambda t: lipschitz.share_timesteps(t, 4, 20))
TRAININGS = {
    "law": lambda device, **o: train.fit(network(device).net, LINE, LINEAR, **o),
    "samples": lambda device, **o: train.fit(network(device).net, samples(device, 30, 1), LINEAR, **DIFFERENT, **o),
    "own samples": lambda device, **o: train.fit(network(device).net, samples(device, 2, 30, 1), LINEAR, ema=0.9, **o),
    "samples on the host": lambda device, **o: train.fit(network(device).net, samples("cpu", 30, 1), LINEAR, **o),
    "one network": lambda device, **o: train.fit(
        network(device, members=None).net, samples(device, 30, 1), CHAIN, decay="constant", **o
    ),
    "densities": lambda device, **o: train.fit(
        network(device).net, LINE, LINEAR,
        times=[train.log_normal(LINEAR), train.levels_of(Cosine(), LINEAR)],
        weight=train.importance(Cosine(), LINEAR), **o
    ),
    "conditions": lambda device, **o: fleet.train_fleet(
        {"shared": fleet.Setting(condition=SHARED), "v": fleet.Setting("v", condition=Condition("log_snr", CHAIN, 2))},
        samples(device, 30, 1), CHAIN, seeds=(0, 1), dim=1, width=4, depth=1, device=device, ema=0.9, **o
    ),
    **{
        f"windows, {form}, {coupling}": lambda device, form=form, coupling=coupling, **o: train.fit(
            network(device, CHAIN).net, LINE, CHAIN,
            window=[sequence.Window(3, 1.0, tau, coupling, form) for tau in ("one", "literal")], **o
        )
        for form, coupling in (("code", "markov"), ("paper", "independent"), ("code", "shared"))
    },
    "squares": lambda device, **o: train.fit_squares(network(device).net, LINE, LINEAR, network(device), **o),
    "smooth": lambda device, **o: train.fit_smooth(network(device).net, LINE, LINEAR, strength=1.0, reach=0.1, **o),
    "u-net": lambda device, **o: train.fit(
        UNet((1, 4, 4), 8, (1, 1), seed=(0, 1)).to(device), samples(device, 9, 16), LINEAR,
        **o | {"steps": o["steps"] // 8}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAININGS)
def test_no_training_waits_for_the_gpu_in_a_step(name):
    def run(device, steps):
        return TRAININGS[name](device, steps=steps, batch=4, log_every=1000)

    def syncs(steps):
        with pretended() as gpu:
            run("cuda", steps)
        assert not gpu.unordered
        return gpu.syncs.total()

    assert syncs(40) == syncs(104)
    expected = run("cpu", 40)
    with pretended():
        found = [value.cpu() for value in leaves(run("cuda", 40)) if isinstance(value, torch.Tensor)]
    for one, other in zip([value for value in leaves(expected) if isinstance(value, torch.Tensor)], found):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=0, equal_nan=True)


def classes(device):
    x = samples(device, 40, 3)
    return x, (x[:, 0] > 0).long()


LOOPS = {  # name -> (device, size of the loop) -> result
    "critic": lambda device, n: helmholtz.train_critic(
        network(device, dim=2), PLANE, band=(-3.0, 3.0), width=4, steps=n, batch=8
    ).net,
    "wave critic": lambda device, n: helmholtz.linear_critic(
        network(device, dim=2), PLANE, torch.linspace(0.1, 0.9, n, dtype=F64), 30, features=4
    ),
    "classifier": lambda device, n: features.train_classifier(
        *classes(device), classes(device), width=4, features=3, steps=n, batch=8
    ),
    "gradient statistics": lambda device, n: train.gradient_statistics(
        network(device).net, LINE, LINEAR, batches=n, batch=4
    ),
    "step constants": lambda device, n: lipschitz.step_constants(
        network(device), LINE.to(device), torch.linspace(0.1, 0.9, n, dtype=F64)
    ),
    "step constants of samples": lambda device, n: lipschitz.step_constants(
        network(device), samples(device, 6, 1), torch.linspace(0.1, 0.9, n, dtype=F64).to(device), target="v"
    ),
    "responses": lambda device, n: lipschitz.perturbation_response(
        network(device), LINE.to(device), torch.linspace(0.1, 0.9, n, dtype=F64), 0.1
    ),
    "derivatives": lambda device, n: lipschitz.time_lipschitz(
        LINE.to(device), LINEAR, "v", torch.linspace(0.1, 0.9, n, dtype=F64), "sigma"
    ),
    "derivatives in the plane": lambda device, n: lipschitz.time_lipschitz(
        PLANE.to(device), LINEAR, "eps", torch.linspace(0.1, 0.9, n, dtype=F64), samples=8, generator=generator(device)
    ),
    "sharing cost": lambda device, n: tuple(part * n for part in lipschitz.sharing_cost(LINE.to(device), CHAIN, n, 10)),
    "excess error": lambda device, n: information.excess_error(
        {"net": network(device), "exact": Exact(LINE, LINEAR)}, LINE.to(device), torch.linspace(0.1, 0.9, n, dtype=F64)
    ),
    "law carried along": lambda device, n: collapse.FlowMap.of_sde(network(device), LINE, times(LINEAR, n), 20, 64),
    "gap": lambda device, n: sequence.gap(
        network(device, CHAIN),
        sample.ddpm(network(device, CHAIN), samples(device, 2, 5, 1), times(CHAIN, n), generator(device),
                    trajectory=True),
        times(CHAIN, n), samples(device, 2, 5, 1)
    ),
    "score errors": lambda device, n: recursion.Cells(cells=21, steps=n, first=0.6).score_error(
        network(device, recursion.Cells(cells=21, steps=n, first=0.6).schedule),
        torch.full((2, 21), 1 / 21, dtype=F64), torch.float32
    ),
    "sa loss": lambda device, n: sum(
        torch.stack(sequence.sa_loss(network(device, CHAIN).eps, samples(device, 2, 5, 1), CHAIN,
                                     sequence.Window(2, coupling="markov"), generator=i))
        for i in range(n)
    ),
    "invisible fields": lambda device, n: sum(
        helmholtz.invisible(PLANE, LINEAR, 1.0, lambda x: x[:, 0].sin())(samples(device, 5, 2), 0.1 + 0.1 * i)
        for i in range(n)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_no_loop_waits_for_the_gpu(name):
    few, many = (compared(lambda device, n=n: LOOPS[name](device, n)) for n in (2, 5))
    assert few.syncs == many.syncs
