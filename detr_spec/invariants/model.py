"""Invariants of a whole detector: from images to outputs. norm §1, H1, H2, H4, H7 and H8.

Not claimed, though it holds for decoders: that padding does not matter at all (H5). Before the decoder is a
convolutional backbone, whose biases and norms fill the padded area and whose kernels reach from there into the image,
so an image's outputs do depend on how far it is padded. What is claimed instead is about an image that its batch does
not pad, and about padding that is farther away than the backbone sees. The order of layers is seen in models of fewer
layers; that of the queries, which are the model's own, is not visible from outside.

What is compared up to rounding is compared with the allowance of `detr_spec.invariants.rounding`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from detr_spec.calls import CALLS, LAYOUTS
from detr_spec.cases import ImagesCase
from detr_spec.configuration import Configuration
from detr_spec.implementation import Model
from detr_spec.invariant import invariant
from detr_spec.invariants.calls import in_plain_way, require_way
from detr_spec.invariants.rounding import allowances, moved
from detr_spec.invariants.shared import named_layers, require_in_unit_range, require_unchanged, vary
from detr_spec.strategies import called_cases
from detr_spec.strategies.features import image_cases
from detr_spec.values import Floats, Outputs
from detr_spec.violation import NotProvided, premise, require, require_close, require_equal, require_shape

Build = Callable[[Configuration], Model]

COST = 2


def _outputs(model: Model, images: Sequence[Floats]) -> Outputs:
    """The outputs for images; raises `Violation` unless they are for as many, and finite."""
    return _sound(model.call(images).value, images)


def _sound(outputs: Outputs, images: Sequence[Floats]) -> Outputs:
    """The outputs; raises `Violation` unless they are for as many images, and finite."""
    for name, layer in named_layers(outputs):
        for part, numbers in (("logits", layer.logits), ("boxes", layer.boxes)):
            message = f"the {part} of {name} are for another number of images than were given"
            require_equal(message, len(numbers), len(images))
            require(
                bool(np.isfinite(numbers).all()),
                f"the {part} of {name} are not finite",
                expected="finite numbers",
                got=numbers[~np.isfinite(numbers)][:4].tolist(),
            )
    return outputs


def _arrays(outputs: Outputs) -> tuple[Floats, ...]:
    return tuple(array for layer in outputs.layers for array in (layer.logits, layer.boxes))


def _require_same(
    what: str,
    got: Outputs,
    expected: Outputs,
    model: Model,
    case: ImagesCase,
    beside: Sequence[Floats] = (),
) -> None:
    """Raises `Violation` unless outputs agree up to the rounding that is seen in the case itself.

    beside: images of the batch that are not the case's.
    """
    counts = len(expected.layers), len(got.layers)
    require_equal(f"the outputs, {what}, have other layers", counts[1], counts[0])
    if all(map(np.array_equal, _arrays(got), _arrays(expected))):
        return
    configuration = case.configuration

    def ask(generator: np.random.Generator) -> tuple[Floats, ...]:
        images = [np.clip(moved(image, configuration, generator), 0.0, 1.0) for image in case.images]
        return _arrays(_outputs(model, [*images, *beside]))

    settled = _arrays(_outputs(model, [*case.images, *beside]))
    allowed = allowances(ask, settled, configuration, case.generator("rounding"))
    names = [f"the {part} of {name} ({what})" for name, _ in named_layers(expected) for part in ("logits", "boxes")]
    for name, numbers, others, allowance in zip(names, _arrays(got), _arrays(expected), allowed, strict=True):
        require_close(name, numbers, others, allowance)


@invariant(
    "model.shapes",
    number="H1",
    formula="logits [B, Q, C], boxes [B, Q, 4]",
    source="norm §1: the output",
    breaks="K columns where the profile has K + 1; images and queries exchanged; the batch axis dropped for one image",
    cases=image_cases(),
    cost=COST,
)
def shapes(component: Build, case: ImagesCase) -> None:
    """A batch of images gives logits [B, Q, C] and boxes [B, Q, 4], finite, from each decoder layer.

    Criterion and post-processing read images, queries and classes from these axes.
    """
    outputs = _outputs(component(case.configuration), case.images)
    queries = outputs.logits.shape[1]
    for name, layer in named_layers(outputs):
        shape = (len(case.images), queries)
        require_shape(f"the logits of {name}", layer.logits, (*shape, case.configuration.columns))
        require_shape(f"the boxes of {name}", layer.boxes, (*shape, 4))


@invariant(
    "model.boxes-in-unit-range",
    number="H1",
    formula="0 ≤ b̂ ≤ 1",
    source="norm §1: boxes are (cx, cy, w, h), each in [0, 1]",
    breaks="a missing sigmoid; boxes in pixels",
    cases=image_cases(),
    cost=COST,
)
def boxes_in_unit_range(component: Build, case: ImagesCase) -> None:
    """Every predicted box coordinate of every decoder layer lies in [0, 1].

    A negative width is no box: GIoU refuses it, and the training run ends.
    """
    require_in_unit_range(_outputs(component(case.configuration), case.images))


@invariant(
    "model.auxiliary-layers",
    number="H2",
    formula="L − 1 auxiliary outputs",
    source="norm §1: `aux_outputs`, layers 0 … L−2",
    breaks="the last layer among the auxiliary ones; auxiliary layers left out",
    cases=image_cases(),
    cost=COST,
)
def auxiliary_layers(component: Build, case: ImagesCase) -> None:
    """A model of L decoder layers gives L − 1 auxiliary outputs beside the main one.

    A layer that is missing has no auxiliary loss, and one too many counts its loss twice.
    """
    outputs = _outputs(component(case.configuration), case.images)
    expected, got = case.configuration.decoder_layers - 1, len(outputs.auxiliary)
    require_equal(f"there are {got} auxiliary outputs", got, expected)


@invariant(
    "model.every-layer-as-if-last",
    number="H2",
    formula="auxiliary[l] = main of the model that ends after decoder layer l, for l = 0 … L − 2",
    source="norm §1: `aux_outputs`, layers 0 … L−2; the main output is the last layer's",
    breaks="auxiliary outputs from last to first; a main output of an earlier layer; logits and boxes of two layers",
    cases=image_cases(layers=(2, 3)),
    cost=COST,
)
def every_layer_as_if_last(component: Build, case: ImagesCase) -> None:
    """An auxiliary output is what the model would predict if its decoder ended after that layer.

    So the main output is the last layer's, and the auxiliary ones are in order. A detector that answers from an earlier
    layer trains all the same, and leaves the last one without use.
    """
    vary(case.configuration, decoder_layers=1)
    model = component(case.configuration)
    if model.cut is None:
        raise NotProvided("the model cannot be cut")
    outputs = _outputs(model, case.images)
    premise(bool(outputs.auxiliary), "there are no auxiliary outputs")
    parts = [_sound(model.cut(case.images, layer).value, case.images) for layer in range(1, len(outputs.layers))]
    ended = replace(outputs, auxiliary=tuple(part.main for part in parts))
    _require_same("against models that end after each layer", outputs, ended, model, case)


@invariant(
    "model.image-order",
    number="H4",
    formula="f(x[π]) = f(x)[π]",
    source="norm §1: the output",
    breaks="axes of images and queries exchanged; sizes or masks that stay where they were; an offset by image",
    cases=image_cases(images=(2, 3)),
    cost=COST,
)
def image_order(component: Build, case: ImagesCase) -> None:
    """Permuting the images permutes the outputs.

    Predictions that land in another image of the batch are trained towards that image's objects.
    """
    order = case.permutation(len(case.images), "images")
    model = component(case.configuration)
    outputs = _outputs(model, case.images)
    permuted = _outputs(model, [case.images[image] for image in order])
    _require_same("images permuted", permuted, outputs.take(images=order), model, case)


@invariant(
    "model.image-twice",
    number="H4",
    formula="x_a = x_b ⇒ f(x)_a = f(x)_b",
    source="norm §1: the output",
    breaks="an offset by image; randomness in evaluation; attention from one image to the one before it",
    cases=image_cases(),
    cost=COST,
)
def image_twice(component: Build, case: ImagesCase) -> None:
    """An image that is twice in a batch has the same outputs twice.

    Both are padded alike, so nothing but their places in the batch tells them apart.
    """
    model = component(case.configuration)
    outputs = _outputs(model, [*case.images, case.images[0]])
    first, again = outputs.take(images=[0]), outputs.take(images=[len(case.images)])
    _require_same("of an image that is in the batch twice", again, first, model, case)


@invariant(
    "model.largest-image-alone",
    number="H8",
    formula="f(x)_b = f(x_b) where x_b is as high as the highest and as wide as the widest",
    source="norm §1: padded positions must not influence the output",
    breaks="norms that use the batch's statistics in evaluation; attention over the batch; images mixed",
    cases=image_cases(images=(2, 3), covering=True),
    cost=COST,
)
def largest_image_alone(component: Build, case: ImagesCase) -> None:
    """An image that its batch does not pad has the outputs that it has alone.

    A detector is trained on batches and used on single images. Of a padded image this is not claimed, as padding
    reaches a convolutional backbone.
    """
    sizes = np.array([image.shape[1:] for image in case.images])
    premise(bool((sizes[0] == sizes.max(axis=0)).all()), "the first image is padded")
    model = component(case.configuration)
    together, alone = _outputs(model, case.images), _outputs(model, case.images[:1])
    _require_same("of the largest image, alone", alone, together.take(images=[0]), model, case)


CANVAS = 128
"""Batches that are padded on purpose have sides that are multiples of this, which every usual stride divides: then a
position of the features stands for the same pixels however far the batch is padded."""


@invariant(
    "model.padding-ignored",
    number="H5",
    formula="f(x, y)_x = f(x, y')_x where y and y' end beyond the reach of the backbone from x",
    source="norm §1: padded positions must not influence the output",
    breaks="a padding mask that is not made, not resized with the features, inverted, or not handed on",
    cases=image_cases(images=(1, 1)),
    cost=COST,
)
def padding_ignored(component: Build, case: ImagesCase) -> None:
    """An image's outputs do not change when padding grows beyond the reach of its backbone.

    Otherwise the detections of an image depend on the sizes of the others in its batch.
    """
    model = component(case.configuration)
    if model.reach is None:
        raise NotProvided("how far the backbone sees is not said")
    (image,) = case.images
    axis = 1 + case.seed % 2
    side = CANVAS * -(-(image.shape[axis] + model.reach()) // CANVAS)
    near, far = (_blank(image.shape, axis, longest) for longest in (side, side + CANVAS))
    expected, got = (_outputs(model, [image, blank]).take(images=[0]) for blank in (near, far))
    _require_same("with more padding", got, expected, model, case, beside=[near])


def _blank(shape: tuple[int, ...], axis: int, side: int) -> Floats:
    """An image of that shape, but for one side, without anything on it."""
    return np.full((*shape[:axis], side, *shape[axis + 1 :]), 0.5)


@invariant(
    "model.repeatable",
    number="H7",
    formula="f(x) = f(x), exactly",
    source="norm §1: the output is a function of the images",
    breaks="dropout left on in evaluation; running statistics that a call updates",
    cases=image_cases(),
    cost=COST,
)
def repeatable(component: Build, case: ImagesCase) -> None:
    """In evaluation, the same images twice give the same outputs.

    A detector that answers differently each time can be neither compared nor debugged.
    """
    model = component(case.configuration)
    first, second = _outputs(model, case.images), _outputs(model, case.images)
    for (name, layer), other in zip(named_layers(second), first.layers, strict=True):
        require_close(f"the logits of {name}, asked for again,", layer.logits, other.logits, 0.0)
        require_close(f"the boxes of {name}, asked for again,", layer.boxes, other.boxes, 0.0)


@invariant(
    "model.inputs-unchanged",
    number="H7",
    formula="images after the call = before",
    source="norm §1: the output is a function of the images",
    breaks="images normalised in place; a list of images that grows",
    cases=image_cases(),
    cost=COST,
)
def inputs_unchanged(component: Build, case: ImagesCase) -> None:
    """The call leaves the images as they are.

    Images normalised in place are normalised twice by the next call.
    """
    require_unchanged(component(case.configuration).call(case.images), "the model")


@invariant(
    "model.ways-of-calling",
    number="H9",
    formula="f(x) called in any way = f(x) called in the plain way",
    source="norm §1: the output is a function of the images",
    breaks="`view` of what is not contiguous; images read in the order in which they lie in memory",
    cases=called_cases(image_cases(), LAYOUTS),
    cost=2 * COST,
    rarity=3,
)
def ways_of_calling(component: Build, case: ImagesCase) -> None:
    """The outputs do not depend on how the images lie in memory.

    What is decoded from a file has its channels last, and a crop is a slice of what it was cut from.
    """
    model, plain = component(case.configuration), component(in_plain_way(case))
    require_way(model.call(case.images), plain.call(case.images), case)
    got, expected = (_outputs(one, case.images) for one in (model, plain))
    _require_same(f"called {CALLS[case.configuration.call]}", got, expected, plain, case)
