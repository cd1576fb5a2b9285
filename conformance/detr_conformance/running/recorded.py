"""Judges recorded answers: as a check does, by the vectors that they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detr_conformance.base.cause import Explained
from detr_conformance.base.verdict import Judgement, Verdict
from detr_conformance.judging.by_vectors import judge_vectors
from detr_conformance.ledger.judging import judge_listed
from detr_conformance.recorded.answers import read_answers, uncallable
from detr_conformance.recorded.player import Player
from detr_conformance.recorded.questions import Questions, read_questions
from detr_conformance.running.judges import Judgements, Task
from detr_conformance.running.selection import Subject
from detr_conformance.testee.names import recorded_name
from detr_spec.implementation import Implementation
from detr_spec.invariant import Invariant


class RecordedAnswers:
    """Finds and judges the one implementation whose answers are in a file.

    Raises `UsageError` for files that are not as they should be, and where a question is not answered.
    """

    def __init__(self, questions: Path, answers: Path) -> None:
        self._questions = read_questions(questions)
        recorded = read_answers(answers, self._questions.asked, questions)
        self._uncallable = uncallable(self._questions.asked, recorded)
        self._player = Player(recorded)
        self.address = recorded_name(questions, answers)

    @property
    def vectors(self) -> int:
        """How many vectors there are."""
        return len(self._questions.vectors)

    @property
    def further(self) -> Questions:
        """What is to be asked now: the questions that were needed, and those that follow from the answers."""
        own = self._questions
        return Questions(own.said, own.description, own.vectors, tuple(self._player.asked))

    @property
    def unanswered(self) -> int:
        """How many questions follow from the answers, and were not asked before."""
        return len(self._player.unanswered)

    def __enter__(self) -> RecordedAnswers:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def find(self, address: str) -> tuple[Implementation, ...]:  # noqa: ARG002
        """The implementation."""
        return (self._player.implementation(self._questions.description),)

    def judged(
        self,
        tasks: Sequence[Task],
        *,
        examples: int,  # noqa: ARG002
        seed: int,  # noqa: ARG002
        device: str,
        database: tuple[str, ...] = (),  # noqa: ARG002
    ) -> Judgements:
        """The judgement of each task with its place, in order."""
        for place, (subject, invariant, entries) in enumerate(tasks):
            yield place, judge_listed(invariant, subject.implementation, entries, device=device, judge=self._judged)

    def explained(self, subject: Subject, judgements: Sequence[Judgement], *, seed: int, device: str) -> Explained:  # noqa: ARG002
        """Nothing, as nobody is there who could be asked again."""
        return Explained()

    def _judged(self, invariant: Invariant, implementation: Implementation, *, device: str, **_: Any) -> Judgement:
        """As `judge_vectors`; what cannot be called is the cause where it fails."""
        self._player.called.clear()
        judgement = judge_vectors(invariant, implementation, self._questions.vectors, device)
        causes = sorted(self._uncallable[names] for names in self._player.called & self._uncallable.keys())
        if causes and judgement.verdict.fails:
            return replace(judgement, verdict=Verdict.CANNOT_BE_CALLED, message=causes[0])
        return judgement
