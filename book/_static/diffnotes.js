// From disk a page may not fetch its neighbours, so there the search lists titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// A formula in a line that is wider than the line gets one of its own, where it can scroll.
const foldWide = (formula) => {
  const line = formula.closest("p, li, td, dd, div");
  formula.classList.toggle("wide", formula.firstElementChild.scrollWidth > line.clientWidth);
};

// Widgets set their labels by a call of MathJax 2, which MathJax 3 does not know: pass it on.
if (window.MathJax) {
  const hub = {
    Queue([, , element]) {
      element.classList.add("mathjax_process");
      MathJax.startup.promise?.then(() => MathJax.typesetPromise([element]));
    },
  };
  MathJax.Hub = hub;
  MathJax.startup = {
    ...MathJax.startup,
    ready() {
      MathJax.Hub = hub;
      MathJax.startup.defaultReady();
      MathJax.startup.promise.then(() => document.querySelectorAll("span.math").forEach(foldWide));
    },
  };
}

// Keep a punctuation mark on the line of the formula before it.
document.addEventListener("DOMContentLoaded", () => {
  for (const formula of document.querySelectorAll("span.math")) {
    const next = formula.nextSibling;
    const mark = next?.nodeType === Node.TEXT_NODE && /^[.,;:!?)\]’”-]+/.exec(next.data)?.[0];
    if (mark) {
      next.data = next.data.slice(mark.length);
      const together = document.createElement("span");
      together.className = "together";
      formula.replaceWith(together);
      together.append(formula, mark);
    }
  }
});
