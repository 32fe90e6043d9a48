"use strict";
const rows = Array.from(document.querySelectorAll("tbody tr[data-text]"));
const search = document.getElementById("search");
const choices = Array.from(document.querySelectorAll("select[data-name]"));
const count = document.getElementById("count");

function show() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of rows) {
    const fits = words.every((word) => row.dataset.text.includes(word))
      && choices.every((one) => !one.value || row.dataset[one.dataset.name] === one.value);
    row.hidden = !fits;
    shown += fits ? 1 : 0;
  }
  count.textContent = `${shown} of ${rows.length}`;
}

// index.html#004%20failed opens with that search.
search.value = decodeURIComponent(location.hash.slice(1));
document.getElementById("controls").hidden = false;
search.addEventListener("input", show);
choices.forEach((one) => one.addEventListener("change", show));
show();
