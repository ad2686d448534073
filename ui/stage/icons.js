// Line icons, 16 x 16, drawn for this program.
const paths = {
  open: "M2 4.5h4l1.5 2H14v6.5H2z",
  undo: "M5.5 3 2.5 6l3 3M3 6h6.5a3.5 3.5 0 0 1 0 7H6",
  redo: "m10.500 3 3 3-3 3M13 6H6.500a3.500 3.500 0 0 0 0 7H10",
  move: "M3.500 2.500 12.500 8 8.500 9l-1.800 4z",
  region: "M2.500 5.500v-3h3M10.500 2.500h3v3M13.500 10.500v3h-3M5.500 13.500h-3v-3M8 5.500v5M5.500 8h5",
  compare: "M8 2v12M2.500 4H8v8H2.500zM10.500 4h3v8h-3",
  eye: "M1.500 8S4 3.700 8 3.700 14.500 8 14.500 8 12 12.300 8 12.300 1.500 8 1.500 8zM8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  hidden: "M1.500 8S4 3.700 8 3.700 14.500 8 14.500 8 12 12.300 8 12.300 1.500 8 1.500 8zM3 13.500l10-11",
  lock: "M4 7.500h8v6H4zM5.500 7.500V5a2.500 2.500 0 0 1 5 0v2.500",
  unlocked: "M4 7.500h8v6H4zM5.500 7.500V4.500a2.500 2.500 0 0 1 4.800-1",
  solo: "M8 3.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9zM8 7a1 1 0 1 0 0 2 1 1 0 0 0 0-2z",
  group: "M2 4h4l1.200 1.800H14V13H2z",
  ungroup: "M2 4h4l1.200 1.800H14V13H2zM5 9.500h6",
  duplicate: "M5.500 5.500h8v8h-8zM3 10.500h-.500v-8h8V3",
  merge: "M3 3.500h10M8 5.500v6M5.500 9 8 11.500 10.500 9M3 13.500h10",
  split: "M2.500 5 8 2.500 13.500 5 8 7.500zM2.500 11 8 8.500l5.500 2.500L8 13.500z",
  behind: "M5.500 2.500h8v8h-8zM2.500 5.500v8h8M8 6.500h3M9.500 5v3",
  again: "M13 8a5 5 0 1 1-1.600-3.700M13 2.500v3h-3",
  remove: "M3 4.500h10M6.500 4.500V3h3v1.500M4.500 4.500l.600 9h5.800l.600-9M7 7v4M9 7v4",
  close: "m4 4 8 8M12 4l-8 8",
  help: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM6.300 6.300a1.700 1.700 0 1 1 2.300 1.900c-.500.300-.600.600-.600 1.300M8 11.300v.200",
  theme: "M8 2.500a5.500 5.500 0 1 0 0 11zM8 2.500a5.500 5.500 0 0 1 0 11",
  export: "M8 2.500v7M5.500 7 8 9.500 10.500 7M2.500 10v3.500h11V10",
  up: "M8 13V3.500M4.500 7 8 3.500 11.500 7",
  down: "M8 3v9.500M4.500 9 8 12.500 11.500 9",
  fold: "m5.500 6.500 2.500 3 2.500-3",
  clip: "M4 3v6.500h7M8.500 7l2.500 2.500L8.500 12",
  mask: "M2.500 2.500h11v11h-11zM8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z",
  flip: "M8 2v12M6 4.500 2.500 11H6zM10 4.500l3.500 6.500H10z",
};

export const icon = (name) =>
  `<svg viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.300" stroke-linejoin="round" stroke-linecap="round" aria-hidden="true"><path d="${paths[name]}"/></svg>`;

export const button = (name, label, action, extra = "") =>
  `<button type="button" class="icon" data-action="${action}" aria-label="${label}" title="${label}" ${extra}>${icon(name)}</button>`;

export const worded = (name, words, action, title) =>
  `<button type="button" data-action="${action}" aria-label="${title}" title="${title}">${icon(name)} ${words}</button>`;
