// Filters for the table of all claims: words (of the row, or of the box it leads to), verdict, source and group. Without this script the table is whole.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector(".ledger-overview table");
  if (!table) return;
  // The sections below the table are named by subject, and each row leads into one.
  const place = (row) => document.getElementById(decodeURIComponent(row.querySelector("a")?.hash.slice(1) ?? ""));
  const title = (row) => place(row)?.closest("section")?.querySelector("h2, h3")?.firstChild?.textContent;
  const box = (row) => {
    const target = place(row);
    return (target?.matches(".admonition") ? target : target?.nextElementSibling)?.textContent ?? "";
  };
  const rows = [...table.tBodies[0].rows].map((row) => {
    const [claim, , source, verdict] = [...row.cells].map((cell) => cell.textContent.trim());
    return {
      row, source, group: claim[0], title: title(row), words: `${row.textContent} ${box(row)}`.toLowerCase(),
      verdict: verdict.replace(/^\S+ /, "").split(/[;(]/)[0].trim(),
    };
  });
  const form = document.createElement("form");
  form.className = "ledger-filters";
  form.addEventListener("submit", (event) => event.preventDefault());
  const label = (words, control) => {
    const element = document.createElement("label");
    element.append(words, control);
    form.append(element);
    return control;
  };
  const search = label("Words", Object.assign(document.createElement("input"), { type: "search", name: "words" }));
  const select = (words, key, told = (value) => value) => {
    const control = Object.assign(document.createElement("select"), { name: key });
    const values = [...new Set(rows.map((one) => one[key]))];
    control.append(new Option("all", ""));
    if (key !== "group") values.sort(); // subjects stand in the order of the page
    for (const value of values) control.append(new Option(told(value), value));
    return label(words, control);
  };
  const groups = Object.fromEntries(rows.map((one) => [one.group, one.title]));
  const choices = {
    verdict: select("Verdict", "verdict"),
    source: select("Source", "source"),
    group: select("Subject", "group", (value) => groups[value] ?? value),
  };
  const reset = Object.assign(document.createElement("button"), { type: "reset", textContent: "Show all" });
  const count = document.createElement("output");
  form.append(reset, count);
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const one of rows) {
      const fits = words.every((word) => one.words.includes(word)) &&
        Object.entries(choices).every(([key, control]) => !control.value || one[key] === control.value);
      one.row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} claims${shown ? "" : "; the search of the site knows other words, too"}`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  table.closest(".ledger-overview").prepend(form);
  apply();
});
