"""Invariants of the prediction heads: from hidden states to outputs. norm §1, H1–H4."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from detr_spec import heads as definitions
from detr_spec.calls import CALLS, LAYOUTS
from detr_spec.cases import HiddenCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Heads
from detr_spec.invariant import invariant
from detr_spec.invariants.calls import in_plain_way, require_way
from detr_spec.invariants.shared import named_layers, require_in_unit_range
from detr_spec.strategies import called_cases, hidden_cases
from detr_spec.tolerance import Interval, lift
from detr_spec.values import Floats, HeadParameters, Outputs
from detr_spec.violation import (
    NotProvided,
    PremiseFailed,
    Raised,
    premise,
    require,
    require_close,
    require_equal,
    require_shape,
    require_within,
)

Build = Callable[[Configuration], Heads]

SEVERAL_LAYERS = hidden_cases(layers=(2, 3))
BOX_LAYERS = 3


def _forward(heads: Heads, hidden: Floats) -> Outputs:
    """The outputs for hidden states [L, B, Q, D]; raises `Violation` unless there are L, of B × Q."""
    outputs = heads.forward(hidden).value
    require(
        len(outputs.layers) == len(hidden),
        "the heads answered for a wrong number of decoder layers",
        expected=f"the last layer and {len(hidden) - 1} auxiliary ones",
        got=len(outputs.layers),
    )
    for name, layer in named_layers(outputs):
        require_shape(f"the boxes of {name}", layer.boxes, (*hidden.shape[1:3], 4))
        require(
            layer.logits.shape[:2] == hidden.shape[1:3],
            f"the logits of {name} have shape {list(layer.logits.shape)}",
            expected=f"{list(hidden.shape[1:3])}, then the classes",
            got=list(layer.logits.shape),
        )
    return outputs


@invariant(
    "heads.shapes",
    number="H1",
    formula="logits [B, Q, C] and boxes [B, Q, 4] of the last layer, and of L − 1 auxiliary ones",
    source="norm §1: the output from the last layer, and `aux_outputs`, layers 0 … L−2",
    breaks="K columns where the profile has K + 1; the last layer among the auxiliary ones; layers left out",
    cases=hidden_cases(),
)
def shapes(component: Build, case: HiddenCase) -> None:
    """L decoder layers give a main output and L − 1 auxiliary ones, logits [B, Q, C] and boxes [B, Q, 4].

    Criteria read the number of classes from the last axis, and a missing auxiliary layer is a loss that is
    silently off.
    """
    outputs = _forward(component(case.configuration), case.hidden)
    for name, layer in named_layers(outputs):
        require_shape(f"the logits of {name}", layer.logits, (*case.hidden.shape[1:3], case.configuration.columns))


@invariant(
    "heads.boxes-in-unit-range",
    number="H1",
    formula="0 ≤ b̂ ≤ 1",
    source="norm §1: boxes are (cx, cy, w, h), each in [0, 1]",
    breaks="a missing sigmoid; a tanh or a clamp to another range; boxes in pixels",
    cases=hidden_cases(),
)
def boxes_in_unit_range(component: Build, case: HiddenCase) -> None:
    """Every predicted box coordinate lies in [0, 1].

    A negative width is no box: GIoU refuses it, and the training run ends.
    """
    require_in_unit_range(_forward(component(case.configuration), case.hidden))


@invariant(
    "heads.main-is-last-layer",
    number="H2",
    formula="pred(h) = pred(h_L)",
    source="norm §1: the output is from the last layer",
    breaks="the first layer's output as the main one; layers stacked in reverse; batch and layers exchanged",
    cases=SEVERAL_LAYERS,
)
def main_is_last_layer(component: Build, case: HiddenCase) -> None:
    """The main output is that of the last decoder layer.

    Inference reads the main output alone: from an earlier layer it is a worse detector with nothing to show
    for it.
    """
    heads = component(case.configuration)
    together, alone = _forward(heads, case.hidden), _forward(heads, case.hidden[-1:])
    _require_same_layer("the main output, against the last layer alone,", heads, case, together.main, alone.main)


@invariant(
    "heads.auxiliary-in-order",
    number="H2",
    formula="aux_l(h) = pred(h_l) for l = 0 … L − 2",
    source="norm §1: layers 0 … L−2 in order",
    breaks="auxiliary layers in reverse or shifted by one; the same layer repeated",
    cases=SEVERAL_LAYERS,
    rarity=3,
)
def auxiliary_in_order(component: Build, case: HiddenCase) -> None:
    """The auxiliary outputs are those of the earlier decoder layers, in order.

    Their losses are logged and weighted by layer.
    """
    heads = component(case.configuration)
    together = _forward(heads, case.hidden)
    for layer, outputs in enumerate(together.auxiliary):
        alone = _forward(heads, case.hidden[layer : layer + 1]).main
        _require_same_layer(f"auxiliary output {layer}, against layer {layer} alone,", heads, case, outputs, alone)


def _parameters(heads: Heads) -> HeadParameters:
    """The weights of the heads; raises `NotProvided` where they cannot be read."""
    if heads.parameters is None:
        raise NotProvided("the heads' weights cannot be read")
    return heads.parameters()


@invariant(
    "heads.linear-maps",
    number="H3",
    formula="class head: D → C; box head: D → D → D → 4",
    source="norm §1; Carion et al. 2020, section 3.2: a 3-layer perceptron and a linear projection layer",
    breaks="a box head of two or four layers; another hidden width; a class head without no-object column",
    cases=hidden_cases(),
)
def linear_maps(component: Build, case: HiddenCase) -> None:
    """The class head is one linear map D → C, and the box head has exactly three, D → D → D → 4.

    Published weights fit no other depth or width.
    """
    parameters = _parameters(component(case.configuration))
    size = case.configuration.hidden_dim
    require_shape("the class head's matrix", parameters.class_head[0], (case.configuration.columns, size))
    require_equal("the box head has a wrong number of linear maps", len(parameters.box_head), BOX_LAYERS)
    for place, ((weight, _), (before, after)) in enumerate(
        zip(parameters.box_head, pairwise((size, size, size, 4)), strict=True)
    ):
        require_shape(f"the matrix of the box head's layer {place}", weight, (after, before))


@invariant(
    "heads.class-head",
    number="H3",
    formula="z = W h + b",
    source="norm §1; Carion et al. 2020, section 3.2",
    breaks="an activation or a normalisation on the logits; a softmax inside the head; a scaled bias",
    cases=hidden_cases(),
    rarity=3,
)
def class_head(component: Build, case: HiddenCase) -> None:
    """The logits are one linear map of the hidden states, with the head's own weights.

    The losses take the softmax or sigmoid themselves: anything after the linear map is applied twice.
    """
    heads = component(case.configuration)
    outputs, parameters = _forward(heads, case.hidden), _composable(heads)
    for (name, layer), hidden in zip(named_layers(outputs), case.hidden, strict=True):
        expected = definitions.class_head(lift(hidden, case.configuration.dtype), parameters)
        require_within(f"the logits of {name}", layer.logits, expected)


@invariant(
    "heads.affine-logits",
    number="H3",
    formula="z(h) + 2 z(−h/2) = 3 z(0)",
    source="norm §1; Carion et al. 2020, section 3.2: a linear projection layer",
    breaks="a second layer in the class head; an activation, a normalisation or a softmax before or after it",
    cases=hidden_cases(),
)
def affine_logits(component: Build, case: HiddenCase) -> None:
    """The logits are an affine map of the hidden states, whatever its weights are.

    It is also checked where the weights cannot be read, by three states on a line, whose logits lie on a line.
    """
    heads = component(case.configuration)
    whole, half, none = (_forward(heads, case.hidden * factor) for factor in (1.0, -0.5, 0.0))
    for (name, layer), halved, empty in zip(named_layers(whole), half.layers, none.layers, strict=True):
        allowed = ROUNDINGS_ON_A_LINE * _width(_rounding(heads, case)[0], layer.logits)
        line = 3.0 * empty.logits - 2.0 * halved.logits
        require_close(f"the logits of {name}, against the line through two others,", layer.logits, line, allowed)


ROUNDINGS_ON_A_LINE = 6.0
"""Three answers are off by a rounding each, and count once, twice and three times."""


def _width(interval: Interval, numbers: Floats) -> float:
    """The width of a case's ranges, for answers that may be larger than their middle."""
    larger = float(np.abs(numbers).max()) / (float(np.abs(interval.value).max()) or 1.0)
    return float((interval.upper - interval.lower).max()) * max(1.0, larger)


