"""The contestants of this project: the reference, and the fast path with and without numba."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import detr_accelerated
import detr_reference
from detr_accelerated.compiled import calling as compiled
from detr_accelerated.cuda import kernels as cuda_kernels
from detr_conformance.bench.batches import Batch
from detr_conformance.bench.contestant import Contestant, Package, Step, term_weights, usual_step
from detr_spec.profile import Profile
from detr_spec.profiles import DEFORMABLE, DETR

LOSSES = ("labels", "boxes", "cardinality")
ACCELERATED = "accelerated, compiled"
PLAIN = "accelerated, torch alone"
UNVALIDATED = "accelerated, values not looked at"
CAPTURED = "accelerated, as a CUDA graph"


def _matcher(module: Any, profile: Profile, **named: Any) -> Any:
    if not profile.has_no_object:
        named["class_cost"] = module.focal_cost()
    return module.HungarianMatcher(*profile.cost_weights, **named)


def _criterion(module: Any, matcher: Any, batch: Batch) -> Any:
    if batch.profile.has_no_object:
        (eos_coef,) = batch.profile.class_loss.numbers.values()
        return module.SetCriterion(batch.size.columns - 1, matcher, {}, eos_coef, LOSSES)
    return module.FocalSetCriterion(batch.size.columns, matcher, {}, LOSSES)


def _step(module: Any, batch: Batch, **named: Any) -> Step:
    criterion = _criterion(module, _matcher(module, batch.profile, **named), batch).to(batch.device)
    return usual_step(batch, batch.profile.keys, criterion, _matcher(module, batch.profile))


def reference_step(batch: Batch) -> Step:
    """A step of the readable reference."""
    return _step(detr_reference, batch)


def accelerated_step(batch: Batch) -> Step:
    """A step of the fast path."""
    return _step(detr_accelerated, batch)


def unvalidated_step(batch: Batch) -> Step:
    """A step of the fast path with a matcher that does not look for broken values, and on CUDA waits for nothing."""
    return _step(detr_accelerated, batch, validate=False)


@dataclass(frozen=True, kw_only=True)
class _Captured(Step):
    """A step that is a graph of kernels, launched at once: the host does nothing but start it."""

    graph: Any
    found: Mapping[str, Tensor]
    gradients: Sequence[Tensor | None]

    def run(self, weights: Mapping[str, float]) -> Mapping[str, Tensor]:  # noqa: ARG002  they are in the graph
        """Launches the graph; the gradients lie where it writes them."""
        self.graph.replay()
        for leaf, gradient in zip((*self.logits, *self.boxes), self.gradients, strict=True):
            leaf.grad = gradient
        return self.found


def captured_step(batch: Batch) -> Step:
    """An unvalidated step, forward and backward, as one CUDA graph of this batch's sizes."""
    # Leaves remember the stream that first gave them a gradient, so this step has leaves of its own.
    logits, boxes = (tuple(x.detach().requires_grad_() for x in leaves) for leaves in (batch.logits, batch.boxes))
    hidden = None
    if batch.hidden is not None:
        hidden = (batch.hidden[0].detach().requires_grad_(), batch.hidden[1].detach().requires_grad_())
    step = unvalidated_step(replace(batch, logits=logits, boxes=boxes, hidden=hidden))
    weights = term_weights(batch.profile)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        # Kernels are compiled and loaded in the first run, which a graph cannot hold.
        for _ in range(3):
            step.forget_gradients()
            step.run(weights)
    torch.cuda.current_stream().wait_stream(stream)
    step.forget_gradients()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        found = step.run(weights)
    gradients = [leaf.grad for leaf in (*step.logits, *step.boxes)]
    return _Captured(**vars(step), graph=graph, found=found, gradients=gradients)


@contextmanager
def torch_alone() -> Iterator[None]:
    """The fast path as it is where neither numba nor CuPy is installed."""
    with (
        patch.object(compiled, "installed", lambda: False),
        patch.object(cuda_kernels, "_usable", lambda: False),
    ):
        yield


NUMBA = Package("numba", "numba")
CUPY = Package("cupy-cuda13x", "cupy")


def contestants(profile: Profile) -> tuple[Contestant, ...]:
    """The contestants of this project in one dialect."""
    return (
        Contestant("reference", profile, None, reference_step),
        Contestant(PLAIN, profile, None, accelerated_step, setting=torch_alone),
        Contestant(ACCELERATED, profile, NUMBA, accelerated_step),
        Contestant(UNVALIDATED, profile, None, unvalidated_step),
        Contestant(CAPTURED, profile, CUPY, captured_step, only_on="cuda"),
    )


OURS = (*contestants(DETR), *contestants(DEFORMABLE))
