"""What a contestant is: a matcher and criterion, or a solver, that may be installed and is called in its own way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from detr_conformance.bench.batches import Batch
from detr_spec.profile import Profile

TERMS = ("classification", "box_l1", "box_giou")
"""The terms that are trained on, by their neutral names."""


def term_weights(profile: Profile) -> dict[str, float]:
    """The weight of each term in what is trained on."""
    return dict(zip(TERMS, profile.loss_weights, strict=True))


@dataclass(frozen=True)
class Package:
    """What a contestant comes with: its name in the registry and the module to import."""

    distribution: str
    module: str

    @property
    def missing(self) -> str | None:
        """ "not installed", or None."""
        return None if find_spec(self.module) is not None else "not installed"

    @property
    def version(self) -> str | None:
        """The version that is installed, or None."""
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return None


@dataclass(frozen=True)
class Place:
    """A function that a contestant calls, as an attribute of a module or of a class in it: "module:Class" or "module".

    The time that is spent in it belongs to a part of the step.
    """

    owner: str
    attribute: str
    part: str

    def resolve(self) -> Any:
        """The module or class; raises ImportError or AttributeError where the installed version has none."""
        module, _, name = self.owner.partition(":")
        owner = import_module(module)
        return getattr(owner, name) if name else owner


@dataclass(frozen=True)
class Step:
    """One forward pass of a contestant on one batch.

    losses: every loss by the contestant's own key. terms: the sum over the layers of each of `TERMS`. total: what is
    trained on. matchings: of each layer, first to last, and each image, the (query, target) indices.
    logits and boxes: the leaves that collect the gradient, [B, Q, ·] of each layer or one [L, B, Q, ·] of all.
    """

    losses: Callable[[], Mapping[str, Tensor]]
    terms: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
    matchings: Callable[[], Sequence[Sequence[tuple[Tensor, Tensor]]]]
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


@dataclass(frozen=True)
class Contestant:
    """A matcher and criterion of one dialect.

    profile: the dialect, with the epsilons that the contestant is known to add. box_slack: by how much a box may be
    higher or wider in its areas than it is, for epsilons that the profile has no word for. places: where the parts of
    a step are spent; without any the step is timed as a whole. setting: what holds while it is built and called.
    only_on: the type of device that it is for, if there is one alone.
    """

    name: str
    profile: Profile
    package: Package | None
    build: Callable[[Batch], Step]
    places: tuple[Place, ...]
    box_slack: float = 0.0
    setting: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)
    only_on: str | None = None

    def missing(self, device: str) -> str | None:
        """Why it cannot take part on a type of device, or None."""
        return why_missing(self.package, self.only_on, device)


def why_missing(package: Package | None, only_on: str | None, device: str) -> str | None:
    """Why a contestant of a package, for one type of device alone, cannot take part on another, or None."""
    if only_on not in (None, device):
        return f"for {only_on} only"
    return None if package is None else package.missing


def terms_by_layer(keys: Mapping[str, str]) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """A function that sums each term over the layers, its keys being `key`, `key_0`, `key_1` and so on."""

    def terms(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        for name, key in keys.items():
            of_layers = [value for found, value in losses.items() if found == key or _is_auxiliary(found, key)]
            sums[name] = torch.stack(of_layers).sum()
        return sums

    return terms


def _is_auxiliary(found: str, key: str) -> bool:
    return found.startswith(f"{key}_") and found[len(key) + 1 :].isdigit()


DETR_KEYS = {"classification": "loss_ce", "box_l1": "loss_bbox", "box_giou": "loss_giou"}
