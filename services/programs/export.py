"""A job's program as bytes: exported from a JAX function by the client, loaded again only inside the sandbox.

jax is imported where it is used: the market and the parent of the sandbox need work keys, not jax.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from domain.events import Platform

#: ``function(shared, row) -> outputs``, each of them arrays by name.
Function = Callable[[dict[str, Any], dict[str, Any]], Mapping[str, Any]]

PLATFORMS: Final[tuple[Platform, ...]] = ("cpu", "cuda", "tpu")


def export_program(
    function: Function,
    shared: Mapping[str, Any] | None,
    row: Mapping[str, Any] | None,
    platforms: Sequence[Platform] = PLATFORMS,
) -> bytes:
    """The program of one task; the same function gives the same bytes in every process and at every path.

    Args:
        shared: Arrays that every task gets; shapes and types suffice (``jax.ShapeDtypeStruct``).
        row: One task's share of the mapped arrays, without their leading axis.
    Raises:
        TypeError, ValueError: jax cannot trace the function, or it does not return arrays by name.
    """
    import jax
    import jax.export

    def task(shared: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
        outputs = function(shared, row)
        if not isinstance(outputs, Mapping):
            raise TypeError(f"a program returns arrays by name, not a {type(outputs).__name__}")
        return dict(outputs)

    traced = jax.jit(task)
    # Source locations would put this machine's paths into the program, and give every copy of it another address.
    before = jax.config.jax_traceback_in_locations_limit  # type: ignore[attr-defined]
    jax.config.update("jax_traceback_in_locations_limit", 0)
    try:
        exported = jax.export.export(traced, platforms=tuple(platforms))(_shapes(shared), _shapes(row))
        return bytes(exported.serialize())
    finally:
        jax.config.update("jax_traceback_in_locations_limit", before)


def load(program: bytes) -> Any:
    """The ``jax.export.Exported`` in ``program``; a stranger's bytes are opened in the sandbox and nowhere else.

    Raises:
        Exception: Whatever jax raises on bytes that are no program.
    """
    import jax.export

    return jax.export.deserialize(bytearray(program))


def work_key(program: bytes, shared: bytes | None, mapped: bytes | None, flags: Mapping[str, str]) -> str:
    """64 hex digits that are equal for equal work, whoever posts it.

    Args:
        flags: What else decides the numbers, such as the execution class.
    """
    parts = [hashlib.sha256(part).hexdigest() if part is not None else "-" for part in (program, shared, mapped)]
    named = [f"{name}={value}" for name, value in sorted(flags.items())]
    return hashlib.sha256("\n".join(["pasar/work/1", *parts, *named]).encode()).hexdigest()


def _shapes(arrays: Mapping[str, Any] | None) -> dict[str, Any]:
    import jax
    import numpy as np

    if arrays is None:
        return {}
    shaped = {name: value if hasattr(value, "dtype") else np.asarray(value) for name, value in arrays.items()}
    return {name: jax.ShapeDtypeStruct(value.shape, value.dtype) for name, value in shaped.items()}
