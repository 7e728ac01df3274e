"""Who may say and hear what on NATS: one table, written into the server's configuration.

Every role has an inbox of its own, so that none reads another's replies; replies go out on the inboxes of those who may
ask. ``public`` is also what a client without a key becomes: it may read the log, ask for its signed root and send
commands, which are signed anyway. Whoever may create a consumer may name any deliver subject for it (the server checks
none), so nothing unsigned may be believed without looking it up: ``pasar.head`` and ``pasar.wake`` are hints, and a
request to the arbiter counts only where the answer goes to settlement's inbox, which no consumer can name as a reply.
"""

from typing import Final

from msgspec import Struct


class Role(Struct, frozen=True, kw_only=True):
    """Attributes:
    publish, subscribe: Subjects, with wildcards; all others are refused.
    answers: May reply to whatever reaches it, once a message: for micro's `$SRV` requests.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...] = ()
    answers: bool = False


def inbox(role: str) -> str:
    """Prefix of the role's own inboxes; the public one is every NATS client's default."""
    return "_INBOX" if role == "public" else f"_INBOX_{role}"


def _read(stream: str) -> tuple[str, ...]:
    """Read a stream through consumers."""
    return (
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.INFO.{stream}.>",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.>",
        f"$JS.ACK.{stream}.>",
        f"$JS.FC.{stream}.>",
    )


def _get(stream: str) -> tuple[str, ...]:
    """Read single messages by sequence or subject."""
    return (
        f"$JS.API.STREAM.MSG.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}",
        f"$JS.API.DIRECT.GET.{stream}.>",
    )


_ASK: Final = ("$SRV.>",)
_SERVE: Final = ("$SRV.>",)
_COMMAND: Final = ("pasar.command",)
_ROOT: Final = ("pasar.log.root",)
_READ_EVENTS: Final = _read("EVENTS")
#: Who else reads the stream, and how far each is: what the page shows.
_LIST_CONSUMERS: Final = ("$JS.API.CONSUMER.LIST.EVENTS",)
_OWN_CONSUMERS: Final = ("$JS.API.CONSUMER.DELETE.EVENTS.>",)
_BLOBS: Final = (
    *_read("OBJ_blobs"),
    *_get("OBJ_blobs"),
    "$O.blobs.>",
    "$JS.API.CONSUMER.DELETE.OBJ_blobs.>",
    "pasar.blobs.want.>",
)
_PARTY: Final = Role(
    publish=(
        *_COMMAND,
        *_ROOT,
        "pasar.faucet",
        "pasar.chain",
        "pasar.inspect",
        *_BLOBS,
        *_READ_EVENTS,
        *_OWN_CONSUMERS,
        *_ASK,
    ),
    subscribe=("pasar.blobs.want.>", "pasar.head", "pasar.wake.>", *_SERVE),
    answers=True,
)

_INBOXES: Final = tuple(
    f"{inbox(role)}.>"
    for role in ("market", "relay", "projector", "reader", "party", "inspector", "settlement", "arbiter", "public")
)

#: Everybody also hears his own inbox; see ``subscriptions``.
ROLES: Final[dict[str, Role]] = {
    "market": Role(
        publish=(
            *_INBOXES,
            "pasar.head",
            "pasar.wake.>",
            *_BLOBS,
            "$JS.API.STREAM.CREATE.OBJ_blobs",
            "$JS.API.STREAM.UPDATE.OBJ_blobs",
            *_ASK,
        ),
        subscribe=(*_COMMAND, *_ROOT, "pasar.blobs.want.>", *_SERVE),
        answers=True,
    ),
    "relay": Role(
        publish=("pasar.events.>", "$JS.API.>", *_ASK),
        subscribe=("pasar.head", *_SERVE),
        answers=True,
    ),
    "projector": Role(
        publish=(*_READ_EVENTS, *_get("EVENTS"), *_OWN_CONSUMERS, *_ASK),
        subscribe=("pasar.head", *_SERVE),
        answers=True,
    ),
    "reader": Role(publish=(*_ROOT, *_READ_EVENTS, *_get("EVENTS"), *_OWN_CONSUMERS, *_LIST_CONSUMERS, *_ASK)),
    "party": _PARTY,
    "inspector": Role(publish=_PARTY.publish, subscribe=(*_PARTY.subscribe, "pasar.inspect"), answers=True),
    "settlement": Role(
        publish=(*_COMMAND, *_ROOT, *_READ_EVENTS, *_OWN_CONSUMERS, "pasar.arbiter", *_ASK),
        subscribe=("pasar.faucet", "pasar.chain", "pasar.wake.>", *_SERVE),
        answers=True,
    ),
    "arbiter": Role(
        publish=(*_COMMAND, *_READ_EVENTS, *_OWN_CONSUMERS, *_ASK),
        subscribe=("pasar.arbiter", "pasar.wake.>", *_SERVE),
        answers=True,
    ),
    "public": Role(publish=(*_COMMAND, *_ROOT, *_READ_EVENTS)),
}


def subscriptions(role: str) -> tuple[str, ...]:
    """What the role may hear, its own inbox included."""
    return (*ROLES[role].subscribe, f"{inbox(role)}.>")
