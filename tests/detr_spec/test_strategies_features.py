"""The strategies for feature maps and images reach what they promise, and keep to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, seed, settings

from detr_spec.cases import FeatureCase, ImagesCase
from detr_spec.configuration import number_of
from detr_spec.implementation import Limits
from detr_spec.invariant import Domain
from detr_spec.profiles import DETR
from detr_spec.strategies import feature_cases, image_cases
from detr_spec.values import UNIFORM_DTYPES, round_to

FAST = settings(max_examples=150, database=None, deadline=None, suppress_health_check=list(HealthCheck))
ALL_DTYPES = Domain(DETR, Limits(dtypes=UNIFORM_DTYPES))


def drawn(strategy: Any, examples: int = 150) -> list[Any]:
    found: list[Any] = []

    @seed(0)
    @settings(FAST, max_examples=examples, phases=[Phase.generate])
    @given(strategy)
    def collect(case: Any) -> None:
        found.append(case)

    collect()
    return found


def test_feature_maps_have_numbers_that_their_dtype_holds() -> None:
    cases: list[FeatureCase] = drawn(feature_cases()(ALL_DTYPES))
    assert {case.configuration.dtype for case in cases} == set(UNIFORM_DTYPES)
    for case in cases:
        for array in (case.features.features, case.features.positions, case.features.queries):
            assert (round_to(array, case.configuration.dtype) == array).all()
            assert (np.abs(array) <= 2).all()


def test_feature_maps_keep_to_their_ranges() -> None:
    cases: list[FeatureCase] = drawn(feature_cases(layers=(2, 3), images=(2, 3), queries=(2, 4))(Domain(DETR)))
    shapes = {case.features.features.shape for case in cases}
    assert {shape[0] for shape in shapes} == {2, 3}
    assert {shape[1] for shape in shapes} == {8, 16}
    assert {shape[2] for shape in shapes} >= {1, 2, 3, 4, 5}
    assert {case.configuration.decoder_layers for case in cases} == {2, 3}
    assert {len(case.features.queries) for case in cases} == {2, 3, 4, 8, 12, 16}
    for case in cases:
        assert case.configuration.hidden_dim == case.features.features.shape[1]


def test_padding_is_right_and_below_of_images_of_several_sizes() -> None:
    cases: list[FeatureCase] = drawn(feature_cases()(Domain(DETR)))
    for case in cases:
        for image in ~case.features.padding:
            height, width = int(image.any(axis=1).sum()), int(image.any(axis=0).sum())
            assert image[:height, :width].all()
            assert image.sum() == height * width > 0
    kinds = {case.regime for case in cases}
    assert kinds == {"padded", "unpadded"}
    assert any(len({int(image.sum()) for image in ~case.features.padding}) == 3 for case in cases)


def test_padding_can_be_asked_for() -> None:
    cases: list[FeatureCase] = drawn(feature_cases(padded=True)(Domain(DETR)))
    assert all(case.features.padding.any() for case in cases)
    assert any(len(case.features.padding) == 1 for case in cases)


def test_small_feature_maps_are_small() -> None:
    cases: list[FeatureCase] = drawn(feature_cases()(Domain(DETR, small=True)))
    assert max(max(case.features.features.shape[2:]) for case in cases) <= 4


def test_feature_maps_shrink_to_one_position() -> None:
    smallest = find(feature_cases()(Domain(DETR, small=True)), lambda _: True, settings=FAST)
    assert smallest.features.features.shape == (1, 8, 1, 1)
    assert (smallest.features.features == 0).all()


def test_what_an_implementation_cannot_vary_stays() -> None:
    fixed = {"hidden_dim": 12, "decoder_layers": 6, "num_classes": 91, "class_loss.eos_coef": 0.25}
    for strategy in (feature_cases(), image_cases()):
        for case in drawn(strategy(Domain(DETR, Limits(fixed=fixed))), 20):
            assert {name: number_of(case.configuration, name) for name in fixed} == fixed
            assert set(case.configuration.fixed) == set(fixed)


def test_images_have_sizes_of_their_own_and_values_that_their_dtype_holds() -> None:
    cases: list[ImagesCase] = drawn(image_cases(images=(2, 3))(ALL_DTYPES))
    assert {case.configuration.dtype for case in cases} == set(UNIFORM_DTYPES)
    sizes = [[image.shape[1:] for image in case.images] for case in cases]
    assert any(len(set(of_case)) == 3 for of_case in sizes)
    for case in cases:
        for image in case.images:
            assert image.shape[0] == 3
            assert all(16 <= side <= 48 for side in image.shape[1:])
            assert ((image >= 0) & (image <= 1)).all()
            assert (round_to(image, case.configuration.dtype) == image).all()


@pytest.mark.parametrize("small", [False, True])
def test_the_first_image_can_cover_the_others(small: bool) -> None:
    cases: list[ImagesCase] = drawn(image_cases(images=(2, 3), covering=True)(Domain(DETR, small=small)))
    for case in cases:
        sizes = np.array([image.shape[1:] for image in case.images])
        assert (sizes[0] == sizes.max(axis=0)).all()
        assert not small or sizes.max() <= 20
    assert sum(case.regime == "several sizes" for case in cases) > len(cases) / 3
