"""Dynamic time warping over a given cost matrix, with the tie rules of the LayerD evaluation. Knows only numbers."""

from __future__ import annotations

import numpy as np

Path = list[tuple[int, int]]


def align(cost: np.ndarray) -> Path:
    """The cheapest monotone path through ``cost`` (n, m), from (0, 0) to (n-1, m-1), every row and column visited.

    Backtracking prefers the diagonal among equals, then one row up.
    """
    rows, columns = cost.shape
    total = np.empty((rows, columns))
    total[:, 0] = np.cumsum(cost[:, 0])
    total[0] = np.cumsum(cost[0])
    for i in range(1, rows):
        for j in range(1, columns):
            total[i, j] = cost[i, j] + min(total[i - 1, j], total[i, j - 1], total[i - 1, j - 1])
    i, j = rows - 1, columns - 1
    path = [(i, j)]
    while i or j:
        if not i:
            j -= 1
        elif not j:
            i -= 1
        else:
            diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
            if diagonal <= min(up, left):
                i, j = i - 1, j - 1
            elif up <= min(diagonal, left):
                i -= 1
            else:
                j -= 1
        path.append((i, j))
    return path[::-1]
