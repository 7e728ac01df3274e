"""What the workers returned, fetched from the store and drawn as what it is."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import streamlit as st

from domain import events as e
from domain.blobs import BlobRef
from domain.errors import Refused
from services.arrays import Array, pack
from services.config import Settings
from services.projections.queries import Job
from services.viewing import history, values
from services.viewing.history import Entry, Story
from ui.page import contents, process
from ui.page.context import Context
from ui.page.parts import frame, html

#: Results up to this size are fetched unasked, and of so many tasks at once where each is a number.
UNASKED_BYTES: Final = 4 << 20
_SCALAR_BYTES: Final = 512
SCALARS_MAX: Final = 2_000
SCALARS_UNASKED: Final = 100


class Settled(NamedTuple):
    """The result of a task that stands: who returned it, and where that was recorded."""

    worker: str
    shown: Entry
    ref: BlobRef


def draw(context: Context, job: Job, story: Story) -> None:
    """Where there are verified results and their content can be had."""
    if job.original:
        story = history.story(history.read(context.view, job.original))
    settled = settled_of(story)
    html.show("heading.html", context, text="Results")
    settings = process.market().settings
    if not settled:
        st.caption("No result was verified yet.")
    elif settings is None or not context.present:
        st.caption("Their content is in the market's store: look at the job in a market that runs.")
    else:
        _drawn(context, settings, job, settled)


def settled_of(story: Story) -> dict[int, Settled]:
    """By task, the first result that was verified."""
    found = {}
    for index, task in sorted(story.tasks.items()):
        run = next((one for one in task.runs if one.state == "verified"), None)
        shown = None if run is None else next(one for one in run.entries if isinstance(one.event, e.ResultSubmitted))
        if task.settled and run is not None and shown is not None and isinstance(shown.event, e.ResultSubmitted):
            found[index] = Settled(run.worker, shown, shown.event.result)
    return found


@st.fragment
def _drawn(context: Context, settings: Settings, job: Job, settled: Mapping[int, Settled]) -> None:
    try:
        _all(settings, settled)
        _one(context, settings, job, settled)
    except Refused as refused:
        frame.refused(refused)


def _all(settings: Settings, settled: Mapping[int, Settled]) -> None:
    """Results that are numbers, of all tasks in one chart."""
    small = all(one.ref.size <= _SCALAR_BYTES for one in settled.values())
    if not small or not 1 < len(settled) <= SCALARS_MAX:
        return
    label = f"Chart the results of all {len(settled):,} tasks"
    if not st.toggle(label, value=len(settled) <= SCALARS_UNASKED, key="chart"):
        return
    refs = {task: one.ref for task, one in settled.items()}
    found = values.scalars(process.market().ask(contents.arrays(settings, refs)))
    if not found:
        st.caption("The results are no single numbers: look at them one by one.")
    for name, points in found.items():
        numbers = [value for _, value in points]
        said = f"{_called(name, found)} by task: from {values.figure(min(numbers))} to {values.figure(max(numbers))}"
        st.caption(said)
        data = {"task": [task for task, _ in points], _called(name, found): numbers}
        st.scatter_chart(data, x="task", y=_called(name, found), height=260, alt=said)


def _one(context: Context, settings: Settings, job: Job, settled: Mapping[int, Settled]) -> None:
    first = next(iter(settled))
    task = int(
        st.number_input(
            "Task",
            min_value=0,
            max_value=job.tasks - 1,
            value=first,
            step=1,
            key="task",
            bind="query-params",
            width=160,
        )
    )
    one = settled.get(task)
    if one is None:
        elsewhere = f" among the events that are read here: `pasar receipt save {job.job[:8]} --results` has all"
        st.caption(f"Task {task} has no verified result{elsewhere if job.verified > len(settled) else ''}.")
        return
    if one.ref.size > UNASKED_BYTES and not st.toggle(f"Fetch {one.ref.size:,} bytes", key=f"fetch-{task}"):
        return
    arrays = dict(sorted(process.market().ask(contents.arrays(settings, {task: one.ref}))[task].items()))
    html.show(
        "job_result.html",
        context,
        task=task,
        worker=one.worker,
        size=one.ref.size,
        position=one.shown.position,
        summaries=[values.summary(_called(name, arrays), array) for name, array in arrays.items()],
    )
    for name, array in arrays.items():
        _picture(_called(name, arrays), array)
    st.download_button(
        f"Download task {task} as .safetensors",
        pack(arrays),
        file_name=f"{job.job}-{task}.safetensors",
        mime="application/octet-stream",
        key="result-file",
        on_click="ignore",
    )


def _picture(name: str, array: Array) -> None:
    seen = values.summary(name, array)
    said = f"{name}, {seen.shape}, from {seen.least} to {seen.most}"
    match values.look(array):
        case "line":
            st.line_chart({name: values.line(array)}, height=260, alt=f"line chart of {said}")
        case "map":
            st.image(
                values.pixels(array), caption=f"{said}, dark to bright", alt=f"heat map of {said}", output_format="PNG"
            )
        case "rgb":
            st.image(values.pixels(array), caption=said, alt=f"picture of {said}", output_format="PNG")


def _called(name: str, among: Mapping[str, object]) -> str:
    """A function's only result has no name of its own."""
    return name if len(among) > 1 else "result"
