"""In the reference's place: refusals, matchers and subclasses of one's own, autograd, autocast, the compiler, ranks."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import detr_accelerated
import detr_reference
from detr_accelerated import like_logits
from detr_accelerated.batch import predictions

pytestmark = pytest.mark.usefixtures("way")

CLASSES = 4
LAYERS = 3
LOSSES = ["labels", "boxes", "cardinality"]
Batch = tuple[dict[str, Any], list[dict[str, Tensor]]]


def criterion(module: Any, matcher: Any = None, focal: bool = False, base: Any = None) -> Any:
    weights = detr_reference.build_weight_dict(decoder_layers=LAYERS)
    if focal:
        matcher = matcher or module.HungarianMatcher(2, 5, 2, class_cost=module.focal_cost())
        return (base or module.FocalSetCriterion)(CLASSES, matcher, weights, LOSSES)
    matcher = matcher or module.HungarianMatcher(1, 5, 2)
    return (base or module.SetCriterion)(CLASSES, matcher, weights, 0.1, LOSSES)


def random_batch(
    counts: tuple[int, ...] = (3, 0, 5), queries: int = 6, columns: int = CLASSES + 1, dtype: Any = torch.float64
) -> Batch:
    generator = torch.Generator().manual_seed(sum(counts) + queries)

    def boxes(*shape: int) -> Tensor:
        return torch.rand(*shape, 4, generator=generator, dtype=dtype) * 0.5 + 0.1

    def layer() -> dict[str, Any]:
        logits = torch.randn(len(counts), queries, columns, generator=generator, dtype=dtype)
        return {"pred_logits": logits.requires_grad_(), "pred_boxes": boxes(len(counts), queries).requires_grad_()}

    targets = [
        {"labels": torch.randint(CLASSES, (count,), generator=generator), "boxes": boxes(count)} for count in counts
    ]
    return {**layer(), "aux_outputs": [layer() for _ in range(LAYERS - 1)]}, targets


def leaves(outputs: dict[str, Any]) -> list[Tensor]:
    return [layer[name] for layer in (outputs, *outputs["aux_outputs"]) for name in ("pred_logits", "pred_boxes")]


def assert_same(ours: Any, theirs: Any, batch: Batch, inputs: list[Tensor] | None = None) -> None:
    outputs, targets = batch
    our_losses, their_losses = ours(outputs, targets), theirs(outputs, targets)
    inputs = leaves(outputs) if inputs is None else inputs
    torch.testing.assert_close(our_losses, their_losses, rtol=1e-12, atol=1e-12)
    gradients = [
        torch.autograd.grad(c.total(losses), inputs) for c, losses in ((ours, our_losses), (theirs, their_losses))
    ]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


DIALECTS = pytest.mark.parametrize("focal", [False, True], ids=["softmax", "sigmoid"])


def columns_of(focal: bool) -> int:
    return CLASSES if focal else CLASSES + 1


def put(name: str, value: float, layer: int | None = None) -> Any:
    """A change that puts a value into one prediction of a layer, the last one or an auxiliary one."""

    def change(outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> None:
        given = outputs if layer is None else outputs["aux_outputs"][layer]
        given[name] = given[name].detach().clone()
        given[name][2, 1, 3] = value

    return change


def in_targets(**changes: Any) -> Any:
    def change(outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> None:
        targets[2] = targets[2] | {name: function(targets[2][name].clone()) for name, function in changes.items()}

    return change


def without_area(outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> None:
    layer = outputs["aux_outputs"][1]
    layer["pred_boxes"] = layer["pred_boxes"].detach().clone()
    layer["pred_boxes"][2, 0] = targets[2]["boxes"][0] = torch.tensor([0.5, 0.5, 0.0, 0.0])


def half(outputs: dict[str, Any], targets: list[dict[str, Tensor]]) -> None:
    for layer in (outputs, *outputs["aux_outputs"]):
        layer["pred_logits"] = layer["pred_logits"].bfloat16()


BROKEN = {
    "NaN logit": put("pred_logits", nan),
    "+inf logit": put("pred_logits", inf, layer=0),
    "NaN box": put("pred_boxes", nan, layer=1),
    "infinite box": put("pred_boxes", inf),
    "negative size": put("pred_boxes", -0.1),
    "label beyond range": in_targets(labels=lambda labels: labels.fill_(CLASSES + 1)),
    "negative label": in_targets(labels=lambda labels: labels.fill_(-1)),
    "labels as int32": in_targets(labels=Tensor.int),
    "labels in two dimensions": in_targets(labels=lambda labels: labels[None]),
    "too few boxes": in_targets(boxes=lambda boxes: boxes[1:]),
    "NaN target box": in_targets(boxes=lambda boxes: boxes.fill_(nan)),
    "negative target size": in_targets(boxes=Tensor.neg_),
    "a target too few": lambda outputs, targets: targets.pop(),
    "boxes of one layer too few": lambda outputs, targets: outputs.update(pred_boxes=outputs["pred_boxes"][:, :-1]),
    "a column too many": lambda outputs, targets: outputs.update(pred_logits=outputs["pred_logits"].repeat(1, 1, 2)),
    "a cost without a value": without_area,
}
MATCHER_BROKEN = {**BROKEN, "half precision on the CPU": half}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
@DIALECTS
def test_broken_input_is_refused_in_the_words_of_the_reference(focal: bool, change: Any) -> None:
    outputs, targets = random_batch(columns=columns_of(focal))
    change(outputs, targets)
    with pytest.raises((ValueError, TypeError)) as theirs:
        criterion(detr_reference, focal=focal)(outputs, targets)
    with pytest.raises(theirs.type) as ours:
        criterion(detr_accelerated, focal=focal)(outputs, targets)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize("name", [name for name in MATCHER_BROKEN if name not in ("a column too many", "+inf logit")])
def test_the_matcher_alone_refuses_the_same(name: str) -> None:
    outputs, targets = random_batch()
    MATCHER_BROKEN[name](outputs, targets)
    refusals = [
        refusal(module.HungarianMatcher(), layer, targets)
        for module in (detr_reference, detr_accelerated)
        for layer in (outputs, *outputs["aux_outputs"])
    ]
    assert refusals[:LAYERS] == refusals[LAYERS:]
    assert any(refusals)


def refusal(matcher: Any, outputs: Any, targets: Any) -> str:
    """The words of a refusal, and nothing where there is none."""
    try:
        matcher(outputs, targets)
    except (ValueError, TypeError) as error:
        return repr(error)
    return ""


def test_sums_that_overflow_are_no_broken_values() -> None:
    outputs, targets = random_batch((2, 0, 1), dtype=torch.float32)
    for layer in (outputs, *outputs["aux_outputs"]):
        layer["pred_boxes"] = layer["pred_boxes"].detach().clone()
        layer["pred_boxes"][..., 0] = 3e38
    assert outputs["pred_boxes"].sum() == inf
    ours = detr_accelerated.HungarianMatcher(1, 1, 0)(outputs, targets)
    theirs = detr_reference.HungarianMatcher(1, 1, 0)(outputs, targets)
    assert [len(queries) for queries, _ in ours] == [len(queries) for queries, _ in theirs] == [2, 0, 1]


def test_a_matcher_of_ones_own_is_called_layer_by_layer() -> None:
    def first_come(outputs: Any, targets: Any) -> list[tuple[Tensor, Tensor]]:
        return [(torch.arange(len(target["labels"])),) * 2 for target in targets]

    assert_same(criterion(detr_accelerated, first_come), criterion(detr_reference, first_come), random_batch())

    class Backwards(detr_accelerated.HungarianMatcher):
        def forward(self, outputs: Any, targets: Any) -> Any:
            return [(queries.flip(0), objects) for queries, objects in super().forward(outputs, targets)]

    assert_same(criterion(detr_accelerated, Backwards()), criterion(detr_reference, Backwards()), random_batch())


def test_hooks_of_the_matcher_see_every_layer() -> None:
    matcher, seen = detr_accelerated.HungarianMatcher(1, 5, 2), []
    matcher.register_forward_hook(lambda _, arguments, answer: seen.append(arguments[0]["pred_logits"]))
    outputs, targets = random_batch()
    criterion(detr_accelerated, matcher)(outputs, targets)
    layers = (outputs, *outputs["aux_outputs"])
    assert [id(logits) for logits in seen] == [id(layer["pred_logits"]) for layer in layers]


def test_costs_of_ones_own_enter_the_matching_of_every_layer() -> None:
    def far_is_cheap(module: Any) -> Any:
        class Matcher(module.HungarianMatcher):  # type: ignore[misc]
            def cost_matrix(self, *arguments: Tensor) -> Tensor:
                return -super().cost_matrix(*arguments)

        return Matcher(1, 5, 2)

    plain = criterion(detr_accelerated)(*random_batch())
    ours = criterion(detr_accelerated, far_is_cheap(detr_accelerated))
    assert_same(ours, criterion(detr_reference, far_is_cheap(detr_reference)), random_batch())
    assert ours(*random_batch())["loss_bbox_1"] > plain["loss_bbox_1"]

    def steeper(module: Any) -> Any:
        return criterion(module, module.HungarianMatcher(2, 5, 2, class_cost=detr_reference.focal_cost(gamma=3)), True)

    assert_same(steeper(detr_accelerated), steeper(detr_reference), random_batch(columns=CLASSES))


def test_a_loss_of_ones_own_takes_the_place_of_the_batched_one() -> None:
    def smoothed(module: Any) -> Any:
        class Criterion(module.SetCriterion):  # type: ignore[misc]
            def classification_loss(self, logits: Tensor, query_classes: Tensor, num_boxes: float) -> Tensor:
                return 0.5 * super().classification_loss(logits, query_classes, num_boxes) + logits.square().mean()

        return criterion(module, base=Criterion)

    assert_same(smoothed(detr_accelerated), smoothed(detr_reference), random_batch())


def test_a_divisor_of_ones_own_is_asked_for() -> None:
    def counting_images(module: Any) -> Any:
        class Criterion(module.SetCriterion):  # type: ignore[misc]
            def num_boxes(self, outputs: Any, targets: Any) -> float:
                return float(len(targets))

        return criterion(module, base=Criterion)

    assert_same(counting_images(detr_accelerated), counting_images(detr_reference), random_batch())


@DIALECTS
def test_the_batched_loss_may_be_asked_for_more_than_once(focal: bool) -> None:
    """Each answer has a gradient of its own."""
    base = detr_accelerated.FocalSetCriterion if focal else detr_accelerated.SetCriterion

    class Thrice(base):  # type: ignore[misc, valid-type]
        def classification_losses(self, batch: Any) -> Tensor:
            first, second = super().classification_losses(batch), super().classification_losses(batch)
            return first + 2 * second

    outputs, targets = random_batch(columns=columns_of(focal))
    logits = [layer["pred_logits"] for layer in (outputs, *outputs["aux_outputs"])]
    once, thrice = (criterion(detr_accelerated, focal=focal, base=own) for own in (base, Thrice))
    expected, found = (
        torch.autograd.grad(own(outputs, targets)["loss_ce"], logits, allow_unused=True)[0] for own in (once, thrice)
    )
    torch.testing.assert_close(found, 3 * expected, rtol=1e-12, atol=1e-12)


@DIALECTS
def test_auxiliary_outputs_may_have_other_numbers_of_queries(focal: bool) -> None:
    outputs, targets = random_batch(columns=columns_of(focal))
    more, _ = random_batch(queries=9, columns=columns_of(focal))
    outputs["aux_outputs"][0] = {name: more[name] for name in ("pred_logits", "pred_boxes")}
    assert_same(criterion(detr_accelerated, focal=focal), criterion(detr_reference, focal=focal), (outputs, targets))


@pytest.mark.parametrize("layers_in_memory", [1, 2])
@pytest.mark.parametrize("elements", [1, 2 * 6 * 7, 2 * 5 * 6 * 5], ids=["problem", "two problems", "two layers"])
@DIALECTS
def test_how_logits_are_read_in_blocks_changes_nothing(
    focal: bool, elements: int, layers_in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One block of all layers is what every other test has."""
    batch = random_batch((3, 0, 5, 2, 7), columns=columns_of(focal))
    monkeypatch.setattr(like_logits, "BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(like_logits, "MEMORY_BYTES", layers_in_memory * batch[0]["pred_logits"].nbytes)
    monkeypatch.setattr(predictions, "PART_ELEMENTS", 2 * 7 * 6)
    assert_same(criterion(detr_accelerated, focal=focal), criterion(detr_reference, focal=focal), batch)


@DIALECTS
def test_inputs_need_not_be_contiguous_and_target_boxes_may_have_a_gradient(focal: bool) -> None:
    outputs, targets = random_batch((3, 2, 5), columns=columns_of(focal))
    for target in targets:
        target["boxes"].requires_grad_()
    for layer in (outputs, *outputs["aux_outputs"]):
        layer["pred_logits"] = layer["pred_logits"].mT.contiguous().mT
        layer["pred_boxes"] = layer["pred_boxes"].transpose(0, 1).contiguous().transpose(0, 1)
    inputs = [*leaves(outputs), *(target["boxes"] for target in targets)]
    ours, theirs = criterion(detr_accelerated, focal=focal), criterion(detr_reference, focal=focal)
    assert_same(ours, theirs, (outputs, targets), inputs)


@pytest.mark.parametrize("losses", [["labels"], ["boxes"], ["cardinality"], ["boxes", "labels"]], ids=" ".join)
def test_a_part_of_the_losses_has_the_same_keys_and_connections(losses: list[str]) -> None:
    outputs, targets = random_batch()
    found = []
    for module in (detr_accelerated, detr_reference):
        answer = module.SetCriterion(CLASSES, module.HungarianMatcher(1, 5, 2), {}, 0.1, losses)(outputs, targets)
        trained = [loss for loss in answer.values() if loss.requires_grad]
        gradients = torch.autograd.grad(trained, leaves(outputs), allow_unused=True) if trained else ()
        found.append((answer, [gradient is None for gradient in gradients]))
    (ours, our_connections), (theirs, their_connections) = found
    assert list(ours) == list(theirs)
    assert our_connections == their_connections
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@DIALECTS
def test_losses_may_be_weighted_in_place(focal: bool) -> None:
    """As trainers do that multiply each loss by its weight where it lies, before they sum."""
    outputs, targets = random_batch(columns=columns_of(focal))
    gradients = []
    for module in (detr_accelerated, detr_reference):
        ours = criterion(module, focal=focal)
        losses = ours(outputs, targets)
        for name, weight in ours.weight_dict.items():
            losses[name] *= weight
        gradients.append(torch.autograd.grad(sum(losses[name] for name in ours.weight_dict), leaves(outputs)))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


@DIALECTS
def test_gradients_of_gradients_are_refused_and_backward_may_run_twice(focal: bool) -> None:
    outputs, targets = random_batch(columns=columns_of(focal))
    loss = criterion(detr_accelerated, focal=focal)(outputs, targets)["loss_ce"]
    logits = outputs["pred_logits"]
    once, again = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(once, again)
    with pytest.raises(RuntimeError, match="no gradients of gradients"):
        torch.autograd.grad(loss, logits, create_graph=True)


@DIALECTS
def test_logits_changed_before_backward_are_noticed(focal: bool) -> None:
    outputs, targets = random_batch(columns=columns_of(focal))
    logits = outputs["pred_logits"]
    outputs["pred_logits"] = logits * 1
    loss = criterion(detr_accelerated, focal=focal)(outputs, targets)["loss_ce"]
    with torch.no_grad():
        outputs["pred_logits"].mul_(2)
    with pytest.raises(RuntimeError, match="inplace operation"):
        loss.backward()


class LargestTensor(TorchDispatchMode):
    """Watches the number of elements of every tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        answer = function(*arguments, **(named or {}))
        parts = answer if isinstance(answer, (tuple, list)) else [answer]
        sizes = [part.untyped_storage().nbytes() // part.element_size() for part in parts if isinstance(part, Tensor)]
        self.elements = max([self.elements, *sizes])
        return answer


@DIALECTS
def test_memory_grows_with_the_longest_target_and_not_with_all_of_them(focal: bool) -> None:
    images, queries, longest = 16, 20, 8
    batch = random_batch((longest,) * images, queries, columns_of(focal))
    ours = criterion(detr_accelerated, focal=focal)
    with LargestTensor() as watched:
        ours.total(ours(*batch)).backward()
    assert watched.elements <= LAYERS * images * queries * longest


@DIALECTS
def test_without_validation_the_host_reads_nothing_from_the_device(
    focal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device has no numbers: whoever reads one, to branch or to size a tensor, is refused."""

    def solve_there(cost: Tensor, sizes: Any) -> Tensor:
        return torch.empty(cost.shape[:2], dtype=torch.int64, device=cost.device)

    monkeypatch.setattr(detr_accelerated.matcher, "solve", solve_there)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    outputs, targets = random_batch(columns=columns_of(focal))
    layers = [
        {name: layer[name].detach().to("meta").requires_grad_() for name in ("pred_logits", "pred_boxes")}
        for layer in (outputs, *outputs["aux_outputs"])
    ]
    given = {**layers[0], "aux_outputs": layers[1:]}
    targets = [{name: value.to("meta") for name, value in target.items()} for target in targets]
    cost = {"class_cost": detr_accelerated.focal_cost()} if focal else {}
    matcher = detr_accelerated.HungarianMatcher(1, 5, 2, **cost, validate=False)
    unwatched = criterion(detr_accelerated, matcher, focal)
    unwatched.total(unwatched(given, targets)).backward()
    assert all(layer[name].grad is not None for layer in layers for name in layer)
    matcher.validate = True
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta"):
        unwatched(given, targets)


@DIALECTS
def test_without_validation_the_losses_are_the_same(focal: bool) -> None:
    batch = random_batch(columns=columns_of(focal))
    cost = {"class_cost": detr_accelerated.focal_cost()} if focal else {}
    matcher = detr_accelerated.HungarianMatcher(*((2, 5, 2) if focal else (1, 5, 2)), **cost, validate=False)
    assert_same(criterion(detr_accelerated, matcher, focal), criterion(detr_reference, focal=focal), batch)


def test_narrow_logits_have_the_losses_of_the_reference() -> None:
    outputs, targets = random_batch(dtype=torch.float32)
    half(outputs, targets)
    ours, theirs = (criterion(module)(outputs, targets) for module in (detr_accelerated, detr_reference))
    assert {name: loss.dtype for name, loss in ours.items()} == {name: loss.dtype for name, loss in theirs.items()}
    torch.testing.assert_close(ours, theirs, rtol=2**-5, atol=2**-5)


def test_autocast_changes_results_no_more_than_it_does_the_reference() -> None:
    torch.manual_seed(0)
    heads = detr_reference.DetectionHeads(8, CLASSES)
    hidden, (_, targets) = torch.randn(LAYERS, 3, 6, 8), random_batch(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = heads(hidden)
        criterion(detr_accelerated)(outputs, targets)
        layers = [
            {name: layer[name].float() for name in layer if name != "aux_outputs"}
            for layer in (outputs, *outputs["aux_outputs"])
        ]
        given = {**layers[0], "aux_outputs": layers[1:]}
        ours, theirs = (criterion(module)(given, targets) for module in (detr_accelerated, detr_reference))
    assert {loss.dtype for loss in ours.values()} == {torch.float32}
    torch.testing.assert_close(ours, theirs)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
# torch says so of Python 3.13.0 alone.
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python:RuntimeWarning")
def test_a_compiled_training_step_gives_the_same() -> None:
    torch.manual_seed(0)
    heads = detr_reference.DetectionHeads(8, CLASSES).double()
    ours = criterion(detr_accelerated)
    hidden = torch.randn(LAYERS, 3, 6, 8, dtype=torch.float64)

    def loss(hidden: Tensor, targets: list[dict[str, Tensor]]) -> Tensor:
        total: Tensor = ours.total(ours(heads(hidden), targets))
        return total

    compiled = torch.compile(loss, backend="aot_eager")
    for counts in ((3, 0, 5), (1, 7, 2)):
        _, targets = random_batch(counts)
        plain, answer = loss(hidden, targets), compiled(hidden, targets)
        torch.testing.assert_close(answer, plain, rtol=1e-12, atol=0)
        gradients = [torch.autograd.grad(value, heads.parameters()) for value in (answer, plain)]
        torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_a_hundred_steps_of_training_are_those_of_the_reference() -> None:
    losses = {}
    for module in (detr_accelerated, detr_reference):
        torch.manual_seed(0)
        heads = detr_reference.DetectionHeads(8, CLASSES).double()
        hidden = torch.randn(LAYERS, 3, 6, 8, dtype=torch.float64)
        _, targets = random_batch()
        optimizer = torch.optim.SGD(heads.parameters(), lr=0.1)
        ours = criterion(module)
        losses[module] = [
            detr_reference.training_step(lambda _: heads(hidden), ours, optimizer, [], targets).total  # noqa: B023
            for _ in range(100)
        ]
    assert losses[detr_accelerated] == pytest.approx(losses[detr_reference], rel=1e-9)
    assert losses[detr_accelerated][-1] < losses[detr_accelerated][0]


def gradients_in_a_rank(rank: int, folder: Path) -> None:
    """Saves the gradients of a model in DistributedDataParallel, under both criteria; rank 1 has no targets."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(detr_reference.DetectionHeads(8, CLASSES).double())
    hidden = torch.randn(2, LAYERS, 3, 6, 8, dtype=torch.float64)[rank]
    _, targets = random_batch((0, 0, 0) if rank else (3, 0, 4))
    found = []
    for module in (detr_accelerated, detr_reference):
        model.zero_grad()
        ours = criterion(module)
        losses = ours(model(hidden), targets)
        ours.total(losses).backward()
        values = {name: loss.detach() for name, loss in losses.items()}
        found.append((values, [parameter.grad.clone() for parameter in model.parameters()]))
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo ranks")
def test_ranks_get_the_gradients_of_the_reference(tmp_path: Path) -> None:
    multiprocessing.start_processes(gradients_in_a_rank, (tmp_path,), nprocs=2, start_method="fork")
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for (our_losses, our_gradients), (their_losses, their_gradients) in ranks:
        torch.testing.assert_close(our_losses, their_losses, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(our_gradients, their_gradients, rtol=1e-12, atol=1e-12)
    assert ranks[0][0][0]["loss_bbox"] > 0
    assert ranks[1][0][0]["loss_bbox"] == 0
    torch.testing.assert_close(ranks[0][0][1], ranks[1][0][1], rtol=0, atol=0)


def test_the_rest_is_the_references_own() -> None:
    for name in ("PostProcess", "TopKPostProcess", "box_iou", "generalized_box_iou", "build_weight_dict"):
        assert getattr(detr_accelerated, name) is getattr(detr_reference, name)
    assert set(detr_accelerated.__all__) <= set(detr_reference.__all__)
