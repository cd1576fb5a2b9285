"""Cases whose labels name phrases of each image's own text, made from cases whose labels name logit columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from detr_spec.cases import Case, RankCase, SetCase
from detr_spec.values import Booleans, Floats, Integers, Outputs, Targets

Kind = TypeVar("Kind", bound=Case)

MOST_TOKENS, MOST_OF_MANY = 3, 2
"""How many tokens a phrase has at most, and where there are more phrases than `FEW_PHRASES`."""
FEW_PHRASES = 8

MOST_BESIDE = 2
"""How many tokens of an image belong to no phrase, as points do; so many columns of the batch more are padding."""

FACTORS = (1.0, 0.5, 0.25)
"""What the logits of tokens are of their classes', whose products every dtype holds."""

DECIDED = ("confident", "close-call", "learning", "many-targets", "many-queries", "many-pairs", "large-image")
"""Regimes in which logits say whether a query has found an object, so that all tokens of its phrase say the same."""


@dataclass(frozen=True, eq=False)
class Text:
    """The columns of an image's text: those of each phrase, [K, C]; the class that each shows, and its factor, [C]."""

    phrases: Booleans
    classes: Integers
    factors: Floats

    def said(self, logits: Floats) -> Floats:
        """The logits of the columns, from those of classes; [Q, K] → [Q, C]."""
        said: Floats = logits[:, self.classes] * self.factors
        return said


def with_phrases(case: Kind) -> Kind:
    """The case with phrases, of which each image has as many as its labels need, or more, up to the number of classes.

    A phrase has one to three tokens, whose logits are those of its class, or of others. Some tokens belong to no
    phrase, or to two. Columns of padding, whose logits are −∞, make all texts equally long. In a case of seed 0 each
    class is one token. A case without outputs stays as it is.
    """
    if isinstance(case, SetCase):
        return replace(case, outputs=_phrased(case, [(case.outputs, case.targets)])[0])
    if isinstance(case, RankCase):
        targets = [own for _, own in case.batches]
        return replace(case, batches=tuple(zip(_phrased(case, case.batches), targets, strict=True)))
    return case


def _phrased(case: Case, batches: Sequence[tuple[Outputs, Targets]]) -> list[Outputs]:
    """The outputs of each batch with texts, all of one length."""
    generator, classes = case.generator("phrases"), case.configuration.num_classes
    texts = [[_text(case, generator, 1 + target.labels.max(initial=0)) for target in own] for _, own in batches]
    longest = max((len(text.classes) for own in texts for text in own), default=classes)
    columns = longest + (int(generator.integers(MOST_BESIDE + 1)) if case.seed else 0)
    return [_with_texts(outputs, own, columns) for (outputs, _), own in zip(batches, texts, strict=True)]


def _text(case: Case, generator: np.random.Generator, least: int) -> Text:
    """A text of at least so many phrases."""
    classes = case.configuration.num_classes
    if not case.seed:
        return Text(np.eye(classes, dtype=np.bool_), np.arange(classes), np.ones(classes))
    count = int(generator.integers(least, classes, endpoint=True))
    most = MOST_TOKENS if classes <= FEW_PHRASES else MOST_OF_MANY
    owners = np.repeat(np.arange(count), generator.integers(1, most, count, endpoint=True))
    shown = np.concatenate([owners, generator.integers(classes, size=generator.integers(MOST_BESIDE + 1))])
    phrases = np.arange(classes)[:, None] == np.pad(owners, (0, len(shown) - len(owners)), constant_values=-1)
    if case.regime not in DECIDED and generator.integers(2):
        phrases[generator.integers(count), generator.integers(len(owners))] = True
        shown = np.where(generator.integers(2, size=len(shown)), shown, generator.integers(classes, size=len(shown)))
    factors = generator.choice(FACTORS[: int(generator.choice([1, len(FACTORS)]))], len(shown))
    order = generator.permutation(len(shown))
    return Text(phrases[:, order], shown[order], factors)


def _with_texts(outputs: Outputs, texts: Sequence[Text], columns: int) -> Outputs:
    """The outputs of all layers and apart with a text for each image, and padding behind it."""
    phrases = np.zeros((len(texts), len(texts[0].phrases) if texts else 1, columns), dtype=np.bool_)
    for image, text in enumerate(texts):
        phrases[image, :, : len(text.classes)] = text.phrases
    tokens = np.arange(columns) < np.array([[len(text.classes)] for text in texts]).reshape(len(texts), 1)

    def logits(layer: Outputs) -> Floats:
        found = np.full((layer.batch, layer.queries, columns), -np.inf)
        for image, text in enumerate(texts):
            found[image, :, : len(text.classes)] = text.said(layer.logits[image])
        return found

    return outputs.each(logits=logits, phrases=lambda _: phrases, tokens=lambda _: tokens)
