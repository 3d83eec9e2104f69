"""Costs are those of a hand count, of a whole run, and of the pretended device."""

import itertools
import math
from unittest import mock

import matplotlib
import pytest
import torch
from pretended import pretended

from diffnotes.core import cost
from diffnotes.core.denoiser import Exact, Learned
from diffnotes.core.law import GaussianMixture, two_modes
from diffnotes.core.schedule import Linear
from diffnotes.model import sample, store
from diffnotes.model.condition import Condition
from diffnotes.model.fleet import Fleet
from diffnotes.model.net import MLP, Dense
from diffnotes.model.setting import Run, Setting
from diffnotes.model.train import CHUNK, fit, gradient_statistics
from diffnotes.model.unet import UNet

LINEAR, SETTING = Linear(), Setting()


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_counted", {})
    monkeypatch.setenv("DIFFNOTES_NETWORKS", str(tmp_path / "own"))
    monkeypatch.setenv("DIFFNOTES_PUBLISHED", str(tmp_path / "none"))


def mlp(members=3, dim=2, width=16, depth=2):
    return MLP(dim, width, depth, condition=Condition(schedule=LINEAR, frequencies=2), seed=range(members))


def counted(work, whole=False):
    with cost.counting(whole) as count:
        work()
    return count


# --- operations -------------------------------------------------------------------------------------------------------


def test_products_views_and_bytes():
    a, b = torch.ones(8, 16), torch.ones(16, 4)
    count = counted(lambda: (a @ b).T.reshape(2, 16))
    assert count.total.launches == 2  # the product, and a copy
    assert count.total.flops == 2 * 8 * 16 * 4
    assert count.total.bytes == 4 * (8 * 16 + 16 * 4 + 8 * 4 + 2 * 8 * 4)
    assert count.parts["measuring"].launches == 2 and count.parts["host"].launches == 0
    assert counted(lambda: a.double()).parts["measuring"].launches == 1
    assert counted(lambda: torch.ones(3, dtype=torch.float64) + 1).parts["host"].launches == 2


