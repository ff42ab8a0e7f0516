"""More outcomes than memory holds, and more than one process."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import peers
from timing import Finding, faster, in_turns, largest, skipped

from metareg_sm import fit_many

# run in an interpreter of its own: y.npy, v.npy, X.npy and results.npy in the folder it is given
CHILD = """
import json, resource, sys, threading
from pathlib import Path
import numpy as np
from metareg_sm import fit_many

folder = Path(sys.argv[1])
STATUS = Path("/proc/self/status")

def status(name):
    for line in STATUS.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024

private, done = [0.0], threading.Event()

def watch():
    while not done.wait(0.002):
        private[0] = max(private[0], status("RssAnon"))

linux = STATUS.exists()
if linux:
    threading.Thread(target=watch, daemon=True).start()
res = fit_many(str(folder / "y.npy"), np.load(folder / "X.npy"), str(folder / "v.npy"))
res.save(folder / "results.npy")
done.set()
if linux:
    # the peak of getrusage would include the process that started this one
    peak, own = status("VmHWM"), private[0]
else:
    size = 2**20 if sys.platform == "darwin" else 2**10
    peak, own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / size, None
print(json.dumps({"peak": peak, "private": own}))
"""


def memory(repeat: int | None) -> list[Finding]:
    """Peak memory with outcomes in files, for ten times as many outcomes."""
    sizes, k = (100_000, 1_000_000), 10
    with tempfile.TemporaryDirectory() as folder:
        runs = [{n: _peaks(Path(folder), n, k) for n in sizes} for _ in range(min(3, repeat or 3))]
    used = {n: _median([run[n] for run in runs]) for n in sizes}
    small, big = (used[n] for n in sizes)
    data = 2 * 8 * k * (sizes[1] - sizes[0]) / 2**20
    what = f"{sizes[1]:,} outcomes of {k} studies in files, results to a file: peak memory"
    peer = f"the same with {sizes[0]:,}"
    rows = []
    for name, label in (("private", "without pages of the files"), ("peak", "all resident")):
        if small[name] is None:
            rows.append(skipped("memory", f"{what}, {label}", peer, "no /proc/self/status here"))
            continue
        growth = big[name] - small[name]
        rows.append(
            Finding(
                "memory",
                f"{what}, {label}",
                peer,
                f"{big[name] / small[name]:.2f} times; grows by {100 * growth / data:.0f} % of "
                "what the input grows by",
                "<= 1.05",
                bool(big[name] <= 1.05 * small[name]),
                here=f"{big[name]:.0f} MiB beside {small[name]:.0f} MiB",
            )
        )
    return rows


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: None if value is None else float(np.median([run[name] for run in runs]))
        for name, value in runs[0].items()
    }


def _peaks(folder: Path, n: int, k: int) -> dict[str, Any]:
    """Peak MiB of a process that fits n outcomes."""
    rng = np.random.default_rng(1)
    X = np.column_stack([np.ones(k), rng.normal(size=(k, 2))])
    np.save(folder / "X.npy", X)
    maps = [
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=float, shape=(n, k))
        for name in ("y.npy", "v.npy")
    ]
    for begin in range(0, n, 50_000):
        rows = slice(begin, min(begin + 50_000, n))
        size = (rows.stop - rows.start, k)
        v = np.exp(rng.uniform(np.log(0.02), np.log(0.5), size=size))
        maps[0][rows], maps[1][rows] = rng.normal(size=size) * np.sqrt(v + 0.1), v
    del maps
    out = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)], check=True, capture_output=True, text=True
    )
    found: dict[str, Any] = json.loads(out.stdout)
    return found


def dask(repeat: int | None) -> list[Finding]:
    """Two worker processes beside one."""
    n, k, p = 400_000, 20, 3
    what = f"{n:,} fits of dask arrays, k={k}, p={p}: two worker processes"
    peer = "one worker process"
    for module in ("dask", "distributed"):
        if why := peers.missing(module):
            return [skipped("dask", what, peer, why)]
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    if (cores or 1) < 2:
        return [skipped("dask", what, peer, "this machine has one core")]
    import dask.array as da
    from dask import config

    # what a cluster says when it closes is no news; read where distributed is imported
    config.set({"logging": {"distributed": "error"}})
    from distributed import Client, LocalCluster, wait

    X = np.column_stack([np.ones(k), np.random.default_rng(1).normal(size=(k, p - 1))])

    def start(workers: int) -> tuple[Any, Any, Any]:
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.ERROR,
        )
        client = Client(cluster, set_as_default=False)
        random, chunks = da.random.default_rng(1), (n // 40, k)
        v = da.exp(random.uniform(np.log(0.02), np.log(0.5), size=(n, k), chunks=chunks))
        y = random.normal(size=(n, k), chunks=chunks) * da.sqrt(v + 0.1)
        # the data are drawn in the workers and wait there: only fits are timed
        held = client.persist([y, v])
        with client.as_current():
            wait(held)

        def fit() -> Any:
            res = fit_many(held[0], X, held[1])
            return client.gather(client.compute([res.params, res.bse, res.tau2]))

        return cluster, client, held, fit

    running = [start(2), start(1)]
    fit_two, fit_one = (r[-1] for r in running)
    try:
        turns = in_turns(fit_two, fit_one, repeat or 5)
        few = slice(n // 40)
        _, client, held, _ = running[0]
        y, v = client.gather(client.compute([a[few] for a in held]))
        here = fit_many(y, X, v)
        there = [values[few] for values in fit_two()]
    finally:
        for cluster, client, *_ in running:
            client.close()
            cluster.close()
    answers = largest(
        coefficients=(there[0], here.params), bse=(there[1], here.bse), tau2=(there[2], here.tau2)
    )
    return [faster("dask", what, peer, turns, 1.6, f"beside arrays in memory: {answers}")]
