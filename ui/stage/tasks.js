// The task pane: what to do, in which words, with which model. Knows the form; the app starts the run.
import { LayerNames } from "./names.js";
import { boxText, hue, parsedBox } from "./regions.js";

const TASKS = { decompose: "Image to layers", generate: "Text to layers", add: "Add or replace", lift: "Lift an object" };
const RUNS = { decompose: "Take apart", generate: "Make the picture", add: "Make the layer", lift: "Lift the object" };
// What each task asks of the model, in the words of the command line.
const COMMANDS = { decompose: "decompose", generate: "generate", add: "complete", lift: "extract" };
const QUALITY = { draft: 0.4, standard: 1, fine: 2 };
const IDEAS = ["a red circle on a blue sky", "a yellow star over a green field", "a fish and a boat on the sea"];

const form = `
<div class="tabs" role="tablist" aria-label="Task">${Object.entries(TASKS).map(([key, title]) =>
  `<button type="button" role="tab" data-task="${key}" aria-selected="false" tabindex="-1">${title}</button>`).join("")}</div>
<form class="fields" novalidate role="tabpanel" aria-label="Settings of the task" autocomplete="off">
  <p class="lead"></p>
  <label class="field for-generate for-add for-decompose"><span class="prompt-label">Prompt</span>
    <textarea name="prompt" rows="3" maxlength="2000"></textarea></label>
  <div class="ideas for-generate" role="group" aria-label="Ideas">${IDEAS.map((idea) => `<button type="button" data-idea>${idea}</button>`).join("")}</div>
  <div class="field for-decompose for-generate"><span id="layers-label">Layers, background included</span>
    <span class="stepper"><input type="range" name="layers-range" min="1" max="8" value="4" aria-label="Layers">
    <input type="number" name="layers" min="1" max="20" value="4" aria-label="Number of layers">
    <label class="auto for-decompose"><input type="checkbox" name="auto"> auto</label></span></div>
  <details class="naming for-decompose"><summary>Name the layers</summary>
    <p class="hint"></p><ol></ol></details>
  <fieldset class="regions for-generate for-add for-lift"><legend></legend>
    <p class="hint"></p><ol></ol>
    <button type="button" data-add-layer></button></fieldset>
  <label class="field for-add"><span>Put it</span><select name="where">
    <option value="top">on top of everything</option><option value="above">above the selected layer</option>
    <option value="below">below the selected layer</option><option value="instead">instead of the selected layer</option>
    <option value="bottom">beneath everything, as background</option></select></label>
  <label class="field for-lift"><span>Out of</span><select name="from">
    <option value="picture">the whole picture</option><option value="layer">the selected layer</option></select></label>
  <label class="field"><span>Model</span><select name="model"></select></label>
  <p class="problem" hidden></p>
  <p class="hint caveat for-generate for-add"></p>
  <label class="field"><span>Quality</span><select name="quality">
    <option value="draft">Draft, fastest</option><option value="standard" selected>Standard</option>
    <option value="fine">Fine, slowest</option></select></label>
  <details class="advanced"><summary>Advanced</summary>
    <label class="field line"><span>Steps</span><input type="number" name="steps" min="1" max="1000" placeholder="by quality"></label>
    <label class="field line"><span>Seed</span><input type="number" name="seed" min="0" max="9007199254740991" value="0"></label>
    <label class="field line for-add"><span>The whole picture in words</span><input name="scene" maxlength="2000" placeholder="may stay empty"></label>
    <div class="field line for-generate"><span>Canvas</span><span class="pair">
      <input type="number" name="width" min="16" max="4096" aria-label="Width"> ×
      <input type="number" name="height" min="16" max="4096" aria-label="Height"></span></div>
  </details>
  <button type="submit" class="strong run">Run</button>
  <p class="note"></p>
</form>`;

const LEADS = {
  decompose: "Takes the flattened picture apart into layers that together equal it.",
  generate: "Makes a new layered picture from words.",
  add: "Makes one layer that fits the visible others; those stay as they are.",
  lift: "Takes an object off its background, with the shadow it casts.",
};
const PROMPTS = { decompose: "Prompt (may stay empty)", generate: "Prompt: the whole scene", add: "Prompt: the layer" };
const BOXES = {
  generate: ["Layers above the background, lowest first", "Draw boxes on the stage: each becomes a layer there."],
  add: ["Box", "Draw a box with the box tool (B), or leave the place to the model."],
  lift: ["Box", "Draw a box around the object on the stage. It need not be tight."],
};

