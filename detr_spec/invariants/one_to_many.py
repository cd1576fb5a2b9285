"""Invariants of further queries, which are matched with repeated targets. norm §4, A6, G1; Jia et al. 2023."""

from __future__ import annotations

from detr_spec.apart import has_losses
from detr_spec.calls import EVALUATED
from detr_spec.cases import SetCase
from detr_spec.invariant import invariant
from detr_spec.invariants.apart import require_apart, require_definitions, require_total, supervised
from detr_spec.invariants.apart_gradients import require_slopes
from detr_spec.invariants.criterion_answers import DISTINCT_ORDINARY_REGIMES, Build
from detr_spec.invariants.gradient_answers import Build as BuildGradients
from detr_spec.invariants.shared import require_evaluation
from detr_spec.profile import Profile
from detr_spec.reported import own_losses
from detr_spec.strategies import apart_cases, called_cases
from detr_spec.violation import require

SOURCE = "norm §4; Jia et al. 2023, H-DETR, section 3.2"


def trains_further_queries(profile: Profile) -> bool:
    """Whether further queries have losses."""
    return has_losses(profile, "one_to_many")


@invariant(
    "auxiliary.one-to-many-outputs-apart",
    number="A6",
    formula="losses of (decoder, further queries) = losses of (decoder), and loss_one2many only where declared",
    source=SOURCE,
    breaks="further queries in the one-to-one matching; the targets of the decoder's queries left repeated",
    cases=apart_cases("one_to_many", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
)
def one_to_many_outputs_apart(component: Build, case: SetCase) -> None:
    """Predictions of further queries change no loss of the decoder's, and have losses of their own only as declared.

    They are left out when detecting, and teach nothing there.
    """
    require_apart(component, case, "one_to_many")


@invariant(
    "auxiliary.one-to-many-losses",
    number="A6",
    formula="loss_one2many = λ · the loss of further queries, each target k times, over num_boxes that counts it so",
    source=SOURCE,
    breaks="targets repeated for the matching and not for num_boxes, or the reverse; the classes of proposals kept",
    cases=apart_cases("one_to_many", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 3), targets=(1, 5)),
    applies=trains_further_queries,
)
def one_to_many_losses(component: Build, case: SetCase) -> None:
    """Each loss of further queries is there and equals its definition: a target has k of them, and counts k times.

    A divisor without the repeats weighs this branch k times as much as the other.
    """
    answer = supervised(case, "one_to_many", component(case.configuration)(case.outputs, case.targets).value)
    require_definitions(answer)
    require_total(case, answer)


@invariant(
    "auxiliary.one-to-many-in-evaluation",
    number="A6",
    formula="in evaluation, loss_one2many = its definition, or is not there, as declared",
    source="norm §4; Jia et al. 2023, H-DETR, whose published code has further queries in training alone",
    breaks="losses of further queries in a validation loss; a branch that is left out where the mode says nothing",
    cases=called_cases(
        apart_cases("one_to_many", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
        EVALUATED,
    ),
    applies=trains_further_queries,
)
def one_to_many_in_evaluation(component: Build, case: SetCase) -> None:
    """In evaluation further queries have the losses that they have in training, or none, as declared.

    They are left out when detecting, and a validation loss with them in it is not that of what is detected.
    """
    configuration = case.configuration
    require_evaluation(configuration)
    losses = component(configuration)(case.outputs, case.targets).value
    if configuration.profile.one_to_many_evaluation == "as-in-training":
        require_definitions(supervised(case, "one_to_many", losses))
        return
    found = sorted(set(own_losses(configuration, "one_to_many")) & set(losses.values))
    require(not found, f"in evaluation there are {', '.join(found)}", expected=[], got=found)


@invariant(
    "gradients.one-to-many-losses",
    number="G1",
    formula="∂(Σ_k w_k loss_k_one2many)/∂(z, b̂ of further queries) = the definition's slope; of every decoder layer 0",
    source=SOURCE,
    breaks="losses of detached predictions; a branch that moves the decoder's queries",
    cases=apart_cases("one_to_many", beside=True, regimes=DISTINCT_ORDINARY_REGIMES, layers=(1, 2), targets=(1, 5)),
    applies=trains_further_queries,
)
def one_to_many_slopes(component: BuildGradients, case: SetCase) -> None:
    """The gradient of the losses of further queries with respect to their predictions is the definition's slope.

    That gradient is all that the branch is for: it reaches the network that both kinds of queries share.
    """
    require_slopes(component, case, "one_to_many")
