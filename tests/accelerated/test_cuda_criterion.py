"""Matcher and criterion in CUDA kernels: run by the host in adversarial orders, and on a device, as the reference does.

That they are drop-in is tested with the path in torch. Here are batches of several tiles, planted defects, and what a
device alone can show.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from host_cuda import MEMORY_FAULT, ORDERS, without_a_barrier
from torch import Tensor

import detr_accelerated
import detr_reference
from detr_accelerated.cuda import batch as cuda_batch
from detr_accelerated.cuda import criterion as cuda_criterion
from detr_accelerated.cuda import kernels as cuda_kernels
from detr_conformance import check
from detr_conformance.implementations.accelerated import IMPLEMENTATIONS
from detr_spec.implementation import Implementation
from detr_spec.invariants import all_invariants

LOSSES = ("labels", "boxes", "cardinality")
EXACT = {"rtol": 1e-12, "atol": 1e-12}
CLASSES = 5

UNAVAILABLE = cuda_kernels.reason_unavailable()
on_a_device = pytest.mark.skipif(UNAVAILABLE is not None, reason=f"needs a CUDA device and CuPy: {UNAVAILABLE}")
DIALECTS = pytest.mark.parametrize("focal", [False, True], ids=["softmax", "sigmoid"])


@dataclass(frozen=True)
class Scene:
    """Predictions and targets with all that a defect could hide behind: empty and crowded images, ties, kinks."""

    outputs: dict[str, Any]
    targets: list[dict[str, Tensor]]

    @property
    def layers(self) -> list[dict[str, Tensor]]:
        return [self.outputs, *self.outputs["aux_outputs"]]

    @property
    def leaves(self) -> list[Tensor]:
        return [layer[name] for layer in self.layers for name in ("pred_logits", "pred_boxes")]

    def to(self, device: str) -> Scene:
        """The same on another device, with leaves of its own."""
        last, *others = ({k: v.detach().to(device).requires_grad_() for k, v in _tensors(x)} for x in self.layers)
        targets = [{name: value.to(device) for name, value in target.items()} for target in self.targets]
        return Scene({**last, "aux_outputs": others}, targets)


def _tensors(layer: dict[str, Any]) -> list[tuple[str, Tensor]]:
    return [(name, layer[name]) for name in ("pred_logits", "pred_boxes")]


def scene(focal: bool, counts: tuple[int, ...], queries: int, layers: int = 2, columns: int | None = None) -> Scene:
    numbers = torch.Generator().manual_seed(len(counts) + queries)
    columns = columns or (CLASSES if focal else CLASSES + 1)

    def boxes(count: int) -> Tensor:
        # Multiples of 1/16: edges that touch, and corners that are equal.
        return torch.randint(4, 13, (count, 4), generator=numbers).double() / 16

    def layer() -> dict[str, Any]:
        logits = torch.randint(-6, 7, (len(counts), queries, columns), generator=numbers).double() / 2
        logits[0, 0] = 0.5
        logits[-1, -1, 0] = -torch.inf
        found = boxes(len(counts) * queries).view(len(counts), queries, 4)
        return {"pred_logits": logits.requires_grad_(), "pred_boxes": found.requires_grad_()}

    targets = [{"labels": torch.randint(1, CLASSES, (n,), generator=numbers), "boxes": boxes(n)} for n in counts]
    return Scene({**layer(), "aux_outputs": [layer() for _ in range(layers - 1)]}, targets)


SCENES = {
    "several tiles": ((4, 0, 40, 7), 45, 3, None),
    "more targets than queries": ((70, 3), 33, 2, None),
    "one query": ((1, 0, 3), 1, 1, None),
    "no targets": ((0, 0), 5, 2, None),
    "more columns than lanes": ((3, 5), 34, 1, 70),
    "more images than lanes": (tuple(n % 3 for n in range(34)), 3, 1, None),
}


def criterion(module: Any, focal: bool, columns: int, **named: Any) -> Any:
    if focal:
        matcher = module.HungarianMatcher(2, 5, 2, class_cost=module.focal_cost(0.3, 1.5), **named)
        return module.FocalSetCriterion(columns, matcher, {}, LOSSES, focal_alpha=0.4, focal_gamma=2.5)
    return module.SetCriterion(columns - 1, module.HungarianMatcher(1, 5, 2, **named), {}, 0.2, LOSSES)


def total(losses: dict[str, Tensor]) -> Tensor:
    """Each loss with a weight of its own, so that none takes another's place."""
    return sum((k + 1) * loss for k, loss in enumerate(losses.values()) if loss.requires_grad)


