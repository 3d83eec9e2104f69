"""Training: the loss as text, ensembles against separate runs, matched weights, and convergence to exact denoisers."""

import copy
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffnotes import (
    EDM,
    TARGETS,
    Chain,
    Cosine,
    Exact,
    Learned,
    Linear,
    Quadratic,
    ZeroTerminalSNR,
    coefficients,
    convert,
    edm_target,
)
from diffnotes.chapters.sequence import gaussian_minimiser
from diffnotes.core.law import GaussianMixture, spiral
from diffnotes.core.progress import progress
from diffnotes.model.condition import Condition
from diffnotes.model.loss import Plain, Smooth, Squares
from diffnotes.model.net import MLP
from diffnotes.model.setting import (
    WEIGHTINGS,
    Importance,
    LevelsOf,
    LogNormal,
    Run,
    Setting,
    Times,
    Uniform,
    UniformLogSnr,
    log_snr_density,
    matched,
)
from diffnotes.model.train import Regression, fit, gradient_statistics
from diffnotes.model.window import Window, sa_loss

DOUBLE = torch.float64
GAUSS = GaussianMixture(torch.tensor([[0.7]], dtype=DOUBLE), 0.5)

# settings that differ in everything a member may differ in: schedule, target, weight, times, condition
CHAIN = Chain.linear(100, 1e-3, 0.2)
SETTINGS = [
    Setting(condition=Condition()),
    Setting("v", Cosine(), "min_snr_5", condition=Condition("sigma", Cosine())),
    Setting(edm_target(0.5), EDM(), None, LogNormal(), condition=Condition("log_snr", EDM(), data_std=0.5)),
    Setting("x0", CHAIN, "inverse_sqrt_snr", condition=Condition("t", CHAIN)),
]


def told(settings):
    return [setting.told for setting in settings]


# --- weights and densities --------------------------------------------------------------------------------------------


@given(
    t=st.floats(0.01, 0.99), target=st.sampled_from([*TARGETS, edm_target(0.5)]),
    name=st.sampled_from([*WEIGHTINGS]),
)
def test_matched_weights_make_all_targets_one_loss(t, target, name):
    """w |y - y_hat|^2 = weighting(SNR) |eps - eps_hat|^2, for one and the same guess of x0."""
    alpha, sigma = Linear()(t)
    x_t, eps_hat, eps = torch.tensor([0.3, -1.1, 1.0], dtype=DOUBLE).reshape(3, 1, 1)
    guess, truth = (convert(e, x_t, alpha, sigma, source="eps", to=target) for e in (eps_hat, eps))
    expected = WEIGHTINGS[name]((alpha / sigma) ** 2) * 2.1**2
    loss = Setting(target, weighting=name).weight(alpha, sigma) * (guess - truth).square()
    assert float(loss) == pytest.approx(float(expected), rel=1e-9)


def test_weightings_are_the_published_ones():
    """As printed: min-SNR on x0 and eps (Hang et al., section 3.4), P2 (Choi et al., eq. 7), EDM's lambda."""
    alpha, sigma = Linear()(torch.linspace(0.02, 0.98, 50, dtype=DOUBLE))
    snr = (alpha / sigma) ** 2
    same = lambda a, b: torch.testing.assert_close(a, b, rtol=1e-12, atol=0)  # noqa: E731
    same(matched("x0", "min_snr_5", alpha, sigma), torch.minimum(snr, torch.full_like(snr, 5)))
    same(matched("eps", "min_snr_5", alpha, sigma), torch.minimum(snr, torch.full_like(snr, 5)) / snr)
    same(matched("v", "min_snr_5", alpha, sigma), torch.minimum(snr, torch.full_like(snr, 5)) / (snr + 1))
    same(matched("eps", "p2", alpha, sigma), 1 / (1 + snr))
    for name in ("x0", "eps", "v"):
        same(matched(name, name, alpha, sigma), torch.ones_like(snr))
    noise = sigma / alpha  # EDM's sigma; lambda = (sigma^2 + s^2)/(sigma s)^2 with s = 1
    same(matched("x0", "v", alpha, sigma), (noise**2 + 1) / noise**2)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), EDM()])
