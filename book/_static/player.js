// Players: figures whose settings a reader moves. diffnotes/show/explore.py writes the frames of all settings into the page
// as <div class="player" data-figure=ID> with a JSON script; here they take the place of the picture of figure ID.
// Native inputs, so every key works that works elsewhere; the numbers are announced as they change.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const SIZE = { width: 380, height: 290, left: 58, right: 10, top: 12, bottom: 46 };

  const html = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const svg = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // Round values, about five of them, inside [low, high].
  const ticks = (low, high) => {
    const raw = (high - low) / 5;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) found.push(k * step);
    return found.map((value) => Number(value.toPrecision(6)));
  };
  const words = (value) => String(value).replace("-", "\u2212");

  let clips = 0;
  // The axes of a panel, once; returns its SVG, a function that draws curves [[x, y], ...] into it, and one that says in
  // words what they do.
  const axes = (panel, names) => {
    const { width, height, left, right, top, bottom } = SIZE;
    const x = (value) => left + ((value - panel.xlim[0]) / (panel.xlim[1] - panel.xlim[0])) * (width - left - right);
    const y = (value) => height - bottom - ((value - panel.ylim[0]) / (panel.ylim[1] - panel.ylim[0])) * (height - top - bottom);
    const clip = `player-clip-${clips++}`;
    const box = { x: left, y: top, width: width - left - right, height: height - top - bottom };
    const grid = svg("g", { class: "player-grid" });
    const labels = svg("g", { class: "player-labels" });
    for (const value of ticks(...panel.xlim)) {
      grid.append(svg("line", { x1: x(value), x2: x(value), y1: top, y2: height - bottom }));
      labels.append(svg("text", { x: x(value), y: height - bottom + 17, "text-anchor": "middle" }, words(value)));
    }
    for (const value of ticks(...panel.ylim)) {
      grid.append(svg("line", { x1: left, x2: width - right, y1: y(value), y2: y(value) }));
      labels.append(svg("text", { x: left - 7, y: y(value) + 4, "text-anchor": "end" }, words(value)));
    }
    const middle = (height - bottom + top) / 2;
    labels.append(
      svg("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, panel.x),
      svg("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, panel.y),
      svg("path", { class: "player-frame", d: `M${left},${top}V${height - bottom}H${width - right}` }),
    );
    const drawn = panel.curves.map((name) => svg("path", { class: `player-curve player-curve-${names.indexOf(name) % 4}` }));
    const picture = svg(
      "svg", { viewBox: `0 0 ${width} ${height}`, role: "img" },
      svg("clipPath", { id: clip }, svg("rect", box)), grid, labels, svg("g", { "clip-path": `url(#${clip})` }, ...drawn),
    );
    const draw = (curves) => curves.forEach(([xs, ys], k) => {
      drawn[k].setAttribute("d", xs.map((value, i) => `${i ? "L" : "M"}${x(value).toFixed(2)},${y(ys[i]).toFixed(2)}`).join(""));
    });
    return [picture, draw, (words) => picture.setAttribute("aria-label", words)];
  };

  // Small images in the place of a panel: their element, and a function that shows others.
  const sheet = ({ x, sheet: [width, height] }) => {
    const picture = html("img", { width, height });
    const element = html("div", { class: "player-sheet" }, picture, html("span", { "aria-hidden": "true" }, x));
    return [element, (address) => { picture.src = address; }, (words) => { picture.alt = words; }];
  };

  // A control: its element, and the index of the value it stands on.
  const control = ({ name, label, values, start }, figure) => {
    const id = `${figure}-${name}`;
    const text = html("label", { for: id }, label);
    if (values.some((value) => typeof value === "string")) {
      const input = html("select", { id }, ...values.map((value, i) => html("option", { value: i }, String(value))));
      input.selectedIndex = start;
      return [html("div", { class: "player-control" }, text, input), () => input.selectedIndex];
    }
    const input = html("input", { id, type: "range", min: 0, max: values.length - 1, step: 1, value: start, autocomplete: "off" });
    const shown = html("output", { for: id });
    const tell = () => {
      shown.textContent = values[input.value];
      input.setAttribute("aria-valuetext", values[input.value]);
    };
    input.addEventListener("input", tell);
    tell();
    return [html("div", { class: "player-control" }, text, input, shown), () => Number(input.value)];
  };

  const start = (player) => {
    const data = JSON.parse(player.querySelector("script").textContent);
    const figure = document.getElementById(data.figure);
    if (!figure) return;
    const panels = data.panels.map((panel) => panel.sheet ? sheet(panel) : axes(panel, data.names));
    const controls = data.controls.map((one) => control(one, data.figure));
    const pictures = html("div", { class: "player-panels" }, ...panels.map(([picture]) => picture));
    const legend = html("ul", { class: "player-legend", "aria-hidden": "true" }, ...data.names.map((name, k) => {
      const line = svg("path", { class: `player-curve player-curve-${k % 4}`, d: "M1,6H35" });
      return html("li", {}, svg("svg", { viewBox: "0 0 36 12" }, line), name);
    }));
    const form = html("form", { class: "player-controls", autocomplete: "off" }, ...controls.map(([element]) => element));
    const setting = html("span", { class: "player-setting" });
    const numbers = html("span", { role: "status" });
    const stage = html("div", { class: "player-stage" }, pictures, legend, form, html("p", { class: "player-numbers" }, setting, numbers));

    const update = () => {
      const chosen = controls.map(([, index]) => index());
      const frame = data.frames[chosen.reduce((sum, index, k) => sum * data.controls[k].values.length + index, 0)];
      panels.forEach(([, draw, describe], k) => {
        const drawn = frame.curves[k];
        draw(data.panels[k].sheet ? drawn : drawn.map((pair) => pair.map((index) => data.arrays[index])));
        describe(frame.alt[k]);
      });
      setting.textContent = data.controls.map((one, k) => `${one.label} ${one.values[chosen[k]]}`).join(", ") + ": ";
      numbers.replaceChildren(...data.numbers.map((name, k) => html(
        "span", {}, `${name}\u00a0`, html("data", { value: frame.numbers[k] }, String(frame.numbers[k])), k + 1 < data.numbers.length ? "; " : "",
      )));
    };
    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    update();
    const picture = figure.querySelector("img");
    (picture.closest("a") ?? picture).classList.add("player-still");
    figure.prepend(stage);
    player.classList.add("player-on");
  };

  const begin = () => document.querySelectorAll("div.player[data-figure]").forEach(start);
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
  else begin();
})();
