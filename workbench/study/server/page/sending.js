// How the page talks to the server. This browser keeps each vote under its own id until the server acknowledges it, so a lost network, a closed tab
// or a repeated click costs nothing.
"use strict";
const $ = (id) => document.getElementById(id);
const base = new URL(".", location.href).pathname;
const PENDING = `study-pending ${base} `;  // followed by a submission's id
const store = (() => { try { localStorage.setItem("study-test", "1"); return localStorage; } catch { return sessionStorage; } })();

function say(text) { $("status").textContent = text; }
function warn(text) { $("alert").textContent = text; }

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...(options.body ? { "Content-Type": "application/json" } : {}) };
  const token = options.token || state.token;
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(base + path, { ...options, headers, cache: "no-store" });
  if (answer.ok) return answer;
  const { detail } = await answer.json().catch(() => ({}));
  // without a detail the answer comes from a proxy, not from the study
  throw Object.assign(new Error(detail || `The server answered ${answer.status}.`), { status: detail ? answer.status : 0 });
}
const json = async (path, options) => (await ask(path, options)).json();
const post = (path, body, token) => json(path, { method: "POST", body: JSON.stringify(body), token });

// Whether the server understood and refused: a repetition would be refused too.
function refused(error) { return error.status && error.status < 500 && error.status !== 429; }

// Ends early when the network is back.
function pause(milliseconds) {
  return new Promise((go) => { setTimeout(go, milliseconds); addEventListener("online", go, { once: true }); });
}

// Repeats the action until it succeeds or is refused.
async function insist(action) {
  for (let wait = 1000; ; wait = Math.min(2 * wait, 15000)) {
    try { const done = await action(); warn(""); return done; } catch (error) {
      if (refused(error)) throw error;
      const what = unsent().length ? "Your answer is saved in this browser; trying again …" : "Trying again …";
      warn(error.status === 429 ? "Many people are taking part right now; trying again …" : `No connection. ${what}`);
      await pause(wait);
    }
  }
}

// ---- votes not acknowledged yet

function unsent() { return Object.keys(store).filter((name) => name.startsWith(PENDING)); }

function keep(vote) {
  const key = PENDING + vote.client_id;
  store.setItem(key, JSON.stringify({ token: state.token, vote }));
  return key;
}

// Sends the vote kept under a key, with the token of the participant who gave it, until the server has it or refuses it as an answer. A vote refused
// for another reason, such as an unknown token, stays: the next start tries it again.
async function send(key) {
  const kept = store.getItem(key);
  if (!kept) return;  // another tab has sent it
  const { token, vote } = JSON.parse(kept);
  try { await insist(() => post("api/vote", vote, token)); } catch (error) {
    if ([404, 409, 422].includes(error.status)) store.removeItem(key);
    throw error;
  }
  store.removeItem(key);
}

function randomHex(count) {  // pages not served securely have no crypto.randomUUID
  return [...crypto.getRandomValues(new Uint8Array(count))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function uuid() {
  const hex = randomHex(16);
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20)].join("-");
}
