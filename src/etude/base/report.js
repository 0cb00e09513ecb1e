"use strict";
// Displays two methods' answers to dev rows side by side. All texts are inserted as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data-rows").textContent);
  const PAGE = 5;
  const LONG = 700;
  const SHOWN = 520;
  const KEYS = ["left", "right", "filter", "q", "tag", "failure", "by", "page"];
  const names = data.methods.map((method) => method[0]);
  const by = (id) => document.getElementById(id);
  const text = (place) => data.texts[place];
  const state = { left: data.left, right: data.right, filter: "all", q: "", tag: "", failure: "", by: "", page: 1 };
  const counts = [...document.querySelectorAll("button.failed")];

  const make = (tag, className, content) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (content !== undefined) node.textContent = content;
    return node;
  };
  const label = (name) => data.methods[names.indexOf(name)][1];
  const answers = (row) => [row[4][names.indexOf(state.left)], row[4][names.indexOf(state.right)]];
  const failures = (answer) => answer[2].map((place) => data.failures[place]);
  const failed = (row) => {
    const answer = row[4][names.indexOf(state.by)];
    return answer && failures(answer).includes(state.failure);
  };
  const tagsOf = (row) => row[3].map(([tag, value]) => `${text(tag)}: ${text(value)}`);

  // What changes from the left answer to the right one; without one of them, nothing.
  const raised = (from, to) => to[1] > from[1] && to[1] - from[1] >= data.least - 1e-9;
  const KIND = {
    all: () => true,
    fixed: ([left, right]) => left && right && raised(left, right),
    broken: ([left, right]) => left && right && raised(right, left),
    differs: ([left, right]) => left && right && (left[0] !== right[0] || left[1] !== right[1]),
  };

  const haystack = (row) => {
    const parts = [row[0], text(row[1]), text(row[2]), ...tagsOf(row)];
    for (const answer of answers(row)) if (answer) parts.push(text(answer[0]), ...failures(answer));
    return parts.join("\n").toLowerCase();
  };
  const found = (row) =>
    (!state.failure || failed(row)) &&
    (!state.tag || tagsOf(row).includes(state.tag)) &&
    (!state.q || haystack(row).includes(state.q.toLowerCase()));

  const longText = (content) => {
    const holder = make("div");
    const paragraph = make("p", "text", content);
    paragraph.dir = "auto";
    holder.append(paragraph);
    if (content.length > LONG) {
      const more = make("button", "more", `Show all ${content.length.toLocaleString("en")} characters`);
      more.type = "button";
      paragraph.textContent = content.slice(0, SHOWN) + "…";
      more.addEventListener("click", () => { paragraph.textContent = content; more.remove(); });
      holder.append(more);
    }
    return holder;
  };
  const judged = (score) =>
    score >= 1 ? ["right", "✓ right"] : score <= 0 ? ["wrong", "✗ wrong"] : ["partly", `◐ ${score.toFixed(3)}`];

  const plainCell = (title, content) => {
    const cell = make("div", "cell");
    cell.append(make("h3", "", title), longText(content));
    return cell;
  };
  const answerCell = (name, answer) => {
    const [kind, words] = answer ? judged(answer[1]) : ["", "no answer yet"];
    const cell = make("div", `cell answer ${kind}`);
    const head = make("h3");
    head.append(make("span", "", label(name)), make("span", "judged", words));
    cell.append(head);
    if (!answer) return cell;
    cell.append(longText(text(answer[0]) || "(empty answer)"));
    if (answer[2].length) cell.append(make("p", "fails", `Failed: ${failures(answer).join("; ")}`));
    if (answer.length > 3) cell.append(make("p", "note", `From ${text(answer[3])}`));
    return cell;
  };
  const rowItem = (row) => {
    const item = make("li");
    const head = make("div", "row-head");
    const pair = answers(row);
    head.append(make("code", "", row[0]), ...tagsOf(row).map((tag) => make("span", "", tag)));
    const turn = KIND.fixed(pair) ? data.turned[0] : KIND.broken(pair) ? data.turned[1] : "";
    if (turn) head.append(make("span", "turn", turn.split(" ")[0].toLowerCase()));
    const cells = make("div", "cells");
    cells.append(plainCell("Input", text(row[1])), plainCell("Expected answer", text(row[2])));
    cells.append(answerCell(state.left, pair[0]), answerCell(state.right, pair[1]));
    item.append(head, cells);
    return item;
  };

  const showCounts = (candidates) => {
    for (const input of document.querySelectorAll("input[name=filter]")) {
      input.checked = input.value === state.filter;
      const count = candidates.filter((row) => KIND[input.value](answers(row))).length;
      input.nextElementSibling.querySelector("b").textContent = count.toLocaleString("en");
    }
    const tuning = state.right === data.tuned && state.left !== data.tuned;
    const who = tuning ? "tuning" : `“${label(state.right)}”`;
    document.querySelector("input[value=fixed] + span i").textContent = `${data.turned[0]} ${who}`;
    document.querySelector("input[value=broken] + span i").textContent = `${data.turned[1]} ${who}`;
  };
  const isShown = (count) => count.dataset.kind === state.failure && count.dataset.method === state.by;
  const showFailure = () => {
    by("only").hidden = !state.failure;
    if (state.failure) by("only-what").textContent = `Only rows on which “${label(state.by)}” failed: ${state.failure}`;
    for (const count of counts) count.setAttribute("aria-pressed", isShown(count));
  };
  const show = () => {
    const candidates = data.rows.filter(found);
    showCounts(candidates);
    showFailure();
    const rows = candidates.filter((row) => KIND[state.filter](answers(row)));
    const pages = Math.max(1, Math.ceil(rows.length / PAGE));
    state.page = Math.min(Math.max(1, state.page), pages);
    const start = (state.page - 1) * PAGE;
    const page = rows.slice(start, start + PAGE);
    by("rows").replaceChildren(...page.map(rowItem));
    by("rows").start = start + 1;
    by("count").textContent = rows.length
      ? `Rows ${start + 1} to ${start + page.length} of ${rows.length.toLocaleString("en")}`
      : "No row matches. Change the rows, the tag, the search or the failure.";
    by("where").textContent = `Page ${state.page} of ${pages}`;
    by("pager").hidden = pages === 1;
    by("before").disabled = state.page === 1;
    by("after").disabled = state.page === pages;
    for (const id of ["left", "right", "tag"]) by(id).value = state[id];
    if (by("search").value !== state.q) by("search").value = state.q;
  };

  // The address contains the state, so a view can be shared by its link.
  const fromAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!KEYS.some((key) => given.has(key))) return false;
    for (const key of ["left", "right"]) if (names.includes(given.get(key))) state[key] = given.get(key);
    state.filter = given.get("filter") in KIND ? given.get("filter") : "all";
    state.q = given.get("q") || "";
    state.tag = given.get("tag") || "";
    const known = data.failures.includes(given.get("failure")) && names.includes(given.get("by"));
    state.failure = known ? given.get("failure") : "";
    state.by = known ? given.get("by") : "";
    state.page = Number(given.get("page")) || 1;
    return true;
  };
  const toAddress = () => {
    const hash = new URLSearchParams();
    for (const key of KEYS) if (state[key]) hash.set(key, state[key]);
    try { history.replaceState(null, "", `#${hash}`); } catch { /* Some browsers forbid it for files. */ }
  };
  const change = (changes) => {
    Object.assign(state, { page: 1 }, changes);
    show();
    toAddress();
  };
  const turn = (by_) => {
    change({ page: state.page + by_ });
    by("side-by-side").scrollIntoView();
  };

  // All other choices are reset, so that as many rows are displayed as were counted.
  const showOnly = (failure, method) => {
    const right = method === state.left ? state.right : method;
    change({ failure, by: method, right, filter: "all", q: "", tag: "" });
    by("side-by-side").scrollIntoView();
    by("clear").focus({ preventScroll: true });
  };
  // A filter by failure ends when the method it is about is no longer displayed.
  const pick = (changes) => {
    const seen = { ...state, ...changes };
    const gone = state.by !== seen.left && state.by !== seen.right;
    change(gone ? { ...changes, failure: "", by: "" } : changes);
  };

  const fillPickers = () => {
    for (const id of ["left", "right"]) {
      by(id).append(...data.methods.map(([name, words]) => new Option(words, name)));
      by(id).addEventListener("change", (event) => pick({ [id]: event.target.value }));
    }
    const groups = new Map();
    for (const row of data.rows)
      for (const [tag, value] of row[3]) groups.set(tag, (groups.get(tag) || new Set()).add(value));
    for (const [tag, values] of groups) {
      const group = make("optgroup");
      group.label = text(tag);
      for (const value of [...values].map(text).sort()) group.append(new Option(value, `${text(tag)}: ${value}`));
      by("tag").append(group);
    }
    by("tag-label").hidden = groups.size === 0;
  };
  const listen = () => {
    by("tag").addEventListener("change", (event) => change({ tag: event.target.value }));
    let waiting = 0;
    by("search").addEventListener("input", (event) => {
      clearTimeout(waiting);
      waiting = setTimeout(() => change({ q: event.target.value.trim() }), 150);
    });
    for (const input of document.querySelectorAll("input[name=filter]"))
      input.addEventListener("change", () => change({ filter: input.value }));
    for (const count of counts) {
      count.disabled = false;
      count.addEventListener("click", () =>
        isShown(count) ? change({ failure: "", by: "" }) : showOnly(count.dataset.kind, count.dataset.method));
    }
    by("clear").addEventListener("click", () => {
      change({ failure: "", by: "" });
      document.querySelector("input[name=filter]:checked").focus();
    });
    by("before").addEventListener("click", () => turn(-1));
    by("after").addEventListener("click", () => turn(1));
    document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
    addEventListener("hashchange", () => {
      if (fromAddress()) { show(); by("side-by-side").scrollIntoView(); }
    });
  };

  // A link to a folded section opens it, and so does printing.
  const unfold = (within) => within?.querySelectorAll(".fold").forEach((fold) => { fold.open = true; });
  for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", () => unfold(document.querySelector(link.hash)));
  addEventListener("beforeprint", () => unfold(document));

  if (!data.rows.length || !names.length) return;
  by("reader").hidden = false;
  fillPickers();
  listen();
  const asked = fromAddress();
  show();
  if (asked) by("side-by-side").scrollIntoView();
})();
