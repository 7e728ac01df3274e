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
# # Follow the money
# From the deposit that a client makes to the output that a worker spends: which output holds it, who can take it from
# there, which verified work each payout pays for, and whether it all adds up. Two sources are read and nothing else,
# the log of events and the blocks of the chain. No read model is asked, and each has to agree with the other.
# `pasar demo --keep` leaves a market up to look at.

# %% tags=["parameters"]
epoch = None  # the payout to look into; the last one that is confirmed if absent

# %%
import random
from collections import Counter, defaultdict
from itertools import pairwise
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from msgspec import structs

import pasar
from domain import bitcoin
from domain import payout as rules
from domain.accounts import witness_script_of
from domain.bitcoin import OutPoint
from domain.books import NO_ANCHOR, Books
from services import bootstrap
from services.client.names import known
from services.receipt.verify import ReceiptBroken, verify
from services.settlement.follower import fold
from services.settlement.kernel import verify_scripts
from services.settlement.reading import read_blocks

plt.style.use("pasar.mplstyle")
m = pasar.connect()
end, history, books = m.replay().position, [], Books()
async for event in m.events():
    history.append(event)
    fold(books, event.data)
    under_way = books.open_payouts and books.chain.network == "regtest"  # there it takes a second
    if event.position >= end and not under_way:
        break
of_type = defaultdict(list)
for event in history:
    of_type[event.type.partition(".")[0]].append(event)
assert of_type["PayoutConfirmed"], "nothing was paid on the chain; run `pasar demo --keep` and open this again"
joined = of_type["ChainJoined"][0].data
names = known(m.settings)
Markdown(f"{len(history):,} events, from {history[0].at:%Y-%m-%d %H:%M:%S} to {history[-1].at:%H:%M:%S} UTC.")

# %% [markdown]
# ## The chain
# Every block names the one before it and took the work that it says. A transaction is named by its own hash, and a
# block's header holds the root over those names: so nothing below can be other than it is without another header.

# %%
blocks = await read_blocks(m.settings, joined.height if m.settings.bitcoin_rpc_url else 0)
blocks = [block for block in blocks if block.id.height <= books.height - joined.confirmations + 1]  # these count
assert all(after.previous == before.id.hash for before, after in pairwise(blocks))
assert all(bitcoin.has_work(block.header) and bitcoin.block_hash(block.header) == block.id.hash for block in blocks)
at_height = {block.id.height: block for block in blocks}
mined = {}
for block in blocks:
    for raw in block.transactions:
        tx = bitcoin.parse(raw)
        mined[bitcoin.txid(tx)] = (block.id.height, tx, raw)
