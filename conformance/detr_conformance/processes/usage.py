"""What other processes use, the processor's time and memory, and their end."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil

SHARED = ("/memfd:", "/dev/shm/")
"""Where descriptors lead that are open on files which lie in memory."""


def processor_seconds(process: int) -> float:
    """The processor time that a process and all that it started have used; 0 for one that is gone."""
    return sum(map(_own_seconds, _family(process)))


def own_processor_seconds() -> float:
    """The processor time that this process and all that it started have used."""
    return processor_seconds(os.getpid())


def kill_marked(variable: str, value: str) -> None:
    """Kills every process that has a variable of that value in its environment, and whatever it starts meanwhile."""
    found = True
    while found:
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(variable) == value:
                    process.kill()
                    found = True


def most_memory(process: int) -> int:
    """The bytes that are held by whichever holds most, of a process and all that it started; 0 where that is not told.

    It is what was allocated, shared memory and files in memory included, and not the code that many share.
    """
    return max((_held(Path("/proc", str(one.pid))) for one in _family(process)), default=0)


def _family(process: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(process)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _own_seconds(process: psutil.Process) -> float:
    """The time of one process, and of those of its children that have ended, which some systems do not tell."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return sum(getattr(times, name, 0.0) for name in ("user", "system", "children_user", "children_system"))


def _held(told: Path) -> int:
    """The bytes that a process of Linux holds, by its folder in /proc."""
    try:
        lines = (told / "status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        allocated, shared = (int(fields[name].split()[0]) << 10 for name in ("RssAnon", "RssShmem"))
        # What lies in files is seen through their descriptors, also where it is not mapped.
        return allocated + max(shared, sum(map(_file_size, (told / "fd").iterdir())))
    except (OSError, LookupError, ValueError):
        return 0


def _file_size(descriptor: Path) -> int:
    """The bytes of memory of the file on which a descriptor is open; 0 for a file elsewhere."""
    with contextlib.suppress(OSError):
        if os.readlink(descriptor).startswith(SHARED):
            return descriptor.stat().st_blocks * 512
    return 0
