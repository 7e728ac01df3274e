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
# # The market now
# Who offers work and at what price, what was paid, where every satoshi is, and what is going on. All of it is read
# from the public log; nothing here needs a key. `pasar demo --keep` leaves a market up to look at.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from msgspec import structs

import pasar
from domain import orders
from domain.meter import Meter
from services.client.names import known
from services.client.quotes import offer_of

plt.style.use("pasar.mplstyle")
m = pasar.connect()
history = list(m.events())
now = m.replay(upto=history[-1].position)
m


# %% [markdown]
# A party is a key. Those of this machine have names too, and the plots use them where they are known.


# %%
def name(key):
    return known(m.settings).get(key, key[:8])


# %% [markdown]
# ## Workers
# What each one did, earned and has at stake. A worker whose result a referee's replay contradicts is not paid,
# loses the stake of that task and is paused.

# %%
workers = pd.DataFrame([structs.asdict(worker) for worker in m.workers()])
workers["name"] = workers.worker.map(name)
for amount in ("earned", "stake", "slashed"):
    workers[f"{amount} (sat)"] = workers[f"{amount}_msat"] / 1000
workers["GFLOP/s"] = (workers.flops_per_s / 1e9).round(1)
columns = ["state", "GFLOP/s", "slots", "verified", "rejected", "earned (sat)", "stake (sat)", "slashed (sat)"]
workers.set_index("name")[columns]

# %%
fig, (results, money) = plt.subplots(1, 2, sharey=True)
results.barh(workers.name, workers.verified, label="verified")
results.barh(workers.name, workers.rejected, left=workers.verified, color="C3", hatch="//", label="rejected")
results.set(title="Results", xlabel="results")
money.barh(workers.name, workers["earned (sat)"], label="earned")
money.barh(workers.name, -workers["slashed (sat)"], color="C3", hatch="//", label="stake lost")
money.axvline(0, color="0.4", linewidth=0.8)
money.set(title="Money", xlabel="sat")
for axes in (results, money):
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
results.invert_yaxis()
plt.show()
# %% [markdown]
# ## Asks
# A worker asks for a price by the work that a program's text says it takes: so much for 10¹² operations (a TFLOP),
# so much for 10⁹ bytes moved, and a least price for any task. On the left the book: how many tasks at a time are
# offered at an ask or below it. On the right what each ask makes of one task: a small one costs the least price, a
# large one its metered work.

# %%
book = workers[workers.asking & (workers.state == "active")].sort_values("tflop_msat")
sizes = np.logspace(10, 14, 60).astype(int)
fig, (depth, price) = plt.subplots(1, 2)
depth.step(
    [0, *book.tflop_msat, 1.5 * book.tflop_msat.max()], [0, *book.slots.cumsum(), book.slots.sum()], where="post"
)
depth.set(title="Depth of the book", xlabel="ask (msat a TFLOP)", ylabel="tasks at a time", ylim=(0, None))
for number, worker in enumerate(m.workers()):
    asked = [orders.price_msat(offer_of(worker), Meter(int(size), 0, 0, 0, 0, 0)) / 1000 for size in sizes]
    price.plot(sizes / 1e12, asked, linewidth=max(1, 6 - 2.2 * number), label=f"{name(worker.worker)} ({worker.state})")
price.set(title="Ask for one task", xscale="log", yscale="log", xlabel="metered work (TFLOP)", ylabel="sat")
price.legend()
plt.show()
# %% [markdown]
# ## Prices paid
# Every payment is an `EscrowReleased` for one verified run. With the meter of the job's program it becomes a price
# of work.

# %%
posted = {event.data.job: event.data for event in history if event.type == "JobPosted.v1"}
released = [event for event in history if event.type == "EscrowReleased.v1"]
paid = pd.DataFrame([{"position": event.position, "at": event.at, **structs.asdict(event.data)} for event in released])
paid["program"] = [posted[job].program.address for job in paid.job]
paid["TFLOP"] = [orders.operations(now.programs[program].meter) / 1e12 for program in paid.program]
paid["sat"] = paid.amount_msat / 1000
paid["sat a TFLOP"] = paid.sat / paid.TFLOP
first, *_, last = paid.position
shown = paid.groupby("program").agg(
    runs=("sat", "size"),
    TFLOP=("TFLOP", "first"),
    least=("sat", "min"),
    most=("sat", "max"),
    last_event=("position", "max"),
)
shown.rename(
    index=lambda program: program[7:15],
    columns={"least": "least (sat)", "most": "most (sat)", "last_event": "last event"},
)

# %%
fig, (each, work) = plt.subplots(1, 2)
for program, runs in paid.groupby("program", sort=False):
    each.plot(runs["at"], runs.sat, ".", label=program[7:15])
    work.loglog(runs.TFLOP, runs["sat a TFLOP"], "o", label=program[7:15])
each.set(title="Paid for a run, over time", xlabel="time (UTC)", ylabel="sat", yscale="log")
work.set(
    title="The same by work: small tasks pay the least price",
    xlabel="metered work of a run (TFLOP)",
    ylabel="sat a TFLOP",
)
each.tick_params(axis="x", rotation=30)
work.legend(title="program")
plt.show()
Markdown(
    f"{len(paid)} runs were paid, {paid.sat.sum():,.3f} sat in all, by the events at positions {first} to {last}. "
    f"See one with `pasar events --after {last - 1}`."
)

