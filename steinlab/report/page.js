"use strict";
(() => {
  const table = document.getElementById("ledger");
  const claims = [...table.querySelectorAll("tbody.claim")];
  const search = document.getElementById("search");
  const chips = [...document.querySelectorAll(".chip")];
  const cases = JSON.parse(document.getElementById("cases").textContent);

  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = new Set(chips.filter(c => c.getAttribute("aria-pressed") === "true").map(c => c.dataset.verdict));
    let shown = 0;
    for (const claim of claims) {
      const match = wanted.has(claim.dataset.verdict) && words.every(w => claim.dataset.search.includes(w));
      claim.hidden = !match;
      shown += match ? 1 : 0;
    }
    document.getElementById("count").textContent = `${shown} of ${claims.length}`;
  };

  const unfold = (claim, open) => {
    claim.querySelector(".row").setAttribute("aria-expanded", String(open));
    claim.querySelector(".detail").hidden = !open;
  };
  const isOpen = claim => !claim.querySelector(".detail").hidden;

  for (const claim of claims) {
    const row = claim.querySelector(".row");
    row.addEventListener("click", () => unfold(claim, !isOpen(claim)));
    row.addEventListener("keydown", event => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        unfold(claim, !isOpen(claim));
      }
    });
  }

  table.querySelectorAll(":scope > thead th").forEach((th, column) => {
    th.querySelector("button").addEventListener("click", () => {
      const up = th.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll(":scope > thead th").forEach(other => other.setAttribute("aria-sort", "none"));
      th.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = claim => claim.querySelector(".row").children[column].dataset.value;
      const compare = th.dataset.kind === "number" ? (a, b) => key(a) - key(b) : (a, b) => key(a).localeCompare(key(b));
      claims.sort((a, b) => (up ? 1 : -1) * compare(a, b));
      table.append(...claims);
    });
  });

  search.addEventListener("input", filter);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", String(chip.getAttribute("aria-pressed") !== "true"));
      filter();
    });
  }
  document.getElementById("unfold").addEventListener("click", event => {
    const open = !claims.every(isOpen);
    claims.forEach(claim => unfold(claim, open));
    event.target.textContent = open ? "fold all" : "unfold all";
  });
  document.querySelectorAll("a.save").forEach(link => link.addEventListener("click", event => {
    event.preventDefault();
    const text = JSON.stringify(cases[link.dataset.claim], null, 1) + "\n";
    const made = document.createElement("a");
    made.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    made.download = `${link.dataset.claim}.json`;
    made.click();
    URL.revokeObjectURL(made.href);
  }));
  const follow = () => {
    const claim = claims.find(c => c.id === decodeURIComponent(location.hash.slice(1)));
    if (claim) {
      claim.hidden = false;
      unfold(claim, true);
      claim.scrollIntoView();
    }
  };
  window.addEventListener("hashchange", follow);
  filter();
  follow();
})();
