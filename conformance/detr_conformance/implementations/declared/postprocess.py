"""The post-processing that a profile declares."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import detr_reference as reference
from detr_conformance.implementations.declared.names import OWN, in_order, outputs_of_reference
from detr_spec.configuration import Configuration
from detr_spec.profile import DetectionRules


class DeclaredPostProcess(nn.Module):
    """Detections by the profile's rule, above its threshold and within the edges that it says."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        self.configuration = configuration

    @torch.no_grad()
    def forward(self, outputs: Any, sizes: Tensor) -> list[dict[str, Tensor]]:
        """For each image `scores` [n], `labels` [n] and `boxes` [n, 4], xyxy in pixels.

        Raises ValueError for what the profile says is refused: more detections than there are (query, class) pairs, and
        scores or boxes that are not finite.
        """
        given = outputs_of_reference(outputs, self.configuration.profile)
        phrased = self.configuration.profile.labels == "phrases"
        maps = given[OWN.phrases] if phrased else [None] * len(sizes)
        images = zip(given["pred_logits"], given["pred_boxes"], sizes, maps, strict=True)
        return [self._detections(*image) for image in images]

    def _detections(self, logits: Tensor, boxes: Tensor, size: Tensor, phrases: Tensor | None) -> dict[str, Tensor]:
        rules = self.configuration.profile.detection
        probabilities = self._probabilities(logits)
        if phrases is not None:
            probabilities = torch.stack([probabilities[:, own > 0].mean(dim=1) for own in phrases], dim=1)
        _refuse("scores", probabilities, rules.non_finite_scores)
        _refuse("boxes", boxes, rules.non_finite_boxes)
        scores, queries, labels = self._chosen(probabilities)
        if rules.drops_no_object:
            said = ~(logits.softmax(dim=-1)[queries, -1] > scores)
            scores, queries, labels = scores[said], queries[said], labels[said]
        height, width = size if rules.size_order == "height-width" else size.flip(0)
        edges = torch.stack([width, height, width, height]).to(boxes)
        corners = reference.box_cxcywh_to_xyxy(boxes)[queries]
        letterbox = letterbox_of(rules)
        if letterbox is None:
            pixels = corners * edges
        else:
            (pixels,) = letterbox.boxes_in_image(corners[None], torch.stack([height, width])[None])
        if rules.clamp:
            pixels = pixels.clamp(min=0).minimum(edges)
        kept = scores > self.configuration.threshold if rules.threshold else torch.ones_like(scores, dtype=torch.bool)
        if rules.non_finite_boxes == "drop":
            kept &= boxes[queries].isfinite().all(dim=1)
        labels = labels + self.configuration.profile.targets.first_label
        boxes = in_order(pixels[kept], self.configuration.profile)
        return {"scores": scores[kept], "labels": labels[kept], "boxes": boxes}

    def _probabilities(self, logits: Tensor) -> Tensor:
        """The probability of each foreground class; [Q, K]."""
        if self.configuration.profile.activation == "softmax":
            return logits.softmax(dim=-1)[:, :-1]
        return logits.sigmoid()

    def _chosen(self, probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The scores, queries and labels of the detections before any threshold."""
        rules = self.configuration.profile.detection
        k = len(probabilities) if rules.top_k is None else self.configuration.top_k
        if rules.rule == "best-foreground-class":
            scores, labels = probabilities.max(dim=-1)
            sound = probabilities.isfinite().all(dim=-1)
            kept = sound if rules.non_finite_scores == "drop" else torch.ones_like(sound)
            return scores[kept], kept.nonzero()[:, 0], labels[kept]
        if rules.rule == "best-queries":
            scores, labels = probabilities.max(dim=-1)
            queries = self._ranked(scores, k)
            return scores[queries], queries, labels[queries]
        places = self._ranked(probabilities.flatten(), k)
        classes = probabilities.shape[1]
        return probabilities.flatten()[places], places // classes, places % classes

    def _ranked(self, scores: Tensor, k: int) -> Tensor:
        """The places of the k best scores, best first, [N] → [k]."""
        rules, sound = self.configuration.profile.detection, scores.isfinite()
        if k > len(scores) and rules.top_k_overflow == "refuse":
            raise ValueError(f"{k} detections are asked of {len(scores)} scores")
        most = int(sound.sum()) if rules.non_finite_scores == "drop" else len(scores)
        ranks = scores if rules.non_finite_scores == "keep" else scores.where(sound, -1.0)
        return ranks.topk(min(k, most)).indices


def letterbox_of(rules: DetectionRules) -> reference.Letterbox | None:
    """How the rules say that an image was put into the model's input; None where it was resized."""
    if rules.geometry == "resized":
        return None
    return reference.Letterbox(rules.input_side or 640, rules.geometry == "letterboxed", rules.input_side is not None)


def _refuse(what: str, numbers: Tensor, policy: str) -> None:
    if policy == "refuse" and not numbers.isfinite().all():
        raise ValueError(f"there are {what} that are not finite")
