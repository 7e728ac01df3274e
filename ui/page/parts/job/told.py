"""A job's one history in three groupings, and the evidence for its results."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import streamlit as st

from services.client.sentences import METHODS
from services.client.words import count
from services.projections.queries import Job
from services.viewing import causes, history, timeline
from services.viewing.history import Entry, Story
from services.viewing.history import Task as TaskStory
from services.viewing.timeline import Axis, took
from ui.page.context import Context
from ui.page.parts import html

GROUPINGS: Final = ("story", "timeline", "log")
#: Tasks, and events of the log, that are drawn at a time.
TASKS_SHOWN: Final = 50
EVIDENCE_SHOWN: Final = 10
EVENTS_SHOWN: Final = 200
_ALL: Final = "every event"


def draw(context: Context, job: Job, entries: Sequence[Entry], story: Story) -> None:
    """The history, grouped as the address says."""
    html.show("heading.html", context, text="History")
    chosen = st.segmented_control(
        "Grouping of the history",
        GROUPINGS,
        default="story",
        required=True,
        key="history",
        bind="query-params",
        label_visibility="collapsed",
    )
    if len(entries) >= history.EVENTS_MAX:
        st.caption(f"This job has more than {history.EVENTS_MAX:,} events; what follows tells of the first ones.")
    match chosen:
        case "log":
            _log(context, entries)
        case "timeline":
            _timeline(context, job, entries, story)
        case _:
            _story(context, job, entries, story)


def _story(context: Context, job: Job, entries: Sequence[Entry], story: Story) -> None:
    ranked = story.ranked()
    tasks = ranked[: _shown()]
    troubled = sum(bool(task.troubles) for task in ranked)
    html.show(
        "history_story.html",
        context,
        story=story,
        tasks=tasks,
        troubled=troubled,
        posted_at=job.posted_at,
        original=job.original,
        ended=job.state == "completed",
        took=took,
    )
    _more(len(tasks), len(ranked), "shown")


def _timeline(context: Context, job: Job, entries: Sequence[Entry], story: Story) -> None:
    end = entries[-1].at if job.state == "completed" and entries else context.at
    axis = Axis(job.posted_at, end)
    ranked = story.ranked()
    tasks = ranked[: _shown()]
    rows = [row for task in tasks for row in timeline.rows(task.runs, job.posted_at, end)]
    html.show(
        "history_timeline.html",
        context,
        rows=rows,
        axis=axis,
        gaps=timeline.gaps(story, axis),
        workers=timeline.busiest(story),
        all_runs=sum(len(task.runs) for task in ranked),
        replicas=job.replicas,
        ended=job.state == "completed",
        took=took,
    )
    _more(len(tasks), len(ranked), "shown")


def _log(context: Context, entries: Sequence[Entry]) -> None:
    kinds = [_ALL, *sorted({one.name for one in entries})]
    name = st.selectbox("Events", kinds, key="name", bind="query-params", label_visibility="collapsed")
    found = [one for one in entries if name in (_ALL, one.name)]
    start = min(_number("from"), max(0, len(found) - 1)) // EVENTS_SHOWN * EVENTS_SHOWN
    html.show(
        "history_log.html",
        context,
        entries=found[start : start + EVENTS_SHOWN],
        links=causes.links(entries),
        start=start,
        number=len(found),
        name="" if name == _ALL else name,
        payload=payload,
    )
    if len(found) <= EVENTS_SHOWN:
        return
    with st.container(horizontal=True):
        _turn("first", "First", 0, start > 0)
        _turn("earlier", "Earlier", start - EVENTS_SHOWN, start > 0)
        _turn("later", "Later", start + EVENTS_SHOWN, start + EVENTS_SHOWN < len(found))
        _turn("last", "Last", len(found) - 1, start + EVENTS_SHOWN < len(found))


def _turn(key: str, label: str, start: int, there: bool) -> None:
    st.button(label, key=key, disabled=not there, on_click=_set, args=("from", start))


def evidence(context: Context, job: Job, story: Story) -> None:
    """By what each result was accepted, and what its workers were bound to."""
    tasks = sorted(story.tasks.values(), key=lambda one: (not _disputed(one), one.task))
    shown = tasks[: max(EVIDENCE_SHOWN, _number("evidence"))]
    methods = Counter(task.method for task in tasks if task.method)
    counts = [(f"tasks verified: {METHODS[method]}", number) for method, number in methods.most_common()]
    disputed = sum(map(_disputed, tasks))
    if disputed or job.rejected:
        counts += [
            ("tasks disputed, because results differed", disputed),
            (f"of {count(job.submitted, 'result')} rejected by a referee's run", job.rejected),
        ]
    html.show(
        "job_evidence.html",
        context,
        job=job,
        tasks=shown,
        all_tasks=len(tasks),
        counts=counts or [("tasks verified so far", 0)],
        methods=METHODS,
    )
    _more(len(shown), len(tasks), "evidence")


def _disputed(task: TaskStory) -> bool:
    return any(one.name == "DisputeOpened" for one in task.entries)


def payload(one: Entry) -> str:
    """An event's own bytes, set out for reading."""
    return msgspec.json.format(one.stored.data, indent=2).decode()


def _shown() -> int:
    return max(TASKS_SHOWN, _number("shown"))


def _number(name: str) -> int:
    """A number in the address; 0 if it is none."""
    said = st.query_params.get(name, "")
    return int(said) if said.isdecimal() and len(said) < 10 else 0


def _more(shown: int, number: int, name: str) -> None:
    """A button that draws more tasks; how many is in the address, under this name."""
    if shown < number:
        more = min(TASKS_SHOWN, number - shown)
        label = f"Show {more} more of {number:,} tasks"
        st.button(label, key=f"more-{name}", on_click=_set, args=(name, shown + more))


def _set(name: str, value: int) -> None:
    st.query_params[name] = str(value)
