// Boxes with prompts: their colours, their numbers as text, dragging their edges. Pure functions.

export const hue = (index) => (index * 67 + 205) % 360;

export const boxText = (box) => (box ? box.join(", ") : "");

// Four whole numbers that make a box inside the canvas, or null.
export function parsedBox(text, [width, height]) {
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  const [x0, y0, x1, y1] = numbers;
  if (numbers.length !== 4 || !numbers.every(Number.isInteger)) return null;
  return x0 >= 0 && y0 >= 0 && x0 < x1 && y0 < y1 && x1 <= width && y1 <= height ? numbers : null;
}

// A box moved by whole pixels as far as the canvas allows.
export function shifted([x0, y0, x1, y1], dx, dy, [width, height]) {
  const x = Math.round(Math.min(width - x1, Math.max(-x0, dx))), y = Math.round(Math.min(height - y1, Math.max(-y0, dy)));
  return [x0 + x, y0 + y, x1 + x, y1 + y];
}

// A box with its lower right corner moved.
export function stretched([x0, y0, x1, y1], dx, dy, [width, height]) {
  const right = Math.round(Math.min(width, Math.max(x0 + 4, x1 + dx))), bottom = Math.round(Math.min(height, Math.max(y0 + 4, y1 + dy)));
  return [x0, y0, right, bottom];
}
