"""Why looking into a program can fail, whatever the program is: told like any other reason not to run it."""

from typing import Final, Literal

from services.programs.verdict import Inadmissible

Fault = Literal["timeout", "exhausted", "crash"]

_SENTENCES: Final[dict[Fault, str]] = {
    "timeout": "looking into it takes too long; make it smaller",
    "exhausted": "looking into it takes too much memory; make it smaller",
    "crash": "looking into it fails; export it anew with the jax that this market runs",
}


def faulty(fault: Fault) -> Inadmissible:
    """What to tell whoever wants such a program run."""
    return Inadmissible(fault, _SENTENCES[fault])
