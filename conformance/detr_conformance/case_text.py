"""Cases in plain numbers, laid out for a person: which query says what, which target is where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detr_spec.calls import CALLS, PLAIN

MOST_ROWS = 24
"""A longer table is cut, and says how much is left out; the JSON file has all of it."""

Row = Sequence[str]


def case_lines(case: Any, built_with: Mapping[str, Any] | None = None) -> list[str]:
    """The lines that show a case, given as plain data.

    built_with: the numbers of its configuration that decide; without it, all numbers are shown.
    """
    if not isinstance(case, Mapping):
        return [] if case is None else [str(case)]
    return [*_head(case, built_with), *_part_lines(case, case.get("configuration", {}))]


def passed_lines(passed: Mapping[str, Any], case: Mapping[str, Any]) -> list[str]:
    """The lines that show what was passed besides a case, where it differs from the case."""
    numbers = _numbers(passed.get("built_with", {}))
    return [*([f"built with {numbers}"] if numbers else []), *_part_lines(passed, case.get("configuration", {}))]


def _part_lines(parts: Mapping[str, Any], configuration: Mapping[str, Any]) -> list[str]:
    """The lines that show those parts of a case that are given."""
    lines: list[str] = []
    if parts.keys() & {"outputs", "targets", "sizes"}:
        lines += _images(parts.get("outputs"), parts.get("targets", ()), parts.get("sizes", ()), configuration)
    for rank, (outputs, targets) in enumerate(parts.get("batches", ())):
        lines += ["", f"rank {rank}", *_indented(_images(outputs, targets, (), configuration))]
    for place, cost in enumerate(parts.get("costs", ())):
        lines += ["", f"cost matrix {place}, {_shape(cost)}", *_indented(matrix_lines(cost))]
    lines += _hidden_states(parts["hidden"]) if "hidden" in parts else []
    lines += _feature_map(parts["features"]) if "features" in parts else []
    if "images" in parts:
        sizes = [f"image {place}: {len(image[0])} x {len(image[0][0])}" for place, image in enumerate(parts["images"])]
        lines += ["", "images, height x width in pixels", *_indented(sizes)]
    for name in ("first", "second"):
        if name in parts:
            lines += ["", f"{name} boxes (x0 y0 x1 y1)", *_indented(_boxes(parts[name]))]
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


def _head(case: Mapping[str, Any], built_with: Mapping[str, Any] | None) -> list[str]:
    configuration = case.get("configuration", {})
    lines = [f"regime {case.get('regime')}, {configuration.get('dtype')}, seed {case.get('seed')}"]
    numbers = _numbers(configuration if built_with is None else built_with)
    if numbers:
        lines.append(f"built with {numbers}")
    if configuration.get("call", PLAIN) != PLAIN:
        lines.append(f"called {CALLS.get(configuration['call'], configuration['call'])}")
    return lines


def _numbers(named: Mapping[str, Any]) -> str:
    """The numbers among named values, such as "num_classes = 2, eos_coef = 0.1"."""
    numbers = {name: value for name, value in named.items() if isinstance(value, (int, float))}
    return ", ".join(f"{name} = {number(value)}" for name, value in numbers.items() if not isinstance(value, bool))


def _images(
    outputs: Mapping[str, Any] | None,
    targets: Sequence[Mapping[str, Any]],
    sizes: Sequence[Sequence[int]],
    configuration: Mapping[str, Any],
) -> list[str]:
    parts = [] if outputs is None else list(_parts(outputs))
    lines: list[str] = []
    for image in range(max(len(targets), len(sizes), *(len(part["logits"]) for _, part in parts), 0)):
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
    if columns and len(columns) == configuration.get("num_classes", 0) + 1:
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
