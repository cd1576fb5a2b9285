"""The command `detr-spec init`: probes an object, says in plain words what it found, and writes the files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from detr_conformance.adoption.findings import Findings, Part, probe
from detr_conformance.adoption.sources import given_source
from detr_conformance.adoption.writing import ADAPTER, LEDGER, left, written
from detr_conformance.base.consoles import output_console
from detr_conformance.base.errors import UsageError
from detr_conformance.base.files import OutputPath
from detr_spec.profile import MatcherRules

ROLES = {"matcher": "matcher", "criterion": "criterion", "postprocess": "post-processing"}
MOST_FAILED = 4
"""The most objects that are named of those that could not be called."""

LEFT_OUT = "masks, heads, decoder and model are not looked for; an adapter can name them"


@click.command()
@click.argument("subject", metavar="MODULE:OBJECT")
@click.option("--directory", type=OutputPath(), default=Path(), help="The project's folder.  [default: this one]")
def command(subject: str, directory: Path) -> int:
    """Probe a criterion, a matcher, a module …, and write what a gate in CI needs.

    MODULE:OBJECT is what Python code would import: a class, an instance, a function, or with MODULE alone a module.
    An adapter, an empty ledger, a test for pytest and a workflow are written into the project, never over a file that
    is there; what could not be found out is left, marked, to fill in.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is no folder; expected the project's")
    folder = str(directory.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    findings = probe(given_source(subject))
    new, kept = written(findings, directory)
    console = output_console()
    for line in told(findings, new, kept):
        console.show(line)
    return 0


def told(findings: Findings, new: Sequence[str], kept: Sequence[str]) -> Iterator[str]:
    """What was found, what was written, and what is left to do, a line each."""
    yield f"Found from {findings.subject.expression}:"
    for part in findings.parts:
        yield f"  {ROLES[part.role]}: {_built(part)}"
        if part.uncalled:
            yield f"    its call is left to fill in, as one with a tiny batch raised {part.uncalled}"
    if findings.boxes:
        yield f"  box operations: {', '.join(function.source.expression for function in findings.boxes)}"
    for name, why in list(findings.failed.items())[:MOST_FAILED]:
        yield f"  not used: {name}, as a call with a tiny batch raised {why}"
    if len(findings.failed) > MOST_FAILED:
        yield f"  … and {len(findings.failed) - MOST_FAILED} others, likewise"
    yield f"  {LEFT_OUT}"
    yield from _dialect(findings)
    places = list(left(findings))
    if places:
        yield f"Left to fill in, in {ADAPTER}:"
        for place in places:
            yield f"  {place.told}"
    for name in new:
        yield f"Written: {name}"
    for name in kept:
        yield f"Kept as it is: {name}"
    first = "Then" if places else "Next"
    yield f"{first}: detr-spec check {ADAPTER}:implementation --ledger {LEDGER} --examples 20 -n 2"


def _built(part: Part) -> str:
    built = part.construction
    if built.arguments is None:
        return f"{built.source.expression}, as it is"
    given = ", ".join(argument.name for argument in built.arguments)
    kept = f"; {', '.join(built.unasked)} by default" if built.unasked else ""
    return f"{built.source.expression}({given}){kept}"


def _dialect(findings: Findings) -> Iterator[str]:
    profile = findings.profile
    if profile is None:
        yield "The profile cannot be told before that."
        return
    keys, rules = profile.keys, profile.detection
    yield (
        f"  outputs are read as {keys.logits}, {keys.boxes} and {keys.auxiliary}, "
        f"targets as {keys.labels} and {keys.target_boxes}"
    )
    for matcher in (part.answers.get(profile.name) for part in findings.parts if part.role == "matcher"):
        if matcher is not None and matcher.profile.targets != profile.targets:
            yield "  the matcher takes targets in another form than the criterion, so give it an adapter of its own"
    if profile.targets.layout == "padded":
        yield f"  targets are padded, with the label {profile.targets.padding_label}, in one dictionary"
    if profile.matcher != MatcherRules():
        called = ", ".join(profile.matcher.arguments) or "outputs and targets"
        yield f"  the matcher is called with {called}, and answers in the form {profile.matcher.answer!r}"
    for name, key in (("class error", keys.class_error), ("cardinality error", keys.cardinality)):
        if key is None:
            yield f"  no {name} is reported"
    if any(part.role == "postprocess" for part in findings.parts):
        threshold = "those above a threshold" if rules.threshold else "all detections"
        clamp = "clamped to the image" if rules.clamp else "not clamped"
        yield f"  post-processing reads sizes as {rules.size_order}, returns {threshold}, boxes {clamp}"
    for name, value in findings.limits.fixed.items():
        yield f"  {name} cannot be varied, as there is no argument for it: it is taken to be {value:g}"
    first, *others = findings.fits
    alike = [other.implementation.profile.name for other in others if other.share == first.share]
    rest = f"; as well as {', '.join(alike)}, which no case told from it" if alike else ""
    yield f"Profile {profile.name} fits best: {first} telling invariants held on a few cases{rest}"
    if first.failed:
        yield f"  not these: {', '.join(first.failed)}"