bits = [bitcoin.parse_header(block.header).bits for block in blocks]
targets = [(word & 0x7FFFFF) << 8 * ((word >> 24) - 3) for word in bits]
hashes = sum(2**256 // (target + 1) for target in targets)
first, tip = blocks[0].id, blocks[-1].id
Markdown(
    f"{joined.network}, blocks {first.height} to {tip.height:,}, {len(mined):,} transactions. All of it took about "
    f"{hashes:,} hashes: what that is worth is said at the end."
)


# %% [markdown]
# ## Where the money is
# A client opens an escrow, a worker a stake. Each has a script with four keys and a height: two of the owner, the
# market and the arbiter can spend what it holds, and after that height the owner alone, with a second key. Address
# and descriptor follow from the event that opened it.


# %%
def short(text):
    return f"{text[:8]}…{text[-6:]}" if len(text) > 20 else text


def opened(event):
    account, owner = ("escrow", event.client) if hasattr(event, "client") else ("stake", event.worker)
    keys = tuple(bytes.fromhex(key) for key in (event.release_key, event.market_key, event.arbiter_key))
    refund, script = bytes.fromhex(event.refund_key), bitcoin.p2wsh(witness_script_of(event))
    descriptor = bitcoin.escrow_descriptor(keys, refund, event.expires_height)
    whose = f"{account} of {names.get(owner, short(owner))}"
    address = bitcoin.address(script, joined.network)
    return {"account": whose, "address": address, "owner alone after": event.expires_height}, script, descriptor


accounts = [opened(event.data) for event in (*of_type["EscrowOpened"], *of_type["StakeOpened"])]
whose = {script: row["account"] for row, script, _ in accounts}
reserve = bitcoin.reserve_script(*map(bytes.fromhex, (joined.market_key, joined.arbiter_key)))
whose[bitcoin.p2wsh(reserve)] = "reserve"
pd.DataFrame([row for row, _, _ in accounts]).set_index("account").style.format({"owner alone after": "block {:,}"})

# %%
Markdown(f"Whoever has this line watches the first of them with any wallet:\n\n```\n{accounts[0][2]}\n```")

# %% [markdown]
# Now the chain alone: every output that ever paid one of these scripts, and what spent it. Then the log alone: which
# outputs the market must still have, folded from its events. They are the same, to the satoshi.

# %%
spender = {source.outpoint: name for name, (_, tx, _) in mined.items() for source in tx.inputs}
payouts = {event.data.txid: event.data for event in of_type["PayoutConfirmed"]}
rows, unspent = [], {}
for name, (height, tx, _) in mined.items():
    for vout, output in enumerate(tx.outputs):
        if output.script in whose:
            place = OutPoint(name, vout)
            by = spender.get(place)
            into = "unspent" if by is None else f"payout {payouts[by].epoch}" if by in payouts else f"by {by[:8]}…"
            made = f"payout {payouts[name].epoch}" if name in payouts else "deposit"
            rows.append((whose[output.script], f"{name[:12]}…:{vout}", output.value_sat, made, height, into))
            if by is None:
                unspent[bitcoin.reference(place)] = output
titles = ["account", "output", "sat", "made by", "block", "spent"]
pd.DataFrame(rows, columns=titles).set_index("account").style.format({"sat": "{:,}"})

# %%
on_chain = {place: (output.value_sat, output.script) for place, output in unspent.items()}
in_log = {place: (coin.value_sat, coin.term.script) for place, coin in books.coins.items()}
assert in_log == on_chain
held_sat = sum(value_sat for value_sat, _ in on_chain.values())
funded = of_type["EscrowFunded"][0]
assert mined[funded.data.reference][1].outputs[funded.data.vout].value_sat * 1000 == funded.data.amount_msat
Markdown(
    f"{len(on_chain)} unspent outputs of {held_sat:,} sat, the same in both. The first deposit is event "
    f"{funded.position}: {funded.data.amount_msat / 1000:,.0f} sat in output {funded.data.vout} of transaction "
    f"`{funded.data.reference}`, block {funded.data.height}."
)

# %% [markdown]
# ## What each payout is for
# A worker earns its price with each result that is verified: `ResultVerified`, then `EscrowReleased`. A payout adds
# up what it had earned with each job (`PayoutAllotted`) and pays it in one output. What is too small to be worth an
# output waits for the next.

# %%
verified = {(one.data.job, one.data.task, one.data.worker): one for one in of_type["ResultVerified"]}
earned = defaultdict(list)
for event in of_type["EscrowReleased"]:
    proof = verified[event.data.job, event.data.task, event.data.worker]
    assert proof.position < event.position
    earned[event.data.worker, event.data.job].append((proof, event))
states = {number: str(payout.state) for number, payout in books.payouts.items()}
rows, paid_msat = [], Counter()
for event in of_type["PayoutAllotted"]:
    one = event.data
    assert one.due != "reward" or one.amount_sat * 1000 == sum(part.amount_msat for part in one.paid)
    for part in one.paid if states[one.epoch] != "abandoned" else ():
        work = [pair for pair in earned[one.owner, part.job] if pair[1].position < event.position]
        paid_msat[one.owner, part.job] += part.amount_msat
        span = f"{work[0][0].position} to {work[-1][0].position}"
        had = sum(release.data.amount_msat for _, release in work) / 1000
        who = names.get(one.owner, short(one.owner))
        rows.append((one.epoch, who, part.job[:8], len(work), span, had, part.amount_msat / 1000))
titles = ["payout", "worker", "job", "results verified", "by events", "earned so far (sat)", "paid by it (sat)"]
pd.DataFrame(rows, columns=titles).set_index(["payout", "worker"]).style.format(precision=3, thousands=",")

# %%
for (worker, job), work in earned.items():
    due_msat = books.earned_msat.get(worker, {}).get(job, 0)
    assert sum(release.data.amount_msat for _, release in work) == paid_msat[worker, job] + due_msat
fig, axes = plt.subplots(figsize=(9, 2.4))
order = sorted({event.data.worker for event in (*of_type["ResultVerified"], *of_type["ResultRejected"])})
rank = {worker: place for place, worker in enumerate(order)}
for what, color, mark in (("ResultVerified", "C2", "."), ("ResultRejected", "C3", "x")):
    seen = of_type[what]
    axes.plot([one.position for one in seen], [rank[one.data.worker] for one in seen], mark, color=color, label=what)
for event in of_type["PayoutAllotted"]:
    if event.data.due == "reward":
        axes.plot(event.position, rank[event.data.owner], "s", color="C0", markersize=8)
        said = f"  {event.data.amount_sat:,} sat"
        axes.annotate(said, (event.position, rank[event.data.owner]), va="center", fontsize="small")
axes.plot([], [], "s", color="C0", label="PayoutAllotted")
axes.set_yticks(range(len(order)), [names.get(worker, short(worker)) for worker in order])
axes.set(title="From verified work to pay", xlabel="position in the log", ylim=(-0.6, len(order) - 0.4))
axes.set_xlim(right=1.12 * history[-1].position)
axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.32), ncols=3)
plt.show()

