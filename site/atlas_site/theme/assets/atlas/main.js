// What pages do beyond Material: search, heatmaps, the map of a layer, keys, copying.

import { Finder } from "./find.js";
import { attachSearch } from "./searchbox.js";
import { startHeatmaps } from "./heatmaps.js";

/** The site's root, wherever it is served from. */
const root = new URL("../../", import.meta.url);
const finder = new Finder(root);

for (const input of document.querySelectorAll("[data-atlas-search]")) {
  attachSearch(input, document.getElementById(input.dataset.atlasSearch), finder);
}
startHeatmaps();
// The first key is answered at once when the index is there already.
const whenIdle = window.requestIdleCallback ?? ((then) => setTimeout(then, 200));
addEventListener("load", () => whenIdle(() => finder.index().catch(() => {})));
const explore = document.querySelector("[data-explore]");
if (explore) import("./explore.js").then(({ startExplore }) => startExplore(explore, finder));
const ask = document.querySelector("[data-ask]");
if (ask) import("./ask.js").then(({ startAsking }) => startAsking(ask, root, finder));

// A missing page: a unit that shares a page is led there.
if (document.querySelector("[data-missing]")) {
  const unit = /^u\/(\d+)\/(\d+)\.html$/.exec(location.href.split(/[?#]/)[0].slice(root.href.length));
  if (unit) finder.unitHref(Number(unit[1]), Number(unit[2])).then((href) => href && location.replace(href));
}

async function openRandomUnit() {
  const address = await finder.randomUnit();
  if (address) location.assign(address);
}

for (const button of document.querySelectorAll("[data-random]")) {
  button.addEventListener("click", openRandomUnit);
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key !== "r" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  openRandomUnit();
});

/** Copy a text and say so on the button for a moment; without a clipboard say what to do. */
async function copy(text, button, otherwise) {
  let words = "Copied";
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    words = otherwise;
  }
  const before = button.textContent;
  button.textContent = words;
  button.classList.remove("na-icon");
  setTimeout(() => {
    button.textContent = before;
    button.classList.toggle("na-icon", !before);
  }, 1600);
}

for (const button of document.querySelectorAll("[data-permalink]")) {
  button.addEventListener("click", () => {
    const link = document.querySelector("link[rel=canonical]");
    copy(link ? link.href : location.href.split("#")[0], button, "Copy it from the address bar");
  });
}

for (const code of document.querySelectorAll(".md-typeset pre > code")) {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "na-copy na-icon", title: "Copy" });
  button.setAttribute("aria-label", "Copy");
  button.addEventListener("click", () => copy(code.textContent.trimEnd(), button, "Select and copy"));
  code.parentElement.append(button);
}

// Tables of hand-written pages: Material lets them scroll, but not by keys; Markdown heads also the
// corner, which heads nothing.
addEventListener("load", () => {
  document.querySelectorAll(".md-typeset__scrollwrap").forEach((place, i) => {
    place.tabIndex = 0;
    place.setAttribute("role", "region");
    place.setAttribute("aria-label", `Table ${i + 1}`);
  });
  for (const corner of document.querySelectorAll(".md-typeset__table th:empty")) {
    corner.replaceWith(document.createElement("td"));
  }
});

// The map of a layer: point at a cell, or move with the arrow keys, and open its unit.
for (const plane of document.querySelectorAll("[data-plane]")) {
  const { layer, width, units } = plane.dataset;
  const height = Math.ceil(units / width);
  const said = plane.querySelector("output");
  let unit = null;

  const choose = (column, row) => {
    const found = Math.min(Math.max(row, 0), height - 1) * width + Math.min(Math.max(column, 0), width - 1);
    if (found >= units) return;
    unit = found;
    said.textContent = `L${layer}.U${unit}`;
    finder.unitHref(Number(layer), found).then((href) => {
      if (href && unit === found) plane.href = href;
    });
  };
  plane.addEventListener("pointermove", (event) => {
    const box = plane.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * width);
    choose(column, Math.floor(((event.clientY - box.top) / box.height) * height));
  });
  plane.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const from = unit ?? 0;
    choose((from % width) + step[0], Math.floor(from / width) + step[1]);
  });
}
