// The layer panel: one row per layer, top to bottom, and the properties of the selected one.
import { icon } from "./icons.js";
import { find, walk } from "./tree.js";

const THUMB = [40, 32];
const thumbs = new Map();

export class Panel {
  constructor(app) {
    this.app = app;
    this.pane = app.root.querySelector(".pane.layers");
    this.tree = this.pane.querySelector(".tree");
    this.blend = this.pane.querySelector("select.blend");
    [this.range, this.number] = this.pane.querySelectorAll(".opacity input");
    this.folded = new Set();
    this.tree.addEventListener("click", (event) => this.click(event));
    this.tree.addEventListener("dblclick", (event) => event.target.closest(".name") && this.rename(this.id(event)));
    this.tree.addEventListener("keydown", (event) => this.key(event));
    for (const name of ["dragstart", "dragover", "dragleave", "drop", "dragend"]) {
      this.tree.addEventListener(name, (event) => this[name](event));
    }
    this.blend.addEventListener("change", () => app.each((id) => `blend:${id},${this.blend.value}`, { blend: this.blend.value }));
    const set = (value, done) => {
      const opacity = Math.min(100, Math.max(0, Number(value) || 0)) / 100;
      this.range.value = this.number.value = Math.round(opacity * 100);
      if (done) app.each((id) => `opacity:${id},${opacity}`, { opacity });
      else app.preview({ opacity });
    };
    this.range.addEventListener("input", () => set(this.range.value, false));
    this.range.addEventListener("change", () => set(this.range.value, true));
    this.number.addEventListener("change", () => set(this.number.value, true));
  }

  id(event) {
    return event.target.closest(".row")?.dataset.id;
  }

  // Rows as they stand: top first, folded groups closed.
  rows() {
    const found = [];
    const visit = (nodes, level, shown) => {
      for (const node of [...nodes].reverse()) {
        found.push({ node, level, shown });
        if (node.kind === "group" && !this.folded.has(node.id)) visit(node.layers, level + 1, shown && node.visible);
      }
    };
    if (this.app.view && this.app.tasks.task !== "generate") visit(this.app.view.layers, 1, true);
    return found;
  }

  render() {
    if (this.tree.querySelector("input.renaming")) return;
    const focused = document.activeElement?.closest?.(".row")?.dataset.id, within = this.tree.contains(document.activeElement);
    const { selection, solo } = this.app;
    const rows = this.rows(), last = [...selection].at(-1) ?? rows[0]?.node.id;
    this.tree.replaceChildren(...rows.map(({ node, level, shown }) => this.row(node, level, shown, selection, solo, last)));
    if (!rows.length) {
      const hint = this.tree.appendChild(document.createElement("p"));
      hint.className = "hint";
      hint.textContent = this.app.tasks.task === "generate" ? "The layers of the new picture will be here." : "No layers yet. Open a picture, or make one from text.";
    }
    if (within && focused) this.tree.querySelector(`[data-id="${focused}"]`)?.focus({ preventScroll: true });
    this.properties();
  }

  // Show another selection in the rows that stand: a double click must find the same row twice.
  mark() {
    const { selection } = this.app, rows = [...this.tree.querySelectorAll(".row")];
    const last = [...selection].at(-1) ?? rows[0]?.dataset.id;
    for (const row of rows) {
      row.classList.toggle("selected", selection.has(row.dataset.id));
      row.setAttribute("aria-selected", selection.has(row.dataset.id));
      row.tabIndex = row.dataset.id === last ? 0 : -1;
    }
    this.properties();
  }

