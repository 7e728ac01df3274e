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
# # A first job
# A JAX function is run by a worker of the market, paid from escrow when its result is verified. Without a market
# around, `connect` starts one on this machine: PostgreSQL, nats-server, the market's services and two workers.

# %%
import jax
import jax.numpy as jnp

import pasar

m = pasar.connect()
m

# %%
m.fund(pasar.sats(10_000))

# %% [markdown]
# Called plainly the function runs here. A quote is free and reserves nothing.


# %%
@m.job(budget=pasar.sats(2_000), timeout_s=60)
def score(w, x):
    return jnp.tanh(x @ w).sum()


w = jax.random.normal(jax.random.key(0), (64, 8))
x = jax.random.normal(jax.random.key(1), (64,))
score.quote(w, x)

# %%
job = score.submit(w, x)
job

# %%
y = await job
print(y, "here:", score(w, x))

# %% [markdown]
# One job with a task for each row. The receipt can be checked by anybody, without the market.

# %%
xs = jax.random.normal(jax.random.key(2), (16, 64))
scores = score.map(w, xs)
for task in pasar.as_completed(scores, progress=False):  # its card shows how far it is
    task.result()
scores

# %%
assert jnp.allclose(scores.result(), jax.vmap(score, in_axes=(None, 0))(w, xs), atol=1e-5)
scores.receipt.verify().claims.verified
