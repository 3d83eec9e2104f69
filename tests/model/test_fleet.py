"""A fleet is no more than its networks, each trained alone on its own setting."""

import numpy as np
import pytest
import torch

from diffnotes import (
    MLP,
    Chain,
    Condition,
    Dense,
    Fleet,
    Images,
    Linear,
    Run,
    Sampled,
    Setting,
    Squares,
    Window,
    fit,
    two_modes,
)
from diffnotes.core.data import digits_split

LAW, SCHEDULE, NET = two_modes().to(dtype=torch.float64), Linear(), Dense(1, 8, 2)
TOLD = Condition(frequencies=0)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def denoisers(arms, data=LAW, seeds=(0, 1), net=NET, **run):
    fleet = Fleet(arms, data, net, Run(**dict(steps=20, batch=8) | run), seeds)
    return fleet.read(fleet.train().networks)


def test_a_fleet_is_its_networks_trained_alone(double):
    arms = {"eps": Setting(), "v": Setting("v", weighting="v")}
    found = denoisers(arms, seeds=(3, 5), steps=40, batch=16)
    x = torch.linspace(-2, 2, 7)[:, None]
    for name, setting in arms.items():
        for i, seed in enumerate((3, 5)):
            alone = MLP(1, 8, 2, condition=Condition("log_snr", SCHEDULE), seed=seed).to(torch.float64)
            fit(alone, LAW, setting, Run(40, 16))
            together = found[name].predict(x.expand(2, -1, -1), 0.3)[i]
            torch.testing.assert_close(together, alone(x, 0.3), rtol=0, atol=1e-12)
        assert found[name].target == setting.target and found[name].members == 2


def test_settings_are_paired_by_seed():
    found = denoisers({"a": Setting("v"), "b": Setting("v")})
    x = torch.randn(2, 5, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found["a"].predict(x, 0.5), found["b"].predict(x, 0.5))
    assert not torch.equal(found["a"].predict(x[:1].expand(2, -1, -1), 0.5)[0], found["a"].predict(x, 0.5)[1])


def test_a_fleet_needs_settings_and_seeds():
    for arms, seeds in (({}, (0,)), ({"eps": Setting()}, ())):
        with pytest.raises(ValueError, match="at least one"):
            Fleet(arms, LAW, NET, Run(1), seeds)


@pytest.mark.parametrize("change, error, word", [
    (dict(arms={"eps, averaged": Setting()}), ValueError, "'eps, averaged'"),
    (dict(arms={1: Setting()}), ValueError, "the name 1"),
    (dict(data=[0.0, 1.0]), TypeError, r"data = \[0.0, 1.0\]"),
    (dict(data=np.zeros((3, 1))), TypeError, "a tensor of samples"),
    (dict(run=Run(1, seeds=(1, 2, 3))), ValueError, r"run.seeds = \[1, 2, 3\]"),
])  # fmt: skip
def test_what_a_fleet_cannot_train_is_refused_before_it_is_tried(change, error, word):
    with pytest.raises(error, match=word):
        Fleet(**dict(arms={"eps": Setting()}, data=LAW, net=NET, run=Run(1), seeds=(0, 1)) | change)


def test_draws_may_have_seeds_of_their_own(double):
    """One for each seed of the fleet, in every arm, whatever the stack."""
    chain = Chain.linear(20, 0.01, 0.3)
    arms = {"eps": Setting(schedule=chain), "v": Setting("v", chain), "two": Setting(schedule=chain, loss=Window(2))}
    found = Fleet(arms, LAW, NET, Run(20, 8, seeds=(7, 8)), (0, 1)).train().networks
    x = torch.linspace(-2, 2, 7)[:, None]
    for name, setting in arms.items():
        alone = MLP(1, 8, 2, condition=Condition("log_snr", chain), seed=(1,)).to(torch.float64)
        fit(alone, LAW, setting, Run(20, 8, seeds=(8,)))
        torch.testing.assert_close(found[name](x.expand(2, -1, -1), 3)[1], alone(x[None], 3)[0], rtol=0, atol=1e-12)


