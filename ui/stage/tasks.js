// The task pane: what to do, in which words, with which model. Knows the form; the app starts the run.
const TASKS = { decompose: "Take apart", generate: "From text", add: "Add a layer" };
const RUNS = { decompose: "Take apart", generate: "Make the picture", add: "Make the layer" };
const QUALITY = { draft: 0.4, standard: 1, fine: 2 };

const form = `
<div class="tabs" role="tablist" aria-label="Task">${Object.entries(TASKS).map(([key, title]) =>
  `<button type="button" role="tab" data-task="${key}" aria-selected="false" tabindex="-1">${title}</button>`).join("")}</div>
<form class="fields" autocomplete="off">
  <p class="lead"></p>
  <label class="field for-generate for-add for-decompose"><span class="prompt-label">Prompt</span>
    <textarea name="prompt" rows="3" maxlength="2000"></textarea></label>
  <label class="field line for-decompose for-generate"><span>Layers, background included</span>
    <span class="stepper"><input type="range" name="layers-range" min="1" max="8" value="4" aria-label="Layers">
    <input type="number" name="layers" min="1" max="20" value="4" aria-label="Number of layers"></span></label>
  <fieldset class="regions for-generate for-add"><legend>Boxes, lowest layer first</legend>
    <p class="hint">Draw boxes on the stage: each becomes a layer there.</p><ol></ol></fieldset>
  <label class="field for-add"><span>Put it</span><select name="where">
    <option value="top">on top</option><option value="replace">instead of the selected layer</option></select></label>
  <label class="field"><span>Model</span><select name="model"></select></label>
  <p class="problem" hidden></p>
  <label class="field"><span>Quality</span><select name="quality">
    <option value="draft">Draft, fastest</option><option value="standard" selected>Standard</option>
    <option value="fine">Fine, slowest</option></select></label>
  <details><summary>Advanced</summary>
    <label class="field line"><span>Steps</span><input type="number" name="steps" min="1" max="1000" placeholder="by quality"></label>
    <label class="field line"><span>Seed</span><input type="number" name="seed" min="0" max="9007199254740991" value="0"></label>
    <label class="field line for-generate"><span>Canvas</span><span class="pair">
      <input type="number" name="width" min="16" max="4096" aria-label="Width"> ×
      <input type="number" name="height" min="16" max="4096" aria-label="Height"></span></label>
  </details>
  <button type="submit" class="strong run">Run</button>
  <p class="note"></p>
</form>`;

const LEADS = {
  decompose: "Takes the flattened picture apart into layers that together equal it.",
  generate: "Makes a new layered picture from words.",
  add: "Makes one layer from words and puts it into this document.",
};
const PROMPTS = { decompose: "Prompt (may stay empty)", generate: "Prompt: the whole scene", add: "Prompt: the layer" };

export class Tasks {
  constructor(app) {
    this.app = app;
    this.pane = app.root.querySelector(".pane.task");
    this.pane.innerHTML = form;
    this.form = this.pane.querySelector("form");
    this.list = this.pane.querySelector(".regions ol");
    const { elements } = this.form;
    elements.model.replaceChildren(...app.session.models.map((model) => new Option(model.name, model.name)));
    this.pane.addEventListener("click", (event) => this.click(event));
    this.pane.querySelector(".tabs").addEventListener("keydown", (event) => this.tabKey(event));
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    this.list.addEventListener("input", (event) => {
      app.regions[event.target.closest("li").dataset.index].prompt = event.target.value;
      app.gestures.draw();
    });
    elements["layers-range"].addEventListener("input", () => (elements.layers.value = elements["layers-range"].value));
    elements.layers.addEventListener("input", () => (elements["layers-range"].value = elements.layers.value));
    elements.model.addEventListener("change", () => this.model());
    for (const name of ["width", "height"]) elements[name].addEventListener("change", () => app.showArtboard());
    this.task = "decompose";
    this.model();
  }

  get size() {
    const { width, height } = this.form.elements;
    const side = (input) => Math.min(4096, Math.max(16, Math.round(Number(input.value)) || 256));
    return [side(width), side(height)];
  }

  model() {
    const { elements } = this.form, facts = this.app.session.models.find(({ name }) => name === elements.model.value);
    const problem = this.pane.querySelector(".problem");
    problem.hidden = !facts.error;
    problem.textContent = facts.error ?? "";
    elements["layers-range"].max = Math.min(12, facts.max_layers);
    elements.layers.max = facts.max_layers;
    elements.width.value ||= facts.resolution;
    elements.height.value ||= facts.resolution;
    this.facts = facts;
    this.render();
  }

