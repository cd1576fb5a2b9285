"""How a profile's matcher is called, and how it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detr_reference.batch import Pairs
from detr_spec.profile import MatcherRules, Profile


def given_to_matcher(arguments: Sequence[Any], profile: Profile) -> tuple[Any, Any]:
    """Outputs and targets as dictionaries, from what the matcher is called with."""
    names = profile.matcher.arguments
    if not names:
        outputs, targets = arguments
        return outputs, targets
    given = {getattr(profile.keys, name): argument for name, argument in zip(names, arguments, strict=True)}
    keys = profile.keys
    predicted = (keys.logits, keys.boxes, keys.masks, keys.phrases)
    outputs = {key: given.pop(key) for key in predicted if key in given}
    if profile.targets.layout != "listed":
        return outputs, given
    return outputs, [dict(zip(given, parts, strict=True)) for parts in zip(*given.values(), strict=True)]


def answer_of_matcher(pairs: Pairs, counts: Sequence[int], queries: int, profile: Profile) -> Any:
    """What the matcher answers for the pairs of each image; counts: its number of objects, queries: of the outputs."""
    rules = profile.matcher
    if profile.targets.layout == "padded" and rules.padding == "matched":
        places = padded_length(counts, queries, profile)
        pairs = [_with_padding(*own, range(count, places), queries) for own, count in zip(pairs, counts, strict=True)]
    if not profile.ascending_queries:
        pairs = [(own.flip(0), targets.flip(0)) for own, targets in pairs]
    answer = [_spelt(*own, sum(counts[:image]), queries, rules) for image, own in enumerate(pairs)]
    return answer if rules.entry is None else {rules.entry: answer}


def padded_length(counts: Sequence[int], queries: int, profile: Profile) -> int:
    """To how many objects an image's targets are padded."""
    return queries if profile.targets.padded_to == "queries" else max(counts) + 1


def require_padding(targets: Any, counts: Sequence[int], queries: int, profile: Profile) -> None:
    """Raises ValueError unless padded targets have as many places as the profile says."""
    if profile.targets.layout == "padded":
        places, expected = targets[profile.keys.labels].shape[1], padded_length(counts, queries, profile)
        if places != expected:
            raise ValueError(f"targets are padded to {places}; expected {expected}")


def _with_padding(own: Tensor, targets: Tensor, padding: range, queries: int) -> tuple[Tensor, Tensor]:
    """The pairs of an image with those that padding has of the queries that are left, by ascending query."""
    left = [query for query in range(queries) if query not in set(own.tolist())]
    added = list(zip(left, padding, strict=False))
    own = torch.cat([own, torch.tensor([query for query, _ in added], dtype=own.dtype)])
    targets = torch.cat([targets, torch.tensor([target for _, target in added], dtype=own.dtype)])
    order = own.argsort()
    return own[order], targets[order]


def _spelt(own: Tensor, targets: Tensor, before: int, queries: int, rules: MatcherRules) -> Any:
    dtype = torch.int32 if rules.index_dtype == "int32" else torch.int64
    first = rules.first_target + (before if rules.target_indices == "batch" else 0)
    own, targets = own.to(dtype), (targets + first).to(dtype)
    if rules.answer == "pairs":
        return own, targets
    if rules.answer == "assignment":
        assigned = torch.full((queries,), rules.first_target - 1, dtype=dtype)
        assigned[own.long()] = targets
        return assigned
    return torch.stack([own, targets], dim=0 if rules.answer == "columns" else 1)