def found(module: Any, focal: bool, given: Scene, **named: Any) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The losses and gradients of a module's criterion."""
    columns = given.outputs["pred_logits"].shape[2]
    losses = criterion(module, focal, columns, **named)(given.outputs, given.targets)
    return losses, list(torch.autograd.grad(total(losses), given.leaves))


@DIALECTS
@pytest.mark.parametrize("name", SCENES)
def test_losses_and_gradients_are_those_of_the_reference(focal: bool, name: str, kernels_on_host: None) -> None:
    given = scene(focal, *SCENES[name])
    torch.testing.assert_close(
        found(detr_accelerated, focal, given), found(detr_reference, focal, given), equal_nan=True, **EXACT
    )


@pytest.mark.thorough
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda given: given.profile.name)
def test_the_specification_holds(implementation: Implementation, kernels_on_host: Any) -> None:
    components = ("matcher", "criterion", "gradients")
    # Learnability takes hundreds of steps, and the host a second for a few of them.
    asked = [one.id for one in all_invariants() if one.component in components and one.id != "gradients.learnability"]
    report = check(implementation, invariants=asked, examples=2)
    assert not [judgement for _, judgement in report if judgement.verdict.fails]
    assert {"costs", "solve", "losses", "totals", "gradients"} == {name.split("<")[0] for name in kernels_on_host.ran}


@DIALECTS
def test_the_order_of_threads_changes_no_bit(focal: bool, kernels_on_host: Any) -> None:
    given = scene(focal, *SCENES["several tiles"])
    seen = []
    for order in ORDERS:
        kernels_on_host.order = order
        losses, gradients = found(detr_accelerated, focal, given)
        seen.append([*losses.values(), *gradients])
    for other in seen[1:]:
        assert all(torch.equal(one, two) for one, two in zip(seen[0], other, strict=True))


@pytest.mark.parametrize("name", ["broken label", "broken logit"])
def test_without_validation_a_broken_value_ends_no_kernel(name: str, kernels_on_host: None) -> None:
    given = scene(False, *SCENES["several tiles"])
    if name == "broken label":
        given.targets[2]["labels"][0] = 2**40
    else:
        given.outputs["pred_logits"].data[0, 0, 0] = torch.nan
    losses, gradients = found(detr_accelerated, False, given, validate=False)
    assert len(losses) == 13
    assert len(gradients) == 6


