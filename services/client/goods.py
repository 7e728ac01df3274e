"""What a job runs: a program and its inputs, out of files or out of the catalogue."""

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple

from domain.blobs import BLOB_BYTES_MAX
from domain.errors import Refused
from domain.kernels import menu
from services.client.words import count

PROGRAMS_KEPT: Final = 64


class BadInput(Refused):
    template: ClassVar[str] = "{file} cannot be used: {reason}"


class SayHowMany(Refused):
    template: ClassVar[str] = "say how many tasks the job has with --tasks, or give --mapped arrays with a row for each"


class NotOnTheMenu(Refused):
    template: ClassVar[str] = "{reason}"


class TooLarge(Refused):
    template: ClassVar[str] = (
        "inputs of {tasks:,} tasks take {size:,} MB and one file of them may have {allowed:,} MB; choose {most:,} "
        "tasks or fewer, or smaller ones"
    )


class File(NamedTuple):
    """A file's name, as its owner calls it, and what is in it."""

    name: str
    content: bytes


class Goods(NamedTuple):
    """Attributes:
    name: What the program is called here. shared, mapped: Packed inputs; absent where there are none.
    """

    name: str
    program: bytes
    shared: bytes | None
    mapped: bytes | None
    tasks: int


def of_files(program: File, shared: File | None, mapped: File | None, tasks: int | None) -> Goods:
    """An exported program with its inputs.

    Args:
        tasks: As many as the mapped arrays have rows if absent.
    Raises:
        BadInput: Arrays cannot be read, or have too few rows.
        SayHowMany: Neither number nor rows are given.
    """
    if shared is not None:
        _shapes(shared)
    return Goods(
        program.name,
        program.content,
        None if shared is None else shared.content,
        None if mapped is None else mapped.content,
        _tasks(tasks, mapped),
    )


def of_catalogue(name: str, chosen: Mapping[str, menu.Number], *, tasks: int, seed: int) -> Goods:
    """A program of the catalogue with inputs that are drawn from a seed; it loads jax.

    Raises:
        NotOnTheMenu: There is no such program or parameter, or a value is outside its range.
        TooLarge: The inputs do not fit into a blob.
    """
    program = exported(name, tuple(chosen.items()))
    from domain.kernels import catalogue
    from services import arrays

    built = catalogue.build(name, **chosen)
    size = sum(math.prod(one.shape) * one.dtype.itemsize for one in built.row.values())
    if tasks * size > BLOB_BYTES_MAX:
        raise TooLarge(tasks=tasks, size=tasks * size >> 20, most=BLOB_BYTES_MAX // size, allowed=BLOB_BYTES_MAX >> 20)
    shared, mapped = built.inputs(seed, tasks)
    return Goods(name, program, arrays.pack(shared) if shared else None, arrays.pack(mapped), tasks)


@lru_cache(maxsize=PROGRAMS_KEPT)
def exported(name: str, chosen: tuple[tuple[str, menu.Number], ...]) -> bytes:
    """A program of the catalogue as bytes; it loads jax. The last ones are kept, because exporting takes a moment.

    Raises:
        NotOnTheMenu: There is no such program or parameter, or a value is outside its range.
    """
    try:
        menu.complete(name, dict(chosen))
    except ValueError as error:
        raise NotOnTheMenu(reason=error) from None
    from domain.kernels import catalogue
    from services.programs.export import export_program

    built = catalogue.build(name, **dict(chosen))
    return export_program(built.function, built.shared, built.row)


def _shapes(file: File) -> list[tuple[int, ...]]:
    from services import arrays

    try:
        return [array.shape for array in arrays.unpack(file.content).values()]
    except arrays.BadArrays as error:
        raise BadInput(file=file.name, reason=error) from None


def _tasks(tasks: int | None, mapped: File | None) -> int:
    """How many tasks there are, by number or by the rows of the mapped arrays, which have to agree."""
    if mapped is None:
        if tasks is None:
            raise SayHowMany
        return tasks
    rows = {shape[0] if shape else 0 for shape in _shapes(mapped)}
    if len(rows) != 1 or 0 in rows:
        raise BadInput(file=mapped.name, reason="mapped arrays need the same number of rows, one for each task")
    (found,) = rows
    if tasks is not None and tasks > found:
        raise BadInput(file=mapped.name, reason=f"it has {count(found, 'row')} for {count(tasks, 'task')}")
    return tasks or found
