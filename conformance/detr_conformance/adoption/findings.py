"""What probing an object finds: its components, how each is built, the profile that fits, and what is left open."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from detr_conformance.adoption.boxes import BoxFunction, box_functions
from detr_conformance.adoption.calls import Called, NotCalled, Role, base_profiles, called, dtypes_of, takes_two
from detr_conformance.adoption.construction import Construction, as_it_is, construction
from detr_conformance.adoption.fitting import Fit, fit
from detr_conformance.adoption.sources import Source, beside, is_own, members
from detr_conformance.base.errors import UsageError
from detr_conformance.base.isolation import isolated
from detr_conformance.bridges.torch_bridge import torch_implementation
from detr_spec.configuration import Configuration, drawn_numbers, number_of, weights_of, with_numbers
from detr_spec.implementation import Implementation, Limits
from detr_spec.profile import Profile

HINTS: dict[Role, tuple[str, ...]] = {
    "matcher": ("match",),
    "criterion": ("criterion", "loss"),
    "postprocess": ("postprocess", "post_process"),
}
"""What the names of objects hold that are tried for a role, beside the object that was given."""


LEAST_SHARE = 0.5
"""What share of the telling invariants holds at least in a profile that is said to fit."""


@dataclass(frozen=True)
class Part:
    """A component that was found: how it is built, and as what it answers in each base profile in which it does.

    uncalled: why it answers in none, though it could be built; its call is left to fill in then.
    """

    role: Role
    construction: Construction
    answers: Mapping[str, Called]
    uncalled: str = ""

    @property
    def is_open(self) -> bool:
        """Whether something of it is left to fill in, so that it cannot be called yet."""
        return bool(self.construction.left or self.uncalled)


@dataclass(frozen=True)
class Findings:
    """All that was found. failed: why an object that a name promised could not be used, by what it is called.

    fits: how each profile in which every component can be called fared, best first.
    """

    subject: Source
    name: str
    parts: tuple[Part, ...]
    boxes: tuple[BoxFunction, ...]
    fits: tuple[Fit, ...]
    limits: Limits
    unread: tuple[str, ...]
    failed: Mapping[str, str]

    @property
    def profile(self) -> Profile | None:
        """The profile that fits best, with what was seen declared; None where none can be told."""
        return self.fits[0].implementation.profile if self.fits else None


def probe(subject: Source) -> Findings:
    """What is found of an object and beside it; raises `UsageError` where nothing is that could be judged."""
    with isolated():
        return _probed(subject)


def _probed(subject: Source) -> Findings:
    failed: dict[str, str] = {}
    parts = _parts(subject, failed)
    package = subject.module.partition(".")[0]
    beside_it = list(beside(subject.module))
    boxes = box_functions(beside_it, package)
    if isinstance(subject.value, ModuleType) or any(part.role == "criterion" for part in parts):
        for role in HINTS:
            if not any(part.role == role for part in parts):
                parts += _first(beside_it, role, _matcher(parts), failed)
    given = [*(part.construction.source.value for part in parts), *(function.source.value for function in boxes)]
    if not given or not (parts or isinstance(subject.value, ModuleType) or subject.value in given):
        told = "; ".join(f"{name}: {why}" for name, why in failed.items()) or "it has no class or function of that kind"
        raise UsageError(
            f"{subject.expression} is nothing that detr-spec knows how to call ({told}); expected a "
            "criterion or matcher called with (outputs, targets), a post-processing called with (outputs, sizes), "
            "or a module that has some"
        )
    parts.sort(key=lambda part: list(HINTS).index(part.role))
    losses = [source for source in beside_it if inspect.isclass(source.value) and _hinted(source, HINTS["criterion"])]
    has_criterion = any(part.role == "criterion" for part in parts)
    # What a matcher fits is not said of a loss that lies beside it and could not be called.
    untold = not has_criterion and any(source.expression in failed for source in losses)
    fits = () if untold else _fits(package, parts, boxes)
    answers = [part.answers.get(fits[0].implementation.profile.name) for part in parts] if fits else []
    return Findings(
        subject,
        package,
        tuple(parts),
        boxes,
        fits,
        fits[0].implementation.limits if fits else Limits(),
        tuple(field for answer in answers if answer for field in answer.unread),
        failed,
    )


def _parts(subject: Source, failed: dict[str, str]) -> list[Part]:
    """The component that the subject is, with the matcher that it needs; of a module, those of its members."""
    if isinstance(subject.value, ModuleType):
        own = list(members(subject.value))
        parts: list[Part] = []
        for role in HINTS:
            found = _first(own, role, _matcher(parts), failed, subject.value)
            found = found or _uncalled(_own_classes(own, subject.value), failed, [role], _matcher(parts))
            if role == "matcher" and not found:
                # The criterion may need one that lies elsewhere.
                found = _first(list(beside(subject.module)), role, None, failed)
            parts += found
        return parts
    matcher = _matcher_for(subject, failed)
    of_matcher = None if matcher is None else matcher.construction
    part = _part(subject, of_matcher, None, failed)
    if part is None:
        part = next(iter(_uncalled([subject], failed, HINTS, of_matcher)), None)
    if part is None:
        return []
    return [part] if matcher is None or part.role != "criterion" else [matcher, part]


def _uncalled(
    sources: Iterable[Source], failed: dict[str, str], roles: Iterable[Role], matcher: Construction | None
) -> list[Part]:
    """The first source that is of one of the roles by its name and could not be called, with its call left to fill in.

    Why it could not is told of the part then, and no longer in `failed`.
    """
    for source in sources:
        for role in roles:
            if source.expression in failed and _hinted(source, HINTS[role]):
                way = construction(source, matcher) if inspect.isclass(source.value) else as_it_is(source)
                return [Part(role, way, {}, failed.pop(source.expression))]
    return []


def _own_classes(sources: Iterable[Source], module: ModuleType) -> Iterator[Source]:
    """Those of the sources that are classes of the module's own."""
    return (source for source in sources if inspect.isclass(source.value) and is_own(source.value, module.__name__))


