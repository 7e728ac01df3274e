"""(not yet)"""

from ui.page.context import Context
from ui.page.live import Watch


def draw(context: Context) -> Watch:
    return Watch()
