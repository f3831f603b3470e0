"""What a simulated history came to: what was counted, what may not be, and its story."""

from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What a history came to."""

    seed: int
    runs: int = 0
    cycles: int = 0
    crashes: int = 0
    simulated_s: float = 0
    rpcs: int = 0
    asks: int = 0  # arrays of which only the user could know: there is no accounting
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    costly: list[str] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)  # the numbers of those that happened
    story: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Return all that may not be."""
        return self.lost + self.doubled + self.wrong + self.stuck + self.errors + self.costly

    def budget(self, arrays: int) -> int:
        """Return how many RPCs are allowed.

        A look costs 3; what the cluster is and has room for is asked at the start, and around each
        array.
        """
        return 20 + 4 * self.cycles + 8 * (arrays + self.crashes)