  row(node, level, shown, selection, solo, last) {
    const row = document.createElement("div"), group = node.kind === "group", chosen = selection.has(node.id);
    row.className = `row${chosen ? " selected" : ""}${shown && node.visible ? "" : " dim"}${node.clipping ? " clipped" : ""}`;
    row.dataset.id = node.id;
    row.draggable = true;
    row.tabIndex = node.id === last ? 0 : -1;
    row.style.setProperty("--level", level - 1);
    const attributes = { role: "treeitem", "aria-level": level, "aria-selected": chosen, "aria-label": node.name };
    if (group) attributes["aria-expanded"] = !this.folded.has(node.id);
    for (const [key, value] of Object.entries(attributes)) row.setAttribute(key, value);
    const toggle = (name, what, label, on) =>
      `<button type="button" class="toggle${on ? " on" : ""}" tabindex="-1" data-toggle="${what}" aria-label="${label}" aria-pressed="${on}" title="${label}">${icon(name)}</button>`;
    row.innerHTML = `
      ${toggle(node.visible ? "eye" : "hidden", "visible", node.visible ? "Hide" : "Show", node.visible)}
      <span class="indent"></span>
      ${group ? `<button type="button" class="fold" tabindex="-1" data-toggle="fold" aria-label="Fold">${icon("fold")}</button>` : ""}
      <span class="thumb">${group ? icon("group") : ""}</span>
      <span class="label"><span class="name"></span><span class="detail"></span></span>
      ${node.mask ? `<span class="mark" title="Has a mask">${icon("mask")}</span>` : ""}
      ${toggle("solo", "solo", "Solo", solo.has(node.id))}
      ${toggle(node.locked ? "lock" : "unlocked", "locked", node.locked ? "Unlock" : "Lock", node.locked)}`;
    row.querySelector(".name").textContent = node.name;
    row.querySelector(".name").title = node.prompt && node.prompt !== node.name ? `${node.name}: ${node.prompt}` : node.name;
    const words = [];
    if (node.blend !== "normal" && node.blend !== "pass-through") words.push(node.blend.replace(/-/g, " "));
    if (node.opacity < 1) words.push(`${Math.round(node.opacity * 100)} %`);
    row.querySelector(".detail").textContent = words.join(" · ");
    if (!group) row.querySelector(".thumb").append(this.thumb(node.pixels));
    return row;
  }

  thumb(pixels) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = THUMB.map((side) => side * 2);
    const source = this.small(pixels);
    if (source) {
      const scale = Math.min(canvas.width / source.width, canvas.height / source.height, 4);
      const [w, h] = [source.width * scale, source.height * scale];
      canvas.getContext("2d").drawImage(source, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
    }
    return canvas;
  }

