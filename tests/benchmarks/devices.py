"""The catalogue on other machines: the same exported programs, how far their results are from this one's, how fast.

    python -m tests.benchmarks.devices prepare FOLDER     here: export, run, keep programs and results
    python -m tests.benchmarks.devices compare FOLDER     there: run the same bytes on every device, compare, print JSON

The comparison is the referee's. It needs no market; jax may be another version than the one that exported.
"""

import json
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final

import jax
import jax.export
import numpy as np

from domain.kernels import catalogue
from services import arrays
from services.programs import trees
from services.referee.replay import distance

#: Programs and parameters: a second or less on one core each.
SIZES: Final[dict[str, dict[str, int | float]]] = {
    "product": {"side": 1024},
    "solve": {"side": 512, "sides": 4},
    "spectrum": {"samples": 1 << 20},
    "option": {"paths": 1_000_000},
    "mlp": {},
    "mandelbrot": {"side": 512, "rounds": 500},
    "transformer": {"length": 512, "head_width": 64, "heads": 8},
    "heat": {"side": 256, "steps": 1000},
    "lorenz": {},
}
ROUNDS: Final = 5


def prepare(folder: Path) -> None:
    """Programs, what they take, and this machine's results."""
    from services.programs.admission import inspect
    from services.programs.export import export_program

    folder.mkdir(parents=True, exist_ok=True)
    for name, chosen in SIZES.items():
        program = catalogue.build(name, **chosen)
        blob = export_program(program.function, program.shared, program.row)
        meter = inspect(blob).meter
        (folder / f"{name}.program").write_bytes(blob)
        result, seconds, _ = run(blob, name, chosen, jax.devices("cpu")[0])
        (folder / f"{name}.safetensors").write_bytes(result)
        (folder / f"{name}.json").write_text(json.dumps({"flops": meter.flops, "seconds": seconds}))
        print(f"{name}: {len(blob)} bytes, {meter.flops / 1e9:.3g} GFLOP, {seconds * 1e3:.1f} ms")


def run(blob: bytes, name: str, chosen: dict[str, Any], device: Any) -> tuple[bytes, float, float]:
    """The first task's packed result, seconds for it when warm, and seconds to compile."""
    exported = jax.export.deserialize(bytearray(blob))
    shared, mapped = catalogue.build(name, **chosen).inputs(1, 1)
    row = {key: array[0] for key, array in mapped.items()}
    with jax.default_device(device):
        placed = jax.device_put((dict(shared), row), device)
        began = time.perf_counter()
        compiled = jax.jit(exported.call).lower(*placed).compile()
        compile_s = time.perf_counter() - began
        times = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            outputs = jax.block_until_ready(compiled(*placed))
            times.append(time.perf_counter() - began)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(outputs)]
    return arrays.pack(trees.leaves_by_name(exported.out_tree, leaves)), statistics.median(times), compile_s


def compare(folder: Path) -> dict[str, Any]:
    """How the programs fare on each device here."""
    devices = [jax.devices("cpu")[0]]
    devices += [one for one in jax.devices() if one.platform != "cpu"][:1]
    found: dict[str, Any] = {"jax": jax.__version__, "python": platform.python_version(), "programs": {}}
    for name, chosen in SIZES.items():
        blob, theirs = (folder / f"{name}.program").read_bytes(), (folder / f"{name}.safetensors").read_bytes()
        known = json.loads((folder / f"{name}.json").read_text())
        of_program = found["programs"][name] = {"there_ms": known["seconds"] * 1e3}
        for device in devices:
            try:
                result, seconds, compile_s = run(blob, name, chosen, device)
            except Exception as error:  # what a device cannot run is a finding, not the end of the comparison
                of_program[device.device_kind] = f"{type(error).__name__}: {error}"[:300]
                continue
            apart = distance(result, theirs)
            of_program[device.device_kind] = {
                "ms": seconds * 1e3,
                "compile_ms": compile_s * 1e3,
                "gflop_per_s": known["flops"] / seconds / 1e9,
                "distance": apart.largest,
                "where": apart.array or apart.reason,
            }
    return found


def main() -> None:
    jax.config.update("jax_enable_x64", True)  # as in the sandbox: a program's types are its own
    match sys.argv[1:]:
        case ["prepare", folder]:
            prepare(Path(folder))
        case ["compare", folder]:
            print(json.dumps(compare(Path(folder)), indent=1))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
