// SQL in the browser: DuckDB-Wasm and the atlas's tables, all from this site.

const MOST_ROWS = 500;

function script(address) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = address;
    element.onload = resolve;
    element.onerror = () => reject(new Error("The engine could not be read from this site."));
    document.head.append(element);
  });
}

class Engine {
  constructor(root, folders, say) {
    this.root = root;
    this.engine = new URL(`${folders.engine}/`, root);
    this.tables = new URL(`${folders.tables}/`, root);
    this.say = say;
    this.loaded = new Set();
  }

  async start() {
    this.say("Loading the engine, 35 MB …");
    await script(new URL("arrow.js", this.engine));
    const duckdb = await import(new URL("duckdb-browser.mjs", this.engine));
    // A worker made of a blob is held to this page's policy: it can ask no other host.
    const code = `importScripts(${JSON.stringify(new URL("duckdb-browser-eh.worker.js", this.engine).href)})`;
    const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
    this.db = new duckdb.AsyncDuckDB(new duckdb.VoidLogger(), worker);
    await this.db.instantiate(new URL("duckdb-eh.wasm", this.engine).href);
    this.connection = await this.db.connect();
    // Nothing is fetched from another host, whatever a statement asks for.
    await this.connection.query("SET autoinstall_known_extensions = false");
    await this.connection.query("SET autoload_known_extensions = false");
    const answer = await fetch(new URL("index.json", this.tables));
    const { tables, left_out, columns_left_out } = await answer.json();
    this.known = Object.keys(tables);
    this.leftOut = [...left_out, ...columns_left_out];
  }

  async query(sql) {
    this.ready ??= this.start();
    await this.ready;
    const words = new Set(sql.toLowerCase().match(/[a-z_]+/g));
    for (const table of this.known) {
      if (!words.has(table) || this.loaded.has(table)) continue;
      this.say(`Loading the table ${table} …`);
      const answer = await fetch(new URL(`${table}.duckdb`, this.tables));
      if (!answer.ok) throw new Error(`The table ${table} could not be read from this site.`);
      await this.db.registerFileBuffer(`${table}.duckdb`, new Uint8Array(await answer.arrayBuffer()));
      await this.connection.query(`ATTACH '${table}.duckdb' AS file_${table} (READ_ONLY)`);
      await this.connection.query(`CREATE VIEW ${table} AS FROM file_${table}.${table}`);
      this.loaded.add(table);
    }
    this.say("Running …");
    return this.connection.query(sql).catch((error) => {
      const lacking = this.leftOut.find((name) => words.has(name.split(".").at(-1)));
      if (!lacking) throw error;
      const kind = lacking.includes(".") ? "column" : "table";
      throw new Error(`The ${kind} ${lacking} is not on this page: it holds pictures or is too large to send. ` +
        "Ask the whole atlas: neuron-atlas sql, or DuckDB on the file of the page Downloads.");
    });
  }
}

function written(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number" && !Number.isInteger(value)) return String(Number(value.toPrecision(6)));
  if (typeof value === "object" && typeof value[Symbol.iterator] === "function") {
    const quoted = (one) => (typeof one === "string" ? JSON.stringify(one) : written(one));
    return `[${[...value].map(quoted).join(", ")}]`;
  }
  return String(value);
}

/** Lead from an answer's `layer` and `unit` to the unit's page. */
async function linkUnits(table, result, finder) {
  const layers = result.getChild("layer");
  const units = result.getChild("unit");
  if (!layers || !units) return;
  const column = result.schema.fields.findIndex((field) => field.name === "unit");
  const rows = [...table.tBodies[0].rows];
  const ways = await Promise.all(rows.map((_, i) => finder.unitHref(Number(layers.get(i)), Number(units.get(i)))));
  rows.forEach((row, i) => {
    if (!ways[i] || layers.get(i) === null || units.get(i) === null) return;
    const link = document.createElement("a");
    link.href = ways[i];
    link.textContent = row.cells[column].textContent;
    row.cells[column].replaceChildren(link);
  });
}

function tableOf(result) {
  const table = document.createElement("table");
  table.className = "na-table";
  const names = result.schema.fields.map((field) => field.name);
  const head = table.createTHead().insertRow();
  for (const name of names) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = table.createTBody();
  const columns = names.map((_, i) => result.getChildAt(i));
  for (let i = 0; i < Math.min(result.numRows, MOST_ROWS); i++) {
    const row = body.insertRow();
    for (const column of columns) row.insertCell().textContent = written(column.get(i));
  }
  const scroll = document.createElement("div");
  scroll.className = "na-scroll";
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Answer");
  scroll.append(table);
  return scroll;
}

export function startAsking(place, root, finder) {
  const text = place.querySelector("textarea");
  const said = place.querySelector("[data-said]");
  const answer = place.querySelector("[data-answer]");
  const say = (words, failed = false) => {
    said.textContent = words;
    said.classList.toggle("na-failed", failed);
  };
  const engine = new Engine(root, place.dataset, say);

  const run = async () => {
    const start = performance.now();
    history.replaceState(null, "", `${location.pathname}?q=${encodeURIComponent(text.value)}`);
    try {
      const result = await engine.query(text.value);
      const seconds = ((performance.now() - start) / 1000).toFixed(2);
      const cut = result.numRows > MOST_ROWS ? `, the first ${MOST_ROWS} of them below` : "";
      const shown = tableOf(result);
      answer.replaceChildren(shown);
      linkUnits(shown.querySelector("table"), result, finder).catch(() => {});
      say(`${result.numRows.toLocaleString("en")} rows in ${seconds} s${cut}.`);
    } catch (error) {
      answer.replaceChildren();
      // The engine says the place of an error twice.
      say([...new Set(error.message.split("\n\n"))].join("\n"), true);
    }
  };
  const given = new URLSearchParams(location.search).get("q");
  if (given) text.value = given;
  place.querySelector("[data-run]").addEventListener("click", run);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  });
  for (const button of place.querySelectorAll("[data-sql]")) {
    button.addEventListener("click", () => {
      text.value = button.dataset.sql;
      run();
    });
  }
}
