"""Training several small networks together, against separate runs and torch.func.vmap.

    python benchmarks/bench_ensemble.py [--members 16] [--batch 128] [--steps 100] [--rounds 5] [--threads 1]
                                        [--device cpu|cuda]

All train 3 x 128 SiLU networks to predict eps on 2-D samples with Adam (fused). diffnotes is timed as it is used:
``fit`` with its draws, its decay and its log. The peers draw their own batches in the plainest way and log nothing.
"""

from __future__ import annotations

import argparse

import torch
from rounds import rotate, table
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from diffnotes import Linear
from diffnotes.core.law import spiral
from diffnotes.model.condition import Condition
from diffnotes.model.net import MLP
from diffnotes.model.setting import Run, Setting
from diffnotes.model.train import fit


def plain(device: str) -> nn.Module:
    hidden = [nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU()]
    return nn.Sequential(*hidden, nn.Linear(128, 2)).to(device)


def variants(members: int, batch: int, steps: int, device: str) -> dict:
    data = spiral().sample(10_000, 0).float().to(device)
    schedule = Linear()

    def draw(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
        x0 = data[torch.randint(len(data), shape, device=device)]
        eps, t = torch.randn_like(x0), 1e-3 + 0.999 * torch.rand((*shape, 1), device=device)
        alpha, sigma = schedule(t)
        return torch.cat([alpha * x0 + sigma * eps, 2 * t - 1], -1), eps

    def finish() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def separate() -> None:
        for _ in range(members):
            net = plain(device)
            adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
            for _ in range(steps):
                inputs, eps = draw((batch,))
                loss = (net(inputs) - eps).square().mean()
                adam.zero_grad()
                loss.backward()
                adam.step()
        finish()

    def vmapped() -> None:
        nets = [plain(device) for _ in range(members)]
        parameters, buffers = stack_module_state(nets)
        adam = torch.optim.Adam(list(parameters.values()), lr=1e-3, fused=True)
        forward = vmap(lambda p, b, x: functional_call(nets[0], (p, b), (x,)))
        for _ in range(steps):
            inputs, eps = draw((members, batch))
            loss = (forward(parameters, buffers, inputs) - eps).square().mean((1, 2)).sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
        finish()

    def together() -> None:
        net = MLP(2, width=128, depth=3, members=members, condition=Condition(frequencies=0)).to(device)
        fit(net, data, Setting(schedule=schedule), Run(steps, batch))
        finish()

    return {"diffnotes": together, "vmap": vmapped, "separate runs": separate}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--members", type=int, default=16)
    options.add_argument("--batch", type=int, default=128)
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--device", default="cpu")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    seconds = rotate(variants(args.members, args.batch, args.steps, args.device), args.rounds)
    title = f"{args.members} networks, batch {args.batch}, {args.steps} steps, {args.threads} thread(s), {args.device}"
    print(table(title, seconds, "s", 1, "separate runs"))


if __name__ == "__main__":
    main()
