"""The process that runs strangers' programs: it gives up what it can, warms jax up, then serves one worker.

Started by ``Child`` as ``python -I -m services.worker.sandbox <pid of the worker>`` with a socket as its input.
"""

import os
import socket
import sys

from services.worker import confine, frames, seccomp


def main() -> None:
    """Confine this process while it has one thread, since namespace and capabilities are a thread's own; then serve.

    Limits that warming up would break come after it.
    """
    applied = confine.confine(int(sys.argv[1]))
    channel = _channel()

    from services.worker import serving  # numpy and jax start threads when they are imported

    serving.warm_up()
    plain = os.environ.get("JAX_PLATFORMS") == "cpu"
    idle_bytes = confine.address_space() if plain else 0
    sandbox = serving.Sandbox(channel, idle_bytes)
    applied["memory"] = idle_bytes > 0 and confine.limit_memory(idle_bytes + (confine.COMPILER_MB << 20))
    applied["processor"] = confine.limit_processor(serving.IDLE_CPU_S)
    # Not where the driver of an accelerator starts programs, opens files and makes connections of its own.
    applied["system_calls"] = plain and seccomp.refuse_calls()
    channel.sendall(frames.frame(frames.Ready(applied)))
    sandbox.serve()


def _channel() -> socket.socket:
    """The socket that came as standard input; what libraries print goes to the log and cannot disturb it."""
    channel = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return channel


if __name__ == "__main__":
    main()
