"""A fleet is no more than its networks, each trained alone on its own setting."""

import pytest
import torch

from diffnotes.fleet import Setting, train_fleet
from diffnotes.law import two_modes
from diffnotes.net import MLP, Condition
from diffnotes.schedule import Chain, Linear
from diffnotes.sequence import Window
from diffnotes.train import fit, matched

LAW, SCHEDULE = two_modes().to(dtype=torch.float64), Linear()
SIZES = dict(dim=1, width=8, depth=2)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_a_fleet_is_its_networks_trained_alone(double):
    settings = {"eps": Setting(), "v": Setting("v", matched("v"))}
    fleet = train_fleet(settings, LAW, SCHEDULE, seeds=(3, 5), steps=40, batch=16, **SIZES)
    x = torch.linspace(-2, 2, 7)[:, None]
    for name, setting in settings.items():
        for i, seed in enumerate((3, 5)):
            alone = MLP(**SIZES, condition=Condition("log_snr", SCHEDULE), seed=seed).to(torch.float64)
            fit(alone, LAW, SCHEDULE, target=setting.target, weight=setting.weight, steps=40, batch=16)
            together = fleet[name].predict(x.expand(2, -1, -1), 0.3)[i]
            torch.testing.assert_close(together, alone(x, 0.3), rtol=0, atol=1e-12)
        assert fleet[name].target == setting.target and fleet[name].members == 2


def test_settings_are_paired_by_seed():
    fleet = train_fleet({"a": Setting("v"), "b": Setting("v")}, LAW, SCHEDULE, seeds=range(2), steps=10, **SIZES)
    x = torch.randn(2, 5, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fleet["a"].predict(x, 0.5), fleet["b"].predict(x, 0.5))
    assert not torch.equal(fleet["a"].predict(x[:1].expand(2, -1, -1), 0.5)[0], fleet["a"].predict(x, 0.5)[1])


def test_a_fleet_needs_settings_and_seeds():
    for settings, seeds in (({}, (0,)), ({"eps": Setting()}, ())):
        with pytest.raises(ValueError, match="at least one"):
            train_fleet(settings, LAW, SCHEDULE, seeds=seeds, steps=1, **SIZES)


def test_each_seed_may_have_its_own_data_and_an_average():
    data = torch.randn(2, 30, 1, generator=torch.Generator().manual_seed(1))
    settings = {"eps": Setting(), "v": Setting("v")}
    fleet = train_fleet(settings, data, SCHEDULE, seeds=(0, 1), steps=20, batch=8, ema=0.9, activation="tanh",
                        condition=Condition(frequencies=0), **SIZES)
    assert set(fleet) == {"eps", "v", "eps, averaged", "v, averaged"}
    alone = train_fleet({"eps": Setting()}, data[1], SCHEDULE, seeds=(1,), steps=20, batch=8, activation="tanh",
                        condition=Condition(frequencies=0), **SIZES)
    x = torch.linspace(-2, 2, 7)[:, None]
    torch.testing.assert_close(fleet["eps"].predict(x.expand(2, -1, -1), 0.3)[1], alone["eps"].predict(x[None], 0.3)[0],
                               rtol=1e-4, atol=1e-5)
    last, averaged = (fleet[name].predict(x.expand(2, -1, -1), 0.3) for name in ("eps", "eps, averaged"))
    assert not torch.equal(last, averaged)


def test_settings_of_different_windows_are_trained_in_stacks_of_one_size():
    chain = Chain.linear(20, 0.01, 0.3)
    settings = {
        "plain": Setting(), "two": Setting(window=Window(2)), "none": Setting(window=Window(2, 0.0)),
        "three": Setting(window=Window(3, 0.3)), "markov": Setting(window=Window(2, coupling="markov")),
    }  # fmt: skip
    options = dict(seeds=(3, 5), steps=20, batch=8, ema=0.9, **SIZES)
    fleet = train_fleet(settings, LAW, chain, **options)
    assert list(fleet) == [*settings, *(f"{name}, averaged" for name in settings)]
    x = torch.linspace(-2, 2, 7)[None, :, None].expand(2, -1, -1)
    assert torch.equal(fleet["plain"].eps(x, 7), fleet["none"].eps(x, 7))
    assert [setting.size for setting in settings.values()] == [1, 2, 1, 3, 2]
    for name in ("two", "three", "markov"):
        alone = train_fleet({name: settings[name]}, LAW, chain, **options)[name]
        torch.testing.assert_close(fleet[name].eps(x, 7), alone.eps(x, 7), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(fleet[name].eps(x, 7), fleet["plain"].eps(x, 7), atol=1e-6)
