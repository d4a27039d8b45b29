// The explore page: which units are meant, read from the address and written to it; the map and the
// table show them. The data is what atlas_site/explore_files.py writes.

import { fold, visible } from "./find.js";
import { UnitMap } from "./explore_map.js";
import { UnitTable } from "./explore_table.js";

const CHOSEN = ["word", "layer", "images", "interpretable", "hide", "by", "sort", "rising", "page", "unit"];
const DEFAULTS = { by: "images", sort: "images" };

export class Columns {
  constructor(finder, index) {
    this.finder = finder;
    this.index = index;
    this.n = index.n_layers * index.units_per_layer;
  }

  async figure(name) {
    return new Float32Array(await this.finder.bytes(`explore/${name}.f32`));
  }

  async flags() {
    return new Uint8Array(await this.finder.bytes("explore/flags.u8"));
  }

  /** Give a unit's first tokens and its figures, in the order of index.figures. */
  async row(uid) {
    const { shard_units } = this.index;
    const rows = await this.finder.json(`explore/rows/${Math.floor(uid / shard_units)}.json`);
    return rows[uid % shard_units];
  }

  name(uid) {
    const { units_per_layer } = this.index;
    return `L${Math.floor(uid / units_per_layer)}.U${uid % units_per_layer}`;
  }

  href(uid) {
    const { units_per_layer } = this.index;
    return this.finder.unitHref(Math.floor(uid / units_per_layer), uid % units_per_layer);
  }
}

/** Mark the units that are meant: { mask, n, words }, `words` saying what is amiss. */
export async function narrow(columns, finder, state) {
  const { units_per_layer } = columns.index;
  const mask = new Uint8Array(columns.n);
  let words = "";
  const word = fold(state.word ?? "");
  const uids = word ? await finder.unitsOf(word) : null;
  if (!word) mask.fill(1);
  else if (uids) for (const uid of uids) mask[uid] = 1;
  else words = `No unit promotes “${visible(word)}”.`;
  const least = Number(state.images || 0);
  if (least > 0) {
    const images = await columns.figure("images");
    for (let uid = 0; uid < columns.n; uid++) if (!(images[uid] >= least)) mask[uid] = 0;
  }
  if (state.interpretable || state.hide) {
    const flags = await columns.flags();
    const wanted = state.interpretable ? 1 : 0;
    const unwanted = state.hide ? 2 : 0;
    for (let uid = 0; uid < columns.n; uid++) {
      if ((flags[uid] & wanted) !== wanted || flags[uid] & unwanted) mask[uid] = 0;
    }
  }
  if (state.layer !== undefined && state.layer !== "") {
    const first = Number(state.layer) * units_per_layer;
    mask.fill(0, 0, first);
    mask.fill(0, first + units_per_layer);
  }
  let n = 0;
  for (const one of mask) n += one;
  return { mask, n, words };
}

function readAddress() {
  const given = new URLSearchParams(location.search);
  const state = { ...DEFAULTS };
  for (const key of CHOSEN) if (given.has(key)) state[key] = given.get(key);
  return state;
}

function addressOf(state) {
  const given = new URLSearchParams();
  for (const key of CHOSEN) {
    const value = state[key];
    if (value !== undefined && value !== "" && String(value) !== DEFAULTS[key]) given.set(key, value);
  }
  const text = String(given);
  return location.pathname + (text ? `?${text}` : "");
}

class Explorer {
  constructor(place, finder, index) {
    this.place = place;
    this.finder = finder;
    this.columns = new Columns(finder, index);
    this.form = place.querySelector("form");
    this.said = place.querySelector("[data-said]");
    this.state = readAddress();
    this.latest = 0;
    this.map = new UnitMap(place, this.columns, (uid) => this.pick(uid));
    this.table = new UnitTable(place.querySelector("[data-table]"), this.columns, (change) => this.choose(change));
  }

  start() {
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => this.choose({ ...this.formState(), page: "" }));
    this.form.addEventListener("reset", (event) => {
      event.preventDefault();
      this.choose({ word: "", layer: "", images: "", interpretable: "", hide: "", page: "" });
    });
    // While typing the address follows without a step of history for each letter.
    let waiting;
    this.form.elements.word.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => this.choose({ ...this.formState(), page: "" }, { typing: true }), 150);
    });
    addEventListener("popstate", () => {
      this.state = readAddress();
      this.show();
    });
    let width = this.place.clientWidth;
    new ResizeObserver(() => {
      if (Math.abs(this.place.clientWidth - width) < 8) return;
      width = this.place.clientWidth;
      this.map.layout();
    }).observe(this.place);
    return this.show();
  }

  formState() {
    const state = {};
    for (const field of this.form.elements) {
      if (field.name) state[field.name] = field.type === "checkbox" ? (field.checked ? field.value : "") : field.value;
    }
    return state;
  }

  /** Take a choice over, into the address as well. */
  choose(change, { typing = false } = {}) {
    this.state = { ...this.state, ...change };
    const address = addressOf(this.state);
    if (address !== location.pathname + location.search) {
      history[typing ? "replaceState" : "pushState"](null, "", address);
    }
    return this.show();
  }

  pick(uid) {
    this.state.unit = this.columns.name(uid);
    history.replaceState(null, "", addressOf(this.state));
  }

  async show() {
    const mine = ++this.latest;
    const { state, columns } = this;
    for (const field of this.form.elements) {
      if (!field.name) continue;
      if (field.type === "checkbox") field.checked = Boolean(state[field.name]);
      else if (document.activeElement !== field) field.value = state[field.name] ?? "";
    }
    try {
      const known = columns.index.figures.map((figure) => figure.name);
      const by = known.includes(state.by) ? state.by : DEFAULTS.by;
      const sort = known.includes(state.sort) ? state.sort : DEFAULTS.sort;
      const [{ mask, n, words }, colours, keys, flags] = await Promise.all([
        narrow(columns, this.finder, state), columns.figure(by), columns.figure(sort), columns.flags(),
      ]);
      if (mine !== this.latest) return;
      const counted = `${n.toLocaleString("en")} of ${columns.n.toLocaleString("en")} units`;
      const todo = n ? "Click a cell, or move with the arrow keys; Enter opens its page." : "Ask for less, or begin again with “all units”.";
      this.said.textContent = `${words || `${counted}.`} ${todo}`;
      this.map.draw(mask, colours, columns.index.figures[known.indexOf(by)], state.unit);
      await this.table.draw({ mask, n, keys, sort, flags, rising: Boolean(state.rising), page: Number(state.page || 1) });
    } catch (error) {
      this.said.textContent = "The data of this page could not be read from this site.";
      throw error;
    }
  }
}

export async function startExplore(place, finder) {
  const index = await finder.json("explore/index.json");
  await new Explorer(place, finder, index).start();
  place.dataset.ready = "1";
}