def _matcher_for(subject: Source, failed: dict[str, str]) -> Part | None:
    """The matcher of a criterion: what an instance holds, else the first one beside it."""
    held = getattr(subject.value, "matcher", None)
    if held is not None and not isinstance(subject.value, type):
        return _part(Source(subject.module, f"{subject.name}.matcher", held), None, "matcher", failed)
    return next(iter(_first(list(beside(subject.module)), "matcher", None, failed)), None)


def _matcher(parts: Iterable[Part]) -> Construction | None:
    return next((part.construction for part in parts if part.role == "matcher"), None)


def _first(
    sources: Sequence[Source],
    role: Role,
    matcher: Construction | None,
    failed: dict[str, str],
    module: ModuleType | None = None,
) -> list[Part]:
    """The first of the sources that is of a role, of those whose names promise it; none, or one.

    Where classes of a module's own promise it, nothing that it imports stands in for them.
    """
    own = [] if module is None else list(_own_classes(sources, module))
    promising = [source for source in own if _hinted(source, HINTS[role])]
    for source in promising or sources:
        if _hinted(source, HINTS[role]) and (inspect.isclass(source.value) or takes_two(source.value)):
            part = _part(source, matcher, role, failed)
            # Of what lies elsewhere, a name alone promises too little, but for the matcher that a criterion needs.
            if part is not None and (part.answers or source in own or role == "matcher"):
                return [part]
    return []


def _part(source: Source, matcher: Construction | None, role: Role | None, failed: dict[str, str]) -> Part | None:
    """The component that a source is; None where it is none, or not of the role that is asked for.

    One whose constructor asks for what is not known is a component if its name says which.
    """
    ways = [construction(source, matcher)]
    if not isinstance(source.value, type):
        ways.append(as_it_is(source))
    if ways[0].left:
        named = next((name for name, hints in HINTS.items() if _hinted(source, hints)), None)
        if named is not None and named == (role or named) and len(ways) == 1:
            return Part(named, ways[0], {})
    for way in ways:
        if way.left:
            continue
        answers = {base.name: called(way, base) for base in base_profiles()}
        unread = [answer for answer in answers.values() if isinstance(answer, NotCalled)]
        place = next((answer.place for answer in unread if answer.place is not None), None)
        if place is not None:
            way = replace(way, place=place)  # noqa: PLW2901
            answers = {base.name: called(way, base) for base in base_profiles()}
        good = {name: answer for name, answer in answers.items() if isinstance(answer, Called)}
        if role is not None:
            good = {name: answer for name, answer in good.items() if answer.role == role}
        if good:
            failed.pop(source.expression, None)
            return Part(next(iter(good.values())).role, way, good)
        failed.setdefault(source.expression, _why(answers.values()))
    return None


