"""Strategies for post-processing: set-prediction cases in which the number of detections varies too."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.invariant import Cases, Domain
from detr_spec.strategies.sets import set_cases

LARGEST_TOP_K = 120


def detection_cases(*, images: tuple[int, int] = (1, 3), beyond: bool = False) -> Cases:
    """Set-prediction cases of all regimes; where the rule is top-k, k is 1 to Q·K, often at most Q, and 120 at most.

    k > Q·K comes with `beyond` alone, for what happens then is a matter of its own. An implementation that
    cannot vary k keeps its own.
    """

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return _detection_case(set_cases(images=images, targets=(0, 2))(domain), beyond)

    return strategy


@st.composite
def _detection_case(draw: DrawFn, cases: SearchStrategy[SetCase], beyond: bool) -> SetCase:
    case = draw(cases)
    configuration = case.configuration
    detection = configuration.profile.detection
    if detection.rule != "top-k" or "top_k" in configuration.fixed:
        return case
    pairs = case.outputs.queries * configuration.num_classes
    if beyond:
        top_k = draw(st.integers(pairs + 1, pairs + 3) | st.just(max(detection.top_k, pairs + 1)))
    else:
        few, most = (st.integers(1, min(count, LARGEST_TOP_K)) for count in (case.outputs.queries, pairs))
        top_k = draw(few | most | st.just(min(pairs, detection.top_k)))
    return replace(case, configuration=replace(configuration, top_k=top_k))
