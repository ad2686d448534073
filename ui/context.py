"""What a new layer is made to fit: the visible layers below and above its place, as many as the model can take.

Pure functions on documents. Groups around the place are opened; where there are more layers than the model was trained
for, those farthest from the place are drawn together, so that nothing that shows is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InputError
from ..layers.composite import composite_nodes, quantise
from ..layers.document import Group, Layer, LayeredImage, Node
from ..layers.select import node_at

WHERE = ("above", "below", "instead", "behind")


@dataclass(frozen=True, kw_only=True, eq=False)
class Gap:
    """A place in the stack, and the nodes that show below and above it, each bottom to top."""

    below: tuple[Node, ...]
    above: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (*self.below, *self.above)


def gap_at(doc: LayeredImage, layer: str | None, where: str) -> Gap:
    """The gap ``above``, ``below`` or ``instead`` of a node (of the whole stack where ``layer`` is None).

    ``behind`` is the gap under a node that is to hold a background: what lies further down is to be covered, so it does
    not count. Raises InputError for other words, and where no visible layer is left to go by.
    """
    if where not in WHERE:
        raise InputError(f"A new layer goes {', '.join(WHERE[:-1])} or {WHERE[-1]}, not {where[:40]!r}.")
    below: tuple[Node, ...] = ()
    above: tuple[Node, ...] = ()
    if layer is None:
        if where == "instead":
            raise InputError("Say which layer is to be replaced.")
        below, above = (doc.layers, ()) if where == "above" else ((), doc.layers)
    else:
        path = doc.find_path(layer)
        siblings: tuple[Node, ...] = doc.layers
        for depth, index in enumerate(path):
            below, above = (*below, *siblings[:index]), (*siblings[index + 1 :], *above)
            node = node_at(doc.layers, path[: depth + 1])
            if isinstance(node, Group):
                siblings = node.layers
        target = node_at(doc.layers, path)
        if where == "above":
            below = (*below, target)
        elif where in ("below", "behind"):
            above = (target, *above)
    if where == "behind":
        below = ()
    gap = Gap(below=_shown(below), above=_shown(above))
    if not gap.nodes:
        raise InputError("There is no other visible layer to go by: show one, or make the picture from text.")
    return gap


def reduced(doc: LayeredImage, gap: Gap, most: int) -> tuple[LayeredImage, int]:
    """The document of the gap's layers, at most ``most`` of them, and how many lie below the gap.

    Raises InputError where the model makes single layers only, so that nothing can be given to it.
    """
    if most < 1:
        raise InputError("This model makes one layer at a time and cannot see others: choose another model.")
    below, above = list(gap.below), list(gap.above)
    while len(below) + len(above) > most:
        if len(below) > 1 and (len(below) >= len(above) or len(above) < 2):
            below[:2] = [_drawn(doc, below[:2])]
        elif len(above) > 1:
            above[-2:] = [_drawn(doc, above[-2:])]
        else:  # one on each side, and room for one: what lies above is seen through the gap
            below, above = [], [_drawn(doc, [*below, *above])]
    return doc.with_layers((*below, *above)), len(below)


def _shown(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(node for node in nodes if node.visible and (not isinstance(node, Group) or node.layers))


def _drawn(doc: LayeredImage, nodes: list[Node]) -> Layer:
    pixels = quantise(composite_nodes(nodes, doc.box), doc.depth)
    return Layer(pixels=pixels, name=nodes[0].name)
