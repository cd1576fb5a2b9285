"""What vectors expect where a dialect matches groups, pools the pairs of layers, or has losses of what stands apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from judging import drawing

from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.vectors.expected import expected_values
from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.profile import DenoisingRules, Keys, LossRules, MatchingScope, replace
from detr_spec.profiles import DEFORMABLE, DETR
from detr_spec.reported import weight_table
from detr_spec.strategies import apart_cases, rank_cases, set_cases
from detr_spec.violation import PremiseFailed

SCOPES = {
    "one to one": MatchingScope(),
    "groups": MatchingScope(groups=2),
    "repeats in groups": MatchingScope(groups=2, repeats=2),
    "all layers": MatchingScope(box_pairs="all-layers"),
}


@pytest.mark.parametrize("name", SCOPES)
def test_a_right_answer_lies_in_the_ranges_of_its_vector(name: str) -> None:
    right = declared_implementation(replace(DETR, name="scoped", matching=SCOPES[name]))
    judged = []

    @drawing(25)
    @given(set_cases(layers=(1, 3))(Domain(right.profile, right.limits.of("gradients"), dtype="float64")))
    def run(case: SetCase) -> None:
        try:
            expected = expected_values("gradients", case)
        except PremiseFailed:  # Too many unions are right.
            return
        weights = weight_table(case.configuration, case.configuration.term_weights)
        found = right.gradients(case.configuration)(case.outputs, case.targets, weights).value
        if all(optimum.unique for layer in expected.layers for optimum in layer.optima):
            judged.append(case)
            for layer, gradient in zip(expected.layers, found.layers, strict=True):
                for key, loss in layer.losses.items():
                    assert np.isnan(loss.value) or loss.lower <= found.losses.values[key] <= loss.upper
                slopes, own = layer.boxes_gradient, gradient.boxes
                assert slopes is not None
                assert own is not None
                inside = (slopes.lower <= own) & (own <= slopes.upper)
                assert np.all(inside | np.isnan(slopes.value))

    run()
    assert len(judged) > 5


APART = {
    "by layer": replace(
        DEFORMABLE,
        keys=Keys(
            encoder_loss="{loss}_enc_{number}",
            denoising_loss="{loss}_dn",
            denoising_auxiliary_loss="{loss}_dn_{layer}",
            total="loss",
        ),
        denoising=DenoisingRules(absent="zeros"),
    ),
    "summed": replace(
        DETR,
        keys=Keys(encoder_loss="{loss}_enc", denoising_loss="{loss}_dn", denoising_auxiliary_loss="{loss}_aux_dn"),
        losses=LossRules(weighted=True),
        denoising=DenoisingRules(denominator="all-groups", layout="listed"),
    ),
}


@pytest.mark.parametrize("component", ["criterion", "distributed"])
@pytest.mark.parametrize("name", APART)
def test_losses_of_what_stands_apart_lie_in_the_ranges_of_their_vector(name: str, component: str) -> None:
    right = declared_implementation(replace(APART[name], name="apart"))
    strategies = {
        "criterion": apart_cases("encoder", "denoising", layers=(1, 3)),
        "distributed": rank_cases(denoising=True),
    }
    seen = set[str]()

    @drawing(25)
    @given(strategies[component](Domain(right.profile, right.limits.of(component), dtype="float64")))
    def run(case: Any) -> None:
        expected, ranked = expected_values(component, case), component == "distributed"
        built = right.component(component)(case.configuration)
        answer = built(*((case.batches,) if ranked else (case.outputs, case.targets))).value
        batches = (expected.ranks, answer) if ranked else ([expected.layers], [answer])
        for layers, losses in zip(*batches, strict=True):
            if all(optimum.unique for layer in layers for optimum in layer.optima):
                ranges = {key: loss for layer in layers for key, loss in layer.losses.items()}
                known = {key: own for key, own in ranges.items() if not np.isnan(own.value)}
                assert not {key for key, own in known.items() if not own.lower <= losses.values[key] <= own.upper}
                left_out = {key for key in losses.values if "_enc" not in key and key != "loss"} - set(ranges)
                assert all(key.startswith("cardinality_error_") for key in left_out)
                seen.update(known)

    run()
    keys = {"loss_giou_dn", "loss_bbox_dn_0" if name == "by layer" else "loss_bbox_aux_dn"}
    assert seen >= keys | ({"loss_ce_enc_1", "loss"} if (name, component) == ("by layer", "criterion") else set())
