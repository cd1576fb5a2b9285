"""What torch tells from the probabilities alone, beside the definitions, and where it has to look at the logits."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from detr_accelerated.batch import softmax

IMAGES, QUERIES, COLUMNS = 2, 40, 5
WAYS = pytest.mark.parametrize("few", [0, 1], ids=["all looked at", "those unsure looked at"])


def layers_of(logits: Tensor) -> list[Tensor]:
    return list(torch.split(logits, IMAGES))


def surprises(logits: Tensor, classes: Tensor, module: ModuleType = softmax) -> Tensor:
    found: Tensor = module.surprise(layers_of(logits), module.softmax(layers_of(logits)), classes)
    return found


def claims(logits: Tensor, module: ModuleType = softmax) -> Tensor:
    last = torch.cat([layer.softmax(dim=-1)[..., -1] for layer in layers_of(logits)])
    found: Tensor = module.claim_objects(layers_of(logits), last)
    return found


def logits_with_ties(dtype: torch.dtype = torch.float32) -> Tensor:
    """Of three layers; in a query of four the last logit equals the highest other, in two it is by far the highest."""
    numbers = torch.Generator().manual_seed(0)
    logits = torch.randint(-4, 5, (3 * IMAGES, QUERIES, COLUMNS), generator=numbers).to(dtype) / 2
    logits[:, ::4, -1] = logits[:, ::4, :-1].amax(dim=-1)
    logits[:, 1::2, -1] = 8
    # Nothing but a tie of two, each of which has half of the probability.
    logits[0, 0], logits[0, 0, 0], logits[0, 0, -1] = -inf, 3, 3
    return logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 10.0, 200.0, 1e4])
def test_a_surprise_is_the_cross_entropy(scale: float, dtype: torch.dtype) -> None:
    numbers = torch.Generator().manual_seed(0)
    logits = (scale * torch.randn(3 * IMAGES, QUERIES, COLUMNS, generator=numbers)).to(dtype)
    classes = torch.randint(COLUMNS, logits.shape[:2], generator=numbers)
    wanted = cross_entropy(logits.double().flatten(0, 1), classes.flatten(), reduction="none").view(classes.shape)
    epsilon = torch.finfo(dtype).eps
    torch.testing.assert_close(surprises(logits, classes).double(), wanted, rtol=4 * epsilon, atol=4 * epsilon)


def test_a_class_that_is_ruled_out_is_an_infinite_surprise() -> None:
    logits = torch.tensor([[[0.0, -inf], [-inf, 0.0]], [[0.0, 0.0], [nan, 0.0]]])
    found = surprises(logits, torch.tensor([[1, 1], [0, 1]]))
    assert found[0].tolist() == [inf, 0]
    assert found[1, 0] == pytest.approx(0.6931472)
    assert found[1, 1].isnan()


@WAYS
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_query_claims_an_object_by_the_first_of_its_highest_logits(
    few: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "FEW", few)
    logits = logits_with_ties(dtype)
    assert torch.equal(claims(logits), logits.argmax(dim=-1) != COLUMNS - 1)


@WAYS
def test_with_one_column_nothing_is_claimed(few: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "FEW", few)
    logits = torch.tensor([0.0, nan, -inf, 5.0]).view(IMAGES, 2, 1)
    assert not claims(logits).any()


def test_where_a_few_are_unsure_no_others_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = []
    monkeypatch.setattr(softmax, "_other_is_highest", lambda logits: looked_at.append(logits) or logits[..., 0] > 0)
    logits = torch.zeros(IMAGES, QUERIES, COLUMNS)
    logits[..., -1] = 9
    logits[1, 7] = torch.arange(COLUMNS, 0, -1)
    assert claims(logits).nonzero().tolist() == [[1, 7]]
    assert [one.tolist() for one in looked_at] == [[logits[1, 7].tolist()]]


DEFECTS = {
    "sure from less than half on": ("MORE_THAN_HALF = 0.51", "MORE_THAN_HALF = 0.49"),
    "no-object wins a tie": ("amax(dim=-1) >= last_logit", "amax(dim=-1) > last_logit"),
    "the first layer's logits": ("places % of_layer", "places % 1"),
    "the logarithm of next to nothing": (".tiny ** 0.9", ".tiny * 0 - 1"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found(defect: str) -> None:
    healthy, broken = DEFECTS[defect]
    source = Path(softmax.__file__).read_text()
    assert source.count(healthy) == 1, "the defect cannot be planted, as the source has changed"
    module = ModuleType("detr_accelerated.batch.softmax")
    module.__package__ = softmax.__package__
    logits, classes = logits_with_ties(), torch.zeros(3 * IMAGES, QUERIES, dtype=torch.int64)
    for text, is_found in ((source, False), (source.replace(healthy, broken), True)):
        exec(text.replace("FEW = 1 / 4", "FEW = 1"), vars(module))
        same = torch.equal(claims(logits, module), claims(logits))
        same &= torch.equal(surprises(100 * logits, classes, module), surprises(100 * logits, classes))
        assert same != is_found
