"""The package and every chapter on a pretended GPU: nothing is refused, and the host waits only where results are due.

The numbers must be those of the CPU, bit for bit: the pretended device computes on the host.
"""

import contextlib
import importlib
import inspect
import json
import pkgutil
import tomllib
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch
from pretended import CELL, pretended

from diffnotes.chapters import collapse, gradients, lipschitz, measuring, recursion, sequence, targets
from diffnotes.core import target
from diffnotes.core.denoiser import Exact, Hybrid, Learned, Mirrored, Perturbed
from diffnotes.core.law import Empirical, GaussianMixture, Law
from diffnotes.core.schedule import Chain, Cosine, Linear
from diffnotes.measure import crowding, distance, divergence, flow, information, interval
from diffnotes.model import both, classifier, condition, fleet, foreign, sample, setting, train, window
from diffnotes.model.condition import Condition
from diffnotes.model.loss import Smooth, Squares
from diffnotes.model.net import MLP, Dense
from diffnotes.model.unet import UNet
from diffnotes.press.ledger import Unseen

# All of the package, before anything of it is replaced.
MODULES = {
    one.name.rpartition(".")[2]: importlib.import_module(one.name)
    for room in ("core", "model", "measure", "chapters")
    for one in pkgutil.iter_modules(importlib.import_module(f"diffnotes.{room}").__path__, f"diffnotes.{room}.")
    if not one.name.endswith("_figures")  # these draw
}  # fmt: skip
ROOT = Path(__file__).resolve().parents[1]
PROFILES = tomllib.loads((ROOT / "notebooks" / "profiles.toml").read_text(encoding="utf-8"))


# --- chapters ---------------------------------------------------------------------------------------------------------

# Below the settings of the profile "smoke", which are for a run without a pretended device.
SMALLER = {
    "collapse": {"steps": 32, "factor_steps": 32, "plane_steps": 32, "image_steps": 32, "plane_grid": 6, "ode_steps": 6,
                 "map_points": 50, "image_samples": 50, "plane_samples": 60},
    "gradients": {"random_errors": 2, "ring_steps": 5, "sampler_steps": 5, "cells": 21},
    "images": {"samples": 20, "counts": [2, 3, 4, 5], "gap_start": 3, "line_points": 30},
    "lipschitz": {"samples": 20, "quantiles": 10, "cost_samples": 2},
    "measuring": {"short": 64, "long": 160, "grid_steps": 6, "image_grid": 5},
    "recursion": {"chain_steps": 6, "steps": 32, "image_grid": 5},
    "sequence": {"draws": 4, "points": 50, "gap_samples": 10},
    "targets": {"sweep_steps": 32, "steps": 32, "digit_steps": 32, "paths": 500},
}  # fmt: skip
# How often a chapter may wait for the GPU: where results are due, at the end of a sampling or a row of a log.
SYNCS = {"collapse": 640, "gradients": 8, "images": 430, "lipschitz": 400, "measuring": 165, "recursion": 46,
         "sequence": 450, "targets": 300}  # fmt: skip
FEW = 8


def few(times):
    """At most ``FEW`` of the times, the ends among them, and for each of ``times`` which of the few comes next."""
    times = torch.as_tensor(times)
    kept = torch.linspace(0, len(times) - 1, min(FEW, len(times))).round().long()
    return times[kept], torch.bucketize(torch.arange(len(times)), kept)


def few_steps(sampler, host=True):
    """The sampler in few steps, on the ``host`` as well: each is like the one before."""

    def call(denoiser, x, times, *rest, **options):
        whole = options.get("trajectory") or isinstance(options.get("variance"), torch.Tensor)
        return sampler(denoiser, x, few(times)[0] if (host or x.is_cuda) and not whole else times, *rest, **options)

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


def few_classes(x, y, held_out, sizes=(64, 32), run=None, seed=0):
    """A classifier, trained for a moment."""
    return CLASSIFIER(x, y, held_out, sizes, setting.Run(20), seed)


def few_projections(x, y, projections, generator, **options):
    """A sliced distance, from few points and lines."""
    return SLICED(x[..., :50, :], y[..., :50, :], 2, generator, **options)


