"""The form of a job: what to run and on which terms, and the command that says the same."""

import shlex
from collections.abc import Callable
from typing import ClassVar, Final, NamedTuple

import streamlit as st

from domain.errors import Refused
from domain.ids import TASKS_MAX
from domain.job import REPLICAS_MAX
from domain.kernels.menu import MENU, Number, Parameter
from services.client import goods
from services.client.goods import File, Goods
from services.client.terms import Terms
from ui.format import parse_duration
from ui.page.funds import amount, in_units

#: What a fresh form says.
FIRST: Final = "mandelbrot"
TASKS: Final = 4
DEADLINE: Final = "1h"
MEMORY_MIN_MB, MEMORY_MAX_MB = 64, 1 << 20
_SOURCES: Final = ("From the catalogue", "A program of yours")


class NotATerm(Refused):
    template: ClassVar[str] = "mend what is marked above; nothing is quoted or posted until then"


class Draft(NamedTuple):
    """A filled form.

    Attributes:
        goods: Makes what is to be run; exporting a program takes a moment.
        line: The command that posts the same.
    """

    goods: Callable[[], Goods]
    terms: Terms
    line: str


def form() -> Draft | None:
    """The form; absent while something that it needs is missing.

    Raises:
        BadDuration: The deadline is no time.
    """
    source = st.segmented_control("What to run", _SOURCES, default=_SOURCES[0], key="post_source", required=True)
    wares = _catalogue() if source == _SOURCES[0] else _files()
    terms, options = _terms()
    if wares is None:
        return None
    make, words = wares
    return Draft(make, terms, shlex.join(["pasar", "job", "post", *words, *options]))


def _catalogue() -> tuple[Callable[[], Goods], list[str]]:
    summaries = {name: f"{name}: {item.summary}" for name, item in MENU.items()}
    name = st.selectbox(
        "Program", list(MENU), list(MENU).index(FIRST), format_func=summaries.__getitem__, key="post_program"
    )
    chosen = {one.name: _number(name, one) for one in MENU[name].parameters}
    left, right = st.columns(2)
    tasks = left.number_input("Tasks", 1, TASKS_MAX, TASKS, key="post_tasks", help="Each on inputs of its own.")
    seed = right.number_input("Seed", 0, (1 << 32) - 1, 0, key="post_seed", help="From which the inputs are drawn.")
    changed = [one for one in MENU[name].parameters if chosen[one.name] != one.default]
    sets = [word for one in changed for word in ("--set", f"{one.name}={chosen[one.name]}")]
    words = [name, *sets, "--tasks", str(tasks), *(["--seed", str(seed)] if seed else [])]
    return lambda: goods.of_catalogue(name, chosen, tasks=tasks, seed=seed), words


def _number(program: str, parameter: Parameter) -> Number:
    label = f"{parameter.summary} ({parameter.name})"
    key = f"post_{program}_{parameter.name}"
    if isinstance(parameter.default, int):
        return int(st.number_input(label, int(parameter.least), int(parameter.most), parameter.default, key=key))
    limits = float(parameter.least), float(parameter.most), float(parameter.default)
    return float(st.number_input(label, *limits, key=key, format="%g"))


def _files() -> tuple[Callable[[], Goods], list[str]] | None:
    program = st.file_uploader(
        "Exported program",
        key="post_file",
        help="What services.programs.export.export_program makes of a JAX function of (shared, row).",
    )
    left, right = st.columns(2)
    shared = left.file_uploader("Arrays for every task", type="safetensors", key="post_shared")
    mapped = right.file_uploader("Arrays with a row a task", type="safetensors", key="post_mapped")
    tasks = st.number_input(
        "Tasks", 1, TASKS_MAX, None, key="post_rows", placeholder="one for each row", help="Needed without rows."
    )
    if program is None:
        return None
    words = [program.name]
    for option, file in (("--shared", shared), ("--mapped", mapped)):
        words += [option, file.name] if file is not None else []
    words += ["--tasks", str(tasks)] if tasks is not None else []
    files = [None if one is None else File(one.name, one.getvalue()) for one in (shared, mapped)]
    own = File(program.name, program.getvalue())
    return lambda: goods.of_files(own, files[0], files[1], tasks), words


def _terms() -> tuple[Terms, list[str]]:
    """The terms, and the options of the command line for those that are not the usual ones."""
    wrong: list[Refused] = []
    left, right = st.columns(2)
    with left:
        replicas = st.number_input(
            "Workers for each task", 1, REPLICAS_MAX, 1, key="post_replicas", help="Their results are compared."
        )
    with right:
        most = "The most that all of it may cost; empty: no bound."
        budget_msat = amount("Budget in sat", "post_budget", help_=most, wrong=wrong)
    with st.expander("More terms"):
        left, right = st.columns(2)
        with left:
            price_msat = amount(
                "Price of a run in sat",
                "post_price",
                help_="What one worker earns for one task; empty: market price.",
                wrong=wrong,
            )
            loses = "What a worker loses with each rejected result."
            stake_msat = amount("Stake in sat", "post_stake", "0", loses, wrong)
            reuse = st.checkbox("Take results of yours for the same work", value=True, key="post_reuse")
        with right:
            deadline = st.text_input("Deadline", DEADLINE, key="post_deadline", help="Of the whole job: 20min, 2d.")
            timeout_s = st.number_input(
                "Time for a task in s", 1, 86_400, None, key="post_timeout", placeholder="by its meter"
            )
            memory_mb = st.number_input(
                "Memory for a task in MB", MEMORY_MIN_MB, MEMORY_MAX_MB, None, key="post_memory",
                placeholder="by its meter",
            )  # fmt: skip
    if wrong:
        raise NotATerm
    given: dict[str, str | None] = {
        "--replicas": str(replicas) if replicas > 1 else None,
        "--budget": in_units(budget_msat) if budget_msat is not None else None,
        "--price": in_units(price_msat) if price_msat else None,
        "--stake": in_units(stake_msat) if stake_msat else None,
        "--deadline": deadline.replace(" ", "") if deadline != DEADLINE else None,
        "--timeout": str(timeout_s) if timeout_s is not None else None,
        "--memory": str(memory_mb) if memory_mb is not None else None,
    }
    options = [word for name, value in given.items() if value is not None for word in (name, value)]
    terms = Terms(
        budget_msat=budget_msat,
        price_msat=price_msat or None,
        stake_msat=stake_msat or 0,
        replicas=replicas,
        timeout_s=timeout_s,
        memory_mb=memory_mb,
        reuse=reuse,
        deadline=parse_duration(deadline),
    )
    return terms, options if reuse else [*options, "--no-reuse"]
