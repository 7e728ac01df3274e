"""What the worker and its sandbox say to each other: msgpack messages, each behind its length, over one socket.

worker -> sandbox   Run, then a Load for each blob that it lacks; Inspect and a Load; Export
sandbox -> worker   Ready once; for a Run: Need or nothing, Began, a Done or Broke for each task in order; or Refusal
                    for an Inspect: Inspected or Rejection; for an Export: Exported
"""

from struct import Struct as Layout
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from domain.blobs import BLOB_BYTES_MAX
from domain.events import FailureReason
from services.programs.verdict import Inspection, Reason

#: The largest message: a blob and what is said around it.
FRAME_BYTES_MAX: Final = BLOB_BYTES_MAX + (1 << 20)
#: The last words of a failure that are kept, in characters.
DETAIL_MAX: Final = 2000

LENGTH: Final = Layout("<I")

#: File in the sandbox's directory that holds the number, in its batch, of the task being run.
PROGRESS: Final = "progress"
PROGRESS_BYTES: Final = 4

_OUT_OF_MEMORY: Final = ("out of memory", "resource_exhausted", "bad_alloc", "cannot allocate memory")


class Run(Struct, frozen=True, tag=True, array_like=True):
    """Run a program on tasks; blobs go by names that the worker gives them, the same for the same bytes.

    Attributes:
        cpu_s: Processor seconds for the whole batch, compilation included.
        memory_mb: What the tasks may use above the idle process.
    """

    program: bytes
    shared: bytes | None
    mapped: bytes | None
    tasks: tuple[int, ...]
    memory_mb: int
    cpu_s: int


class Load(Struct, frozen=True, tag=True, array_like=True):
    address: bytes
    blob: bytes


class Inspect(Struct, frozen=True, tag=True, array_like=True):
    """Look into the program that follows; limits as in ``Run``."""

    program: bytes
    memory_mb: int
    cpu_s: int


class Export(Struct, frozen=True, tag=True, array_like=True):
    """Export one of the probe programs that come with Pasar."""

    kernel: str


class Ready(Struct, frozen=True, tag=True, array_like=True):
    """The sandbox is warm; ``applied`` says which limits the system granted."""

    applied: dict[str, bool]


class Need(Struct, frozen=True, tag=True, array_like=True):
    addresses: tuple[bytes, ...]


class Began(Struct, frozen=True, tag=True, array_like=True):
    """Program and inputs are ready, the first task starts now."""

    compile_s: float


class Done(Struct, frozen=True, tag=True, array_like=True):
    task: int
    result: bytes
    seconds: float


class Broke(Struct, frozen=True, tag=True, array_like=True):
    """One task failed, and the sandbox lives on."""

    task: int
    reason: FailureReason
    detail: str


class Refusal(Struct, frozen=True, tag=True, array_like=True):
    """No task of the batch can run."""

    reason: FailureReason
    detail: str


class Inspected(Struct, frozen=True, tag=True, array_like=True):
    inspection: Inspection


class Rejection(Struct, frozen=True, tag=True, array_like=True):
    """No worker runs the program."""

    reason: Reason
    detail: Annotated[str, Meta(max_length=DETAIL_MAX)]


class Exported(Struct, frozen=True, tag=True, array_like=True):
    program: bytes


Request = Run | Load | Inspect | Export
Answer = Ready | Need | Began | Done | Broke | Refusal | Inspected | Rejection | Exported

_encoder = msgspec.msgpack.Encoder()
_requests: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


class BadFrame(Exception):
    """The other side does not keep to the protocol."""


def frame(message: Request | Answer) -> bytearray:
    """``message`` as it goes over the socket; a blob in it is copied once."""
    framed = bytearray()
    _encoder.encode_into(message, framed, LENGTH.size)
    LENGTH.pack_into(framed, 0, len(framed) - LENGTH.size)
    return framed


def request(body: bytes) -> Request:
    """The worker's message in a frame's body."""
    return _requests.decode(body)


def split(buffer: bytearray) -> list[Answer]:
    """Take the whole answers off the front of ``buffer``.

    Raises:
        BadFrame: A frame is too long or not an answer.
    """
    answers: list[Answer] = []
    start, have = 0, len(buffer)
    with memoryview(buffer) as view:
        while have - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(view, start)
            if length > FRAME_BYTES_MAX:
                raise BadFrame(f"a frame of {length} bytes")
            end = start + LENGTH.size + length
            if have < end:
                break
            try:
                answers.append(_answers.decode(view[start + LENGTH.size : end]))
            except msgspec.MsgspecError as error:
                raise BadFrame(str(error)) from error
            start = end
    del buffer[:start]
    return answers


def out_of_memory(words: str) -> bool:
    """Whether an error or a process's last words speak of memory."""
    said = words.lower()
    return any(sign in said for sign in _OUT_OF_MEMORY)