def test_densities_of_time(schedule):
    u = torch.linspace(0.01, 0.99, 99, dtype=DOUBLE)
    t = UniformLogSnr(0.01, 0.95)(u, schedule)
    high, low = (float(schedule.log_snr(end)) for end in (0.01, 0.95))
    torch.testing.assert_close(schedule.log_snr(t), high + (low - high) * u, rtol=0, atol=1e-9)
    alpha, sigma = schedule(LogNormal(-0.5, 0.8)(u, schedule))
    expected = torch.from_numpy(np.array([float(z) for z in (-0.5 + 0.8 * torch.special.ndtri(u))]))
    torch.testing.assert_close((sigma / alpha).log(), expected, rtol=0, atol=1e-9)


# --- the loss and the step --------------------------------------------------------------------------------------------


def objective(net, data=GAUSS, settings=None, batch=16, **run):
    return Regression(net, data, settings or Setting(), Run(1, batch, **run))


@dataclass(frozen=True)
class Recorded(Times):
    """Times that are written down as they are drawn."""

    times: Times
    drawn: list = field(hash=False)

    def __call__(self, u, schedule):
        self.drawn.append(self.times(u, schedule))
        return self.drawn[-1]


def test_the_loss_is_w_times_the_squared_error_of_y():
    """Member by member, from t alone: everything else is computed again from the definitions."""
    net = MLP(1, width=8, depth=2, seed=(7, 3, 7, 5), condition=told(SETTINGS)).double()
    drawn = []
    recorded = [replace(one, times=Recorded(one.times, drawn)) if i == 2 else one for i, one in enumerate(SETTINGS)]
    ours = objective(net, settings=recorded)
    chunk = ours.draw(4)
    for k in range(4):
        loss, error = ours.errors(chunk, k)
        for i in range(4):
            one, seed = SETTINGS[i], sorted({7, 3, 5}).index(net.seeds[i])
            x0, eps = chunk.x0[seed, k], chunk.eps[seed, k]
            t = drawn[0][0, k] if i == 2 else one.schedule.time_of_log_snr(chunk.log_snr[i, k])
            alpha, sigma = (level[:, None] for level in one.schedule(t))
            a, b = coefficients(one.target, alpha, sigma)
            y = net.member(i)(alpha * x0 + sigma * eps, t)
            expected = (y - a * x0 - b * eps).square().mean(1)
            w = 1 if one.weighting is None else matched(one.target, one.weighting, alpha, sigma)[:, 0]
            torch.testing.assert_close(error[i], expected, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(loss[i], w * expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("decay", ["cosine", "constant"])
def test_fit_is_adam_on_that_loss(decay):
    """The loop as text, with the unfused Adam, across a boundary of drawn chunks; and the exponential average."""
    net = MLP(1, width=8, depth=1, seed=(0, 1)).double()
    other, average = copy.deepcopy(net), copy.deepcopy(net)
    history = fit(net, GAUSS, Setting("v"), Run(50, 16, 1e-2, decay, average=0.8, log_every=32))
    ours = objective(other, settings=Setting("v"))
    adam = torch.optim.Adam(other.parameters(), foreach=False)
    means = []
    for k in range(50):
        chunk = ours.draw(32) if k % 32 == 0 else chunk  # noqa: F821
        adam.param_groups[0]["lr"] = 1e-2 * (1 if decay == "constant" else (1 + math.cos(math.pi * k / 50)) / 2)
        adam.zero_grad()
        loss = ours.errors(chunk, k % 32)[0].mean(1)
        loss.sum().backward()
        adam.step()
        means.append(loss.detach())
        keep = min(0.8, (1 + k) / (10 + k))
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), other.parameters()):
                slow.copy_(keep * slow + (1 - keep) * fast)
    for mine, theirs in ((net, other), (history.average, average)):
        for p, q in zip(mine.parameters(), theirs.parameters()):
            torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)
    assert history.step.tolist() == [32, 50]
    torch.testing.assert_close(history.loss[1], torch.stack(means[32:]).mean(0), rtol=1e-10, atol=0)


def test_a_stacked_ensemble_is_the_separate_runs():
    """200 steps of members that differ in seed, schedule, target, weight, times and condition: weights to 1e-12."""
    which, seeds = [0, 1, 2, 3, 0], (3, 1, 3, 1, 1)
    settings, run = [SETTINGS[j] for j in which], Run(200, 32, 3e-3, average=0.99)
    net = MLP(1, width=12, depth=2, seed=seeds, condition=told(settings)).double()
    history = fit(net, GAUSS, settings, run)
    for i, (setting, seed) in enumerate(zip(settings, seeds)):
        alone = MLP(1, width=12, depth=2, seed=seed, condition=setting.told).double()
        own = fit(alone, GAUSS, setting, run)
        for together, single in ((net, alone), (history.average, own.average)):
            for p, q in zip(together.member(i).parameters(), single.parameters()):
                torch.testing.assert_close(p, q, rtol=0, atol=1e-12)
        torch.testing.assert_close(history.loss[:, i], own.loss, rtol=1e-10, atol=0)


