"""The matching cost of every query and target of one image, by profile. norm §3; Carion et al. 2020, section 3.1."""

from __future__ import annotations

from functools import partial
from typing import cast

import numpy as np

from detr_spec.configuration import Configuration
from detr_spec.costs.cost import Pairs
from detr_spec.masks import compared_in_matching
from detr_spec.parameters import held
from detr_spec.tolerance import Interval, Numbers, SameNumbers, is_interval, lift, lift_like
from detr_spec.values import Booleans, Outputs, Target, part_dtypes
from detr_spec.written import pixels_of, truth_of


def matching_cost(
    logits: SameNumbers,
    boxes: SameNumbers,
    target: Target,
    configuration: Configuration,
    masks: SameNumbers | None = None,
    phrases: Booleans | None = None,
) -> SameNumbers:
    """Σ λ · cost over the profile's costs; logits [Q, C] and boxes [Q, 4] in cxcywh of one image → [Q, n].

    masks: [Q, h, w], where the cost depends on them. phrases: the logit columns of each phrase, [K, C], where labels
    name phrases. A cost of weight 0 is left out, so it cannot matter even where it is NaN.
    """
    profile = configuration.profile
    pairs = Pairs(
        logits=logits,
        boxes=boxes,
        labels=target.labels,
        truth=truth_of(target, profile, part_dtypes(configuration.dtype).targets)
        if is_interval(boxes)
        else target.boxes,
        has_no_object=profile.has_no_object,
        rules=profile.boxes,
        pixels=pixels_of([target])[0] if profile.boxes.units == "pixels" else None,
        masks=None
        if masks is None
        else partial(compared_in_matching, masks, target, profile.masks, configuration.points),
        phrases=phrases,
    )
    total: Numbers = lift_like(np.zeros((len(boxes), len(target))), boxes)
    for cost, weight in configuration.costs:
        total = total + cost.value(pairs) * weight
    return cast(SameNumbers, total)


def image_costs(outputs: Outputs, targets: tuple[Target, ...], configuration: Configuration) -> list[Interval]:
    """The matching cost of each image of one decoder layer, [Q, n_b] each, with the range of the case's dtype."""
    dtypes, parameters = part_dtypes(configuration.dtype), held(configuration, configuration.dtype)
    masks = None if outputs.masks is None else lift(outputs.masks, dtypes.logits)
    return [
        matching_cost(
            lift(outputs.logits[image], dtypes.logits),
            lift(outputs.boxes[image], dtypes.boxes),
            target,
            parameters,
            None if masks is None else masks[image],
            outputs.phrases_of(image),
        )
        for image, target in enumerate(targets)
    ]
