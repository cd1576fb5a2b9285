"""Strategies for post-processing: set-prediction cases in which the number of detections varies too."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from detr_spec.cases import SetCase
from detr_spec.configuration import Configuration
from detr_spec.invariant import Domain
from detr_spec.strategies.apart import apart_cases
from detr_spec.strategies.promises import Promised

LARGEST_TOP_K = 120


def detection_cases(*, images: tuple[int, int] = (1, 3), beyond: bool = False) -> Promised[SetCase]:
    """Set-prediction cases of all regimes; where the rule is top-k, k is 1 to Q·K, often at most Q, and 120 at most.

    Where it is that of the best queries, k is at most Q. A larger k comes with `beyond` alone, for what happens then is
    a matter of its own. An implementation that cannot vary k keeps its own. Predictions apart that have losses in the
    dialect are there too, each in half of the cases: what is trained beside the decoder's last layer is not detected.
    """

    cases = apart_cases(beside=True, images=images, targets=(0, 2))

    def strategy(domain: Domain) -> SearchStrategy[SetCase]:
        return _detection_case(cases(domain), beyond)

    def admits(domain: Domain, drawn: SetCase, left: SetCase) -> bool:
        return cases.admits(domain, drawn, left) and _top_k_fits(left, beyond)

    return Promised(strategy, admits)


def _top_k_fits(case: SetCase, beyond: bool) -> bool:
    pairs = _most_detections(case)
    return not _varies_top_k(case.configuration) or (case.configuration.top_k > pairs) == beyond


def _most_detections(case: SetCase) -> int:
    """How many detections there can be of an image: Q·K, or Q where a query gives one."""
    each = case.configuration.profile.detection.rule == "best-queries"
    return case.outputs.queries * (1 if each else case.configuration.num_classes)


def _varies_top_k(configuration: Configuration) -> bool:
    return configuration.profile.detection.takes_k and "top_k" not in configuration.fixed


@st.composite
def _detection_case(draw: DrawFn, cases: SearchStrategy[SetCase], beyond: bool) -> SetCase:
    case = draw(cases)
    configuration = case.configuration
    customary = configuration.profile.detection.top_k
    if customary is None or not _varies_top_k(configuration):
        return case
    pairs = _most_detections(case)
    if beyond:
        top_k = draw(st.integers(pairs + 1, pairs + 3) | st.just(max(customary, pairs + 1)))
    else:
        few, most = (st.integers(1, min(count, LARGEST_TOP_K)) for count in (case.outputs.queries, pairs))
        top_k = draw(few | most | st.just(min(pairs, customary)))
    return replace(case, configuration=replace(configuration, top_k=top_k))