@pytest.mark.parametrize("data", ["law", "samples", "samples of each member"])
def test_draws_are_paired_by_seed_and_independent_of_company(data):
    samples = torch.arange(4 * 50, dtype=DOUBLE).reshape(4, 50, 1)
    source = {"law": GAUSS, "samples": samples[0], "samples of each member": samples}[data]
    net = MLP(1, width=4, depth=1, seed=(9, 2, 9, 4)).double()
    ours = objective(net, source, [Setting(target) for target in ("eps", "v", "x0", "eps")])
    ours.draw(2)
    chunk = ours.draw(2)
    x0, eps = chunk.x0[ours.x0_of], chunk.eps[ours.eps_of]
    assert torch.equal(eps[0], eps[2]) and torch.equal(chunk.log_snr[0], chunk.log_snr[2])
    assert not torch.equal(eps[0], eps[1]) and not torch.equal(chunk.log_snr[0], chunk.log_snr[1])
    if data == "samples of each member":
        assert all(bool(((x0[i] >= 50 * i) & (x0[i] < 50 * (i + 1))).all()) for i in range(4))
        assert torch.equal(x0[0] + 100, x0[2])  # the same rows of different sets
    else:
        assert torch.equal(x0[0], x0[2]) and not torch.equal(x0[0], x0[1])
    alone = objective(net.member(1), samples[1] if source is samples else source, Setting("v"))
    alone.draw(2)
    own = alone.draw(2)
    assert torch.equal(own.x0[0], x0[1]) and torch.equal(own.eps[0], eps[1])


def test_draws_have_their_laws():
    """Moments and uniformity at 5 standard errors of 2 * 32 * 512 draws."""
    net = MLP(1, width=4, depth=1, seed=(0, 1), condition=Condition("t", CHAIN))
    chunk = objective(net, settings=Setting(schedule=CHAIN), batch=512).draw(32)
    n = chunk.x0.numel()
    assert abs(float(chunk.x0.mean()) - 0.7) < 5 * 0.5 / n**0.5 and abs(float(chunk.eps.mean())) < 5 / n**0.5
    assert abs(float(chunk.x0.var()) - 0.25) < 5 * 0.25 * (2 / n) ** 0.5
    t = CHAIN.time_of_log_snr(chunk.log_snr)
    counts = torch.bincount(t.flatten(), minlength=101)
    assert counts[0] == 0
    chi2 = float(((counts[1:] - n / 100) ** 2 / (n / 100)).sum())
    assert abs(chi2 - 99) < 5 * (2 * 99) ** 0.5


# --- what comes out ---------------------------------------------------------------------------------------------------


def test_training_finds_the_exact_denoiser():
    """Mean square distance to E[x0 | x_t], where the target is well conditioned, is small against the data's 0.25."""
    net = MLP(1, width=32, depth=2, seed=(0, 1, 2, 3), condition=told(SETTINGS))
    history = fit(net, GAUSS, SETTINGS, Run(1500, 128, 5e-3, average=0.99))
    assert bool((history.loss[-1] < history.loss[0]).all())
    for i, (s, target) in enumerate((one.schedule, one.target) for one in SETTINGS):
        for level in (-2.0, 0.0, 2.0, 4.0):
            t = s.time_of_log_snr(level)
            alpha, sigma = s(t)
            x = (alpha * GAUSS.sample(500, 3) + sigma * torch.randn(500, 1, generator=torch.Generator().manual_seed(4)))
            guess = Learned(history.average.member(i), s, target).x0(x.float(), t).detach()
            assert float((guess - Exact(GAUSS, s).x0(x, t)).square().mean()) < 0.004


