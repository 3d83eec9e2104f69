/* Starts a deck: formulas first, then the steps of derivations, then reveal.js. `slides` is done when all stands. */
const slides = (async () => {
  await window.MathJax?.startup?.promise?.then(() => MathJax.typesetPromise());
  for (const table of document.querySelectorAll(".derivation mjx-container > mjx-math mjx-itable")) {
    if (table.parentElement.closest("mjx-itable")) continue;
    [...table.children].slice(1).forEach((row) => row.classList.add("fragment"));
  }
  const printed = new Promise((done) => Reveal.on("pdf-ready", done));
  await Reveal.initialize({
    width: 1280, height: 720, margin: 0.02, minScale: 0.1, maxScale: 4, center: false, hash: true,
    slideNumber: "c/t", transition: "none", backgroundTransition: "none", controlsTutorial: false,
    scrollActivationWidth: null, pdfSeparateFragments: false, pdfMaxPagesPerSlide: 1, plugins: [RevealNotes],
  });
  if (Reveal.isPrintView()) await printed;
})();