def test_several_arms_may_be_trained_on_the_squares_of_one_ensemble():
    base = denoisers({"eps": Setting()})["eps"]
    arms = {name: Setting(loss=Squares(base), condition=Condition(frequencies=k)) for k, name in enumerate("ab")}
    found = Fleet(arms, LAW, NET, Run(3, 8), (0, 1)).train().networks
    alone = Fleet({"b": arms["b"]}, LAW, NET, Run(3, 8), (0, 1)).train().networks
    assert torch.equal(found["b"].weights[0], alone["b"].weights[0])


def test_each_seed_may_have_its_own_data_and_an_average():
    data = torch.randn(2, 30, 1, generator=torch.Generator().manual_seed(1))
    tanh = Dense(1, 8, 2, "tanh")
    found = denoisers({"eps": Setting(condition=TOLD), "v": Setting("v", condition=TOLD)}, data, net=tanh, average=0.9)
    assert list(found) == ["eps", "v", "eps, averaged", "v, averaged"]
    alone = denoisers({"eps": Setting(condition=TOLD)}, data[1], (1,), tanh)
    x = torch.linspace(-2, 2, 7)[:, None]
    torch.testing.assert_close(found["eps"].predict(x.expand(2, -1, -1), 0.3)[1], alone["eps"].predict(x[None], 0.3)[0],
                               rtol=1e-4, atol=1e-5)
    last, averaged = (found[name].predict(x.expand(2, -1, -1), 0.3) for name in ("eps", "eps, averaged"))
    assert not torch.equal(last, averaged)


def test_settings_of_different_windows_are_trained_in_stacks_of_one_size():
    chain = Chain.linear(20, 0.01, 0.3)
    losses = {"two": Window(2), "none": Window(2, 0.0), "three": Window(3, 0.3), "markov": Window(2, coupling="markov")}
    arms = {"plain": Setting(schedule=chain)} | {name: Setting(schedule=chain, loss=w) for name, w in losses.items()}
    found = denoisers(arms, seeds=(3, 5), average=0.9)
    assert list(found) == [*arms, *(f"{name}, averaged" for name in arms)]
    x = torch.linspace(-2, 2, 7)[None, :, None].expand(2, -1, -1)
    assert torch.equal(found["plain"].eps(x, 7), found["none"].eps(x, 7))
    assert [setting.loss.size for setting in arms.values()] == [1, 2, 1, 3, 2]
    for name in ("two", "three", "markov"):
        alone = denoisers({name: arms[name]}, seeds=(3, 5), average=0.9)[name]
        torch.testing.assert_close(found[name].eps(x, 7), alone.eps(x, 7), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(found[name].eps(x, 7), found["plain"].eps(x, 7), atol=1e-6)


def test_data_of_each_seed_and_data_of_all():
    assert torch.equal(Sampled(LAW, 20).draw((3, 5))[1], LAW.sample(20, 5).float())
    assert torch.equal(Sampled(LAW, 20, seed=5).draw((3, 4)), LAW.sample(20, 5).float())
    assert torch.equal(Images("digits").draw((0, 2))[1], digits_split(2)[0].x)
    assert torch.equal(Images("digits", seed=2).draw((0, 1)), digits_split(2)[0].x)


def test_logs_are_those_of_each_arm():
    arms = {"eps": Setting(), "v": Setting("v")}
    trained = Fleet(arms, LAW, NET, Run(40, 8), (0, 1)).train()
    assert trained.log["v/loss"].shape == (2, 2) and trained.log["eps/step"].tolist() == [32, 40]
    alone = Fleet({"v": arms["v"]}, LAW, NET, Run(40, 8), (0, 1)).train()
    torch.testing.assert_close(trained.log["v/loss"], alone.log["v/loss"], rtol=1e-4, atol=0)


def test_the_spread_of_pixels_is_that_of_numpy():
    splits = [digits_split(seed)[0].x.numpy() for seed in (0, 2)]
    by_hand = sum(x.var(0, ddof=1, dtype="float64").mean() for x in splits) / 2
    assert Images("digits").std((0, 2)) == pytest.approx(by_hand**0.5, rel=1e-7)
    assert Images("digits", seed=2).std((0, 1)) == pytest.approx(splits[1].var(0, ddof=1).mean() ** 0.5, rel=1e-5)
