# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Price and speed
# What does a computation cost on the market, how long does it take, and how much of that is the market itself? The
# programs are those of the catalogue, which can be posted by name; the price is made of work that is counted in the
# program's text, before anybody has run it.

# %%
import time

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown

import pasar
from domain import orders
from domain.kernels.catalogue import CATALOGUE, build

plt.style.use("pasar.mplstyle")
m = pasar.connect()
m.fund(pasar.sats(1_000_000))
m

# %% [markdown]
# ## Quotes
# Each program of the catalogue at two sizes. A quote exports the function, has the market's inspector read and
# meter it, and prices it on the asks that stand; nothing is run and nothing reserved.

# %%
SIZES = {
    "square": [{}],
    "product": [{"side": 256}, {"side": 1024}],
    "solve": [{"side": 128}, {"side": 512}],
    "spectrum": [{"samples": 1 << 14}, {"samples": 1 << 20}],
    "option": [{"paths": 20_000}, {"paths": 1_000_000}],
    "mlp": [{"steps": 2}, {"steps": 20}],
    "mandelbrot": [{"side": 128}, {"side": 512}],
    "transformer": [{"length": 64}, {"length": 512}],
    "heat": [{"steps": 100}, {"steps": 2_000}],
    "lorenz": [{"steps": 500}, {"steps": 20_000}],
}
assert SIZES.keys() == CATALOGUE.keys()


def first(rows):
    return {name: column[0] for name, column in rows.items()}


rows, quotes, began = [], {}, time.monotonic()
for kernel, sizes in SIZES.items():
    for size in sizes:
        program = build(kernel, **size)
        shared, mapped = program.inputs(0, 1)
        quote = quotes[kernel, *size.values()] = m.job(program.function).quote(shared, first(mapped))
        said = ", ".join(f"{name} {value:,}" for name, value in size.items())
        work, moved = orders.operations(quote.meter) / 1e9, quote.meter.bytes_moved / 1e6
        rows.append((kernel, said, work, moved, quote.task_s * 1e3, quote.price_msat / 1e3))
titles = ["program", "size", "GFLOP", "MB moved", "expected ms", "sat a run"]
table = pd.DataFrame(rows, columns=titles).set_index(["program", "size"])
took = time.monotonic() - began
table.style.format({**dict.fromkeys(titles[2:5], "{:,.4g}"), "sat a run": "{:,g}"})

# %%
asks = [worker for worker in m.workers() if worker.asking and worker.state == "active"]
cheapest = min(asks, key=lambda ask: (ask.ask_msat, ask.tflop_msat))
by_meter = table.GFLOP / 1e6 * cheapest.tflop_msat + table["MB moved"] / 1e6 * cheapest.gb_msat  # sat
fig, axes = plt.subplots(figsize=(9, 3.8))
axes.set_prop_cycle(color=list(plt.colormaps["tab10"].colors), marker=list("osD^v<>PX*"))
for kernel, points in by_meter.groupby(level="program", sort=False):
    axes.plot(table.GFLOP[points.index], points, linestyle=":", label=kernel)
axes.axhline(cheapest.ask_msat / 1e3, color="0.3", linestyle="--", label="least price")
axes.set(xscale="log", yscale="log", xlabel="metered work of a run (GFLOP)", ylabel="sat a run")
axes.set_title("What the work alone would cost, and the least price of any task")
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
ratio = cheapest.ask_msat / 1e3 / by_meter.max()
Markdown(
    f"{len(table)} quotes took {took:.1f} s. The cheapest worker asks {cheapest.tflop_msat / 1e3:g} sat a TFLOP, "
    f"{cheapest.gb_msat / 1e3:g} sat for 10⁹ bytes moved, and {cheapest.ask_msat / 1e3:g} sat at least. The work of "
    f"the largest run in the table is worth {by_meter.max():.2g} sat, 1/{ratio:,.0f} of that: with these asks it "
    "pays to put more of it into each task."
)

# %% [markdown]
# ## Market, own machine, meter
# Six programs. The workers compile each of them in a first job of 8 tasks. Then we take the time of another such
# job, of single tasks one after the other, and of the same function here, compiled by `jax.jit` and warm; the best
# of a few, because the machine may have other work. All of it runs on the processors of this one machine, so what
# the market adds is its own doing: inputs and results go through its store, and commands, commitments, checks and
# payments are on disk before they count.