export class Tasks {
  constructor(app) {
    this.app = app;
    this.pane = app.root.querySelector(".pane.task");
    this.pane.innerHTML = form;
    this.form = this.pane.querySelector("form");
    this.list = this.pane.querySelector(".regions ol");
    this.names = new LayerNames(this.pane.querySelector(".naming"));
    const { elements } = this.form;
    elements.model.replaceChildren(...app.session.models.map((model) => new Option(model.name, model.name)));
    this.pane.addEventListener("click", (event) => this.click(event));
    this.pane.querySelector(".tabs").addEventListener("keydown", (event) => this.tabKey(event));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    // Enter takes what was typed and stays; it starts nothing.
    this.form.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.isComposing || !event.target.matches("input")) return;
      event.preventDefault();
      event.target.blur();
      event.target.focus({ preventScroll: true });
    });
    this.list.addEventListener("input", (event) => {
      if (!event.target.matches(".words")) return;
      app.regions[event.target.closest("li").dataset.index].prompt = event.target.value;
      app.gestures.draw();
    });
    this.list.addEventListener("change", (event) => event.target.matches(".place") && this.placed(event.target));
    for (const [from, to] of [["layers-range", "layers"], ["layers", "layers-range"]]) {
      elements[from].addEventListener("input", () => {
        elements[to].value = elements[from].value;
        this.names.show(this.layers);
      });
    }
    elements.auto.addEventListener("change", () => this.render());
    elements.model.addEventListener("change", () => this.model());
    for (const name of ["width", "height"]) elements[name].addEventListener("change", () => app.showArtboard());
    elements.where.addEventListener("change", () => app.changed("regions"));
    this.tab = "decompose";
    this.made = null;
    this.model();
  }

  // What the page is about: after "Text to layers" its result is shown, and the form stays to make another.
  get task() {
    return this.tab === "generate" && this.made && this.made === this.app.view?.id ? "result" : this.tab;
  }

  // Whether boxes say anything: a background takes the whole canvas.
  get boxed() {
    return !["decompose", "result"].includes(this.task) && !(this.tab === "add" && this.form.elements.where.value === "bottom");
  }

  // Another document is shown.
  opened() {
    if (this.task === "generate") this.tab = "decompose";
    this.app.boxes.leave();
  }

  get size() {
    const { width, height } = this.form.elements;
    const side = (input) => Math.min(4096, Math.max(16, Math.round(Number(input.value)) || 256));
    return [side(width), side(height)];
  }

  // How many layers "Take apart" and "Split" make; null: as many as it takes.
  get layers() {
    const { auto, layers } = this.form.elements;
    return auto.checked ? null : Math.max(1, Math.round(Number(layers.value)) || 1);
  }

  model() {
    const { elements } = this.form, facts = this.app.session.models.find(({ name }) => name === elements.model.value);
    this.pane.querySelector(".caveat").textContent = facts.caveat;
    elements["layers-range"].max = Math.min(12, facts.max_layers);
    elements.layers.max = facts.max_layers;
    elements.width.value ||= facts.resolution;
    elements.height.value ||= facts.resolution;
    this.facts = facts;
    this.render();
  }

  choose(task) {
    this.tab = task;
    this.made = null;
    if (Number(this.form.elements.layers.value) <= this.app.regions.length) this.fit();
    this.app.taskChanged();
    this.render();
  }

  tabKey(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const keys = Object.keys(TASKS), next = keys[(keys.indexOf(this.tab) + step + keys.length) % keys.length];
    this.choose(next);
    this.pane.querySelector(`[data-task="${next}"]`).focus();
  }

  click(event) {
    const tab = event.target.closest("[data-task]"), action = event.target.closest("[data-region-action]"), { app } = this;
    if (tab) this.choose(tab.dataset.task);
    if (event.target.closest("[data-idea]")) this.form.elements.prompt.value = event.target.textContent;
    if (event.target.closest("[data-add-layer]")) app.addRegion(null);
    if (!action) return;
    const index = Number(action.closest("li").dataset.index);
    app.boxes.change(() => {
      const [region] = app.regions.splice(index, 1);
      if (action.dataset.regionAction === "up") app.regions.splice(index + 1, 0, region);
    });
  }

  // Numbers typed into a row move its box; nothing typed takes it away.
  placed(input) {
    const { app } = this, region = app.regions[input.closest("li").dataset.index], canvas = this.tab === "generate" ? this.size : app.stage.size;
    const box = input.value.trim() ? parsedBox(input.value, canvas) : null;
    if (input.value.trim() && !box) app.toast(`A box is four numbers inside ${canvas.join(" × ")}: left, top, right, bottom.`);
    else if (boxText(box) !== boxText(region.box)) return app.boxes.change(() => { region.box = box; });
    return app.changed("regions");
  }

  render() {
    const { app, tab: task } = this, { elements } = this.form;
    for (const tab of this.pane.querySelectorAll("[data-task]")) {
      const on = tab.dataset.task === task;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
    }
    for (const element of this.pane.querySelectorAll("[class*='for-']")) element.hidden = !element.classList.contains(`for-${task}`);
    this.pane.querySelector(".regions").hidden = !this.boxed && task !== "generate";
    this.pane.querySelector(".lead").textContent = LEADS[task];
    this.pane.querySelector(".prompt-label").textContent = PROMPTS[task] ?? "";
    const [legend, hint] = BOXES[task] ?? ["", ""];
    this.pane.querySelector(".regions legend").textContent = legend;
    this.pane.querySelector(".regions .hint").textContent = hint;
    this.pane.querySelector(".regions .hint").hidden = task === "generate" && app.regions.length > 1;
    const more = this.pane.querySelector("[data-add-layer]");
    more.textContent = task === "generate" ? "Add a layer without a box" : "Give a box in numbers";
    more.hidden = task !== "generate" && app.regions.length > 0;
    this.pane.querySelector(".ideas").hidden = task !== "generate" || app.regions.length > 0;
    elements.layers.disabled = elements["layers-range"].disabled = task === "decompose" && elements.auto.checked;
    this.names.show(this.layers);
    const old = [...this.list.children];
    this.list.replaceChildren(...app.regions.map((region, index) => this.region(region, index, old[index])));
    const problem = this.pane.querySelector(".problem");
    problem.textContent = this.unable;
    problem.hidden = !this.unable;
    const button = this.pane.querySelector(".run"), noDocument = task !== "generate" && !app.view;
    button.textContent = RUNS[task];
    button.disabled = Boolean(noDocument || app.job || this.unable);
    this.pane.querySelector(".note").textContent = noDocument ? "Open a picture first." : this.crowded || this.outside;
  }

  // Says why the model cannot do this.
  get unable() {
    const { error, tasks, name, able } = this.facts;
    return error ?? (tasks.includes(COMMANDS[this.tab]) ? "" : `${name} cannot do this: it makes ${able}.`);
  }

  // Says which box a smaller canvas does not hold.
  get outside() {
    const [width, height] = this.size, index = this.app.regions.findIndex(({ box }) => box && (box[2] > width || box[3] > height));
    return this.tab !== "generate" || index < 0 ? "" : `Box ${index + 1} lies outside of ${width} × ${height} pixels: move it, or make the canvas larger.`;
  }

  // Goes to a number of this task that no run can have, and says so; null where all is well.
  wrong() {
    const input = [...this.form.elements].find((one) => one.type === "number" && !one.closest("[hidden]") && !one.validity.valid);
    if (!input) return null;
    const name = input.getAttribute("aria-label") ?? input.closest("label").querySelector("span").textContent;
    if (input.closest("details")) input.closest("details").open = true;
    input.focus();
    return `${name}: a whole number from ${input.min} to ${input.max}, please.`;
  }

  // Says where more layers are described than the model makes.
  get crowded() {
    const { length } = this.app.regions, most = this.facts.max_layers;
    if (this.tab !== "generate" || length < most) return "";
    const rest = most === 1 ? "the background alone" : `the background and ${most - 1} described ones`;
    return `This model makes at most ${most} layers: ${rest}. Take ${length + 1 - most} away.`;
  }

  // One layer for each row, and the background.
  fit() {
    const { layers, "layers-range": range } = this.form.elements;
    if (this.tab === "generate" && this.app.regions.length) layers.value = range.value = Math.min(this.app.regions.length + 1, this.facts.max_layers);
  }

  // A row that is being written in stays the same element.
  region(region, index, old) {
    const item = old ?? document.createElement("li");
    item.dataset.index = index;
    item.style.setProperty("--hue", hue(index));
    if (!old) {
      item.innerHTML = `<span class="flag"></span><input class="words" maxlength="500">
        <button type="button" data-region-action="up" title="Raise">▲</button>
        <button type="button" data-region-action="remove" title="Remove">✕</button>
        <input class="place" inputmode="numeric" maxlength="40" placeholder="anywhere (left, top, right, bottom)">`;
    }
    const single = this.tab !== "generate", [words, place] = item.querySelectorAll("input"), number = index + 1;
    item.querySelector(".flag").textContent = number;
    words.placeholder = region.box ? "what is in this box" : "what this layer shows";
    words.setAttribute("aria-label", `Prompt of box ${number}`);
    place.setAttribute("aria-label", `Place of box ${number}: left, top, right, bottom`);
    for (const button of item.querySelectorAll("button")) button.setAttribute("aria-label", `${button.title} box ${number}`);
    if (document.activeElement !== words) words.value = region.prompt;
    if (document.activeElement !== place) place.value = boxText(region.box);
    words.hidden = item.querySelector(".flag").hidden = item.querySelector("[data-region-action=up]").hidden = single;
    item.classList.toggle("single", single);
    return item;
  }

  // [model, steps, seed] as every run takes them; without steps the model takes its own.
  settings() {
    const { elements } = this.form;
    const part = QUALITY[elements.quality.value], steps = part === 1 ? null : Math.max(1, Math.round(this.facts.steps * part));
    return [elements.model.value, Number(elements.steps.value) || steps, Math.max(0, Math.floor(Number(elements.seed.value)) || 0)];
  }

  run() {
    const { app } = this;
    if (app.job || this.pane.querySelector(".run").disabled) return;
    const problem = this.wrong() ?? this[this.tab](app, this.form.elements, this.form.elements.prompt.value.trim());
    if (problem) app.toast(problem);
  }

  // -- one method per task: starts its run, or says what is missing

  decompose(app, elements, prompt) {
    app.run("decompose", [app.view.id, this.layers, null, prompt || null, this.names.given(), ...this.settings()]);
  }

  generate(app, elements, prompt) {
    if (!prompt) {
      elements.prompt.focus();
      return "The prompt is empty: say in words what to make.";
    }
    if (this.crowded || this.outside) return this.crowded || this.outside;
    this.choose("generate");  // the preview lies on the empty canvas
    const prompts = app.regions.map((region) => region.prompt.trim() || null), boxes = app.regions.map((region) => region.box);
    const layers = Math.max(1, Math.round(Number(elements.layers.value)) || 1);
    app.run("generate", [prompt, layers, prompts, boxes, ...this.size, ...this.settings()]);
  }

  add(app, elements, prompt) {
    const where = elements.where.value, all = where === "top" || where === "bottom";
    const layer = all ? null : app.selected()?.id ?? null;
    if (!all && !layer) return "Select a layer on the right first, or put the new one on top of everything.";
    if (!prompt && where !== "bottom") {
      elements.prompt.focus();
      return "The prompt is empty: say in words what the layer shows.";
    }
    const place = { top: "above", bottom: "below" }[where] ?? where;
    app.run("complete", [app.view.id, prompt || null, layer, place, this.boxed ? app.regions[0]?.box ?? null : null, elements.scene.value.trim() || null, ...this.settings()]);
  }

  lift(app, elements) {
    const box = app.regions[0]?.box, layer = elements.from.value === "layer" ? app.selected() : null;
    if (!box) return "Draw a box around the object on the stage first.";
    if (elements.from.value === "layer" && layer?.kind !== "layer") return "Select the layer that the object is to be lifted out of.";
    app.run("extract", [app.view.id, box, layer?.id ?? null, ...this.settings()]);
  }
}
