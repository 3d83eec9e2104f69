// Search: terms, symbols and claims before the pages that Sphinx finds. The search page holds what can be looked up as
// diffnotesSearch = [[names, title, kind, document, anchor], ...], made by diffnotes/press/reference/search.py.
(() => {
  const GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho final sigma tau upsilon phi chi psi omega".split(" ");
  const FILLING = new Set("a an and are by do does for how i in is it my of on or that the their there to what when why with".split(" "));
  // "τ_i" and "$\tau_i$" are "tau i"; the order of words, their endings and small words count for nothing.
  const words = (text) => {
    const plain = text.toLowerCase()
      .replaceAll(/[α-ω]/g, (letter) => ` ${GREEK[letter.charCodeAt(0) - 0x3b1]} `)
      .replaceAll(/[ϵϕ]/g, (letter) => (letter === "ϵ" ? " epsilon " : " phi "))
      .normalize("NFKD").replaceAll(/[\u0300-\u036f]/g, "").replaceAll(/\bvar(?=epsilon|phi)/g, "").replaceAll(/\beps\b/g, "epsilon");
    const found = plain.match(/[\p{L}\p{N}]+/gu) ?? [];
    const kept = found.length > 1 ? found.filter((word) => !FILLING.has(word)) : found;
    const stemmer = new Stemmer();
    return [...new Set((kept.length ? kept : found).map((word) => stemmer.stemWord(word)))].sort();
  };

  // How well a name is what was asked for: 1 if it is, less if it says more, 0 if a word of the question is missing.
  const likeness = (asked, name) => (asked.every((word) => name.includes(word)) ? asked.length / name.length : 0);

  const begin = () => {
    if (typeof Search === "undefined" || typeof diffnotesSearch === "undefined") return;
    const known = diffnotesSearch.map(([names, ...rest], place) => ({ names: names.map(words), rest, place }));
    const pages = Search._performSearch;
    Search._performSearch = (query, ...terms) => {
      const asked = words(query);
      const found = asked.length === 0 ? [] : known
        .map((entry) => ({ ...entry, score: Math.max(...entry.names.map((name) => likeness(asked, name))) }))
        .filter(({ score }) => score >= 0.5)
        .sort((a, b) => a.score - b.score || b.place - a.place)  // the last is shown first
        .map(({ rest: [title, kind, document, anchor], score }) =>
          [document, title, anchor && `#${anchor}`, kind, 1000 * score, `${document}.md`]);
      const own = new Set(found.map(([document, , anchor]) => document + anchor));
      return [...pages(query, ...terms).filter(([document, , anchor]) => !own.has(document + anchor)), ...found];
    };
  };
  // Before the search itself begins: its listener was added after this one.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
