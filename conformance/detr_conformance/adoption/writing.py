"""The files that `detr-spec init` writes into a project: from templates, and never over a file that is there."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from detr_conformance.adoption.construction import Argument, Construction
from detr_conformance.adoption.findings import Findings, Part
from detr_conformance.base.files import require_folder, write_whole
from detr_conformance.base.version import installed_version
from detr_spec import profiles
from detr_spec.configuration import Configuration, number_names
from detr_spec.implementation import Limits
from detr_spec.profile import Profile
from detr_spec.profiles import PROFILES

ADAPTER = "detr_spec_adapter.py"
LEDGER = "detr-spec.toml"
WORKFLOW = ".github/workflows/detr-spec.yml"
TEST = "test_detr_spec.py"


@dataclass(frozen=True)
class Left:
    """A gap in an adapter: the constant that stands for it, and what is to be filled in."""

    constant: str
    told: str


def written(findings: Findings, directory: Path) -> tuple[list[str], list[str]]:
    """Writes the files into the project; gives the names of those written, and of those that were there already."""
    new, kept = [], []
    for name, text in files(findings, directory).items():
        path = directory / name
        if path.exists() or path.is_symlink():
            kept.append(name)
            continue
        require_folder(path.parent)
        write_whole(text, path)
        new.append(name)
    return new, kept


def files(findings: Findings, directory: Path) -> Mapping[str, str]:
    """The text of each file, by its path in the project."""
    tests = [folder for folder in ("tests", "test") if (directory / folder).is_dir()]
    test = f"{tests[0]}/{TEST}" if tests else TEST
    names = {"name": findings.name, "adapter": ADAPTER, "ledger": LEDGER}
    version = installed_version()
    pin = "" if version == "unknown" else f"=={version}"
    return {
        ADAPTER: _rendered("adapter.py.jinja", **_adapter(findings)),
        LEDGER: _rendered("ledger.toml.jinja", **names),
        test: _rendered("test.py.jinja", **names, depth=test.count("/")),
        WORKFLOW: _rendered("workflow.yml.jinja", **names, project=_project(directory), pin=pin),
    }


def left(findings: Findings) -> Iterator[Left]:
    """What could not be found out, in the order of the adapter."""
    asking: dict[str, list[str]] = {}
    for part in findings.parts:
        for name in part.construction.left:
            asking.setdefault(name, []).append(part.construction.source.expression)
    for name, owners in asking.items():
        yield Left(_constant(name), f"{_constant(name)}: the argument {name} of {' and '.join(owners)}")
    for part in findings.parts:
        if part.uncalled:
            constant = f"{part.role.upper()}_CALL"
            how = f"called with a tiny batch, {part.construction.source.expression} raised {part.uncalled}"
            yield Left(constant, f"{constant}: how build_{part.role} calls it, then any value here; {how}")
    if findings.profile is None:
        yield Left("PROFILE", "PROFILE: the profile that the project follows, such as detr_spec.profile.DETR")
    for field in findings.unread:
        yield Left(field.upper(), f"{field.upper()}: the key of the {field.replace('_', ' ')} loss")


def _adapter(findings: Findings) -> dict[str, Any]:
    profile = findings.profile
    modules = {part.construction.source.module for part in findings.parts}
    modules |= {function.source.module for function in findings.boxes}
    modules |= {findings.subject.module} if any(_from_instance(part, findings) for part in findings.parts) else set()
    return {
        "name": findings.name,
        "modules": sorted(modules),
        "base": None if profile is None else _base(profile),
        "imported": None if profile is None else _base(profile).partition("(")[0],
        "left": list(left(findings)),
        "places": any(part.construction.place is not None for part in findings.parts),
        "parts": [_part(part, profile) for part in findings.parts],
        "boxes": findings.boxes,
        "differences": None if profile is None else _differences(findings, profile),
        "limits": _limits(findings.limits),
    }


def _base(profile: Profile) -> str:
    """The named profile that a found one starts from, as Python writes it."""
    name = profile.name.upper()
    return name if name in profiles.__all__ else f"named_profile({literal(profile.name)})"


def _limits(limits: Limits) -> str:
    """What the implementation cannot be asked, as the arguments of `Limits`; empty where it can be asked everything."""
    parts = {}
    if limits.dtypes != Limits().dtypes:
        parts["dtypes"] = literal(limits.dtypes)
    if limits.fixed:
        parts["fixed"] = "{" + ", ".join(f"{literal(name)}: {value!r}" for name, value in limits.fixed.items()) + "}"
    return ", ".join(f"{name}={text}" for name, text in parts.items())


def _from_instance(part: Part, findings: Findings) -> bool:
    """Whether an argument is read from the object that was given."""
    start = f"{findings.subject.expression}."
    return any((argument.expression or "").startswith(start) for argument in part.construction.arguments or ())


def _part(part: Part, profile: Profile | None) -> dict[str, Any]:
    built: Construction = part.construction
    kept = f"It keeps the defaults of {', '.join(built.unasked)}." if built.unasked else ""
    return {
        "role": part.role,
        "kept": textwrap.wrap(kept, width=110, break_long_words=False),
        "expression": built.source.expression,
        "place": built.place,
        "uncalled": part.uncalled,
        "given": "target_sizes" if part.role == "postprocess" else "targets",
        "arguments": None if built.arguments is None else [_argument(one, profile) for one in built.arguments],
    }


def _argument(argument: Argument, profile: Profile | None) -> dict[str, str]:
    expression = argument.expression or _constant(argument.name)
    foreign = [field for field in argument.fields if profile is not None and field not in number_names(profile)]
    if profile is not None and any("." in field for field in foreign):
        expression = repr(argument.value(Configuration(profile=profile)))
    return {"name": argument.name, "expression": expression}


def _constant(name: str) -> str:
    return name.upper()


def _differences(findings: Findings, profile: Profile) -> dict[str, str]:
    """The fields of the profile that differ from the named one, each as Python writes it."""
    base = PROFILES[profile.name]
    keys = _different(profile.keys, base.keys) | {field: _constant(field) for field in findings.unread}
    others = ("targets", "matcher", "detection")
    parts = {"keys": keys} | {name: _different(getattr(profile, name), getattr(base, name)) for name in others}
    return {
        name: f"replace({_base(profile)}.{name}, {', '.join(f'{key}={text}' for key, text in part.items())})"
        for name, part in parts.items()
        if part
    }


def _different(value: Any, base: Any) -> dict[str, str]:
    names = [field.name for field in fields(value) if getattr(value, field.name) != getattr(base, field.name)]
    return {name: literal(getattr(value, name)) for name in names}


def literal(value: Any) -> str:
    """A text, a tuple of texts or any other plain value as Python writes it, with double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def _project(directory: Path) -> str:
    """What pip is told to install the project itself, followed by a space; nothing for one that cannot be."""
    if any((directory / name).is_file() for name in ("pyproject.toml", "setup.py", "setup.cfg")):
        return ". "
    return "-r requirements.txt " if (directory / "requirements.txt").is_file() else ""


def _rendered(template: str, **values: Any) -> str:
    environment = Environment(
        loader=PackageLoader("detr_conformance", "adoption/templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["literal"] = literal
    return environment.get_template(template).render(values)
