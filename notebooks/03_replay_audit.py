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
# # Replay and audit
# The market's log is its only truth. Whoever has it can go back to any moment, check what must always hold, find
# out who cheated and run a result again that was paid for. This notebook does so on the market that `pasar demo
# --keep` leaves up. It trusts neither read models nor a word of the market but its signature.

# %% tags=["parameters"]
upto = None  # the last position to look at; the whole log if absent
job_id = None  # the job to look into, by the beginning of its id; the first that had a dispute if absent

# %%
import inspect
import json
import random
import tempfile
from collections import Counter
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from msgspec import structs

import pasar
from domain.blobs import digest_of, equality_tag
from services import arrays, audit, bootstrap
from services.client.names import known
from services.projections.queries import Reader
from services.receipt.verify import ReceiptBroken, verify
from services.referee.replay import TOLERANCE, distance
from services.worker.executor import Executor, Limits

plt.style.use("pasar.mplstyle")
m = pasar.connect()
history = list(m.events(upto=upto))
end = history[-1].position
rulings = [event for event in history if event.type == "DisputeRuled.v1"]
assert rulings, "nothing was disputed on this market; run `pasar demo --keep` and open this notebook again"
Markdown(f"{end:,} events, from {history[0].at:%Y-%m-%d %H:%M:%S} to {history[-1].at:%H:%M:%S} UTC.")

# %% [markdown]
# ## Back in time
# `m.replay(upto=n)` folds the first n events by the market's own rules, here, in this process. The root names that
# very history: whoever computes the same root has the same n events, byte for byte.

# %%
landmarks = {event.type.partition(".")[0]: event for event in reversed(history)}
moments = [landmarks[each] for each in ("EscrowFunded", "JobPosted", "DisputeOpened", "DisputeRuled", "JobCompleted")]
rows = []
for event in [*moments, history[-1]]:
    past = m.replay(upto=event.position)
    states = Counter(str(job.state) for job in past.jobs.values())
    money = sum(escrow.reserved_msat for escrow in past.escrows.values()) / 1000
    paid = sum(escrow.released_msat for escrow in past.escrows.values()) / 1000
    lost = sum(stake.slashed_msat for stake in past.stakes.values()) / 1000
    happened = event.type.partition(".")[0] + (" (the last)" if event is history[-1] else " (the first)")
    jobs = ", ".join(f"{count} {state}" for state, count in states.items())
    rows.append((past.position, happened, jobs, money, paid, lost, past.root[:16]))
titles = ["position", "what had just happened", "jobs", "reserved (sat)", "paid (sat)", "stake lost (sat)", "root"]
pd.DataFrame(rows, columns=titles).set_index("position")

# %%
positions = np.unique(np.linspace(1, end, 60).astype(int))
pasts = [m.replay(upto=int(position)) for position in positions]
parts = ["free", "reserved", "released", "charged", "refunded"]
totals = [[sum(getattr(one, f"{part}_msat") for one in past.escrows.values()) for past in pasts] for part in parts]
funded = np.array([sum(one.funded_msat for one in past.escrows.values()) for past in pasts])
assert (np.sum(totals, axis=0) == funded).all()
fig, (escrow, stake) = plt.subplots(1, 2)
escrow.stackplot(positions, np.array(totals) / 1000, labels=parts, step="post", alpha=0.85)
escrow.plot(positions, funded / 1000, "k", drawstyle="steps-post", label="funded")
escrow.set(title="Escrows: the parts are the whole, everywhere", xlabel="position in the log", ylabel="sat")
for worker in pasts[-1].stakes:
    held = [past.stakes[worker].held_msat / 1000 if worker in past.stakes else 0 for past in pasts]
    stake.plot(positions, held, drawstyle="steps-post", label=f"{worker[:8]}…")
stake.set(title="Stakes: what workers have to lose", xlabel="position in the log", ylabel="sat", ylim=(0, None))
for axes in (escrow, stake):
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
plt.show()

# %% [markdown]
# ## What must always hold
# The audit replays the log and asks every invariant of every event, by books that know nothing of the market's own
# rules. The root that it ends with has to be the one that the market signs.

# %%
signed = await bootstrap.signed_root(m.settings, covers=end)
signed.check()
verdict = await audit.of_market(m.settings, upto=upto, signed=[signed])
assert verdict.ok
found = pd.DataFrame([structs.asdict(outcome) for outcome in verdict.invariants]).set_index("name")
asked = {invariant.name: inspect.getdoc(invariant) for invariant in audit.INVARIANTS}
asked["log"] = "Positions and versions have no gap, and every event fits the market's rules."
asked["merkle"] = "The roots that were stored and signed are those of the events."
asked["read_models"] = "Every table equals a fresh fold of the log."
found["asks"] = pd.Series(asked)
found[["ok", "checked", "asks"]].style.set_properties(**{"text-align": "left"})