def _why(answers: Iterable[Called | NotCalled]) -> str:
    """Why something is no component of the role that is asked for."""
    first = next(iter(answers))
    return first.why if isinstance(first, NotCalled) else f"it answers like a {first.role}"


def _hinted(source: Source, hints: Iterable[str]) -> bool:
    return any(hint in source.last_name.lower() for hint in hints)


def _fits(name: str, parts: list[Part], boxes: tuple[BoxFunction, ...]) -> tuple[Fit, ...]:
    """How the profiles in which all the components can be called fare, best first; none that is worse than others."""
    if any(part.is_open for part in parts):
        return ()
    fits: list[Fit] = []
    for base in base_profiles():
        answers = {part.role: part.answers.get(base.name) for part in parts}
        if all(answers.values()):
            profile = _declared(base, {role: answer.profile for role, answer in answers.items() if answer is not None})
            dtypes = _dtypes(parts, base.name)
            limits = Limits(dtypes=dtypes, fixed=_fixed(parts, profile))
            implementation = _implementation(name, profile, limits, parts, boxes)
            found = fit(implementation, least=max((one.share for one in fits), default=LEAST_SHARE))
            fits += [] if found is None else [found]
    return tuple(sorted(fits, key=lambda one: -one.share))


def _declared(base: Profile, seen: Mapping[Role, Profile]) -> Profile:
    """The profile with what was seen of the components: the criterion's keys, the post-processing's rules.

    And the matcher's call and answer, where the criterion takes targets in the same form.
    """
    keys = next((seen[role].keys for role in ("criterion", "matcher", "postprocess") if role in seen), base.keys)
    detection = seen["postprocess"].detection if "postprocess" in seen else base.detection
    matcher = seen.get("matcher", base)
    targets = seen.get("criterion", matcher).targets
    rules = matcher.matcher if targets == matcher.targets else base.matcher
    return replace(base, keys=keys, detection=detection, targets=targets, matcher=rules)


def _dtypes(parts: Iterable[Part], profile: str) -> tuple[str, ...]:
    """The dtypes in which every component can be called."""
    each = [set(dtypes_of(part.construction, part.answers[profile])) for part in parts]
    return tuple(dtype for dtype in Limits().dtypes if all(dtype in one for one in each)) or Limits().dtypes


def _fixed(parts: Iterable[Part], profile: Profile) -> dict[str, float]:
    """What cannot be varied, as a constructor takes no argument for it, with the value that the profile has."""
    usual = with_numbers(Configuration(profile=profile), weights_of(profile))
    return {
        field: number_of(usual, field)
        for part in parts
        for field in _varied(part.role, profile)
        if field not in part.construction.takes
    }


def _varied(role: Role, profile: Profile) -> list[str]:
    """What the cases vary of a component, as far as its constructor takes it."""
    part = {"matcher": "class_cost.", "criterion": "class_loss."}.get(role, "none")
    weights = ["cost_class", "cost_bbox", "cost_giou"] if role == "matcher" else []
    return weights + [name for name in drawn_numbers(profile) if name.startswith(part)]


def _implementation(
    name: str, profile: Profile, limits: Limits, parts: Iterable[Part], boxes: tuple[BoxFunction, ...]
) -> Implementation:
    factories: dict[str, Any] = {part.role: part.construction.built for part in parts}
    operations = {function.operation: function for function in boxes}
    return torch_implementation(name=name, profile=profile, limits=limits, boxes=operations or None, **factories)
