"""The rate at which all contenders of a table are asked."""

import math
from collections.abc import Mapping

__all__ = ["choose_rate"]

# Of what the slowest compared contender can do, so that none of them is near its end.
_PART = 0.5


def choose_rate(capacities: Mapping[str, float], floor: float) -> tuple[int, list[str]]:
    """Return requests per second, and the names of those that are too slow to be compared.

    Args:
        capacities: Requests per second of each contender at saturation; at least one.
        floor: Who can do less than this part of what the fastest can do does not count, so
            that a slow one does not drag the rate down to where the others idle.
    """
    least = floor * max(capacities.values())
    slow = [name for name, capacity in capacities.items() if capacity < least]
    half = _PART * min(capacity for capacity in capacities.values() if capacity >= least)
    # Two digits, so that runs on the same machine mostly have the same rate.
    step = 10 ** max(0, math.floor(math.log10(half)) - 1) if half >= 1 else 1
    return max(1, int(half // step * step)), slow
