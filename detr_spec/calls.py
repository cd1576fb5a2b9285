"""The ways in which a component is called: how its inputs lie in memory, what records gradients, which mode is on.

The numbers that are passed are the same in each of them, and so is the right answer. In the plain way inputs lie in
memory of their own, in C order; criteria, matchers and heads are called as in training, post-processing as in
evaluation.
"""

from __future__ import annotations

PLAIN = "plain"

LAYOUTS = ("sliced", "transposed", "gaps", "expanded")
"""The ways that differ in how the inputs lie in memory."""

CALLS = {
    PLAIN: "in the plain way",
    "sliced": "with inputs that are slices of stacked arrays, as a decoder layer's are",
    "transposed": "with inputs that lie in memory in the reverse order of their axes",
    "gaps": "with inputs that are every other element of larger arrays, with NaN and −1 between",
    "expanded": "with inputs whose repeated rows are one row in memory",
    "read-only": "with inputs that cannot be written to",
    "with-gradient": "with predictions that record gradients",
    "no-grad": "without gradients",
    "inference": "in inference mode",
    "frozen-boxes": "with boxes that need no gradient, as of a head that is not trained",
    "evaluation": "in evaluation mode",
    "training": "in training mode",
    "validation": "in evaluation mode and without gradients, after calls of the same object with other batches",
    "after-errors": "after calls of the same object with broken inputs",
    "refilled": "after calls of the same object in which the same memory and lists held other numbers",
    "extra-keys": "with outputs and targets that have other entries too, as a data loader's do",
    "int32-labels": "with labels in int32",
    "uint8-labels": "with labels in uint8",
}
"""What each way is, as messages say it."""

EVALUATED = ("evaluation", "validation")
"""The ways in which what is called as in training is called as in evaluation."""

LABEL_CALLS = ("int32-labels", "uint8-labels")
"""The ways that an implementation is called in only where it says so."""

USUAL_CALLS = tuple(name for name in CALLS if name not in LABEL_CALLS)
"""The ways that any implementation is called in, unless it says otherwise."""
