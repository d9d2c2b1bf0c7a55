"use strict";
// Live pages: ask for this page again and take over what changed in the marked parts, node by node, so that focus,
// open folds and scrolled tables stay. A report that is ready replaces the page.
const stale = document.getElementById("stale");
const WAIT_MS = 10000;
let seconds = Number(document.body.dataset.live || 0);
let tag = "", updated = new Date(), timer = 0, isAsking = false;

function keyOf(node) { return node.nodeType === 1 ? node.dataset.key || node.id || node.getAttribute("aria-labelledby") || "" : ""; }
function isBlank(node) { return node.nodeType === 3 && !node.nodeValue.trim(); }

function take(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== 1) { old.nodeValue = fresh.nodeValue; return; }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  takeChildren(old, fresh);
}

function takeChildren(old, fresh) {
  const wanted = new Set([...fresh.childNodes].map(keyOf));
  const isKeyed = [...old.children, ...fresh.children].some(keyOf);
  for (const node of [...old.childNodes]) {
    if ((isKeyed && isBlank(node)) || (keyOf(node) && !wanted.has(keyOf(node)))) node.remove();
  }
  const known = new Map([...old.children].filter(keyOf).map((node) => [keyOf(node), node]));
  let at = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    if (isKeyed && isBlank(next)) continue;
    const key = keyOf(next);
    const isSame = at && !key && !keyOf(at) && at.nodeName === next.nodeName;
    const match = key ? known.get(key) : isSame ? at : null;
    if (match === at && at) at = at.nextSibling;
    else old.insertBefore(match || document.adoptNode(next), at);
    if (match) take(match, next);
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

function show(fresh) {
  const focused = document.activeElement;
  for (const part of document.querySelectorAll("[data-refresh]")) {
    const next = fresh.querySelector(`[data-refresh="${part.dataset.refresh}"]`);
    if (next) take(part, next);
  }
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
  document.title = fresh.title;
  seconds = Number(fresh.body.dataset.live || 0);
}

function tell(trouble) {
  const text = trouble ? `Last updated ${updated.toISOString().slice(11, 19)} UTC; ${trouble}` : "";
  if (stale.textContent !== text) stale.textContent = text;
  const live = document.getElementById("live");
  if (live) live.hidden = Boolean(trouble) || !seconds;
}

async function ask() {
  let answer;
  try {
    const headers = { Accept: "text/html", ...(tag && { "If-None-Match": tag }) };
    answer = await fetch(location.href, { headers, signal: AbortSignal.timeout(WAIT_MS) });
    if (answer.status === 304) return "";
    if (answer.status === 503) return "the service answers, but its database is away.";
    if (answer.status === 404) return "it is gone from the history.";
    if (!answer.ok) return `the service answers ${answer.status}.`;
    if (new URL(answer.url).pathname !== location.pathname) return "you are signed out: load the page again to sign in.";
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.querySelector("main.site")) { location.reload(); return ""; }
    show(fresh);
    tag = answer.headers.get("ETag") || "";
  } catch (error) {
    if (error instanceof TypeError || error instanceof DOMException) return "the service does not answer.";
    throw error;
  }
  return "";
}

async function follow() {
  if (isAsking || document.hidden || !seconds) return;
  clearTimeout(timer);
  isAsking = true;
  try {
    const trouble = await ask();
    if (!trouble) updated = new Date();
    tell(trouble);
  } finally {
    isAsking = false;
    timer = setTimeout(follow, seconds * 1000);
  }
}
if (seconds) timer = setTimeout(follow, seconds * 1000);
document.addEventListener("visibilitychange", follow);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
  if (event.key === "/") {
    const search = document.getElementById("q");
    if (search) { event.preventDefault(); search.focus(); search.select(); }
  } else if (event.key === "j" || event.key === "k") {
    const titles = [...document.querySelectorAll(".card-title")];
    const at = titles.indexOf(document.activeElement);
    const next = titles[event.key === "j" ? at + 1 : Math.max(0, at - 1)];
    if (next) next.focus();
  }
});
