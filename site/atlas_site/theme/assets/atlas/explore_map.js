// The map of all units: a strip of cells for each layer, coloured by a figure.

import { visible } from "./find.js";

const LABEL_PX = 50;
const MOST_PX = 14;
const HEIGHT_PX = 760;
const TALL_PX = 2600;
const LENS = { columns: 25, rows: 9, cell: 10 };
/** Units that are not meant sink into the ground; those that are, but have no value, stand out a little. */
const DIM = [24, 25, 34];
const EMPTY = [43, 45, 58];

/** From nearly black over red and orange to pale yellow. */
const COLOURS = Array.from({ length: 256 }, (_, i) => {
  const stops = [[60, 42, 86], [138, 48, 98], [214, 72, 62], [247, 146, 50], [255, 236, 150]];
  const place = (i / 255) * (stops.length - 1);
  const low = Math.min(Math.floor(place), stops.length - 2);
  return stops[low].map((from, c) => Math.round(from + (stops[low + 1][c] - from) * (place - low)));
});

export function shade(value, { low, high, is_log }) {
  if (Number.isNaN(value) || (is_log && value <= 0)) return -1;
  const part = is_log
    ? Math.log(value / low) / Math.log(high / low)
    : (value - low) / (high - low);
  return Math.round(255 * Math.min(Math.max(part, 0), 1));
}

export function format(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const shown = Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6 ? value.toExponential(2) : value.toPrecision(3);
  return shown.replace("-", "−");
}

export class UnitMap {
  constructor(place, columns, pick) {
    this.columns = columns;
    this.told = pick;
    this.strips = place.querySelector("[data-strips]");
    this.picked = place.querySelector("[data-picked]");
    this.uid = null;
    this.strips.hidden = false;
    this.build();
    this.strips.addEventListener("keydown", (event) => this.key(event));
    this.strips.addEventListener("dblclick", () => this.open());
  }

  build() {
    const { n_layers } = this.columns.index;
    const rows = Array.from({ length: n_layers }, (_, layer) => {
      const row = document.createElement("div");
      const label = document.createElement("a");
      label.textContent = layer;
      label.href = this.columns.finder.href(`l/${layer}.html`);
      label.title = `Layer ${layer}`;
      label.tabIndex = -1;
      const canvas = document.createElement("canvas");
      canvas.addEventListener("click", (event) => this.at(canvas, layer, event, true));
      canvas.addEventListener("pointermove", (event) => this.at(canvas, layer, event, false));
      row.append(label, canvas);
      return row;
    });
    this.hover = document.createElement("output");
    this.mark = document.createElement("i");
    this.strips.replaceChildren(...rows, this.mark, this.hover);
    this.canvases = rows.map((row) => row.querySelector("canvas"));
    this.legend = document.createElement("p");
    this.legend.className = "na-legend";
    this.strips.before(this.legend);
    this.strips.addEventListener("pointerleave", () => (this.hover.textContent = ""));
  }

  /** Choose the size of a cell so that all strips are seen at once, if that can be. */
  layout() {
    const { n_layers, units_per_layer } = this.columns.index;
    const width = Math.max(this.strips.clientWidth - LABEL_PX, 64);
    const measure = (cell) => {
      const columns = Math.min(Math.floor(width / cell), units_per_layer);
      const rows = Math.ceil(units_per_layer / columns);
      return { cell, columns, rows, height: n_layers * (rows * cell + 3) };
    };
    let chosen = measure(MOST_PX);
    while (chosen.height > HEIGHT_PX && chosen.cell > 2) chosen = measure(chosen.cell - 1);
    if (chosen.height > TALL_PX) chosen = measure(1);
    Object.assign(this, { cell: chosen.cell, across: chosen.columns, down: chosen.rows });
    for (const canvas of this.canvases) {
      canvas.width = this.across;
      canvas.height = this.down;
      canvas.style.width = `${this.across * this.cell}px`;
      canvas.style.height = `${this.down * this.cell}px`;
    }
    this.paint();
  }

  draw(mask, values, figure, name) {
    Object.assign(this, { mask, values, figure });
    const found = /^L(\d+)\.U(\d+)$/.exec(name ?? "");
    const { units_per_layer } = this.columns.index;
    const uid = found ? Number(found[1]) * units_per_layer + Number(found[2]) : null;
    this.uid = uid !== null && uid < this.columns.n ? uid : null;
    this.showLegend();
    this.layout();
    this.show();
  }

  colour(uid) {
    if (!this.mask[uid]) return DIM;
    const place = shade(this.values[uid], this.figure);
    return place < 0 ? EMPTY : COLOURS[place];
  }

  paint() {
    if (!this.mask) return;
    const { units_per_layer } = this.columns.index;
    this.canvases.forEach((canvas, layer) => {
      const context = canvas.getContext("2d");
      const image = context.createImageData(this.across, this.down);
      for (let unit = 0; unit < units_per_layer; unit++) {
        const [red, green, blue] = this.colour(layer * units_per_layer + unit);
        image.data.set([red, green, blue, 255], 4 * unit);
      }
      context.putImageData(image, 0, 0);
    });
    this.place();
  }

  showLegend() {
    const { name, title, meaning, low, is_log } = this.figure;
    const high = ["images", "words"].includes(name) ? Math.ceil(this.figure.high) : this.figure.high;
    const bar = document.createElement("span");
    const stops = [0, 64, 128, 191, 255].map((i) => `rgb(${COLOURS[i].join(" ")})`);
    bar.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
    const none = document.createElement("span");
    none.className = "na-none-cell";
    none.style.background = `rgb(${EMPTY.join(" ")})`;
    const least = `${title}: ${format(low)}`;
    const most = `${format(high)} and above${is_log ? ", logarithmic" : ""}`;
    this.legend.replaceChildren(least, bar, most, none, is_log ? "0" : "none", ` · ${meaning}.`);
  }

