// The layer panel: one row per layer, top to bottom, and the properties of the selected ones.
import { free } from "./arrange.js";
import { icon } from "./icons.js";
import { RowDrag } from "./rowdrag.js";
import { thumb } from "./thumbs.js";
import { find, walk } from "./tree.js";

const REST_MS = 350;
const STEPS = new Set(["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "PageUp", "PageDown", "Home", "End"]);

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
    this.drag = new RowDrag(app, this.tree, this.folded);
    this.anchor = this.renaming = this.seen = null;
    // What is under a pressed pointer must stay the same element, or its click is lost.
    this.pressed = this.stepped = null;
    this.pane.addEventListener("pointerdown", (event) => (this.pressed = event.target));
    for (const name of ["pointerup", "pointercancel", "dragend"]) {
      document.addEventListener(name, () => this.pressed && !this.drag.ids.length && this.released());
    }
    this.blend.addEventListener("change", () => app.each((id) => `blend:${id},${this.blend.value}`, { blend: this.blend.value }));
    const set = (value, done) => {
      if (value === "") return this.properties();
      const opacity = Math.min(100, Math.max(0, Number(value) || 0)) / 100;
      this.range.value = this.number.value = Math.round(opacity * 100);
      if (done) app.each((id) => `opacity:${id},${opacity}`, { opacity });
      else app.preview({ opacity });
    };
    this.range.addEventListener("input", () => set(this.range.value, false));
    // Steps by keys are one step of undo: told when they come to rest, or when something else begins.
    let stepping = false, timer = 0;
    const tell = () => {
      clearTimeout(timer);
      if (this.stepped !== null) set(this.stepped, true);
      this.stepped = null;
    };
    this.range.addEventListener("pointerdown", () => {
      stepping = false;
      tell();
    });
    this.range.addEventListener("blur", tell);
    this.range.addEventListener("keydown", (event) => {
      stepping = STEPS.has(event.key);
      if (!stepping) tell();
    });
    this.range.addEventListener("change", () => {
      if (!stepping) return set(this.range.value, true);
      this.stepped = this.range.value;
      clearTimeout(timer);
      timer = setTimeout(tell, REST_MS);
    });
    this.number.addEventListener("change", () => {
      this.typing = false;
      set(this.number.value, true);
      // Enter leaves the field; what steps the number goes on at the slider, so that keys and undo are the document's again.
      setTimeout(() => document.activeElement === this.number && this.range.focus());
    });
    this.number.addEventListener("input", () => (this.typing = true));
    this.number.addEventListener("blur", () => {
      this.typing = false;
      this.properties();
    });
    this.number.addEventListener("keydown", (event) => event.key === "Enter" && this.number.blur());
  }

  id(event) {
    return event.target.closest(".row")?.dataset.id;
  }

  // Rows as they stand: top first, folded groups closed.
  rows() {
    const found = [];
    const visit = (nodes, level, shown) => {
      for (const [index, node] of [...nodes].reverse().entries()) {
        found.push({ node, level, shown, place: index + 1, of: nodes.length });
        if (node.kind === "group" && !this.folded.has(node.id)) visit(node.layers, level + 1, shown && node.visible);
      }
    };
    if (this.app.view && this.app.tasks.task !== "generate") visit(this.app.view.layers, 1, true);
    return found;
  }

  // The click is still to come, and a double click after it.
  released() {
    this.pressed = null;
    setTimeout(() => (this.stale ? this.render() : this.properties()));
  }

  render() {
    this.stale = this.tree.contains(this.pressed);
    if (this.stale) return this.properties();
    this.reveal();
    // Who writes a name goes on while its layer is there; the rows are drawn anew afterwards.
    const written = this.renaming, rows = this.rows();
    if (written && rows.length && find(this.app.view, written)) return this.properties();
    this.renaming = null;
    const focused = document.activeElement?.closest?.(".row")?.dataset.id, within = this.tree.contains(document.activeElement);
    const { selection, solo } = this.app, before = [...this.tree.querySelectorAll(".row")].map((row) => row.dataset.id);
    const last = [...selection].at(-1) ?? rows[0]?.node.id;
    this.tree.replaceChildren(...rows.map((entry) => this.row(entry, selection, solo, last)));
    if (!rows.length) {
      const hint = this.tree.appendChild(document.createElement("p"));
      hint.className = "hint";
      hint.textContent = this.app.tasks.task === "generate" ? "The layers of the new picture will be here." : "No layers yet. Open a picture, or make one from text.";
    }
    if (within && written) this.catchTyping();
    else if (within && focused) {
      // Of a row that is gone the focus goes to the next below, else above.
      const at = before.indexOf(focused), near = [...before.slice(at), ...before.slice(0, at).reverse()];
      const id = near.find((one) => rows.some(({ node }) => node.id === one));
      if (id === focused) this.tree.querySelector(`[data-id="${id}"]`).focus({ preventScroll: true });
      else this.focus(id);
    }
    this.show();
    this.properties();
  }

  // The name that is being written has lost its layer: the letters still to come are no commands.
  catchTyping() {
    this.tree.tabIndex = -1;
    this.tree.addEventListener("blur", () => this.tree.removeAttribute("tabindex"), { once: true });
    this.tree.focus({ preventScroll: true });
  }

  // Nothing selected is out of sight: the groups around it are open. Whether one had to be opened.
  reveal() {
    const { selection, view } = this.app, before = this.folded.size;
    for (const id of this.folded.size && view ? selection : []) {
      for (let { parent } = find(view, id) ?? {}; parent; { parent } = find(view, parent.id)) this.folded.delete(parent.id);
    }
    return this.folded.size < before;
  }

  // What was selected elsewhere is scrolled into sight once; who scrolls on is left alone.
  show() {
    const last = [...this.app.selection].at(-1) ?? null;
    if (last !== this.seen) this.tree.querySelector(`[data-id="${last}"]`)?.scrollIntoView({ block: "nearest" });
    this.seen = last;
  }

  // Fold a group or open it. A folded one stands for what is selected inside.
  fold(id, on) {
    const { app } = this, inside = new Set([...walk(find(app.view, id).node.layers)].map(({ node }) => node.id));
    if (on) this.folded.add(id);
    else this.folded.delete(id);
    const kept = [...app.selection].filter((one) => one !== id && !inside.has(one));
    if (on && [...app.selection].some((one) => inside.has(one))) app.select([...kept, id]);
    if (on && inside.has(document.activeElement?.closest?.(".row")?.dataset.id)) this.focus(id);
    this.render();
  }

  // Whether all of these are locked, which is then said: a key that does nothing leaves people guessing.
  refused(ids = this.app.selection) {
    const { app } = this, [id] = ids;
    if (!app.view || !id || free(app.view, ids).size) return false;
    let { node, parent } = find(app.view, id) ?? {};
    if (!node) return false;
    const name = `“${node.name}”`;
    if (ids.size > 1) app.toast("All that is selected is locked: unlock it first.");
    else if (node.locked) app.toast(`${name} is locked: unlock it first (L).`);
    else {
      while (!parent.locked) ({ parent } = find(app.view, parent.id));
      app.toast(`${name} is in “${parent.name}”, which is locked: unlock that first.`);
    }
    return true;
  }

  // Show another selection in the rows that stand: a double click must find the same row twice.
  mark() {
    if (this.reveal()) this.render();
    const { selection } = this.app, rows = [...this.tree.querySelectorAll(".row")];
    const last = [...selection].at(-1) ?? rows[0]?.dataset.id;
    for (const row of rows) {
      row.classList.toggle("selected", selection.has(row.dataset.id));
      row.setAttribute("aria-selected", selection.has(row.dataset.id));
      row.tabIndex = row.dataset.id === last ? 0 : -1;
    }
    if (!selection.has(this.anchor)) this.anchor = last ?? null;
    this.show();
    this.properties();
  }

  row({ node, level, shown, place, of }, selection, solo, last) {
    const row = document.createElement("div"), group = node.kind === "group", chosen = selection.has(node.id);
    row.className = `row${chosen ? " selected" : ""}${shown && node.visible ? "" : " dim"}${node.clipping ? " clipped" : ""}`;
    row.dataset.id = node.id;
    row.draggable = true;
    row.tabIndex = node.id === last ? 0 : -1;
    row.style.setProperty("--level", level - 1);
    const attributes = { role: "treeitem", "aria-level": level, "aria-posinset": place, "aria-setsize": of, "aria-selected": chosen, "aria-label": node.name };
    if (group) attributes["aria-expanded"] = !this.folded.has(node.id);
    const words = [];
    if (node.blend !== "normal" && node.blend !== "pass-through") words.push(node.blend.replace(/-/g, " "));
    if (node.opacity < 1) words.push(`${Math.round(node.opacity * 100)} %`);
    // What eyes see in the row, in words.
    const signs = {
      hidden: !node.visible, "in a hidden group": !shown, locked: node.locked, clipped: node.clipping, "has a mask": node.mask,
    };
    const said = [...Object.keys(signs).filter((sign) => signs[sign]), ...[...words].reverse()].join(", ");
    if (said) attributes["aria-description"] = said;
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
    row.querySelector(".detail").textContent = words.join(" · ");
    if (!group) row.querySelector(".thumb").append(thumb(node.pixels, this.app.pixels));
    return row;
  }

  properties() {
    const { app } = this, node = app.selected(), off = !node || !free(app.view, app.selection).size;
    this.blend.disabled = this.range.disabled = this.number.disabled = off;
    // Only groups pass through; where one is among layers its mode is shown, not offered.
    const groups = node && [...app.selection].every((id) => find(app.view, id)?.node.kind === "group");
    const modes = app.session.blend_modes.filter((mode) => mode !== "pass-through" || groups || node?.blend === mode);
    if (this.blend.options.length !== modes.length) {
      this.blend.replaceChildren(...modes.map((mode) => new Option(mode[0].toUpperCase() + mode.slice(1).replace(/-/g, " "), mode)));
    }
    for (const option of this.blend.options) option.hidden = option.disabled = option.value === "pass-through" && !groups;
    this.blend.value = node?.blend ?? "normal";
    if (this.pressed !== this.range && this.stepped === null) this.range.value = Math.round((node?.opacity ?? 1) * 100);
    if (!this.typing) this.number.value = this.range.value;
    for (const element of this.pane.querySelectorAll(".actions [data-action]")) {
      const action = element.dataset.action, one = app.selection.size === 1;
      const many = ["group", "delete", "duplicate", "up", "down"].includes(action);
      const model = action === "split" || action === "again" || action === "behind";
      element.disabled = !node || (!one && !many) || (off && action !== "group" && action !== "duplicate" && action !== "behind")
        || (action === "ungroup" && node.kind !== "group") || (model && app.job !== null)
        || (node.kind === "group" && (action === "split" || action === "again"));
    }
  }

  click(event) {
    const id = this.id(event), toggle = event.target.closest("[data-toggle]")?.dataset.toggle, { app } = this;
    const node = id && find(app.view, id)?.node;
    if (!node || event.target.closest("input")) return;
    if (toggle === "fold") this.fold(id, !this.folded.has(id));
    else if (toggle === "visible") this.refused(new Set([id])) || app.toggleVisible(node);
    else if (toggle === "locked") app.edit([`${node.locked ? "unlock" : "lock"}:${id}`], new Set([id]), { locked: !node.locked });
    else if (toggle === "solo") app.toggleSolo(id);
    else if (event.ctrlKey || event.metaKey) this.choose(id);
    else if (event.shiftKey && app.selection.size) this.extend(id);
    else app.select([id]);
    if (!toggle) this.focus(id);
  }

  // Take a row into the selection, or out of it.
  choose(id) {
    const chosen = new Set(this.app.selection);
    if (!chosen.delete(id)) chosen.add(id);
    this.anchor = id;
    this.app.select([...chosen]);
  }

  // Select from where the selection began to this row, which comes last and so is the one whose properties show.
  extend(id) {
    const ids = this.rows().map((row) => row.node.id), from = Math.max(0, ids.indexOf(this.anchor)), to = ids.indexOf(id);
    const between = ids.slice(Math.min(from, to), Math.max(from, to) + 1);
    this.app.select(from > to ? between.reverse() : between);
  }

  focus(id) {
    const row = this.tree.querySelector(`[data-id="${id}"]`);
    if (!row) return;
    for (const other of this.tree.querySelectorAll("[tabindex='0']")) other.tabIndex = -1;
    row.tabIndex = 0;
    row.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  // The keys of a tree in which several can be selected, as screen readers announce them; Alt moves what is selected.
  key(event) {
    const id = this.id(event), { app } = this, control = event.ctrlKey || event.metaKey;
    if (event.target === this.tree && !control && !["Tab", "Escape"].includes(event.key)) {
      event.stopPropagation();
      if (event.key.startsWith("Arrow")) this.focus(this.tree.querySelector("[tabindex='0']")?.dataset.id);
    }
    if (!id || event.target.matches("input")) return;
    const ids = this.rows().map((row) => row.node.id), at = ids.indexOf(id), node = find(app.view, id).node;
    const go = (index) => {
      const next = ids[Math.min(ids.length - 1, Math.max(0, index))];
      if (event.shiftKey) this.extend(next);
      else if (!control) app.select([next]);
      this.focus(next);
    };
    const move = (change) => {
      if (!app.selection.has(id)) app.select([id]);
      if (!this.refused()) change();
    };
    const keys = event.altKey ? {
      ArrowUp: () => move(() => app.step(1)), ArrowDown: () => move(() => app.step(-1)),
      ArrowRight: () => move(() => app.intoGroup()), ArrowLeft: () => move(() => app.outOfGroup()),
    } : control ? {
      ArrowUp: () => go(at - 1), ArrowDown: () => go(at + 1), Home: () => go(0), End: () => go(ids.length - 1),
      " ": () => (this.choose(id), this.focus(id)),
    } : {
      ArrowUp: () => go(at - 1), ArrowDown: () => go(at + 1), Home: () => go(0), End: () => go(ids.length - 1),
      ArrowLeft: () => node.kind === "group" && this.fold(id, true),
      ArrowRight: () => node.kind === "group" && this.fold(id, false),
      F2: () => this.rename(id), Enter: () => this.rename(id),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  }

  rename(id) {
    const node = id && find(this.app.view, id)?.node, label = this.tree.querySelector(`[data-id="${id}"] .name`);
    if (!node || !label || this.refused(new Set([id]))) return;
    const input = document.createElement("input");
    input.className = "renaming";
    input.value = node.name;
    input.maxLength = 255;
    input.setAttribute("aria-label", "New name");
    label.replaceWith(input);
    input.select();
    this.renaming = id;
    const finish = (keep) => {
      if (this.renaming !== id) return;  // done, or its layer is gone
      this.renaming = null;
      const name = input.value.trim();
      input.replaceWith(label);
      if (keep && name && name !== node.name && find(this.app.view, id)) {
        label.textContent = name;
        this.app.edit([`rename:${id},${escaped(name)}`], new Set([id]), { name });
      } else this.render();
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
}

// As an operation's last argument: only what stands right before a comma is read otherwise than written.
const escaped = (name) => name.replace(/(\\*),/g, "$1$1\\,");

export const count = (view) => [...walk(view.layers)].filter(({ node }) => node.kind === "layer").length;
