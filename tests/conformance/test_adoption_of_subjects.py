"""What `init` says of the packages whose adapters are in this repository, where they are installed."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from detr_conformance.adoption.findings import Findings, probe
from detr_conformance.adoption.sources import given_source
from detr_conformance.base.errors import UsageError
from detr_conformance.commands.init import told
from detr_spec.implementation import Implementation

FOLDER = Path(__file__).parents[2] / "conformance" / "implementations"
OURS = ("detr_conformance", "detr_spec", "detr_reference", *(path.stem for path in FOLDER.glob("*.py")))
PROMISING = ("match", "criterion", "loss", "postprocess", "head")
"""What the names of classes hold that an adapter imports to have them judged."""

SECONDS = 30.0
"""The processor time that `init` may take for a module, its import left out, as others share the machine."""

CONFIG = ("CONFIG: the argument config of ",)
"""transformers builds it from a model's configuration, whose fields no signature names."""
NEEDS_DISTRIBUTIONS = ("its call is left to fill in", "raised AssertionError")
"""The names of its losses are none of DETR's: it is asked for "vfl", "boxes" and "local"."""
NEEDS_LAYERS = ("its call is left to fill in", "requires 'aux_outputs'")
"""It takes no outputs of one layer."""
NEEDS_A_BATCH = ("its call is left to fill in", "missing 1 required positional argument: 'batch'")
"""It takes stacked predictions and one dictionary of a batch."""
NEEDS_RANKS = ("its call is left to fill in", "missing 1 required positional argument: 'world_size'")
"""It is told how many ranks there are."""
MATCHER_ALONE = ("not used: ", "PROFILE: the profile that the project follows")
"""The loss beside it could not be called, and the matcher alone has many profiles."""

EXPECTED: dict[str, str | tuple[str, ...]] = {
    "dfine.backends.native.criterion": NEEDS_DISTRIBUTIONS,
    "dfine.backends.native.matcher": MATCHER_ALONE,
    "dfine.backends.native.postprocessor": MATCHER_ALONE,
    "dfine_seg.model.dfine_criterion": NEEDS_DISTRIBUTIONS,
    "dfine_seg.model.matcher": MATCHER_ALONE,
    "doclayout_yolo.models.utils.loss": NEEDS_A_BATCH,
    "doclayout_yolo.models.utils.ops": MATCHER_ALONE,
    "easydetect.utils.loss": NEEDS_DISTRIBUTIONS,
    "getitune.backend.lightning.models.common.utils.assigners": MATCHER_ALONE,
    "getitune.backend.lightning.models.detection.losses": ("COST_DICT: the argument cost_dict of ",),
    "kornia.models.rt_detr.post_processor": ("its call is left to fill in",),
    "libreyolo.models.deim.loss": NEEDS_LAYERS,
    "libreyolo.models.deim.matcher": MATCHER_ALONE,
    "libreyolo.models.deimv2.matcher": MATCHER_ALONE,
    "libreyolo.models.dfine.loss": NEEDS_LAYERS,
    "libreyolo.models.dfine.matcher": MATCHER_ALONE,
    "libreyolo.models.gtr.matcher": MATCHER_ALONE,
    "libreyolo.models.rfdetr.loss": "deformable",
    "libreyolo.models.rfdetr.matcher": "deformable",
    "libreyolo.models.rtdetr.loss": ("its call is left to fill in", "Unknown loss: labels"),
    "libreyolo.models.rtdetrv2.loss": ("its call is left to fill in", "Unknown loss: labels"),
    "lightly_train._task_models.object_detection_components.dfine_criterion": NEEDS_RANKS,
    "lightly_train._task_models.object_detection_components.matcher": MATCHER_ALONE,
    "lightly_train._task_models.object_detection_components.rtdetr_postprocessor": MATCHER_ALONE,
    "lightly_train._task_models.object_detection_components.rtdetrv2_criterion": NEEDS_RANKS,
    "masdetr.models.criterion": "deformable",
    "masdetr.models.matcher": "deformable",
    "masdetr.models.postprocess": "deformable",
    "mmdet.models.dense_heads": ("is nothing that detr-spec knows how to call",),
    "models.detr": "detr",
    "models.matcher": "detr",
    "rfdetr.models.criterion": "deformable",
    "rfdetr.models.matcher": "deformable",
    "rfdetr.models.postprocess": "deformable",
    "rtdetr.utils.loss": ("PROFILE: the profile that the project follows",),
    "transformers.loss.loss_d_fine": CONFIG,
    "transformers.loss.loss_deformable_detr": "deformable",
    "transformers.loss.loss_deimv2": CONFIG,
    "transformers.loss.loss_for_object_detection": "detr",
    "transformers.loss.loss_grounding_dino": ("its call is left to fill in", "raised KeyError: 'label_maps'"),
    "transformers.loss.loss_lw_detr": ("GROUP_DETR: the argument group_detr of ",),
    "transformers.loss.loss_rf_detr": ("GROUP_DETR: the argument group_detr of ",),
    "transformers.loss.loss_rt_detr": CONFIG,
    "transformers.models.mask2former.modeling_mask2former": CONFIG,
    "ultralytics.models.utils.loss": NEEDS_A_BATCH,
    "ultralytics.models.utils.ops": MATCHER_ALONE,
}
"""What is told of each module: the profile that fits, or what of it cannot be told, and why."""


