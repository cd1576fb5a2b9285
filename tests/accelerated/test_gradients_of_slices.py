"""Layers that are slices of one tensor: the gradient is written once, and hooks see what autograd alone has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import detr_accelerated
import detr_reference
from detr_accelerated import slices

pytestmark = pytest.mark.usefixtures("way")

LAYERS, IMAGES, QUERIES, CLASSES = 3, 2, 5, 4
FILLING = {"zeros", "new_zeros", "zero_", "select_backward", "slice_backward", "stack", "clone", "copy_", "add"}

Layers = list[Tensor]
Cut = Callable[[Tensor], Layers]


def last_and_others(stacked: Tensor) -> Layers:
    """As DETR does."""
    return [*stacked[:-1], stacked[-1]]


def one_by_one(stacked: Tensor) -> Layers:
    return [stacked[layer] for layer in range(len(stacked))]


def unbound(stacked: Tensor) -> Layers:
    return list(stacked.unbind())


def stacked_again(stacked: Tensor) -> Layers:
    return one_by_one(torch.stack([2 * layer for layer in stacked.unbind()]))


def with_others_between(stacked: Tensor) -> Layers:
    """Slices that do not fill the tensor."""
    return one_by_one(stacked[:, :, 1:])


def of_another_dimension(stacked: Tensor) -> Layers:
    return list(stacked.transpose(0, 1).contiguous().unbind(1))


CUTS = {
    cut.__name__: cut
    for cut in (last_and_others, one_by_one, unbound, stacked_again, with_others_between, of_another_dimension)
}
WRITTEN_ONCE = [name for name in CUTS if name not in ("with_others_between", "of_another_dimension")]


def criterion(module: Any, focal: bool) -> Any:
    weights = detr_reference.build_weight_dict(decoder_layers=LAYERS)
    losses = ["labels", "boxes", "cardinality"]
    if focal:
        matcher = module.HungarianMatcher(2, 5, 2, class_cost=module.focal_cost())
        return module.FocalSetCriterion(CLASSES, matcher, weights, losses)
    return module.SetCriterion(CLASSES, module.HungarianMatcher(1, 5, 2), weights, 0.1, losses)


class Step:
    """A model's last operation, the slices of its outputs, and the loss of a criterion."""

    def __init__(self, module: Any, focal: bool, cut: Cut = last_and_others, used: int = LAYERS) -> None:
        generator = torch.Generator().manual_seed(7)

        def numbers(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, dtype=torch.float64) * 0.4 + 0.1

        self.hidden = numbers(LAYERS, IMAGES, QUERIES, CLASSES if focal else CLASSES + 1).requires_grad_()
        boxes = numbers(LAYERS, IMAGES, QUERIES, 4)
        self.targets = [{"labels": torch.tensor([1, 3, 0][:count]), "boxes": numbers(count, 4)} for count in (3, 1)]
        self.stacked = self.hidden.sin()
        self.layers = cut(self.stacked)
        boxes = boxes[:, :, : self.layers[0].shape[1]]
        given = [{"pred_logits": z, "pred_boxes": b} for z, b in zip(self.layers, boxes, strict=True)][-used:]
        self.outputs = {**given[-1], "aux_outputs": given[:-1]}
        self.criterion = criterion(module, focal)

    def loss(self) -> Tensor:
        found: Tensor = self.criterion.total(self.criterion(self.outputs, self.targets))
        return found


DIALECTS = pytest.mark.parametrize("focal", [False, True], ids=["softmax", "sigmoid"])


def assert_alike(do: Callable[[Step], Any], focal: bool, cut: Cut = last_and_others, **named: Any) -> None:
    """What is done with a step of ours gives what it gives with the reference's."""
    ours, theirs = (do(Step(module, focal, cut, **named)) for module in (detr_accelerated, detr_reference))
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


def hidden_gradient(step: Step) -> Tensor | None:
    step.loss().backward()
    return step.hidden.grad


@pytest.mark.parametrize("used", [LAYERS, 2, 1])
@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
@DIALECTS
def test_the_gradient_is_that_of_the_reference(focal: bool, cut: Cut, used: int) -> None:
    assert_alike(hidden_gradient, focal, cut, used=used)


