"use strict";
// Live pages: fetch this page again and replace the parts that are marked. A report that is ready replaces the page.
const live = document.body.dataset.live;
async function follow() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.querySelector("main.site")) { location.reload(); return; }
    for (const part of document.querySelectorAll("[data-refresh]")) {
      const next = fresh.querySelector(`[data-refresh="${part.dataset.refresh}"]`);
      if (!next || part.isEqualNode(next) || part.contains(document.activeElement)) continue;
      part.replaceWith(document.adoptNode(next));
    }
    document.title = fresh.title;
    if (!fresh.body.dataset.live) location.reload();
  } catch (error) { /* the server is away: the next try tells */ }
}
if (live) setInterval(follow, Number(live) * 1000);

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
