"""Asking the inspector about a program: the request and its answer, as JSON over NATS."""

import msgspec
from msgspec import Struct
from nats.aio.client import Client

from domain.errors import Malformed
from domain.events import Platform
from domain.ids import Address, Digest, Version
from domain.meter import Meter
from services.bus.alphabets import check_of
from services.bus.asking import ask
from services.bus.client import RefusedByMarket
from services.bus.commands import Refusal

SUBJECT = "pasar.inspect"


class Inspect(Struct, frozen=True, tag=True, forbid_unknown_fields=True):
    """Say what the program at this address takes; with ``admit``, have it recorded so that jobs may run it."""

    program: Address
    admit: bool = False


_check_form = check_of(Inspect)


def read(data: bytes) -> Inspect:
    """A stranger's request.

    Raises:
        Malformed: It is none, or asks for an address that no blob can have.
    """
    try:
        asked = msgspec.json.decode(data, type=Inspect)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed(reason=str(error)) from None
    if wrong := _check_form(asked):
        raise Malformed(reason=f"the request{wrong}")
    return asked


class Finding(Struct, frozen=True):
    """What the inspector found; ``position`` is where it was recorded by this request, 0 otherwise."""

    program: Address
    identity: Digest
    meter: Meter
    platforms: tuple[Platform, ...]
    jax_version: Version
    position: int = 0


class Answer(Struct, frozen=True, omit_defaults=True):
    """One of both."""

    finding: Finding | None = None
    refusal: Refusal | None = None


async def inspect(client: Client, program: str, *, admit: bool, timeout_s: float = 60) -> Finding:
    """Have a program inspected; its bytes are in the blob store. An inspector that is still starting is waited for.

    Raises:
        RefusedByMarket: The market does not run such a program, and why.
        TimeoutError: No inspector answers.
    """
    asked = msgspec.json.encode(Inspect(program, admit))
    answer = msgspec.json.decode(await ask(client, SUBJECT, asked, timeout_s), type=Answer)
    if answer.refusal is not None:
        raise RefusedByMarket(answer.refusal)
    assert answer.finding is not None, "an answer holds one of both"
    return answer.finding
