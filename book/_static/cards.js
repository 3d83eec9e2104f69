// Cards: what a link to a term, an equation, a figure, a claim, a theorem or a work leads to, shown beside the link
// while the pointer rests on it or the keyboard is at it. Escape closes a card, and the pointer may move onto it. What
// stands on this page is copied from it, formulas as they are set; for the rest the page holds a <template> for each link.
(() => {
  const REST = 250, LEAVE = 300;  // milliseconds
  let shown = null, waiting = 0, leaving = 0;
  const made = new Map();

  const element = (tag, className, ...children) => {
    const made = document.createElement(tag);
    made.className = className;
    made.append(...children);
    return made;
  };
  const copies = (nodes) => [...nodes].map((node) => node.cloneNode(true));
  const title = (node) => element("p", "card-title", ...copies(node.childNodes));

  // [kind, nodes] of what stands on this page, as diffnotes/press/reference/cards.py has it for other pages.
  const standing = (target) => {
    if (target.matches("dl.glossary > dt")) {
      let meaning = target;
      while (meaning && meaning.tagName !== "DD") meaning = meaning.nextElementSibling;
      return meaning && ["term", [title(target), ...copies(meaning.childNodes)]];
    }
    if (target.matches("figure")) {
      const image = target.querySelector("img"), caption = target.querySelector("figcaption > p");
      return image && caption && ["figure", copies([image, caption])];
    }
    if (target.matches("div.math")) return ["equation", copies([target])];
    const head = target.querySelector(":scope > .admonition-title");
    if (target.matches("div.verdict")) return ["claim", [title(head), ...copies([...target.querySelectorAll(":scope > .admonition-title ~ p")].slice(0, 1))]];
    if (target.matches("div.proof")) {
      const told = target.querySelector(":scope > section");
      return told && ["theorem", [title(head), ...copies(told.childNodes)]];
    }
    if (target.matches("div.citation")) return ["citation", copies(target.querySelectorAll(":scope > p"))];
    return null;
  };

  const clean = (card) => {
    card.querySelectorAll(".headerlink, .backrefs").forEach((node) => node.remove());
    card.querySelectorAll("[id]").forEach((node) => node.removeAttribute("id"));
    card.querySelectorAll("a").forEach((link) => link.replaceWith(...link.childNodes));
    card.querySelectorAll("img").forEach((image) => image.removeAttribute("class"));
    return card;
  };

  // The card of a link, made once; null for a link that has none.
  const cardOf = (link) => {
    const address = link.getAttribute("href");
    if (made.has(address)) return made.get(address);
    let found = null, here = true;
    if (address.startsWith("#")) {
      const target = document.getElementById(decodeURIComponent(address.slice(1)));
      found = target && standing(target);
    } else {
      const template = document.querySelector(`template.card[data-for="${CSS.escape(address)}"]`);
      here = false;
      found = template && [template.dataset.kind, [template.content.cloneNode(true)]];
    }
    if (found) {
      const card = clean(element("div", `link-card link-card-${found[0]}`, ...found[1]));
      card.id = "link-card";
      card.setAttribute("role", "tooltip");
      if (!here || card.querySelector(".math:not(:has(mjx-container))")) card.dataset.unset = "";
      found = card;
    }
    made.set(address, found || null);
    return found || null;
  };

  const place = (card, rectangle) => {
    const gap = 6, edge = 8;
    const { offsetWidth: width, offsetHeight: height } = card;
    const below = rectangle.bottom + gap, above = rectangle.top - gap - height;
    const top = below + height <= innerHeight - edge || above < edge ? below : above;
    const left = Math.max(edge, Math.min(rectangle.left, document.documentElement.clientWidth - width - edge));
    card.style.top = `${top + scrollY}px`;
    card.style.left = `${left + scrollX}px`;
  };

  const hide = () => {
    clearTimeout(waiting);
    clearTimeout(leaving);
    if (!shown) return;
    const { link, card, title } = shown;
    card.remove();
    link.removeAttribute("aria-describedby");
    if (title !== null) link.setAttribute("title", title);
    shown = null;
  };

  // At (x, y) the pointer is, if there is one: of a link over two lines the card stands at the line it is in.
  const show = (link, x, y) => {
    const card = cardOf(link);
    if (!card || shown?.link === link) return;
    hide();
    const lines = [...link.getClientRects()];
    const line = lines.find((one) => x >= one.left && x <= one.right && y >= one.top && y <= one.bottom) ?? lines[0];
    shown = { link, card, title: link.getAttribute("title") };
    link.removeAttribute("title");  // the browser would show it beside the card
    link.setAttribute("aria-describedby", card.id);
    card.querySelector(".card-quoted")?.remove();
    if (link.matches(".effect") && shown.title) card.append(element("p", "card-quoted", `The part quoted here: ${shown.title}.`));
    document.body.append(card);
    place(card, line);
    if ("unset" in card.dataset) {
      delete card.dataset.unset;
      window.MathJax?.startup?.promise?.then(() => MathJax.typesetPromise([card])).then(() => shown?.card === card && place(card, line));
    }
    card.querySelectorAll("img").forEach((image) => image.complete || image.addEventListener("load", () => shown?.card === card && place(card, line)));
  };

  const linkAt = (target) => target instanceof Element ? target.closest(".bd-article a.reference.internal[href*='#']") : null;
  const away = () => {
    clearTimeout(waiting);
    clearTimeout(leaving);
    leaving = setTimeout(() => shown?.link.matches(":focus-visible") || hide(), LEAVE);
  };

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;  // a tap follows the link
    const link = linkAt(event.target);
    if (link) {
      clearTimeout(waiting);
      if (shown?.link === link) clearTimeout(leaving);
      else waiting = setTimeout(() => link.isConnected && show(link, event.clientX, event.clientY), REST);
    } else if (shown?.card.contains(event.target)) {
      clearTimeout(waiting);
      clearTimeout(leaving);
    } else if (shown || waiting) away();
  });
  document.documentElement.addEventListener("pointerleave", away);
  document.addEventListener("focusin", (event) => {
    const link = linkAt(event.target);
    if (link?.matches(":focus-visible")) show(link);
    else if (!shown?.card.contains(event.target)) hide();
  });
  document.addEventListener("focusout", (event) => shown?.link === event.target && hide());
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("click", (event) => linkAt(event.target) && hide());
})();
