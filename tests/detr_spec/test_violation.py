"""Comparisons accuse with the numbers that disagree, and never pass a NaN or a wrong shape in silence."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detr_spec.configuration import Configuration
from detr_spec.implementation import Assignment, BoxOperations, Heads, Implementation
from detr_spec.profiles import DETR
from detr_spec.tolerance import lift
from detr_spec.values import Outputs
from detr_spec.violation import (
    NotProvided,
    PremiseFailed,
    Raised,
    Violation,
    premise,
    require,
    require_close,
    require_shape,
    require_within,
)

ABOUT_E = np.exp(lift([0.0, 1.0], "float32"))


def test_numbers_in_their_range_pass() -> None:
    require_within("it", [1.0, 2.7182817], ABOUT_E)
    require_within("it", ABOUT_E.lower, ABOUT_E)
    require_within("it", ABOUT_E.upper, ABOUT_E)


@pytest.mark.parametrize("number", [2.7182, 2.719, -np.inf, np.inf, np.nan])
def test_a_number_outside_its_range_is_named(number: float) -> None:
    with pytest.raises(Violation, match=r"it\[1\] differs from its definition") as raised:
        require_within("it", [1.0, number], ABOUT_E)
    violation = raised.value
    np.testing.assert_equal(violation.got, number)
    assert violation.expected == pytest.approx(np.e)
    assert violation.allowance[0] < 0 < violation.allowance[1]


def test_of_several_numbers_the_farthest_is_named_and_all_are_counted() -> None:
    with pytest.raises(Violation, match=r"it\[1\] differs from its definition, the farthest of 2 such numbers among 2"):
        require_within("it", [1.5, 9.0], ABOUT_E)
    with pytest.raises(Violation, match=r"it\[0\] differs from its definition, the farthest of 2 such numbers"):
        require_within("it", [np.nan, 9.0], ABOUT_E)
    with pytest.raises(Violation, match=r"it\[2\] changed, the farthest of 2 such numbers among 3"):
        require_close("it", [1.0, 2.0, 3.0], [1.0, 2.5, 5.0], 0.25)


def test_a_range_of_nothing_holds_nothing() -> None:
    with np.errstate(invalid="ignore"), pytest.raises(Violation):
        require_within("it", 0.0, lift(np.nan, "float32"))


def test_shapes_are_compared_first() -> None:
    with pytest.raises(Violation, match=r"it has shape \[3\]") as raised:
        require_within("it", [1.0, 2.0, 3.0], ABOUT_E)
    assert (raised.value.expected, raised.value.got) == ([2], [3])
    with pytest.raises(Violation, match=r"it has shape \[2\]"):
        require_close("it", [1.0, 2.0], 1.0, 10.0)
    with pytest.raises(Violation, match=r"it has shape \[\]"):
        require_shape("it", 1.0, (1,))


def test_close_numbers_pass_up_to_the_allowance() -> None:
    require_close("it", [1.0, 2.5], [1.0, 2.0], 0.5)
    require_close("it", [1.0, 2.5], [1.0, 2.0], [0.0, 0.5])
    require_close("it", [np.inf, np.nan, -np.inf], [np.inf, np.nan, -np.inf], 0.0)
    with pytest.raises(Violation, match=r"it\[1\] changed") as raised:
        require_close("it", [1.0, 2.75], [1.0, 2.0], 0.5)
    assert (raised.value.expected, raised.value.got, raised.value.allowance) == (2.0, 2.75, 0.5)


@pytest.mark.parametrize(("got", "expected"), [(np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf), (np.inf, 1.0)])
def test_numbers_that_are_none_are_close_to_themselves_alone(got: float, expected: float) -> None:
    with pytest.raises(Violation, match="it changed"):
        require_close("it", got, expected, 1e9)


def test_requirements_carry_their_numbers() -> None:
    require(True, "never said")
    with pytest.raises(Violation, match="said") as raised:
        require(False, "said", expected=1, got=2, pairs=[(0, 1)])
    assert (raised.value.expected, raised.value.got, raised.value.allowance) == (1, 2, None)
    assert raised.value.details == {"pairs": [(0, 1)]}


def test_premises_end_a_check() -> None:
    premise(True, "never said")
    with pytest.raises(PremiseFailed, match="not here"):
        premise(False, "not here")


def test_what_was_raised_survives_the_way_from_a_worker() -> None:
    raised = Raised(ValueError("no"))
    assert isinstance(raised.error, ValueError)
    again = pickle.loads(pickle.dumps(raised))
    assert str(again.error) == "ValueError: no"


def failing(*_: Any) -> Any:
    raise IndexError("list index out of range")


def violating(*_: Any) -> Any:
    raise Violation("a wrong type came back")


CONFIGURATION = Configuration(profile=DETR)
OUTPUTS = Outputs(np.zeros((0, 1, 2)), np.zeros((0, 1, 4)))

COMPONENTS: dict[str, tuple[str, Any, Callable[[Any], Any]]] = {
    "when it is built": ("matcher", failing, lambda built: built),
    "when it is called": ("matcher", lambda configuration: failing, lambda built: built(OUTPUTS, ())),
    "in a box operation": (
        "boxes",
        lambda configuration: BoxOperations(giou=failing),
        lambda built: built.giou(np.zeros((0, 4)), np.zeros((0, 4))),
    ),
    "in a solver": (
        "assignment",
        lambda configuration: Assignment(solve=failing),
        lambda built: built.solve(np.zeros((1, 1))),
    ),
    "in heads": (
        "heads",
        lambda configuration: Heads(forward=failing),
        lambda built: built.forward(np.zeros((1, 1, 1, 8))),
    ),
    "in the heads' weights": (
        "heads",
        lambda configuration: Heads(forward=failing, parameters=failing),
        lambda built: built.parameters(),
    ),
}


@pytest.mark.parametrize(("name", "factory", "use"), COMPONENTS.values(), ids=COMPONENTS)
def test_what_an_implementation_raises_arrives_as_such(name: str, factory: Any, use: Callable[[Any], Any]) -> None:
    implementation = Implementation(name="it", profile=DETR, **{name: factory})
    with pytest.raises(Raised, match="IndexError: list index out of range"):
        use(implementation.component(name)(CONFIGURATION))


def test_what_a_bridge_says_passes_unchanged() -> None:
    implementation = Implementation(name="it", profile=DETR, matcher=lambda configuration: violating)
    with pytest.raises(Violation, match="a wrong type came back"):
        implementation.component("matcher")(CONFIGURATION)(OUTPUTS, ())


def test_components_that_are_missing() -> None:
    implementation = Implementation(name="it", profile=DETR, boxes=lambda configuration: BoxOperations(iou=failing))
    assert implementation.components == ("boxes",)
    assert implementation.component("boxes")(CONFIGURATION).giou is None
    with pytest.raises(NotProvided, match="it provides no criterion"):
        implementation.component("criterion")