def test_the_log_is_binned_by_log_snr():
    net = MLP(2, width=8, depth=1, seed=(0, 1))
    settings = [Setting("x0"), Setting("eps")]
    ours = objective(copy.deepcopy(net), spiral(), settings, batch=64)
    history = fit(net, spiral(), settings, Run(32, 64, rate=1e-12))  # weights stand still
    assert history.error.shape == (1, 2, 10) and history.edges.shape == (11,) and history.step.tolist() == [32]
    chunk = ours.draw(32)
    errors = torch.stack([ours.errors(chunk, k)[1] for k in range(32)], 1).detach()
    for i in range(2):
        levels = chunk.log_snr[i].flatten().clamp(history.edges[0], history.edges[-1]).numpy()
        total, _ = np.histogram(levels, history.edges.numpy(), weights=errors[i].flatten().double().numpy())
        count, _ = np.histogram(levels, history.edges.numpy())
        np.testing.assert_allclose(history.error[0, i], total / count, rtol=1e-6)
    assert float(history.edges[0]) == pytest.approx(float(Linear().log_snr(0.999)), abs=0.1)


def test_one_network_has_no_member_axis_and_short_runs_are_prefixes():
    runs = []
    for steps in (40, 70):
        net = MLP(2, width=8, depth=1)
        runs.append(fit(net, spiral(), Setting(), Run(steps, 8, decay="constant", log_every=1, bins=3)))
    assert runs[0].loss.shape == (2,) and runs[0].error.shape == (2, 3) and runs[1].step.tolist() == [32, 64, 70]
    assert runs[0].loss[0] == runs[1].loss[0]


@pytest.mark.parametrize("batch", [64, 256])
def test_gradient_statistics_against_plain_autograd(batch):
    """Mean and spread of gradients of separate mini-batches; the noise falls as 1/sqrt(batch), signal^2 is unbiased."""
    net = MLP(1, width=8, depth=1, seed=(0, 1)).double()
    edges = torch.tensor([-3.0, 0.0, 3.0], dtype=DOUBLE)
    settings = [Setting(), Setting("v", weighting="eps")]
    statistics = gradient_statistics(net, GAUSS, settings, Run(100, batch), edges)
    for i, target in enumerate(("eps", "v")):
        member, generator = net.member(i), torch.Generator().manual_seed(1)
        weights = list(member.parameters())
        for j in range(2):
            level = edges[j] + 3 * torch.rand(10_000, generator=generator, dtype=DOUBLE)
            alpha, sigma = (part[:, None] for part in Linear()(Linear().time_of_log_snr(level)))
            x0, eps = GAUSS.sample(10_000, generator), torch.randn(10_000, 1, generator=generator, dtype=DOUBLE)
            a, b = coefficients(target, alpha, sigma)
            w = 1 if target == "eps" else matched("v", "eps", alpha, sigma)
            y = member(alpha * x0 + sigma * eps, Linear().time_of_log_snr(level))
            loss = (w * (y - a * x0 - b * eps).square()).mean(1).reshape(100, 100)
            g = torch.stack([
                torch.cat([p.flatten() for p in torch.autograd.grad(one.mean(), weights, retain_graph=True)])
                for one in loss
            ])
            signal, noise = g.mean(0).norm(), math.sqrt(float(g.var(0).sum()) * 100 / batch)
            assert float(statistics.signal[i, j]) == pytest.approx(float(signal), abs=4 * noise / math.sqrt(100))
            assert float(statistics.noise[i, j]) == pytest.approx(noise, rel=0.2)


def test_gradient_statistics_change_nothing():
    net = MLP(1, width=8, depth=1)
    before = [p.clone() for p in net.parameters()]
    statistics = gradient_statistics(net, GAUSS, Setting(schedule=CHAIN), Run(2, 4))
    assert statistics.signal.shape == statistics.noise.shape == (10,) and statistics.edges.shape == (11,)
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(net.parameters(), before))


@dataclass(frozen=True)
class Beyond(Times):
    """A sixth of the times at the last one."""

    def __call__(self, u, schedule):
        return (1.2 * u).clamp(1e-3, 1)


def test_zero_terminal_snr_trains_with_v():
    """alpha = 0 at the last time is an ordinary time for v, and no log SNR of -inf enters the log's edges."""
    schedule = ZeroTerminalSNR()
    net = MLP(1, width=8, depth=1, condition=Condition("log_snr", schedule))
    history = fit(net, GAUSS, Setting("v", schedule, times=Beyond()), Run(32))
    assert bool(history.loss.isfinite().all() & history.edges.isfinite().all())


# --- bad input --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Broken(Importance):
    """A weight that is no number."""

    def __call__(self, alpha, sigma, schedule):
        return torch.full_like(alpha, math.nan)


