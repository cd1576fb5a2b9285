"""A small program that runs a command within limits, and leaves nothing of it behind, however this or that ends.

    python keeper.py LIFELINE MEBIBYTES COMMAND …

LIFELINE is the descriptor of a socket: when its other end closes, the process and all that it started are killed; when
the process ends, all that it started is killed and its wait status is written there. MEBIBYTES limits the memory that
each of the processes may allocate, and each file that it writes; 0 sets no limit. It is run without site-packages, so
it starts at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
CANNOT_RUN = 127


def main(lifeline: int, mebibytes: int, command: list[str]) -> None:
    """Runs the command until it ends, or until the lifeline does."""
    os.set_inheritable(lifeline, False)
    adopt_orphans()
    awake = wakeup()
    process = os.fork()
    if process == 0:
        _become(command, mebibytes)
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    _let_go_of_streams()
    # The signal may have come before it was listened for.
    ended, status = os.waitpid(process, os.WNOHANG)
    while not ended:
        ready, _, _ = select.select([lifeline, awake], [], [])
        if lifeline in ready:
            break
        os.read(awake, 1024)
        ended, status = os.waitpid(process, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    kill_children()
    if ended:
        with contextlib.suppress(OSError):
            os.write(lifeline, str(status).encode())


def _become(command: list[str], mebibytes: int) -> None:
    """Turns this process into the command, in a session of its own, which ends with this one's parent."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        end_with_parent(signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if mebibytes:
            # What is allocated, and the files that lie in memory as others lie on a disk.
            for limited in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE):
                resource.setrlimit(limited, (mebibytes << 20, mebibytes << 20))
        os.execvp(command[0], command)
    except BaseException as error:
        os.write(2, f"{command[0]}: {error}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def _let_go_of_streams() -> None:
    """Closes the command's ends of the pipes in this process, so that their other ends notice when it ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)


def wakeup() -> int:
    """A descriptor that can be read whenever a child of this process has ended, or a signal has come."""
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return awake


def adopt_orphans() -> None:
    """Makes this process the parent of what its children's processes leave behind, where the system can do that."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def end_with_parent(number: int) -> None:
    """Lets the system send this process that signal when its parent ends, where the system can do that."""
    _prctl(PR_SET_PDEATHSIG, number)


def _prctl(option: int, value: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def kill_children() -> None:
    """Kills the children of this process, and whatever becomes its child thereby."""
    while True:
        found = children()
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for process in found:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, 0)
        if not found:
            return


def children() -> list[int]:
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
