"""Cases in plain numbers, laid out for a person: which query says what, which target is where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from detr_spec.calls import CALLS, PLAIN
from detr_spec.configuration import Configuration
from detr_spec.profile import PROFILES

MOST_ROWS = 24
"""A longer table is cut, and says how much is left out; the JSON file has all of it."""

Row = Sequence[str]


def case_lines(case: Any) -> list[str]:
    """The lines that show a case, given as plain data (`detr_spec.cases.plain`)."""
    if not isinstance(case, Mapping):
        return [] if case is None else [str(case)]
    lines = _head(case)
    if "outputs" in case:
        lines += _images(case["outputs"], case["targets"], case["sizes"], case["configuration"])
    elif "batches" in case:
        for rank, (outputs, targets) in enumerate(case["batches"]):
            lines += ["", f"rank {rank}", *_indented(_images(outputs, targets, (), case["configuration"]))]
    elif "costs" in case:
        for place, cost in enumerate(case["costs"]):
            lines += ["", f"cost matrix {place}, {_shape(cost)}", *_indented(matrix_lines(cost))]
    elif "hidden" in case:
        lines += _hidden_states(case["hidden"])
    elif "features" in case:
        lines += _feature_map(case["features"])
    elif "images" in case:
        sizes = [f"image {place}: {len(image[0])} x {len(image[0][0])}" for place, image in enumerate(case["images"])]
        lines += ["", "images, height x width in pixels", *_indented(sizes)]
    else:
        for name in ("first", "second"):
            if name in case:
                lines += ["", f"{name} boxes (x0 y0 x1 y1)", *_indented(_boxes(case[name]))]
    return lines


def number(value: Any) -> str:
    """A number as short as it can be without losing any of it; anything else as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return repr(value)


def matrix_lines(matrix: Sequence[Sequence[Any]]) -> list[str]:
    """A matrix of numbers with numbered rows and columns."""
    width = max((len(row) for row in matrix), default=0)
    rows = [[f"[{place}]", *map(number, row)] for place, row in enumerate(matrix)]
    return table_lines(["", *(f"[{place}]" for place in range(width))], rows)


def table_lines(heading: Row, rows: Sequence[Row]) -> list[str]:
    """Rows of text under a heading, in columns aligned to the right."""
    if not rows:
        return ["(none)"]
    shown = rows[:MOST_ROWS]
    widths = [max(len(row[column]) for row in (heading, *shown)) for column in range(len(heading))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (heading, *shown)
    ]
    return lines if len(rows) <= MOST_ROWS else [*lines, f"… and {len(rows) - MOST_ROWS} more rows"]


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _head(case: Mapping[str, Any]) -> list[str]:
    configuration = case.get("configuration", {})
    lines = [f"regime {case.get('regime')}, {configuration.get('dtype')}, seed {case.get('seed')}"]
    changed = list(_changed_fields(configuration))
    if changed:
        lines.append(f"built with {', '.join(changed)}")
    if configuration.get("call", PLAIN) != PLAIN:
        lines.append(f"called {CALLS.get(configuration['call'], configuration['call'])}")
    return lines


