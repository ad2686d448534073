// The studio in the browser: holds the document's view and the selection, sends edits, follows runs.
import * as api from "./api.js";
import { free, movable, placeInside, placeOutside, placed, reordered, stepped } from "./arrange.js";
import { Boxes } from "./boxes.js";
import { Documents } from "./documents.js";
import { Gestures } from "./gestures.js";
import { keys } from "./keys.js";
import { page } from "./page.js";
import { Panel } from "./panel.js";
import { Runs } from "./runs.js";
import { Stage } from "./stage.js";
import { Status } from "./status.js";
import { Tasks } from "./tasks.js";
import { digests, find, mapped, moved, outermost, walk } from "./tree.js";

export async function start(root) {
  root.dataset.theme = localStorage.getItem("acetate-theme")
    ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  root.innerHTML = page();
  const session = await api.call("session").catch((error) => ({ error: error.message }));
  if (session.error) {
    root.querySelector(".empty").textContent = session.error;
    return;
  }
  const app = new App(root, session);
  window.acetate = app;
  await app.restore();
  root.dataset.ready = "true";
}

class App {
  constructor(root, session) {
    this.root = root;
    this.session = session;
    this.view = null;
    this.selection = new Set();
    this.solo = new Set();
    this.boxes = new Boxes(this);
    this.tool = "move";
    this.job = null;
    this.pending = 0;
    this.queue = Promise.resolve();
    this.pixels = new api.Pixels();
    this.stage = new Stage(root.querySelector(".viewport"), this.pixels);
    this.gestures = new Gestures(this);
    const draw = this.stage.onView;
    this.stage.onView = () => {
      draw();
      this.status?.zoom(this.stage.zoom);
      this.status?.place();
      this.placeSplit();
    };
    this.tasks = new Tasks(this);
    this.panel = new Panel(this);
    this.status = new Status(this);
    this.documents = new Documents(this);
    this.runs = new Runs(this);
    keys(this);
  }

  async restore() {
    this.documents.list();
    const kept = sessionStorage.getItem("acetate-document");
    const known = this.session.documents.find(({ id }) => id === kept) ?? this.session.documents[0];
    if (known) await this.documents.choose(known.id);
    else this.changed("document");
    if (this.session.job) this.runs.watch(this.session.job);
  }

  // -- the document

  // Show a document as the server sees it. Unless it was chosen, only the one shown: late answers come for one just left.
  async setView(view, chosen = false) {
    const other = this.view?.id !== view.id;
    if (other && !chosen) return;
    this.newest = view;
    await this.pixels.load(view.id, digests(view));
    if (this.newest !== view) return;
    if (other) {
      if (this.view) this.gestures.flush();
      this.selection.clear();
      this.solo.clear();
      this.stage.clear();
    } else this.selectAdded(view);
    this.view = this.served = view;
    if (other) {
      sessionStorage.setItem("acetate-document", view.id);
      this.tasks.opened();
      this.setTool(this.tasks.task === "lift" ? "region" : "move");
      this.documents.list();
    }
    this.forget();
    this.stage.showBefore(view.source, this.pixels.lookup);
    this.changed("document");
  }

  // What is gone is no longer selected.
  forget() {
    const known = (id) => find(this.view, id) !== null;
    this.selection = new Set([...this.selection].filter(known));
    this.solo = new Set([...this.solo].filter(known));
  }

  // What an edit or a run has added is what one goes on with; nothing where all is new.
  selectAdded(view) {
    const ids = ({ layers }) => [...walk(layers)].map(({ node }) => node.id), before = new Set(ids(this.view));
    const added = outermost(view, new Set(ids(view).filter((id) => !before.has(id))));
    if (added.length && (added.length === 1 || added.length < view.layers.length)) this.selection = new Set(added);
  }

  // Ask the server in order; only the last answer of several is shown, so that nothing flickers back.
  // Where the server cannot be reached the page goes back to what it had last: nothing may look done that is not.
  request(name, ...args) {
    this.pending++;
    this.status.last = "";
    this.queue = this.queue.then(async () => {
      try {
        const view = await api.call(name, ...args);
        if (view.id === this.view?.id) this.served = view;
        if (this.pending === 1) await this.setView(view);
        return view;
      } catch (error) {
        this.toast(error.message);
        if (this.view) {
          await api.call("document", this.view.id).then((view) => this.setView(view)).catch(async (again) => {
            if (again.message !== error.message) this.toast(again.message);
            if (again instanceof api.Silent) await this.takeBack();
            await this.documents.refresh();
          });
        }
        return null;
      } finally {
        this.pending--;
      }
    });
    return this.queue;
  }

