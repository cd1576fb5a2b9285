"""Cases in plain numbers, laid out for a person: which query says what, which target is where."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detr_conformance.base.text import counted
from detr_spec.calls import CALLS, PLAIN

MOST_ROWS = 24
"""A longer table is cut, and says how much is left out; the JSON file has all of it."""

CORNERS = ("x0", "y0", "x1", "y1")
CENTRES = ("cx", "cy", "w", "h")

Row = Sequence[str]


def case_lines(case: Any, built_with: Mapping[str, Any] | None = None) -> list[str]:
    """The lines that show a case, given as plain data.

    built_with: the numbers of its configuration that decide; without it, all numbers are shown.
    """
    if not isinstance(case, Mapping):
        return [] if case is None else [str(case)]
    return [*_head(case, built_with), *_part_lines(case, case.get("configuration", {}))]


def passed_lines(passed: Mapping[str, Any], case: Mapping[str, Any]) -> list[str]:
    """The lines that show what else than a case was passed: of images and ranks, those that differ from the case's."""
    numbers = _numbers(passed.get("built_with", {}))
    return [*([f"built with {numbers}"] if numbers else []), *_part_lines(passed, case["configuration"], case)]


def _part_lines(
    parts: Mapping[str, Any], configuration: Mapping[str, Any], case: Mapping[str, Any] | None = None
) -> list[str]:
    """The lines that show those parts of a case that are given; of those beside a case, what differs from it."""
    lines = _images(parts, configuration, case)
    for rank, (outputs, targets) in enumerate(parts.get("batches", ())):
        if case is None or [outputs, targets] not in case["batches"][rank : rank + 1]:
            batch = {"outputs": outputs, "targets": targets}
            lines += ["", f"rank {rank}", *_indented(_images(batch, configuration))]
    for place, cost in enumerate(parts.get("costs", ())):
        lines += ["", f"cost matrix {place}, {_shape(cost)}", *_indented(matrix_lines(cost))]
    lines += _hidden_states(parts["hidden"]) if "hidden" in parts else []
    lines += _feature_map(parts["features"]) if "features" in parts else []
    if "images" in parts:
        sizes = [f"image {place}: {len(image[0])} x {len(image[0][0])}" for place, image in enumerate(parts["images"])]
        lines += ["", "images, height x width in pixels", *_indented(sizes)]
    return lines + _box_lists(parts)


def _box_lists(parts: Mapping[str, Any]) -> list[str]:
    """The lists of boxes, in the format of the function that they were given to; those of a case are corners."""
    function = parts.get("function")
    columns = CENTRES if function == "cxcywh_to_xyxy" else CORNERS
    lines: list[str] = []
    for name in ("first", "second"):
        if name in parts:
            title = f"{name} boxes" if function is None else f"{name} argument of {function}"
            lines += ["", f"{title} ({' '.join(columns)})", *_indented(_boxes(parts[name], columns))]
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
    return lines if len(rows) <= MOST_ROWS else [*lines, f"… and {counted(len(rows) - MOST_ROWS, 'more row')}"]


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
    parts: Mapping[str, Any], configuration: Mapping[str, Any], case: Mapping[str, Any] | None = None
) -> list[str]:
    """The images of outputs, targets and sizes; of those beside a case, where any differs, those that differ."""
    images = list(range(_count(parts)))
    if case is not None:
        beside = {name: case[name] for name in ("outputs", "targets", "sizes") if name in parts}
        every = range(max(len(images), _count(beside)))
        images = [image for image in every if _of_image(parts, image) != _of_image(beside, image)] or images
    lines: list[str] = []
    for image in images:
        lines += _image(_of_image(parts, image), image, configuration)
    return lines


def _count(parts: Mapping[str, Any]) -> int:
    """The number of images in the longest of those parts of a case that are given."""
    layers = _parts(parts["outputs"]) if "outputs" in parts else ()
    lists = [*(layer["logits"] for _, layer in layers), parts.get("targets", ()), parts.get("sizes", ())]
    return max(map(len, lists))


