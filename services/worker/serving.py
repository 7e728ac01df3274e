"""The sandbox's work: compile strangers' programs and run them on the tasks that the worker names."""

import math
import mmap
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from domain.events import FailureReason
from services.arrays import BadArrays, pack, unpack
from services.programs import admission
from services.programs.verdict import DEFAULT, Inadmissible, Inspection
from services.worker import confine, frames
from services.worker.frames import (
    Began,
    Broke,
    Done,
    Export,
    Exported,
    Inspect,
    Inspected,
    Load,
    Need,
    Refusal,
    Rejection,
    Run,
)
from services.worker.inspection import faulty

Arrays = dict[str, Any]

#: Programs and sets of inputs that are kept ready.
PROGRAMS_MAX: Final = 16
INPUTS_MAX: Final = 8
#: Processor seconds that a sandbox without work may use.
IDLE_CPU_S: Final = 600
#: How long the results of short tasks wait for company on their way to the worker, in seconds.
HOLD_S: Final = 0.0005


class Unfit(Exception):
    """No task of a batch can run, for the reason named."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Kept(OrderedDict[Any, Any]):
    """The most recently used entries, up to a number."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def recall(self, key: Any) -> Any:
        if key in self:
            self.move_to_end(key)
        return self.get(key)

    def keep(self, key: Any, value: Any) -> Any:
        self[key] = value
        while len(self) > self.most:
            self.popitem(last=False)
        return value


class Program:
    """A stranger's program, compiled for this device.

    Raises:
        Unfit: The bytes are no program, or none for this device.
    """

    def __init__(self, blob: bytes) -> None:
        import jax

        from services.programs.export import load
        from services.programs.trees import names_of

        try:
            exported = load(blob)
            inputs = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in exported.in_avals]
            (shared, row), named = jax.tree.unflatten(exported.in_tree, inputs)
            self._expected = _shapes(shared), _shapes(row)
            bytes_out = sum(math.prod(aval.shape) * aval.dtype.itemsize for aval in exported.out_avals)
            if bytes_out > DEFAULT.output_bytes:
                raise Unfit("inadmissible", f"a result of {bytes_out} bytes is larger than a blob may be")
            self._compiled = jax.jit(exported.call).lower(shared, row, **named).compile()
            self._names = names_of(exported.out_tree)
        except Unfit:
            raise
        except Exception as error:  # jax raises whatever it likes on bytes that it did not write
            raise Unfit(_reason(error, "inadmissible"), _last_words(error)) from error

    def check(self, shared: dict[str, Any], row: dict[str, Any]) -> None:
        """Raises:
        Unfit: The program takes other inputs.
        """
        if (_shapes(shared), _shapes(row)) != self._expected:
            raise Unfit("inadmissible", "the program takes other inputs than the job brings")

    def __call__(self, shared: dict[str, Any], row: dict[str, Any]) -> bytes:
        import jax

        leaves = jax.tree.leaves(self._compiled(shared, row))
        return pack({name: np.asarray(leaf) for name, leaf in zip(self._names, leaves, strict=True)})


