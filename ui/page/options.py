"""How the page is served."""

from services.stack.page import HOSTS, Options

__all__ = ["HOSTS", "Options"]
