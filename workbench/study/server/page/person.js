// Who answers here: joining, the personal link, and leaving a shared computer to somebody else. A participant is who has a token that nobody else
// knows; this browser keeps it, and forgets it only when told to.
"use strict";
const TOKEN = `study-participant ${base}`, JOINING = `study-joining ${base}`, ASIDE = `study-aside ${base}`;

function linkOf(token) { return `${location.origin}${location.pathname}#me=${token}`; }

// Of the address, or of an earlier visit. One in the address takes the other's place only when the server knows it (`settle`).
function readToken() { return new URLSearchParams(location.hash.slice(1)).get("me") || store.getItem(TOKEN); }
addEventListener("hashchange", () => location.reload());  // once a page: a link in another tab must not change who answers here

function settle() {
  if (state.settled === state.token) return;  // once: another tab may have forgotten it since
  state.settled = state.token;
  store.setItem(TOKEN, state.token);
  writeAside(aside().filter((token) => token !== state.token));
  if (location.hash) history.replaceState(null, "", location.pathname);
}

// The id of joining is kept until it is acknowledged: asked again with it, the server answers with the same participant.
async function join() {
  state.token = store.getItem(TOKEN);  // of another tab, in the meantime
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

// It may be known again when a mistake of the study's owner is mended, so it is put aside and never thrown away.
function putAside() {
  const token = state.token;
  writeAside([...aside().filter((one) => one !== token), token]);
  forget();
  if (location.hash) history.replaceState(null, "", location.pathname);
  state.token = store.getItem(TOKEN);  // there still if an unknown link was opened where a known participant had been
}

// What is told when the server knows none of this browser's links, and the last of them.
function welcomeUnknown() {
  welcome();
  warn("This study does not know your link. It is kept below; you can try it again later, or begin anew.");
}

function welcome() {
  const last = aside().at(-1);
  if (last) showFormer("This study did not know this link when it was last opened:", last);
  $("agree").checked = false;
  delete $("instructions").dataset.read;
  show("welcome");
}

function showFormer(told, token) {
  $("former-told").textContent = told;
  $("former-link").value = linkOf(token);
  $("former").hidden = false;
}

// ---- somebody else

function forget() {
  if (store.getItem(TOKEN) === state.token) store.removeItem(TOKEN);  // not another tab's
  store.removeItem(JOINING);
  stopLoading();
  Object.assign(state, { token: null, trial: null, undo: "" });
  $("progress").hidden = true;
}

// Nothing is lost: an answer that is still being sent goes first, as whom it was given by.
async function beginAnew() {
  const token = state.token;
  if (state.busy) $("anew-status").textContent = "An answer is still being saved. This waits until it is.";
  await state.doing;
  if (!$("anew").open || state.token !== token) return;  // thought better of it
  $("anew").close();
  forget();
  welcome();
  showFormer("The personal link of who was here before, for the last time:", token);
  warn("");
  say("This browser has forgotten who was here before. Begin anew.");
}

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  alone(async () => {
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
    (button.closest("dialog")?.querySelector("[role=status]") || $("status")).textContent = "The link is copied.";
  });
}
