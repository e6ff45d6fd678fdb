// The participant's page, one trial after another. It knows no method: pictures come under tokens drawn for each trial.
"use strict";
const NOTICES = {
  fast: "Your last answers came very quickly. There is no hurry: please look at all pictures of both sides before you answer.",
  side: "You have chosen the same side many times in a row. That can well be right; please just make sure to look at both sides each time.",
};
const TRIES = 5, FIRST_PAUSE = 500;  // for each picture; in milliseconds, doubled after each try
// trial: can be answered; loading: {trial, control, failed, unreached}, can only be skipped; doing: the running action of `exclusively`
const state = {
  token: null, settled: null, study: null, trial: null, loading: null, undo: "", answers: {}, shown: 0, busy: false, doing: null, urls: [],
};

function show(section) {
  if ($(section).hidden) $("mine").open = section === "end";
  for (const id of ["welcome", "instructions", "trial", "end"]) $(id).hidden = id !== section;
  $("person").hidden = section === "welcome";
  $("mine").hidden = section === "instructions";  // there the link is in the text
  for (const id of ["link", "mine-link"]) $(id).value = state.token ? linkOf(state.token) : "";
  $("main").focus({ preventScroll: true });
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
  let message = "";
  for (const key of unsent()) {
    try { await send(key); } catch (error) { if (error.status !== 401) message = error.message; }  // its trial is already answered, or someone else's
  }
  if (!state.token) welcome();
  while (state.token) {
    try { await next(); break; } catch (error) {
      if (error.status !== 401) throw error;
      putAside();
      if (!state.token) return welcomeUnknown();
      message = "This study does not recognise that link. You continue as the previous participant.";
    }
  }
  if (message) warn(message);
}

