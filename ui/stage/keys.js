// Buttons and keys of the whole page, and files dropped on it.
import { outermost } from "./tree.js";

export function keys(app) {
  const { root, stage } = app;
  const outer = () => outermost(app.view, app.selection);  // a group counts with all that is inside
  const actions = {
    "open": () => root.querySelector("input.file").click(),
    "close": () => app.closeDocument(),
    "undo": () => app.undo(),
    "redo": () => app.redo(),
    "tool-move": () => app.setTool("move"),
    "tool-region": () => {
      if (app.tasks.task === "decompose") app.tasks.choose(app.view ? "add" : "generate");
      app.setTool("region");
    },
    "compare": () => (app.view?.source ? app.compare(!app.comparing) : app.toast("There is no input to compare with: take a picture apart first.")),
    "export": () => app.export(),
    "theme": () => {
      root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
      localStorage.setItem("acetate-theme", root.dataset.theme);
    },
    "help": () => root.querySelector("dialog.help").showModal(),
    "cancel": () => app.cancel(),
    "fit": () => stage.fit(),
    "group": () => app.edit([`group:Group,${outer().join(",")}`]),
    "ungroup": () => app.edit([`ungroup:${app.selected().id}`]),
    "duplicate": () => app.edit(outer().map((id) => `duplicate:${id}`)),
    "merge-down": () => app.edit([`merge-down:${app.selected().id}`]),
    "up": () => app.step(1),
    "down": () => app.step(-1),
    "clip": () => {
      const node = app.selected();
      app.edit([`${node.clipping ? "unclip" : "clip"}:${node.id}`], new Set([node.id]), { clipping: !node.clipping });
    },
    "flip": () => app.edit([`flip:${app.selected().id},horizontal`]),
    "split": () => app.run("decompose", [app.view.id, app.tasks.layers, app.selected().id, null, null, ...app.tasks.settings()]),
    "again": () => {
      const node = app.selected(), [model, steps, seed] = app.tasks.settings(), fresh = (node.seed ?? seed) + 1;
      app.run("complete", [app.view.id, node.prompt ?? null, node.id, "instead", null, null, model, steps, fresh]);
    },
    "behind": () => app.run("complete", [app.view.id, null, app.selected().id, "behind", null, null, ...app.tasks.settings()]),
    "delete": () => app.remove(),
    "select-all": () => app.view && app.select(app.panel.rows().map(({ node }) => node.id)),
  };
  const needsLayer = new Set(["ungroup", "duplicate", "merge-down", "clip", "flip", "split", "again", "behind", "delete", "group"]);
  const off = (name) => needsLayer.has(name) && (!app.selected() || root.querySelector(`.actions [data-action="${name}"]`).disabled);
  const needsUnlocked = new Set(["ungroup", "merge-down", "clip", "flip", "split", "again", "delete", "up", "down"]);
  const act = (name) => ((needsUnlocked.has(name) && app.panel.refused()) || off(name) ? null : actions[name]());

  let opening = null;  // a double click opens an example once
  root.addEventListener("click", (event) => {
    const element = event.target.closest("[data-action]");
    if (element && !element.disabled && !element.closest("dialog")) act(element.dataset.action);
    const example = event.target.closest("[data-example]")?.dataset.example;
    if (!example || opening === example) return;
    opening = example;
    app.openExample(example).finally(() => (opening = null));
  });

  const plain = {
    v: "tool-move", b: "tool-region", c: "compare", f: "fit", "?": "help", "]": "up", "[": "down", Delete: "delete", Backspace: "delete",
  };
  const withControl = { z: "undo", y: "redo", d: "duplicate", g: "group", e: "merge-down", a: "select-all", Enter: "run" };
  const steps = new Set(["undo", "redo", "up", "down"]), turns = new Set(["s", "h", "l"]);  // a key that is held repeats steps only
  // Space takes hold of the canvas, whatever has the focus.
  const hold = (on) => {
    app.spaceDown = on;
    stage.viewport.classList.toggle("held", on);
  };
  document.addEventListener("keydown", (event) => {
    if (root.querySelector("dialog[open]")) return;
    const choosing = event.target.matches?.("select"), writing = choosing || event.target.matches?.("input:not([type=range]), textarea");
    if ((event.ctrlKey || event.metaKey) && (!writing || choosing || event.key === "Enter")) {
      const name = event.key.toLowerCase() === "z" && event.shiftKey ? "redo" : withControl[event.key] ?? withControl[event.key.toLowerCase()];
      if (!name) return;
      event.preventDefault();
      if (event.repeat && !steps.has(name)) return;
      if (name === "run") app.tasks.run();
      else act(name);
      return;
    }
    if (event.key === "Escape" && app.gestures.cancel()) return void event.preventDefault();
    if (event.key === "Escape" && writing && !choosing) return void event.target.blur();
    if (event.key === "Escape" && app.job) return void act("cancel");
    if (writing || event.altKey || event.ctrlKey || event.metaKey) return;
    const far = event.shiftKey ? 10 : 1, node = app.selected();
    const arrows = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    const name = plain[event.key] ?? plain[event.key.toLowerCase()];
    if (event.repeat && (name ? !steps.has(name) : turns.has(event.key))) return void event.preventDefault();
    if (arrows[event.key] && node && !event.target.matches?.("input") && !event.target.closest?.("[role=tablist]")) app.gestures.nudge(...arrows[event.key]);
    else if (name) act(name);
    else if (event.key === "1") stage.setZoom(1, null);
    else if (event.key === "+" || event.key === "=") stage.zoomBy(1.25);
    else if (event.key === "-") stage.zoomBy(0.8);
    else if (event.key === "s" && node) app.toggleSolo(node.id);
    else if (event.key === "h" && node) app.panel.refused() || app.toggleAll("visible", "show", "hide");
    else if (event.key === "l" && node) app.toggleAll("locked", "lock", "unlock");
    else if (event.key === "Escape" && node) app.select([]);
    else if (event.key === " " && !event.target.matches?.("button, summary")) hold(true);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") hold(false);
  });
  window.addEventListener("blur", () => hold(false));
  window.addEventListener("pagehide", () => app.gestures.flush());

  // A list that was used with the pointer lets go of the keyboard: letters would choose from it.
  let pointer = true;
  document.addEventListener("keydown", () => (pointer = false), true);
  document.addEventListener("pointerdown", () => (pointer = true), true);
  root.addEventListener("change", (event) => pointer && event.target.matches("select") && event.target.blur());

  const input = root.querySelector("input.file"), drop = root.querySelector(".drop");
  input.addEventListener("change", () => {
    app.openFile(input.files[0]);
    input.value = "";
  });
  const withFiles = (event) => event.dataTransfer?.types?.includes("Files");
  root.addEventListener("dragover", (event) => {
    if (!withFiles(event)) return;
    event.preventDefault();
    drop.hidden = false;
  });
  root.addEventListener("dragleave", (event) => {
    if (!root.contains(event.relatedTarget)) drop.hidden = true;
  });
  root.addEventListener("drop", async (event) => {
    drop.hidden = true;
    if (!withFiles(event)) return;
    event.preventDefault();
    const items = [...event.dataTransfer.items].filter(({ kind }) => kind === "file");
    const entries = items.map((item) => [item.getAsFile(), item.webkitGetAsEntry?.()]);  // all of them now: later they are gone
    for (const [file, entry] of entries) {
      if (entry?.isDirectory) app.toast(`“${entry.name}” is a folder: drop the files in it.`);
      else await app.openFile(file);
    }
  });
  root.querySelector(".split").addEventListener("input", () => app.placeSplit());
}
