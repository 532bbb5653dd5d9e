"""Which parts the service has in a round, and which of them run the release before."""

from __future__ import annotations

from typing import NamedTuple


class Fleet(NamedTuple):
    """The names of the parts; each begins with what the Procfile calls the part."""

    webs: tuple[str, ...] = ("web",)
    beats: tuple[str, ...] = ("beat-1", "beat-2", "beat-3")
    workers: tuple[str, ...] = ("worker-1", "worker-2", "worker-3")
    # Those that run the release before, whenever they are started.
    older: frozenset[str] = frozenset()

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.webs, *self.beats, *self.workers)

    def members(self, group: tuple[str, ...]) -> tuple[str, ...]:
        """The parts of this fleet that are what those of the usual fleet are."""
        kinds = {kind_of(name) for name in group}
        mine = [name for name in self.parts if kind_of(name) in kinds]
        return (*mine, *(name for name in group if name not in USUAL_FLEET.parts))


def kind_of(part: str) -> str:
    """What the Procfile calls a part."""
    return part.partition("-")[0]


USUAL_FLEET = Fleet()
# Half of it runs the release before.
MIXED_FLEET = Fleet(
    webs=("web", "web-2"),
    beats=("beat-1", "beat-2"),
    workers=("worker-1", "worker-2", "worker-3", "worker-4"),
    older=frozenset({"web-2", "beat-2", "worker-3", "worker-4"}),
)
