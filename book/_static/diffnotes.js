// From disk a page may not fetch its neighbours, so there the search lists titles without excerpts.
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}

// Formulas in a line that are wider than the line get one of their own, where they can scroll. First all are measured.
const foldWide = (formulas) => {
  formulas.forEach((one) => { one.classList.remove("wide"); });
  const wide = formulas.map((one) => {
    return one.firstElementChild && one.firstElementChild.scrollWidth > one.closest("p, li, td, dt, dd, div").clientWidth;
  });
  formulas.forEach((one, k) => { if (wide[k]) one.classList.add("wide"); });
};

// Formulas are set a few at a time, those near the window first: a page of several hundred would stand still for
// seconds on a telephone. All are set in the end, so that a page can be searched and printed.
const SLICE = 40; // milliseconds that a few should take
const pause = () => new Promise((done) => {
  const channel = new MessageChannel();
  channel.port1.onmessage = done;
  channel.port2.postMessage(0);
});
const setFormulas = async () => {
  const waiting = new Set(document.querySelectorAll(".math, .mathjax_process, .tex2jax_process")), near = new Set();
  let known;
  const looked = new Promise((done) => { known = done; });
  const watch = new IntersectionObserver((seen) => {
    known();
    for (const { target, isIntersecting } of seen) near[isIntersecting && waiting.has(target) ? "add" : "delete"](target);
  }, { rootMargin: "100% 0px" });
  waiting.forEach((formula) => watch.observe(formula));
  const done = (formulas) => {
    formulas.forEach((formula) => { waiting.delete(formula); near.delete(formula); watch.unobserve(formula); });
  };
  const all = () => { // before the page is printed there is no time to wait
    const rest = [...waiting];
    done(rest);
    if (rest.length) MathJax.typeset(rest);
  };
  addEventListener("beforeprint", all);
  setTimeout(known, 500); // in a window that is not drawn nothing is near
  await looked;
  for (let count = 8; waiting.size;) {
    const some = [...(near.size ? near : waiting)].slice(0, count), start = performance.now();
    done(some);
    await MathJax.typesetPromise(some);
    foldWide(some.filter((formula) => formula.matches("span.math")));
    const factor = SLICE / (performance.now() - start);
    count = Math.round(Math.min(Math.max(count * Math.min(Math.max(factor, 0.5), 2), 4), 200));
    await pause();
  }
  watch.disconnect();
  removeEventListener("beforeprint", all);
  fit();
  addEventListener("resize", () => foldWide([...document.querySelectorAll("span.math")]));
};