@invariant(
    "heads.box-head",
    number="H3",
    formula="b̂ = σ(W₃ ReLU(W₂ ReLU(W₁ h + b₁) + b₂) + b₃)",
    source="norm §1; Carion et al. 2020, section 3.2: a 3-layer perceptron with ReLU",
    breaks="a ReLU after the last layer; a missing ReLU; GELU in its place; no sigmoid, or two",
    cases=hidden_cases(),
    rarity=2,
)
def box_head(component: Build, case: HiddenCase) -> None:
    """The boxes are the sigmoid of a perceptron with ReLU between its layers and none after the last.

    A ReLU too many before the sigmoid keeps every coordinate at 1/2 or above; a missing one leaves a linear
    map of any depth.
    """
    heads = component(case.configuration)
    outputs, parameters = _forward(heads, case.hidden), _composable(heads)
    for (name, layer), hidden in zip(named_layers(outputs), case.hidden, strict=True):
        expected = definitions.box_head(lift(hidden, case.configuration.dtype), parameters)
        require_within(f"the boxes of {name}", layer.boxes, expected)


def _composable(heads: Heads) -> HeadParameters:
    """The weights of the heads; ends the check where they do not fit one another."""
    parameters = _parameters(heads)
    shapes = [np.shape(weight) for weight, _ in parameters.box_head]
    fit = all(len(shape) == 2 for shape in shapes) and all(a[0] == b[1] for a, b in pairwise(shapes))
    premise(bool(shapes) and fit, "the box head's matrices do not fit one another")
    return parameters


