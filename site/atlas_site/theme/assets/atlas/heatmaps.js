// How heatmaps are drawn. Colour and light are the style sheet's; masks and outlines are computed
// here from the strip's exact bytes as atlas_db.heatmaps.mask does: bilinear to 224 pixels, then
// above a percentile of the map itself.

const STORE = "neuron-atlas";
const SIZE_PX = 224;
const strips = new WeakMap();

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(STORE) || "{}");
  } catch {
    return {};
  }
}

const chosen = { form: "heat", strength: 0.8, percentile: 95, ...remembered() };

function remember() {
  try {
    localStorage.setItem(STORE, JSON.stringify(chosen));
  } catch {
    // Without storage the choice holds for this page.
  }
}

/** Read the strip of a group of tiles: { pixels, width, n, rows, columns }. */
function readStrip(group) {
  if (!strips.has(group)) strips.set(group, decodeStrip(group.style));
  return strips.get(group);
}

async function decodeStrip(style) {
  const [, address] = /url\(["']?([^"')]+)["']?\)/.exec(style.getPropertyValue("--strip"));
  const image = new Image();
  image.src = address;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return {
    pixels: context.getImageData(0, 0, image.width, image.height).data,
    width: image.width,
    rows: Number(style.getPropertyValue("--r")),
    columns: Number(style.getPropertyValue("--c")),
  };
}

/** Give where each pixel looks among `n` places: [index, next index, weight of the next]. */
function places(n) {
  return Array.from({ length: SIZE_PX }, (_, i) => {
    const place = Math.max(((i + 0.5) * n) / SIZE_PX - 0.5, 0);
    const low = Math.floor(place);
    return [Math.min(low, n - 1), Math.min(low + 1, n - 1), place - low];
  });
}

/** Upsample tile `k` bilinearly (align_corners=False): Float32Array of SIZE_PX squared. */
export function upsample({ pixels, width, rows, columns }, k) {
  const at = (row, column) => pixels[4 * ((row + 1) * width + k * (columns + 2) + column + 1)];
  const across = places(columns);
  const wide = new Float32Array(rows * SIZE_PX);
  for (let row = 0; row < rows; row++) {
    across.forEach(([low, high, part], x) => {
      wide[row * SIZE_PX + x] = at(row, low) * (1 - part) + at(row, high) * part;
    });
  }
  const values = new Float32Array(SIZE_PX * SIZE_PX);
  places(rows).forEach(([low, high, part], y) => {
    for (let x = 0; x < SIZE_PX; x++) {
      values[y * SIZE_PX + x] = wide[low * SIZE_PX + x] * (1 - part) + wide[high * SIZE_PX + x] * part;
    }
  });
  return values;
}

/** Find the value at a percentile, between two ranks where it falls there (as numpy does). */
export function percentile(values, percent) {
  const sorted = values.slice().sort();
  const place = ((sorted.length - 1) * percent) / 100;
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (sorted[high] - sorted[low]) * (place - low);
}

function paintMask(data, inside) {
  for (let i = 0; i < inside.length; i++) {
    if (!inside[i]) data.set([11, 11, 16, 255], 4 * i);
  }
}

function paintOutline(data, inside) {
  const reach = 4;
  const is = (x, y) => x >= 0 && y >= 0 && x < SIZE_PX && y < SIZE_PX && inside[y * SIZE_PX + x];
  for (let y = 0; y < SIZE_PX; y++) {
    for (let x = 0; x < SIZE_PX; x++) {
      const here = Boolean(is(x, y));
      const turns = [[reach, 0], [-reach, 0], [0, reach], [0, -reach]].some(
        ([dx, dy]) => Boolean(is(x + dx, y + dy)) !== here,
      );
      if (turns) data.set(here ? [255, 228, 94, 255] : [20, 16, 10, 200], 4 * (y * SIZE_PX + x));
    }
  }
}

async function paint(map) {
  const group = map.closest("[style*='--strip']");
  if (!group) return;
  const k = Number(getComputedStyle(map).getPropertyValue("--k"));
  const wanted = `${chosen.form} ${chosen.percentile} ${k}`;
  if (map.dataset.painted === wanted) return;
  map.dataset.painted = wanted;
  const values = upsample(await readStrip(group), k);
  const cut = percentile(values, chosen.percentile);
  const inside = values.map((value) => (value > cut ? 1 : 0));
  const canvas = map.querySelector("canvas") ?? map.appendChild(document.createElement("canvas"));
  canvas.width = canvas.height = SIZE_PX;
  const context = canvas.getContext("2d");
  const image = context.createImageData(SIZE_PX, SIZE_PX);
  (chosen.form === "mask" ? paintMask : paintOutline)(image.data, inside);
  context.putImageData(image, 0, 0);
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    entry.target.dataset.inView = entry.isIntersecting ? "1" : "";
    if (entry.isIntersecting && needsCanvas()) paint(entry.target);
  }
}, { rootMargin: "200px" });

