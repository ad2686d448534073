// The tree of a document's view: finding nodes and making changed copies. Pure functions on plain objects.

export function* walk(nodes, parent = null, level = 0) {
  for (const [index, node] of nodes.entries()) {
    yield { node, parent, index, level, siblings: nodes };
    if (node.kind === "group") yield* walk(node.layers, node, level + 1);
  }
}

export const find = (view, id) => {
  for (const entry of walk(view.layers)) if (entry.node.id === id) return entry;
  return null;
};

// The named nodes without those that lie inside another named one, bottom to top.
export function outermost(view, ids) {
  const found = [];
  const visit = (nodes) => {
    for (const node of nodes) {
      if (ids.has(node.id)) found.push(node.id);
      else if (node.kind === "group") visit(node.layers);
    }
  };
  visit(view.layers);
  return found;
}

// A copy of the nodes with change(node) in place of the named ones; null removes.
export function mapped(nodes, ids, change) {
  return nodes.flatMap((node) => {
    if (ids.has(node.id)) {
      const fresh = change(node);
      return fresh ? [fresh] : [];
    }
    return node.kind === "group" ? [{ ...node, layers: mapped(node.layers, ids, change) }] : [node];
  });
}

export function moved(node, dx, dy) {
  const mask = node.mask && { ...node.mask, x: node.mask.x + dx, y: node.mask.y + dy };
  if (node.kind === "group") return { ...node, mask, layers: node.layers.map((child) => moved(child, dx, dy)) };
  return { ...node, mask, pixels: { ...node.pixels, x: node.pixels.x + dx, y: node.pixels.y + dy } };
}

// Only the named nodes show, each with all that is inside.
export function soloed(nodes, ids) {
  return nodes.map((node) => {
    if (ids.has(node.id)) return { ...node, visible: true, clipping: false };
    if (node.kind === "group" && [...walk(node.layers)].some(({ node: inner }) => ids.has(inner.id))) {
      return { ...node, visible: true, layers: soloed(node.layers, ids) };
    }
    return { ...node, visible: false };
  });
}

export function digests(view) {
  const found = new Set(view.source ? [view.source.digest] : []);
  for (const { node } of walk(view.layers)) {
    if (node.pixels) found.add(node.pixels.digest);
    if (node.mask) found.add(node.mask.digest);
  }
  return found;
}

// What of a node shows, apart from its children: when it is the same, its place need not be drawn again.
export function signatures(nodes) {
  const found = new Map();
  for (const { node, parent, index, siblings } of walk(nodes)) {
    const { layers, name, locked, prompt, seed, ...drawn } = node;
    const next = siblings[index - 1];
    found.set(node.id, { text: JSON.stringify([drawn, parent?.id, next?.id]), node });
  }
  return found;
}
