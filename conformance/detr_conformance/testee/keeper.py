"""A small program that runs a testee within limits, and leaves nothing of it behind, however this or that ends.

    python keeper.py LIFELINE MEBIBYTES COMMAND …

LIFELINE is the descriptor of a socket: when its other end closes, the testee and all that it started are killed; when
the testee ends, all that it started is killed and its wait status is written there. MEBIBYTES limits the memory that
each process of the testee may allocate; 0 sets no limit. It is run without site-packages, so it starts at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys

PR_SET_CHILD_SUBREAPER = 36
CANNOT_RUN = 127


def main(lifeline: int, mebibytes: int, command: list[str]) -> None:
    """Runs the command until it ends, or until the lifeline does."""
    os.set_inheritable(lifeline, False)
    _adopt_orphans()
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    testee = os.fork()
    if testee == 0:
        _become(command, mebibytes)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    _let_go_of_streams()
    status = None
    # The signal may have come before it was listened for.
    ended, now = os.waitpid(testee, os.WNOHANG)
    while not ended:
        ready, _, _ = select.select([lifeline, awake], [], [])
        if lifeline in ready:
            break
        os.read(awake, 1024)
        ended, now = os.waitpid(testee, os.WNOHANG)
    if ended:
        status = now
    _kill_all(testee)
    if status is not None:
        with contextlib.suppress(OSError):
            os.write(lifeline, str(status).encode())


def _become(command: list[str], mebibytes: int) -> None:
    """Turns this process into the command, in a session of its own."""
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if mebibytes:
            resource.setrlimit(resource.RLIMIT_DATA, (mebibytes << 20, mebibytes << 20))
        os.execvp(command[0], command)
    except BaseException as error:
        os.write(2, f"{command[0]}: {error}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def _let_go_of_streams() -> None:
    """Closes the testee's ends of the pipes in this process, so that their other ends notice when the testee ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)


def _adopt_orphans() -> None:
    """Makes this process the parent of what the testee's processes leave behind, where the system can do that."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_all(testee: int) -> None:
    """Kills the testee's process group, and then whatever else becomes a child of this process."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(testee, signal.SIGKILL)
    while True:
        for process in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """The processes whose parent is this one, as /proc tells them."""
    own = str(os.getpid()).encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            # The name of a program, in parentheses, may have spaces; the parent is the second field after it.
            if file.read().rpartition(b")")[2].split()[1] == own:
                found.append(int(name))
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