# %% [markdown]
# ## Where the money is
# An escrow is a double-entry account: what was funded is free, reserved for a job, released to workers, charged by
# the market or refunded, to the millisatoshi. The same for stakes: what was deposited is held, slashed or
# withdrawn. The last column names the event that moved the account last.

# %%
parts = ["free", "reserved", "released", "charged", "refunded"]
moved = {event.data.escrow: event.position for event in history if event.kind == "escrow"}
escrows = pd.DataFrame([structs.asdict(escrow) for escrow in now.escrows.values()])
escrows = escrows.rename(columns=lambda column: column.removesuffix("_msat"))
escrows["client"] = escrows.client.map(name)
escrows["adds up"] = escrows[parts].sum(axis=1) == escrows.funded
escrows["last event"] = escrows.id.map(moved)
assert escrows["adds up"].all()
amounts = dict.fromkeys(["funded", *parts], lambda msat: f"{msat / 1000:,.3f}")
escrows.set_index("client")[["funded", *parts, "adds up", "last event"]].style.format(amounts).set_caption(
    "Escrows, in sat"
)

# %%
held = ["held", "slashed", "withdrawn"]
staked = {event.data.worker: event.position for event in history if event.kind == "stake"}
stakes = pd.DataFrame([structs.asdict(stake) for stake in now.stakes.values()])
stakes = stakes.rename(columns=lambda column: column.removesuffix("_msat"))
stakes["last event"] = stakes.worker.map(staked)
stakes["worker"] = stakes.worker.map(name)
stakes["adds up"] = stakes[held].sum(axis=1) == stakes.deposited
assert stakes["adds up"].all()
amounts = dict.fromkeys(["deposited", *held], lambda msat: f"{msat / 1000:,.3f}")
stakes.set_index("worker")[["deposited", *held, "adds up", "last event"]].style.format(amounts).set_caption(
    "Stakes, in sat"
)

# %%
fig, (clients, owners) = plt.subplots(1, 2)
(escrows.set_index("client")[parts] / 1000).plot.barh(
    stacked=True, ax=clients, title="Escrows", xlabel="sat", ylabel=""
)
(stakes.set_index("worker")[held] / 1000).plot.barh(stacked=True, ax=owners, title="Stakes", xlabel="sat", ylabel="")
for axes in (clients, owners):
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=5, columnspacing=1)
    axes.invert_yaxis()
plt.show()

# %% [markdown]
# One account, move by move: each line is an event, and the amounts add up to what the account says now.

# %%
account = now.escrows[released[0].data.escrow]
money = [event for event in history if event.kind == "escrow" and hasattr(event.data, "amount_msat")]
moves = [event for event in money if event.data.escrow == account.id]
ledger = pd.DataFrame([(one.position, one.type.partition(".")[0], one.data.amount_msat / 1000) for one in moves])
ledger.columns = ["position", "event", "sat"]
Markdown(
    f"Account of {name(account.client)}: {len(ledger)} moves, {account.free_msat / 1000:,.3f} sat free at the end."
)

# %%
ledger.groupby("event", sort=False).agg(
    moves=("sat", "size"), sat=("sat", "sum"), first_event=("position", "min"), last_event=("position", "max")
).rename(columns=lambda column: column.replace("_", " "))

# %% [markdown]
# ## What is happening
# Events by what they tell of. A run is five facts: assigned, committed, submitted, verified, paid.

# %%
events = pd.DataFrame(
    [(one.at, one.kind, one.type.partition(".")[0]) for one in history], columns=["at", "kind", "event"]
)
span_s = (events["at"].max() - events["at"].min()).total_seconds()
bin_s = max(1, round(span_s / 60))
rates = events.groupby([pd.Grouper(key="at", freq=f"{bin_s}s"), "kind"]).size().unstack(fill_value=0)
rates = rates.asfreq(f"{bin_s}s", fill_value=0)  # also when nothing happened
rates = rates[rates.sum().sort_values(ascending=False).index] * 60 / bin_s
fig, axes = plt.subplots()
axes.stackplot(rates.index, rates.T, labels=rates.columns, step="post", alpha=0.9)
axes.set(
    title=f"Events a minute, averaged over {bin_s} s", xlabel="time (UTC)", ylabel="events a minute", ylim=(0, None)
)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
# %%
events.event.value_counts().to_frame("events").head(12)

# %% [markdown]
# ## Programs
# The market runs nothing that its inspector has not read. It admits a program with a count of its work, taken from
# the program's text, which prices are made of.

# %%
admitted = [event for event in history if event.kind == "program"]
rows = [
    {"program": one.data.program[7:15], "admitted by event": one.position, **structs.asdict(one.data.meter)}
    for one in admitted
]
programs = pd.DataFrame(rows).set_index("program")
programs["jobs"] = [sum(terms.program.address == one.data.program for terms in posted.values()) for one in admitted]
programs.rename(columns=lambda column: column.replace("_", " ")).style.format(thousands=" ")
