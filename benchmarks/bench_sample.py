"""Sampling speed against a bare loop, torchdiffeq and diffusers: the same chain, network and map for all.

    python benchmarks/bench_sample.py [--batch 16 10000] [--steps 100] [--rounds 15] [--threads 1] [--fresh]

Every variant runs DDIM (eta = 0) on a 3 x 128 SiLU network with float32 weights from the same start; their samples are
compared before anything is timed. For torchdiffeq, DDIM is Euler's method for x/alpha in sigma/alpha. Peers get a plain
``nn.Sequential`` and noise levels as precomputed floats. ``--fresh`` gives each run a process of its own, and adds
the growth of the peak resident memory (Linux).
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from rounds import rotate, table
from torch import nn

from diffnotes import Chain, Learned
from diffnotes.model.condition import Condition
from diffnotes.model.net import MLP
from diffnotes.model.sample import ddim, grid

T = 1000


def setting(batch: int, steps: int) -> dict:
    """The variants, name -> call without arguments."""
    chain = Chain.linear(T)
    net = MLP(2, width=128, depth=3, condition=Condition("t", chain, frequencies=0), seed=0)
    layers = [nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU()]
    plain = nn.Sequential(*layers, nn.Linear(128, 2)).requires_grad_(False)
    with torch.no_grad():
        plain[0].weight.copy_(net.weights[0].T)
        for linear, weight in zip(plain[2::2], list(net.weights)[1:]):
            linear.weight.copy_(weight.T)
        for linear, bias in zip(plain[::2], net.biases):
            linear.bias.copy_(bias)
    denoiser = Learned(net, chain, "eps")
    x = torch.randn(batch, 2, generator=torch.Generator().manual_seed(0))
    times = grid(chain, steps)
    alpha, sigma = chain(times)
    levels = list(zip((2 * times / T - 1).tolist(), alpha.tolist(), sigma.tolist()))

    def eps(x, u):
        return plain(torch.cat([x.new_full((len(x), 1), u), x], 1))

    @torch.inference_mode()
    def bare():
        y = x
        for (u, a, s), (_, a_next, s_next) in itertools.pairwise(levels):
            y = (a_next / a) * y + (s_next - a_next / a * s) * eps(y, u)
        return y

    @torch.inference_mode()
    def folded():
        y = x
        for (u, a, s), (_, a_next, s_next) in itertools.pairwise(levels):
            h = torch.addmm(biases[u], y, into)
            for linear in plain[2::2]:
                h = linear(nn.functional.silu(h))
            y = (a_next / a) * y + (s_next - a_next / a * s) * h
        return y

    into = plain[0].weight[:, 1:].T.contiguous()
    biases = {u: plain[0].bias + u * plain[0].weight[:, 0] for u, _, _ in levels}

    @torch.inference_mode()
    def with_torchdiffeq():
        from torchdiffeq import odeint

        pending = iter(levels)

        def slope(_, z):
            u, a, _ = next(pending)
            return eps(a * z, u)

        visits = {"grid_constructor": lambda f, y, t: ratios}
        path = odeint(slope, x / levels[0][1], ratios[[0, -1]], method="euler", options=visits)
        return path[-1] * levels[-1][1]

    ratios = (sigma / alpha).float()

    @torch.inference_mode()
    def with_diffusers():
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler(T, trained_betas=chain.beta[1:].tolist(), clip_sample=False)
        scheduler.set_timesteps(steps)
        scheduler.timesteps = times[:-1] - 1
        y = x
        for t in scheduler.timesteps:
            y = scheduler.step(eps(y, 2 * (t.item() + 1) / T - 1), t, y).prev_sample
        return y

    return {
        "diffnotes": lambda: ddim(denoiser, x, times),
        "bare loop": bare,
        "bare loop, time in the first bias": folded,
        "torchdiffeq": with_torchdiffeq,
        "diffusers": with_diffusers,
    }


def agree(variants: dict) -> None:
    """All variants must give the same samples, or the comparison means nothing."""
    reference = variants["bare loop"]()
    for name, run in variants.items():
        gap = float((run() - reference).abs().max() / reference.abs().max())
        if gap > 1e-4:
            sys.exit(f"{name} computes something else: relative difference {gap:.1e}")


def resident(key: str) -> float:
    """MiB of this process: "VmRSS" now, "VmHWM" at most (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(key + ":")[1].split()[0]) / 1024


def once(name: str, batch: int, steps: int) -> dict:
    """Seconds, and MiB of peak memory above what was there before, of one run in this process."""
    setting(16, 10)[name]()  # imports and lazy initialisation
    run = setting(batch, steps)[name]
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "mib": resident("VmHWM") - before}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--batch", type=int, nargs="+", default=[16, 10_000])
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--fresh", action="store_true", help="one process a run")
    options.add_argument("--once", help=argparse.SUPPRESS)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    if args.once:
        print(json.dumps(once(args.once, args.batch[0], args.steps)))
        return
    for batch in args.batch:
        variants = setting(batch, args.steps)
        agree(variants)
        title = f"{batch} samples, {args.steps} steps, {args.threads} thread(s)"
        if not args.fresh:
            seconds = rotate(variants, args.rounds, repeat=20 if batch < 1000 else 1)
            print(table(title, seconds, "us per step", 1e6 / args.steps, "bare loop"))
            continue
        runs: dict[str, list[dict]] = {name: [] for name in variants}
        for _ in range(args.rounds):
            for name in variants:
                command = [sys.executable, __file__, "--once", name, "--batch", str(batch)]
                command += ["--steps", str(args.steps), "--threads", str(args.threads)]
                runs[name].append(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))
        seconds = {name: [run["seconds"] for run in kept] for name, kept in runs.items()}
        print(table(title + ", fresh processes", seconds, "us per step", 1e6 / args.steps, "bare loop"))
        memory = {name: [run["mib"] for run in kept] for name, kept in runs.items()}
        print(table(title + ", peak memory", memory, "MiB", 1, "bare loop"))


if __name__ == "__main__":
    main()
