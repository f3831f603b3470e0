"""Gather points of metrics, and give them out as columns: few records, however many points."""

import time

AT_ONCE = 2000  # points of one record
KEYS = 5000  # metrics of one run; more are a mistake in the user's code


class Points:
    """Points by metric, and the count of each metric for points that name no step."""

    def __init__(self) -> None:
        self._columns: "dict[str, tuple[list[int], list[float], list[float]]]" = {}
        self._next: "dict[str, int]" = {}
        self.left_out = 0

    def add(self, key: str, value: float, step: "int | None", at: "float | None" = None) -> None:
        """Add a point; where there are too many metrics already, count it only."""
        if key not in self._next and len(self._next) >= KEYS:
            self.left_out += 1
            return
        if step is None:
            step = self._next.get(key, 0)
        self._next[key] = step + 1
        steps, times, values = self._columns.setdefault(key, ([], [], []))
        steps.append(step)
        times.append(round(time.time() if at is None else at, 3))
        values.append(value)

    def take(self) -> "list[dict[str, object]]":
        """Return what was added since the last time, as records."""
        columns, self._columns = self._columns, {}
        records: "list[dict[str, object]]" = []
        for key, (steps, times, values) in columns.items():
            for start in range(0, len(steps), AT_ONCE):
                part = slice(start, start + AT_ONCE)
                records.append(
                    {
                        "k": "m",
                        "at": times[part][-1],
                        "key": key,
                        "steps": steps[part],
                        "times": times[part],
                        "values": values[part],
                    }
                )
        return records
