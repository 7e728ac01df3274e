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
# # A service of one's own
# Every event is published, anybody may follow, and nobody needs a key. What does it take to build on that: a
# service that counts what each worker earned, that may be killed at any moment, and is never off by a millisatoshi?

# %%
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import jax.numpy as jnp
import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Code, Markdown

import pasar
from services.client.names import known

plt.style.use("pasar.mplstyle")
m = pasar.connect()
m.fund(pasar.sats(1_000_000))
m

# %% [markdown]
# ## One line
# Following takes no program at all. These lines run as they stand, in a shell where the market's home is known;
# more of them are in `docs/subscribe.md`.

# %%
url, end = m.settings.nats_url, m.replay().position
lines = [
    f"pasar events --follow --after {end - 5}",
    f"pasar events --after {end - 5} --json | jq -r .data.type",
    f"nats --server {url} sub --start-sequence {end - 4} 'pasar.events.>'",
    f"nats --server {url} sub --all 'pasar.events.*.*.EscrowReleased'",
]
Code("\n".join(lines), language="sh")

# %%
program = Path(sys.executable).with_name("pasar")
home = {**os.environ, "PASAR_HOME": str(m.settings.home)}
typed = [program, "events", "--after", str(end - 5)]
print(subprocess.run(typed, env=home, capture_output=True, text=True, check=True).stdout)

# %% [markdown]
# In a notebook the same is `m.events(after=position)`: `for` ends where the log ends now, `async for` waits for
# what comes.

# %%
[(event.position, event.type) async for event in m.events(after=end - 5, limit=3)]

# %% [markdown]
# ## The service
# Fifty lines with `nats-py` and SQLite. Positions have no gap and an event never changes, so the position of the
# last event that was counted is all there is to remember, and it is written in the same transaction as the count.

# %%
Code(filename="earnings.py", language="python")

# %% [markdown]
# ## Killed, again and again
# We start it, buy work so that events keep coming, and kill it with signal 9 whenever it has come some way. Nothing
# warns it and nothing cleans up after it.


# %%
folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "earnings.sqlite"
seen = []


def start():
    return subprocess.Popen([sys.executable, "earnings.py", url, str(path)])


def read(query):
    with closing(sqlite3.connect(path, timeout=10)) as book:
        try:
            return book.execute(query).fetchall()
        except sqlite3.OperationalError:  # it has not made its tables yet
            return []


def position():
    return sum(row[0] for row in read("SELECT position FROM place"))


def until(reached):
    while (now := position()) < reached:
        seen.append((datetime.now(UTC), now))
        time.sleep(0.004)


# %% [markdown]
# Five times: start it, let it catch up, buy 50 tasks that two workers each run, which makes 500 events and more,
# and kill it while they come. What comes while it is dead waits in the log.


# %%
@m.job(replicas=2, reuse=False)
def wave(x):
    return jnp.sin(x).sum()


waves, dice, lives = [], random.Random(4), []
for number in range(5):
    behind, head = position(), m.replay().position
    service = start()
    until(head)
    waves.append(wave.map(number + jnp.arange(3_200.0).reshape(50, 64)))
    until(head + dice.randrange(50, 400))
    os.kill(service.pid, signal.SIGKILL)
    died = -service.wait()
    lives.append((service.pid, behind, position(), died, datetime.now(UTC)))
titles = ["process", "began behind", "killed at", "by signal", "at"]
pd.DataFrame(lives, columns=titles).drop(columns="at").set_index("process")

# %% [markdown]
# The last one is left alive until it has counted all there is.

# %%
service = start()
pasar.gather(*waves)
head = m.replay().position
until(head)
service.terminate()
lives.append((service.pid, lives[-1][2], position(), -service.wait(), datetime.now(UTC)))

# %%
history = list(m.events(upto=head))
recent = [event for event in history if event.at > seen[0][0]]
fig, axes = plt.subplots()
axes.plot([event.at for event in recent], [event.position for event in recent], color="0.6", label="the log")
axes.plot(*zip(*seen, strict=True), color="C0", label="what the service has counted")
for number, (_, _, ended, _, died) in enumerate(lives[:-1]):
    axes.plot(died, ended, "X", color="C3", markersize=9, label="kill -9" if not number else None)
axes.set(title="The service and the log", xlabel="time (UTC)", ylabel="position", ylim=(0, None))
axes.legend()
plt.show()

# %% [markdown]
# ## Nothing lost, nothing doubled
# What the service has in its table after all these deaths, beside a fresh fold over the whole log, here.

# %%
payments, earned = Counter(), Counter()
for event in history:
    if event.type == "EscrowReleased.v1":
        payments[event.data.worker] += 1
        earned[event.data.worker] += event.data.amount_msat
kept = read("SELECT worker, payments, msat FROM earned ORDER BY worker")
names = known(m.settings)
rows = [(names.get(key, key[:8]), count, payments[key], msat / 1000, earned[key] / 1000) for key, count, msat in kept]
titles = ["worker", "payments, service", "payments, log", "sat, service", "sat, log"]
pd.DataFrame(rows, columns=titles).set_index("worker")

# %%
assert {key: (count, msat) for key, count, msat in kept} == {key: (payments[key], earned[key]) for key in earned}
assert position() >= head == len(history)  # the market has gone on: it pays on the chain
folder.cleanup()
Markdown(
    f"Equal to the millisatoshi: {sum(payments.values())} payments, {sum(earned.values()) / 1000:,g} sat, counted over "
    f"{head:,} events by {len(lives)} processes, {len(lives) - 1} of which were killed."
)

# %% [markdown]
# Had the count and the position been two transactions, a kill between them would lose a payment or count one twice.
