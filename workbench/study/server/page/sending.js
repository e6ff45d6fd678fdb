// How the page talks to the server. A vote is kept in this browser under an id of its own until the server has acknowledged it, so a lost network, a
// closed tab or a repeated click costs nothing.
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
  const told = await answer.json().catch(() => ({}));
  // without a detail it is not the study that speaks, but a proxy in front of it
  throw Object.assign(new Error(told.detail || `The server answered ${answer.status}.`), { status: told.detail ? answer.status : 0 });
}
const json = async (path, options) => (await ask(path, options)).json();
const post = (path, body, token) => json(path, { method: "POST", body: JSON.stringify(body), token });

// The server understood and refused: the same again would be refused again.
function refused(error) { return error.status && error.status < 500 && error.status !== 429; }

// Ends early when the network is back.
function pause(milliseconds) {
  return new Promise((go) => { setTimeout(go, milliseconds); addEventListener("online", go, { once: true }); });
}

// Lasts until it succeeds or is refused.
async function insist(action) {
  for (let wait = 1000; ; wait = Math.min(2 * wait, 15000)) {
    try { const done = await action(); warn(""); return done; } catch (error) {
      if (refused(error)) throw error;
      const what = unsent().length ? "Your answer is kept here; trying again …" : "Trying again …";
      warn(error.status === 429 ? "Many people are here at once; trying again …" : `No connection. ${what}`);
      await pause(wait);
    }
  }
}

// ---- votes that are not acknowledged yet

function unsent() { return Object.keys(store).filter((name) => name.startsWith(PENDING)); }

function keep(vote) {
  const key = PENDING + vote.client_id;
  store.setItem(key, JSON.stringify({ token: state.token, vote }));
  return key;
}

// Sends what is kept under a key, as whom it was given by, until the server has it or refuses it as an answer. What it refuses for another reason,
// such as a token that it does not know, stays: the next start tries it again.
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

function randomHex(count) {  // pages that are not served securely have no crypto.randomUUID
  return [...crypto.getRandomValues(new Uint8Array(count))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function uuid() {
  const hex = randomHex(16);
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20)].join("-");
}
