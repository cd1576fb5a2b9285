"""Post-processing: scores, labels and pixel boxes by hand, for both dialects."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor, nn

from detr_reference import PostProcess, TopKPostProcess

BOXES = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.25, 0.75, 0.5, 0.5]]])
SIZES = torch.tensor([[100, 200]])
PIXEL_BOXES = torch.tensor([[80.0, 30.0, 120.0, 70.0], [0.0, 50.0, 100.0, 100.0]])


def softmax_outputs() -> dict[str, Tensor]:
    return {"pred_logits": torch.tensor([[[0.2, 0.3, 0.5], [0.7, 0.2, 0.1]]]).log(), "pred_boxes": BOXES}


def sigmoid_outputs() -> dict[str, Tensor]:
    return {"pred_logits": torch.tensor([[[log(3), 0.0], [-log(3), log(9)]]]), "pred_boxes": BOXES}


def test_softmax_dialect_keeps_every_query_in_order_without_the_no_object_class() -> None:
    [detections] = PostProcess()(softmax_outputs(), SIZES)
    assert set(detections) == {"scores", "labels", "boxes"}
    torch.testing.assert_close(detections["scores"], torch.tensor([0.3, 0.7]))
    assert detections["labels"].tolist() == [1, 0]
    torch.testing.assert_close(detections["boxes"], PIXEL_BOXES)


def test_sigmoid_dialect_takes_the_highest_scores_of_all_queries_and_classes() -> None:
    [detections] = TopKPostProcess(k=3)(sigmoid_outputs(), SIZES)
    torch.testing.assert_close(detections["scores"], torch.tensor([0.9, 0.75, 0.5]))
    assert detections["labels"].tolist() == [1, 0, 1]
    torch.testing.assert_close(detections["boxes"], PIXEL_BOXES[[1, 0, 0]])


def test_k_beyond_all_scores_returns_them_all() -> None:
    [detections] = TopKPostProcess(k=100)(sigmoid_outputs(), SIZES)
    torch.testing.assert_close(detections["scores"], torch.tensor([0.9, 0.75, 0.5, 0.25]))
    with pytest.raises(ValueError, match="at least 1"):
        TopKPostProcess(k=0)


@pytest.mark.parametrize("postprocess", [PostProcess(), TopKPostProcess(k=2)])
def test_each_image_has_its_own_size_and_nothing_has_a_gradient(postprocess: nn.Module) -> None:
    outputs = {name: value.repeat(2, 1, 1).requires_grad_() for name, value in softmax_outputs().items()}
    first, second = postprocess(outputs, torch.tensor([[100, 200], [200, 100]]))
    scale = torch.tensor([0.5, 2.0, 0.5, 2.0])
    torch.testing.assert_close(first["boxes"] * scale, second["boxes"])
    assert first["labels"].dtype == torch.int64
    assert not any(value.requires_grad for image in (first, second) for value in image.values())


@pytest.mark.parametrize("postprocess", [PostProcess(), TopKPostProcess()])
@pytest.mark.parametrize("shape", [(2,), (1, 4), (2, 2)])
def test_wrong_sizes_are_refused(postprocess: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"target_sizes must have shape \[1, 2\]"):
        postprocess(softmax_outputs(), torch.ones(shape))
