"""The answer to why a moment of a task fired, did not fire, or will not fire."""

from __future__ import annotations

from dataclasses import dataclass

from tasks_api.domain.effort import TooMuch, allowance
from tasks_api.domain.why.causes import Verdict
from tasks_api.domain.why.facts import AttemptFacts, Deed, Facts, Phase
from tasks_api.domain.why.found import Evidence, FoundCause, evidence_of_run
from tasks_api.domain.why.holds import find_holds
from tasks_api.domain.why.rules import judge

# The steps that all rules of one answer may take; a search in a clock's history is long.
MAX_STEPS = 300_000


@dataclass(frozen=True)
class Answer:
    facts: Facts
    verdict: Verdict
    cause: FoundCause
    # What made it late, or holds it; the first of them is mostly the cause.
    held_by: tuple[FoundCause, ...] = ()

    @property
    def schedule(self) -> Phase | None:
        """The schedule in force at the moment."""
        return self.facts.phase

    @property
    def attempts(self) -> tuple[AttemptFacts, ...]:
        return () if self.facts.run is None else self.facts.run.attempts

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The rows that prove the cause and the holds, each once."""
        found = [*self.cause.evidence]
        found += [each for held in self.held_by for each in held.evidence]
        if self.facts.run is not None:
            found.append(evidence_of_run(self.facts.run))
        return tuple(dict.fromkeys(found))

    @property
    def author(self) -> Deed | None:
        """Who wrote that schedule, as far as the audit log still knows."""
        written = self.facts.written_by
        if written is None:
            return None
        return self.facts.deed(written.since, "task.", "schedule.change", "calendar.")


def explain(facts: Facts) -> Answer:
    """Answer from facts alone. Raises TooMuch if a schedule takes too long to compute."""
    with allowance(MAX_STEPS, TooMuch):
        ruling = judge(facts)
        is_due = facts.run is not None or facts.is_open
        held_by = find_holds(facts) if is_due else ()
    return Answer(facts, ruling.verdict, ruling.found, held_by)