  async takeBack() {
    if (this.served?.id !== this.view?.id) return;
    await this.setView(this.served).catch((error) => this.toast(error.message));
    this.status.last = "Not changed: the server does not answer";
    this.status.render();
  }

  // Change the shown document at once; the server is told by the caller.
  local(ids, change) {
    this.view = { ...this.view, layers: mapped(this.view.layers, ids, change) };
    this.forget();
    this.changed("document");
  }

  // Operations of `acetate edit`, as one step of undo; properties given are shown before the server answers.
  edit(operations, ids = null, properties = null) {
    if (this.documents.strayed()) return this.changed("document");
    this.gestures.flush();
    if (properties) this.local(ids, (node) => ({ ...node, ...properties }));
    return this.request("edit", this.view.id, operations);
  }

  // An operation on everything that is selected and may be changed.
  each(operation, properties, ids = free(this.view, this.selection)) {
    if (ids.size) this.edit([...ids].map(operation), ids, properties);
  }

  preview(properties) {
    this.local(free(this.view, this.selection), (node) => ({ ...node, ...properties }));
  }

  moveNodes(ids, dx, dy) {
    if (this.documents.strayed()) return this.changed("document");
    this.local(new Set(ids), (node) => moved(node, dx, dy));
    return this.request("edit", this.view.id, ids.map((id) => `move:${id},${dx},${dy}`));
  }

  // Nodes (outermost, bottom to top) to another place in the tree, together and in their order: one step of undo.
  place(ids, parent, index) {
    this.gestures.flush();
    const group = parent && find(this.view, parent).node.name, what = ids.length === 1 ? find(this.view, ids[0]).node.name : `${ids.length} layers`;
    const told = this.request("place", this.view.id, ids, parent, index);
    this.view = { ...this.view, layers: placed(this.view.layers, ids, parent, index) };
    this.status.last = group ? `Moved ${what} into ${group}` : `Moved ${what}`;
    this.changed("document");
    return told;
  }

  step(direction) {
    const moves = this.view ? stepped(this.view, this.selection, direction) : [];
    if (!moves.length) return;
    this.edit(moves.map(([id, to]) => `reorder:${id},${to}`));
    this.view = { ...this.view, layers: reordered(this.view.layers, moves) };
    this.changed("document");
  }

  remove() {
    const ids = movable(this.view, this.selection);
    this.edit(ids.map((id) => `delete:${id}`));
    this.local(new Set(ids), () => null);
  }

  intoGroup() {
    const ids = movable(this.view, this.selection), to = placeInside(this.view, ids);
    if (!to) return this.toast("There is no group right above or below to go into.");
    this.panel.folded.delete(to.parent);
    return this.place(ids, to.parent, to.index);
  }

  outOfGroup() {
    const ids = movable(this.view, this.selection), to = placeOutside(this.view, ids);
    if (to) this.place(ids, to.parent, to.index);
  }

  toggleVisible(node) {
    this.edit([`${node.visible ? "hide" : "show"}:${node.id}`], new Set([node.id]), { visible: !node.visible });
  }

  // A property of everything that is selected, turned from what the shown one has.
  toggleAll(property, on, off) {
    const value = !this.selected()[property];
    const ids = property === "locked" ? this.selection : undefined;
    this.each((id) => `${value ? on : off}:${id}`, { [property]: value }, ids);
  }

  toggleSolo(id) {
    if (!this.solo.delete(id)) this.solo.add(id);
    this.changed("document");
  }

  // On the empty canvas it is the boxes that change, not the document behind it.
  undo() {
    this.gestures.flush();
    if (this.tasks.task === "generate") this.boxes.undo();
    else if (this.view) this.request("undo", this.view.id);
  }

  redo() {
    this.gestures.flush();
    if (this.tasks.task === "generate") this.boxes.redo();
    else if (this.view) this.request("redo", this.view.id);
  }