# %% [markdown]
# Every satoshi that a payout allots is the sum of prices of results that were verified before it, and what is not
# paid yet is exactly what the books still have due. Nobody else appears: whoever was rejected earned nothing.

# %% [markdown]
# ## The transaction, rebuilt from the log
# A payout's events say which outputs it spends and whom it pays. Everything else follows by rule, the order of the
# outputs and the fee too. So anybody can build the transaction again; it has the id of the one that was mined.

# %%
rewarded = {event.data.epoch for event in of_type["PayoutAllotted"] if event.data.due == "reward"}
epoch = epoch or max(rewarded & {payout.epoch for payout in payouts.values()})
planned = next(event.data for event in of_type["PayoutPlanned"] if event.data.epoch == epoch)
allotted = [event.data for event in of_type["PayoutAllotted"] if event.data.epoch == epoch]
confirmed = [event.data for event in of_type["PayoutConfirmed"] if event.data.epoch == epoch][-1]
tx = rules.transaction(planned, allotted, planned.fees_sat.index(confirmed.fee_sat))
height, found, raw = mined[confirmed.txid]
assert (bitcoin.txid(tx), tx, height) == (confirmed.txid, found, confirmed.height)
Markdown(f"Payout {epoch}, built here: `{bitcoin.txid(tx)}`. The same stands in block {height}.")

# %%
payees = {bytes.fromhex(one.script): names.get(one.owner, short(one.owner)) for one in allotted}
payees[bytes.fromhex(planned.market_script)] = "market"
into = [(f"{whose[mined[place.txid][1].outputs[place.vout].script]}", place) for place, *_ in tx.inputs]
rows = [("in", what, mined[place.txid][1].outputs[place.vout].value_sat, "") for what, place in into]
for output in tx.outputs:
    anchored = output.script[:1] == b"\x6a"
    what = "anchor (OP_RETURN)" if anchored else payees.get(output.script) or f"{whose[output.script]} (rest)"
    rows.append(("out", what, output.value_sat, "" if anchored else bitcoin.address(output.script, joined.network)))
rows.append(("out", "miner", confirmed.fee_sat, ""))
flow = pd.DataFrame(rows, columns=["", "whose", "sat", "address"]).set_index(["", "whose"])
assert flow.sat["in"].sum() == flow.sat["out"].sum()
flow.style.format({"sat": "{:,}"})

# %%
colors = {what: f"C{number % 8}" for number, what in enumerate(dict.fromkeys(what for _, what in flow.index))}
fig, axes = plt.subplots(figsize=(9, 2.6))
for side, place in (("in", 1), ("out", 0)):
    left = 0
    for what, value_sat in flow.sat[side].items():
        rest = what.removesuffix(" (rest)")
        shade = colors.get(rest, colors[what])
        axes.barh(place, value_sat, left=left, color=shade, edgecolor="white", hatch="//" * (rest != what))
        if value_sat > 0.08 * flow.sat["in"].sum():
            said = f"{what.replace(' of ', chr(10))}\n{value_sat:,}"
            box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
            axes.text(left + value_sat / 2, place, said, ha="center", va="center", fontsize="x-small", bbox=box)
        left += value_sat