class Sandbox:
    """Serves one worker over ``channel`` until it closes the socket.

    Args:
        idle_bytes: Address space of the warm process, above which programs are limited; 0 to leave them unlimited.
    """

    def __init__(self, channel: socket.socket, idle_bytes: int) -> None:
        self._channel = channel
        self._reader = channel.makefile("rb")
        self._programs = Kept(PROGRAMS_MAX)
        self._inputs = Kept(INPUTS_MAX)
        self._idle_bytes = idle_bytes
        self._progress = _progress()

    def serve(self) -> None:
        """Answer requests in order."""
        while (message := self._receive()) is not None:
            try:
                if isinstance(message, Run):
                    self._run(message)
                elif isinstance(message, Inspect):
                    self._inspect(message)
                elif isinstance(message, Export):
                    self._send(Exported(_export(message.kernel)))
                else:
                    raise frames.BadFrame("a blob that nobody asked for")
            except Unfit as unfit:
                self._send(Refusal(unfit.reason, str(unfit)[: frames.DETAIL_MAX]))

    def _run(self, run: Run) -> None:
        clock = time.perf_counter
        began = clock()
        self._limit(run.memory_mb, run.cpu_s)
        program, shared, mapped = self._prepare(run)
        self._send(Began(clock() - began))
        held, flushed = bytearray(), clock()
        for number, task in enumerate(run.tasks):
            self._progress[0] = number
            began = clock()
            try:
                result = program(shared, {name: array[task] for name, array in mapped.items()})
            except Exception as error:
                held += frames.frame(Broke(task, _reason(error, "crash"), _last_words(error)))
            else:
                held += frames.frame(Done(task, result, clock() - began))
            if clock() - flushed > HOLD_S:
                self._channel.sendall(held)
                held, flushed = bytearray(), clock()
        self._channel.sendall(held)

    def _inspect(self, message: Inspect) -> None:
        self._limit(message.memory_mb, message.cpu_s)
        program = self._load(message.program)
        try:
            self._send(Inspected(_inspect(program)))
        except Inadmissible as error:
            self._send(Rejection(error.reason, error.detail[: frames.DETAIL_MAX]))

    def _limit(self, memory_mb: int, cpu_s: int) -> None:
        if self._idle_bytes:
            confine.limit_memory(self._idle_bytes + ((memory_mb + confine.COMPILER_MB) << 20))
        confine.limit_processor(cpu_s)

    def _prepare(self, run: Run) -> tuple[Program, dict[str, Any], dict[str, Any]]:
        """Program and inputs, compiled, in memory and fit for each other; what is missing is asked for."""
        blobs = self._fetch(run)
        program = self._programs.recall(run.program)
        if program is None:
            blob = blobs[run.program]
            try:
                _inspect(blob)
            except Inadmissible as error:
                raise Unfit("inadmissible", str(error)) from error
            program = self._programs.keep(run.program, Program(blob))
        shared, mapped = self._arrays(run.shared, blobs, _placed), self._arrays(run.mapped, blobs)
        last = max(run.tasks)
        for name, array in mapped.items():
            if not array.shape or len(array) <= last:
                raise Unfit("inadmissible", f"mapped array {name!r} has no row for task {last}")
        program.check(shared, {name: array[0] for name, array in mapped.items()})
        return program, shared, mapped

    def _arrays(
        self, address: bytes | None, blobs: dict[bytes, bytes], place: Callable[[Arrays], Arrays] | None = None
    ) -> Arrays:
        if address is None:
            return {}
        kept = self._inputs.recall((address, place))
        if kept is None:
            try:
                arrays = unpack(blobs[address])
            except BadArrays as error:
                raise Unfit("inadmissible", str(error)) from error
            kept = self._inputs.keep((address, place), place(arrays) if place else arrays)
        return dict(kept)

    def _fetch(self, run: Run) -> dict[bytes, bytes]:
        wanted = [] if self._programs.recall(run.program) else [run.program]
        inputs = (run.shared, _placed), (run.mapped, None)
        wanted += [key[0] for key in inputs if key[0] and self._inputs.recall(key) is None]
        missing = tuple(dict.fromkeys(wanted))
        if missing:
            self._send(Need(missing))
        return {address: self._load(address) for address in missing}

    def _load(self, address: bytes) -> bytes:
        load = self._receive()
        if not isinstance(load, Load) or load.address != address:  # the worker has checked what is in it
            raise frames.BadFrame("another blob than asked for")
        return load.blob

    def _receive(self) -> frames.Request | None:
        head = self._reader.read(frames.LENGTH.size)
        if len(head) < frames.LENGTH.size:
            return None
        (length,) = frames.LENGTH.unpack(head)
        return frames.request(self._reader.read(length))

    def _send(self, answer: frames.Answer) -> None:
        self._channel.sendall(frames.frame(answer))


def _inspect(program: bytes) -> Inspection:
    """Raises:
    Inadmissible: The program may not run; what goes wrong while looking into it counts as such.
    """
    try:
        return admission.inspect(program)
    except Inadmissible:
        raise
    except Exception as error:  # a stranger's bytes may reach what nobody thought of
        raise faulty("exhausted" if _reason(error, "crash") == "memory" else "crash") from error


def _shapes(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _placed(arrays: Arrays) -> Arrays:
    """The arrays on the device, once: as numpy arrays they would be copied there for every task.

    Raises:
        Unfit: They do not fit there.
    """
    import jax

    try:
        return dict(jax.block_until_ready(jax.device_put(arrays)))
    except Exception as error:  # jax raises whatever it likes when memory ends
        raise Unfit(_reason(error, "crash"), _last_words(error)) from error


def _reason(error: Exception, otherwise: FailureReason) -> FailureReason:
    return "memory" if isinstance(error, MemoryError) or frames.out_of_memory(str(error)) else otherwise


def _last_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[: frames.DETAIL_MAX]


def _export(kernel: str) -> bytes:
    import jax
    import jax.numpy as jnp

    from domain.kernels import probe
    from services.programs.export import export_program

    kernels = {"products": probe.products, "copies": probe.copies}
    if kernel not in kernels:
        raise Unfit("inadmissible", f"no probe is called {kernel!r}")
    return export_program(kernels[kernel], None, {"start": jax.ShapeDtypeStruct((), jnp.float32)}, ("cpu", "cuda"))


def _progress() -> "memoryview[int]":
    """Where the worker reads which task of the batch is being run, should this process not live to say it."""
    with open(frames.PROGRESS, "w+b") as file:
        file.write(bytes(frames.PROGRESS_BYTES))
        file.flush()
        return memoryview(mmap.mmap(file.fileno(), frames.PROGRESS_BYTES)).cast("I")


def warm_up() -> None:
    """Load all that a program may need, so that its first task finds jax ready and no limit in the way."""
    import jax

    from services.programs.export import export_program

    jax.config.update("jax_enable_x64", True)  # a program's types are its own; without this its float64 inputs shrink
    one = {"x": np.float32(1)}
    program = export_program(lambda shared, row: row, None, one, ("cpu", "cuda", "tpu"))
    _inspect(program)
    Program(program)({}, one)
