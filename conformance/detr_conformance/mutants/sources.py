"""The sources that a mutant may patch, and the components of an implementation that each of them reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from detr_conformance.base.errors import require_installed
from detr_conformance.mutants.definitions import Definition, Outline, definitions_used, outline
from detr_spec.implementation import COMPONENTS

PACKAGE = "detr_reference"
REFERENCE_ADAPTER = "detr_conformance/implementations/reference.py"
SOLVER_ADAPTER = "detr_conformance/implementations/solver.py"

FIRST = ("detr", "deformable")
"""The profiles whose twins are in the modules of the package itself."""

_OF_TRAINING = ("matcher", "criterion", "gradients", "distributed")
_WITHOUT_MASKS = (*_OF_TRAINING, "postprocess")

LATER = {
    "conditional": ("dialects/conditional_detr.py", _WITHOUT_MASKS),
    "dab": ("dialects/dab_detr.py", ("boxes", *_WITHOUT_MASKS)),
    "dino": ("dialects/dino.py", _WITHOUT_MASKS),
    "grounding-dino": ("dialects/grounding_dino.py", _WITHOUT_MASKS),
    "h-detr": ("dialects/h_detr.py", _WITHOUT_MASKS),
    "group-detr": ("dialects/group_detr.py", _WITHOUT_MASKS),
    "rt-detr": ("dialects/rt_detr.py", _WITHOUT_MASKS),
    "lw-detr": ("dialects/lw_detr.py", (*_WITHOUT_MASKS, "masks")),
    "d-fine": ("dialects/d_fine.py", _WITHOUT_MASKS),
    "deim": ("dialects/deim.py", _WITHOUT_MASKS),
    "ultralytics": ("dialects/ultralytics.py", _OF_TRAINING),
    "paddle": ("dialects/paddle.py", _OF_TRAINING),
    "mmdet": ("dialects/mmdet.py", ("boxes", *_OF_TRAINING)),
    "mmdet-focal": ("dialects/mmdet.py", ("boxes", *_WITHOUT_MASKS)),
    "mmdet-dino": ("dialects/mmdet.py", ("boxes", *_WITHOUT_MASKS)),
    "co-dino": ("dialects/mmdet.py", ("boxes", *_WITHOUT_MASKS)),
    "scenic": ("dialects/scenic.py", _OF_TRAINING),
    "mask2former": ("dialects/mask2former.py", (*_OF_TRAINING, "masks")),
    "rf-detr-seg": ("dialects/rf_detr_seg.py", (*_WITHOUT_MASKS, "masks")),
    "tf-models": ("dialects/tf_models.py", ("boxes", *_WITHOUT_MASKS)),
}
"""The modules of the reference that are twins of later profiles, each with the components that it provides."""

_ENTRANCES = {
    "boxes": ("boxes.py",),
    "matcher": ("matcher.py",),
    "criterion": ("criterion.py", "matcher.py"),
    "masks": ("criterion.py", "matcher.py"),
    "gradients": ("criterion.py", "matcher.py"),
    "distributed": ("criterion.py", "matcher.py"),
    "postprocess": ("postprocess.py",),
    "heads": ("heads.py",),
    "decoder": ("transformer.py",),
    "model": ("model.py",),
}
"""The modules of the reference in which the calls of each component begin."""


@cache
def original_sources() -> Mapping[str, str]:
    """The text of every file that a mutant may patch, by names such as "detr_reference/boxes.py"."""
    require_installed("the bank of mutants", PACKAGE, "torch")
    package, beside = _folder(PACKAGE), _folder("detr_conformance").parent
    files = {f"{PACKAGE}/{path.relative_to(package).as_posix()}": path for path in sorted(package.rglob("*.py"))}
    files |= {name: beside / name for name in (REFERENCE_ADAPTER, *map(adapter_of, LATER), SOLVER_ADAPTER)}
    return {name: path.read_text(encoding="utf-8") for name, path in files.items()}


def _folder(package: str) -> Path:
    specification = find_spec(package)
    assert specification is not None
    assert specification.submodule_search_locations is not None
    return Path(specification.submodule_search_locations[0])


@cache
def components_reached(file: str) -> tuple[str, ...]:
    """The components whose answers a change of that file can alter: those whose modules import it, near or far."""
    if file == SOLVER_ADAPTER:
        return ("assignment",)
    if file == REFERENCE_ADAPTER:
        return tuple(_ENTRANCES)
    twins = (provided_by(twin) for twin in twins_reached(file))
    return _first_reached(file) or tuple(dict.fromkeys(component for own in twins for component in own))


@cache
def twins_reached(file: str, text: str = "") -> tuple[str, ...]:
    """The profiles whose twins a change of that file can alter, by name; of one definition in it, where text is."""
    alone = {SOLVER_ADAPTER: ("detr",), REFERENCE_ADAPTER: FIRST}
    if file in alone:
        return alone[file]
    adapted = tuple(twin for twin in LATER if adapter_of(twin) == file)
    if adapted:
        return adapted
    later = (twin for twin, (module, _) in LATER.items() if _is_used(_name(file), text, module))
    return (*(FIRST if _first_reached(file) else ()), *later)


def adapter_of(profile: str) -> str:
    """The file that puts the reference's twin of a profile under the suite's interfaces."""
    return f"detr_conformance/implementations/{LATER[profile][0]}" if profile in LATER else REFERENCE_ADAPTER


def provided_by(profile: str) -> tuple[str, ...]:
    """The components that the reference's twin of a profile provides."""
    return LATER[profile][1] if profile in LATER else COMPONENTS


def _first_reached(file: str) -> tuple[str, ...]:
    """The components of the first profiles that a change of a file can alter."""
    return tuple(
        component
        for component, entrances in _ENTRANCES.items()
        if any(_name(file) in _needed(part) for part in entrances)
    )


def _is_used(file: str, text: str, module: str) -> bool:
    """Whether a module uses the definition in which a text of a file stands, or the file where it stands in none."""
    place = original_sources()[f"{PACKAGE}/{file}"].find(text)
    start = original_sources()[f"{PACKAGE}/{file}"].count("\n", 0, max(place, 0)) + 1
    lines = range(start, start + text.count("\n") + 1) if text and place >= 0 else ()
    names = {name for line in lines if (name := _outlines()[file].at(line)) is not None}
    if not names:
        return file in _needed(module)
    return any((file, name) in _used(module) for name in names)


@cache
def _outlines() -> Mapping[str, Outline]:
    files = {_name(file): text for file, text in original_sources().items() if file.startswith(f"{PACKAGE}/")}
    return {file: outline(file, text) for file, text in files.items()}


@cache
def _used(module: str) -> frozenset[Definition]:
    return definitions_used(module, _outlines())


def _name(file: str) -> str:
    return file.removeprefix(f"{PACKAGE}/")


@cache
def _needed(module: str) -> frozenset[str]:
    """The files of the reference that a module consists of and imports, itself among them."""
    return frozenset({module}).union(*map(_needed, _imported(module)))


def _imported(module: str) -> Iterator[str]:
    source = original_sources()[f"{PACKAGE}/{module}"]
    folder = PurePosixPath(module).parent
    for dots, name in re.findall(r"^from (\.+)(\w+) import", source, flags=re.MULTILINE):
        yield str((folder if dots == "." else folder.parent) / f"{name}.py")