  // A picture of at most 160 pixels a side, made once per content.
  small(pixels) {
    const bytes = this.app.pixels.lookup(pixels.digest);
    if (!bytes) return null;
    if (!thumbs.has(pixels.digest)) {
      const step = Math.max(1, Math.ceil(Math.max(pixels.width, pixels.height) / 160));
      const width = Math.ceil(pixels.width / step), height = Math.ceil(pixels.height / step);
      const data = new Uint32Array(width * height), from = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
      for (let y = 0, k = 0; y < height; y++) {
        for (let x = 0; x < width; x++) data[k++] = from[y * step * pixels.width + x * step];
      }
      const canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(data.buffer), width), 0, 0);
      if (thumbs.size > 400) thumbs.delete(thumbs.keys().next().value);
      thumbs.set(pixels.digest, canvas);
    }
    return thumbs.get(pixels.digest);
  }

  properties() {
    const { app } = this, node = app.selected(), off = !node || node.locked;
    this.blend.disabled = this.range.disabled = this.number.disabled = off;
    const modes = app.session.blend_modes.filter((mode) => mode !== "pass-through" || node?.kind === "group");
    if (this.blend.options.length !== modes.length) {
      this.blend.replaceChildren(...modes.map((mode) => new Option(mode[0].toUpperCase() + mode.slice(1).replace(/-/g, " "), mode)));
    }
    this.blend.value = node?.blend ?? "normal";
    if (document.activeElement !== this.range) this.range.value = Math.round((node?.opacity ?? 1) * 100);
    if (document.activeElement !== this.number) this.number.value = this.range.value;
    for (const element of this.pane.querySelectorAll(".actions [data-action]")) {
      const action = element.dataset.action, one = app.selection.size === 1;
      const many = action === "group" || action === "delete" || action === "duplicate";
      const model = action === "split" || action === "again" || action === "behind";
      element.disabled = !node || (!one && !many) || (node.locked && action !== "group" && action !== "duplicate" && action !== "behind")
        || (action === "ungroup" && node.kind !== "group") || (model && app.job !== null)
        || (node.kind === "group" && (action === "split" || action === "again"));
    }
  }

  click(event) {
    const id = this.id(event), toggle = event.target.closest("[data-toggle]")?.dataset.toggle, { app } = this;
    if (!id || event.target.closest("input")) return;
    const { node } = find(app.view, id);
    if (toggle === "fold") {
      if (!this.folded.delete(id)) this.folded.add(id);
      this.render();
    } else if (toggle === "visible") app.toggleVisible(node);
    else if (toggle === "locked") app.edit([`${node.locked ? "unlock" : "lock"}:${id}`], new Set([id]), { locked: !node.locked });
    else if (toggle === "solo") app.toggleSolo(id);
    else if (event.ctrlKey || event.metaKey) {
      const chosen = new Set(app.selection);
      if (!chosen.delete(id)) chosen.add(id);
      app.select([...chosen]);
    } else if (event.shiftKey && app.selection.size) {
      const ids = this.rows().map((row) => row.node.id), a = ids.indexOf([...app.selection][0]), b = ids.indexOf(id);
      app.select(ids.slice(Math.min(a, b), Math.max(a, b) + 1));
    } else app.select([id]);
    if (!toggle) this.focus(id);
  }

  focus(id) {
    this.tree.querySelector(`[data-id="${id}"]`)?.focus({ preventScroll: true });
  }

  key(event) {
    const id = this.id(event);
    if (!id || event.target.matches("input") || event.ctrlKey || event.metaKey) return;
    const ids = this.rows().map((row) => row.node.id), at = ids.indexOf(id);
    const go = (index) => {
      const next = ids[Math.min(ids.length - 1, Math.max(0, index))];
      this.app.select([next]);
      this.focus(next);
    };
    const node = find(this.app.view, id).node;
    const keys = {
      ArrowUp: () => go(at - 1), ArrowDown: () => go(at + 1), Home: () => go(0), End: () => go(ids.length - 1),
      ArrowLeft: () => node.kind === "group" && (this.folded.add(id), this.render()),
      ArrowRight: () => (this.folded.delete(id), this.render()),
      F2: () => this.rename(id), Enter: () => this.rename(id), " ": () => this.app.toggleVisible(node),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }

  rename(id) {
    const node = id && find(this.app.view, id)?.node, label = this.tree.querySelector(`[data-id="${id}"] .name`);
    if (!node || node.locked || !label) return;
    const input = document.createElement("input");
    input.className = "renaming";
    input.value = node.name;
    input.maxLength = 255;
    input.setAttribute("aria-label", "New name");
    label.replaceWith(input);
    input.select();
    let done = false;
    const finish = (keep) => {
      if (done) return;
      done = true;
      const name = input.value.trim();
      input.remove();
      if (keep && name && name !== node.name) this.app.edit([`rename:${id},${name}`], new Set([id]), { name });
      else this.render();
      this.focus(id);
    };
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (event.key === "Enter" && !event.isComposing) finish(true);
      if (event.key === "Escape") finish(false);
    });
    input.addEventListener("blur", () => finish(true));
    input.focus();
  }

  // -- drag to reorder

  dragstart(event) {
    this.dragged = this.id(event);
    event.dataTransfer.effectAllowed = "move";
    event.dataTransfer.setData("text/plain", this.dragged);
  }

  // Where a drop lands: in the upper part of a row above it, in the lower below it, in the middle of a group inside.
  target(event) {
    const row = event.target.closest(".row");
    if (!row || !this.dragged || row.dataset.id === this.dragged) return null;
    const entry = find(this.app.view, row.dataset.id), frame = row.getBoundingClientRect();
    const place = (event.clientY - frame.top) / frame.height;
    if (entry.node.kind === "group" && place > 0.25 && (place < 0.75 || !this.folded.has(entry.node.id))) {
      return { row, mode: "into", parent: entry.node.id, index: entry.node.layers.length };
    }
    const above = place < 0.5;
    return { row, mode: above ? "above" : "below", parent: entry.parent?.id ?? null, index: entry.index + (above ? 1 : 0) };
  }

  dragover(event) {
    const target = this.target(event);
    this.dragleave();
    if (!target) return;
    event.preventDefault();
    target.row.classList.add(`drop-${target.mode}`);
  }

  dragleave() {
    for (const row of this.tree.querySelectorAll(".row")) row.classList.remove("drop-above", "drop-below", "drop-into");
  }

  drop(event) {
    const target = this.target(event);
    this.dragleave();
    if (!target) return;
    event.preventDefault();
    event.stopPropagation();
    this.app.place(this.dragged, target.parent, target.index);
  }

  dragend() {
    this.dragged = null;
    this.dragleave();
  }
}

// What "up" and "down" mean for a node: its new index among its siblings.
export function neighbour(view, id, step) {
  const entry = find(view, id), to = entry ? entry.index + step : -1;
  return entry && to >= 0 && to < entry.siblings.length ? to : null;
}

export const count = (view) => [...walk(view.layers)].filter(({ node }) => node.kind === "layer").length;
