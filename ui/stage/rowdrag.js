// Dragging rows of the layer panel, one or all that are selected, to another place in the tree. Knows rows; the app moves layers.
import { liesThere, movable } from "./arrange.js";
import { find } from "./tree.js";

const EVENTS = ["dragstart", "dragover", "dragleave", "drop", "dragend"];
const MARKS = ["drop-above", "drop-below", "drop-into"];

export class RowDrag {
  constructor(app, tree, folded) {
    this.app = app;
    this.tree = tree;
    this.folded = folded;
    this.ids = [];
    for (const name of EVENTS) tree.addEventListener(name, (event) => this[name](event));
  }

  dragstart(event) {
    const { app } = this, id = event.target.closest(".row")?.dataset.id;
    if (!id) return;
    if (!app.selection.has(id)) app.select([id]);
    this.ids = movable(app.view, app.selection);
    if (!this.ids.length) {
      event.preventDefault();
      app.toast("What is locked stays where it is: unlock it first.");
      return;
    }
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", this.ids.join());
    if (this.ids.length > 1) this.badge(event, `${this.ids.length} layers`);
    for (const one of this.ids) this.row(one)?.classList.add("dragged");
  }

  row(id) {
    return this.tree.querySelector(`[data-id="${id}"]`);
  }

  // What hangs on the pointer: how many are on their way.
  badge(event, text) {
    const badge = document.createElement("div");
    badge.className = "drag-badge";
    badge.textContent = text;
    this.app.root.append(badge);
    event.dataTransfer.setDragImage(badge, -8, -8);
    setTimeout(() => badge.remove());
  }

  // Where a drop lands: in the upper part of a row above it, in the lower below it, in the middle of a group inside; below
  // all rows at the very bottom. Null where nothing would change.
  target(event) {
    if (!this.ids.length) return null;
    const found = this.place(event), { view } = this.app;
    if (!found) return null;
    for (let entry = found.parent && find(view, found.parent); entry; entry = entry.parent && find(view, entry.parent.id)) {
      if (this.ids.includes(entry.node.id) || entry.node.locked) return null;
    }
    return liesThere(view, this.ids, found.parent, found.index) ? null : found;
  }

  place(event) {
    const row = event.target.closest(".row");
    if (!row) {
      const last = this.tree.querySelector(".row:last-child");
      return last && event.clientY > last.getBoundingClientRect().bottom ? { row: last, mode: "below", parent: null, index: 0, level: 0 } : null;
    }
    const entry = find(this.app.view, row.dataset.id), { node } = entry, frame = row.getBoundingClientRect();
    const share = (event.clientY - frame.top) / frame.height;
    if (node.kind === "group" && share > 0.25 && (share < 0.75 || !this.folded.has(node.id))) {
      return { row, mode: "into", parent: node.id, index: node.layers.length, level: entry.level };
    }
    const above = share < 0.5;
    return { row, mode: above ? "above" : "below", parent: entry.parent?.id ?? null, index: entry.index + (above ? 1 : 0), level: entry.level };
  }

  dragover(event) {
    const target = this.target(event);
    this.dragleave();
    if (!target) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "move";
    target.row.style.setProperty("--drop-level", target.level);
    target.row.classList.add(`drop-${target.mode}`);
  }

  dragleave() {
    for (const row of this.tree.querySelectorAll(".row")) row.classList.remove(...MARKS);
  }

  drop(event) {
    const target = this.target(event);
    this.dragleave();
    if (!target) return;
    event.preventDefault();
    event.stopPropagation();
    this.app.place(this.ids, target.parent, target.index);
  }

  dragend() {
    this.ids = [];
    this.dragleave();
    for (const row of this.tree.querySelectorAll(".dragged")) row.classList.remove("dragged");
  }
}
