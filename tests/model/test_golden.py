"""Training gives the weights that it gave when ``TRAINING`` was last raised.

The stored networks, in float64, are tiny ones of every kind of objective and network. Where this test fails, training
has changed: raise ``TRAINING`` in ``diffnotes/model/store.py``, store the new weights with
``python tests/model/test_golden.py``, and train the book anew.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffnotes.chapters.gradients import train_critic
from diffnotes.core.denoiser import Learned
from diffnotes.core.law import GaussianMixture, moons, two_modes
from diffnotes.core.schedule import Chain, Cosine, Linear
from diffnotes.core.target import edm_target
from diffnotes.model.classifier import train_classifier
from diffnotes.model.condition import Condition, Shared
from diffnotes.model.fleet import Fleet
from diffnotes.model.loss import Smooth, Squares
from diffnotes.model.net import MLP, Dense
from diffnotes.model.setting import Importance, LevelsOf, LogNormal, Run, Setting, UniformLogSnr
from diffnotes.model.train import fit
from diffnotes.model.unet import UNet
from diffnotes.model.window import Window

STORED = Path(__file__).resolve().parents[1] / "golden" / "networks.safetensors"
F64 = torch.float64


def networks(dtype: torch.dtype = F64) -> dict[str, torch.Tensor]:
    """The weights of a tiny network of each kind, by name."""
    found: dict[str, torch.Tensor] = {}
    before = torch.get_default_dtype(), torch.get_num_threads()
    torch.set_default_dtype(dtype)
    torch.set_num_threads(1)
    try:
        _train(found, dtype)
    finally:
        torch.set_default_dtype(before[0])
        torch.set_num_threads(before[1])
    return found


def _train(found: dict[str, torch.Tensor], dtype: torch.dtype) -> None:
    linear, cosine, chain = Linear(), Cosine(), Chain.linear(50)
    law, run, snr = two_modes().to(dtype=dtype), Run(steps=40, batch=16), Condition("log_snr", linear)
    x = law.sample(100, 5)

    def put(name: str, net: torch.nn.Module) -> None:
        found.update({f"{name}/{key}": value.detach().clone() for key, value in net.state_dict().items()})

    def mlp(seeds, dim=1, condition=snr, **options) -> MLP:
        return MLP(dim, 8, 2, condition=condition, seed=seeds, **options)

    net = mlp((0, 1))
    log = fit(net, law, Setting(), Run(steps=40, batch=16, average=0.9))
    put("plain", net), put("plain_average", log.average)
    found |= {"plain/loss": log.loss, "plain/error": log.error}
    net = mlp((0, 0, 1, 1))
    fit(net, x, [
        Setting("eps"), Setting("v", weighting="p2", times=UniformLogSnr()),
        Setting("x0", weighting="min_snr_5", times=LevelsOf(cosine)), Setting(edm_target(1.0), times=LogNormal()),
    ], run)
    put("settings", net)
    own = torch.stack([moons().sample(50, seed) for seed in (3, 4)]).to(dtype)
    net = mlp((3, 4), 2, Condition(frequencies=0), activation="tanh", gain=1.0)
    fit(net, own, Setting(), Run(steps=40, batch=16, decay="constant", rate=3e-3))
    put("own", net)
    net = mlp((0, 1), 1, Condition("log_snr", chain, data_std=1.0))
    fit(net, x, Setting(schedule=chain), run)
    put("chain", net)
    windows = {
        "code": Window(3, 1.0), "markov": Window(2, 0.5, coupling="markov"),
        "paper": Window(3, 1.0, tau="literal", form="paper"),
    }
    for name, window in windows.items():
        net = mlp((0, 1), 1, Condition("log_snr", chain))
        fit(net, x, Setting(schedule=chain, loss=window), run)
        put(f"window_{name}", net)
    base = mlp((0, 1))
    fit(base, x, Setting(), run)
    for name, denoiser in (("squares", None), ("squares_residual", Learned(base, linear, "eps"))):
        net = mlp((2, 3))
        fit(net, x, Setting(loss=Squares(denoiser)), run)
        put(name, net)
    net = mlp((0, 1), 1, Condition("t"))
    fit(net, x, Setting(loss=Smooth(0.3, 0.02)), run)
    put("smooth", net)
    net = mlp(7)
    fit(net, law, Setting("v"), run)
    put("single", net)
    net = UNet((1, 8, 8), channels=8, levels=(1, 1), condition=snr, seed=(0, 1))
    images = torch.randn(20, 64, generator=torch.Generator().manual_seed(1))
    fit(net, images, Setting("v"), Run(steps=8, batch=4))
    put("unet", net)
    net = mlp((0, 0), 1, [Condition("log_snr", linear), Condition("log_snr", cosine)])
    fit(net, x, [
        Setting(weighting=Importance(cosine), times=LevelsOf(linear)), Setting(schedule=cosine, times=LevelsOf(cosine)),
    ], run)
    put("schedules", net)
    net = mlp((0, 1), 1, Condition("t", chain, map=Shared(5, 10)))
    fit(net, x, Setting(schedule=chain), run)
    put("shared", net)
    arms = {"a": Setting("v", chain), "b": Setting(schedule=chain, loss=Window(2, 1.0))}
    fleet = Fleet(arms, x, Dense(1, 8, 1), Run(steps=40, batch=16, average=0.9), (0, 1))
    for name, net in fleet.train().networks.items():
        put(f"fleet {name}", net)
    y = (x[:, 0] > 0).long()
    run = Run(steps=40, batch=16, rate=2e-3, decay="constant")
    put("classifier", train_classifier(x, y, (x, y), (8, 4), run).body)
    torch.set_default_dtype(torch.float32)
    two = GaussianMixture(torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=F64), 0.3)
    model = Learned(MLP(2, 8, 1, condition=snr, seed=(0, 1)), linear, "eps")
    put("critic", train_critic(model, two, (-3.0, 3.0), Dense(2, 8, 1), Run(steps=20, batch=16, rate=3e-3)).net)


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    return networks()


def test_every_kind_is_there(trained):
    assert trained.keys() == load_file(STORED).keys()


@pytest.mark.parametrize("kind", sorted({name.split("/")[0] for name in load_file(STORED)}))
def test_the_weights_are_the_stored_ones(trained, kind):
    for name, stored in load_file(STORED).items():
        if name.split("/")[0] == kind:
            # Adam turns rounding into steps; in float64 they stay this small, on any processor.
            tolerance = 2e-4 if stored.dtype == torch.float32 else 1e-9
            torch.testing.assert_close(trained[name], stored, rtol=0, atol=tolerance, equal_nan=True, msg=name)


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else STORED
    save_file(networks(), place)
