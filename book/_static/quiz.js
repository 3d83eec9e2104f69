// Questions with which readers check themselves. Without this script each has the reasons of all its answers folded below
// it (diffnotes/press/teach/quiz.py). Here a button says whether the chosen answer is right, and why.
//
// A button, and not the choice itself: whoever goes through radio buttons by arrow keys chooses each on the way, and would
// be told the answer before having heard all options. Enter does what the button does, as in any form. What is said comes
// into a region that has been there, empty, from the start, since screen readers announce changes of regions they know;
// politely, after what they are just reading, and the focus stays where it is.
document.addEventListener("DOMContentLoaded", () => {
  for (const question of document.querySelectorAll(".quiz-question")) {
    const group = question.querySelector("fieldset"), folded = question.querySelector(".quiz-answers");
    const reasons = [...folded.querySelectorAll("li")], options = [...group.querySelectorAll(".quiz-option")];
    const form = document.createElement("form"), button = document.createElement("button");
    const said = document.createElement("div");
    button.type = "submit";
    button.className = "quiz-check";
    button.textContent = "Check";
    const head = group.querySelector(".quiz-head");
    head.id = `${question.id}-head`;
    button.setAttribute("aria-describedby", head.id); // the page has several buttons of this name
    said.className = "quiz-said";
    said.setAttribute("role", "status");
    group.replaceWith(form);
    form.append(group, button, said);
    folded.hidden = true;

    // Each formula would be a stop of the Tab key, for its menu. Between an option and the button there should be none.
    const plain = () => group.querySelectorAll("mjx-container[tabindex]").forEach((one) => one.removeAttribute("tabindex"));
    new MutationObserver(plain).observe(group, { childList: true, subtree: true });

    const clear = () => {
      said.replaceChildren();
      for (const option of options) option.classList.remove("quiz-right", "quiz-wrong");
    };
    form.addEventListener("change", clear);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clear();
      const place = options.findIndex((option) => option.querySelector("input").checked);
      if (place < 0) {
        said.append("Choose an answer first.");
        return;
      }
      const reason = reasons[place], kind = reason.classList.contains("quiz-right") ? "quiz-right" : "quiz-wrong";
      const shown = document.createElement("div");
      shown.className = kind;
      shown.append(...[...reason.childNodes].map((node) => node.cloneNode(true)));
      options[place].classList.add(kind);
      said.append(shown);
      folded.hidden &&= kind === "quiz-wrong"; // who has found the answer may read what is wrong with the others
      settle(shown);
    });
  }

  // Formulas that have not had their turn are set now, and those that are wider than the line can be scrolled.
  const settle = async (shown) => {
    const waiting = [...shown.querySelectorAll(".math")].filter((one) => !one.querySelector("mjx-container"));
    if (waiting.length) await window.MathJax?.typesetPromise?.(waiting);
    foldWide([...shown.querySelectorAll("span.math")]);
  };
});
