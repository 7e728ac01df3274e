"""A supervisor for the tests to shoot at: ``supervise.py HOME``."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # bitcoinlib installs a package that is called tests, too

from services import logs
from services.config import Settings
from services.stack.daemon import serve
from tests.system.embedded import dummy

if __name__ == "__main__":
    settings = Settings(home=Path(sys.argv[1]))
    logs.configure(settings, "stack")
    grandchild = "subprocess.run([sys.executable, '-c', 'import signal; signal.pause()'])"
    asyncio.run(serve(settings, [dummy("service"), dummy("parent", then=grandchild)]))
