"""The U-Net: ensembles against their members, members that never meet, one time against many, and a real training."""

import copy
import itertools
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from diffnotes import EDM, Learned, Linear
from diffnotes.core.data import digits
from diffnotes.model import sample
from diffnotes.model.condition import Condition
from diffnotes.model.fleet import Fleet
from diffnotes.model.setting import Run, Setting, UniformLogSnr
from diffnotes.model.train import fit
from diffnotes.model.unet import Convolutional, UNet

DOUBLE = torch.float64
SMALL = partial(UNet, (2, 8, 12), channels=8, levels=(1, 2, 1))  # channels go up and down, h differs from w
LOG_SNR = Condition("log_snr", Linear(), data_std=0.5)


def close(a, b, tolerance=1e-10):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def inputs(net, n=4):
    generator = torch.Generator().manual_seed(1)
    lead = (n,) if net.members is None else (net.members, n)
    x = torch.randn(*lead, net.dim, dtype=DOUBLE, generator=generator)
    return x, torch.rand(lead, dtype=DOUBLE, generator=generator)


# --- one network ------------------------------------------------------------------------------------------------------


def naive(net: UNet, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The network as text, for one image: norms from their definition, gains and shifts one norm after another."""
    (hidden, out), norms = net.time, iter(net._norms)
    told = out.weight[0] @ F.silu(hidden.weight[0] @ net.condition(t) + hidden.bias[0]) + out.bias[0]
    gains, shifts = (1 + told[: len(told) // 2]).clone(), told[len(told) // 2 :]

    def tuned(h):
        nonlocal gains, shifts
        c = next(norms)
        assert c == h.shape[1]
        group = h.reshape(c // 8, -1)
        group = (group - group.mean(1, keepdim=True)) / (group.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        h = group.reshape(h.shape) * gains[:c, None, None] + shifts[:c, None, None]
        gains, shifts = gains[c:], shifts[c:]
        return h * torch.sigmoid(h)

    def convolved(h, layer):
        return F.conv2d(h, layer.weight[0], layer.bias[0], padding="same")

    def block(h, part):
        f = convolved(tuned(convolved(tuned(h), part.first)), part.second)
        return f + (h if isinstance(part.past, torch.nn.Identity) else convolved(h, part.past))

    scale = 1 if net.condition.data_std is None else net.condition.scale(t)
    held, h = [], convolved((scale * x).reshape(1, *net.shape), net.enter)
    for i, part in enumerate(net.down):
        if i:  # the mean of each square of four
            h = (h[..., ::2, ::2] + h[..., 1::2, ::2] + h[..., ::2, 1::2] + h[..., 1::2, 1::2]) / 4
        held.append(h := block(h, part))
    h = block(held.pop(), net.middle)
    for lift, part in zip(net.lift, net.up):
        h = block(held.pop() + convolved(h, lift).repeat_interleave(2, -1).repeat_interleave(2, -2), part)
    y = convolved(tuned(h), net.leave)
    assert next(norms, None) is None and not held
    return y.flatten()


@pytest.mark.parametrize("levels", [(1,), (2, 1), (1, 2, 1)])
def test_forward_is_the_network_of_one_image_and_one_time(levels):
    net = SMALL(levels=levels, condition=LOG_SNR, seed=3).double()
    x, t = inputs(net)
    expected = torch.stack([naive(net, row, time) for row, time in zip(x, t)])
    assert float(expected.detach().std()) > 0.05
    close(net(x, t), expected, 1e-12)
    with torch.no_grad():  # the functions that overwrite their argument
        close(net(x, t), expected, 1e-12)


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("condition", [Condition(), LOG_SNR])
def test_one_time_for_all_rows_equals_that_time_in_each_row_and_at(members, condition):
    net = SMALL(members=members, condition=condition).double()
    x, _ = inputs(net)
    times = torch.tensor([0.9, 0.4, 0.1], dtype=DOUBLE)
    seen = []
    for t, function in zip(times, net.at(times)):
        seen.append(net(x, float(t)).detach())
        for same in (t, t.expand(x.shape[:1]), t.expand(x.shape[:-1])):
            close(net(x, same), seen[-1], 1e-13)
        close(function(x), seen[-1], 1e-13)
    assert all(float((a - b).abs().max()) > 1e-3 for a, b in itertools.pairwise(seen))


def test_images_need_not_be_powers_of_two_in_size():
    net = UNet((1, 28, 28), channels=8)
    assert net.dim == 784 and net(torch.zeros(2, 784), 0.5).shape == (2, 784)


def test_a_fresh_network_predicts_numbers_below_one_with_gains_near_one():
    net = UNet((1, 8, 8), seed=2)
    x = torch.randn(50, 64, generator=torch.Generator().manual_seed(0))
    assert 0.05 < float(net(x, 0.5).detach().std()) < 1
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            bound = parameter[0, 0].numel() ** -0.5
            assert 0.8 * bound < float(parameter.detach().abs().max()) <= bound
    gains, shifts = net.tell(net.condition(torch.linspace(0, 1, 11))).chunk(2, -1)
    assert abs(float(gains.detach().mean()) - 1) < 0.1 and abs(float(shifts.detach().mean())) < 0.1


# --- an ensemble ------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_its_members():
    seeds = (5, 0, 5)
    conditions = [Condition("t"), Condition("log_snr", Linear()), Condition("sigma", EDM(), data_std=0.5)]
    for condition in (Condition(), conditions):
        net = SMALL(seed=seeds, condition=condition).double()
        x, t = inputs(net)
        together = net(x, t)
        for i, seed in enumerate(seeds):
            alone = SMALL(seed=seed, condition=condition if isinstance(condition, Condition) else condition[i]).double()
            assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), net.member(i).parameters()))
            close(together[i], alone(x[i], t[i]))
        close(net.select([2, 0])(x[[2, 0]], t[[2, 0]]), together[[2, 0]])
        for k, function in enumerate(net.at(t[0])):
            close(function(x), net(x, t[0, k]))


def test_members_never_meet():
    """What one member is given, in samples or in times, or what its weights are, changes its own prediction only."""
    net = SMALL(seed=(0, 1, 2)).double()
    x, t = inputs(net)
    before = net(x, t)
    for what in ("samples", "times", "weights"):
        other, x_new, t_new = copy.deepcopy(net), x.clone(), t.clone()
        if what == "samples":
            x_new[1] += 1
        elif what == "times":
            t_new[1] = 1 - t_new[1]
        else:
            with torch.no_grad():
                for parameter in other.parameters():
                    parameter[1] *= 1.5
        moved = (other(x_new, t_new) - before).detach().abs().amax((1, 2))
        assert float(moved[1]) > 1e-3 and float(moved[0]) < 1e-14 and float(moved[2]) < 1e-14


def test_samples_of_a_batch_never_meet():
    net = SMALL(members=2).double()
    x, t = inputs(net)
    before = net(x, t)
    x[:, 2] += 1
    moved = (net(x, t) - before).detach().abs().amax((0, 2))
    assert float(moved[2]) > 1e-3 and float(moved[[0, 1, 3]].max()) < 1e-14


def test_equal_seeds_are_equal_weights():
    net = SMALL(seed=(4, 7, 4))
    for parameter in net.parameters():
        assert torch.equal(parameter[0], parameter[2]) and not torch.equal(parameter[0], parameter[1])
    assert net.seeds == (4, 7, 4) and SMALL(members=2, seed=6).seeds == (6, 7)
    assert all(torch.equal(a[1:], b) for a, b in zip(net.parameters(), SMALL(seed=(7, 4)).parameters()))


def test_members_keep_dtype_settings_and_own_their_weights():
    net = SMALL(seed=(3, 4), condition=LOG_SNR).double()
    one = net.member(1)
    assert (one.members, one.seeds, one.shape, one.channels, one.levels) == (None, (4,), (2, 8, 12), 8, (1, 2, 1))
    assert (one.dtype, one.device, one.condition) == (DOUBLE, torch.device("cpu"), LOG_SNR)
    with torch.no_grad():
        one.enter.weight.zero_()
    assert float(net.enter.weight[1].detach().abs().sum()) > 0
    assert net.select([1]).members == 1 and net.select([1]).seeds == (4,)


# --- in use -----------------------------------------------------------------------------------------------------------


def test_training_together_is_training_alone():
    """Also the averaged weights, and with a target of its own for each member."""
    data = digits().x.double()
    build = partial(UNet, (1, 8, 8), channels=8, levels=(1, 2), condition=Condition("log_snr", Linear()))
    run = Run(steps=4, batch=6, rate=1e-2, average=0.9)
    net, first = build(seed=(5, 2)).double(), build(seed=(5, 2)).double()
    history = fit(net, data, [Setting("eps"), Setting("v")], run)
    for i, target in enumerate(("eps", "v")):
        alone = build(seed=(5, 2)[i]).double()
        log = fit(alone, data, Setting(target), run)
        for mine, theirs in ((net, alone), (history.average, log.average)):
            for a, b, c in zip(mine.member(i).parameters(), theirs.parameters(), first.member(i).parameters()):
                close(a, b, 1e-9)
                assert float((a - c).detach().abs().max()) > 1e-4  # every tensor is trained
        close(history.loss[:, i], log.loss)


def test_a_fleet_of_other_networks_and_their_samples():
    data, schedule = digits().x, Linear()
    made = Fleet({"eps": Setting(), "v": Setting("v")}, data, Convolutional((1, 8, 8), 8, (1, 2)), Run(8, 8), (0, 1))
    fleet = made.read(made.train().networks)
    assert isinstance(fleet["v"].net, UNet) and fleet["v"].net.seeds == (0, 1) and fleet["v"].target == "v"
    assert fleet["v"].net.condition == Condition("log_snr", schedule)
    start = sample.prior(schedule, (2, 6, 64), 0)
    together = sample.ode(fleet["v"], start, sample.grid(schedule, 4), method="heun")
    for i in range(2):
        alone = Learned(fleet["v"].net.member(i), schedule, "v")
        close(sample.ode(alone, start[i], sample.grid(schedule, 4), method="heun"), together[i], 1e-4)
    blocks = sample.ode(fleet["v"], start, sample.grid(schedule, 4), method="heun", rows=4)
    close(blocks, together, 1e-4)


def test_training_beats_the_best_linear_denoiser():
    """With data of covariance C, that is E[x0 | x_t] of N(mean, C): its error of v is that of x0 over sigma^2.

    At log SNR 0 to 4, where the shapes of digits tell more than their covariance.
    """
    data, schedule = digits().x, Linear()
    noisy, clean = (float(schedule.time_of_log_snr(torch.tensor(level, dtype=DOUBLE))) for level in (0.0, 4.0))
    density = UniformLogSnr(clean, noisy)
    spread = torch.linalg.eigvalsh(data.double().T.cov(correction=0)).clamp(min=0)
    alpha, sigma = (level[:, None] for level in schedule(density(torch.linspace(0, 1, 1001, dtype=DOUBLE), schedule)))
    linear = float((spread / (alpha**2 * spread + sigma**2)).mean())
    net = UNet((1, 8, 8), channels=16, levels=(1, 2), condition=Condition("log_snr", schedule))
    history = fit(net, data, Setting("v", schedule, times=density), Run(256, 16, 8e-3, log_every=64))
    assert float(history.loss[0]) > 1.2 * linear and float(history.loss[-1]) < 0.9 * linear


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("build, word", [
    (lambda: UNet((8, 8)), r"shape = \(8, 8\); allowed: \(c, h, w\)"),
    (lambda: UNet((0, 8, 8)), r"shape = \(0, 8, 8\)"),
    (lambda: UNet((1, 30, 28)), r"shape = \(1, 30, 28\) with 3 levels; allowed: .* multiples of 4"),
    (lambda: UNet((1, 28, 27), levels=(1, 1)), "multiples of 2"),
    (lambda: UNet((1, 8, 8), channels=12), "channels = 12; allowed: multiples of 8"),
    (lambda: UNet((1, 8, 8), channels=0), "channels = 0"),
    (lambda: UNet((1, 8, 8), levels=()), r"levels = \(\)"),
    (lambda: UNet((1, 8, 8), levels=(1, 0)), r"levels = \(1, 0\)"),
    (lambda: SMALL(members=0), "members = 0"),
    (lambda: SMALL(members=3, seed=(0, 1)), "seed has 2 entries"),
    (lambda: SMALL(members=3, condition=[Condition()] * 2), "condition has 2 entries"),
    (lambda: SMALL()(torch.zeros(4, 2, 8, 12), 0.5), r"x has shape \(4, 2, 8, 12\); allowed: \(n, 192\)"),
    (lambda: SMALL()(torch.zeros(1, 4, 192), 0.5), r"x has shape \(1, 4, 192\)"),
    (lambda: SMALL(members=2)(torch.zeros(3, 4, 192), 0.5), r"x has shape \(3, 4, 192\)"),
    (lambda: SMALL()(torch.zeros(4, 192), torch.zeros(2)), r"t has shape \(2,\)"),
    (lambda: SMALL(members=2).member(2), "do not exist"),
    (lambda: SMALL().select([0]), "members = None"),
])
def test_bad_input_is_named(build, word):
    with pytest.raises(ValueError, match=word):
        build()
