"use strict";
// Reviews without page reloads: one key judges an answer, and the next answer replaces it. Without this script the same
// forms work with page reloads. The server renders and escapes every fragment.
(() => {
  if (document.querySelector("[data-reload]")) setTimeout(() => location.reload(), 2000);

  // A form inside a fragment: the server's response replaces the fragment.
  document.addEventListener("submit", async (event) => {
    const fragment = event.target.closest("[data-fragment]");
    if (!fragment || event.target.method === "get") return;
    event.preventDefault();
    const status = document.getElementById("status");
    const body = new URLSearchParams(new FormData(event.target, event.submitter));
    if (fragment.classList.contains("busy")) return;
    fragment.classList.add("busy");
    status.textContent = "Waiting for the answer…";
    try {
      const response = await fetch(event.target.action, { method: "POST", body, headers: { "x-fragment": "1" } });
      const text = await response.text();
      if (response.ok || response.status === 422) {
        fragment.innerHTML = text;
        (fragment.querySelector("#question") ?? fragment.querySelector("[aria-invalid]"))?.focus();
      }
      status.textContent = response.ok ? "" : response.status === 422 ? "Not saved." : new DOMParser().parseFromString(text, "text/html").querySelector(".banner")?.textContent ?? "That did not work.";
    } catch { status.textContent = "No connection. Nothing was saved; try again."; }
    fragment.classList.remove("busy");
    keepChat();
  });

  // Any other form is sent only if the server responds. Otherwise an error page would replace what the user has written.
  let reached = null;
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (event.defaultPrevented || form.method === "get") return;
    if (form === reached) return;
    event.preventDefault();
    const submitter = event.submitter;
    try {
      await fetch("/static/studio.css", { cache: "no-store" });
      reached = form;
      form.requestSubmit(submitter);
    } catch { document.getElementById("status").textContent = "No connection. Nothing was saved; try again."; }
  });

  // A conversation stays in this tab until a new one begins. Each person and each studio has another token.
  const chat = document.getElementById("question")?.closest("[data-fragment]");
  const chatName = `etude-chat:${chat?.querySelector("[name=token]").value}`;
  function keepChat() {
    if (chat) sessionStorage.setItem(chatName, chat.innerHTML);
  }
  if (chat && !chat.querySelector(".turn")) chat.innerHTML = sessionStorage.getItem(chatName) ?? chat.innerHTML;
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-forget]")) sessionStorage.removeItem(chatName);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.target.tagName !== "TEXTAREA" || event.isComposing) return;
    if (!event.ctrlKey && (event.shiftKey || !("enter" in event.target.dataset))) return;
    if (event.target.closest("#review")) return;
    event.preventDefault();
    event.target.form.requestSubmit(event.target.form.querySelector("button"));
  });

  // Open details stay open on the next page.
  for (const details of document.querySelectorAll("details[data-keep]")) {
    const name = `etude-open:${details.dataset.keep}`;
    details.open = localStorage.getItem(name) === "open";
    details.addEventListener("toggle", () => localStorage.setItem(name, details.open ? "open" : "closed"));
  }

  document.addEventListener("keydown", (event) => {
    const typing = ["TEXTAREA", "INPUT", "SELECT"].includes(event.target.tagName);
    if (typing || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (document.querySelector("dialog")) return;
    const button = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (button) { event.preventDefault(); button.click(); }
  });

  // The list of keys opens over the page, which stays as it is.
  document.querySelector('[data-key="?"]').addEventListener("click", async (event) => {
    event.preventDefault();
    const response = await fetch(event.currentTarget.href).catch(() => null);
    if (!response?.ok) return;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const [dialog, close] = [document.createElement("dialog"), document.createElement("button")];
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    dialog.append(...page.querySelectorAll("main > :is(h1, h2, .scroll)"), close);
    document.body.append(dialog);
    dialog.showModal();
    dialog.scrollTop = 0; // the focus is on its first table, which scrolls the heading out of view
  });

  const review = document.getElementById("review");
  if (!review) return;
  const status = document.getElementById("status");
  const byId = (id) => document.getElementById(id);
  const button = (value) => review.querySelector(`button[value="${value}"]`);
  const draftName = () => `etude-draft:${review.dataset.draft}:${review.querySelector(".item")?.dataset.item}`;
  let busy = false;

  const report = (text, unsaved) => {
    status.textContent = text;
    status.classList.toggle("unsaved", Boolean(unsaved));
  };
  const wait = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

  const show = (html, focus) => {
    review.innerHTML = html;
    ready();
    if (focus) (byId("wrong") ? byId("correction") : review.querySelector(".item"))?.focus({ preventScroll: false });
  };

  // Send again until the server confirms. The entry's id ensures that it is saved only once.
  const send = async (body) => {
    busy = true;
    const name = draftName();
    report("Saving…");
    for (let seconds = 1; ; seconds = Math.min(2 * seconds, 10)) {
      try {
        const response = await fetch("/review", {
          method: "POST", body, headers: { "x-fragment": "1", "content-type": "application/x-www-form-urlencoded" },
        });
        if (response.ok || [409, 422].includes(response.status)) {
          if (response.ok) localStorage.removeItem(name);
          show(await response.text(), true);
          report(response.ok ? `Saved at ${new Date().toLocaleTimeString()}` : "Not saved.", !response.ok);
          break;
        }
        if (response.status < 500) { report("Not saved. Reload the page; your draft is kept.", true); break; }
      } catch { /* no connection */ }
      report("Not saved yet. Trying again; keep this page open.", true);
      await wait(seconds);
    }
    busy = false;
  };

  const submit = (value) => {
    if (!busy) send(new URLSearchParams(new FormData(button(value).form, button(value))));
  };
  const open = (id) => {
    byId(id).open = true;
    const field = byId(id).querySelector("select, textarea, input:not([type])");
    field.focus();
    field.setSelectionRange?.(field.value.length, field.value.length);
    byId(id).scrollIntoView({ block: "nearest" });
  };
  const back = async (link) => {
    try {
      const response = await fetch(link, { headers: { "x-fragment": "1" } });
      if (response.ok) show(await response.text(), true);
    } catch { report("No connection.", true); }
  };

  // Words that differ, by the longest common subsequence.
  const difference = (before, after) => {
    const [a, b] = [before, after].map((text) => text.split(/(\s+)/));
    if (a.length * b.length > 4e6) return [];
    const table = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        table[i][j] = a[i] === b[j] ? table[i + 1][j + 1] + 1 : Math.max(table[i + 1][j], table[i][j + 1]);
    const pieces = [];
    for (let i = 0, j = 0; i < a.length || j < b.length; ) {
      if (i < a.length && j < b.length && a[i] === b[j]) { pieces.push(["span", a[i]]); i++; j++; }
      else if (j < b.length && (i === a.length || table[i][j + 1] > table[i + 1][j])) pieces.push(["ins", b[j++]]);
      else pieces.push(["del", a[i++]]);
    }
    return pieces;
  };
  const showDifference = () => {
    const [before, after] = [byId("answer").textContent, byId("correction").value];
    const nodes = before === after ? [] : difference(before, after).map(([tag, text]) => {
      const node = document.createElement(tag);
      node.textContent = text;
      return node;
    });
    review.querySelector("[data-diff]").replaceChildren(...nodes);
  };

  const ready = () => {
    if (!button("accept")) {
      if (review.querySelector("[data-wait]")) wait(2).then(() => back(location.pathname + location.search));
      return;
    }
    const field = byId("correction");
    const draft = localStorage.getItem(draftName());
    if (draft !== null && !byId("wrong") && !review.querySelector("[role=alert]")) { field.value = draft; byId("correct").open = true; }
    showDifference();
    field.addEventListener("input", () => { localStorage.setItem(draftName(), field.value); showDifference(); });
  };

  review.addEventListener("submit", (event) => {
    event.preventDefault();
    submit(event.submitter.value);
  });
  review.addEventListener("click", (event) => {
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
      details.open = false;
      review.querySelector(".item").focus();
      return;
    }
  });
  ready();
  review.querySelector(".item")?.focus();
})();
