"""Tracebacks cut down to the frames that tell a reader something."""

from __future__ import annotations

import os
import re
import traceback
from importlib.util import find_spec
from pathlib import Path

from detr_conformance.base.text import cut


def _folder(package: str) -> str:
    found = find_spec(package)
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent) + os.sep


_OUR_NAMES = ("detr_spec", "detr_conformance")
_OURS = tuple(map(_folder, _OUR_NAMES))
_HYPOTHESIS = _folder("hypothesis")
_MODULE_CALLS = str(Path("torch", "nn", "modules", "module.py"))
"""Where every call of a torch module passes through."""

LONGEST = 7000
"""How many signs of a traceback are kept, half of them from each end."""


class RemoteTraceback(Exception):
    """The traceback of an exception in another process, as text: the cause of the exception that reports it here."""


def implementation_traceback(error: BaseException) -> str:
    """The traceback of what an implementation raised, wherever it did, without the frames of ours around it."""
    if isinstance(error.__cause__, RemoteTraceback):
        return str(error.__cause__)
    return _without(error, (*_OURS, _HYPOTHESIS))


_FRAME = re.compile(r'^ *File "(.+)", line (\d+), in (.+)$', re.MULTILINE)


def raised_at(error: BaseException) -> str:
    """The file, line and function of the implementation in which it raised; empty where its call itself failed."""
    frames = _FRAME.findall(implementation_traceback(error))
    if not frames:
        return ""
    file, line, function = frames[-1]
    if file.endswith(_MODULE_CALLS) or any(f"{os.sep}{name}{os.sep}" in file for name in _OUR_NAMES):
        return ""
    return f"{file}, line {line}, in {function}"


def check_traceback(error: BaseException) -> str:
    """The traceback of what a check or a strategy raised, without the frames of Hypothesis."""
    return _without(error, (_HYPOTHESIS,))


def _without(error: BaseException, folders: tuple[str, ...]) -> str:
    told = traceback.TracebackException.from_exception(error)
    pending: list[traceback.TracebackException | None] = [told]
    while pending:
        part = pending.pop()
        if part is not None:
            outside = [frame for frame in part.stack if not frame.filename.startswith(folders)]
            frames = [frame for frame in outside if not frame.filename.endswith(_MODULE_CALLS)]
            part.stack = traceback.StackSummary.from_list(frames or list(part.stack)[-1:])
            # Each line of what was said, of which there may be millions, would be formatted for itself.
            vars(part).update(_str=cut(str(part), LONGEST))
            pending += [part.__cause__, part.__context__]
    text = "".join(told.format())
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]}\n…\n{text[-LONGEST // 2 :]}"
