"""What the page's port serves: Streamlit, ``/live`` for the page, and for anybody's curl what ``feed`` offers."""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import streamlit as st
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Route, WebSocketRoute
from streamlit.runtime import get_instance
from streamlit.runtime.stats import CacheStat

from services import bootstrap, logs
from services.config import from_environment
from services.ports import SystemClock
from services.projections.queries import Reader
from services.stack.page import HOSTS, Options
from services.stack.ready import announce_ready
from services.stack.state import attach
from services.viewing.pulse import Pulse
from ui.page import acting, feed, process
from ui.page.guard import Guard, Uploads

_CONNECTIONS_MAX: Final = 6
#: How long a script may hold the interpreter while the feed waits for it, in seconds.
_SWITCH_S: Final = 0.001
APP: Final = Path(__file__).parent / "app.py"


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """The process's one subscription and its connections to the database."""
    settings = attach(from_environment())
    logs.configure(settings, "page")
    _log_as_everybody()
    clock = SystemClock()
    assert settings.database_url is not None, "a stack that is up has a database"
    async with (
        await Reader.open(settings.database_url, connections_max=_CONNECTIONS_MAX) as reader,
        # the feed's own: it moves however long the others search
        await Reader.open(settings.database_url, connections_max=1) as feeding,
    ):
        pulse = Pulse(bootstrap.wires(settings, "reader", "page"), feeding, clock)
        await pulse.start()
        process.show(process.Running(settings, reader, pulse, clock))
        following = asyncio.get_running_loop().create_task(pulse.run())
        gc.collect()
        gc.freeze()  # what was imported is never garbage; collections need not walk it
        sys.setswitchinterval(_SWITCH_S)
        try:
            announce_ready()
            yield
        finally:
            await acting.close()
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            process.show(None)


def _log_as_everybody() -> None:
    """What the libraries say goes into the log, whose size is bounded: viewers can make them say much."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("streamlit", "uvicorn"):
            logger = logging.getLogger(name)
            logger.handlers.clear()
            logger.propagate = True


def _uploaded() -> int:
    files = get_instance().uploaded_file_mgr.get_stats()
    return sum(one.byte_length for found in files.values() for one in found if isinstance(one, CacheStat))


def make(options: Options) -> st.App:
    """The application, for whoever may reach it under these names."""
    hosts = [*HOSTS, *options.hosts] if "*" not in options.hosts else ["*"]
    return st.App(
        APP,
        lifespan=lifespan,
        routes=[
            Route("/healthz", feed.health),
            Route("/events", feed.events),
            Route("/log", feed.download),
            Route("/asyncapi.json", feed.contract),
            WebSocketRoute("/live", feed.live),
        ],
        # a page of another site cannot reach this one by a name that it had pointed here (DNS rebinding)
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts),
            Middleware(Guard),
            Middleware(Uploads, held=_uploaded),
        ],
    )


app = make(Options.from_environment(os.environ))
