"use strict";
// Reviews without a page reload: one key says it, the next answer takes the place of the one before. Without this
// script the same forms work with a reload. The server makes and escapes every part of the page.
(() => {
  const region = document.querySelector("[data-refresh]");
  const refresh = async () => {
    const answer = await fetch(location.href, { headers: { "x-part": "1" } }).catch(() => null);
    const busy = region.contains(document.activeElement) || region.querySelector("details[open]");
    if (answer?.ok && !busy) region.innerHTML = await answer.text();
  };
  if (region) setInterval(refresh, 2000);
  if (document.querySelector("[data-reload]")) setTimeout(() => location.reload(), 2000);

  // A form within a part of the page: what the server answers takes the place of the part.
  document.addEventListener("submit", async (event) => {
    const part = event.target.closest("[data-part]");
    if (!part || event.target.method === "get") return;
    event.preventDefault();
    const status = document.getElementById("status");
    const body = new URLSearchParams(new FormData(event.target, event.submitter));
    if (part.classList.contains("busy")) return;
    part.classList.add("busy");
    status.textContent = "Waiting for the answer…";
    try {
      const answer = await fetch(event.target.action, { method: "POST", body, headers: { "x-part": "1" } });
      const text = await answer.text();
      if (answer.ok) {
        part.innerHTML = text;
        part.querySelector("#question")?.focus();
      }
      status.textContent = answer.ok ? "" : new DOMParser().parseFromString(text, "text/html").querySelector(".banner")?.textContent ?? "That did not work.";
    } catch { status.textContent = "No connection. Nothing was kept; try again."; }
    part.classList.remove("busy");
  });

  document.addEventListener("keydown", (event) => {
    const typing = ["TEXTAREA", "INPUT", "SELECT"].includes(event.target.tagName);
    if (typing || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    const button = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (button) { event.preventDefault(); button.click(); }
  });

  const place = document.getElementById("review");
  if (!place) return;
  const status = document.getElementById("status");
  const by = (id) => document.getElementById(id);
  const button = (value) => place.querySelector(`button[value="${value}"]`);
  const draftName = () => `etude-draft:${place.dataset.draft}:${place.querySelector(".item")?.dataset.item}`;
  let busy = false;

  const say = (text, unsaved) => {
    status.textContent = text;
    status.classList.toggle("unsaved", Boolean(unsaved));
  };
  const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

  const show = (part, focus) => {
    place.innerHTML = part;
    ready();
    if (focus) (by("wrong") ? by("correction") : place.querySelector(".item"))?.focus({ preventScroll: false });
  };

  // Sent until the server confirms it; the entry's id makes sure that it is kept once.
  const send = async (body) => {
    busy = true;
    const name = draftName();
    say("Saving…");
    for (let seconds = 1; ; seconds = Math.min(2 * seconds, 10)) {
      try {
        const answer = await fetch("/review", {
          method: "POST", body, headers: { "x-part": "1", "content-type": "application/x-www-form-urlencoded" },
        });
        if (answer.ok || answer.status === 422) {
          if (answer.ok) localStorage.removeItem(name);
          show(await answer.text(), true);
          say(answer.ok ? `Saved at ${new Date().toLocaleTimeString()}` : "Not saved.", !answer.ok);
          break;
        }
        if (answer.status < 500) { say("Not saved. Reload the page; your text is kept.", true); break; }
      } catch { /* no connection */ }
      say("Not saved yet, trying again. Leave this page open.", true);
      await wait(seconds);
    }
    busy = false;
  };

  const submit = (value) => {
    if (!busy) send(new URLSearchParams(new FormData(button(value).form, button(value))));
  };
  const open = (id) => {
    by(id).open = true;
    const field = by(id).querySelector("textarea, input:not([type])");
    field.focus();
    by(id).scrollIntoView({ block: "nearest" });
  };
  const back = async (link) => {
    try {
      const answer = await fetch(link, { headers: { "x-part": "1" } });
      if (answer.ok) show(await answer.text(), true);
    } catch { say("No connection.", true); }
  };

  // Words that differ, by the longest common subsequence.
  const difference = (before, after) => {
    const [a, b] = [before, after].map((text) => text.split(/(\s+)/));
    if (a.length * b.length > 4e6) return [];
    const table = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    const parts = [];
    for (let i = 0, j = 0; i < a.length || j < b.length; ) {
      if (i < a.length && j < b.length && a[i] === b[j]) { parts.push(["span", a[i]]); i++; j++; }
      else if (j < b.length && (i === a.length || table[i][j + 1] > table[i + 1][j])) parts.push(["ins", b[j++]]);
      else parts.push(["del", a[i++]]);
    }
    return parts;
  };
  const showDifference = () => {
    const [before, after] = [by("answer").textContent, by("correction").value];
    const nodes = before === after ? [] : difference(before, after).map(([tag, text]) => {
      const node = document.createElement(tag);
      node.textContent = text;
      return node;
    });
    place.querySelector("[data-diff]").replaceChildren(...nodes);
  };

  const ready = () => {
    if (!button("accept")) {
      if (place.querySelector("[data-wait]")) wait(2).then(() => back(location.pathname + location.search));
      return;
    }
    const field = by("correction");
    const draft = localStorage.getItem(draftName());
    if (draft !== null && !by("wrong")) { field.value = draft; by("correct").open = true; }
    showDifference();
    field.addEventListener("input", () => { localStorage.setItem(draftName(), field.value); showDifference(); });
  };

  place.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(event.submitter.value);
  });
  place.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) open(opener.dataset.open);
    const link = event.target.closest("a.back");
    if (link) { event.preventDefault(); back(link.href); }
  });
  document.addEventListener("keydown", (event) => {
    if (busy || !button("accept") || event.altKey || event.metaKey) return;
    const typing = ["TEXTAREA", "INPUT"].includes(event.target.tagName);
    if (event.target.id === "correction" && event.ctrlKey && event.key === "Enter") { event.preventDefault(); submit("correct"); return; }
    if (typing && event.key === "Escape") {
      const details = event.target.closest("details");
      if (event.target.id === "correction") { event.target.value = event.target.defaultValue; localStorage.removeItem(draftName()); showDifference(); }
      details.open = false;
      place.querySelector(".item").focus();
      return;
    }
  });
  ready();
  place.querySelector(".item")?.focus();
})();
