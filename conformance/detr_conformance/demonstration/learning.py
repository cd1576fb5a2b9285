"""Trains a small DETR on drawings, with the reference and the training step that users have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from detr_conformance.demonstration.scenes import Scene
from detr_reference import (
    DETR,
    HungarianMatcher,
    PostProcess,
    SetCriterion,
    build_detr,
    build_weight_dict,
    group_norm,
    training_step,
)
from detr_reference.training import StepMetrics
from detr_spec.detections.evaluation import average_precision
from detr_spec.values import Detections

DECODER_LAYERS = 3
QUERIES = 12
BATCH = 4
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-4
COST_WEIGHTS = (1, 5, 2)
EOS_COEF = 0.1

Progress = Callable[[int, StepMetrics], None]


@dataclass(frozen=True, eq=False)
class Learning:
    """What training left: each step's metrics, the detections of each scene, and COCO's AP on them."""

    history: tuple[StepMetrics, ...]
    detections: tuple[Detections, ...]
    average_precision: float
    seconds: float
    interrupted: bool


def learn(scenes: Sequence[Scene], steps: int, seed: int, progress: Progress) -> Learning:
    """Trains for `steps` steps, then detects; an interrupt ends the training, and what was learnt is still shown.

    progress: called after each step with the number of steps done and the step's metrics.
    """
    start = time.perf_counter()
    torch.manual_seed(seed)
    num_classes = 1 + max(int(scene.target.labels.max()) for scene in scenes)
    model = _small_detr(num_classes)
    history: list[StepMetrics] = []
    interrupted = False
    try:
        for metrics in _training(model, num_classes, scenes, steps, seed):
            history.append(metrics)
            progress(len(history), metrics)
    except KeyboardInterrupt:
        interrupted = True
    detections = _detections(model, scenes)
    precision = average_precision(
        detections, tuple(scene.target for scene in scenes), np.array([scene.size for scene in scenes])
    )
    return Learning(tuple(history), detections, precision, time.perf_counter() - start, interrupted)


def _small_detr(num_classes: int) -> DETR:
    return build_detr(
        num_classes,
        QUERIES,
        backbone="resnet18",
        last_stage=3,
        norm_layer=group_norm,
        hidden_dim=64,
        num_heads=4,
        encoder_layers=1,
        decoder_layers=DECODER_LAYERS,
        feedforward_dim=128,
        dropout=0.0,
    )


def _training(model: DETR, num_classes: int, scenes: Sequence[Scene], steps: int, seed: int) -> Iterator[StepMetrics]:
    """One step after the other, on random batches, with a learning rate that rises and then falls."""
    criterion = SetCriterion(
        num_classes,
        HungarianMatcher(*COST_WEIGHTS),
        build_weight_dict(decoder_layers=DECODER_LAYERS),
        EOS_COEF,
        ["labels", "boxes", "cardinality"],
    )
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    images = [_tensor(scene) for scene in scenes]
    targets = [
        {"labels": torch.tensor(scene.target.labels), "boxes": torch.tensor(scene.target.boxes, dtype=torch.float32)}
        for scene in scenes
    ]
    order = np.random.default_rng(seed)
    model.train()
    for _ in range(steps):
        batch = order.permutation(len(scenes))[:BATCH]
        yield training_step(model, criterion, optimizer, [images[i] for i in batch], [targets[i] for i in batch])
        schedule.step()


def _tensor(scene: Scene) -> torch.Tensor:
    """Pixels [3, H, W] in [−1, 1]."""
    return torch.tensor(scene.pixels * 2 - 1, dtype=torch.float32)


@torch.no_grad()
def _detections(model: DETR, scenes: Sequence[Scene]) -> tuple[Detections, ...]:
    model.eval()
    outputs = model([_tensor(scene) for scene in scenes])
    found = PostProcess()(outputs, torch.tensor([scene.size for scene in scenes]))
    return tuple(
        Detections(image["scores"].double().numpy(), image["labels"].numpy(), image["boxes"].double().numpy())
        for image in found
    )