@pytest.mark.parametrize("groups", [1, 4])
def test_convolutions_and_their_gradients(groups):
    x, weight = torch.randn(5, 8, 6, 6, requires_grad=True), torch.randn(12, 8 // groups, 3, 3, requires_grad=True)
    with cost.counting() as count:
        y = torch.nn.functional.conv2d(x, weight, padding=1, groups=groups)
    forward = 2 * 5 * 36 * 12 * (8 // groups) * 9
    assert count.total.flops == forward
    with cost.counting() as count:
        y.sum().backward()
    assert count.total.flops == 2 * forward


def test_an_operation_takes_the_longest_of_three_times():
    machine = cost.MACHINES["H200"]
    small, large = torch.ones(2), torch.ones(2**22)
    assert counted(lambda: small + 1).seconds("H200") == pytest.approx(machine.launch)
    moved = 8 * 2**22
    assert moved / machine.bandwidth > machine.launch
    assert counted(lambda: large + 1).seconds("H200") == pytest.approx(moved / machine.bandwidth)
    a = torch.ones(2048, 2048)
    assert counted(lambda: a @ a).seconds("H200") == pytest.approx(2 * 2048**3 / machine.single)
    assert counted(lambda: small.double() * 2.0).seconds("H200") < 2 * machine.launch  # the second one is the host's


def test_peak_memory_is_what_is_alive_at_once():
    def work():
        a = torch.ones(2**20)
        b = a + 1
        del a
        return b + 1

    assert counted(work).peak == 2 * 4 * 2**20


def test_large_operations_are_counted_but_not_computed():
    x, weight = torch.ones(64, 16, 64, 64), torch.ones(16, 16, 3, 3)

    def work(found):
        h = torch.nn.functional.conv2d(x, weight, padding=1)
        found.append((h.sigmoid() * 2 - 1).mean().item())

    hollow, real = [], []
    short, whole = counted(lambda: work(hollow)), counted(lambda: work(real), whole=True)
    assert hollow != real and math.isfinite(hollow[0])
    assert short.total == whole.total and short.peak == whole.peak
    rows = torch.arange(2000.0)[:, None].expand(-1, 400).contiguous()
    with cost.counting() as count:
        product = rows @ torch.ones(400, 400)
    assert count.total.flops == 2 * 2000 * 400 * 400
    assert torch.equal(product[:, 0], 400.0 * (torch.arange(2000) % cost.ROWS))


# --- a hand count -----------------------------------------------------------------------------------------------------


def test_the_arithmetic_of_training_a_perceptron():
    members, batch, steps, width, depth, dim = 3, 20, 200, 16, 2, 2
    net = mlp(members, dim, width, depth)
    count = counted(lambda: fit(net, torch.randn(50, dim), SETTING, Run(steps, batch)))
    sizes = [dim + net.features, *[width] * depth, dim]
    layers = [2 * members * batch * a * b for a, b in itertools.pairwise(sizes)]
    # Forward, gradient of the weights, gradient of the input: which the first layer's does not have.
    assert count.parts["training"].flops == steps * (3 * sum(layers) - layers[0])
    assert count.trainings == [{"networks": members, "steps": steps, "batch": batch}]


def test_the_arithmetic_of_training_a_u_net():
    members, batch, steps, c = 2, 4, 100, 8
    net = UNet((1, 8, 8), c, (1, 2), condition=Condition(schedule=LINEAR, frequencies=2), seed=range(members))
    count = counted(lambda: fit(net, torch.randn(50, 64), SETTING, Run(steps, batch)))
    full, half = 64, 16  # pixels
    first = (full, 1, c, 9)
    convolutions = [
        (full, c, c, 9), (full, c, c, 9),  # down
        (half, c, 2 * c, 9), (half, 2 * c, 2 * c, 9), (half, c, 2 * c, 1),
        (half, 2 * c, 2 * c, 9), (half, 2 * c, 2 * c, 9),  # middle
        (half, 2 * c, c, 1), (full, c, c, 9), (full, c, c, 9), (full, c, 1, 9),  # up
    ]  # fmt: skip
    norms = [c, c, c, 2 * c, 2 * c, 2 * c, c, c, c]  # channels that are normalised, each with a gain and a shift
    told = (net.features, 2 * c), (2 * c, 2 * sum(norms))
    # Forward and two gradients; what comes first, of images and of features, asks for no gradient of its input.
    hand = 3 * sum(map(math.prod, convolutions)) + 2 * math.prod(first)
    hand += 2 * math.prod(told[0]) + 3 * math.prod(told[1])
    assert count.parts["training"].flops == steps * 2 * members * batch * hand


# --- loops ------------------------------------------------------------------------------------------------------------


def test_where_nothing_is_counted_loops_are_what_they_are():
    items, steps = range(100), iter(range(100))
    assert cost.few(items, "training") is items and cost.repeated(steps, 100) is steps and cost.dry() is None


def test_few_turns_of_a_loop_stand_for_all():
    with cost.counting() as count:
        for first in cost.few(range(0, 100, 10), "training"):
            for _ in cost.few(range(min(10, 96 - first))):
                torch.ones(1)
    assert count.total.launches == 96
    with cost.counting() as count:
        assert [*cost.few(range(3))] == [0, 1, 2] and [*cost.few([])] == []
        assert [*cost.repeated(iter(range(9)), 9)] == [0] + 8 * [1]


def test_a_loop_that_is_left_leaves_the_weights_as_they_were():
    with cost.counting() as count:
        for _ in cost.few(range(100)):
            break
        torch.ones(1)
    assert count.total.launches == 1


@pytest.mark.parametrize("run", [Run(7, 8), Run(200, 8), Run(1000, 8, average=0.9), Run(1001, 8, decay="constant")])
def test_a_shortened_training_costs_what_a_whole_one_does(run):
    arms = [Setting("eps"), Setting("v"), Setting("x0", weighting="p2")]
    short, whole = (counted(lambda: fit(mlp(), torch.randn(30, 2), arms, run), kind) for kind in (False, True))
    assert short.parts["training"].flops == whole.parts["training"].flops
    assert short.total.launches == pytest.approx(whole.total.launches, rel=0.01)
    assert short.total.bytes == pytest.approx(whole.total.bytes, rel=0.05)  # the log adds up fewer steps at a time


def test_a_shortened_training_runs_few_steps():
    asked = []

    def reader(net, x, features):
        asked.append(x.shape)
        return x * net.weights[0].sum() * features.sum()

    with mock.patch.object(MLP, "read", reader):
        counted(lambda: fit(mlp(), torch.randn(30, 2), SETTING, Run(50 * CHUNK, 8)))
    assert len(asked) == 9  # three of each of three chunks


SAMPLERS = {
    "ddim": lambda one, x, t: sample.ddim(one, x, t),
    "ddpm": lambda one, x, t: sample.ddpm(one, x, t, 1),
    "sde": lambda one, x, t: sample.sde(one, x, t, 1),
    "heun": lambda one, x, t: sample.ode(one, x, t, "heun"),
    "dpm2m": lambda one, x, t: sample.ode(one, x, t, "dpm2m", trajectory=True),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_shortened_sampler_costs_what_a_whole_one_does(name):
    one, times, x = Learned(mlp(), LINEAR, "v"), sample.grid(LINEAR, 50), torch.randn(3, 20, 2)
    found = []
    short, whole = (counted(lambda: found.append(SAMPLERS[name](one, x, times)), kind) for kind in (False, True))
    assert found[0].shape == found[1].shape and bool(found[0].isfinite().all())
    assert short.parts["sampling"].launches == pytest.approx(whole.parts["sampling"].launches, rel=0.02)
    assert short.parts["sampling"].flops == pytest.approx(whole.parts["sampling"].flops, rel=0.02)


def test_a_sampler_without_a_network_is_the_hosts():
    law = GaussianMixture(torch.tensor([-1.0, 1.0]), 0.3)
    count = counted(lambda: sample.ode(Exact(law, LINEAR), torch.randn(20, 1), sample.grid(LINEAR, 10)))
    assert count.parts["host"].launches > 10 * count.parts["sampling"].launches


def test_gradients_are_counted_by_few_mini_batches():
    net, edges = mlp(), torch.tensor([-2.0, 0.0, 2.0])
    short, whole = (counted(lambda: gradient_statistics(net, torch.randn(30, 2), SETTING, Run(40, 8), edges), kind)
                    for kind in (False, True))  # fmt: skip
    assert short.total.launches == pytest.approx(whole.total.launches, rel=0.02)
    assert short.total.flops == whole.total.flops


# --- experiments ------------------------------------------------------------------------------------------------------


def test_an_experiment_is_noted_once_and_nothing_is_kept(tmp_path):
    fleet = Fleet({"eps": Setting(), "v": Setting("v")}, two_modes(), Dense(1, 8, 1), Run(300, 16), (0, 1, 2))
    used = store.used()
    with cost.counting() as count:
        nets = store.kept(fleet, name="two targets")
        again = store.kept(fleet)
        log = store.log_of(fleet)
    (told,) = count.experiments
    assert told["name"] == "two targets" and told["within"] == 0 and told["launches"] > 300
    assert told["trainings"] == [{"networks": 6, "steps": 300, "batch": 16}]
    assert nets.keys() == again.keys() == {"eps", "v"} and nets["v"].members == 3
    assert bool(log["eps/loss"].isfinite().all())
    assert not [*tmp_path.rglob("*.safetensors")] and store.used() == used


def test_an_experiment_within_another_is_told_after_it():
    with cost.counting() as count:
        with count.experiment() as outer:
            torch.ones(1)
            with count.experiment() as inner:
                torch.ones(1)
    assert count.experiments == [outer, inner]
    assert (outer["within"], inner["within"]) == (0, 1) and (outer["launches"], inner["launches"]) == (2, 1)


def test_images_that_stand_in_have_the_shapes_of_the_data():
    x, y = cost._noise_images("cifar10", "test")
    assert x.shape == (10_000, 3, 32, 32) and y.shape == (10_000,) and float(x.abs().max()) <= 1


# --- chapters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["measuring", "recursion", "gradients"])
def test_the_launches_of_a_chapter_are_those_of_a_full_run_on_the_pretended_device(name, capsys):
    """Of the device and of the host, within 5 % (measured: 3 % too few, 0.3 % and 0.1 %); samplings to the launch."""
    from test_devices import PROFILES, SMALLER, execute

    matplotlib.use("agg")
    smaller = PROFILES[name]["smoke"] | SMALLER[name] | {"profile": "smoke"}
    with cost.counting() as short:
        execute(name, smaller | {"device": "cpu"})
    with cost.counting(whole=True) as whole, pretended() as gpu:
        execute(name, smaller | {"device": "cuda"})
    assert short.total.launches == pytest.approx(whole.total.launches, rel=0.05)
    assert short.parts["sampling"].launches == whole.parts["sampling"].launches
    assert gpu.launches <= short.total.launches