@invariant(
    "heads.query-order",
    number="H4",
    formula="pred(h[:, :, π]) = pred(h)[:, π]",
    source="norm §1: the heads are applied to each query's hidden state",
    breaks="a normalisation or softmax over the queries; weights that depend on the query's index",
    cases=hidden_cases(),
)
def query_order(component: Build, case: HiddenCase) -> None:
    """Permuting the queries permutes the outputs.

    Queries talk to one another in the decoder's attention, and not in the heads.
    """
    order = case.permutation(case.hidden.shape[2], "queries")
    heads = component(case.configuration)
    outputs, permuted = _forward(heads, case.hidden), _forward(heads, case.hidden[:, :, order])
    _require_same_outputs("queries permuted", heads, case, permuted, outputs.take(queries=order))


@invariant(
    "heads.image-order",
    number="H4",
    formula="pred(h[:, π]) = pred(h)[π]",
    source="norm §1: the heads are applied to each query's hidden state",
    breaks="axes of images and queries exchanged; a view in place of a transpose",
    cases=hidden_cases(images=(2, 3)),
)
def image_order(component: Build, case: HiddenCase) -> None:
    """Permuting the images permutes the outputs.

    A prediction that lands in another image of the batch is trained towards that image's objects.
    """
    order = case.permutation(case.hidden.shape[1], "images")
    heads = component(case.configuration)
    outputs, permuted = _forward(heads, case.hidden), _forward(heads, case.hidden[:, order])
    _require_same_outputs("images permuted", heads, case, permuted, outputs.take(images=order))


@invariant(
    "heads.one-by-one",
    number="H8",
    formula="pred(h[:, b, i]) = pred(h)[b, i] for each image b and query i",
    source="norm §1: the heads are applied to each query's hidden state",
    breaks="a mean or norm over the queries or the batch, which no permutation shows",
    cases=hidden_cases(),
)
def one_by_one(component: Build, case: HiddenCase) -> None:
    """Each query alone has the outputs that it has among others.

    Otherwise what is detected depends on what else is in the batch, and on how many queries there are.
    """
    heads = component(case.configuration)
    outputs = _forward(heads, case.hidden)
    generator = case.generator("one state")
    image, query = (int(generator.integers(size)) for size in case.hidden.shape[1:3])
    alone = _forward(heads, case.hidden[:, image : image + 1, query : query + 1])
    expected = outputs.take(images=[image], queries=[query])
    _require_same_outputs(f"query {query} of image {image} alone", heads, case, alone, expected)


