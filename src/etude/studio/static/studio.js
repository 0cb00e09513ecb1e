"use strict";
// Reviews without a page reload: one key says it, the next answer takes the place of the one before. Without this
// script the same forms work with a reload. The server makes and escapes every part of the page.
(() => {
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
    if (typing || event.ctrlKey || event.repeat) return;
    const key = event.key.toLowerCase();
    const acts = {
      a: () => submit("accept"), e: () => submit("expert"), s: () => submit("skip"),
      c: () => open("correct"), r: () => open("reject"), b: () => back(place.querySelector("a.back").href),
    };
    if (acts[key]) { event.preventDefault(); acts[key](); }
  });
  ready();
  place.querySelector(".item")?.focus();
})();
