"""A command whose process is ended by what it runs has not succeeded, and leaves nothing behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc to see processes in")

COMMAND = """
import atexit, ctypes, os, signal, sys, threading, time
from detr_conformance.base import interrupts
from detr_conformance.processes import supervisor
supervisor.GRACE = 0.5

def scribble():
    for name in os.listdir("/proc/self/fd"):
        try:
            os.write(int(name), bytes(100))
        except OSError:
            pass
    return 3

def wait(how):
    try:
        print("waiting", flush=True)
        time.sleep(100)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    return 128 + interrupts.received()

def command():
{body}

sys.exit(supervisor.supervised(command))
"""


@pytest.fixture
def supervised() -> Callable[..., subprocess.Popen[str]]:
    """Begins to run the body of a command in a supervised process; a word of its own stands in its command."""

    def begin(body: str, mark: str = "") -> subprocess.Popen[str]:
        indented = "\n".join(f"    {line}" for line in body.splitlines())
        command = [sys.executable, "-c", COMMAND.replace("{body}", indented), mark or "none"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return begin


Begin = Callable[..., "subprocess.Popen[str]"]

ENDINGS = {
    "returns": ("return 0", 0, ""),
    "returns 2": ("return 2", 2, ""),
    "exits": ("os._exit(0)", 1, "the process ended, with exit code 0, before the command was finished"),
    "exits from C": ("ctypes.CDLL(None)._exit(0)", 1, "with exit code 0"),
    "crashes": ("ctypes.string_at(0)", 1, "by signal SIGSEGV"),
    "closes everything": ("os.closerange(0, 256)\nos._exit(0)", 1, "with exit code 0"),
    "says that all is well": ("scribble()\nos._exit(0)", 1, "with exit code 0"),
    "scribbles": ("return scribble()", 3, ""),
    "exits at the end": ("atexit.register(os._exit, 0)\nreturn 1", 1, ""),
    "leaves a thread": ("threading.Thread(target=time.sleep, args=(100,)).start()\nreturn 1", 1, ""),
    "raises": ("threading.Thread(target=time.sleep, args=(100,)).start()\nraise ValueError", 1, "with exit code 1"),
    "sets an alarm": ("signal.alarm(1)\ntime.sleep(5)", 1, "by signal SIGALRM"),
    "forks": ("os.fork()\nreturn 1", 1, ""),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_exit_code_is_what_the_command_returned(ending: str, supervised: Begin) -> None:
    body, code, told = ENDINGS[ending]
    with supervised(body) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert told in errors
    assert "Traceback" not in errors
    assert (errors.strip("\0") == "") == (told == "")
    assert output.strip("\0") == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_interrupt_the_command_once(number: signal.Signals, supervised: Begin) -> None:
    with supervised("return wait('once')") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(number)
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (128 + number, "interrupted\n", "")


def test_a_signal_that_comes_in_a_finalizer_is_not_lost(supervised: Begin) -> None:
    finalizer = "weakref.finalize(threading.Thread(), os.kill, os.getpid(), signal.SIGTERM)"
    with supervised(f"import weakref\n{finalizer}\nreturn wait('once')") as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (143, "waiting\ninterrupted\n", "")


@pytest.mark.parametrize("end", ["return 1", "os._exit(0)", "wait('for ever')"])
def test_what_it_started_ends_with_it(end: str, supervised: Begin, running: Callable[..., int]) -> None:
    mark = f"mark-{uuid.uuid4()}"
    with supervised(f"if os.fork() == 0:\n    os.setsid()\n    time.sleep(100)\n{end}", mark) as process:
        if end.startswith("wait"):
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            assert running(mark) == 3
            process.terminate()
        process.communicate(timeout=60)
    assert running(mark, none=True) == 0


def test_a_supervisor_that_is_killed_takes_its_command_along(supervised: Begin, running: Callable[..., int]) -> None:
    mark = f"mark-{uuid.uuid4()}"
    with supervised("return wait('in vain')", mark) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.kill()
        process.communicate(timeout=60)
    assert running(mark, none=True) == 0


def test_an_ignored_signal_stays_ignored() -> None:
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "import os, sys, time; from detr_conformance.processes.supervisor import supervised\n"
        "def command():\n    print('ready', flush=True)\n    time.sleep(0.5)\n    return 0\n"
        "sys.exit(supervised(command))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGHUP)
        process.wait(timeout=60)
    assert process.returncode == 0
