"""Exact counts of pairs within a radius (ANSD), against scipy, scikit-learn, torch.cdist and, where installed, faiss.

    python benchmarks/bench_pairs.py [--rounds 5] [--threads 1] [--busy 0] [--large] [--cases line plane high]
    python benchmarks/bench_pairs.py --crossover        from which n on boxes are faster than matrix products, by d
    python benchmarks/bench_pairs.py --memory           peak memory above the input, a fresh process each

With --busy N, N endless loops run beside it: what a second thread costs where the machine does not run it at once.

"healthy" points are normal; of "collapsed" ones half lie in one blob of a tenth of the radius; "near-duplicates" are
pairs of points about one radius apart, far from the mean. Peers that build lists of all pairs are left out where these
would not fit. A column says how many pairs each variant finds: matrix products in float32 find others.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from rounds import rotate, table

from diffnotes.measure import pairs
from diffnotes.measure.crowding import ansd


def cloud(kind: str, n: int, d: int, eps: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, d, generator=generator)
    other = torch.randn(n - n // 2, d, generator=generator)
    if kind == "collapsed":
        x[n // 2 :] = x[0] + 0.1 * eps * other / (2 * d) ** 0.5
    elif kind == "near-duplicates":
        x[n // 2 :] = x[: n - n // 2] + eps * other / d**0.5
    return x


def variants(x: torch.Tensor, eps: float, lists: bool) -> dict[str, Callable[[], int]]:
    """What counts the pairs i < j of x; ``lists`` allows peers that hold all of them."""
    from scipy.spatial import cKDTree
    from sklearn.neighbors import KDTree

    n, d = x.shape
    wide = x.numpy().astype(np.float64)

    def scipy() -> int:
        tree = cKDTree(wide)
        return (int(tree.count_neighbors(tree, eps)) - n) // 2

    def sklearn() -> int:
        return (int(KDTree(wide).query_radius(wide, eps, count_only=True).sum()) - n) // 2

    def cdist() -> int:
        rows = range(0, n, 1024)
        close = sum(int(torch.count_nonzero(torch.cdist(x[i : i + 1024], x[i:]) <= eps)) for i in rows)
        square = sum(int(torch.count_nonzero(torch.cdist(b, b) <= eps)) for b in x.split(1024))
        return close - square + (square - n) // 2

    def faiss() -> int:
        import faiss

        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatL2(d)
        index.add(x.numpy())
        return (len(index.range_search(x.numpy(), eps * eps)[2]) - n) // 2

    peers = {"diffnotes": lambda: round(ansd(x, eps) * n / 2)}
    if d <= 3:
        peers |= {"scipy": scipy, "scikit-learn": sklearn}
    if d > 3 or n <= 10_000:
        peers["torch.cdist, blocks"] = cdist
    if importlib.util.find_spec("faiss") and lists and (d > 3 or n <= 10_000):
        peers["faiss"] = faiss
    return peers


def cases(large: bool) -> dict[str, list[tuple[str, int, int, float]]]:
    low = [(kind, n, d, eps) for d, eps in ((2, 0.1), (3, 0.3)) for n in (10**4, 10**5)
           for kind in ("healthy", "collapsed")]
    high = [("healthy", 10**4, 64, 8.9), ("healthy", 10**4, 784, 37.2), ("near-duplicates", 10**4, 784, 5e-3),
            ("collapsed", 10**4, 784, 37.2)]
    if large:
        high += [("healthy", 5 * 10**4, 64, 8.9), ("healthy", 5 * 10**4, 784, 37.2)]
    return {"line": [("healthy", 10**4, 1, 0.01), ("healthy", 10**6, 1, 1e-4)], "plane": low, "high": high}


def crossover(rounds: int) -> None:
    """Radius: 30 neighbours a point, as in the low-dimensional use; both engines on the same points."""
    for d in (2, 3, 4, 5, 6, 8):
        for n in (3_000, 10_000, 30_000, 100_000):
            x = cloud("healthy", n, d, 0.0)
            near = (x[:200, None] - x).norm(dim=-1).flatten()
            eps = float(near.kthvalue(200 * 31).values)

            def run(kind: str, x: torch.Tensor = x, eps: float = eps) -> object:
                pairs._engine = lambda *_: kind
                return pairs.count_pairs(x, [eps])

            seconds = {kind: partial(run, kind) for kind in ("boxes", "dense")}
            middle = {k: statistics.median(v) for k, v in rotate(seconds, rounds).items()}
            print(f"d = {d}, n = {n}: " + ", ".join(f"{k} {1e3 * v:.0f} ms" for k, v in middle.items()), flush=True)


def memory() -> None:
    """Growth of the peak resident size by one count, each in its own process."""
    for kind, n, d, eps in [*cases(True)["line"], *cases(True)["plane"], *cases(True)["high"]]:
        code = (
            f"import torch; torch.set_num_threads(1); from bench_pairs import cloud; from diffnotes import ansd\n"
            f"x = cloud({kind!r}, {n}, {d}, {eps}); ansd(x[:64].contiguous(), {eps})\n"
            f"open('/proc/self/clear_refs', 'w').write('5'); size = lambda name: int(next(l for l in "
            f"open('/proc/self/status') if l.startswith(name)).split()[1])\n"
            f"before = size('VmRSS'); ansd(x, {eps}); print((size('VmHWM') - before) // 1024)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        print(f"{kind}, n = {n}, d = {d}: {done.stdout.strip()} MiB", flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--busy", type=int, default=0)
    options.add_argument("--large", action="store_true")
    options.add_argument("--cases", nargs="+", default=["line", "plane", "high"])
    options.add_argument("--crossover", action="store_true")
    options.add_argument("--memory", action="store_true")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    try:
        measure(args)
    finally:
        for loop in loops:
            loop.kill()


def measure(args: argparse.Namespace) -> None:
    if args.crossover:
        return crossover(args.rounds)
    if args.memory:
        return memory()
    for group in args.cases:
        for kind, n, d, eps in cases(args.large)[group]:
            peers = variants(cloud(kind, n, d, eps), eps, lists=kind != "collapsed")
            print(table(f"{kind}, n = {n}, d = {d}, eps = {eps}, {args.threads} thread(s), {args.busy} busy loops",
                        rotate(peers, args.rounds), "ms", 1e3, "diffnotes"))
            print("pairs found: " + ", ".join(f"{name} {run()}" for name, run in peers.items()) + "\n", flush=True)


if __name__ == "__main__":
    main()
