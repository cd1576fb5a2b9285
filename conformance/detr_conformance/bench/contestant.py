"""What a contestant is: a matcher and criterion, or a solver, that may be installed and is called in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from detr_conformance.bench.batches import Batch
from detr_spec.profile import Keys, Profile

Pairs = Sequence[tuple[Tensor, Tensor]]
"""The (query, target) indices of each image."""

NOT_INSTALLED = "not installed"

TERMS = ("classification", "box_l1", "box_giou")
"""The terms that are trained on, by their neutral names."""


def term_weights(profile: Profile) -> dict[str, float]:
    """The weight of each term in what is trained on."""
    return dict(zip(TERMS, profile.loss_weights, strict=True))


@dataclass(frozen=True)
class Package:
    """What a contestant comes with: its name in the registry and the module to import.

    common: whether others have a module of that name, too, so that the one that is found must be this package's.
    """

    distribution: str
    module: str
    common: bool = False

    @property
    def missing(self) -> str | None:
        """Why it cannot be imported, or None."""
        found = find_spec(self.module)
        if found is None or (self.common and version_of(self.distribution) is None):
            return NOT_INSTALLED
        first_file = f"{self.module}/__init__.py"
        if self.common and found.origin != str(distribution(self.distribution).locate_file(first_file)):
            return f"{self.module} is another package here"
        return None


def version_of(name: str) -> str | None:
    """The version of a distribution that is installed, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@dataclass(frozen=True)
class Step:
    """One forward pass of a contestant on one batch.

    losses: every loss by the contestant's own key. terms: the sum over the layers of each of `TERMS`. total: what is
    trained on. matchings: of each layer, first to last, and each image, the (query, target) indices.
    logits and boxes: the leaves that collect the gradient, [B, Q, ·] of each layer or one [L, B, Q, ·] of all.
    """

    losses: Callable[[], Mapping[str, Tensor]]
    terms: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
    matchings: Callable[[], Sequence[Pairs]]
    logits: Sequence[Tensor]
    boxes: Sequence[Tensor]

    @property
    def device(self) -> torch.device:
        """Where the predictions are."""
        return self.logits[0].device

    def total(self, losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
        """The sum of weight times term."""
        total: Tensor = sum(weights[name] * term for name, term in self.terms(losses).items())  # type: ignore[assignment]
        return total

    def run(self, weights: Mapping[str, float]) -> Mapping[str, Tensor]:
        """Runs forward and backward, which leaves gradients in the leaves, and gives the losses."""
        losses = self.losses()
        self.total(losses, weights).backward()  # type: ignore[no-untyped-call]
        return losses

    def forget_gradients(self) -> None:
        """Makes the next backward pass write its gradients and not add them."""
        for leaf in (*self.logits, *self.boxes):
            leaf.grad = None


def usual_step(batch: Batch, keys: Keys, criterion: Callable[..., Any], matcher: Callable[..., Any]) -> Step:
    """A step of a criterion that is called with outputs and targets, under these keys.

    matcher: called likewise with the outputs of one layer, it gives the (query, target) indices of each image.
    """
    targets = batch.targets(keys)

    def matchings() -> list[Pairs]:
        outputs = batch.outputs(keys)
        return [_as_tensors(matcher(layer, targets)) for layer in (*outputs[keys.auxiliary], outputs)]

    terms = terms_by_layer(keys, batch.size.layers)
    return Step(lambda: criterion(batch.outputs(keys), targets), terms, matchings, *batch.leaves)


def _as_tensors(pairs: Sequence[tuple[Any, Any]]) -> Pairs:
    return [(torch.as_tensor(queries), torch.as_tensor(targets)) for queries, targets in pairs]


@dataclass(frozen=True)
class Contestant:
    """A matcher and criterion of one dialect.

    profile: the dialect, with what the contestant is known to do in its own way. fixed: the numbers of a configuration
    that it cannot vary. box_slack: by how much a box may be higher or wider in its areas than it is, for epsilons that
    the profile has no word for. setting: what holds while it is built and called. only_on: the type of device that it
    is for, if there is one alone.
    """

    name: str
    profile: Profile
    package: Package | None
    build: Callable[[Batch], Step]
    fixed: Mapping[str, float] = field(default_factory=dict)
    box_slack: float = 0.0
    setting: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)
    only_on: str | None = None

    def missing(self, device: str) -> str | None:
        """Why it cannot take part on a type of device, or None."""
        return why_missing(self.package, self.only_on, device)


Find = Callable[[], Contestant]
"""Gives a contestant, in another process, too."""


def why_missing(package: Package | None, only_on: str | None, device: str) -> str | None:
    """Why a contestant of a package, for one type of device alone, cannot take part on another, or None."""
    if only_on not in (None, device):
        return f"for {only_on} only"
    return None if package is None else package.missing


def terms_by_layer(keys: Keys, layers: int) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """A function that sums each term over the layers, under the keys of a dialect.

    It raises LookupError where a loss is not there.
    """
    mains = dict(zip(TERMS, (keys.classification, keys.box_l1, keys.box_giou), strict=True))
    auxiliary, numbers = keys.auxiliary_loss, range(layers - 1)
    names = {
        term: [main, *(auxiliary.format(loss=main, layer=number) for number in numbers)] for term, main in mains.items()
    }

    def terms(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {term: torch.stack([_loss(losses, name) for name in found]).sum() for term, found in names.items()}

    return terms


def _loss(losses: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in losses:
        raise LookupError(f"there is no {name!r} among the losses, which are {', '.join(losses)}")
    return losses[name]
