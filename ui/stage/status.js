// The bars above and below: documents, backdrop, progress of a run with its preview, facts about the result.
import { pictureOf } from "./api.js";
import { count } from "./panel.js";

const PHASES = {
  queued: "Waiting", load: "Loading the model", encode: "Reading", denoise: "Painting", decode: "Drawing the layers",
  whole: "Objects whole", upsample: "To full size", recompose: "Exact recomposition",
};

export class Status {
  constructor(app) {
    this.app = app;
    this.last = "";
    const { root } = app;
    this.at = (name) => root.querySelector(name);
    this.at("select.format").replaceChildren(...app.session.formats.map(({ name, title, holds }) => {
      const option = new Option(`${name.toUpperCase()}, ${title}`, name);
      option.title = `Holds: ${holds}`;
      return option;
    }));
    this.at(".examples").innerHTML = app.session.examples.map((name) =>
      `<button type="button" data-example="${name}"><img src="${pictureOf(name)}" alt="" width="132" height="96">${name}</button>`).join("");
    const select = this.at("select.documents");
    select.addEventListener("change", () => app.documents.choose(select.value));
    const backdrop = this.at("select.backdrop"), colour = this.at(".backdrop-colour");
    const set = () => {
      colour.hidden = backdrop.value !== "colour";
      app.stage.sheet.dataset.backdrop = backdrop.value;
      app.stage.sheet.style.setProperty("--backdrop", colour.value);
    };
    backdrop.addEventListener("change", set);
    colour.addEventListener("input", set);
    set();
  }

  documents(list, current) {
    const select = this.at("select.documents");
    select.replaceChildren(...list.map(({ id, name }) => new Option(name, id)));
    select.hidden = !list.length;
    if (current) select.value = current;
  }

  zoom(value) {
    this.at(".zoom").textContent = `${value < 0.1 ? (value * 100).toFixed(1) : Math.round(value * 100)} %`;
  }

  say(text) {
    this.at(".phase").textContent = text;
  }

  // What is said again is not shown twice.
  toast(text) {
    for (const old of [...this.at(".toasts").children]) if (old.firstChild.textContent === text) old.remove();
    const toast = document.createElement("div");
    toast.className = "toast";
    toast.setAttribute("role", "alert");
    toast.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "✕";
    close.setAttribute("aria-label", "Close the message");
    close.addEventListener("click", () => toast.remove());
    toast.append(close);
    this.at(".toasts").append(toast);
    setTimeout(() => toast.remove(), 9000);
  }

  render() {
    const { app } = this, { job, view } = app;
    this.at(".cancel").hidden = !job;
    this.at("progress").hidden = !job;
    this.at(".cancel").disabled = Boolean(job?.stopping);
    this.run(job);
    const artboard = app.tasks.task === "generate";
    this.live(job && (job.over ? job.over === view?.id && !artboard : artboard || !view) ? job.preview : []);
    const { undone, redone } = app.boxes, boxes = (steps) => (steps.length ? "Boxes" : null);
    this.step("undo", "Undo", artboard ? boxes(undone) : view?.undo);
    this.step("redo", "Redo", artboard ? boxes(redone) : view?.redo);
    this.at('[data-action="close"]').hidden = !view;
    this.at(".zoom").hidden = !app.stage.size;
    this.at(".artboard-hint").hidden = !artboard || app.regions.length > 0 || Boolean(job);
    this.at('[data-action="export"]').disabled = !view;
    this.at('[data-action="compare"]').disabled = !view?.source;
    this.facts(artboard ? null : view, artboard ? `${app.tasks.size.join(" × ")} px` : "");
  }

  step(action, word, what) {
    const button = this.at(`[data-action="${action}"]`);
    button.disabled = !what;
    button.title = what ? `${word}: ${what}` : word;
  }

  // What is known of the document that is shown; of an empty canvas its size.
  facts(view, size) {
    const { seed, recomposition, fresh } = view?.facts ?? {}, layers = view && count(view);
    this.at(".seed").textContent = seed === undefined ? "" : `seed ${seed}`;
    this.at(".size").textContent = view ? `${view.width} × ${view.height} px, ${layers} ${layers === 1 ? "layer" : "layers"}` : size;
    this.at(".memory").textContent = view ? `${view.memory.document_mib} MiB here, server peak ${Math.round(view.memory.peak_mib ?? 0)} MiB` : "";
    this.badge(recomposition, fresh ? "now" : "when made");
  }

  // How true the model was, said as plainly as how true the result is, or was before edits.
  badge(found, when) {
    const badge = this.at(".badge");
    badge.hidden = !found;
    if (!found) return;
    const psnr = found.before.psnr, before = psnr === null ? "exact" : `${psnr.toFixed(1)} dB`;
    const after = found.after.max === 0 ? "exact" : `within ${found.after.max}/255`;
    badge.textContent = `recomposition before exact solve: ${before}, ${when === "now" ? `now ${after}` : `${after} when made`}`;
    badge.className = `badge ${psnr === null || psnr >= 35 ? "good" : psnr >= 25 ? "fair" : "poor"}`;
    badge.title = `How far the model's layers alone were from the picture: ${before}, at most ${found.before.max}/255. After the solve: at most ${found.after.max}/255. `
      + `The solve changed the colour of ${(100 * found.colour_change.share).toFixed(1)} % of the layers' pixels.`;
  }

  run(job) {
    if (!job) {
      this.say(this.last || "Ready");
      this.at(".remaining").textContent = "";
      return;
    }
    this.last = "";
    const waiting = job.status === "queued" && job.position > 0;
    const step = job.steps > 1 ? `, step ${job.step} of ${job.steps}` : "";
    this.say(job.stopping ? "Stopping …" : waiting ? `Waiting: ${job.position} before you` : `${PHASES[job.phase] ?? job.phase}${step}`);
    const progress = this.at("progress");
    if (job.steps > 1) progress.value = job.step / job.steps;
    else progress.removeAttribute("value");
    const seconds = job.remaining;
    this.at(".remaining").textContent = seconds === null || seconds === undefined ? ""
      : seconds >= 90 ? `${Math.round(seconds / 60)} min left` : `${Math.ceil(seconds)} s left`;
  }

  // The preview lies exactly where the picture will be.
  place() {
    const { stage } = this.app;
    if (!stage.size) return;
    const [x0, y0] = stage.toViewport(0, 0), [x1, y1] = stage.toViewport(...stage.size);
    Object.assign(this.at(".live-stack").style, { left: `${x0}px`, top: `${y0}px`, width: `${x1 - x0}px`, height: `${y1 - y0}px` });
  }

  // The layers as the model sees them now: stacked in their place, side by side below.
  live(preview) {
    const live = this.at(".live");
    live.hidden = !preview.length;
    if (preview === this.shown) return;
    this.shown = preview;
    const name = (index) => (index ? `Layer ${index}` : "Background");
    const image = (url, index) => {
      const element = new Image();
      element.src = url;
      element.alt = `${name(index)} so far`;
      return element;
    };
    this.at(".live-stack").replaceChildren(...preview.map(image));
    this.place();
    this.at(".live-row").replaceChildren(...preview.map((url, index) => {
      const figure = document.createElement("figure"), caption = document.createElement("figcaption");
      caption.textContent = name(index);
      figure.append(image(url, index), caption);
      return figure;
    }));
  }
}
