"use strict";

const EXAMPLES = [
  ["Units in the top 100 of many images that read as words",
    "SELECT layer, unit, n_images, top_tokens\nFROM units\n" +
    "WHERE is_interpretable AND NOT is_always_on\nORDER BY n_images DESC\nLIMIT 20"],
  ["Units that promote a concept",
    "SELECT layer, unit, rank, token, prob, n_shown\nFROM concept_units\n" +
    "WHERE concept = $concept\nORDER BY n_shown DESC, prob DESC, uid"],
  ["In which layers the images' top places lie",
    "SELECT layer, n_top_places, round(share_of_top_places, 3) AS share\n" +
    "FROM layers\nORDER BY layer"],
  ["Words of the units that matter for pictures of a category",
    "SELECT token, count(*) AS n_units\nFROM image_units\nJOIN images USING (image_id)\n" +
    "JOIN unit_tokens USING (uid)\nWHERE list_contains(categories, $category)\n" +
    "  AND sign = 1 AND unit_tokens.rank <= 3\nGROUP BY token\nORDER BY n_units DESC, token\nLIMIT 20"],
  ["One unit's images, with what the model says of them",
    "SELECT rank, image_id, activation, file, caption\nFROM exemplars\n" +
    "JOIN images USING (image_id)\nWHERE layer = $layer AND unit = $unit\nORDER BY rank"],
  ["What this atlas was made of", "SELECT key, value FROM atlas ORDER BY key"],
];
const FIRST_VALUES = { concept: "water", category: "dog", layer: "0", unit: "0" };
const NUMERIC = /^(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*)$/;
const MAX_CELL = 2000;

const byId = (id) => document.getElementById(id);
const statement = byId("statement");

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Names of the statement's parameters, but for those inside of its texts and comments. */
function parameterNames() {
  const code = statement.value.replace(/'(?:[^']|'')*'|"[^"]*"|--[^\n]*|\/\*[^]*?\*\//g, " ");
  return [...new Set([...code.matchAll(/\$([A-Za-z_]\w*)/g)].map((found) => found[1]))];
}

function showParameters() {
  const places = byId("parameters");
  const kept = parameters();
  const texts = parameterNames().map((name) => {
    const label = element("label", "$" + name + " ");
    const input = element("input");
    input.dataset.name = name;
    input.value = name in kept ? String(kept[name] ?? "") : FIRST_VALUES[name] || "";
    input.addEventListener("input", showDownloads);
    label.append(input);
    return label;
  });
  places.replaceChildren(...texts);
  showDownloads();
}

/** What is written like a number is sent as one; "quotes" make it text. */
function parameters() {
  const values = {};
  for (const input of byId("parameters").querySelectorAll("input")) {
    const text = input.value;
    const isNumber = /^-?\d{1,15}(\.\d+)?$/.test(text);
    values[input.dataset.name] = isNumber ? Number(text) : text.replace(/^"(.*)"$/, "$1");
  }
  return values;
}

function query(format) {
  return new URLSearchParams({
    q: statement.value,
    parameters: JSON.stringify(parameters()),
    limit: byId("limit").value || "100",
    format,
  });
}

function showDownloads() {
  for (const link of byId("downloads").querySelectorAll("a")) {
    link.href = "v1/sql?" + query(link.dataset.format);
  }
}

function cell(value, isNumber) {
  if (value === null) return element("td", "NULL", "null");
  let text = typeof value === "object" ? JSON.stringify(value) : String(value);
  if (text.length > MAX_CELL) text = text.slice(0, MAX_CELL) + "…";
  return element("td", text, isNumber ? "number" : "");
}

function showRows(answer, elapsed) {
  const table = element("table");
  const head = table.createTHead().insertRow();
  for (const { name, type } of answer.columns) {
    const th = element("th", name);
    th.scope = "col";
    th.append(element("small", type));
    head.append(th);
  }
  const numeric = answer.columns.map(({ type }) => NUMERIC.test(type));
  const body = table.createTBody();
  for (const row of answer.rows) {
    const tr = body.insertRow();
    answer.columns.forEach(({ name }, i) => tr.append(cell(row[name], numeric[i])));
  }
  byId("result").replaceChildren(table);
  const more = answer.truncated ? " There are more: raise “rows at most”, or add a LIMIT." : "";
  const rows = answer.n_rows === 1 ? "1 row" : answer.n_rows + " rows";
  byId("status").textContent = `${rows} in ${Math.round(elapsed)} ms.${more}`;
}

function showProblem(message, hint) {
  byId("status").textContent = "";
  const text = element("div", undefined, "problem");
  text.append(element("code", message), element("p", hint));
  byId("result").replaceChildren(text);
}

async function run() {
  const button = byId("form").querySelector("button");
  button.disabled = true;
  byId("status").textContent = "Running…";
  history.replaceState(null, "", "#" + query("json"));
  const started = performance.now();
  try {
    const response = await fetch("v1/sql", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        q: statement.value, parameters: parameters(), limit: Number(byId("limit").value || 100),
      }),
    });
    const answer = await response.json();
    if (response.ok) showRows(answer, performance.now() - started);
    else showProblem(answer.error.message, answer.error.hint);
  } catch {
    showProblem("The server does not answer.", "Is it still running? Try again.");
  }
  button.disabled = false;
}

function insert(text) {
  statement.setRangeText(text, statement.selectionStart, statement.selectionEnd, "end");
  statement.focus();
  showParameters();
}

function tableDetails({ table, about, n_rows, columns }) {
  const details = element("details");
  details.append(element("summary", n_rows === null ? table : `${table} (${n_rows})`));
  details.append(element("p", about, "quiet"));
  const list = element("ul");
  for (const column of columns) {
    const item = element("li");
    const button = element("button", column.name);
    button.type = "button";
    button.addEventListener("click", () => insert(column.name));
    const said = column.about ? `${column.type}: ${column.about}` : column.type;
    item.append(button, element("span", " " + said, "quiet"));
    list.append(item);
  }
  details.append(list);
  return details;
}

async function showSchema() {
  const response = await fetch("v1/sql/schema");
  const answer = await response.json();
  if (!response.ok) return showProblem(answer.error.message, answer.error.hint);
  byId("tables").replaceChildren(...answer.tables.map(tableDetails));
  const { statement_bytes, deadline_s, memory_mb, rows, bytes } = answer.limits;
  byId("limits").textContent =
    `A statement of at most ${Math.round(statement_bytes / 1000)} kB is stopped after ` +
    `${deadline_s} s or ${memory_mb} MB of memory; ${rows} rows or ` +
    `${Math.round(bytes / 2 ** 20)} MB at most.`;
}

function begin() {
  const choice = byId("example");
  EXAMPLES.forEach(([title], i) => choice.append(new Option(title, i)));
  choice.addEventListener("change", () => {
    statement.value = EXAMPLES[choice.value][1];
    showParameters();
  });
  const shared = new URLSearchParams(location.hash.slice(1));
  statement.value = shared.get("q") || EXAMPLES[0][1];
  showParameters();
  if (shared.get("limit")) byId("limit").value = shared.get("limit");
  try {
    for (const [name, value] of Object.entries(JSON.parse(shared.get("parameters") || "{}"))) {
      const input = byId("parameters").querySelector(`[data-name="${CSS.escape(name)}"]`);
      if (input) input.value = value;
    }
  } catch { /* an address that was cut off: its statement is there all the same */ }
  showDownloads();
  statement.addEventListener("input", showParameters);
  byId("limit").addEventListener("input", showDownloads);
  statement.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  });
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  showSchema();
}

begin();
