"""What vectors expect where a dialect matches groups, repeats targets or pools the pairs of layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from judging import drawing

from detr_conformance.implementations.declared.implementation import declared_implementation
from detr_conformance.vectors.expected import expected_values
from detr_spec.cases import SetCase
from detr_spec.invariant import Domain
from detr_spec.profile import MatchingScope, replace
from detr_spec.profiles import DETR
from detr_spec.reported import weight_table
from detr_spec.strategies import set_cases

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
        expected = expected_values("gradients", case)
        weights = weight_table(case.configuration, case.configuration.term_weights)
        found = right.gradients(case.configuration)(case.outputs, case.targets, weights).value
        if all(optimum.unique for layer in expected.layers for optimum in layer.optima):
            judged.append(case)
            for layer, gradient in zip(expected.layers, found.layers, strict=True):
                for key, loss in layer.losses.items():
                    assert loss.lower <= found.losses.values[key] <= loss.upper
                slopes, own = layer.boxes_gradient, gradient.boxes
                assert slopes is not None
                assert own is not None
                inside = (slopes.lower <= own) & (own <= slopes.upper)
                assert np.all(inside | np.isnan(slopes.value))

    run()
    assert len(judged) > 5
