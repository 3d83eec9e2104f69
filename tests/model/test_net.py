"""Networks: the layers against a naive network, ensembles against their members, the features of the time."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from diffnotes import EDM, Chain, Cosine, Linear
from diffnotes.model.condition import Condition
from diffnotes.model.net import MLP

DOUBLE = torch.float64


def naive(net: MLP, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The same network as text: one sample at a time, features concatenated to the input."""
    act = {"silu": F.silu, "tanh": torch.tanh, "relu": F.relu}[net.activation]
    rows = []
    for row, time in zip(x, t):
        scale = 1 if net.condition.data_std is None else net.condition.scale(time)
        h = torch.cat([net.condition(time), scale * row]) @ net.weights[0] + net.biases[0]
        for weight, bias in zip(list(net.weights)[1:], list(net.biases)[1:]):
            h = act(h) @ weight + bias
        rows.append(h)
    return torch.stack(rows)


@pytest.mark.parametrize("activation", ["silu", "tanh", "relu"])
@pytest.mark.parametrize("data_std", [None, 0.5])
@pytest.mark.parametrize("dim, depth", [(2, 1), (5, 3)])
def test_forward_is_the_network_of_concatenated_inputs(activation, data_std, dim, depth):
    condition = Condition("log_snr", EDM(), frequencies=3, data_std=data_std)
    net = MLP(dim, width=7, depth=depth, condition=condition, activation=activation, seed=3).double()
    x = torch.randn(dim, dim, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))  # n = d on purpose
    t = torch.linspace(0.1, 0.9, dim, dtype=DOUBLE)
    torch.testing.assert_close(net(x, t), naive(net, x, t), rtol=1e-13, atol=1e-13)
    with torch.no_grad():  # the functions that overwrite their argument
        torch.testing.assert_close(net(x, t), naive(net, x, t), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("data_std", [None, 2.0])
def test_one_time_for_all_rows_equals_that_time_in_each_row_and_at(members, data_std):
    net = MLP(2, width=8, members=members, condition=Condition("sigma", Cosine(), data_std=data_std)).double()
    x = torch.randn(*((members,) if members else ()), 4, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.9, 0.4, 0.1], dtype=DOUBLE)
    for t, function in zip(times, net.at(times)):
        reference = net(x, float(t))
        for same in (t, t.expand(x.shape[:1]), t.expand(x.shape[:-1])):
            torch.testing.assert_close(net(x, same), reference, rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(function(x), reference, rtol=1e-14, atol=1e-14)


def test_an_ensemble_is_its_members():
    seeds = (5, 0, 5)
    conditions = [Condition("t"), Condition("log_snr", Linear()), Condition("sigma", EDM(), data_std=0.5)]
    for condition in (Condition(), conditions):
        net = MLP(3, width=16, depth=2, seed=seeds, condition=condition).double()
        x = torch.randn(3, 6, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(1))
        t = torch.rand(3, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
        together = net(x, t)
        for i, seed in enumerate(seeds):
            own = condition if isinstance(condition, Condition) else condition[i]
            alone = MLP(3, width=16, depth=2, seed=seed, condition=own).double()
            assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), net.member(i).parameters()))
            torch.testing.assert_close(together[i], alone(x[i], t[i]), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(net.select([2, 0])(x[[2, 0]], t[[2, 0]]), together[[2, 0]], rtol=1e-13, atol=1e-13)
        for k, function in enumerate(net.at(t[0])):
            torch.testing.assert_close(function(x), net(x, t[0, k]), rtol=1e-13, atol=1e-13)


def test_members_keep_dtype_settings_and_own_their_weights():
    net = MLP(2, width=4, depth=1, seed=(3, 4), activation="tanh").double()
    one = net.member(1)
    assert (one.members, one.seeds, one.activation, one.biases[0].dtype) == (None, (4,), "tanh", DOUBLE)
    with torch.no_grad():
        one.weights[0].zero_()
    assert net.weights[0][1].abs().sum() > 0
    assert net.select([1]).members == 1 and net.select([1]).seeds == (4,)


@pytest.mark.parametrize("gain", [None, 1.0])
def test_initial_weights_are_uniform_with_the_variance_they_promise(gain):
    net = MLP(64, width=256, depth=2, gain=gain, seed=1)
    bound = math.sqrt(3 / 0.35567) if gain is None else gain
    for weight, fan_in, bound_of in zip(net.weights, (64 + 17, 256, 256), (bound, bound, 1.0)):
        assert float(weight.detach().abs().max()) <= bound_of / math.sqrt(fan_in)
        # variance of the sample variance of n uniforms: relative standard deviation sqrt(0.8/n) < 0.0075 here
        assert float(weight.detach().var()) * 3 * fan_in / bound_of**2 == pytest.approx(1, abs=0.03)
    assert not torch.equal(net.weights[1], MLP(64, width=256, depth=2, seed=2).weights[1])


@pytest.mark.parametrize("activation", ["silu", "tanh", "relu"])
def test_the_default_gain_keeps_the_variance_of_hidden_layers(activation):
    z = torch.linspace(-12, 12, 24001, dtype=torch.float64)
    act = {"silu": torch.nn.functional.silu, "tanh": torch.tanh, "relu": torch.relu}[activation]
    mean_square = torch.trapezoid(act(z) ** 2 * torch.exp(-(z**2) / 2), z) / math.sqrt(2 * math.pi)
    weight = MLP(8, width=512, depth=2, activation=activation).weights[1].detach()
    assert float(weight.var() * 512 * mean_square) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("condition", [
    Condition(), Condition("t", Chain.linear(1000)), Condition("log_snr", Cosine()), Condition("sigma", EDM()),
])
def test_features_are_of_order_one_and_slow(condition):
    """Bounded by 1 at every time including the ends, and at most ``frequencies`` pi rad over the time axis."""
    last = condition.schedule.T if isinstance(condition.schedule, Chain) else 1
    t = torch.linspace(0, last, 1001, dtype=DOUBLE)
    features = condition(t)
    assert features.shape == (1001, condition.size) and bool((features.abs() <= 1 + 1e-12).all())
    if condition.kind == "t":
        assert float(features.diff(dim=0).abs().max()) <= math.pi * condition.frequencies / 1000 + 1e-9  # rad a step
    assert float(features[:, 0].max() - features[:, 0].min()) > 1  # and the range is used


def test_feature_values():
    wave = [math.sin(math.pi / 4), math.sin(math.pi / 2), math.cos(math.pi / 4), math.cos(math.pi / 2)]
    expected = torch.tensor([0.5, *wave], dtype=DOUBLE)
    torch.testing.assert_close(Condition(frequencies=2)(0.75), expected, rtol=0, atol=1e-15)
    torch.testing.assert_close(Condition("t", Chain.linear(100), frequencies=2)(torch.tensor(75)), expected)
    u = Condition("log_snr", Linear(), frequencies=0)(0.3)
    assert float(u) == pytest.approx(math.tanh(float(Linear().log_snr(0.3)) / 8), abs=1e-15)
    sigma = Condition("sigma", EDM(), frequencies=0)(0.3)
    assert float(sigma) == pytest.approx(2 * float(EDM()(0.3)[1]) / 80 - 1, abs=1e-14)


def test_map_replaces_the_time_everywhere():
    early = Condition("sigma", EDM(), map=lambda t: torch.zeros_like(t), data_std=1.0)
    plain = Condition("sigma", EDM(), data_std=1.0)
    t = torch.tensor([0.2, 0.7], dtype=DOUBLE)
    assert torch.equal(early(t), plain(0 * t)) and torch.equal(early.scale(t), plain.scale(0 * t))


@given(t=st.floats(0, 1), data_std=st.floats(0.01, 100))
@settings(max_examples=50, deadline=None)
def test_scaled_input_has_unit_variance(t, data_std):
    alpha, sigma = EDM()(t)
    c = Condition("t", EDM(), data_std=data_std).scale(t)
    assert float(c**2 * (alpha**2 * data_std**2 + sigma**2)) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("build, word", [
    (lambda: MLP(0), "dim = 0"),
    (lambda: MLP(2, depth=0), "depth = 0"),
    (lambda: MLP(2, members=0), "members = 0"),
    (lambda: MLP(2, activation="gelu"), "activation = 'gelu'"),
    (lambda: MLP(2, members=3, seed=(0, 1)), "seed has 2 entries"),
    (lambda: MLP(2, members=3, condition=[Condition()] * 2), "condition has 2 entries"),
    (lambda: MLP(2, seed=(0, 1), condition=[Condition(), Condition(frequencies=2)]), "sizes"),
    (lambda: MLP(2, condition=[Condition()]), "condition has 1 entries"),
    (lambda: Condition("time"), "kind = 'time'"),
    (lambda: Condition("log_snr"), "schedule = None"),
    (lambda: Condition(data_std=1.0), "schedule = None"),
    (lambda: Condition(frequencies=-1), "frequencies = -1"),
    (lambda: Condition("t", EDM(), data_std=0.0), "data_std = 0.0"),
    (lambda: MLP(2)(torch.zeros(4, 3), 0.5), r"x has shape \(4, 3\)"),
    (lambda: MLP(2)(torch.zeros(1, 4, 2), 0.5), r"x has shape \(1, 4, 2\)"),
    (lambda: MLP(2, members=2)(torch.zeros(3, 4, 2), 0.5), r"x has shape \(3, 4, 2\)"),
    (lambda: MLP(2)(torch.zeros(4, 2), torch.zeros(2)), r"t has shape \(2,\)"),
    (lambda: MLP(2)(torch.zeros(4, 2), torch.zeros(4, 2)), r"t has shape \(4, 2\)"),
    (lambda: MLP(2, members=2).member(2), "do not exist"),
    (lambda: MLP(2).select([0]), "members = None"),
])
def test_bad_input_is_named(build, word):
    with pytest.raises(ValueError, match=word):
        build()


# --- waves of x -------------------------------------------------------------------------------------------------------


def test_waves_are_sines_and_cosines_beside_x():
    """The network with waves is the network of 3 d inputs given x, sin and cos; the folded form is the unfolded one."""
    net = MLP(2, 8, 2, waves=(0.5, 3.0), seed=(0, 1)).double()
    x = torch.randn(2, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.1, 0.9, 10, dtype=torch.float64).reshape(2, 5)
    parts = (f(w * x[..., [i]]) for f in (torch.sin, torch.cos) for i in range(2) for w in (0.5, 3.0))
    seen = torch.cat([x, *parts], -1)
    h = torch.cat([net.condition(t), seen], -1)
    for k, (weight, bias) in enumerate(zip(net.weights, net.biases)):
        h = h @ weight + bias
        h = torch.nn.functional.silu(h) if k < 2 else h
    torch.testing.assert_close(net(x, t), h, rtol=1e-10, atol=1e-12)
    (read,) = net.at(torch.tensor([0.4], dtype=torch.float64))
    torch.testing.assert_close(read(x), net(x, torch.full((2, 5), 0.4, dtype=torch.float64)), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(net.member(1)(x[1], t[1]), net(x, t)[1], rtol=1e-10, atol=1e-12)


def test_no_waves_are_the_network_of_before_and_bad_ones_are_refused():
    assert [p.shape for p in MLP(2, 8, 2).parameters()] == [p.shape for p in MLP(2, 8, 2, waves=()).parameters()]
    for waves in ((0.0,), (1.0, float("inf"))):
        with pytest.raises(ValueError, match="waves = "):
            MLP(2, 8, 2, waves=waves)


@pytest.mark.parametrize("dim", [1, 2, 4, 5])
def test_answers_are_the_same_with_and_without_gradients(dim):
    """Without gradients a last layer of few columns is multiplied the other way round."""
    net = MLP(dim, width=8, depth=2, members=3, seed=(0, 1, 2)).double()
    x = torch.randn(3, 7, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = net(x, 0.3)
    with torch.no_grad():
        torch.testing.assert_close(net(x, 0.3), wanted.detach(), rtol=1e-12, atol=1e-14)
