"""What comes from outside is shown as it is, and nothing in it is obeyed by a terminal or a CI."""

from __future__ import annotations

import ast
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

import detr_conformance
from detr_conformance.base.consoles import Console
from detr_conformance.base.text import LONGEST_TEXT, is_name, line_of, printable

PACKAGE = Path(detr_conformance.__file__).parent


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain\n\ttext, ä and 漢", "plain\n\ttext, ä and 漢"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\rb\x00c\x7f\x9b", "a\\rb\\x00c\\x7f\\x9b"),
        ("\u202eright to left\u2066", "\\u202eright to left\\u2066"),
        ("half \ud800, zero\u200bwidth, \ufeff, filler\u3164, \ufe0f", None),
        ("\U000e0041\u2028\u00a0", "\\U000e0041\\u2028\\xa0"),
        ("::error::x", "\\x3a:error::x"),
        ("first\n  ::stop-commands::x", "first\n  \\x3a:stop-commands::x"),
        ("a.py::test and c10::Error", "a.py::test and c10::Error"),
        ("x ##[error]y ##vso[task.complete]", "x \\x23#[error]y \\x23#vso[task.complete]"),
        ("## heading #[x]", "## heading #[x]"),
    ],
)
def test_signs_that_are_obeyed_or_not_seen_become_escapes(given: str, shown: str | None) -> None:
    assert printable(given).replace("\n", "").replace("\t", "").isprintable()
    assert shown is None or printable(given) == shown


@given(st.text())
def test_what_is_printable_stays_so(text: str) -> None:
    once = printable(text)
    assert printable(once) == once
    assert all(sign.isprintable() or sign in "\n\t" for sign in once)
    assert not re.search(r"^\s*::", once, re.MULTILINE)


def test_a_line_is_bounded_and_says_how_much_is_left_out() -> None:
    assert line_of("a\n  b\x1b") == "a b\\x1b"
    assert line_of("x" * 1000, 10) == "xxxxxxxxxx … (990 more characters)"
    assert line_of("\x00" * 5, 12) == "\\x00\\x00\\x00 … (8 more characters)"


@pytest.mark.parametrize("name", ["[/x]", "my loss (v2)", "ns::Loss", "検出", "x" * 100])
def test_a_name_is_text_that_is_shown_as_it_is(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name", [None, 5, b"x", "", " ", " x", "x" * 101, "a\nb", "\x1b[31m", "a\u202eb", "\ud800", "::a"]
)
def test_what_is_not_shown_as_it_is_is_no_name(name: object) -> None:
    assert not is_name(name)


HOSTILE = "[/x] [link=https://x.org]y[/link] \x1b]8;;https://x.org\x07 \u202e :smile: \ud800\x9b31m"


def test_a_console_takes_nothing_for_markup_and_lets_no_sign_through() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=40, force_terminal=True)
    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    console.print(table)
    console.show(HOSTILE + "\n::error::x", "bold red")
    shown = stream.getvalue()
    shown.encode()
    assert "[link=https://x.org]y[/link]" in shown
    rest = re.sub(r"\x1b\[[\d;]*m", "", shown)
    assert all(sign.isprintable() or sign == "\n" for sign in rest)
    assert "\n::" not in rest


def test_a_console_cuts_what_nobody_reads() -> None:
    stream = io.StringIO()
    Console(file=stream).show("x" * 10**6)
    shown = stream.getvalue().strip()
    assert len(shown.replace("\n", "")) <= LONGEST_TEXT
    assert f"({10**6 - shown.count('x')} more characters)" in shown


ONLY_IN_CONSOLES = {"Console", "Text", "Progress", "TextColumn", "print"}


def writes_past_the_consoles(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").startswith("rich") and bool({name.name for name in node.names} & ONLY_IN_CONSOLES)
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")


def test_the_terminal_is_written_to_by_our_consoles_alone() -> None:
    """What else rich has would take a name for markup, or let a control sign through."""
    found = [
        f"{path}:{getattr(node, 'lineno', 0)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name not in ("consoles.py", "detr_testee.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if writes_past_the_consoles(node)
    ]
    assert not found


def test_click_writes_only_what_is_ours_or_clean_already() -> None:
    """Help, version, schemas, the catalogue, a report in one of its forms, and usage errors, whose lines are clean."""
    said = {
        ast.unparse(node.args[0])
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "click.secho")
    }
    assert said == {
        "FORMS[form](report).encode()",
        "catalogue()",
        "context.get_help()",
        "f'detr-spec {installed_version()}'",
        "f'detr-spec: {line}'",
        "f'detr-spec: {_unfinished(status)}'",
        "schema_text(SCHEMAS[of]())",
    }