def test_a_value_that_is_broken_in_several_blocks_is_refused(kernels_on_host: None) -> None:
    given = scene(False, *SCENES["several tiles"])
    given.outputs["pred_logits"].data[..., 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        found(detr_accelerated, False, given)


@pytest.mark.parametrize(
    ("images", "layers", "fits"),
    [(128, 1, True), (129, 1, False), (1, 16, True), (1, 17, False)],
)
def test_batches_beyond_what_a_launch_takes_are_left_to_torch(
    images: int, layers: int, fits: bool, kernels_on_host: None
) -> None:
    given = scene(False, (1,) * images, 2, layers)
    batch = cuda_batch.device_batch(given.layers, given.targets)
    assert (batch is not None) == fits
    torch.testing.assert_close(
        found(detr_accelerated, False, given), found(detr_reference, False, given), equal_nan=True, **EXACT
    )


def test_a_dialect_of_costs_and_another_of_losses_are_left_to_torch(kernels_on_host: None) -> None:
    given = scene(True, *SCENES["several tiles"])
    criteria = [
        module.FocalSetCriterion(CLASSES, module.HungarianMatcher(1, 5, 2), {}, LOSSES)
        for module in (detr_accelerated, detr_reference)
    ]
    ours, theirs = (criterion(given.outputs, given.targets) for criterion in criteria)
    torch.testing.assert_close(ours, theirs, **EXACT)


SOURCE = "\n".join(path.read_text() for path in cuda_criterion.SOURCES)
UNGUARDED = without_a_barrier(SOURCE)


@pytest.mark.thorough
@pytest.mark.parametrize("line", UNGUARDED)
def test_without_any_of_their_barriers_memory_is_at_fault_in_every_order(
    compile_library: Callable, kernels_on_host: Any, line: int
) -> None:
    kernels_on_host.criterion = compile_library(UNGUARDED[line], "criterion_on_host.cpp")
    for order in ORDERS:
        kernels_on_host.order = order
        with pytest.raises(RuntimeError, match=MEMORY_FAULT):
            found(detr_accelerated, False, scene(False, *SCENES["several tiles"]))


DEFECTS = {
    "the last query of a layer left out": (
        "if (query >= batch.queries) continue;",
        "if (query >= batch.queries - 1) continue;",
    ),
    "the first tile for all": ("first(blockIdx.x * TILE)", "first(0 * TILE)"),
    "the last favourite of equals": ("others_favourite < favourite", "others_favourite > favourite"),
    "a warp left out of a tile's sums": ("warp < WARPS; ++warp", "warp < WARPS - 7; ++warp"),
    "a warp left out of a layer's sums": ("warp < MOST_IMAGES / WARP; ++warp", "warp < 1; ++warp"),
    "half of the lanes left out": ("offset /= 2) value +=", "offset /= 4) value +="),
    "no weight of no-object in the gradient": (
        "const Real share = class_share * (target == NONE ? Real(formula.eos_coef) : Real(1));",
        "const Real share = class_share;",
    ),
    "a gradient through sides that do not overlap": ("side > 0 ? Real(1)", "true ? Real(1)"),
    "all of a tie's gradient": ("? Real(0.5) : Real(0)", "? Real(1) : Real(0)"),
    "the other image's targets": ("image(problem % batch.images)", "image((problem + 1) % batch.images)"),
    "another layer's weight": ("given.giou_loss[tile.layer]", "given.giou_loss[0]"),
    "the number of matches for num_boxes": (
        "of_layer[L1_LOSS] / formula.num_boxes",
        "of_layer[L1_LOSS] / of_layer[MATCHED]",
    ),
    "squares for any gamma": ("exponent == 2 ? base * base : pow(base, exponent)", "base * base"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(
    compile_library: Callable, kernels_on_host: Any, found_apart: Callable, defect: str
) -> None:
    healthy, broken = DEFECTS[defect]
    assert SOURCE.count(healthy) == 1, "the defect cannot be planted, as the source has changed"
    kernels_on_host.criterion = compile_library(SOURCE.replace(healthy, broken), "criterion_on_host.cpp")

    def is_found() -> bool:
        for order in ORDERS:
            kernels_on_host.order = order
            for focal in (False, True):
                for parameters in SCENES.values():
                    given = scene(focal, *parameters)
                    try:
                        ours = found(detr_accelerated, focal, given)
                        wanted = found(detr_reference, focal, given)
                        torch.testing.assert_close(ours, wanted, equal_nan=True, **EXACT)
                    except (AssertionError, RuntimeError, ValueError):
                        return True
        return False

    assert found_apart(is_found)


@contextlib.contextmanager
def without_waiting() -> Iterator[None]:
    """Any operation of torch's that makes the host wait for the device is an error."""
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@on_a_device
@DIALECTS
@pytest.mark.parametrize("name", SCENES)
def test_on_a_device_losses_and_gradients_are_those_of_the_reference(focal: bool, name: str) -> None:
    given = scene(focal, *SCENES[name])
    losses, gradients = found(detr_accelerated, focal, given.to("cuda"))
    ours = ({name: loss.cpu() for name, loss in losses.items()}, [gradient.cpu() for gradient in gradients])
    torch.testing.assert_close(ours, found(detr_reference, focal, given), equal_nan=True, **EXACT)


@on_a_device
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@DIALECTS
def test_on_a_device_the_host_does_not_wait(focal: bool) -> None:
    given = scene(focal, *SCENES["several tiles"]).to("cuda")
    wanted = found(detr_accelerated, focal, given, validate=False)
    with without_waiting():
        ours = found(detr_accelerated, focal, given, validate=False)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=0, equal_nan=True)


@on_a_device
@DIALECTS
def test_on_a_device_a_step_is_captured_in_a_graph(focal: bool) -> None:
    given = scene(focal, *SCENES["several tiles"]).to("cuda")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        wanted = found(detr_accelerated, focal, given, validate=False)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        ours = found(detr_accelerated, focal, given, validate=False)
    graph.replay()
    torch.testing.assert_close(ours, wanted, rtol=0, atol=0, equal_nan=True)
