"""What the tests of published projects check of these parts, re-stated, to compare with: how many mutants they find.

Each check is given the reference, or a mutant of it, as a module, and raises where a test of that kind would fail.
Only the kind of input and of comparison is taken from the project; the words and the code are ours. Where a project
tests a part that is not the subject here (export, scripting, attention), that is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torch.nn.functional import cross_entropy

from detr_conformance.base.consoles import Console
from detr_conformance.mutants.bank import Mutant
from detr_conformance.mutants.patch import mutant_package
from detr_conformance.mutants.sources import PACKAGE

Check = Callable[[ModuleType], None]


@dataclass(frozen=True)
class Suite:
    """The checks that a project's tests make of set prediction, and where they are."""

    project: str
    source: str
    checks: tuple[Check, ...]


def boxes_there_and_back(reference: ModuleType) -> None:
    """Ten random boxes, to corners and back, differ by less than 1e-5."""
    boxes = torch.rand(10, 4)
    back = reference.box_xyxy_to_cxcywh(reference.box_cxcywh_to_xyxy(boxes))
    _require(bool((boxes - back).abs().max() < 1e-5))


def batch_matched_as_alone(reference: ModuleType) -> None:
    """One image of 100 queries and 15 targets has 15 pairs, and the same ones where it is twice in a batch."""
    outputs, target = _scene()
    matcher = reference.HungarianMatcher()
    (alone,) = matcher(outputs, [target])
    _require(len(alone[0]) == len(alone[1]) == len(target["labels"]))
    for pairs in matcher(_twice(outputs), [target, target]):
        _require(all(torch.equal(first, second) for first, second in zip(pairs, alone, strict=True)))


def no_pairs_without_targets(reference: ModuleType) -> None:
    """An image without targets has no pairs, beside one with targets and beside another one without."""
    outputs, target = _scene()
    empty = {name: part[:0] for name, part in target.items()}
    matcher = reference.HungarianMatcher()
    _require(len(matcher(_twice(outputs), [target, empty])[1][0]) == 0)
    _require(len(matcher(_twice(outputs), [empty, empty])[0][0]) == 0)


def model_takes_what_it_is_given(reference: ModuleType) -> None:
    """Images of two sizes, one image alone, and a batch have logits."""
    model = _model(reference)
    for images in ([torch.rand(3, 64, 64), torch.rand(3, 64, 80)], [torch.rand(3, 64, 64)]):
        _require("pred_logits" in model(images))
    _require("pred_logits" in model(reference.pad_images([torch.rand(3, 64, 64)])))


def focal_loss_of_positives(reference: ModuleType) -> None:
    """The focal loss of six random logits, all of them positive, is that of another implementation."""
    from torchvision.ops import sigmoid_focal_loss  # noqa: PLC0415

    logits, positive = torch.randn(2, 3), torch.ones(2, 3)
    got = reference.losses.sigmoid_focal_loss(logits, positive.bool(), 0.25, 2.0)
    _require_close(got.sum(), sigmoid_focal_loss(logits, positive, 0.25, 2.0, reduction="sum"))


def weighted_cross_entropy(reference: ModuleType) -> None:
    """The cross-entropy of three random rows of 81 classes, the last of weight 0.1, is PyTorch's."""
    logits, classes, weights = torch.randn(3, 81), torch.randint(81, (3,)), torch.ones(81)
    weights[-1] = 0.1
    got = reference.losses.weighted_cross_entropy(logits[None], classes[None], weights)
    _require_close(got, cross_entropy(logits, classes, weights))


def l1_of_two_boxes(reference: ModuleType) -> None:
    """The L1 loss of two boxes, each the same, against two others is the sum of absolute differences."""
    boxes, targets = _two_boxes()
    _require_close(reference.losses.box_l1_loss(boxes, targets).sum(), (boxes - targets).abs().sum())


def giou_of_two_boxes(reference: ModuleType) -> None:
    """The GIoU loss of the same boxes is 1 minus the diagonal of the implementation's own pairwise GIoU."""
    boxes, targets = _two_boxes()
    to_centres = reference.box_xyxy_to_cxcywh
    own = 1 - reference.generalized_box_iou(boxes, targets).diag()
    _require_close(reference.losses.box_giou_loss(to_centres(boxes), to_centres(targets)), own)