def _of_image(parts: Mapping[str, Any], image: int) -> dict[str, Any]:
    """What those parts of a case that are given hold for one image; None for a part that has no such image."""
    found: dict[str, Any] = {}
    for title, layer in _parts(parts["outputs"]) if "outputs" in parts else ():
        queries = {name: layer[name][image : image + 1] for name in ("logits", "boxes", "masks") if layer.get(name)}
        found[title] = queries if queries.get("logits") else None
    texts = {name: parts.get("outputs", {}).get(name) for name in ("phrases", "tokens")}
    if all(texts.values()) and image < len(texts["phrases"]):
        found["texts"] = {name: text[image] for name, text in texts.items()}
    for name in ("targets", "sizes"):
        if name in parts:
            found[name] = next(iter(parts[name][image : image + 1]), None)
    return found


def _image(parts: Mapping[str, Any], image: int, configuration: Mapping[str, Any]) -> list[str]:
    """An image: the queries of each of its layers, and its targets; what it lacks beside others is named."""
    size = parts.get("sizes")
    lines = ["", f"image {image}" + (f", {size[0]} x {size[1]} pixels (height x width)" if size else "")]
    for name, part in parts.items():
        if part is None:
            lines += [f"  {name}: nothing was given for this image"]
        elif name == "targets":
            lines += ["  targets", *_indented(_indented(_targets(part)))]
            if part.get("masks"):
                lines += ["  masks of targets", *_indented(_indented(_target_masks(part["masks"])))]
        elif name == "texts":
            lines += ["  logits of phrases", *_indented(_indented(_text(part)))]
        elif name != "sizes":
            lines += [f"  {name}", *_indented(_indented(_queries(part, 0, configuration)))]
            if part.get("masks"):
                lines += ["  mask logits", *_indented(_indented(_mask_logits(part["masks"][0])))]
    return lines


def _text(text: Mapping[str, Any]) -> list[str]:
    """The columns of each phrase of an image, and those of padding."""
    phrases = [_true(phrase) for phrase in text["phrases"]]
    rows = [(f"phrase {number}", columns) for number, columns in enumerate(phrases) if columns]
    padding = _true([not token for token in text["tokens"]])
    return [f"{name}: {columns}" for name, columns in [*rows, *([("padding", padding)] if padding else [])]]


def _true(flags: Sequence[bool]) -> str:
    """The places of what is true, such as "0, 2"."""
    return ", ".join(str(place) for place, flag in enumerate(flags) if flag)


def _parts(outputs: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """All that is predicted, layer by layer, and what stands apart from the decoder's layers."""
    apart = (
        ("encoder", "queries of the encoder", "prediction"),
        ("initial", "queries before the decoder's first layer", "prediction"),
        ("one_to_many", "further queries", "decoder layer"),
        ("denoising", "denoising queries", "decoder layer"),
        ("initial_denoising", "denoising queries before the decoder's first layer", "prediction"),
    )
    yield from _layers(outputs, "queries", "queries of decoder layer")
    for name, title, unit in apart:
        if outputs.get(name) is not None:
            yield from _layers(outputs[name], title, f"{title}, {unit}")


def _layers(outputs: Mapping[str, Any], title: str, numbered: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The layers of outputs, each with a title, which has a number where they are several."""
    layers = [*outputs["auxiliary"], outputs]
    for place, layer in enumerate(layers):
        yield f"{numbered} {place}" if len(layers) > 1 else title, layer


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
    return table_lines(["", *columns, "|", *CENTRES], rows)


def _targets(target: Mapping[str, Any]) -> list[str]:
    rows = [
        [f"target {place}", number(label), "|", *map(number, box)]
        for place, (label, box) in enumerate(zip(target["labels"], target["boxes"], strict=True))
    ]
    return table_lines(["", "label", "|", *CENTRES], rows)


def _boxes(boxes: Sequence[Sequence[float]], columns: Row) -> list[str]:
    return table_lines(["", *columns], [[f"[{place}]", *map(number, box)] for place, box in enumerate(boxes)])


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
    lines = ["", f"{counted(len(given['queries']), 'query', 'queries')}, {counted(len(features[0]), 'channel')}"]
    for image, rows in enumerate(padding):
        pictured = ["".join("x" if outside else "." for outside in row) for row in rows]
        lines += [f"image {image}, with padding as x", *_indented(pictured)]
    return lines


def _shape(matrix: Sequence[Sequence[Any]]) -> str:
    return f"{len(matrix)} x {len(matrix[0]) if matrix else 0}"
