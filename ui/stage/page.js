// The markup of the studio. Knows no behaviour.
import { button, icon, worded } from "./icons.js";

export const SHORTCUTS = {
  Tools: [["Move and select", "V"], ["Draw boxes", "B"], ["Run", "Ctrl Enter"], ["Break off a drag or a run", "Esc"], ["This sheet", "?"]],
  View: [["Fit, 100 %", "F | 1"], ["Zoom", "+ | − | Ctrl wheel"], ["Pan", "wheel | Space drag"], ["Before and after", "C"]],
  Select: [
    ["Next, previous row", "↑ | ↓"], ["Several", "Ctrl click | Shift click"], ["Several, by keys", "Shift ↑ ↓ | Ctrl Space"],
    ["All, none", "Ctrl A | Esc"],
  ],
  Layers: [
    ["Move by 1 pixel, by 10", "arrows | Shift arrows"], ["Up, down in the stack", "] | ["], ["Or on a row", "Alt ↑ | Alt ↓"],
    ["Into, out of a group", "Alt → | Alt ←"], ["Show or hide", "H"], ["Show alone", "S"], ["Lock or unlock", "L"], ["Rename", "F2 | Enter"],
    ["Duplicate", "Ctrl D"], ["Group", "Ctrl G"], ["Merge down", "Ctrl E"], ["Delete", "Del"], ["Undo, redo", "Ctrl Z | Ctrl Shift Z"],
  ],
};

const keysOf = (text) => text.split(" | ").map((one) => one.split(" ").map((key) => `<kbd>${key}</kbd>`).join("")).join(" ");

export const page = () => `
<header class="bar">
  <span class="brand"><b>acetate</b> <span>studio</span></span>
  ${button("open", "Open a file", "open")}
  <input type="file" class="file" hidden aria-hidden="true" tabindex="-1"
    accept=".psd,.psb,.ora,.zip,.png,.jpg,.jpeg,.webp,.tif,.tiff,.gif,.bmp,.avif">
  <select class="documents" aria-label="Open documents"></select>
  ${button("close", "Close this document", "close")}
  <span class="gap"></span>
  ${button("undo", "Undo", "undo")} ${button("redo", "Redo", "redo")}
  <span class="gap"></span>
  <span class="tools" role="radiogroup" aria-label="Tool">
    ${button("move", "Move and transform (V)", "tool-move", 'role="radio" aria-checked="true"')}
    ${button("region", "Draw boxes (B)", "tool-region", 'role="radio" aria-checked="false"')}
  </span>
  <span class="gap"></span>
  <select class="backdrop" aria-label="Backdrop" title="What lies behind the picture">
    <option value="checker">Checker</option><option value="black">Black</option>
    <option value="white">White</option><option value="colour">Colour…</option>
  </select>
  <input type="color" class="backdrop-colour" value="#3a6ea5" aria-label="Backdrop colour" hidden>
  ${button("compare", "Before and after (C)", "compare", 'aria-pressed="false"')}
  <span class="space"></span>
  <span class="export"><select class="format" aria-label="Export format"></select>
    <button type="button" class="strong" data-action="export">${icon("export")} Export</button></span>
  ${button("theme", "Dark or light", "theme")} ${button("help", "Keyboard shortcuts (?)", "help")}
</header>
<aside class="pane task" aria-label="Task"></aside>
<section class="middle" aria-label="Stage">
  <div class="viewport" tabindex="0" role="group" aria-label="The picture and what is selected in it">
    <div class="sheet">
      <canvas class="document" width="1" height="1" role="img" aria-label="The picture"></canvas>
      <canvas class="before" width="1" height="1" role="img" aria-label="The input" hidden></canvas>
    </div>
    <svg class="overlay"></svg>
    <input type="range" class="split" min="0" max="1000" value="500" hidden aria-label="Before and after">
    <span class="side left" hidden>Input</span><span class="side right" hidden>Layers</span>
    <div class="live" hidden aria-label="Preview of the run"><div class="live-stack"></div><div class="live-row"></div></div>
    <div class="empty">
      <p class="big">Drop a picture or a layered file here</p>
      <p>PSD, OpenRaster, zip, PNG, JPEG, WebP, TIFF</p>
      <button type="button" class="strong" data-action="open">${icon("open")} Open a file</button>
      <p class="or">or begin with an example</p>
      <div class="examples" role="group" aria-label="Examples"></div>
    </div>
    <p class="artboard-hint" hidden>Draw a box for each thing you want, or only describe the scene</p>
    <div class="drop" hidden>Drop to open</div>
  </div>
</section>
<aside class="pane layers" aria-label="Layers">
  <div class="properties">
    <select class="blend" aria-label="Blend mode" disabled></select>
    <label class="opacity"><span>Opacity</span>
      <input type="range" min="0" max="100" value="100" aria-label="Opacity" disabled>
      <input type="number" min="0" max="100" value="100" aria-label="Opacity in percent" disabled></label>
  </div>
  <div class="tree" role="tree" aria-label="Layers, top to bottom" aria-multiselectable="true"
    aria-keyshortcuts="Alt+ArrowUp Alt+ArrowDown Alt+ArrowRight Alt+ArrowLeft"></div>
  <div class="actions words" role="toolbar" aria-label="Model on this layer">
    ${worded("split", "Split", "split", "Split this layer again: its parts come as a group")}
    ${worded("again", "Redo", "again", "Redo this layer, so that it fits the others")}
    ${worded("behind", "Fill behind", "behind", "Fill behind: a background for this layer and those above it")}
  </div>
  <div class="actions" role="toolbar" aria-label="Layer actions">
    ${button("group", "Group (Ctrl+G)", "group")} ${button("ungroup", "Ungroup", "ungroup")}
    ${button("duplicate", "Duplicate (Ctrl+D)", "duplicate")} ${button("merge", "Merge down (Ctrl+E)", "merge-down")}
    ${button("up", "Move up (])", "up")} ${button("down", "Move down ([)", "down")}
    ${button("clip", "Clip to the layer below", "clip")} ${button("flip", "Mirror", "flip")}
    ${button("remove", "Delete (Del)", "delete")}
  </div>
</aside>
<footer class="status">
  <span class="phase" role="status" aria-live="polite">Ready</span>
  <progress max="1" value="0" hidden aria-label="Progress"></progress>
  <span class="remaining"></span>
  <button type="button" class="cancel" data-action="cancel" hidden>Cancel</button>
  <span class="space"></span>
  <span class="badge" hidden></span><span class="seed"></span><span class="size"></span><span class="memory"></span>
  <button type="button" class="zoom" data-action="fit" title="Fit (F)">100 %</button>
</footer>
<div class="toasts" aria-live="assertive"></div>
<dialog class="help" aria-label="Keyboard shortcuts">
  <h2>Keyboard shortcuts</h2>
  <div class="sheets">${Object.entries(SHORTCUTS).map(([title, list]) =>
    `<section><h3>${title}</h3><dl>${list.map(([what, keys]) => `<dt>${what}</dt><dd>${keysOf(keys)}</dd>`).join("")}</dl></section>`).join("")}</div>
  <p>Wheel pans and Ctrl + wheel zooms. Handles scale and turn about the middle; Shift keeps to steps of 15°.</p>
  <form method="dialog"><button class="strong">Close</button></form>
</dialog>
<dialog class="help ask" aria-label="Close the document">
  <h2>Close this document?</h2>
  <p><b></b> and all that can be undone in it will be deleted. Export it first to have it again.</p>
  <form method="dialog"><button class="strong" value="keep" autofocus>Keep it</button> <button value="close">Close and delete</button></form>
</dialog>`;
