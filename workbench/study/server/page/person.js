// Who answers here: joining, the personal link, and leaving a shared computer to someone else. A participant is whoever has a token that
// nobody else knows; this browser keeps it, and forgets it only on request.
"use strict";
const TOKEN = `study-participant ${base}`, JOINING = `study-joining ${base}`, ASIDE = `study-aside ${base}`;

function linkOf(token) { return `${location.origin}${location.pathname}#me=${token}`; }

// From the address, or from an earlier visit. The one in the address replaces the other only once the server has recognised it (`settle`).
function readToken() { return new URLSearchParams(location.hash.slice(1)).get("me") || store.getItem(TOKEN); }
addEventListener("hashchange", () => location.reload());  // read once per page: a link opened in another tab must not change who answers here

function settle() {
  if (state.settled === state.token) return;  // only once: another tab may have forgotten it since
  state.settled = state.token;
  store.setItem(TOKEN, state.token);
  writeAside(aside().filter((token) => token !== state.token));
  if (location.hash) history.replaceState(null, "", location.pathname);
}

// The id of joining is kept until the server acknowledges it: repeated with the same id, joining returns the same participant.
async function join() {
  state.token = store.getItem(TOKEN);  // another tab may have joined in the meantime
  if (state.token) return;
  const id = store.getItem(JOINING) || randomHex(32);
  store.setItem(JOINING, id);
  state.token = (await insist(() => post("api/join", { consent: $("agree").checked, client_id: id }))).token;
  store.setItem(TOKEN, state.token);
  store.removeItem(JOINING);
}

// ---- links that the server does not know

function aside() { return JSON.parse(store.getItem(ASIDE) || "[]"); }
function writeAside(tokens) { if (tokens.length) store.setItem(ASIDE, JSON.stringify(tokens.slice(-20))); else store.removeItem(ASIDE); }

// The server may know it again after the study's owner corrects a mistake, so it is put aside and never thrown away.
function putAside() {
  const token = state.token;
  writeAside([...aside().filter((one) => one !== token), token]);
  forget();
  if (location.hash) history.replaceState(null, "", location.pathname);
  state.token = store.getItem(TOKEN);  // still there if an unknown link was opened in the browser of a known participant
}

// Shown when the server knows none of this browser's links, with the last of them.
function welcomeUnknown() {
  welcome();
  warn("This study does not recognise your link. It is kept below: you can try it again later, or start over.");
}

function welcome() {
  const last = aside().at(-1);
  if (last) showFormer("This study did not recognise this link when it was last opened:", last);
  $("agree").checked = false;
  delete $("instructions").dataset.read;
  show("welcome");
}

function showFormer(text, token) {
  $("former-told").textContent = text;
  $("former-link").value = linkOf(token);
  $("former").hidden = false;
}

// ---- someone else

function forget() {
  if (store.getItem(TOKEN) === state.token) store.removeItem(TOKEN);  // unless it is another tab's
  store.removeItem(JOINING);
  stopLoading();
  Object.assign(state, { token: null, trial: null, undo: "" });
  $("progress").hidden = true;
}

// Nothing is lost: an answer that is still being sent goes first, under the participant who gave it.
async function beginAnew() {
  const token = state.token;
  if (state.busy) $("anew-status").textContent = "An answer is still being saved. Please wait.";
  await state.doing;
  if (!$("anew").open || state.token !== token) return;  // cancelled meanwhile
  $("anew").close();
  forget();
  welcome();
  showFormer("The personal link of the previous participant, for the last time:", token);
  warn("");
  say("This browser has forgotten the previous participant. You can start over.");
}

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  exclusively(async () => {
    await join();
    $("former").hidden = true;
    $("former-link").value = "";
    await next();
  });
});
$("former-try").addEventListener("click", () => { location.hash = new URL($("former-link").value).hash; });
$("not-me").addEventListener("click", () => {
  $("anew-link").value = linkOf(state.token);
  $("anew-status").textContent = "";
  $("anew").showModal();
});
$("anew-yes").addEventListener("click", beginAnew);
$("anew-no").addEventListener("click", () => $("anew").close());
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const link = $(button.dataset.copy);
    try { await navigator.clipboard.writeText(link.value); } catch { link.select(); document.execCommand("copy"); }
    (button.closest("dialog")?.querySelector("[role=status]") || $("status")).textContent = "Link copied.";
  });
}
