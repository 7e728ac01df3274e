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
# # From connect to a verified array
# Two workers that cannot see each other's result run the function; it is paid because they agree.

# %%
import jax.numpy as jnp

import pasar

m = pasar.connect()
m.fund(pasar.sats(10_000))


@m.job(budget=pasar.sats(5_000), replicas=2)
def table(n):
    return jnp.outer(n, n)


job = table.submit(jnp.arange(1.0, 11.0))
print(job.result(timeout=60))