// Widgets set their labels by a call of MathJax 2, which MathJax 3 does not know: pass it on. A slider is called by its
// label, which it does not do by itself.
if (window.MathJax) {
  const hub = {
    Queue([, , element]) {
      const words = element.textContent;
      element.classList.add("mathjax_process");
      setTimeout(() => {
        element.parentElement?.querySelectorAll(".noUi-handle").forEach((one) => one.setAttribute("aria-label", words));
      });
      MathJax.startup.promise?.then(() => MathJax.typesetPromise([element]));
    },
  };
  MathJax.Hub = hub;
  MathJax.startup = {
    ...MathJax.startup,
    ready() {
      MathJax.Hub = hub;
      MathJax.startup.defaultReady();
    },
    pageReady: setFormulas,
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

// Code cells are folded away, or all opened, throughout the book by one button in the head of each page. Until it is
// used a page shows what its author left open. A cell can be opened and closed by itself at any time.
const CODE = "diffnotes-code", root = document.documentElement;
root.dataset.code = localStorage.getItem(CODE) ?? "written"; // before anything is drawn

const foldable = () => {
  for (const input of document.querySelectorAll(".cell > .cell_input")) {
    const fold = document.createElement("details"), summary = document.createElement("summary");
    fold.className = "admonition hide above-input code-fold";
    for (const [state, words] of [["collapsed", "Show the code"], ["expanded", "Hide the code"]]) {
      const line = document.createElement("p");
      line.className = `${state} admonition-title`;
      line.textContent = words;
      summary.append(line);
    }
    input.replaceWith(fold);
    fold.append(summary, input);
  }
};
const showCode = (state) => {
  root.dataset.code = state;
  if (state !== "written") {
    foldable();
    document.querySelectorAll(".cell details.hide.above-input").forEach((fold) => { fold.open = state === "shown"; });
  }
};
document.addEventListener("DOMContentLoaded", () => {
  const head = document.querySelector(".article-header-buttons");
  if (!head || !document.querySelector(".cell .cell_input")) return;
  const button = document.createElement("button"), words = document.createElement("span");
  button.type = "button";
  button.className = "btn btn-sm code-button";
  const name = () => {
    words.textContent = root.dataset.code === "hidden" ? "Show all code" : "Hide all code";
  };
  button.append(words);
  button.addEventListener("click", () => {
    showCode(root.dataset.code === "hidden" ? "shown" : "hidden");
    localStorage.setItem(CODE, root.dataset.code);
    name();
  });
  showCode(root.dataset.code);
  name();
  head.prepend(button);
});

// The code that a figure or a verdict comes from is opened when a link leads to it.
const openCode = () => {
  const cell = location.hash.startsWith("#code-") && document.getElementById(location.hash.slice(1));
  const fold = cell && cell.querySelector("details.hide.above-input");
  if (!fold || fold.open) return;
  fold.open = true;
  cell.scrollIntoView();
};
addEventListener("hashchange", openCode);
document.addEventListener("DOMContentLoaded", openCode);
document.addEventListener("click", (event) => {
  // The same link again, after its code was closed by hand.
  if (event.target instanceof Element && event.target.closest(".made a")?.hash === location.hash) openCode();
});

// Figures are enlarged in a dialog. Each is a link to its picture, which is what is left of this without a script.
const enlarge = (link) => {
  const figure = link.closest("figure"), caption = figure?.querySelector("figcaption")?.cloneNode(true);
  const dialog = document.createElement("dialog"), close = document.createElement("button");
  const view = document.createElement("div"), image = link.querySelector("img").cloneNode();
  for (const name of ["style", "width", "height", "class"]) image.removeAttribute(name);
  caption?.querySelectorAll(".headerlink, .made").forEach((mark) => mark.remove());
  caption?.querySelectorAll("[id]").forEach((one) => one.removeAttribute("id"));
  dialog.className = "enlarged";
  dialog.setAttribute("aria-label", `${figure?.querySelector(".caption-number")?.textContent.trim() ?? "Figure"}, enlarged`);
  close.type = "button";
  close.textContent = "Close";
  view.className = "enlarged-view";
  view.tabIndex = 0; // to be scrolled by keys
  view.setAttribute("role", "group");
  view.setAttribute("aria-label", "Picture");
  view.append(image);
  dialog.append(close, view, ...(caption ? caption.childNodes : []));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    dialog.remove();
    link.focus({ preventScroll: true });
  });
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
};
document.addEventListener("DOMContentLoaded", () => {
  for (const image of document.querySelectorAll(".bd-article figure img, .bd-article .cell_output img")) {
    let link = image.closest("a");
    if (!link) {
      link = document.createElement("a");
      link.href = image.src;
      link.className = "reference internal image-reference";
      image.replaceWith(link);
      link.append(image);
    }
    if (!link.classList.contains("image-reference")) continue;
    link.setAttribute("aria-haspopup", "dialog");
    link.title = "Enlarge";
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      enlarge(link);
    });
  }
});

// Tables that are wider than the page stand cell below cell, each with its head, as in the EPUB. What is still wider, for
// its heads are formulas, is scrolled sideways; and what can be scrolled can be scrolled by keys.
const fit = () => {
  const wider = (one) => one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).overflowX !== "visible";
  const boxes = [...document.querySelectorAll(".pst-scrollable-table-container")];
  const tables = boxes.map((box) => box.querySelector("table"));
  tables.forEach((table) => { table.classList.remove("stacked"); });
  const wide = boxes.map(wider);
  tables.forEach((table, k) => {
    const heads = [...table.querySelectorAll("thead :is(th, td)")];
    if (!wide[k] || heads.length < 3 || heads.some((head) => head.querySelector(".math"))) return;
    table.classList.add("stacked");
    for (const row of table.tBodies[0].rows) {
      [...row.cells].forEach((cell, column) => {
        if (!cell.textContent.trim() && !cell.querySelector("svg, img")) return;
        const first = cell.firstElementChild?.matches("p") ? cell.firstElementChild : cell;
        first.dataset.head = heads[column]?.textContent.trim() ?? "";
      });
    }
  });
  const all = [...boxes, ...document.querySelectorAll(".player details, .cell_output")], scrolls = all.map(wider);
  all.forEach((one, k) => {
    if (scrolls[k]) one.tabIndex = 0;
    else one.removeAttribute("tabindex");
  });
};
addEventListener("load", fit);
addEventListener("resize", fit);

// Pages are printed in light colours.
let colours;
addEventListener("beforeprint", () => {
  colours ??= root.dataset.theme;
  root.dataset.theme = "light";
});
addEventListener("afterprint", () => {
  root.dataset.theme = colours ?? root.dataset.theme;
  colours = undefined;
});