def subjects() -> dict[str, list[str]]:
    """The modules of other packages from which adapters import a matcher, a loss or the like, and who does."""
    found: dict[str, list[str]] = {}
    for path in sorted(FOLDER.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if any(word in text for word in ("import paddle", "paddle_implementation", "import tensorflow")):
            continue  # `init` probes what is written in PyTorch
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and _is_subject(node.module, node.names):
                found.setdefault(node.module, []).append(path.stem)
    return found


def _is_subject(module: str, names: Sequence[ast.alias]) -> bool:
    return module.partition(".")[0] not in OURS and any(_promises(alias.name) for alias in names)


def _promises(name: str) -> bool:
    return name[0].isupper() and any(part in name.lower() for part in PROMISING)


SUBJECTS = subjects()


def test_every_subject_has_an_expectation() -> None:
    assert len(SUBJECTS) > 30
    assert set(EXPECTED) == set(SUBJECTS)


@pytest.mark.parametrize("module", SUBJECTS)
def test_what_is_told_of_a_subject_is_its_profile_or_why_it_cannot_be_told(
    module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        pytest.skip(f"{module} is not installed; a tox environment of the label subjects has it")
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(logging.root.manager, "disable", logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adapters = [importlib.import_module(name) for name in SUBJECTS[module]]
        except ModuleNotFoundError as error:
            pytest.skip(f"{error}, which an adapter of {module} needs; another tox environment has it")
        source = given_source(module)
        calls = _counted(source.value, monkeypatch)
        start = time.process_time()
        try:
            findings = probe(source)
        except UsageError as error:
            lines = str(error)
        else:
            lines = "\n".join(told(findings, [], []))
            _require_that_what_fits_was_called(findings, calls)
        seconds = time.process_time() - start
    print(f"\n{module}: {seconds:.1f} s\n{lines}")
    assert seconds < SECONDS
    expected = EXPECTED[module]
    if isinstance(expected, str):
        assert f"Profile {expected} fits best" in lines
        assert expected in {name for adapter in adapters for name in _profiles(adapter)}
    else:
        assert "fits best" not in lines
        for part in expected:
            assert part in lines


def _require_that_what_fits_was_called(findings: Findings, calls: Counter[str]) -> None:
    if findings.fits:
        for part in findings.parts:
            assert part.answers
            name = part.construction.source.last_name
            assert name not in calls or calls[name] > 0


def _counted(module: Any, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the modules among the classes of a Python module are called; each is there from the start."""
    counts: Counter[str] = Counter()
    for name, value in vars(module).items():
        if inspect.isclass(value) and callable(getattr(value, "forward", None)):
            counts[name] = 0
            monkeypatch.setattr(value, "forward", _counting(value.forward, counts, name))
    return counts


def _counting(forward: Callable[..., Any], counts: Counter[str], name: str) -> Callable[..., Any]:
    @wraps(forward)
    def call(*arguments: Any, **named: Any) -> Any:
        counts[name] += 1
        return forward(*arguments, **named)

    return call


def _profiles(adapter: Any) -> set[str]:
    """The names of the profiles under which an adapter has its package judged."""
    found: set[str] = set()
    for value in vars(adapter).values():
        given = value if isinstance(value, (tuple, list)) else (value,)
        found |= {item.profile.name for item in given if isinstance(item, Implementation)}
    return found
