// Search: terms, symbols and claims before the pages that Sphinx finds. The search page holds what can be looked up as
// diffnotesSearch = [[names, title, kind, document, anchor], ...], made by diffnotes/press/reference/search.py.
(() => {
  const GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho final sigma tau upsilon phi chi psi omega".split(" ");
  const FILLING = new Set("a after all always an and any are at be but by can claim do does for from get gets have how i in is it its like look looking looks my of on or that the their there to too very what when why with".split(" "));
  const SPELLINGS = [  // what is British and its American letters, what is American and its British letters
    [/(?<=\p{L}{3})is(?=e\b|ed\b|es\b|er|ing|ation)/gu, "iz", /(?<=\p{L}{3})iz(?=e\b|ed\b|es\b|er|ing|ation)/gu, "is"],
    [/(?<=\p{L}{3})our/gu, "or", /(?<=behavi|col|fav|lab|neighb)or/gu, "our"],
    [/(?<=cent|fib|lit|met)re\b/gu, "er", /(?<=cent|fib|lit|met)er\b/gu, "re"],
    [/(?<=label|model)l(?=ed\b|ing\b)/gu, "", /(?<=label|model)(?=ed\b|ing\b)/gu, "l"],
    [/(?<=paramet)(?=ri[sz])/gu, "e", /(?<=paramet)e(?=ri[sz])/gu, ""],
    [/(?<=anal)ys(?=e)/gu, "yz", /(?<=anal)yz(?=e)/gu, "ys"],
    [/grey/gu, "gray", /gray/gu, "grey"],
  ];
  const american = (text) => SPELLINGS.reduce((so, [form, letters]) => so.replaceAll(form, letters), text);
  const british = (text) => SPELLINGS.reduce((so, [, , form, letters]) => so.replaceAll(form, letters), text);

  // "τ_i" and "$\tau_i$" are "tau i", "ᾱ" is "alpha bar"; order, endings and spelling of words and small words count for nothing.
  const plain = (text) => text.toLowerCase().normalize("NFKD")
    .replaceAll(/([\p{L}])[\u0304\u0305]/gu, " $1 bar ").replaceAll(/\p{M}/gu, "")
    .replaceAll(/[α-ω]/g, (letter) => ` ${GREEK[letter.charCodeAt(0) - 0x3b1]} `)
    .replaceAll(/\bvar(?=epsilon|phi)/g, "").replaceAll(/\beps\b/g, "epsilon").replaceAll(/\bx(?=0)/g, "x ")
    .replaceAll(/\b(time|data)(?=steps?\b|sets?\b)/g, "$1 ").match(/[\p{L}\p{N}]+/gu) ?? [];
  const telling = (found) => {
    const kept = found.length > 1 ? found.filter((word) => !FILLING.has(word)) : found;
    return kept.length ? kept : found;
  };
  const words = (text) => {
    const stemmer = new Stemmer();
    return [...new Set(telling(plain(text)).map((word) => stemmer.stemWord(american(word))))].sort();
  };

  // How much of a question and a name is the same: 1 if all is. A name may say more than half of it beside the question;
  // of a question two words in three have to be in it.
  const likeness = (asked, name) => {
    const shared = asked.filter((word) => name.includes(word)).length;
    const share = shared / (asked.length + name.length - shared);
    return share >= (shared === asked.length ? 0.5 : 0.6) ? share : 0;
  };

  // Whether one word is the other with `most` letters left out, put in, changed or exchanged with their neighbours.
  const near = (a, b, most) => {
    if (Math.abs(a.length - b.length) > most) return false;
    let before = [], row = Array.from({ length: b.length + 1 }, (_, k) => k);
    for (let i = 1; i <= a.length; i++) {
      const next = [i];
      for (let k = 1; k <= b.length; k++) {
        next[k] = Math.min(row[k] + 1, next[k - 1] + 1, row[k - 1] + (a[i - 1] !== b[k - 1]));
        if (a[i - 1] === b[k - 2] && a[i - 2] === b[k - 1]) next[k] = Math.min(next[k], before[k - 2] + 1);
      }
      [before, row] = [row, next];
    }
    return row[b.length] <= most;
  };

  const begin = () => {
    if (typeof Search === "undefined" || typeof diffnotesSearch === "undefined") return;
    const pages = Search._performSearch;
    let entries;  // of this book and, behind them, the headings, which Sphinx knows once its index has come
    const unnumbered = (title) => title.replace(/^<span class="section-number">.*?<\/span>/, "");
    const collect = () => {
      const index = Search._index, shown = new Set(diffnotesSearch.map(([, title]) => title));
      const headings = Object.entries(index.alltitles).filter(([, places]) => places.length === 1).map(([title, [[file, id]]]) => {
        const page = unnumbered(index.titles[file]);
        const name = unnumbered(title.trim().replace(/^\((.+)\)$/, "$1").replaceAll(/\\(\w+)/g, (tex, letter) =>
          GREEK.includes(letter) ? String.fromCharCode(0x3b1 + GREEK.indexOf(letter)) : tex));
        return [[name], name === page ? page : `${page} > ${name}`, null, index.docnames[file], id ?? ""];
      });
      return [...diffnotesSearch, ...headings.filter(([, title]) => !shown.has(title))]
        .map(([names, ...rest], place) => ({ said: [...names, rest[0]], names: names.map(words), rest, place }));
    };

    const lookUp = (query) => {
      const asked = words(query);
      const found = asked.length === 0 ? [] : entries
        .map((entry) => ({ ...entry, score: Math.max(...entry.names.map((name) => likeness(asked, name))) }))
        .filter(({ score }) => score)
        .sort((a, b) => a.score - b.score || b.place - a.place)  // the last is shown first
        .map(({ rest: [title, kind, document, anchor], score }) =>
          [document, title, anchor && `#${anchor}`, kind, 1000 * score, `${document}.md`]);
      const listed = new Map();  // what several spellings find is listed once; the last is what pages mark when they open
      for (const way of new Set([american(query), british(query), query])) {
        for (const one of pages(...Search._parseQuery(way))) {
          const key = one[0] + one[2];
          if (!(listed.get(key)?.[4] >= one[4])) listed.set(key, one);
        }
      }
      const own = new Set(found.flatMap(([document, title, anchor]) => [document + anchor, document + title]));
      const rest = [...listed.values()].sort((a, b) => a[4] - b[4])
        .filter(([document, title, anchor]) => !own.has(document + anchor) && !own.has(document + unnumbered(title)));
      return [...rest, ...found];
    };

    // The words of a question that the book has, each mended if it is nearly one of the names and headings.
    const mended = (query) => {
      const stemmer = new Stemmer(), terms = Object.keys(Search._index.terms);
      const vocabulary = [...new Set(entries.flatMap(({ said }) => said.flatMap(plain)))];
      return telling(plain(query)).flatMap((word) => {
        if ([word, american(word), british(word)].some((way) => terms.some((term) => term.includes(stemmer.stemWord(way))))) return [word];
        const most = word.length >= 8 ? 2 : word.length >= 5 ? 1 : 0;
        const close = vocabulary.filter((one) => one[0] === word[0] && near(word, one, most));
        return [close.find((one) => near(word, one, 1)) ?? close[0]].filter(Boolean);
      });
    };

    Search._performSearch = (query) => {
      entries ??= collect();
      Search.status.setAttribute("role", "status");  // so that screen readers say how many results there are
      const found = lookUp(query);
      if (found.length) return found;
      const known = mended(query), said = document.createElement("p");
      said.className = "search-instead";
      Search.status.before(said);
      if (!known.length) {
        said.textContent = "Words of this book are in the glossary, signs in the notation, and symptoms of a model on the page “Is my model stable?”.";
        return found;
      }
      let instead = lookUp(known.join(" "));
      if (!instead.length) {  // no page has all the words: those that have most of them
        const hits = new Map();
        for (const one of known.flatMap(lookUp)) hits.set(one[0] + one[2], [...hits.get(one[0] + one[2]) ?? [], one]);
        instead = [...hits.values()].sort((a, b) => a.length - b.length || a[0][4] - b[0][4]).map(([one]) => one);
      }
      said.textContent = `Nothing in this book has “${query}”. Shown is what is found for ${known.map((word) => `“${word}”`).join(", ")}.`;
      return instead;
    };
  };
  // Before the search itself begins: its listener was added after this one.
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