def _changed_fields(configuration: Mapping[str, Any]) -> Iterator[str]:
    """The fields that differ from their defaults; the numbers of classes and layers always."""
    for field in fields(Configuration):
        value = configuration.get(field.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if field.name in ("num_classes", "decoder_layers") or value != field.default:
            yield f"{field.name} = {number(value)}"


def _images(
    outputs: Mapping[str, Any],
    targets: Sequence[Mapping[str, Any]],
    sizes: Sequence[Sequence[int]],
    configuration: Mapping[str, Any],
) -> list[str]:
    parts = list(_parts(outputs))
    lines: list[str] = []
    for image in range(max(len(outputs["logits"]), len(targets))):
        size = f", {sizes[image][0]} x {sizes[image][1]} pixels (height x width)" if image < len(sizes) else ""
        lines += ["", f"image {image}{size}"]
        for name, part in parts:
            if image < len(part["logits"]):
                lines += [f"  {name}", *_indented(_indented(_queries(part, image, configuration)))]
                if part.get("masks"):
                    lines += ["  mask logits", *_indented(_indented(_mask_logits(part["masks"][image])))]
        if image < len(targets):
            lines += ["  targets", *_indented(_indented(_targets(targets[image])))]
            if targets[image].get("masks"):
                lines += ["  masks of targets", *_indented(_indented(_target_masks(targets[image]["masks"])))]
    return lines


def _parts(outputs: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All that is predicted, layer by layer, and what stands apart from the decoder's layers."""
    layers = [*outputs["auxiliary"], outputs]
    for place, layer in enumerate(layers):
        yield f"queries of decoder layer {place}" if len(layers) > 1 else "queries", layer
    for name, title in (("encoder", "queries of the encoder"), ("denoising", "denoising queries")):
        if outputs.get(name) is not None:
            yield title, outputs[name]


def _mask_logits(masks: Sequence[Sequence[Sequence[float]]]) -> list[str]:
    """The rows of each query's mask, one under the other."""
    rows = [
        [f"query {query}" if place == 0 else "", *map(number, row)]
        for query, mask in enumerate(masks)
        for place, row in enumerate(mask)
    ]
    return table_lines(["", *(f"[{column}]" for column in range(len(masks[0][0])))], rows)


def _target_masks(masks: Sequence[Sequence[Sequence[bool]]]) -> list[str]:
    """The masks as pictures: x where the object is."""
    rows = [
        [f"target {target}" if place == 0 else "", "".join("x" if inside else "." for inside in row)]
        for target, mask in enumerate(masks)
        for place, row in enumerate(mask)
    ]
    return table_lines(["", ""], rows)[1:]


def _queries(layer: Mapping[str, Any], image: int, configuration: Mapping[str, Any]) -> list[str]:
    logits, boxes = layer["logits"][image], layer["boxes"][image]
    columns = [f"logit {place}" for place in range(len(logits[0]) if logits else 0)]
    profile = PROFILES.get(str(configuration.get("profile")))
    if columns and profile is not None and profile.has_no_object:
        columns[-1] = "no-object"
    rows = [
        [f"query {place}", *map(number, scores), "|", *map(number, box)]
        for place, (scores, box) in enumerate(zip(logits, boxes, strict=True))
    ]
    return table_lines(["", *columns, "|", "cx", "cy", "w", "h"], rows)


def _targets(target: Mapping[str, Any]) -> list[str]:
    rows = [
        [f"target {place}", number(label), "|", *map(number, box)]
        for place, (label, box) in enumerate(zip(target["labels"], target["boxes"], strict=True))
    ]
    return table_lines(["", "label", "|", "cx", "cy", "w", "h"], rows)


def _boxes(boxes: Sequence[Sequence[float]]) -> list[str]:
    return table_lines(
        ["", "x0", "y0", "x1", "y1"], [[f"[{place}]", *map(number, box)] for place, box in enumerate(boxes)]
    )


def _hidden_states(hidden: Sequence[Sequence[Any]]) -> list[str]:
    lines: list[str] = []
    for layer, images in enumerate(hidden):
        for image, states in enumerate(images):
            rows = [[f"query {place}", *map(number, state)] for place, state in enumerate(states)]
            width = len(states[0]) if states else 0
            heading = ["", *(f"[{column}]" for column in range(width))]
            lines += ["", f"hidden states of decoder layer {layer}, image {image}"]
            lines += _indented(table_lines(heading, rows))
    return lines


def _feature_map(given: Mapping[str, Any]) -> list[str]:
    features, padding = given["features"], given["padding"]
    lines = ["", f"{len(given['queries'])} queries, {len(features[0])} channels"]
    for image, rows in enumerate(padding):
        pictured = ["".join("x" if outside else "." for outside in row) for row in rows]
        lines += [f"image {image}, with padding as x", *_indented(pictured)]
    return lines


def _shape(matrix: Sequence[Sequence[Any]]) -> str:
    return f"{len(matrix)} x {len(matrix[0]) if matrix else 0}"
