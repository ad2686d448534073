// What the layers of a picture show, in words, one row each from the background up. Knows its rows only.
const MOST = 20;
const WORDS = "Lowest first. The layers get these names. The model hears them too, but no model here was trained to follow them when it "
  + "takes a picture apart.";
const AUTO = "How many layers “auto” finds is known only afterwards, so there is no telling which name would go where. Choose a number of layers to "
  + "name them, or take the picture apart first and rename what was found (double click).";

export class LayerNames {
  constructor(element) {
    this.list = element.querySelector("ol");
    this.hint = element.querySelector(".hint");
    this.summary = element.querySelector("summary");
    this.texts = [];
    this.list.addEventListener("input", ({ target }) => (this.texts[Number(target.closest("li").dataset.index)] = target.value));
  }

  // One row for each of so many layers; null: nobody knows how many there will be. What was written is kept.
  show(layers) {
    const count = Math.min(layers ?? 0, MOST);
    this.hint.textContent = layers === null ? AUTO : WORDS;
    this.summary.textContent = layers === null ? "Name the layers (not with auto)" : "Name the layers";
    while (this.list.children.length > count) this.list.lastChild.remove();
    for (let index = this.list.children.length; index < count; index++) {
      const row = this.list.appendChild(document.createElement("li")), name = index ? `Layer ${index}` : "Background";
      row.dataset.index = index;
      row.innerHTML = '<span class="number"></span><input maxlength="500">';
      row.firstChild.textContent = index + 1;
      row.lastChild.placeholder = name;
      row.lastChild.setAttribute("aria-label", `Name of layer ${index + 1} from below`);
      row.lastChild.value = this.texts[index] ?? "";
    }
  }

  // A text or null for each row; null where nothing was written.
  given() {
    const texts = [...this.list.querySelectorAll("input")].map((input) => input.value.trim() || null);
    return texts.some(Boolean) ? texts : null;
  }
}