SLICED, CLASSIFIER = distance.sliced_wasserstein, classifier.train_classifier
SHORTER = {
    "diffnotes.measure.distance.sliced_wasserstein": few_projections,
    **{f"diffnotes.model.sample.{name}": few_steps(getattr(sample, name)) for name in ("ddim", "ddpm", "ode", "sde")},
    "diffnotes.measure.flow.ode": few_steps(sample.ode, host=False),
    "diffnotes.chapters.collapse.ode": few_steps(sample.ode, host=False),  # an exercise compares it with a closed form
    "diffnotes.chapters.lipschitz.step_constants": few_times(lipschitz.step_constants, 2, between=1),
    "diffnotes.chapters.lipschitz.perturbation_response": few_times(lipschitz.perturbation_response, 2),
    "diffnotes.chapters.lipschitz.time_lipschitz": few_times(lipschitz.time_lipschitz, 3),
    "diffnotes.measure.information.excess_error": few_times(information.excess_error, 2),
    "diffnotes.model.classifier.train_classifier": few_classes,
    "diffnotes.chapters.sequence.population_minimiser": partial(sequence.population_minimiser, points=33, nodes=6),
}


def numbers(effect):
    """The numbers of an effect, an interval or a number; none where nothing was seen."""
    if isinstance(effect, Unseen):
        return ()
    if hasattr(effect, "low"):
        effect = (effect.value, effect.low, effect.high)
    return tuple(part if part is None else float(part) for part in (effect if isinstance(effect, tuple) else (effect,)))


def execute(name, settings):
    """Run the code cells of a chapter; the values it glues, the figures' texts and the effects of its claims."""
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    made: list[tuple] = []

    def show(fig, *, name, caption, alt):
        plt.close(fig)
        made.append((name, caption, alt))

    def record(ledger, claim, **effects):
        made.append((claim, {part: numbers(one) for part, one in effects.items()}))

    with contextlib.ExitStack() as patches:
        for what, by in {
            **SHORTER,
            "diffnotes.show.figures.show": show,
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
def test_chapters_run_on_a_gpu(name, capsys, monkeypatch, tmp_path):
    matplotlib.use("agg")
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path))
    monkeypatch.setenv("DIFFNOTES_PUBLISHED", str(tmp_path))
    with pretended() as gpu:
        made = execute(name, PROFILES[name]["smoke"] | SMALLER[name] | {"profile": "smoke", "device": "cuda"})
    assert made and gpu.launches > 500
    assert not gpu.unordered
    # Weights are written to a file after a training: that is waiting for the GPU once, not in a step.
    waits = Counter({what: count for what, count in gpu.syncs.items() if "model/store.py" not in what[1]})
    assert waits.total() <= SYNCS[name], waits.most_common(5)


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
        device, schedule, map=lambda t: condition.share_timesteps(t, 4, schedule.T / 2 if schedule is CHAIN else 0.5)
    ),
    "exact, law on the host": lambda device, schedule: Exact(LINE, schedule),
    "exact, points on the host": lambda device, schedule: Exact(Empirical(samples("cpu", 9, 1)), schedule),
    "hybrid": lambda device, schedule: Hybrid(
        network(device, schedule, target="v"), Exact(LINE, schedule), schedule.T / 2 if schedule is CHAIN else 0.5
    ),
    "mirrored": lambda device, schedule: Mirrored(network(device, schedule)),
    "perturbed": lambda device, schedule: Perturbed(network(device, schedule), lambda x, t: 0.1 * x, "score"),
    "scaled": lambda device, schedule: sequence.Scaled(network(device, schedule), 0.5, 1.0),
    "shaped": lambda device, schedule: sequence.Shaped(network(device, schedule), 0.5, torch.ones(1, 1, device=device)),
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


DIFFERENT = [setting.Setting(), setting.Setting("v", weighting="p2")]
SHARED = Condition("sigma", CHAIN, 2, map=condition.Shared(4, 20))


def trained(device, data, settings=None, schedule=LINEAR, members=2, **run):
    """A small network and the log of its training on ``device``."""
    net = network(device, schedule, members=members).net
    return train.fit(net, data, settings or setting.Setting(schedule=schedule), setting.Run(**run))


