// The participant's page. It knows no method: pictures come under tokens that are made for each trial. A vote is kept in this browser under
// an id of its own until the server has acknowledged it, so a lost network, a closed tab or a repeated click costs nothing.
"use strict";
const $ = (id) => document.getElementById(id);
const base = new URL(".", location.href).pathname;
const TOKEN = `study-participant ${base}`, PENDING = `study-pending ${base} `;  // the second is followed by a submission's id
const store = (() => { try { localStorage.setItem("study-test", "1"); return localStorage; } catch { return sessionStorage; } })();
const state = { token: null, turn: 0, study: null, trial: null, undo: "", answers: {}, shown: 0, busy: false, urls: [] };

// Once a page: another participant's link in another tab must not change who answers here.
function readToken() {
  const fromLink = new URLSearchParams(location.hash.slice(1)).get("me");
  if (fromLink) { store.setItem(TOKEN, fromLink); history.replaceState(null, "", location.pathname); }
  return store.getItem(TOKEN);
}
addEventListener("hashchange", () => location.reload());

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...(options.body ? { "Content-Type": "application/json" } : {}) };
  const token = options.token || state.token;
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(base + path, { ...options, headers, cache: "no-store" });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(told.detail || `The server answered ${answer.status}.`), { status: answer.status });
}
const json = async (path, options) => (await ask(path, options)).json();
const post = (path, body, token) => json(path, { method: "POST", body: JSON.stringify(body), token });

function show(section) {
  for (const id of ["welcome", "instructions", "trial", "end"]) $(id).hidden = id !== section;
  $("main").focus({ preventScroll: true });
}
function say(text) { $("status").textContent = text; }
function warn(text) { $("alert").textContent = text; }

// Lasts until it succeeds, unless the server understood and refused (4xx).
async function insist(action) {
  for (let pause = 1000; ; pause = Math.min(2 * pause, 15000)) {
    try { const done = await action(); warn(""); return done; } catch (error) {
      if (error.status && error.status < 500 && error.status !== 429) throw error;
      warn(error.status === 429 ? "Many people are here at once; trying again …" : "No connection. Your answer is kept here; trying again …");
      await new Promise((go) => { setTimeout(go, pause); addEventListener("online", go, { once: true }); });
    }
  }
}

async function begin() {
  state.study = await insist(() => json("api/study"));
  document.title = $("title").textContent = state.study.title;
  $("consent").textContent = state.study.consent;
  $("how").textContent = state.study.instructions;
  for (const criterion of state.study.criteria) {
    $("criteria-explained").append(element("dt", criterion.question), element("dd", criterion.explanation));
  }
  buildCriteria();
  state.token = readToken();
  let told = "";
  for (const key of Object.keys(store).filter((name) => name.startsWith(PENDING))) {
    try { await send(key); } catch (error) { told = error.message; }  // refused: what it is about is answered, or someone else's
  }
  if (!state.token) return show("welcome");
  try { await next(); } catch (error) {
    if (error.status !== 401) throw error;
    state.token = null;
    told = "This link is not known here. You can begin anew.";
    show("welcome");
  }
  if (told) warn(told);
}

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), text ? { textContent: text } : {}, properties);
}

function buildCriteria() {
  const choices = [["left", "Left", "1"], ["right", "Right", "2"], ...(state.study.ties ? [["tie", "No difference", "3"]] : [])];
  for (const [n, criterion] of state.study.criteria.entries()) {
    const field = element("fieldset", "", { id: `criterion-${n}` });
    field.append(element("legend", criterion.question), element("p", criterion.explanation, { className: "explained" }));
    const row = element("div", "", { className: "choices" });
    for (const [value, title, key] of choices) {
      const label = element("label"), input = element("input", "", { type: "radio", name: criterion.name, value });
      label.append(input, document.createTextNode(` ${title} `), element("kbd", key));
      row.append(label);
    }
    field.append(row);
    $("criteria").append(field);
  }
  const keys = choices.map(([, title, key]) => `${key} ${title.toLowerCase()}`).join(", ");
  $("legend").textContent = `Keys: ${keys}, for one question after the other; Enter next, U undo, S skip.`;
}

// ---- one trial

async function next(again = false) {
  const found = await insist(() => json("api/trial"));
  tellProgress(found.progress);
  if (!found.trial) { show("end"); say("All questions are answered."); return; }
  if (!again && found.trial.practice && !found.progress.done && !$("instructions").dataset.read) return instruct();
  await present(found);
}

function instruct() {
  $("link").value = `${location.origin}${location.pathname}#me=${state.token}`;
  show("instructions");
}

function tellProgress(progress) {
  $("progress").hidden = false;
  $("bar").max = progress.total || 1;
  $("bar").value = progress.done;
  $("count").textContent = `${progress.done} of ${progress.total} answered`;
  state.undo = progress.undo;
}

async function picture(name) {
  const blob = await insist(async () => (await ask(`api/picture/${name}`)).blob());
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  await image.decode();
  image.alt = "";
  return image;
}

