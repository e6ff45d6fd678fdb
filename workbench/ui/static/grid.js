// Draws a GridView.json (see grid_view.py) into a table, only the parts that changed; opens cells in a dialog.
// gradio calls this once with: element, props (props.value is the JSON), watch. Text is inserted as text, never as HTML.

const root = element.querySelector("[data-root]");
let shown = null, parts = null, box = null;

function make(tag, classes = "", text = "", attributes = {}) {
  const node = document.createElement(tag);
  if (classes) node.className = classes;
  if (text) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function describe(s, r, c) {
  const section = shown.sections[s], model = shown.models[r];
  return `${model.title}, seed ${shown.seeds[c]}, "${section.prompt}"`;
}

function draw() {
  const grid = props.value;
  if (!grid || grid.status === "empty") return drawEmpty();
  const fresh = !shown || shown.id !== grid.id, active = ["waiting", "running", "stopping"].includes(grid.status);
  if (!fresh && grid.version < shown.version) return;  // an older message, which this one overtook
  shown = grid;
  if (fresh) build();
  setText(parts.message, grid.message);
  setText(parts.legend, grid.legend);
  if (parts.status !== grid.status) setText(parts.spoken, grid.message);  // announced when the state changes, not at every cell
  parts.status = root.dataset.status = grid.status;
  parts.bar.value = grid.done;
  parts.bar.hidden = !active;
  parts.how.forEach(({ node, r }) => setText(node, grid.models[r].how));
  grid.sections.forEach((section, s) => section.rows.forEach((row, r) => drawRow(row, s, r)));
}

function drawEmpty() {
  shown = null;
  root.dataset.status = "empty";
  root.replaceChildren(make("p", "wb-empty", "No grid yet. Choose prompts, seeds and models above, then press “Generate grid”."));
}

function build() {
  parts = { cells: [], rows: [], how: [], status: "" };
  const head = make("div", "wb-head");
  parts.message = make("span", "wb-message");
  parts.spoken = make("span", "wb-spoken", "", { role: "status" });
  parts.bar = make("progress", "wb-progress", "", { max: 1, "aria-label": "Generating the grid" });
  parts.legend = make("span", "wb-legend");
  head.append(parts.message, parts.bar, parts.spoken, parts.legend);
  root.replaceChildren(head, ...shown.sections.map(buildSection));
  const kept = [...new URLSearchParams(location.search)].filter(([name]) => name.startsWith("__"));
  const extra = kept.length ? "&" + new URLSearchParams(kept) : "";
  root.dataset.link = location.origin + location.pathname + shown.link;
  history.replaceState(null, "", shown.link + extra);  // reloading the page recreates the grid
}

function buildSection(section, s) {
  const node = make("section", "wb-section");
  node.append(make("h3", "wb-prompt", section.prompt));
  const scroll = make("div", "wb-scroll", "", { tabindex: 0, role: "region", "aria-label": `Seed grid of "${section.prompt}"` });
  const table = make("table", "wb-table");
  table.style.setProperty("--seeds", shown.seeds.length);
  const header = make("tr");
  header.append(make("td", "wb-corner", "same noise down a column"));
  shown.seeds.forEach((seed) => header.append(make("th", "wb-seed", `seed ${seed}`, { scope: "col" })));
  const head = make("thead"), body = make("tbody");
  head.append(header);
  parts.rows[s] = [];
  parts.cells[s] = [];
  shown.models.forEach((model, r) => body.append(buildRow(model, s, r)));
  table.append(head, body);
  scroll.append(table);
  node.append(scroll);
  return node;
}

function buildRow(model, s, r) {
  const line = make("tr"), label = make("th", "wb-model", "", { scope: "row" });
  const how = make("span", "wb-how"), cost = make("span", "wb-cost"), diversity = make("span", "wb-diversity");
  const track = make("span", "wb-track", "", { "aria-hidden": "true" }), note = make("span", "wb-note");
  track.append(make("i", "wb-range"), make("i", "wb-value"));
  diversity.append(make("span"), " ", make("span"));
  label.append(make("span", "wb-name", model.title, { title: model.name }), how, cost, diversity, track, note);
  parts.how.push({ node: how, r });
  parts.rows[s][r] = { cost, diversity, track, note };
  parts.cells[s][r] = shown.seeds.map(() => ({ place: make("td", "wb-place"), state: null }));
  line.append(label, ...parts.cells[s][r].map((cell) => cell.place));
  return line;
}

function drawRow(row, s, r) {
  const { cost, diversity, track, note } = parts.rows[s][r];
  setText(cost, row.cost);
  const [value, interval] = row.diversity.split(" [");
  setText(diversity.firstChild, value ? `Div ${value}` : "");
  setText(diversity.lastChild, interval ? `[${interval}` : "");
  diversity.title = row.feature ? `Eq. (9) on ${row.feature}, with the 95 % interval over these seeds` : "";
  setText(note, row.note);
  note.title = row.note;
  track.hidden = !row.interval;
  if (row.interval) drawTrack(track, ...row.interval);
  row.cells.forEach((cell, c) => drawCell(cell, s, r, c));
}

function drawTrack(track, value, low, high) {  // from 0 to the end of the longest interval in the grid
  const known = shown.sections.flatMap((section) => section.rows).filter((row) => row.interval);
  const most = Math.max(...known.map(({ interval }) => interval[2] ?? interval[0]), 1e-6), percent = (x) => `${x / most * 100}%`;
  track.lastChild.style.left = percent(value);
  track.firstChild.style.left = percent(low ?? value);
  track.firstChild.style.width = percent((high ?? value) - (low ?? value));
}

function drawCell(cell, s, r, c) {
  const kept = parts.cells[s][r][c], state = cell.url || (cell.error ? `!${cell.error}` : "");
  if (kept.state === state) return;
  kept.state = state;
  if (!state) return kept.place.replaceChildren(make("span", "wb-cell wb-pending"));
  const button = make("button", "wb-cell", "", { type: "button", "data-at": `${s},${r},${c}`, "aria-label": describe(s, r, c) });
  if (cell.url) {
    button.append(make("img", "", "", { src: cell.url, alt: "", draggable: "false" }));
  } else {
    button.classList.add("wb-failed");
    button.title = cell.error;
    button.setAttribute("aria-label", `${describe(s, r, c)}: failed. ${cell.error}`);
    button.append(make("span", "", "failed"));
  }
  kept.place.replaceChildren(button);
}

// The enlarged cell: arrow keys move along seeds and models, the strip shows the column's other models.
function cellAt([s, r, c]) {
  return shown?.sections[s]?.rows[r]?.cells[c];
}

function enlarge(at) {
  if (!box) {
    box = make("dialog", "wb-box", "", { "aria-label": "Enlarged cell", tabindex: -1 });
    box.addEventListener("keydown", onBoxKey);
    box.addEventListener("click", (event) => event.target === box && box.close());
    box.addEventListener("close", () => root.querySelector(`[data-at="${box.at}"]`)?.focus());
    element.append(box);
  }
  if (!box.open) box.showModal();
  fillBox(at);
}

function fillBox(at) {
  const [s, r, c] = (box.at = at), cell = cellAt(at), model = shown.models[r];
  const row = shown.sections[s].rows[r];
  const top = make("div", "wb-box-top"), close = make("button", "wb-close", "×", { type: "button", "aria-label": "Close" });
  close.onclick = () => box.close();
  top.append(make("strong", "", `${model.title} · seed ${shown.seeds[c]}`), close);
  const facts = [shown.sections[s].prompt, model.how, row.cost].filter(Boolean).join(" · ");
  const picture = cell.url ? make("img", "wb-large", "", { src: cell.url, alt: describe(s, r, c) })
                           : make("p", "wb-large wb-error", cell.error);
  const strip = make("div", "wb-strip");
  shown.models.forEach((other, n) => strip.append(buildThumb(other, [s, n, c], n === r)));
  const foot = make("div", "wb-box-foot");
  foot.append(make("span", "wb-keys", "← → seeds   ↑ ↓ models   Esc closes"));
  const file = `${model.name}-seed-${shown.seeds[c]}.png`;
  if (cell.url) foot.append(make("a", "wb-save", "Save PNG", { href: cell.url, download: file }));
  box.replaceChildren(top, make("p", "wb-facts", facts), picture, strip, foot);
  box.focus();  // the focused element is gone, and arrow keys are read here
}

function buildThumb(model, at, current) {
  const cell = cellAt(at), thumb = make("button", "wb-thumb", "", { type: "button", "aria-pressed": current });
  thumb.append(cell.url ? make("img", "", "", { src: cell.url, alt: "" }) : make("span", "wb-hole", cell.error ? "failed" : ""),
               make("span", "", model.title));
  thumb.disabled = !cell.url && !cell.error;
  thumb.onclick = () => fillBox(at);
  return thumb;
}

function moved(at, key) {
  const [s, r, c] = at, step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[key];
  if (!step) return null;
  const next = [s, r + step[0], c + step[1]], cell = cellAt(next);
  return cell && (cell.url || cell.error) ? next : null;
}

function onBoxKey(event) {
  const next = moved(box.at, event.key);
  if (next) fillBox(next);
  if (event.key.startsWith("Arrow")) event.preventDefault();
}

root.addEventListener("click", (event) => {
  const cell = event.target.closest("[data-at]");
  if (cell) enlarge(cell.dataset.at.split(",").map(Number));
});

root.addEventListener("keydown", (event) => {
  const cell = event.target.closest("[data-at]");
  const next = cell && moved(cell.dataset.at.split(",").map(Number), event.key);
  if (!next) return;
  event.preventDefault();
  root.querySelector(`[data-at="${next}"]`)?.focus();
});

watch("value", draw);
draw();