TRAININGS = {
    "law": lambda device, **o: trained(device, LINE, **o),
    "samples": lambda device, **o: trained(device, samples(device, 30, 1), DIFFERENT, **o),
    "own samples": lambda device, **o: trained(device, samples(device, 2, 30, 1), average=0.9, **o),
    "samples on the host": lambda device, **o: trained(device, samples("cpu", 30, 1), **o),
    "one network": lambda device, **o: trained(
        device, samples(device, 30, 1), setting.Setting(schedule=CHAIN), members=None, decay="constant", **o
    ),
    "densities": lambda device, **o: trained(device, LINE, [
        setting.Setting(times=times, weighting=setting.Importance(Cosine()))
        for times in (setting.LogNormal(), setting.LevelsOf(Cosine()))
    ], **o),
    "conditions": lambda device, **o: fleet.Fleet(
        {"shared": setting.Setting(schedule=CHAIN, condition=SHARED),
         "v": setting.Setting("v", CHAIN, condition=Condition("log_snr", CHAIN, 2))},
        samples(device, 30, 1), Dense(1, 4, 1), setting.Run(average=0.9, **o), (0, 1)
    ).train(device),
    **{
        f"windows, {form}, {coupling}": lambda device, form=form, coupling=coupling, **o: trained(
            device, LINE, [setting.Setting(schedule=CHAIN, loss=window.Window(3, 1.0, tau, coupling, form))
                           for tau in ("one", "literal")], CHAIN, **o
        )
        for form, coupling in (("code", "markov"), ("paper", "independent"), ("code", "shared"))
    },
    "squares": lambda device, **o: trained(device, LINE, setting.Setting(loss=Squares(network(device))), **o),
    "smooth": lambda device, **o: trained(device, LINE, setting.Setting(loss=Smooth(1.0, 0.1)), **o),
    "u-net": lambda device, **o: train.fit(
        UNet((1, 4, 4), 8, (1, 1), seed=(0, 1)).to(device), samples(device, 9, 16), setting.Setting(),
        setting.Run(**o | {"steps": o["steps"] // 8})
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
    "critic": lambda device, n: gradients.train_critic(
        network(device, dim=2), PLANE, (-3.0, 3.0), Dense(2, 4, 2), setting.Run(n, 8)
    ).net,
    "classifier": lambda device, n: classifier.train_classifier(
        *classes(device), classes(device), (4, 3), setting.Run(n, 8)
    ),
    "gradient statistics": lambda device, n: train.gradient_statistics(
        network(device).net, LINE, setting.Setting(), setting.Run(n, 4)
    ),
    "step constants": lambda device, n: lipschitz.step_constants(
        network(device), LINE.to(device, torch.float32), torch.linspace(0.1, 0.9, n, dtype=F64)
    ),
    "step constants of samples": lambda device, n: lipschitz.step_constants(
        network(device), samples(device, 6, 1), torch.linspace(0.1, 0.9, n, dtype=F64).to(device), target="v"
    ),
    "responses": lambda device, n: lipschitz.perturbation_response(
        network(device), LINE.to(device, torch.float32), torch.linspace(0.1, 0.9, n, dtype=F64), 0.1
    ),
    "derivatives": lambda device, n: lipschitz.time_lipschitz(
        LINE.to(device), LINEAR, "v", torch.linspace(0.1, 0.9, n, dtype=F64), "sigma"
    ),
    "derivatives in the plane": lambda device, n: lipschitz.time_lipschitz(
        PLANE.to(device), LINEAR, "eps", torch.linspace(0.1, 0.9, n, dtype=F64), generator=generator(device)
    ),
    "sharing cost": lambda device, n: tuple(part * n for part in lipschitz.sharing_cost(LINE.to(device), CHAIN, n, 10)),
    "excess error": lambda device, n: information.excess_error(
        {"net": network(device), "exact": Exact(LINE, LINEAR)}, LINE.to(device, torch.float32),
        torch.linspace(0.1, 0.9, n, dtype=F64)
    ),
    "law carried along": lambda device, n: flow.sde_map(network(device), LINE, times(LINEAR, n), 20, 64),
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
        torch.stack(window.sa_loss(network(device, CHAIN).eps, samples(device, 2, 5, 1), CHAIN,
                                     window.Window(2, coupling="markov"), generator=i))
        for i in range(n)
    ),
    "invisible fields": lambda device, n: sum(
        gradients.Invisible(PLANE, LINEAR, 1.0, lambda x: x[:, 0].sin())(samples(device, 5, 2), 0.1 + 0.1 * i)
        for i in range(n)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_no_loop_waits_for_the_gpu(name):
    few, many = (compared(lambda device, n=n: LOOPS[name](device, n)) for n in (2, 5))
    assert few.syncs == many.syncs


# --- every public function --------------------------------------------------------------------------------------------

HOST_ONLY = {
    "data.digits": "reads a file", "data.digits_split": "reads a file", "data.image_split": "reads a file",
    "data.mnist": "reads a file", "data.cifar10": "reads a file", "classifier.recogniser": "takes numbers",
    "device.choose": "is about devices", "generators.generator_of": "is about devices",
    "fleet.image_net": "takes numbers", "store.key_of": "is about text", "store.text_of": "is about text",
    "store.log_of": "reads a file", "store.used": "is about files",
    "targets.bound_of_law": "takes numbers", "targets.reverse_variance": "takes numbers",
    "targets.step_weight": "takes numbers", "law.chessboard": "takes numbers", "law.moons": "takes numbers",
    "law.ring": "takes numbers", "law.spiral": "takes numbers", "law.two_modes": "takes numbers",
    "recursion.kernel_model": "cells are on the host", "recursion.mixture_model": "cells are on the host",
    "recursion.smoothed_variance": "takes numbers", "sample.grid": "takes numbers",
    "sequence.gaussian_minimiser": "takes numbers", "sequence.shrinkage": "takes numbers",
    "window.windows": "takes numbers", "condition.left_ends": "takes numbers",
    "diagnosis.diagnose": "reads arrays of numpy", "diagnosis.symptoms": "takes numbers",
    "foreign.times_of": "is on the host", "divergence.knots_around": "its law is on the host",
    "interval.largest": "takes numbers",
}  # fmt: skip
ABOVE = {
    "sample.ddpm", "sample.ddim", "sample.ode", "sample.sde", "sample.optimal_variance", "sample.predicted_variance",
    "sequence.population_minimiser", "sequence.gap", "window.sa_loss", "train.fit", "train.minimise",
    "train.gradient_statistics", "classifier.train_classifier", "lipschitz.step_constants",
    "lipschitz.perturbation_response", "lipschitz.time_lipschitz", "lipschitz.sharing_cost",
    "information.excess_error", "store.kept", "flow.sde_map",
}  # fmt: skip


def cloud(device, n=12, dim=2, seed=0):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=F64).to(device)


def unit(device, n=7):
    return torch.linspace(0.1, 0.9, n, dtype=F64).to(device)


def square(device):
    return torch.tensor([[1.0, 0.2], [0.2, 0.5]], dtype=F64).to(device)


def fractions(device, n=5, seed=0):
    made = torch.rand(2, n, generator=torch.Generator().manual_seed(seed), dtype=F64) + 0.1
    return (made / made.sum(-1, keepdim=True)).to(device)


def critic(device):
    model = network(device, dim=2)
    made = gradients.train_critic(model, PLANE, (-3.0, 3.0), Dense(2, 4, 2), setting.Run(2, 8))
    return gradients.critic_value(made, model, PLANE, 20, band=(-3.0, 3.0), seed=1)


def courses(device, energy=0.1):
    cells = recursion.Cells(cells=21, steps=3, first=0.6)
    model = recursion.error_model(cells, energy, lambda i, q: cells.fields(1, i).to(device))
    return recursion.recurse(cells.masses(LINE), torch.tensor([0.5], dtype=F64), 2, model)


def theirs(device):
    """What diffusers would give: a model that is asked about whole times, and a scheduler that clips."""
    told = SimpleNamespace(betas=CHAIN.beta[1:], config={"prediction_type": "v_prediction", "clip_sample": True})
    net = network(device, CHAIN, members=None).net
    return foreign.from_diffusers(lambda x, t: net(x, t + 1), told, (1,))


FUNCTIONS = {
    "crowding.ansd": lambda d: crowding.ansd(cloud(d), [0.5, 1.0]),
    "crowding.ansd_ratio": lambda d: crowding.ansd_ratio(cloud(d), cloud(d, seed=1), 1.0),
    "crowding.cross_fraction": lambda d: crowding.cross_fraction(cloud(d), cloud(d, seed=1), 1.0),
    "crowding.law_pair_fraction": lambda d: crowding.law_pair_fraction(LINE.to(d), unit(d)),
    "crowding.law_renyi2": lambda d: crowding.law_renyi2(PLANE.to(d)),
    "crowding.neighbour_counts": lambda d: crowding.neighbour_counts(cloud(d), 1.0),
    "crowding.pair_fraction": lambda d: crowding.pair_fraction(cloud(d), unit(d)),
    "crowding.sample_split": lambda d: [crowding.sample_split(cloud(d, dim=1), LINE.to(d), 1.0),
                                        crowding.sample_split(cloud(d), cloud(d, seed=1), 1.0)],
    "crowding.tid": lambda d: crowding.tid(cloud(d), cloud(d, seed=1), 2.0, 2),
    "collapse.transport": lambda d: collapse.transport(network(d), Exact(LINE, LINEAR), unit(d), times(LINEAR, 3)),
    "crowding.mixture_split": lambda d: crowding.mixture_split(LINE.to(d), LINE.to(d), 0.1),
    "measuring.pair_fraction_variance": lambda d: measuring.pair_fraction_variance(LINE.to(d), 0.1, 10),
    "distance.energy_distance": lambda d: distance.energy_distance(cloud(d), cloud(d, seed=1)),
    "distance.frechet_distance": lambda d: distance.frechet_distance(cloud(d), cloud(d, seed=1)),
    "distance.sliced_wasserstein": lambda d: distance.sliced_wasserstein(cloud(d), cloud(d, seed=1), 4, 3),
    "distance.wasserstein1": lambda d: distance.wasserstein1(cloud(d)[:, 0], cloud(d, seed=1)[:, 0]),
    "distance.wasserstein1_to": lambda d: distance.wasserstein1_to(cloud(d)[:, 0], LINE.to(d)),
    "targets.bound": lambda d: targets.bound(CHAIN, unit(d, 41), 1.0),
    "targets.bound_along_paths": lambda d: targets.bound_along_paths(
        network(d, CHAIN, members=None), CHAIN, samples(d, 5, 1), "beta_tilde", generator(d)
    ),
    "targets.bounds_of_excess": lambda d: targets.bounds_of_excess(LINE.to(d), CHAIN, unit(d, 80).reshape(2, 40)),
    "flow.ode_map": lambda d: flow.ode_map(network(d), times(LINEAR, 4), 16),
    "both.both_samplers": lambda d: both.both_samplers(network(d), samples(d, 2, 5, 1), 3, generator(d), "heun"),
    "divergence.as_masses": lambda d: divergence.as_masses(p=fractions(d))[0],
    "divergence.integral": lambda d: divergence.integral(torch.cos, unit(d)),
    "law.on_line": lambda d: MODULES["law"].on_line(LINE.to(d)).means,
    "divergence.covariance_kl": lambda d: divergence.covariance_kl(square(d), 2 * square(d)),
    "foreign.from_diffusers": lambda d: sample.ddpm(theirs(d), samples(d, 5, 1), times(CHAIN, 4), generator(d)),
    "foreign.from_function": lambda d: sample.ode(
        foreign.from_function(network(d, members=None).net, 1, "eps", LINEAR), samples(d, 5, 1), times(LINEAR, 4)
    ),
    "gradients.critic_value": critic,
    "gradients.dual_value": lambda d: gradients.dual_value(cloud(d), cloud(d, seed=1)),
    "gradients.euler_covariance": lambda d: gradients.euler_covariance(square(d), lambda t: 0.1 * square(d), 5),
    "gradients.gaussian_course": lambda d: gradients.gaussian_course(square(d), lambda t: 0.1 * square(d)),
    "gradients.gaussian_split": lambda d: gradients.gaussian_split(cloud(d, 2), square(d)),
    "gradients.linear_critic": lambda d: gradients.linear_critic(
        network(d, dim=2), PLANE, unit("cpu", 3), 30, gradients.Basis(features=4)
    ),
    "gradients.linear_errors": lambda d: gradients.linear_errors(square(d), 0.3),
    "gradients.log_snr_levels": lambda d: gradients.log_snr_levels(LINEAR, unit(d), (-3.0, 3.0)),
    "gradients.noised_covariance": lambda d: gradients.noised_covariance(square(d), 0.3),
    "gradients.train_critic": critic,
    "information.entropy": lambda d: information.entropy(LINE.to(d)),
    "information.expectation_nodes": lambda d: information.expectation_nodes(LINE.to(d)),
    "information.fisher_information": lambda d: information.fisher_information(LINE.to(d)),
    "information.mmse": lambda d: information.mmse(LINE.to(d), unit(d), unit(d)),
    "information.mutual_information": lambda d: information.mutual_information(LINE.to(d), "v", unit(d), unit(d)),
    "information.nonlinearity": lambda d: information.nonlinearity(LINE.to(d)),
    "interval.bootstrap_interval": lambda d: interval.bootstrap_interval(torch.mean, unit(d), 0, resamples=100),
    "interval.mean_interval": lambda d: interval.mean_interval(cloud(d), dim=1),
    "interval.median_interval": lambda d: interval.median_interval(cloud(d)),
    "interval.paired_difference": lambda d: interval.paired_difference(cloud(d), cloud(d, seed=1)),
    "interval.ratio_interval": lambda d: interval.ratio_interval(unit(d), unit(d) + 1),
    "law.standardised": lambda d: MODULES["law"].standardised(PLANE.to(d)),
    "condition.share_timesteps": lambda d: condition.share_timesteps(unit(d), 4, 0.5),
    "lipschitz.time_derivative": lambda d: lipschitz.time_derivative(LINE, LINEAR, "v", cloud(d, dim=1), 0.3, "sigma"),
    "pairs.count_neighbours": lambda d: MODULES["pairs"].count_neighbours(cloud(d), 1.0),
    "pairs.count_pairs": lambda d: MODULES["pairs"].count_pairs(cloud(d), [0.5, 1.0], cloud(d, seed=1)),
    "ranking.rank_correlation": lambda d: MODULES["ranking"].rank_correlation(cloud(d), cloud(d, seed=1)),
    "divergence.chi2": lambda d: divergence.chi2(fractions(d), fractions(d, seed=1)),
    "recursion.coherent_sum": lambda d: recursion.coherent_sum(unit(d), 0.3),
    "recursion.discounted_sum": lambda d: recursion.discounted_sum(unit(d), 0.3),
    "recursion.error_model": courses,
    "recursion.fit_mixture": lambda d: recursion.fit_mixture(cloud(d, 40, 1)[:, 0], LINE.to(d)),
    "divergence.kl": lambda d: divergence.kl(fractions(d), fractions(d, seed=1)),
    "recursion.limit_ratio": lambda d: recursion.limit_ratio(unit(d)),
    "recursion.recurse": courses,
    "recursion.smoothed": lambda d: recursion.smoothed(LINE.to(d), 0.5, 2, (0.9, 0.3)),
    "sample.ddim_steps": lambda d: sample.ddim_steps(LINEAR, unit(d).flip(0), 0.5),
    "sample.ddpm_steps": lambda d: sample.ddpm_steps(LINEAR, unit(d).flip(0), unit(d, 6)),
    "sample.prior": lambda d: sample.prior(LINEAR, (3, 2), generator(d), device=d),
    "sample.sampled_variance": lambda d: sample.sampled_variance(CHAIN, unit(d, 41), times(CHAIN, 4).to(d)),
    "sample.sde_steps": lambda d: sample.sde_steps(LINEAR, unit(d).flip(0)),
    "sequence.bounds": lambda d: sequence.bounds(cloud(d, 80).reshape(4, 40, 1), CHAIN, 3),
    "window.correlation": lambda d: window.correlation(CHAIN, *torch.tensor([[1, 5], [3, 2]]).to(d), "markov"),
    "sequence.implied_variance": lambda d: sequence.implied_variance(CHAIN, unit(d, 41)),
    "window.window_noise": lambda d: window.window_noise(cloud(d), cloud(d)[None].exp(), cloud(d)[None].sigmoid()),
    "target.coefficients": lambda d: target.coefficients("v", unit(d), unit(d)),
    "target.convert": lambda d: target.convert(cloud(d), cloud(d, seed=1), 0.8, unit(d, 12), "eps", "x0"),
    "target.edm_target": lambda d: target.edm_target(0.5)(unit(d), unit(d)),
    "target.loss_weight": lambda d: target.loss_weight("v", unit(d), unit(d)),
    "target.mean_target": lambda d: target.mean_target(lambda a, s: (a + 1) / 2)(unit(d), unit(d)),
    "setting.log_snr_density": lambda d: setting.log_snr_density(LINEAR, unit(d)),
    "setting.matched": lambda d: setting.matched("v", "min_snr_5", unit(d), unit(d)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_give_on_a_gpu_the_numbers_of_the_host(name):
    compared(FUNCTIONS[name])


def test_every_public_function_is_run_on_a_gpu_or_is_of_the_host():
    """Of the rooms below the chapters; what is of one chapter runs with it."""
    public = {
        f"{module}.{name}"
        for module, home in MODULES.items()
        for name in getattr(home, "__all__", ())
        if inspect.isfunction(getattr(home, name))
    }
    shared = {name for name in public if not MODULES[name.partition(".")[0]].__name__.startswith("diffnotes.chapters")}
    named = FUNCTIONS.keys() | HOST_ONLY.keys() | ABOVE
    assert shared <= named <= public
    assert not FUNCTIONS.keys() & (HOST_ONLY.keys() | ABOVE) and not HOST_ONLY.keys() & ABOVE