axes.set_yticks([1, 0], ["goes in", "comes out"])
axes.grid(visible=False)
axes.xaxis.set_major_formatter("{x:,.0f}")
axes.set(
    title=f"Payout {epoch}: what goes in comes out; the last {confirmed.fee_sat:,} sat are the miner's", xlabel="sat"
)
plt.show()

# %% [markdown]
# It can only be spent so if two of each script's keys signed exactly this. Bitcoin Core's own code judges that here,
# in this process. And the block's header proves that it holds the transaction, by the branch that the log keeps.

# %%
verify_scripts(raw, [mined[place.txid][1].outputs[place.vout] for place, *_ in tx.inputs])
header = bytes.fromhex(confirmed.header)
branch = [bytes.fromhex(beside) for beside in confirmed.branch]
root = bitcoin.merkle_root_from(confirmed.txid, confirmed.index, branch)
assert root == bitcoin.parse_header(header).merkle_root
assert (header, bitcoin.block_hash(header)) == (at_height[height].header, confirmed.block)
assert bitcoin.has_work(header)
Markdown(
    f"Inputs that are signed as their scripts ask: {len(tx.inputs)}. Hashes from its id to the root in the header of "
    f"block `{confirmed.block}`: {len(branch)}."
)

# %% [markdown]
# ## What it binds
# One output of every payout can never be spent and says 32 bytes: a hash over the market's key, the payout's number,
# the log up to then with its Merkle root, a root over what each job's workers are paid, and the anchor before it.
# The log's root comes from replaying the log in this process.

# %%
market = bootstrap.operator(m.settings)
replayed = m.replay(upto=planned.size)
receipts = rules.receipts_root(allotted)
kept = [event.data for event in of_type["PayoutPlanned"] if states[event.data.epoch] != "abandoned"]
previous = next((one.anchor for one in reversed(kept) if one.epoch < epoch), NO_ANCHOR)
anchor = rules.anchor(market, epoch, planned.size, replayed.root, receipts, previous)
(said,) = [output.script[2:].hex() for output in found.outputs if output.script[:1] == b"\x6a"]
assert anchor == said
bound = {
    "market": market,
    "payout": epoch,
    "events of the log": planned.size,
    "their Merkle root": replayed.root,
    "root of what is paid": receipts,
    "anchor before it": previous,
    "hash of all that": anchor,
    f"OP_RETURN in block {height}": said,
}
pd.DataFrame(bound.items(), columns=["what", "recomputed here"]).set_index("what").style.set_properties(
    **{"text-align": "left", "font-family": "monospace"}
)

# %% [markdown]
# ## A receipt, with its payment
# A client keeps one file for a job. Since the payout it also holds the transaction, the workers' shares in it, and
# what leads to the block. It is checked with no market, no database and no network; the ids of blocks that one's own
# node has are all that it takes from outside.

# %%
job = next(part.job for one in allotted for part in one.paid)
receipt = m.job_by_id(job).receipt
with patch("socket.socket", None):  # nobody can be asked
    holds = receipt.verify(market=market, blocks={block.id.hash for block in blocks})
assert confirmed.txid in [one.txid for one in holds.claims.payouts]
claims = holds.claims
last, settled = claims.payouts[-1], claims.settled_msat
Markdown(
    f"It holds: {claims.paid_msat / 1000:,.0f} sat were earned with job {job[:8]}, {settled / 1000:,.0f} sat "
    f"of them are paid, last by transaction `{last.txid[:16]}…` in block {last.height}. {holds.bytes:,} bytes, "
    f"{holds.events} events."
)


# %%
def broken(changed):
    try:
        verify(changed, market=market)
    except ReceiptBroken as error:
        return error.check
    return "nothing"


dice, refused = random.Random(6), Counter()
for _ in range(100):
    changed = bytearray(receipt.file)
    changed[dice.randrange(len(changed))] ^= dice.randrange(1, 256)
    refused[broken(bytes(changed))] += 1