# %%
assert m.replay(upto=signed.size).root == signed.root
Markdown(
    f"Every invariant holds on {verdict.checked:,} events. The market `{signed.market[:12]}…` signed the root "
    f"`{signed.root[:16]}…` over {signed.size:,} events, and the replay here has that root."
)

# %% [markdown]
# ## Who cheated
# Each task was run by two workers or more. None could see another's result before it was bound to its own. The log
# holds an equality tag of every result: equal tags, equal results. Who disagreed with whom?

# %%
disputed = next(one.data.job for one in rulings if job_id is None or one.data.job.startswith(job_id))
submitted = [one for one in history if one.type == "ResultSubmitted.v1" and one.data.job == disputed]
by_task = pd.DataFrame([structs.asdict(one.data) for one in submitted]).groupby("task")
pairs = [pair for _, runs in by_task for pair in combinations(zip(runs.worker, runs.equality, strict=True), 2)]
differ, agree = Counter(), Counter()
for (one, its), (other, theirs) in pairs:
    (agree if its == theirs else differ)[frozenset((one, other))] += 1
runners = sorted({one.data.worker for one in submitted})
table = [[f"{differ[frozenset((a, b))]} of {(differ + agree)[frozenset((a, b))]}" for b in runners] for a in runners]
pd.DataFrame(table, [f"{key[:8]}…" for key in runners], [f"{key[:8]}…" for key in runners]).mask(
    np.eye(len(runners)) > 0, ""
)

# %%
quarrels = {key: sum(count for pair, count in differ.items() if key in pair) for key in runners}
suspect = max(quarrels, key=quarrels.get)
innocent = [pair for pair in differ if suspect not in pair]
Markdown(
    f"Results differed {differ.total()} times. `{suspect[:8]}…` was one of the two in {quarrels[suspect]} of them, and "
    f"the others differed among themselves {sum(differ[pair] for pair in innocent)} times."
)

# %% [markdown]
# The tags only say that somebody is wrong. A referee ran each disputed task again and left its own result as
# evidence. We do not take its word for the distances either: results and evidence are fetched by address, checked
# against what the log binds them to, and compared here. A distance is the largest error as a share of the array's
# largest number, and infinite where an array has another shape.


# %%
def nearest(packed, replayed):
    """The distance over those arrays that can be compared."""
    theirs, ours = arrays.unpack(packed), arrays.unpack(replayed)
    alike = [array for array in ours if array in theirs and theirs[array].shape == ours[array].shape]
    return distance(*(arrays.pack({array: found[array] for array in alike}) for found in (theirs, ours))).largest


claims = {(one.data.task, one.data.worker): one.data for one in submitted}
rows = []
for ruling in (one.data for one in rulings if one.data.job == disputed):
    replayed = m.content(json.loads(m.content(ruling.evidence))["replayed"])
    for worker in (*ruling.upheld, *ruling.rejected):
        packed = m.content(claims[ruling.task, worker].result)
        apart, ruled = distance(packed, replayed), "rejected" if worker in ruling.rejected else "upheld"
        rows.append((ruling.task, worker, ruled, apart.largest, nearest(packed, replayed), apart.array, apart.reason))
titles = ["task", "worker", "ruling", "distance", "where shapes agree", "array", "reason"]
evidence = pd.DataFrame(rows, columns=titles)
those = evidence[evidence.ruling == "rejected"]
those.assign(worker=those.worker.str[:8] + "…").set_index("task").head(3)

# %%
fig, axes = plt.subplots(figsize=(9, 2.6))
for ruling, marker, colour in (("upheld", "o", "C0"), ("rejected", "X", "C3")):
    those = evidence[evidence.ruling == ruling]
    axes.scatter(
        those["where shapes agree"], those.worker.str[:8] + "…", color=colour, marker=marker, label=ruling, alpha=0.6
    )
axes.axvline(TOLERANCE, color="0.3", linestyle="--", label=f"tolerance {TOLERANCE:g}")
axes.set_xscale("symlog", linthresh=1e-6)
axes.set(
    title="Disputed results beside the referee's own", xlabel="distance of the arrays that can be compared (0: equal)"
)
axes.set_xlim(-3e-7, 10 * evidence["where shapes agree"].max())
axes.margins(y=0.3)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %%
assert (evidence.distance <= TOLERANCE).eq(evidence.ruling == "upheld").all()
theirs = evidence[evidence.ruling == "rejected"]
cheater = theirs.worker.mode()[0]
assert cheater == suspect
least, most = theirs["where shapes agree"].min(), theirs["where shapes agree"].max()
slashed = sum(one.data.amount_msat for one in history if one.type == "StakeSlashed.v1" and one.data.worker == cheater)
Markdown(
    f"The rulings are right: every upheld result is within {TOLERANCE:g} of the evidence, every rejected one is not. "
    f"`{cheater[:8]}…` is the one: {len(theirs)} results rejected, off by {least:.0%} to {most:.0%} "
    f"even where they have the right shape, {slashed / 1000:,g} sat of stake lost. "
    f"On this machine that key is called *{known(m.settings).get(cheater, 'nothing')}*."
)

