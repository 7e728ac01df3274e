"""What happens to the sandbox when its worker has no time to end it."""

import subprocess
import sys

import psutil

WORKER = """
import asyncio, sys
from pathlib import Path
from services.worker.executor import Executor
async def main():
    async with Executor(Path(sys.argv[1])) as executor:
        await executor.warm()
        print(executor.pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def test_sandbox_dies_with_its_worker(tmp_path):
    with subprocess.Popen([sys.executable, "-c", WORKER, tmp_path], stdout=subprocess.PIPE) as worker:
        sandbox = psutil.Process(int(worker.stdout.readline()))
        worker.kill()
    assert psutil.wait_procs([sandbox], timeout=10)[1] == []