// Both sides are loaded and decoded before either is shown, and shown in one go; only then can be answered.
async function present(found) {
  const { trial } = found, turn = ++state.turn;  // only the latest call may show anything
  show("trial");
  say("Loading the pictures …");
  delete $("trial").dataset.shown;
  state.trial = null;
  setAnswers({});
  $("skip-form").hidden = $("skip-now").disabled = true;
  for (const reason of $("skip-form").querySelectorAll("input")) reason.checked = false;
  $("prompt").textContent = trial.prompt;
  $("practice").hidden = !trial.practice;
  $("zoom-left").replaceChildren();
  $("zoom-right").replaceChildren();
  const images = await Promise.all([picture(trial.left), picture(trial.right)]);
  if (turn !== state.turn) return;
  state.urls.forEach((url) => URL.revokeObjectURL(url));
  state.urls = images.map((image) => image.src);
  $("zoom-left").replaceChildren(images[0]);
  $("zoom-right").replaceChildren(images[1]);
  state.trial = trial;
  state.shown = performance.now();
  $("trial").dataset.shown = trial.id;
  post(`api/shown/${trial.id}`, {}).catch(() => {});  // for the record alone
  say(trial.practice ? "A practice question; its answer does not count." : "");
  setAnswers({});
}

function setAnswers(answers) {
  state.answers = answers;
  const names = state.study.criteria.map((criterion) => criterion.name);
  const current = names.find((name) => !answers[name]);
  for (const [n, name] of names.entries()) {
    const field = $(`criterion-${n}`);
    field.classList.toggle("current", name === current);
    field.disabled = !state.trial || state.busy;
    for (const input of field.querySelectorAll("input")) input.checked = input.value === answers[name];
  }
  $("next").disabled = !state.trial || state.busy || Boolean(current);
  $("skip").disabled = !state.trial || state.busy;
  $("undo").disabled = $("undo-end").disabled = state.busy || !state.undo;
}

function answer(name, choice) { setAnswers({ ...state.answers, [name]: choice }); }

// One thing at a time, from the click until what follows is on the screen.
async function alone(action) {
  if (state.busy) return;
  state.busy = true;
  setAnswers(state.answers);
  try { await action(); } catch (error) {
    if (error.status === 409 || error.status === 404) await next(true).catch(() => {});  // it is answered elsewhere: show what is next
    warn(error.message);
  } finally {
    state.busy = false;
    setAnswers(state.answers);
  }
}

function submit(body) {
  if (!state.trial) return;
  alone(async () => {
    delete $("trial").dataset.shown;
    say("Saving …");
    const seconds = Math.min((performance.now() - state.shown) / 1000, 86400);
    const vote = { trial: state.trial.id, client_id: uuid(), seconds, answers: {}, skip_reason: "", ...body };
    const key = PENDING + vote.client_id;
    store.setItem(key, JSON.stringify({ token: state.token, vote }));
    await send(key);
    await next(true);
  });
}

// Sends what is kept under a key, as whom it was given by, until the server has it or has understood and refused it.
async function send(key) {
  const { token, vote } = JSON.parse(store.getItem(key));
  try { await insist(() => post("api/vote", vote, token)); } finally { store.removeItem(key); }
}

function uuid() {  // pages that are not served securely have no crypto.randomUUID
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

function undo() {
  if (!state.undo) return;
  alone(async () => {
    const asked = { trial: state.undo, client_id: uuid() };
    await insist(() => post("api/undo", asked));
    await next(true);
    say("The last answer is taken back; answer it again.");
  });
}

// ---- what happens

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  alone(async () => {
    state.token = (await insist(() => post("api/join", { consent: $("agree").checked }))).token;
    store.setItem(TOKEN, state.token);
    await next();
  });
});
$("start").addEventListener("click", () => alone(async () => { $("instructions").dataset.read = "yes"; await next(true); }));
$("copy").addEventListener("click", async () => {
  try { await navigator.clipboard.writeText($("link").value); } catch { $("link").select(); document.execCommand("copy"); }
  say("The link is copied.");
});
$("criteria").addEventListener("change", (event) => answer(event.target.name, event.target.value));
$("answers").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("skip-form").hidden) $("skip-now").click();  // Enter on a reason
  else if (!$("next").disabled) submit({ answers: state.answers });
});
$("undo").addEventListener("click", undo);
$("undo-end").addEventListener("click", undo);
$("skip").addEventListener("click", () => { $("skip-form").hidden = false; $("skip-form").querySelector("input").focus(); });
$("skip-not").addEventListener("click", () => { $("skip-form").hidden = true; $("skip").focus(); });
$("skip-form").addEventListener("change", () => { $("skip-now").disabled = false; });
$("skip-now").addEventListener("click", () => submit({ skip_reason: $("skip-form").querySelector("input:checked").value }));
for (const side of ["left", "right"]) {
  $(`zoom-${side}`).addEventListener("click", () => {
    const image = $(`zoom-${side}`).querySelector("img");
    if (image) { $("large-image").src = image.src; $("large").showModal(); }
  });
}
addEventListener("keydown", (event) => {
  const target = event.target;
  const typing = target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("trial").hidden || !$("skip-form").hidden || $("large").open) return;
  const choice = { 1: "left", 2: "right", 3: "tie" }[event.key];
  if (choice && state.trial && (choice !== "tie" || state.study.ties)) {
    const open = state.study.criteria.map((criterion) => criterion.name).find((name) => !state.answers[name]);
    if (open) { answer(open, choice); event.preventDefault(); }
  } else if (event.key === "Enter" && !target.matches("button, a") && !$("next").disabled) {
    event.preventDefault();
    submit({ answers: state.answers });
  } else if (event.key.toLowerCase() === "u" && !$("undo").disabled) undo();
  else if (event.key.toLowerCase() === "s" && !$("skip").disabled) $("skip").click();
});
begin().catch((error) => warn(error.message));