  selected() {
    const id = [...this.selection].at(-1);
    return id && this.view ? find(this.view, id)?.node ?? null : null;
  }

  select(ids) {
    this.selection = new Set(ids);
    this.panel.mark();
    this.gestures.draw();
  }

  openFile(file) {
    return this.documents.file(file);
  }

  openExample(name) {
    return this.documents.example(name);
  }

  closeDocument() {
    return this.documents.close();
  }

  export() {
    if (!this.view) return null;
    this.gestures.flush();
    const format = this.root.querySelector("select.format").value;
    this.status.say(`Writing ${format.toUpperCase()} …`);
    return this.queue.then(() => api.download(this.view.id, format)).catch((error) => this.toast(error.message))
      .finally(() => this.status.render());
  }

  // -- regions

  get regions() {
    return this.boxes.list;
  }

  addRegion(box) {
    if (this.tasks.task === "decompose") this.tasks.choose(this.view ? "add" : "generate");
    if (this.tasks.task === "result") this.tasks.choose("generate");
    if (!this.tasks.boxed) return this.toast("A background takes the whole canvas: choose another place to give it a box.");
    const fresh = { box, prompt: "" }, several = this.tasks.tab === "generate";
    this.boxes.change(() => { this.boxes.list = several ? [...this.regions, fresh] : [fresh]; });
    this.root.querySelector(`.regions li[data-index="${this.regions.length - 1}"] input:not([hidden])`)?.focus();
  }

  taskChanged() {
    if (this.tasks.task === "generate") this.selection.clear();
    this.setTool(this.tasks.task === "generate" || this.tasks.task === "lift" ? "region" : "move");
    this.changed("document");
  }

  setTool(tool) {
    if (tool === "region" && this.tasks.task === "result") return this.tasks.choose("generate");
    if (tool === "region" && this.comparing) this.compare(false);  // its slider lies over the picture
    this.tool = tool;
    for (const name of ["move", "region"]) {
      this.root.querySelector(`[data-action="tool-${name}"]`).setAttribute("aria-checked", name === tool);
    }
    this.stage.viewport.dataset.tool = tool;
    this.gestures.draw();
  }

  // An empty canvas of the asked size, to draw boxes on before there is a picture.
  showArtboard() {
    this.tasks.made = null;
    this.changed("document");
  }

  // -- runs

  run(name, args) {
    return this.runs.start(name, args);
  }

  cancel() {
    this.runs.cancel();
  }

  // -- what is shown

  changed(what) {
    if (what === "document") {
      const artboard = this.tasks.task === "generate";
      const empty = this.root.querySelector(".empty");
      empty.hidden = Boolean(this.view) || artboard;
      if (artboard) this.stage.show(...this.tasks.size, []);
      else if (this.view) this.stage.show(this.view.width, this.view.height, this.view.layers, this.solo);
      this.stage.sheet.hidden = !artboard && !this.view;
      this.compare(this.comparing && Boolean(this.view?.source) && !artboard);
      this.panel.render();
    }
    if (what === "job") this.panel.properties();
    this.tasks.render();
    this.status.render();
    this.gestures.draw();
  }

  compare(on) {
    const { root, stage } = this;
    if (on && this.tool === "region") this.setTool("move");
    this.comparing = on;
    for (const element of root.querySelectorAll(".split, .side")) element.hidden = !on;
    root.querySelector('[data-action="compare"]').setAttribute("aria-pressed", on);
    stage.before.hidden = !on;
    this.placeSplit();
    this.gestures.draw();
  }

  placeSplit() {
    const split = this.root.querySelector(".split"), { stage } = this;
    if (!this.comparing || !stage.size) return;
    const [x0, y0] = stage.toViewport(0, 0), [x1, y1] = stage.toViewport(...stage.size);
    const share = split.value / 1000;
    // Half a knob wider on each side: its middle is where the pictures meet.
    Object.assign(split.style, { left: `${x0 - 13}px`, width: `${x1 - x0 + 26}px`, top: `${y0}px`, height: `${y1 - y0}px` });
    split.style.setProperty("--at", share);
    stage.before.style.clipPath = `inset(0 ${(1 - share) * 100}% 0 0)`;
  }

  toast(text) {
    this.status.toast(text);
  }
}
