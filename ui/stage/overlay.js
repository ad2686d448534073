// What lies over the picture: the frame and handles of the selection, and the boxes of regions, in pixels of the viewport.
import { hue } from "./regions.js";

const SVG = "http://www.w3.org/2000/svg", ROOM = 28;

export const CORNERS = [[0, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 1], [0.5, 1], [0, 1], [0, 0.5]];

// Where handles stand: around a box of the document, away from it where it is so small that they would cover it.
export function framed(stage, box) {
  const [x0, y0] = stage.toViewport(box[0], box[1]), [x1, y1] = stage.toViewport(box[2], box[3]);
  const dx = Math.max(0, (ROOM - x1 + x0) / 2), dy = Math.max(0, (ROOM - y1 + y0) / 2);
  return [x0 - dx, y0 - dy, x1 + dx, y1 + dy];
}

// change: [factor, factor, degrees] about the middle while a handle is dragged.
export function frame(stage, box, handles, change) {
  const group = made("g", { class: "selection" }), [x0, y0] = stage.toViewport(box[0], box[1]), [x1, y1] = stage.toViewport(box[2], box[3]);
  if (change) {
    const [fx, fy, degrees] = change, cx = (x0 + x1) / 2, cy = (y0 + y1) / 2;
    group.setAttribute("transform", `translate(${cx} ${cy}) rotate(${-degrees}) scale(${fx} ${fy}) translate(${-cx} ${-cy})`);
  }
  group.append(made("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: "frame" }));
  if (handles && !change) group.append(...grips(framed(stage, box)));
  return group;
}

function grips([x0, y0, x1, y1]) {
  const cx = (x0 + x1) / 2, squares = CORNERS.map(([hx, hy], index) => {
    const cursor = ["nwse", "ns", "nesw", "ew"][index % 4];
    const place = { x: x0 + (x1 - x0) * hx - 4, y: y0 + (y1 - y0) * hy - 4, width: 8, height: 8 };
    return made("rect", { ...place, class: "handle", "data-handle": index, style: `cursor:${cursor}-resize` });
  });
  return [
    ...squares, made("line", { x1: cx, y1: y0 - 4, x2: cx, y2: y0 - 22, class: "frame" }),
    made("circle", { cx, cy: y0 - 26, r: 5, class: "handle", "data-handle": "rotate", style: "cursor:grab" }),
  ];
}

export function regionBox(stage, box, index, prompt) {
  const [x0, y0] = stage.toViewport(box[0], box[1]), [x1, y1] = stage.toViewport(box[2], box[3]);
  const group = made("g", { class: "region", style: `--hue:${hue(index)}` });
  group.append(made("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, "data-region": index }));
  const tag = made("foreignObject", { x: x0, y: y0, width: Math.max(20, x1 - x0), height: 18 });
  tag.innerHTML = `<div class="tag"><b>${index + 1}</b><span></span></div>`;
  tag.querySelector("span").textContent = prompt;
  group.append(tag, made("rect", { x: x1 - 5, y: y1 - 5, width: 10, height: 10, class: "corner", "data-corner": index }));
  return group;
}

function made(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