class Operations(TorchDispatchMode):
    """Names those that make or fill a tensor of so many numbers."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers, self.names = numbers, set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if type(found) is Tensor and found.numel() == self.numbers and slices._Places not in types:
            self.names.add(func.overloadpacket.__name__)
        return found


@pytest.mark.parametrize("way", ["torch", "numba"], indirect=True)
@pytest.mark.parametrize("name", WRITTEN_ONCE)
@DIALECTS
def test_nothing_of_the_size_of_all_layers_is_filled(focal: bool, name: str) -> None:
    step = Step(detr_accelerated, focal, CUTS[name])
    loss = step.loss()
    seen: list[Tensor] = []
    if name != "stacked_again":
        step.stacked.register_hook(seen.append)
    with Operations(step.hidden.numel()) as operations:
        loss.backward()
    # Those of the stack and the sine that the model itself has are left.
    assert operations.names & FILLING <= ({"stack"} if name == "stacked_again" else set())
    assert all(type(gradient) is Tensor for gradient in seen)


def test_what_autograd_does_alone_is_seen_to_fill_it() -> None:
    step = Step(detr_reference, focal=False, cut=one_by_one)
    loss = step.loss()
    with Operations(step.hidden.numel()) as operations:
        loss.backward()
    assert operations.names & FILLING


def watched(step: Step, of: Callable[[Step], Tensor], doubled: bool, late: bool) -> Any:
    """The gradients that a hook sees and that arrive, the hook of a tensor being registered before or after forward."""
    seen: list[Tensor] = []

    def hook(gradient: Tensor) -> Tensor | None:
        assert type(gradient) is Tensor
        seen.append(gradient.clone())
        return 2 * gradient if doubled else None

    if late:
        loss = step.loss()
        of(step).register_hook(hook)
    else:
        of(step).register_hook(hook)
        loss = step.loss()
    loss.backward()
    return seen, step.hidden.grad


def a_slice(step: Step) -> Tensor:
    return step.layers[1]


def all_slices(step: Step) -> Tensor:
    return step.stacked


@pytest.mark.parametrize("of", [a_slice, all_slices])
@pytest.mark.parametrize("cut", [last_and_others, one_by_one, unbound])
@pytest.mark.parametrize("doubled", [False, True], ids=["seen", "changed"])
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@DIALECTS
def test_hooks_see_and_change_gradients(
    focal: bool, late: bool, doubled: bool, cut: Cut, of: Callable[[Step], Tensor]
) -> None:
    assert_alike(lambda step: watched(step, of, doubled, late), focal, cut)


@pytest.mark.parametrize("cut", [last_and_others, one_by_one, unbound])
@DIALECTS
def test_retained_gradients_are_ones_own(focal: bool, cut: Cut) -> None:
    def do(step: Step) -> Any:
        loss = step.loss()
        for layer in step.layers:
            layer.retain_grad()
        loss.backward()
        found = [layer.grad for layer in step.layers]
        assert all(type(gradient) is Tensor for gradient in found)
        kept = [gradient.clone() for gradient in found if gradient is not None]
        for gradient in found:
            assert gradient is not None
            gradient.zero_()
        return kept, step.hidden.grad

    assert_alike(do, focal, cut)


@DIALECTS
def test_the_gradient_of_a_slice_of_several_layers_may_be_retained(focal: bool) -> None:
    def do(step: Step) -> Any:
        others = step.stacked[:-1]
        others.retain_grad()
        layers = [*others, step.stacked[-1]]
        for layer, logits in zip([*step.outputs["aux_outputs"], step.outputs], layers, strict=True):
            layer["pred_logits"] = logits
        step.loss().backward()
        assert type(others.grad) is Tensor
        return others.grad, step.hidden.grad

    assert_alike(do, focal)


def used_elsewhere(step: Step) -> Any:
    (step.loss() + step.layers[1].square().sum() + step.stacked.square().sum()).backward()
    return step.hidden.grad


def asked_for_slices(step: Step) -> Any:
    return torch.autograd.grad(step.loss(), step.layers)


def asked_for_a_slice(step: Step) -> Any:
    return torch.autograd.grad(step.loss(), step.layers[:1])


def asked_for_all(step: Step) -> Any:
    found = torch.autograd.grad(step.loss(), [*step.layers, step.stacked, step.hidden])
    assert all(type(gradient) is Tensor for gradient in found)
    return found


def twice(step: Step) -> Any:
    loss = step.loss()
    loss.backward(retain_graph=True)
    loss.backward()
    return step.hidden.grad


def two_criteria(step: Step) -> Any:
    (step.loss() + 3 * step.loss()).backward()
    return step.hidden.grad


def one_loss_alone(step: Step) -> Any:
    step.criterion(step.outputs, step.targets)["loss_ce_0"].backward()
    return step.hidden.grad


def with_inputs(step: Step) -> Any:
    step.loss().backward(inputs=step.layers[:2])
    return [layer.grad for layer in step.layers[:2]]


def with_a_hook_of_a_node(step: Step) -> Any:
    seen: list[Any] = []
    assert step.layers[0].grad_fn is not None
    step.layers[0].grad_fn.register_prehook(seen.extend)
    step.loss().backward()
    return seen, step.hidden.grad


@pytest.mark.parametrize("cut", [last_and_others, one_by_one, unbound])
@pytest.mark.parametrize(
    "do",
    [
        used_elsewhere,
        asked_for_slices,
        asked_for_a_slice,
        asked_for_all,
        twice,
        two_criteria,
        one_loss_alone,
        with_inputs,
        with_a_hook_of_a_node,
    ],
)
@DIALECTS
def test_slices_may_be_used_as_any_tensor(focal: bool, do: Callable[[Step], Any], cut: Cut) -> None:
    assert_alike(do, focal, cut)


@pytest.mark.parametrize("way", ["torch", "numba"], indirect=True)
@pytest.mark.parametrize("cut", [last_and_others, one_by_one, unbound])
@DIALECTS
def test_memory_is_let_go_with_the_backward_pass(focal: bool, cut: Cut, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    class Kept(slices._Together):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(slices, "_Together", Kept)
    step = Step(detr_accelerated, focal, cut)
    step.loss().backward()
    (together,) = made
    assert together.nodes > 0
    assert together._memory is None
