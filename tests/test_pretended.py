"""The pretended device refuses and counts what a GPU would, and computes what the host does."""

import copy

import numpy as np
import pytest
import torch
from pretended import CELL, Refused, There, pretended
from torch.autograd import forward_ad

from diffnotes import MLP, two_modes
from diffnotes.model.setting import Run, Setting
from diffnotes.model.train import fit

HOST, HALF = torch.arange(6.0).reshape(3, 2), torch.tensor(0.5)
MASK = torch.tensor([True, False, True])


def on_gpu(values=HOST):
    return values.to("cuda")


def host_generator():
    return torch.Generator().manual_seed(0)


def gpu_generator():
    return torch.Generator("cuda").manual_seed(0)


def drawing(x):
    return torch.Generator(x.device).manual_seed(3)


def write(values, index, new):
    values[index] = new


REFUSED = {
    "sum of two devices": lambda: on_gpu() + HOST,
    "product of two devices": lambda: on_gpu() @ HOST.T,
    "a number on the gpu, samples on the host": lambda: HOST * on_gpu(HALF),
    "concatenated": lambda: torch.cat([on_gpu(), HOST]),
    "stacked numbers": lambda: torch.stack([on_gpu(HALF), HALF]),
    "compared": lambda: on_gpu() < HOST,
    "three tensors, one number on the host": lambda: torch.lerp(on_gpu(), on_gpu(), HALF),
    "where": lambda: torch.where(on_gpu(MASK)[:, None], on_gpu(), HOST),
    "in place": lambda: on_gpu().add_(HOST),
    "in place into the host": lambda: HOST.clone().add_(on_gpu(HALF)),
    "out on the host": lambda: torch.exp(on_gpu(), out=torch.empty(3, 2)),
    "boundaries of buckets": lambda: torch.bucketize(on_gpu(), torch.arange(3.0)),
    "gathered by the host": lambda: on_gpu().gather(0, torch.zeros(1, 2, dtype=torch.long)),
    "selected by the host": lambda: on_gpu().index_select(0, torch.zeros(1, dtype=torch.long)),
    "index on the gpu, values on the host": lambda: HOST[on_gpu(torch.tensor([0]))],
    "mask on the gpu, values on the host": lambda: HOST[on_gpu(MASK)],
    "host values at an index": lambda: write(on_gpu(), torch.tensor([0, 1]), torch.ones(2, 2)),
    "host values where a mask says so": lambda: write(on_gpu(), on_gpu(MASK), torch.ones(2, 2)),
    "gpu values written on the host": lambda: write(HOST.clone(), MASK, on_gpu()[:2]),
    "a generator of the host": lambda: torch.randn(3, generator=host_generator(), device="cuda"),
    "a generator of the host, in place": lambda: on_gpu().normal_(generator=host_generator()),
    "a generator of the host, drawing rows": lambda: torch.multinomial(on_gpu(), 1, generator=host_generator()),
    "a generator of the gpu": lambda: torch.rand(3, generator=gpu_generator()),
    "a generator of the gpu, permuting": lambda: torch.randperm(3, generator=gpu_generator()),
    "a default device": lambda: torch.set_default_device("cuda"),
    "a network on the host": lambda: MLP(2)(on_gpu(), 0.5),
    "a network on the gpu": lambda: MLP(2).to("cuda")(HOST, 0.5),
    "scattered by the host": lambda: on_gpu().scatter_add(0, torch.zeros(1, 2, dtype=torch.long), on_gpu()),
    "looked up": lambda: torch.nn.functional.embedding(torch.tensor([0]), on_gpu()),
    "a histogram": lambda: torch.histogram(on_gpu(), 3),
    "a histogram in the plane": lambda: torch.histogramdd(on_gpu(), [3, 3]),
    "clamped by many": lambda: on_gpu().clamp(torch.zeros(2), HALF),
    **{f"least squares, {driver}": lambda driver=driver: torch.linalg.lstsq(on_gpu(), on_gpu(), driver=driver)
       for driver in ("gelsd", "gelsy", "gelss")},
    "solved": lambda: torch.linalg.solve(on_gpu(torch.eye(2)), torch.ones(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_faults_are_refused(name):
    with pretended(), pytest.raises(Refused, match=r"cpu|follow the inputs"):
        REFUSED[name]()


@pytest.mark.parametrize("look", [np.asarray, np.sqrt, lambda x: x.numpy(), lambda x: np.concatenate([x, x])])
def test_numpy_is_refused(look):
    with pretended(), pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
        look(on_gpu())


COUNTED = {  # what is counted -> what asks for it
    "item": [float, bool, int, lambda x: x.item(), lambda x: f"{x:g}", lambda x: HOST[x.long()],
             lambda x: torch.linspace(x, x + 1, 3), lambda x: torch.linspace(0.0, x, 3, device="cuda"),
             lambda x: torch.logspace(x, 2.0, 3, device="cuda"),
             lambda x: range(x.long()), lambda x: torch.tensor(1.0) if x > 0 else None],
    "to the host": [lambda x: x.cpu(), lambda x: x.to("cpu"), lambda x: x.tolist(), lambda x: x.to(HOST), repr,
                    lambda x: torch.empty(()).copy_(x), lambda x: torch.tensor([x]), lambda x: x.numpy(force=True)],
    "nonzero": [lambda x: x.nonzero(), lambda x: torch.where(x > 0)],
    "boolean index": [lambda x: on_gpu()[on_gpu(MASK)], lambda x: write(on_gpu(), on_gpu(MASK), on_gpu()[:2])],
    "masked_select": [lambda x: torch.masked_select(x, x > 0)],
    "_unique2": [lambda x: x.reshape(1).unique()],
    "bincount": [lambda x: x.long().reshape(1).bincount()],
    "equal": [lambda x: torch.equal(x, x)],
    "linalg_cholesky_ex": [lambda x: torch.linalg.cholesky(x.reshape(1, 1))],
    "_linalg_eigh": [lambda x: torch.linalg.eigh(x.reshape(1, 1))],
    "multinomial": [lambda x: x.reshape(1).multinomial(1), lambda x: x.reshape(1).multinomial(1, True)],
    "allclose": [lambda x: torch.allclose(x, x)],
    "repeat_interleave": [lambda x: x.reshape(1).repeat_interleave(x.long().reshape(1), 0),
                          lambda x: torch.repeat_interleave(x.long().reshape(1))],
    "linalg_eig": [lambda x: torch.linalg.eigvals(x.reshape(1, 1)), lambda x: torch.linalg.eig(x.reshape(1, 1))],
    "linalg_lu_factor_ex": [lambda x: torch.linalg.lu_factor(x.reshape(1, 1))],
    "linalg_ldl_factor_ex": [lambda x: torch.linalg.ldl_factor(x.reshape(1, 1))],
    "linalg_pinv": [lambda x: torch.linalg.pinv(x.reshape(1, 1))],
    "linalg_lstsq": [lambda x: torch.linalg.lstsq(x.reshape(1, 1), x.reshape(1, 1), driver="gels")],
    "synchronize": [lambda x: torch.cuda.synchronize()],
}  # fmt: skip


@pytest.mark.parametrize(("what", "ask"), [(what, ask) for what, asks in COUNTED.items() for ask in asks])
def test_syncs_are_counted(what, ask):
    with pretended() as gpu:
        x = on_gpu(HALF)
        before = gpu.syncs.total()
        ask(x)
    assert before == 0 and {name for name, _ in gpu.syncs} == {what}


def test_uploads_launches_doubles_and_unordered_sums_are_counted():
    with pretended() as gpu:
        x = on_gpu()
        assert dict(gpu.uploads) == {("to", "elsewhere"): 1} and (gpu.launches, gpu.doubles) == (1, 0)
        y = (x.T.unflatten(1, (3, 1))[:, :2, 0] + 1).double().square()
        assert (gpu.launches, gpu.doubles) == (4, 1)  # +, double and square; only the last has float64 in
        x[torch.tensor([0])], x.copy_(HOST)
        assert [name for name, _ in gpu.uploads] == ["to", "index", "copy_"]
        assert not gpu.unordered
        rows = torch.zeros(3, 2, dtype=torch.long, device="cuda")
        x.index_put_((rows[:, 0],), x.clone(), accumulate=True)
        y.cumsum(0), torch.zeros_like(x).scatter_add_(0, rows, x)
        torch.zeros_like(x).index_add(0, rows[:, 0], x)
    assert {name for name, _ in gpu.unordered} == {
        "scatter_add_", "index_put_ that accumulates", "cumsum", "index_add"
    }  # fmt: skip
    assert not gpu.syncs


SUMMED = {
    "index_put_ that accumulates": [lambda x: x[torch.tensor([0, 0])], lambda x: x[:, [0, 1, 1]]],
    "upsample_linear1d_backward": [lambda x: torch.nn.functional.interpolate(x[None], scale_factor=2, mode="linear")],
    **{f"upsample_{mode}_backward": [lambda x, axes=axes, mode=mode: torch.nn.functional.interpolate(
        x.reshape(1, *axes), scale_factor=2, mode=mode[:-2])]
       for mode, axes in (("bilinear2d", (1, 3, 2)), ("bicubic2d", (1, 3, 2)), ("trilinear3d", (1, 1, 3, 2)))},
    "reflection_pad1d_backward": [lambda x: torch.nn.functional.pad(x[None], (1, 1), mode="reflect")],
    "replication_pad2d_backward": [lambda x: torch.nn.functional.pad(x[None, None], (1, 1, 1, 1), mode="replicate")],
    "put": [lambda x: x.take(torch.zeros(2, dtype=torch.long, device="cuda"))],
    "scatter_add": [lambda x: x.gather(0, torch.zeros(2, 2, dtype=torch.long, device="cuda"))],
    "index_add": [lambda x: x.index_select(0, torch.zeros(2, dtype=torch.long, device="cuda"))],
}  # fmt: skip


@pytest.mark.parametrize(("what", "ask"), [(what, ask) for what, asks in SUMMED.items() for ask in asks])
def test_derivatives_that_sum_in_any_order_are_counted(what, ask):
    with pretended() as gpu:
        x = on_gpu().requires_grad_()
        y = ask(x)
        assert not gpu.unordered
        y.sum().backward()
    assert {name for name, _ in gpu.unordered} <= {what, what + "_"} and gpu.unordered


def test_the_host_does_not_wait_where_it_need_not():
    with pretended() as gpu:
        x, twice = on_gpu(), torch.full((3,), 2, device="cuda")
        assert x.repeat_interleave(twice, 0, output_size=6).shape == (6, 2)
        assert (x + 1).multinomial(5, replacement=True).shape == (3, 5)
        assert x.repeat_interleave(2, 0).shape == (6, 2)
        assert torch.linspace(HALF, 1, 3, device="cuda").device.type == "cuda"
    assert not gpu.syncs


def test_places_are_lines_of_the_package_and_of_cells():
    code = compile("\nvalue = x.item()\n", CELL + "4", "exec")
    with pretended() as gpu:
        exec(code, {"x": on_gpu(HALF)})
        MLP(1, width=2, seed=(0, 1)).to("cuda")(torch.ones(2, 1, 1, device="cuda"), torch.ones(2, dtype=torch.float64))
        with pytest.raises(Refused, match=r"at model/net\.py:\d+ \(tell\)"):
            MLP(2).to("cuda")(HOST, 0.5)
    assert list(gpu.syncs) == [("item", "cell 4:2")]
    assert any(place.startswith("model/net.py:") and place.endswith("(forward)") for _, place in gpu.uploads)


ALLOWED = {
    "a number": lambda to: to(HOST) * 2.0 + HALF,
    "a number in place": lambda to: to(HOST).clone().mul_(HALF),
    "a number chosen": lambda to: torch.where(to(MASK)[:, None], to(HOST), HALF),
    "a number filled": lambda to: to(HOST).masked_fill(to(MASK)[:, None], HALF),
    "clamped by numbers": lambda to: to(HOST).clamp(HALF, torch.tensor(2.0)),
    "clamped by numbers on both": lambda to: to(HOST).clamp(HALF, to(torch.tensor(2.0))),
    "clamped in place": lambda to: to(HOST).clone().clamp_(torch.tensor(1.0), torch.tensor(2.0)),
    "a number at an index": lambda to: torch.clone(to(HOST)).index_put_((torch.tensor([1]),), HALF),
    "an index on the host": lambda to: to(HOST)[torch.tensor([1, 0])] + to(HOST)[MASK],
    "a list as index": lambda to: to(HOST)[[1, 0], [0, 1]],
    "a list as index, written": lambda to: to(HOST).clone().__setitem__(([1, 0], 0), 7.0),
    "a slice copied": lambda to: to(HOST).clone()[:2].copy_(torch.ones(2, 2)),
    "splits, views and sums": lambda to: to(HOST).T.unbind(0)[1].reshape(3, 1).expand(3, 4).flatten().sum(),
    "einsum": lambda to: torch.einsum("ij,kj->ik", to(HOST), to(HOST)),
    "one row times matrices": lambda to: to(torch.ones(1, 3)) @ to(torch.ones(4, 3, 2)),
    "draws": lambda to: torch.randn(3, generator=drawing(to(HOST)), device=to(HOST).device),
    "draws like": lambda to: to(HOST).new_empty(4).uniform_(generator=drawing(to(HOST))),
    "factories": lambda to: torch.linspace(0, 1, 2, device=to(HOST).device).add(torch.as_tensor([1]).to(to(HOST))),
    "made like": lambda to: to(HOST).new_tensor([1.0, 2.0]).add(to(HOST).new_zeros(2)),
    "made elsewhere": lambda to: torch.tensor([1.0, 2.0], device=to(HOST).device),
    "eigenvalues": lambda to: torch.linalg.eigvalsh(to(HOST).T @ to(HOST)),
    "sorted": lambda to: to(HOST).sort(0, descending=True).values.diff(dim=0).amax(),
    "quantile": lambda to: to(HOST).flatten().quantile(0.3),
    "convolution": lambda to: torch.nn.functional.conv2d(to(HOST)[None, None], to(torch.ones(1, 1, 2, 2))),
    "int": lambda to: to(HOST).long() // 2,
    "dtype and device of another": lambda to: HALF.double().to(to(HOST)),
}  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_what_cuda_allows_passes_with_the_numbers_of_the_host(name):
    expected = ALLOWED[name](lambda x: x)
    with pretended():
        found = ALLOWED[name](on_gpu)
        if expected is not None:
            assert type(found) is There and str(found.device) == "cuda:0" and found.dtype == expected.dtype
            assert torch.equal(found.cpu(), expected)


def test_what_a_tensor_says_of_itself():
    with pretended():
        x = on_gpu()
        assert x.is_cuda and not x.is_cpu and not x.is_meta and x.get_device() == 0
        assert x.device == torch.device("cuda", 0) and x.device.type == "cuda" and "cuda:0" in repr(x)
        assert x.cuda() is x and x.to("cuda") is x and x.to("cuda:0") is x and x.data.device == x.device
        assert torch.zeros(2, device=x.device).device == torch.zeros_like(x).device == x.device
        assert gpu_generator().device.type == "cuda" and host_generator().device.type == "cpu"
        assert isinstance(gpu_generator(), torch.Generator) and not isinstance(3, torch.Generator)
        assert torch.cuda.is_available() and torch.cuda.device_count() == 1
    with pytest.raises(Refused, match="outside"):
        x + 1
    assert torch.Generator is not type(gpu_generator) and not isinstance(torch.ones(1), There)
    assert torch.randn(2, generator=host_generator()).device.type == "cpu"


def test_gradients_forward_derivatives_and_copies():
    with pretended():
        x = on_gpu().requires_grad_()
        (x**3).sum().backward()
        assert torch.equal(x.grad.cpu(), 3 * HOST**2) and type(x.grad) is There
        for to in (on_gpu, lambda v: v):
            with forward_ad.dual_level():
                y = forward_ad.make_dual(to(HOST), to(torch.ones(3, 2)))
                change = forward_ad.unpack_dual((y.square() - to(HOST) * 2.0).exp().sum()).tangent
            assert float(change) == pytest.approx(float(((2 * HOST) * (HOST**2 - 2 * HOST).exp()).sum()))
        net = MLP(1, width=4, depth=1, seed=(0, 1)).to("cuda")
        other = copy.deepcopy(net)
        with torch.no_grad():
            next(other.parameters()).zero_()
        assert float(next(net.parameters()).detach().abs().sum()) > 0
        assert isinstance(next(other.parameters()), torch.nn.Parameter)


def test_a_training_gives_the_numbers_of_the_host_bit_for_bit():
    def run(device):
        net = MLP(1, width=8, depth=1, seed=(0, 1)).to(device)
        history = fit(net, two_modes().sample(100, 0).to(device), [Setting(), Setting("v")], Run(40, average=0.9))
        weights = [p.detach().cpu() for one in (net, history.average) for p in one.parameters()]
        return [history.loss, history.error, *weights]

    expected = run("cpu")
    with pretended() as gpu:
        found = run("cuda")
    assert gpu.launches > 1000
    for one, other in zip(expected, found):
        assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))