@invariant(
    "heads.shared-across-layers",
    number="H4",
    formula="h_l = h_m ⇒ pred_l(h) = pred_m(h)",
    source="norm §1: one module each, shared by all layers",
    breaks="a head of its own for each layer; a scale or an offset that depends on the layer",
    cases=SEVERAL_LAYERS,
)
def shared_across_layers(component: Build, case: HiddenCase) -> None:
    """The same hidden states give the same outputs in every decoder layer.

    With one head for all layers, the auxiliary losses train the head that inference uses.
    """
    heads = component(case.configuration)
    repeated = np.broadcast_to(case.hidden[-1:], case.hidden.shape)
    outputs = _forward(heads, repeated)
    for layer, auxiliary in enumerate(outputs.auxiliary):
        what = f"auxiliary output {layer}, for the last layer's hidden states,"
        _require_same_layer(what, heads, case, auxiliary, outputs.main)


def _require_same_outputs(what: str, heads: Heads, case: HiddenCase, got: Outputs, expected: Outputs) -> None:
    for (name, layer), other in zip(named_layers(got), expected.layers, strict=True):
        _require_same_layer(f"{name}, {what},", heads, case, layer, other)


@invariant(
    "heads.ways-of-calling",
    number="H9",
    formula="pred(h) called in any way = pred(h) called in the plain way",
    source="norm §1: the output is a function of the hidden states",
    breaks="`view` of what is not contiguous; layers read in the order in which they lie in memory",
    cases=called_cases(hidden_cases(images=(2, 3)), (*LAYOUTS, "no-grad", "inference")),
    rarity=2,
)
def ways_of_calling(component: Build, case: HiddenCase) -> None:
    """The outputs do not depend on how the hidden states lie in memory, nor on gradients.

    A decoder stacks its layers, and many have images and queries the other way round.
    """
    heads, plain = component(case.configuration), component(in_plain_way(case))
    require_way(heads.forward(case.hidden), plain.forward(case.hidden), case)
    got, expected = (_forward(one, case.hidden) for one in (heads, plain))
    _require_same_outputs(f"called {CALLS[case.configuration.call]}", plain, case, got, expected)


def _require_same_layer(what: str, heads: Heads, case: HiddenCase, got: Outputs, expected: Outputs) -> None:
    """Raises `Violation` unless two answers of one layer agree up to rounding."""
    ranges = _rounding(heads, case)
    for name, numbers, others, interval in (
        ("logits", got.logits, expected.logits, ranges[0]),
        ("boxes", got.boxes, expected.boxes, ranges[1]),
    ):
        require_close(f"{what} {name}", numbers, others, _width(interval, others))


def _rounding(heads: Heads, case: HiddenCase) -> tuple[Interval, Interval]:
    """The ranges of a case's logits and boxes, by the heads' own weights where they can be read.

    Otherwise by weights of magnitude 1, which round more than any smaller ones; the slope of the sigmoid is
    at most 1/4.
    """
    hidden = lift(case.hidden, case.configuration.dtype)
    try:
        parameters = _composable(heads)
        return definitions.class_head(hidden, parameters), definitions.box_head(hidden, parameters)
    except (NotProvided, PremiseFailed, Raised):
        size = case.configuration.hidden_dim
        weights, biases = np.full((size, size), UNIT), np.full(size, UNIT)
        states = definitions.linear(np.abs(hidden), weights, biases)
        steepest = states
        for _ in range(BOX_LAYERS - 1):
            steepest = definitions.linear(steepest, weights, biases)
        return states, steepest * 0.25


UNIT = float(np.nextafter(1.0, 2.0))
"""A weight of magnitude 1 that no dtype but float64 holds, so that products with it count as rounded."""