def test_a_loss_that_is_not_finite_names_member_target_and_step():
    with pytest.raises(FloatingPointError, match=r"member 1 \(target 'v', seed 4\) is nan at or before step 64"):
        net = MLP(1, width=4, seed=(3, 4))
        fit(net, GAUSS, [Setting(), Setting("v", weighting=Broken(Linear()))], Run(96, log_every=64))


@pytest.mark.parametrize("options, word", [
    (dict(steps=0), "steps = 0"),
    (dict(rate=0.0), "rate = 0.0"),
    (dict(batch=0), "batch = 0"),
    (dict(decay="linear"), "decay = 'linear'"),
    (dict(average=1.0), "average = 1.0"),
    (dict(seeds=[1]), "seeds has 1 entries"),
    (dict(data=torch.zeros(5, 2)), r"data has shape \(5, 2\)"),
    (dict(data=torch.zeros(3, 5, 1)), r"data has shape \(3, 5, 1\)"),
    (dict(data=torch.full((5, 1), math.inf)), "data has non-finite"),
    (dict(settings=[Setting()] * 3), "settings has 3 entries"),
    (dict(settings=[Setting(), Setting(loss=Smooth(1.0, 0.1))]), "settings have the losses"),
])
def test_bad_input_is_named(options, word):
    given = dict(data=GAUSS, settings=Setting(), steps=1) | options
    with pytest.raises(ValueError, match=word):
        fit(MLP(1, width=4, seed=(0, 1)), given.pop("data"), given.pop("settings"), Run(**given))


@pytest.mark.parametrize("make, word", [
    (lambda: Setting("x"), "target = 'x'"),
    (lambda: Setting(weighting="snr"), "weighting = 'snr'"),
    (lambda: Uniform(1.0), "t_min = 1.0"),
    (lambda: matched("eps", "snr", torch.ones(1), torch.ones(1)), "weighting = 'snr'"),
    (lambda: UniformLogSnr()(torch.rand(3), Cosine()), "log SNR runs"),
    (lambda: gradient_statistics(MLP(1), GAUSS, Setting(), Run(1)), "steps = 1"),
    (lambda: Smooth(-1.0, 0.1), "strength = -1.0"),
    (lambda: Smooth(1.0, 0.0), "reach = 0.0"),
])
def test_bad_settings_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()


def test_progress_is_silent_where_nobody_watches(capfd, monkeypatch):
    assert list(progress(range(3), "x")) == [0, 1, 2]
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert progress(range(3), "x") == range(3)
    monkeypatch.setenv("TQDM_DISABLE", "0")
    assert list(progress(range(3), "counting")) == [0, 1, 2]
    assert "counting" in capfd.readouterr().err


@pytest.mark.parametrize("like", [Cosine(), Linear()])
def test_schedule_density_by_counting_and_by_importance(like):
    linear = Linear()
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    seen = linear.log_snr(LevelsOf(like)(u, linear))
    assert float(seen.max()) < 9 + 1e-9 and float(seen.min()) > -9 - 1e-9
    edges = torch.linspace(-9, 9, 37, dtype=torch.float64)
    counted = torch.histc(seen, 36, -9, 9) / len(u) / 0.5
    middle = edges[:-1] + 0.25
    torch.testing.assert_close(counted, log_snr_density(like, middle), rtol=0.02, atol=1e-4)
    # The expectation of any function of the level is the same under the density and under the weight.
    plain = linear.log_snr(LevelsOf(linear)(u, linear))
    weight = Importance(like)(torch.sigmoid(plain).sqrt(), torch.sigmoid(-plain).sqrt(), linear)
    for f in (torch.sigmoid, torch.cos):
        assert float((weight * f(plain)).mean()) == pytest.approx(float(f(seen).mean()), abs=1e-5)


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), Quadratic(), Linear(0.1, 8.0)])
def test_schedule_density_is_one_in_sum_and_nothing_where_the_schedule_does_not_reach(schedule):
    """Quadratic ends at log SNR -7.17, inside the band; its time of any lower level is the last one."""
    levels = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = log_snr_density(schedule, levels)
    assert float(torch.trapezoid(density, levels)) == pytest.approx(1, abs=1e-4)
    lowest = float(schedule.log_snr(1.0))
    assert bool((density[levels >= lowest] > 0).all()) and not bool(density[levels < lowest - 1e-3].any())
    rounded = schedule.log_snr(torch.ones(1)).double().clamp(min=-9)  # its last level in float32 is one that it reaches
    assert float(log_snr_density(schedule, rounded)) > 0


