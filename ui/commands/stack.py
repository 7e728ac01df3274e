"""``pasar up``, ``pasar down`` and ``pasar status``: the embedded stack on this machine."""

import os
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs

from ui.format import AsJson, ago, columns, print_json, say

if TYPE_CHECKING:
    from services.stack.page import Options
    from services.stack.state import StackState
    from services.stack.status import ServiceReport

#: What a service reports and the table has a column for, `pasar worker status` shows, or is said for machines.
_SHOWN_ELSEWHERE = ("position", "projections", "head", "last_loop_at", "worker", "limits")


def add_to(app: typer.Typer) -> None:
    """These verbs have no noun: they stand at the root."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(ui)


#: Where the page listens.
PagePort = Annotated[
    int | None,
    typer.Option(min=0, max=65_535, help="Port of the page; 8501, or a free one where that is taken, if absent."),
]
PageHost = Annotated[
    str | None,
    typer.Option(help="Address that the page listens on; who reaches another than loopback can look, not spend."),
]


def _page_options(host: str | None, port: int | None) -> "Options":
    from services.stack.page import Options

    given = {"PASAR_PAGE_HOST": host, "PASAR_PAGE_PORT": None if port is None else str(port)}
    return Options.from_environment({**os.environ, **{name: value for name, value in given.items() if value}})


def ui(host: PageHost = None, port: PagePort = None) -> None:
    """Serve the page of the market that runs, until Ctrl-C; also of one that the environment names.

    The page of a market that `pasar up` started is up already; `pasar status` says where.

    Examples:

      pasar ui

      pasar ui --port 9000

      pasar ui --host 192.168.1.20    for others to look at, on this address of the machine
    """
    from ui.commands.running import attached
    from ui.page.serve import main

    attached()
    options = _page_options(host, port)
    os.environ.update(options.environment)
    raise typer.Exit(main())


def up(
    workers: Annotated[int, typer.Option(min=0, help="Workers to start on this machine.")] = 0,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay until Ctrl-C instead of leaving it.")] = False,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the market's page too.")] = True,
    page_port: PagePort = None,
    page_host: PageHost = None,
    as_json: AsJson = False,
) -> None:
    """Start the market on this machine; its data is in PASAR_HOME.

    Examples:

      pasar up                      the market alone

      pasar up --workers 2          and two workers

      pasar up --page-port 9000     its page on another port

      PASAR_HOME=/srv/pasar pasar up --foreground
    """
    from services.config import from_environment
    from services.stack import daemon
    from services.stack.page import services as page_services
    from services.stack.roles import local_workers, market_services

    settings = from_environment()
    progress = _Progress()
    options = structs.replace(_page_options(page_host, page_port), wanted=page)
    if foreground:
        import asyncio

        from services import logs

        logs.configure(settings, "stack")
        services = (*market_services(local_workers(workers)), *page_services(options))
        asyncio.run(daemon.serve(settings, services, on_change=progress))
        return
    state = daemon.spawn(settings, workers=local_workers(workers), page=options, on_change=progress)
    if as_json:
        print_json(state)
        return
    print(f"the market runs as process {state.pid} on {settings.home}")
    rows = [("service", "pid"), *((service.name, str(service.pid or "-")) for service in state.services)]
    print(columns(rows))
    if state.page_url:
        print(f"look at it on {state.page_url}")
    print(f"events   {state.nats_url}\ndatabase {state.database_url}\nstop it with `pasar down`")
    if not workers:
        print(
            "no worker runs with it; `pasar worker run` starts one here, and `pasar up --workers 2` two with the market"
        )


def down(as_json: AsJson = False) -> None:
    """Stop the market on this machine.

    Returns when all of it is gone.

    Examples:

      pasar down
    """
    from services.config import from_environment
    from services.stack import daemon
    from services.stack.state import NotRunning

    settings = from_environment()
    try:
        pid: int | None = daemon.down(settings)
    except NotRunning:
        pid = None
    if as_json:
        print_json({"stopped": pid})
    else:
        print(
            f"nothing runs on {settings.home}" if pid is None else f"stopped; process {pid} and its services are gone"
        )


def status(as_json: AsJson = False) -> None:
    """Show what runs and how it is.

    Lag is how many events a service is behind the market. Exit status 1 when nothing runs.

    Examples:

      pasar status

      pasar status --json | jq '.services[].data'
    """
    import asyncio

    from services.config import from_environment
    from services.stack.state import NotRunning
    from services.stack.status import report

    settings = from_environment()
    try:
        now = asyncio.run(report(settings))
    except NotRunning:
        if as_json:
            print_json({"state": "down", "home": str(settings.home)})
            raise typer.Exit(1) from None
        raise
    if as_json:
        print_json(now)
        return
    print(f"the stack is {now.state} on {settings.home}, up {ago(now.started_at)}")
    if now.page_url:
        print(f"its page is {now.page_url}")
    heading = ("process", "state", "pid", "since", "restarts", "rss MB", "pss MB")
    lines = [
        (one.name, one.state, _cell(one.pid), ago(one.since), str(one.restarts), _cell(one.rss_mb), _cell(one.pss_mb))
        for one in now.processes
    ]
    print(columns([heading, *lines]))
    if now.services:
        print()
        print(columns([("service", "position", "lag", "heard", "says"), *map(_service, now.services)]))
    if now.unheard:
        say(now.unheard)


def _service(one: "ServiceReport") -> tuple[str, ...]:
    heard = "-" if one.at is None else f"{ago(one.at)} ago"
    models = one.data.get("projections", {})
    stopped = [f"{name} stopped at {model['position']}" for name, model in models.items() if model["poison"]]
    facts = [_fact(name, value) for name, value in one.data.items() if name not in _SHOWN_ELSEWHERE]
    said = ", ".join(filter(None, (*stopped, *facts)))
    return one.name, _cell(one.position), _cell(one.lag), heard, said


def _fact(name: str, value: object) -> str:
    words = name.replace("_", " ")
    if isinstance(value, bool):
        return words if value else f"not {words}"
    return "" if value is None else f"{value} {words}" if isinstance(value, int) else f"{words}: {value}"


def _cell(value: float | None) -> str:
    return "-" if value is None else str(value)


class _Progress:
    """Says on standard error once when each service gets ready, and each death."""

    def __init__(self) -> None:
        self._said: set[tuple[str, str, int]] = set()

    def __call__(self, state: "StackState") -> None:
        for service in state.services:
            fact = (service.name, service.state, service.restarts)
            if service.state in ("ready", "waiting") and fact not in self._said:
                self._said.add(fact)
                say(
                    f"{service.name} is ready"
                    if service.state == "ready"
                    else f"{service.name} ended; starting it again"
                )
