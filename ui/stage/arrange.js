// Where nodes go in the tree: several at once, by a place, by a step, into and out of groups. Pure functions on views.
import { find, outermost } from "./tree.js";

// Whether a node may be changed: neither locked nor inside a locked group.
function unlocked(view, id) {
  for (let entry = find(view, id); entry; entry = entry.parent && find(view, entry.parent.id)) if (entry.node.locked) return false;
  return true;
}

export const free = (view, ids) => new Set(view ? [...ids].filter((id) => unlocked(view, id)) : []);

// Of the chosen nodes those that may move: outermost and unlocked; bottom to top.
export const movable = (view, ids) => outermost(view, ids).filter((id) => unlocked(view, id));

// A copy of the tree with the nodes (outermost, bottom to top) below the node that is `index` in `parent` now.
export function placed(nodes, ids, parent, index) {
  const taken = new Map(), chosen = new Set(ids);
  const without = (list, at) => {
    const kept = [];
    for (const [number, node] of list.entries()) {
      if (at && number === index) kept.push(null);
      if (chosen.has(node.id)) taken.set(node.id, node);
      else kept.push(node.kind === "group" ? { ...node, layers: without(node.layers, node.id === parent) } : node);
    }
    if (at && index >= list.length) kept.push(null);
    return kept;
  };
  const filled = (list) => list.flatMap((node) => {
    if (node === null) return ids.map((id) => taken.get(id));
    return node.kind === "group" ? [{ ...node, layers: filled(node.layers) }] : [node];
  });
  return filled(without(nodes, parent === null));
}

// Whether the nodes lie there already, one upon the other.
export function liesThere(view, ids, parent, index) {
  const entries = ids.map((id) => find(view, id));
  return entries.every(({ parent: own, index: at }, number) => (own?.id ?? null) === parent && at === entries[0].index + number)
    && index >= entries[0].index && index <= entries[0].index + ids.length;
}

// Moves, one after the other, of nodes to places among their siblings: each chosen one a step up (1) or down (-1). Those
// at the end stay, and so does the order.
export function stepped(view, ids, direction) {
  const chosen = new Set(movable(view, ids)), moves = [], seen = new Set();
  for (const id of chosen) {
    const { siblings, parent } = find(view, id);
    if (seen.has(parent)) continue;
    seen.add(parent);
    const order = siblings.map((node) => node.id), last = order.length - 1;
    for (let number = 1; number <= last; number++) {
      const from = direction > 0 ? last - number : number, to = from + direction;
      if (!chosen.has(order[from]) || chosen.has(order[to])) continue;
      moves.push([order[from], to]);
      [order[from], order[to]] = [order[to], order[from]];
    }
  }
  return moves;
}

// A copy of the tree after such moves.
export function reordered(nodes, moves) {
  return moves.reduce((layers, [id, to]) => {
    const { parent, index } = find({ layers }, id);
    return placed(layers, [id], parent?.id ?? null, to > index ? to + 1 : to);
  }, nodes);
}

// The place inside the group right above the nodes (its bottom) or right below them (its top); null where there is none.
export function placeInside(view, ids) {
  const entries = ids.map((id) => find(view, id)), top = entries.at(-1), bottom = entries[0];
  const above = top?.siblings[top.index + 1], below = bottom?.siblings[bottom.index - 1];
  if (above?.kind === "group") return { parent: above.id, index: 0, name: above.name };
  if (below?.kind === "group") return { parent: below.id, index: below.layers.length, name: below.name };
  return null;
}

// The place right above the group that the topmost node is in; null at the top level.
export function placeOutside(view, ids) {
  const group = find(view, ids.at(-1))?.parent, around = group && find(view, group.id);
  return around && { parent: around.parent?.id ?? null, index: around.index + 1 };
}