  choose(task) {
    this.task = task;
    this.app.taskChanged();
    this.render();
  }

  tabKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const keys = Object.keys(TASKS), next = keys[(keys.indexOf(this.task) + step + keys.length) % keys.length];
    this.choose(next);
    this.pane.querySelector(`[data-task="${next}"]`).focus();
  }

  click(event) {
    const tab = event.target.closest("[data-task]"), action = event.target.closest("[data-region-action]");
    if (tab) this.choose(tab.dataset.task);
    if (action) {
      const index = Number(action.closest("li").dataset.index), { regions } = this.app;
      const [region] = regions.splice(index, 1);
      if (action.dataset.regionAction === "up") regions.splice(index + 1, 0, region);
      this.fit();
      this.app.changed("regions");
    }
  }

  render() {
    const { app, task } = this, { elements } = this.form;
    for (const tab of this.pane.querySelectorAll("[data-task]")) {
      const on = tab.dataset.task === task;
      tab.setAttribute("aria-selected", on);
      tab.tabIndex = on ? 0 : -1;
    }
    for (const element of this.pane.querySelectorAll("[class*='for-']")) element.hidden = !element.classList.contains(`for-${task}`);
    this.pane.querySelector(".lead").textContent = LEADS[task];
    this.pane.querySelector(".prompt-label").textContent = PROMPTS[task];
    this.list.replaceChildren(...app.regions.slice(0, task === "add" ? 1 : undefined).map((region, index) => this.region(region, index)));
    const button = this.pane.querySelector(".run"), noDocument = task !== "generate" && !app.view;
    button.textContent = RUNS[task];
    button.disabled = Boolean(noDocument || app.job || this.facts.error);
    this.pane.querySelector(".note").textContent = noDocument ? "Open a picture first." : "";
  }

  // One layer for each box, and the background.
  fit() {
    const { layers, "layers-range": range } = this.form.elements;
    if (this.task === "generate" && this.app.regions.length) layers.value = range.value = Math.min(this.app.regions.length + 1, this.facts.max_layers);
  }

  region(region, index) {
    const item = document.createElement("li");
    item.dataset.index = index;
    item.style.setProperty("--hue", (index * 67 + 205) % 360);
    item.innerHTML = `<span class="flag">${index + 1}</span>
      <input aria-label="Prompt of box ${index + 1}" placeholder="what is in this box" maxlength="500">
      <button type="button" data-region-action="up" aria-label="Raise box ${index + 1}" title="Raise">▲</button>
      <button type="button" data-region-action="remove" aria-label="Remove box ${index + 1}" title="Remove">✕</button>`;
    item.querySelector("input").value = region.prompt;
    if (this.task === "add") item.querySelector("input").hidden = true;
    return item;
  }

  // [model, steps, seed] as every run takes them.
  settings() {
    const { elements } = this.form;
    const steps = Number(elements.steps.value) || Math.max(1, Math.round(this.facts.steps * QUALITY[elements.quality.value]));
    return [elements.model.value, steps, Math.max(0, Math.floor(Number(elements.seed.value)) || 0)];
  }

  run() {
    const { app } = this, { elements } = this.form, prompt = elements.prompt.value.trim();
    const layers = Math.max(1, Math.round(Number(elements.layers.value)) || 1);
    if (app.job) return;
    if (this.task === "decompose") {
      if (app.view) app.run("decompose", [app.view.id, layers, null, prompt || null, ...this.settings()]);
      return;
    }
    if (!prompt) {
      elements.prompt.focus();
      app.toast("The prompt is empty: say in words what to make.");
      return;
    }
    if (this.task === "generate") {
      const prompts = app.regions.map((region) => region.prompt.trim() || null), boxes = app.regions.map((region) => region.box);
      app.run("generate", [prompt, layers, prompts, boxes, ...this.size, ...this.settings()]);
    } else {
      const replace = elements.where.value === "replace" ? app.selected()?.id ?? null : null;
      if (elements.where.value === "replace" && !replace) app.toast("Select the layer to replace first.");
      else app.run("add_layer", [app.view.id, prompt, app.regions[0]?.box ?? null, replace, ...this.settings()]);
    }
  }
}
