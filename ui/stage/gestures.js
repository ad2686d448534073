// Pointer and arrow keys on the stage: select, move, scale, rotate, pan, zoom, draw boxes. Turns gestures into edits;
// the server is told once, on release.
import { free, movable } from "./arrange.js";
import { bounds, unite } from "./composite.js";
import { hue, shifted, stretched } from "./regions.js";
import { find } from "./tree.js";

const SVG = "http://www.w3.org/2000/svg";
const CORNERS = [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]];
const NUDGE_MS = 350;
// What a gesture shows of the frame and the boxes before the document has it.
const AT_REST = { dx: 0, dy: 0, change: null, fresh: null };

export class Gestures {
  constructor(app) {
    this.app = app;
    this.stage = app.stage;
    this.viewport = app.stage.viewport;
    this.overlay = this.viewport.querySelector("svg.overlay");
    this.nudged = null;
    this.held = AT_REST;
    this.stage.onView = () => this.draw();
    this.viewport.addEventListener("pointerdown", (event) => this.down(event));
    this.viewport.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.viewport.addEventListener("dblclick", () => this.stage.fit());
  }

  point(event) {
    const frame = this.viewport.getBoundingClientRect();
    return [event.clientX - frame.left, event.clientY - frame.top];
  }

  wheel(event) {
    if (!this.stage.size) return;
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) this.stage.setZoom(this.stage.zoom * 2 ** (-event.deltaY / 240), this.point(event));
    else if (event.shiftKey) this.stage.pan(-event.deltaY, 0);
    else this.stage.pan(-event.deltaX, -event.deltaY);
  }

  down(event) {
    const { app } = this, pans = event.button === 1 || app.spaceDown;
    if (!this.stage.size || (!pans && event.target.closest("input, button"))) return;
    this.viewport.focus({ preventScroll: true });
    const start = this.point(event);
    if (pans) return this.track(event, (x, y, dx, dy, mx, my) => this.stage.pan(mx, my));
    if (event.button !== 0) return;
    const handle = event.target.dataset?.handle;
    if (app.tool === "region") return this.region(event, start, event.target.dataset?.region ?? event.target.dataset?.corner, "corner" in event.target.dataset);
    if (handle) return this.transform(event, start, handle);
    this.flush();
    const id = this.under(start);
    if (!id) return app.select([]);
    if (event.shiftKey) return app.select([...app.selection, id]);
    if (!app.selection.has(id)) app.select([id]);
    this.move(event, this.movable(id));
  }

  // What moves with a node: the whole selection where it is part of it; nothing that is locked, nothing twice.
  movable(id) {
    const { selection, view } = this.app, chosen = selection.has(id) ? selection : new Set([id]);
    return movable(view, chosen);
  }

  // A click inside the selected node keeps it, else the topmost layer is taken.
  under(point) {
    const [x, y] = this.stage.toDocument(...point), hit = this.stage.hit(x, y);
    for (const id of this.app.selection) {
      const entry = find(this.app.view, id);
      if (!entry || entry.node.locked) continue;
      if (id === hit || (entry.node.kind === "group" && hit && find({ layers: entry.node.layers }, hit))) return id;
    }
    return hit;
  }

  // Follow the pointer: step(x, y, dx, dy, mx, my) with totals and the last movement; done(moved) at the end.
  track(event, step, done = () => {}) {
    const start = this.point(event);
    let last = start, frame = 0, moved = false, pending = null;
    const run = () => {
      frame = 0;
      const [x, y] = pending;
      step(x, y, x - start[0], y - start[1], x - last[0], y - last[1]);
      last = pending;
    };
    const onMove = (next) => {
      pending = this.point(next);
      this.shift = next.shiftKey;
      if (!moved && Math.hypot(pending[0] - start[0], pending[1] - start[1]) < 2) return;
      moved = true;
      frame ||= requestAnimationFrame(run);
    };
    const stop = (next) => {
      this.viewport.removeEventListener("pointermove", onMove);
      if (frame) {
        cancelAnimationFrame(frame);
        run();
      }
      this.stage.letGo();
      this.hold(AT_REST);
      done(moved && next.type !== "pointercancel");
    };
    this.viewport.setPointerCapture(event.pointerId);
    this.viewport.addEventListener("pointermove", onMove);
    this.viewport.addEventListener("pointerup", stop, { once: true });
    this.viewport.addEventListener("pointercancel", stop, { once: true });
  }

  move(event, ids) {
    if (!ids.length) return;
    let began = false, dx = 0, dy = 0;
    this.track(event, (x, y, tx, ty) => {
      if (!began) {
        began = this.stage.begin(ids);
        if (!began) return;
      }
      dx = Math.round(tx / this.stage.zoom);
      dy = Math.round(ty / this.stage.zoom);
      if (this.shift) [dx, dy] = Math.abs(dx) > Math.abs(dy) ? [dx, 0] : [0, dy];
      this.stage.moveBy(dx, dy);
      this.hold({ dx, dy });
    }, (moved) => {
      if (this.stage.motion && moved && (dx || dy)) this.app.moveNodes(ids, dx, dy);
      else this.stage.end();
      this.draw();
    });
  }

  // Arrow keys: shown at once, told to the server when the keys have come to rest.
  nudge(dx, dy) {
    if (this.app.panel.refused()) return;
    const [first] = this.app.selection, ids = first && this.app.view ? this.movable(first) : [];
    if (!ids.length || !this.stage.size) return;
    if (this.nudged?.ids.join() !== ids.join()) {
      this.flush();
      if (!this.stage.begin(ids)) return;
      this.nudged = { ids, dx: 0, dy: 0 };
    }
    this.nudged.dx += dx;
    this.nudged.dy += dy;
    this.stage.moveBy(this.nudged.dx, this.nudged.dy);
    this.hold({ dx: this.nudged.dx, dy: this.nudged.dy });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), NUDGE_MS);
  }

  flush() {
    clearTimeout(this.timer);
    const nudged = this.nudged;
    this.nudged = null;
    if (!nudged) return;
    this.stage.letGo();
    this.hold(AT_REST);
    if (nudged.dx || nudged.dy) this.app.moveNodes(nudged.ids, nudged.dx, nudged.dy);
    else this.stage.end();
  }

  transform(event, start, handle) {
    this.flush();
    const [id] = this.app.selection, { stage } = this;
    if (!stage.begin([id])) return;
    const [x0, y0, x1, y1] = stage.motion.box, middle = stage.toViewport((x0 + x1) / 2, (y0 + y1) / 2);
    const half = [((x1 - x0) / 2) * stage.zoom, ((y1 - y0) / 2) * stage.zoom];
    let fx = 1, fy = 1, degrees = 0;
    this.track(event, (x, y) => {
      if (handle === "rotate") {
        degrees = (Math.atan2(start[1] - middle[1], start[0] - middle[0]) - Math.atan2(y - middle[1], x - middle[0])) * (180 / Math.PI);
        degrees = this.shift ? Math.round(degrees / 15) * 15 : Math.round(degrees * 10) / 10;
      } else {
        const [hx, hy] = CORNERS[Number(handle)];
        if (hx !== 0.5) fx = Math.max(1 / (x1 - x0), Math.abs(x - middle[0]) / half[0]);
        if (hy !== 0.5) fy = Math.max(1 / (y1 - y0), Math.abs(y - middle[1]) / half[1]);
        if (hx !== 0.5 && hy !== 0.5 && !this.shift) fx = fy = Math.max(fx, fy);
      }
      stage.transformBy(fx, fy, degrees);
      this.hold({ change: [fx, fy, degrees] });
    }, (moved) => {
      moved &&= Boolean(stage.motion);
      if (moved && handle === "rotate" && degrees) this.app.edit([`rotate:${id},${degrees}`]);
      else if (moved && (fx !== 1 || fy !== 1)) this.app.edit([`scale:${id},${fx.toFixed(4)},${fy.toFixed(4)}`]);
      else stage.end();
      this.draw();
    });
  }

  region(event, start, index, corner) {
    const { app, stage } = this, [w, h] = stage.size;
    const clamp = ([x, y]) => [Math.min(w, Math.max(0, Math.round(x))), Math.min(h, Math.max(0, Math.round(y)))];
    const from = clamp(stage.toDocument(...start));
    const old = index === undefined ? null : { ...app.regions[index] };
    let box = null;
    this.track(event, (x, y, tx, ty) => {
      if (old) {
        app.regions[index].box = (corner ? stretched : shifted)(old.box, tx / stage.zoom, ty / stage.zoom, stage.size);
      } else {
        const to = clamp(stage.toDocument(x, y));
        box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
      }
      this.hold({ fresh: box });
    }, (moved) => {
      if (moved && box && box[2] - box[0] >= 4 && box[3] - box[1] >= 4) app.addRegion(box);
      else app.changed("regions");
      this.draw();
    });
  }

  hold(shown) {
    this.held = { ...AT_REST, ...shown };
    this.draw();
  }

  // The frame and handles of the selection, and the boxes of regions, in pixels of the viewport.
  draw() {
    const { app, stage } = this, { dx, dy, change, fresh } = this.held, parts = [];
    if (stage.size && app.view && app.tool === "move" && !app.comparing) {
      let box = null;
      for (const id of app.selection) {
        const entry = find(app.view, id);
        if (!entry) continue;
        box = unite(box, bounds(entry.node));
      }
      if (box) parts.push(...this.frame(box, dx, dy, change, app.selection.size === 1 && free(app.view, app.selection).size === 1));
    }
    if (stage.size && app.tasks.boxed) {
      app.regions.forEach((region, index) => region.box && parts.push(...this.box(region.box, index)));
      if (fresh) parts.push(...this.box(fresh, app.regions.length));
    }
    this.overlay.replaceChildren(...parts);
  }

  frame(box, dx, dy, change, handles) {
    const [x0, y0] = this.stage.toViewport(box[0] + dx, box[1] + dy);
    const [x1, y1] = this.stage.toViewport(box[2] + dx, box[3] + dy);
    const group = made("g", { class: "selection" });
    if (change) {
      const [fx, fy, degrees] = change, cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
      group.setAttribute("transform", `translate(${cx} ${cy}) rotate(${-degrees}) scale(${fx} ${fy}) translate(${-cx} ${-cy})`);
    }
    group.append(made("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: "frame" }));
    if (!handles || change) return [group];
    for (const [index, [hx, hy]] of CORNERS.entries()) {
      const cursor = ["nwse", "ns", "nesw", "ew"][index % 4];
      const place = { x: x0 + (x1 - x0) * hx - 4, y: y0 + (y1 - y0) * hy - 4, width: 8, height: 8 };
      group.append(made("rect", { ...place, class: "handle", "data-handle": index, style: `cursor:${cursor}-resize` }));
    }
    const cx = (x0 + x1) / 2;
    group.append(made("line", { x1: cx, y1: y0 - 4, x2: cx, y2: y0 - 22, class: "frame" }));
    group.append(made("circle", { cx, cy: y0 - 26, r: 5, class: "handle", "data-handle": "rotate", style: "cursor:grab" }));
    return [group];
  }

  box(box, index) {
    const [x0, y0] = this.stage.toViewport(box[0], box[1]), [x1, y1] = this.stage.toViewport(box[2], box[3]);
    const region = this.app.regions[index], group = made("g", { class: "region", style: `--hue:${hue(index)}` });
    group.append(made("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, "data-region": index }));
    const tag = made("foreignObject", { x: x0, y: y0, width: Math.max(20, x1 - x0), height: 18 });
    tag.innerHTML = `<div class="tag"><b>${index + 1}</b><span></span></div>`;
    tag.querySelector("span").textContent = region?.prompt ?? "";
    group.append(tag, made("rect", { x: x1 - 5, y: y1 - 5, width: 10, height: 10, class: "corner", "data-corner": index }));
    return [group];
  }
}

function made(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