assert not refused["nothing"]
cases = {
    "the amount of an output": tx.outputs[0].value_sat.to_bytes(8, "little").hex().encode(),
    "where an output goes": tx.outputs[0].script.hex().encode(),
    "the block's header": confirmed.header.encode(),
    "the anchor": planned.anchor.encode(),
}
rows = []
for what, part in cases.items():
    at = receipt.file.rindex(part) + len(part) // 2
    digit = b"0" if receipt.file[at : at + 1] != b"0" else b"1"
    rows.append((what, broken(receipt.file[:at] + digit + receipt.file[at + 1 :])))
assert all(check != "nothing" for _, check in rows)
aimed = pd.DataFrame(rows, columns=["one digit changed in", "refused by the check of"])
aimed.set_index("one digit changed in").style.set_properties(**{"text-align": "left"})

# %%
Markdown(
    f"{refused.total()} of 100 files with one random byte changed were refused, by the check of "
    + ", ".join(f"{check} ({count})" for check, count in refused.most_common())
    + "."
)

# %% [markdown]
# ## Nothing is lost
# Every event that moves money takes it from one place and puts it in another. What was paid in is therefore in the
# outputs, or was paid out; what others took without the market, or a reorganisation undid, is missing.


# %%
def settle(payout, sign=1):
    plan, mine = plans[payout.epoch], [one for one in allotments if one.epoch == payout.epoch]
    borne = sum(rules.borne_sat(one, plan.rate_msat, plan.fees_sat.index(payout.fee_sat)) for one in mine)
    workers = sum(one.amount_sat for one in mine if one.due == "reward")
    owners = sum(one.amount_sat for one in mine if one.due != "reward")
    moved = [("earned, not paid", "paid to workers", workers), ("leaving", "back to owners", owners - borne)]
    moved += [("market's, not paid", "paid to the market", plan.market_sat), ("leaving", "paid to miners", borne)]
    moved += [("miners' fund", "paid to miners", payout.fee_sat - borne)]
    return [(source, into, sign * sat * 1000) for source, into, sat in moved]


plans = {event.data.epoch: event.data for event in of_type["PayoutPlanned"]}
allotments = [event.data for event in of_type["PayoutAllotted"]]
moves = {
    "EscrowFunded": lambda one: [("paid in", "clients'", one.amount_msat)],
    "StakeDeposited": lambda one: [("paid in", "stakes", one.amount_msat)],
    "EscrowReleased": lambda one: [("clients'", "earned, not paid", one.amount_msat)],
    "FeeCharged": lambda one: [
        ("clients'", "market's, not paid", one.amount_msat - one.chain_msat),
        ("clients'", "miners' fund", one.chain_msat),
    ],
    "EscrowRefunded": lambda one: [("clients'", "leaving", one.amount_msat)],
    "StakeSlashed": lambda one: [("stakes", "forfeited", one.amount_msat)],
    "StakeWithdrawn": lambda one: [("stakes", "leaving", one.amount_msat)],
    "PayoutConfirmed": settle,
    "PayoutReorged": lambda one: settle(payouts[one.txid], -1),
}
inside = ["clients'", "stakes", "earned, not paid", "market's, not paid", "miners' fund", "forfeited", "leaving"]
outside = ["paid to workers", "back to owners", "paid to the market", "paid to miners"]
pots, over, positions = Counter(), [], []
for event in history:
    for source, into, msat in moves.get(event.type.partition(".")[0], lambda one: [])(event.data):
        pots[source] -= msat
        pots[into] += msat
    assert not sum(pots.values())
    positions.append(event.position)
    over.append([pots[pot] / 1000 for pot in (*inside, *outside)])
missing_msat = sum(books.missing_msat.values())
assert sum(pots[pot] for pot in inside) == held_sat * 1000 + missing_msat
assert all(pots[pot] >= 0 for pot in (*inside, *outside))

# %%
lines = [("paid in", -pots["paid in"], "deposits, by the log")]
lines += [("in unspent outputs", held_sat * 1000, "by the chain"), ("missing", missing_msat, "by the log")]
lines += [(pot, pots[pot], "by the log; payouts that the chain has") for pot in outside]
assert lines[0][1] == sum(msat for _, msat, _ in lines[1:])
lines += [("difference", lines[0][1] - sum(msat for _, msat, _ in lines[1:]), "")]
table = pd.DataFrame([(what, msat / 1000, how) for what, msat, how in lines], columns=["", "sat", "how it is known"])
table.set_index("").style.format({"sat": "{:,.3f}"})