# %%
CHOSEN = {
    "product": {"side": 1024},
    "solve": {"side": 512},
    "option": {"paths": 1_000_000},
    "mandelbrot": {"side": 512},
    "transformer": {"length": 512},
    "heat": {"steps": 2_000},
}
programs = {kernel: build(kernel, **size) for kernel, size in CHOSEN.items()}
bought = {kernel: m.job(reuse=False)(program.function) for kernel, program in programs.items()}
pasar.gather(*(bought[kernel].map(*program.inputs(1, 8)) for kernel, program in programs.items()))
m.balance


# %%
def seconds(call):
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


timed = {}
for kernel, program in programs.items():
    shared, mapped = program.inputs(2, 8)
    row, here = first(mapped), jax.jit(program.function)
    far, near = bought[kernel].submit(shared, row).result(30), here(shared, row)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.allclose(a, b, rtol=1e-3, atol=1e-4), far, near)))
    single = min(seconds(bought[kernel].submit(shared, row).result) for _ in range(5))
    many = min(seconds(bought[kernel].map(shared, mapped).result) for _ in range(2)) / 8
    local = min(seconds(lambda: here(shared, row)) for _ in range(5))  # noqa: B023
    timed[kernel] = (local, quotes[kernel, *CHOSEN[kernel].values()].task_s, many, single)
ways = ["here, warm", "expected by the meter", "market, each of 8 tasks", "market, one task"]
times = pd.DataFrame(timed, ways).T * 1e3
sizes = {kernel: sum(each.nbytes for each in programs[kernel].inputs(2, 1)[1].values()) / 1e6 for kernel in programs}
times.round(1).assign(**{"MB of a row": pd.Series(sizes).round(3)})

# %%
fig, (bars, scatter) = plt.subplots(1, 2, width_ratios=(3, 2), figsize=(9, 3.8))
times.plot.bar(ax=bars, logy=True, rot=30, width=0.8, title="Time of a run", ylabel="ms")
bars.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
span = [times.to_numpy().min() / 1.5, times.to_numpy().max() * 1.5]
scatter.loglog(span, span, color="0.6", linewidth=1)
for way, marker, colour in zip(ways[1:], "so^", ("C1", "C2", "C3"), strict=True):
    scatter.plot(times[ways[0]], times[way], marker, color=colour, alpha=0.8, label=way)
scatter.set(title="Beside the same run here", xlabel="here, warm (ms)", ylabel="ms", aspect="equal")
plt.show()
added = times[ways[3]] - times[ways[0]]
off = times[ways[1]] / times[ways[0]]
Markdown(
    f"A single task takes {added.median():.0f} ms more on the market than here (median; {added.min():.0f} to "
    f"{added.max():.0f}). In a job of 8 tasks, which two workers share, a run takes {times[ways[2]].median():.0f} ms "
    f"in the median, where one here takes {times[ways[0]].median():.0f}. The meter expects between {off.min():.1f} and "
    f"{off.max():.1f} times what a run takes here: it counts operations and bytes as if nothing stayed in a cache, and "
    "the workers' speed is that of one probe, so it is a guide to size and no stop-watch. Large rows (the last column "
    "of the table) take their time through the store."
)

# %% [markdown]
# ## A picture from verified results
# The Mandelbrot set in 25 tiles: one job, each tile computed by two workers that could not see each other's result.

# %%
tiles, width = 5, 0.5
corner = jnp.arange(tiles, dtype=jnp.float32) * width
bottoms, lefts = (axis.ravel() for axis in jnp.meshgrid(corner - 1.25, corner - 2.0, indexing="ij"))
plane = build("mandelbrot", side=128, rounds=200)
picture = m.job(replicas=2)(plane.function).map({}, {"left": lefts, "bottom": bottoms, "width": jnp.full(25, width)})
picture.result(50)
picture

# %%
rounds = picture.result()["rounds"].reshape(tiles, tiles, 128, 128).transpose(0, 2, 1, 3).reshape(640, 640)
fig, axes = plt.subplots(figsize=(6, 5.4))
image = axes.imshow(np.log1p(rounds), origin="lower", extent=(-2, 0.5, -1.25, 1.25), cmap="magma")
axes.set(title="Mandelbrot set, each tile verified", xlabel="real part", ylabel="imaginary part")
axes.grid(visible=False)
bar = fig.colorbar(image, label="rounds until it escapes", shrink=0.72)
bar.set_ticks(np.log1p([1, 10, 100, 200]), labels=["1", "10", "100", "never"])
plt.show()

# %%
claims = picture.receipt.verify().claims
methods = {settled.method for settled in claims.results}
assert claims.verified == tiles**2
Markdown(
    f"{claims.verified} tiles verified ({', '.join(methods)}), {claims.paid_msat / 1000:g} sat to workers, "
    f"{claims.charged_msat / 1000:g} sat to the market; the receipt holds."
)