  at(canvas, layer, event, chosen) {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * this.across);
    const row = Math.floor(((event.clientY - box.top) / box.height) * this.down);
    this.choose(layer, column, row, chosen);
  }

  choose(layer, column, row, chosen) {
    const { units_per_layer, n_layers } = this.columns.index;
    const unit = row * this.across + column;
    if (column < 0 || column >= this.across || unit < 0 || unit >= units_per_layer) return;
    if (layer < 0 || layer >= n_layers) return;
    const uid = layer * units_per_layer + unit;
    this.hover.textContent = `${this.columns.name(uid)}  ${this.figure.title} ${format(this.values[uid])}`;
    if (!chosen) return;
    this.uid = uid;
    this.told(uid);
    this.place();
    this.show();
  }

  key(event) {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter") this.open();
    if (!step || event.target !== this.strips) return;
    event.preventDefault();
    const { units_per_layer } = this.columns.index;
    if (this.uid === null) {
      this.choose(0, 0, 0, true);
      return;
    }
    let layer = Math.floor(this.uid / units_per_layer);
    const unit = this.uid % units_per_layer;
    const column = (unit % this.across) + step[0];
    let row = Math.floor(unit / this.across) + step[1];
    // Up and down lead on into the next layer.
    if (row < 0 || (step[1] > 0 && row * this.across + column >= units_per_layer)) {
      layer += step[1];
      row = step[1] > 0 ? 0 : Math.floor((units_per_layer - 1 - column) / this.across);
    }
    this.choose(layer, column, row, true);
  }

  async open() {
    const href = this.uid === null ? null : await this.columns.href(this.uid);
    if (href) location.assign(href);
  }

  /** Set the mark around the chosen cell. */
  place() {
    this.mark.hidden = this.uid === null;
    if (this.uid === null) return;
    const { units_per_layer } = this.columns.index;
    const canvas = this.canvases[Math.floor(this.uid / units_per_layer)];
    const unit = this.uid % units_per_layer;
    const size = Math.max(this.cell, 5);
    const spare = (size - this.cell) / 2;
    this.mark.style.left = `${canvas.offsetLeft + (unit % this.across) * this.cell - spare}px`;
    this.mark.style.top = `${canvas.offsetTop + Math.floor(unit / this.across) * this.cell - spare}px`;
    this.mark.style.width = this.mark.style.height = `${size}px`;
  }

  /** Tell what the chosen unit is, with a lens on the cells around it. */
  async show() {
    const uid = this.uid;
    this.picked.hidden = uid === null;
    if (uid === null) return;
    const [[tokens, ...figures], href] = await Promise.all([this.columns.row(uid), this.columns.href(uid)]);
    if (uid !== this.uid) return;
    const name = document.createElement(href ? "a" : "span");
    name.textContent = this.columns.name(uid);
    name.className = "na-u";
    if (href) name.href = href;
    const words = document.createElement("span");
    for (const token of tokens) words.append(tokenElement(token), " ");
    const facts = this.columns.index.figures.map((figure, i) => `${figure.title} ${format(figures[i])}`);
    const small = document.createElement("small");
    small.textContent = facts.join(" · ");
    const text = document.createElement("div");
    text.append(name, words, small);
    this.picked.replaceChildren(this.lens(), text);
  }

  lens() {
    const { units_per_layer } = this.columns.index;
    const first = Math.floor(this.uid / units_per_layer) * units_per_layer;
    const unit = this.uid % units_per_layer;
    const left = (unit % this.across) - (LENS.columns >> 1);
    const top = Math.floor(unit / this.across) - (LENS.rows >> 1);
    const canvas = document.createElement("canvas");
    canvas.width = LENS.columns * LENS.cell;
    canvas.height = LENS.rows * LENS.cell;
    const context = canvas.getContext("2d");
    for (let row = 0; row < LENS.rows; row++) {
      for (let column = 0; column < LENS.columns; column++) {
        const near = (top + row) * this.across + left + column;
        const inside = left + column >= 0 && left + column < this.across && near >= 0 && near < units_per_layer;
        if (!inside) continue;
        context.fillStyle = `rgb(${this.colour(first + near).join(" ")})`;
        context.fillRect(column * LENS.cell, row * LENS.cell, LENS.cell - 1, LENS.cell - 1);
      }
    }
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    const middle = [(LENS.columns >> 1) * LENS.cell, (LENS.rows >> 1) * LENS.cell];
    context.strokeRect(middle[0], middle[1], LENS.cell - 1, LENS.cell - 1);
    canvas.title = "The cells around it: click one";
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      const column = left + Math.floor(((event.clientX - box.left) / box.width) * LENS.columns);
      const row = top + Math.floor(((event.clientY - box.top) / box.height) * LENS.rows);
      this.choose(first / units_per_layer, column, row, true);
    });
    return canvas;
  }
}

/** Show a token as the pages do: its space as ␣, what hides by its code. */
export function tokenElement(token) {
  const shown = document.createElement("bdi");
  const marks = { " ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥" };
  for (const character of token || "∅") {
    if (character in marks) {
      const mark = document.createElement("i");
      mark.textContent = marks[character];
      shown.append(mark);
    } else {
      shown.append(visible(character));
    }
  }
  return shown;
}