function element(name, text, properties = {}) {
  return Object.assign(document.createElement(name), text ? { textContent: text, dir: "auto" } : {}, properties);
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

async function next(again = false, said = "") {
  const found = await insist(() => json("api/trial"));
  settle();
  tellProgress(found.progress);
  $("notice").textContent = NOTICES[found.notice] || "";
  if (!found.trial) { stopLoading(); state.trial = null; show("end"); say("All questions are answered."); return; }
  if (!again && found.trial.practice && !found.progress.done && !$("instructions").dataset.read) return show("instructions");
  present(found.trial, said).catch((error) => warn(error.message));
}

function tellProgress(progress) {
  $("progress").hidden = false;
  $("bar").max = progress.total || 1;
  $("bar").value = progress.done;
  $("count").textContent = `${progress.done} of ${progress.total} answered`;
  state.undo = progress.undo;
}

// Tries a few times; a picture that is refused, or still does not load, fails the loading of its trial.
async function picture(name, signal) {
  for (let tries = 1, wait = FIRST_PAUSE; ; tries++, wait *= 2) {
    const image = new Image();
    try {
      image.src = URL.createObjectURL(await (await ask(`api/picture/${name}`, { signal })).blob());
      await image.decode();
      image.alt = "";
      return image;
    } catch (error) {
      if (image.src) URL.revokeObjectURL(image.src);
      if (signal.aborted || refused(error) || tries === TRIES) throw error;
      say("The pictures have not loaded yet; trying again …");
      await pause(wait);
    }
  }
}

function stopLoading() {
  state.loading?.control.abort();
  state.loading = null;
}

// Loads and decodes both sides, then shows them together; only then can the trial be answered. It can be skipped at any time.
async function present(trial, said) {
  stopLoading();
  const mine = { trial, control: new AbortController(), failed: false, unreached: false };  // only the latest may show anything
  Object.assign(state, { trial: null, loading: mine });
  clear(trial);
  try {
    const images = await Promise.all([trial.left, trial.right].map((name) => picture(name, mine.control.signal)));
    if (state.loading === mine && !mine.control.signal.aborted) reveal(trial, images, said);
  } catch (error) {
    if (state.loading !== mine || mine.control.signal.aborted) return;
    mine.control.abort();  // stops loading the other side
    if (error.status === 401) { putAside(); return welcomeUnknown(); }
    fail(mine, error);
  }
}

function clear(trial) {
  show("trial");
  say("Loading the pictures …");
  $("failed-told").textContent = "";
  $("failed").hidden = true;
  $("sides").hidden = false;
  $("sides").setAttribute("aria-busy", "true");
  delete $("trial").dataset.shown;
  $("skip-form").hidden = $("skip-now").disabled = true;
  for (const reason of $("skip-form").querySelectorAll("input")) reason.checked = false;
  $("prompt").textContent = trial.prompt;
  $("practice").hidden = !trial.practice;
  $("zoom-left").replaceChildren();
  $("zoom-right").replaceChildren();
  setAnswers({});
}

function reveal(trial, images, said) {
  state.urls.forEach((url) => URL.revokeObjectURL(url));
  state.urls = images.map((image) => image.src);
  $("zoom-left").replaceChildren(images[0]);
  $("zoom-right").replaceChildren(images[1]);
  $("sides").removeAttribute("aria-busy");
  Object.assign(state, { trial, loading: null, shown: performance.now() });
  $("trial").dataset.shown = trial.id;
  post(`api/shown/${trial.id}`, {}).catch(() => {});  // only for the record
  say(said || (trial.practice ? "A practice question: its answer does not count." : ""));
  setAnswers({});
}

function fail(loading, error) {
  Object.assign(loading, { failed: true, unreached: !error.status });
  say("");
  $("sides").removeAttribute("aria-busy");
  $("sides").hidden = true;
  $("failed").hidden = false;
  $("failed-told").textContent = `The pictures did not load. ${refused(error) ? error.message : "You can try again, or skip this question."}`;
  setAnswers(state.answers);
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
  $("skip").disabled = !(state.trial || state.loading) || state.busy;
  $("load-again").disabled = $("skip-failed").disabled = state.busy;
  $("undo").disabled = $("undo-end").disabled = state.busy || !state.undo || Boolean(state.loading && !state.loading.failed);
}

function answer(name, choice) { setAnswers({ ...state.answers, [name]: choice }); }

// One action at a time, from the click until the server has answered.
function exclusively(action) {
  if (!state.busy) state.doing = doing(action);
}

async function doing(action) {
  state.busy = true;
  setAnswers(state.answers);
  try { await action(); } catch (error) {
    say("");
    if (error.status === 401) { putAside(); welcomeUnknown(); return; }
    if (error.status === 409 || error.status === 404) await next(true).catch(() => {});  // it was answered elsewhere: show the next one
    warn(error.message);
  } finally {
    state.busy = false;
    setAnswers(state.answers);
  }
}

function submit(body) {
  const trial = state.trial || state.loading?.trial;
  if (!trial) return;
  exclusively(async () => {
    delete $("trial").dataset.shown;
    const seconds = state.trial ? Math.min((performance.now() - state.shown) / 1000, 86400) : 0;
    if (state.loading) {  // it can still be skipped if the server refuses this
      state.loading.failed = true;
      state.loading.control.abort();
    }
    say("Saving …");
    await send(keep({ trial: trial.id, client_id: uuid(), seconds, answers: {}, skip_reason: "", ...body }));
    await next(true);
  });
}

function loadAgain() { exclusively(() => next(true)); }

function undo() {
  if (!state.undo) return;
  exclusively(async () => {
    const request = { trial: state.undo, client_id: uuid() };
    await insist(() => post("api/undo", request));
    await next(true, "Your last answer was undone; please answer again.");
  });
}

// ---- events

$("start").addEventListener("click", () => exclusively(async () => { $("instructions").dataset.read = "yes"; await next(true); }));
$("criteria").addEventListener("change", (event) => answer(event.target.name, event.target.value));
$("answers").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!$("next").disabled) submit({ answers: state.answers });
});
$("undo").addEventListener("click", undo);
$("undo-end").addEventListener("click", undo);
$("skip").addEventListener("click", () => { $("skip-form").hidden = false; $("skip-form").querySelector("input").focus(); });
$("skip-not").addEventListener("click", () => { $("skip-form").hidden = true; $("skip").focus(); });
$("skip-form").addEventListener("keydown", (event) => {  // Enter does not submit a form whose first button is disabled
  if (event.key !== "Enter" || !event.target.matches("input")) return;
  event.preventDefault();
  $("skip-now").click();
});
$("skip-form").addEventListener("change", () => { $("skip-now").disabled = false; });
$("skip-now").addEventListener("click", () => submit({ skip_reason: $("skip-form").querySelector("input:checked").value }));
$("load-again").addEventListener("click", loadAgain);
$("skip-failed").addEventListener("click", () => submit({ skip_reason: "pictures did not load" }));
addEventListener("online", () => { if (state.loading?.unreached) loadAgain(); });
for (const side of ["left", "right"]) {
  $(`zoom-${side}`).addEventListener("click", () => {
    const image = $(`zoom-${side}`).querySelector("img");
    if (image) { $("large-image").src = image.src; $("large").showModal(); }
  });
}
addEventListener("keydown", (event) => {
  const target = event.target;
  const typing = target.matches("textarea, select, input:not([type=radio]):not([type=checkbox])");
  const elsewhere = $("trial").hidden || !$("skip-form").hidden || $("large").open || $("anew").open;
  if (typing || elsewhere || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const choice = { 1: "left", 2: "right", 3: "tie" }[event.key];
  if (choice && state.trial && (choice !== "tie" || state.study.ties)) {
    const open = state.study.criteria.map((criterion) => criterion.name).find((name) => !state.answers[name]);
    if (open) { answer(open, choice); event.preventDefault(); }
  } else if (event.key === "Enter" && !target.matches("button, a, summary") && !$("next").disabled) {
    event.preventDefault();
    submit({ answers: state.answers });
  } else if (event.key.toLowerCase() === "u" && !$("undo").disabled) undo();
  else if (event.key.toLowerCase() === "s" && !$("skip").disabled) $("skip").click();
});
begin().catch((error) => warn(error.message));
