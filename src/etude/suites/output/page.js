"use strict";
// Shows the cases that match the choices. Without a script, all cases are shown, failures first.
(() => {
  const by = (id) => document.getElementById(id);
  const items = [...document.querySelectorAll(".cases > li")];
  const WHO = {
    failed: (data) => data.own === "failed",
    gained: (data) => data.own === "passed" && data.base === "failed",
    lost: (data) => data.own === "failed" && data.base === "passed",
    unsure: (data) => data.sure === "false",
    all: () => true,
  };
  const choices = ["who", "suite", "act"];
  const show = () => {
    let number = 0;
    for (const item of items) {
      const data = item.dataset;
      const fits = WHO[by("who").value](data) && (!by("suite").value || data.suite === by("suite").value) &&
        (!by("act").value || data.act === by("act").value);
      item.hidden = !fits;
      number += fits;
    }
    by("count").textContent = number ? `${number} of ${items.length} cases` : "No case matches. Choose other values.";
    const hash = new URLSearchParams(choices.map((id) => [id, by(id).value]));
    try { history.replaceState(null, "", `#${hash}`); } catch { /* Some browsers forbid it for files. */ }
  };
  const given = new URLSearchParams(location.hash.slice(1));
  for (const id of choices) {
    if (given.has(id) && [...by(id).options].some((option) => option.value === given.get(id))) by(id).value = given.get(id);
    by(id).addEventListener("change", show);
  }
  const open = (fold) => { if (fold) fold.open = true; };
  for (const link of document.querySelectorAll("nav a"))
    link.addEventListener("click", () => open(document.querySelector(`${link.hash} > .fold`)));
  if (choices.some((id) => given.has(id))) open(document.querySelector("#cases > .fold"));
  by("controls").hidden = false;
  show();
})();