# --- sequences --------------------------------------------------------------------------------------------------------

STEPS = Chain.linear(30, 0.01, 0.2)
WINDOWS = [
    Window(3, 0.5), Window(3, 2.0, "literal", "markov"), Window(3, 1.0, "one", "shared", "paper"),
    Window(3, 1.0, alone=True),
]  # fmt: skip


def test_sequence_errors_are_those_of_sa_loss():
    """Values and gradients, member by member: the draws of a chunk are handed to the definition through its windows."""
    net = MLP(2, width=8, depth=2, seed=(4, 5, 4, 5), condition=Condition("log_snr", STEPS, data_std=0.7)).double()
    data = 0.7 * torch.randn(50, 2, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    ours = objective(net, data, [Setting(schedule=STEPS, loss=window) for window in WINDOWS])
    chunk = ours.draw(2)
    loss, error = ours.errors(chunk, 1)
    gradients = torch.autograd.grad(loss.mean(1).sum(), list(net.parameters()))
    for i, window in enumerate(WINDOWS):
        stream, one = ours.seeds.index(net.seeds[i]), net.member(i)
        x0, part = chunk.x0[stream, 1], chunk.sequence
        t = chunk.times[i, 1].long()
        if window.form == "paper":  # the first time as drawn, which windows move into 1..T
            drawn = part.levels[0, i, 1, :, :, 0]
            last = torch.stack([(STEPS(torch.arange(1, 31))[0] - a).abs().argmin() + 1 for a in drawn[-1]])
            t = torch.where(t == 1, last - 2, t)
        noises = iter([chunk.eps[stream, 1], part.fresh[stream, 1]])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn", lambda *a, noises=noises, **k: next(noises))
            simple, sequence = sa_loss(one, x0, STEPS, window, generator=0, t=t)
        expected = (0 if window.alone else 1) * simple + window.weight * sequence
        torch.testing.assert_close(loss[i].mean(), expected, rtol=1e-9, atol=0)
        alone = torch.autograd.grad(expected, list(one.parameters()))
        for g, mine in zip(gradients, alone):
            torch.testing.assert_close(g[i].reshape(mine.shape), mine, rtol=1e-8, atol=1e-12)
    assert error.shape == (4, 16)


@pytest.mark.parametrize("window", [Window(2, 0.0), Window(1, 5.0)])
def test_no_weight_or_one_step_is_the_plain_loss_bit_for_bit(window):
    nets = [MLP(2, width=8, depth=2, seed=(1, 2)) for _ in range(2)]
    data = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    plain = fit(nets[0], data, Setting(schedule=STEPS), Run(40, 16))
    windowed = fit(nets[1], data, Setting(schedule=STEPS, loss=window), Run(40, 16))
    assert torch.equal(plain.loss, windowed.loss)
    for a, b in zip(nets[0].parameters(), nets[1].parameters()):
        assert torch.equal(a, b)


def test_windows_share_data_times_and_first_noise_with_the_plain_loss():
    """Members of equal seed are paired across windows: same x_0, same t, same first noise; only the others are new."""
    data = torch.randn(50, 1, generator=torch.Generator().manual_seed(0))
    chunks = [
        objective(MLP(1, width=4, depth=1, seed=(3,)), data, Setting(schedule=STEPS, loss=loss), 8).draw(3)
        for loss in (Plain(), Window(2), Window(4, 0.2))
    ]
    for one in chunks[1:]:
        for name in ("x0", "eps", "times", "log_snr"):
            assert torch.equal(getattr(one, name), getattr(chunks[0], name)), name


def test_a_v_net_gets_the_error_of_eps():
    """e = alpha (v_hat - v): the SA part of a v-net equals that of the same predictor read as eps."""
    net = MLP(1, width=8, depth=1, seed=(0,)).double()
    data = torch.randn(50, 1, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    window = Window(2, 1.0, alone=True)
    ours = objective(net, data, Setting("v", STEPS, loss=window))
    chunk = ours.draw(1)
    denoiser, noises = Learned(net, STEPS, "v"), iter([chunk.eps[:, 0], chunk.sequence.fresh[0, 0][:, None]])
    eps = lambda x, t: denoiser.eps(x, t)  # noqa: E731
    eps.members = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda *a, **k: next(noises))
        expected = sa_loss(eps, chunk.x0[:, 0], STEPS, window, generator=0, t=chunk.times[0, 0].long())
    torch.testing.assert_close(ours.errors(chunk, 0)[0].mean(1), expected.sequence, rtol=1e-9, atol=0)


def test_training_with_a_window_reaches_the_gaussian_minimiser():
    """One linear unit a time would be exact; a small net comes near the shrunken predictor, not the posterior mean."""
    chain = Chain.linear(30, 0.01, 0.2)
    law = GaussianMixture(torch.zeros(1, dtype=DOUBLE), 1.0)
    net = MLP(1, width=32, depth=2, seed=(0, 1), activation="tanh", condition=Condition("log_snr", chain))
    fit(net, law.to(dtype=torch.float32), Setting(schedule=chain, loss=Window(2, 1.0)), Run(1500, 256, 5e-3))
    c = gaussian_minimiser(chain, 1.0, Window(2, 1.0))
    best = gaussian_minimiser(chain, 1.0, Window(2, 0.0))
    x = torch.linspace(-1.5, 1.5, 31)[None, :, None].expand(2, -1, -1)
    for t in (4, 8, 15):
        slope = float((net(x, t).detach() * x).sum() / x.square().sum())
        assert abs(slope - float(c[t])) < 0.4 * abs(float(best[t] - c[t]))


@pytest.mark.parametrize("make, word", [
    (lambda: Setting(loss=Window(2)), "allowed: a chain"),
    (lambda: Setting(schedule=STEPS, loss=Window(2), times=LogNormal()), "uniform times"),
    (lambda: Setting(schedule=STEPS, loss=Window(2, form="paper"), weighting="eps"), "weighting = None"),
])
def test_bad_windows_are_named(make, word):
    with pytest.raises(ValueError, match=word):
        make()


def test_windows_of_two_sizes_are_two_trainings():
    settings = [Setting(schedule=STEPS, loss=Window(K)) for K in (2, 3)]
    with pytest.raises(ValueError, match="windows of one size"):
        fit(MLP(1, width=4, depth=1, seed=(0, 1)), torch.zeros(5, 1), settings, Run(1))


# --- squares of the noise ---------------------------------------------------------------------------------------------


def test_squares_are_learned_as_the_exact_ones():
    """E[eps^2 | x] and E[(eps - f)^2 | x] of a Gaussian, f exact or zero, against their closed forms."""
    chain = Chain.linear(30, 0.01, 0.2)
    law, x = GaussianMixture(torch.zeros(1), 1.0), torch.linspace(-1.5, 1.5, 21)[:, None]
    exact, t = Exact(law, chain), 12
    make = lambda: MLP(1, width=32, depth=2, seed=0, activation="tanh", condition=Condition("log_snr", chain))  # noqa: E731
    alpha, sigma = (float(level) for level in chain(t))
    variance = alpha**2  # Var(eps | x) for unit data
    for denoiser, truth in ((exact, torch.full_like(x, variance)), (None, variance + sigma**2 * x**2)):
        net = make()
        fit(net, law, Setting(schedule=chain, loss=Squares(denoiser)), Run(1500, 512, 5e-3))
        assert float((net(x, t) - truth).detach().abs().mean()) < 0.06
    with pytest.raises(ValueError, match="members = 2"):
        two = Learned(MLP(1, width=4, depth=1, seed=(0, 1)), chain, "eps")
        fit(make(), law, Setting(schedule=chain, loss=Squares(two)), Run(1))


def test_the_target_of_squares_is_the_residual_of_the_member():
    net, base = (MLP(1, width=8, depth=1, seed=s).double() for s in ((0, 1), (5, 6)))
    data = torch.randn(50, 1, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    ours = objective(net, data, Setting(schedule=STEPS, loss=Squares(Learned(base, STEPS, "eps"))))
    chunk = ours.draw(1)
    loss, _ = ours.errors(chunk, 0)
    for i in range(2):
        t = chunk.times[i, 0]
        alpha, sigma = (level[:, None] for level in STEPS(t))
        x, eps = alpha * chunk.x0[i, 0] + sigma * chunk.eps[i, 0], chunk.eps[i, 0]
        target = (eps - base.member(i)(x, t)).square()
        torch.testing.assert_close(loss[i], (net.member(i)(x, t) - target).square().mean(1), rtol=1e-9, atol=0)