def loss_is_a_number_and_trains(reference: ModuleType) -> None:
    """A model's outputs have the expected shapes, its weighted loss is one number, and every parameter a gradient."""
    model = _model(reference)
    outputs = model([torch.rand(3, 64, 64), torch.rand(3, 64, 64)])
    _require(outputs["pred_logits"].shape == (2, 12, 6))
    _require(outputs["pred_boxes"].shape == (2, 12, 4))
    target = {"labels": torch.tensor([1, 1, 1]), "boxes": torch.rand(3, 4)}
    weights = reference.build_weight_dict(decoder_layers=2)
    losses = ["labels", "boxes", "cardinality"]
    criterion = reference.SetCriterion(5, reference.HungarianMatcher(1.0, 5.0, 2.0), weights, 0.1, losses)
    values = criterion(outputs, [target, target])
    total = sum(weights[name] * loss for name, loss in values.items() if name in weights)
    _require(isinstance(total, Tensor) and total.shape == ())
    total.backward()
    _require(all(parameter.grad is not None for parameter in model.parameters()))


SUITES = (
    Suite(
        "facebookresearch/detr",
        "test_all.py",
        (boxes_there_and_back, batch_matched_as_alone, no_pairs_without_targets, model_takes_what_it_is_given),
    ),
    Suite(
        "IDEA-Research/detrex",
        "tests/test_losses.py",
        (focal_loss_of_positives, weighted_cross_entropy, l1_of_two_boxes, giou_of_two_boxes),
    ),
    Suite(
        "huggingface/transformers",
        "tests/models/detr/test_modeling_detr.py, tests/test_modeling_common.py",
        (loss_is_a_number_and_trains,),
    ),
)


def finds(suite: Suite, reference: ModuleType, seed: int) -> bool:
    """Whether any check of a suite fails for the reference, or for a mutant of it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for check in suite.checks:
            try:
                check(reference)
            except Exception:
                return True
    return False


def found_by(suite: Suite, mutants: Sequence[Mutant], seed: int = 0) -> tuple[Mutant, ...]:
    """The mutants that a suite finds, out of those given."""
    return tuple(mutant for mutant in mutants if finds(suite, mutant_package(mutant), seed))


def show_others(mutants: Sequence[Mutant], console: Console) -> None:
    """Prints how many of the mutants that are defects each project's checks find, and how many any of them does.

    Those whose defect is not in the reference itself, but in how its parts are put together, are left out.
    """
    defects = [mutant for mutant in mutants if not mutant.equivalent and _in_reference(mutant)]
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for name in ("checks of", "in", "defects found", "share"):
        table.add_column(name, overflow="fold")
    found = {suite: found_by(suite, defects) for suite in SUITES}
    for suite, mutants_found in found.items():
        table.add_row(suite.project, suite.source, *_share(len(mutants_found), len(defects)))
    together = {mutant.id for mutants_found in found.values() for mutant in mutants_found}
    table.add_row("all of them together", "", *_share(len(together), len(defects)))
    console.print(table)


def _in_reference(mutant: Mutant) -> bool:
    return all(edit.file.startswith(f"{PACKAGE}/") for edit in mutant.edits)


def _share(count: int, whole: int) -> tuple[str, str]:
    return f"{count} of {whole}", f"{100 * count / max(whole, 1):.0f} %"


def _scene() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The outputs for one image of 100 queries and 91 classes, and 15 targets, all numbers in [0, 1]."""
    outputs = {"pred_logits": torch.rand(1, 100, 92), "pred_boxes": torch.rand(1, 100, 4)}
    return outputs, {"labels": torch.randint(91, (15,)), "boxes": torch.rand(15, 4)}


def _twice(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: part.repeat(2, 1, 1) for name, part in outputs.items()}


def _two_boxes() -> tuple[Tensor, Tensor]:
    return torch.tensor([[-1.0, -1.0, 1.0, 1.0]] * 2), torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)


def _model(reference: ModuleType) -> Any:
    """A detector of 12 queries and 5 classes with two decoder layers, small enough for a test."""
    return reference.build_detr(
        5, 12, backbone="resnet18", last_stage=2, norm_layer=reference.group_norm, hidden_dim=16, num_heads=2,
        encoder_layers=1, decoder_layers=2, feedforward_dim=16, dropout=0.0,
    )  # fmt: skip


def _require(held: bool) -> None:
    if not held:
        raise AssertionError


def _require_close(got: Tensor, expected: Tensor) -> None:
    _require(bool(torch.allclose(got, expected, rtol=1e-6, atol=1e-7)))