# %%
table = pd.DataFrame([(pot, pots[pot] / 1000) for pot in inside], columns=["whose the outputs' money is", "sat"])
assert round(table.sat.sum() * 1000) == held_sat * 1000 + missing_msat
table.set_index("whose the outputs' money is").style.format({"sat": "{:,.3f}"})

# %%
positions.append(round(1.12 * positions[-1]))  # so that what is so now can be seen
amounts = np.array([*over, over[-1]]).T
ever = [place for place, row in enumerate(amounts) if row.any()]
labels = [(*inside, *outside)[place] for place in ever]
hatches = ["//" if place >= len(inside) else "" for place in ever]
shades = {"clients'": "C0", "stakes": "C5", "earned, not paid": "C1", "market's, not paid": "C4", "miners' fund": "C7"}
shades |= {"forfeited": "C3", "leaving": "C6", "paid to workers": "C2", "back to owners": "C0"}
shades |= {"paid to the market": "C4", "paid to miners": "k"}
fig, axes = plt.subplots()
areas = axes.stackplot(
    positions, amounts[ever], labels=labels, colors=[shades[label] for label in labels], step="post", alpha=0.85
)
for area, hatch in zip(areas, hatches, strict=True):
    area.set(hatch=hatch, edgecolor="white", linewidth=0)
axes.plot(positions, amounts.sum(axis=0), "k", drawstyle="steps-post", label="paid in")
axes.axvline(history[-1].position, color="0.2", linewidth=0.8, linestyle=":")
axes.yaxis.set_major_formatter("{x:,.0f}")
axes.set(title="Where every satoshi was (hatched: paid out; dotted: now)", xlabel="position in the log", ylabel="sat")
axes.legend(*(found[::-1] for found in axes.get_legend_handles_labels()), loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## A log that was changed
# Suppose that the market shows another log afterwards: a worker got one satoshi more, was paid somewhere else, or an
# event before the payout never happened so. Each makes another transaction than the one in the block.

# %%
richer = structs.replace(allotted[0], amount_sat=allotted[0].amount_sat + 1)
elsewhere = structs.replace(allotted[0], script=planned.market_script)
shortened = m.replay(upto=planned.size - 1).root
other = rules.anchor(market, epoch, planned.size, shortened, receipts, previous)
forgeries = {
    "as it is": (planned, allotted),
    "one satoshi more for a worker": (planned, [richer, *allotted[1:]]),
    "a worker is paid to another script": (planned, [elsewhere, *allotted[1:]]),
    "another history before it": (structs.replace(planned, anchor=other), allotted),
}
rows = []
for what, (plan, payees) in forgeries.items():
    name = bitcoin.txid(rules.transaction(plan, payees, planned.fees_sat.index(confirmed.fee_sat)))
    rows.append((what, name, f"block {mined[name][0]}" if name in mined else "in no block"))
assert [where for _, _, where in rows] == [f"block {height}", "in no block", "in no block", "in no block"]
pd.DataFrame(rows, columns=["the log says", "then its transaction is", "which is"]).set_index("the log says").style

# %% [markdown]
# Whoever wants to show another log has to find another transaction under the same id, or mine another chain.
#
# ## What this does not prove
# That the second is hard. On a regtest chain it is easy:
#
# - Its blocks take two hashes each, and the market mines them itself. It could mine another history in a moment, with
#   other payouts and other times. So here an anchor proves that log and chain belong together, and nothing about when.
#   On signet or testnet4 somebody else mines; on Bitcoin itself rewriting costs what the blocks' work costs.
# - Which chain is the best one is taken from this machine. `pasar receipt verify --block HASH` asks for a block of a
#   node that you trust.
# - Market and arbiter sign on the same machine here. Two keys protect against one of them only where two parties hold
#   them: together they can take what escrows and stakes hold until the height is reached at which the owner can.
# - That work was verified is what the log says, by its rules; `03_replay_audit` runs a result again.
# - The money is play money.

# %%
Markdown(
    f"Followed to the satoshi: {-pots['paid in'] / 1000:,.0f} sat in, {held_sat:,} sat in {len(on_chain)} outputs, "
    f"{pots['paid to workers'] / 1000:,.0f} sat paid of what {sum(map(len, earned.values()))} verified results earned, "
    f"{pots['paid to miners'] / 1000:,.0f} sat to miners."
)