const needsCanvas = () => chosen.form === "mask" || chosen.form === "outline";

function apply() {
  const root = document.documentElement;
  if (chosen.form === "heat") delete root.dataset.form;
  else root.dataset.form = chosen.form;
  root.style.setProperty("--na-strength", chosen.strength);
  for (const button of document.querySelectorAll("button[data-form]")) {
    button.setAttribute("aria-pressed", String(button.dataset.form === chosen.form));
  }
  for (const input of document.querySelectorAll("[data-strength]")) {
    input.value = 100 * chosen.strength;
    input.nextElementSibling.textContent = `${Math.round(100 * chosen.strength)} %`;
  }
  for (const input of document.querySelectorAll("[data-percentile]")) {
    input.value = chosen.percentile;
    input.nextElementSibling.textContent = chosen.percentile;
  }
  if (needsCanvas()) {
    for (const map of document.querySelectorAll(".na-map[data-in-view='1']")) paint(map);
  } else {
    for (const map of document.querySelectorAll(".na-map[data-painted]")) {
      map.querySelector("canvas")?.remove();
      delete map.dataset.painted;
    }
  }
}

/** On an image's page the photograph shows the map of the unit that is pointed at. */
function followUnits(target) {
  const map = target.querySelector(".na-big .na-map");
  const said = target.querySelector("[data-shown]");
  if (!map || !said) return;
  const words = said.textContent;
  const show = (item) => {
    map.style.setProperty("--k", item ? item.dataset.tile : 0);
    said.textContent = item ? `Activation of ${item.querySelector(".na-u").textContent}` : words;
    for (const other of target.querySelectorAll("[data-tile]")) other.classList.toggle("na-shown", other === item);
    if (needsCanvas()) paint(map);
  };
  for (const item of target.querySelectorAll("[data-tile]")) {
    if (!item.querySelector(".na-map")) continue;
    item.addEventListener("pointerenter", () => show(item));
    item.addEventListener("focusin", () => show(item));
    item.addEventListener("pointerleave", () => show(null));
    item.addEventListener("focusout", () => show(null));
  }
}

const FORMS = [
  ["heat", "Heat", "Colour over the photograph, stronger where the unit is more active"],
  ["light", "Light", "The photograph, dark where the unit is not active"],
  ["mask", "Mask", "Only what lies above a percentile of the map, as the paper masks it"],
  ["outline", "Outline", "A line around what lies above that percentile"],
  ["none", "None", "The photograph alone"],
];

function slider(name, words, meaning, low, high, step) {
  const label = document.createElement("label");
  Object.assign(label, { className: `na-${name}`, title: meaning });
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: low, max: high, step });
  input.dataset[name] = "";
  label.append(words, input, document.createElement("output"));
  return label;
}

/** Build the choice of how heatmaps are drawn; it holds for all pages. */
function buildControls(place) {
  const group = document.createElement("span");
  group.className = "na-forms";
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "How heatmaps are drawn");
  for (const [form, name, meaning] of FORMS) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: name, title: meaning });
    button.dataset.form = form;
    group.append(button);
  }
  place.replaceChildren(
    group,
    slider("strength", "Strength", "How much of the photograph the drawing covers", 0, 100, 5),
    slider("percentile", "Percentile", "What lies above this percentile of its own map is kept", 80, 99, 1),
  );
}

export function startHeatmaps() {
  document.querySelectorAll(".na-controls").forEach(buildControls);
  for (const map of document.querySelectorAll(".na-map")) seen.observe(map);
  document.querySelectorAll(".na-target").forEach(followUnits);
  const change = (key, value) => {
    chosen[key] = value;
    remember();
    apply();
  };
  for (const button of document.querySelectorAll("button[data-form]")) {
    button.addEventListener("click", () => change("form", button.dataset.form));
  }
  for (const input of document.querySelectorAll("[data-strength]")) {
    input.addEventListener("input", () => change("strength", input.value / 100));
  }
  for (const input of document.querySelectorAll("[data-percentile]")) {
    input.addEventListener("input", () => change("percentile", Number(input.value)));
  }
  addEventListener("pageshow", (event) => {
    if (event.persisted) {
      Object.assign(chosen, remembered());
      apply();
    }
  });
  apply();
}
