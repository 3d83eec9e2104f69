"""Both samplers of one network, and ensembles sampled together."""

import pytest
import torch

from diffnotes import Chain, Cosine, Exact, GaussianMixture, Learned, Linear
from diffnotes.model.both import Together, both_samplers
from diffnotes.model.net import MLP
from diffnotes.model.sample import grid, ode, prior, sde

F64 = torch.float64
LINEAR = Linear()


class Counted(Exact):
    """An exact denoiser that counts how often it is asked."""

    asked = 0

    def at(self, times):
        def counted(read):
            def call(x):
                self.asked += 1
                return read(x)

            return call

        return [counted(read) for read in super().at(times)]


def ensemble(seeds, schedule=LINEAR, target="v"):
    return Learned(MLP(2, width=8, depth=1, seed=seeds), schedule, target)


def test_both_samplers_end_at_the_law_from_the_same_starts():
    law = GaussianMixture(torch.tensor([[0.5, -0.2]], dtype=F64), 0.3)
    start = prior(LINEAR, (4000, 2), 0, dtype=F64)
    found = both_samplers(Exact(law, LINEAR), start, 60, 1, "heun")
    for x in found.values():
        assert x.shape == (4000, 2) and x.dtype == F64
        torch.testing.assert_close(x.mean(0), law.means[0], atol=0.02, rtol=0)
        torch.testing.assert_close(x.std(0), torch.full((2,), 0.3, dtype=F64), atol=0.02, rtol=0)
    alike = [float(torch.corrcoef(torch.stack([x[:, 0], start[:, 0]]))[0, 1]) for x in found.values()]
    assert alike[0] > 0.999 and abs(alike[1]) < 0.1  # the ODE keeps its start, the SDE forgets it


@pytest.mark.parametrize("method, calls", [("euler", 10), ("heun", 20)])
def test_both_take_as_many_evaluations(method, calls):
    law = GaussianMixture(torch.zeros(1, 2, dtype=F64), 1.0)
    start = torch.zeros(3, 2, dtype=F64)
    counted = Counted(law, LINEAR)
    both_samplers(counted, start, 10, 0, method)
    alone = Counted(law, LINEAR)
    ode(alone, start, grid(LINEAR, 10, "quadratic"), method)
    assert alone.asked == calls and counted.asked == 2 * calls


def test_samples_are_those_of_the_samplers():
    net, start = ensemble((0, 1)), prior(LINEAR, (2, 5, 2), 3)
    found = both_samplers(net, start, 8, 7)
    times = grid(LINEAR, 8, kind="quadratic")
    assert torch.equal(found["ODE"], ode(net, start, times, "euler").double())
    assert torch.equal(found["SDE"], sde(net, start, times, 7).double())
    going = torch.Generator().manual_seed(7)
    assert torch.equal(found["SDE"], both_samplers(net, start, 8, going)["SDE"])
    with pytest.raises(ValueError, match="'dpm2m' is unknown"):
        both_samplers(net, start, 8, 7, "dpm2m")


def test_together_is_each_ensemble_for_itself():
    parts = [ensemble((0, 1)), ensemble((2,)), ensemble((3, 4, 5))]
    whole, start = Together(parts), prior(LINEAR, (6, 5, 2), 1)
    assert whole.members == 6
    for t in (0.9, 0.2):
        alone = torch.cat([part.eps(x, t) for part, x in zip(parts, start.split([2, 1, 3]))])
        torch.testing.assert_close(whole.eps(start, t), alone)
    times = grid(LINEAR, 9, kind="quadratic")
    alone = torch.cat([ode(part, x, times) for part, x in zip(parts, start.split([2, 1, 3]))])
    torch.testing.assert_close(ode(whole, start, times), alone)
    found = both_samplers(whole, start, 9, 2)["SDE"]
    assert not torch.allclose(found[:2], both_samplers(parts[0], start[:2] * 1.01, 9, 2)["SDE"])
    same = Together([parts[0], parts[0]])
    twice = both_samplers(same, start[:2].repeat(2, 1, 1), 9, 2)
    assert torch.equal(twice["ODE"][:2], twice["ODE"][2:]) and not torch.equal(twice["SDE"][:2], twice["SDE"][2:])


@pytest.mark.parametrize("parts", [
    [ensemble((0, 1)), ensemble((0, 1), Cosine())],
    [ensemble((0, 1)), ensemble((0, 1), target="eps")],
    [ensemble((0, 1)), ensemble(0)],
    [],
])
def test_only_ensembles_of_one_kind_go_together(parts):
    with pytest.raises(ValueError, match="allowed: ensembles of one kind"):
        Together(parts)


def test_one_time_for_all():
    with pytest.raises(ValueError, match="one number"):
        Together([ensemble((0, 1))]).predict(torch.zeros(2, 3, 2), torch.full((2, 3), 0.5))
    chain = Chain.linear(10)
    with pytest.raises(TypeError):
        both_samplers(Exact(GaussianMixture(torch.zeros(1, 2), 1.0), chain), torch.zeros(3, 2), 5, 0)