# %% [markdown]
# ## Run it again
# Anybody can do what the referee did: fetch the program and its inputs by their addresses and run one task in the
# same sandbox. One task that was paid for without a dispute, and one that the cheater returned.

# %%
terms = next(one.data for one in history if one.type == "JobPosted.v1" and one.data.job == disputed)
payments = [one for one in history if one.type == "EscrowReleased.v1" and one.data.job == disputed]
calm = [one for one in payments if one.data.task not in set(evidence.task)]
payment = (calm or payments)[0]
task, cheated = payment.data.task, int(theirs.task.iloc[0])
inputs = [m.content(ref) if ref else None for ref in (terms.program, terms.shared, terms.mapped)]
limits = Limits(wall_s=terms.timeout_s, memory_mb=terms.memory_mb)
with tempfile.TemporaryDirectory() as folder:
    async with Executor(Path(folder), limits) as sandbox:
        again = {run.task: run async for run in sandbox.run(*inputs, sorted({task, cheated}))}

# %%
worker = payment.data.worker
returned = {"paid": m.content(claims[task, worker].result), "rejected": m.content(claims[cheated, cheater].result)}
ours = {"paid": again[task], "rejected": again[cheated]}
rows = []
for what, packed in returned.items():
    mine, bought = arrays.unpack(ours[what].result), arrays.unpack(packed)
    for array in sorted(mine):
        means = float(np.mean(bought[array])), float(np.mean(mine[array]))
        rows.append((what, array, bought[array].size, mine[array].size, *means))
titles = ["result", "array", "numbers returned", "numbers here", "their mean as returned", "their mean here"]
compared = pd.DataFrame(rows, columns=titles)
compared.set_index(["result", "array"])

# %%
near, far = distance(returned["paid"], ours["paid"].result), distance(returned["rejected"], ours["rejected"].result)
assert near.largest <= TOLERANCE < far.largest
same = equality_tag(digest_of(ours["paid"].result), disputed, task) == claims[task, worker].equality
how = "the very same bytes, as its equality tag in the log says" if same else f"a distance of {near.largest:.2g}"
Markdown(
    f"Task {task} was paid {payment.data.amount_msat / 1000:g} sat by event {payment.position}. Run here in "
    f"{ours['paid'].seconds:.2f} s it gives {how}. Task {cheated} as the cheater returned it does not: "
    f"`{far.array}` is {far.reason or f'{far.largest:.2g} away'}."
)

# %% [markdown]
# ## A receipt, alone
# A receipt holds a job's events as the log has them and the proof that they are under a root which the market
# signed. It is checked without market, database or network. What if one bit of the file is another?

# %%
receipt = m.job_by_id(disputed).receipt
market = bootstrap.operator(m.settings)
receipt

# %%
with patch("socket.socket", None):  # nobody can be asked
    holds = receipt.verify(market=market)
Markdown(
    f"It holds: {holds.events} events from position {holds.first} to {holds.last}, "
    f"{holds.claims.paid_msat / 1000:g} sat paid for {holds.claims.verified} verified tasks, {holds.bytes:,} bytes."
)

# %%
dice, refused, changes = random.Random(7), Counter(), 100
for _ in range(changes):
    changed = bytearray(receipt.file)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    try:
        verify(bytes(changed), market=market)
    except ReceiptBroken as broken:
        refused[broken.check] += 1
assert refused.total() == changes
Markdown(
    f"{refused.total()} of {changes} files with one bit changed were refused, by the check of "
    + ", ".join(f"{check} ({count})" for check, count in refused.most_common())
    + "."
)

# %% [markdown]
# ## A log that was changed
# The same for the log itself. We copy it into memory, let one payment be a satoshi more, and audit the copy under
# the root that the market signed before.


# %%
class Copy:
    """A log in memory."""

    def __init__(self, stored):
        self.stored = stored

    async def head(self):
        return len(self.stored)

    async def iterate(self, after, upto):
        yield self.stored[after:upto]


async with await Reader.open(m.settings.database_url) as reader:
    stored = [event async for page in reader.log.iterate(0, signed.size) for event in page]
at = payment.position - 1
price = str(payment.data.amount_msat).encode()
more = str(payment.data.amount_msat + 1000).encode()
stored[at] = stored[at]._replace(data=stored[at].data.replace(price, more))
forged = await audit.audit(Copy(stored), signed=[signed])
broken = {one.name: one.first_violation for one in forged.invariants if not one.ok}
assert {"merkle", "money"} <= broken.keys()
said = [(name, one.position, one.what) for name, one in broken.items()]
pd.DataFrame(said, columns=["broken", "position", "what"]).set_index("broken").style.set_properties(
    **{"text-align": "left"}
)

# %% [markdown]
# The forger would have to find other bytes under the same root, or the market's key.
