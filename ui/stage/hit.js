// What lies at a point of the document, for a click there: the topmost layer that shows something. Pure functions.
import { runs } from "./composite.js";

const FAINT = 12;

// The id of that layer; what is hidden, locked, clipped or masked away there is passed over, groups whole.
export function hit(nodes, x, y, lookup) {
  const [px, py] = [Math.floor(x), Math.floor(y)];
  const level = ({ digest, x: left, y: top, width, height }, channels, outside) => {
    const bytes = lookup(digest), dx = px - left, dy = py - top;
    if (!bytes || dx < 0 || dy < 0 || dx >= width || dy >= height) return outside;
    return bytes[(dy * width + dx) * channels + channels - 1];
  };
  const open = ({ visible, opacity, mask }) => visible && opacity > 0 && (!mask?.enabled || level(mask, 1, mask.default * 255) > FAINT);
  const covers = (node) => open(node)
    && (node.kind === "group" ? runs(node.layers).some(([base]) => covers(base)) : level(node.pixels, 4, 0) > FAINT);
  const within = (node) => {
    if (node.locked || !open(node)) return null;
    if (node.kind === "group") return visit(node.layers);
    return covers(node) ? node.id : null;
  };
  const visit = (siblings) => {
    for (const [base, clipped] of runs(siblings).reverse()) {
      if (!open(base)) continue;
      for (const node of [...(covers(base) ? clipped : []).reverse(), base]) {
        const found = within(node);
        if (found) return found;
      }
    }
    return null;
  };
  return visit(nodes);
}
