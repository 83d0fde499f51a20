// Draws the report's charts with uPlot, paints its pictures and sorts its tables. All data is in the
// page.
(() => {
  "use strict";
  const COLOURS = ["--one", "--two", "--three", "--four", "--five", "--six"];
  const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const data = JSON.parse(document.getElementById("charts").textContent);
  const seen = { axis: null, log: false };
  let drawn = [];

  const shown = (value) => value == null ? "–"
    : value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4));
  const last = (values) => values.findLast((value) => value != null);
  const largest = (values) => values.reduce((best, value, at) =>
    value != null && (best < 0 || value > values[best]) ? at : best, -1);

  /** The chart's lines on the axis that is chosen, or on its own. */
  const viewed = (chart) => (chart.others || []).find((view) => view.x === seen.axis) || chart;

  /** Rings around the largest values. */
  function rings(plot, view) {
    const pen = plot.ctx, ratio = devicePixelRatio || 1;
    view.series.forEach((one, index) => {
      const best = largest(one.values);
      if (best < 0 || !plot.series[index + 1].show) return;
      pen.beginPath();
      pen.arc(plot.valToPos(view.at[best], "x", true), plot.valToPos(one.values[best], "y", true), 6 * ratio, 0, 7);
      pen.strokeStyle = colour(COLOURS[one.colour % COLOURS.length]);
      pen.lineWidth = 1.6 * ratio;
      pen.stroke();
    });
  }

  /** Opens a case's page, or shows its row in the table below. */
  function open(chart, box, at) {
    const link = chart.links && chart.links[at];
    if (link) {
      location.href = link;
      return;
    }
    const table = box.closest("figure").parentElement.nextElementSibling;
    const row = table && [...table.querySelectorAll("tbody tr")].find((row) => row.cells[0].textContent === chart.names[at]);
    if (!row) return;
    document.querySelectorAll("tr.chosen").forEach((other) => other.classList.remove("chosen"));
    row.classList.add("chosen");
    row.scrollIntoView({ block: "nearest" });
  }

  /** The name of the case under the pointer, beside it. */
  function tooltip(plot, chart, tip) {
    const at = plot.cursor.idx;
    tip.hidden = at == null || plot.cursor.left < 0;
    if (tip.hidden) return;
    tip.textContent = `${chart.names[at]}: ${chart.series.map((one) => shown(one.values[at])).join(", ")}`;
    tip.style.left = `${Math.min(plot.cursor.left + 10, plot.over.clientWidth - tip.offsetWidth)}px`;
    tip.style.top = `${Math.max(plot.cursor.top - 28, 0)}px`;
  }

  function axes(chart, view, width) {
    const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") } };
    // Names under the points, where there is room for them.
    const named = chart.names && width / chart.names.length >= 22;
    const longest = named ? Math.max(...chart.names.map((name) => name.length)) : 0;
    const x = named
      ? { splits: view.at, values: (_, ticks) => ticks.map((tick) => chart.names[tick - 1] || ""), rotate: -60, size: Math.min(24 + longest * 6.2, 130) }
      : { label: view.x, labelSize: 18, size: 34, labelFont: "12px system-ui", incrs: view.x.includes("minutes") ? undefined : WHOLE };
    return [{ ...axis, ...x }, { ...axis, size: 68, values: (_, ticks) => ticks.map((tick) => tick == null ? "" : shown(tick)) }];
  }

  function draw(chart) {
    const box = document.getElementById(chart.id), view = viewed(chart);
    const values = view.series.flatMap((one) => one.values).filter((value) => value != null);
    const log = seen.log && values.every((value) => value > 0);
    const series = view.series.map((one, index) => ({
      label: one.name,
      stroke: colour(COLOURS[one.colour % COLOURS.length]),
      // Where the colours are used up; and the second and further line of a group.
      dash: one.colour >= COLOURS.length ? [6, 4] : undefined,
      width: 1.6,
      spanGaps: true,
      paths: chart.points ? () => null : undefined,
      points: { show: chart.points || one.few, size: chart.points ? 8 : 5, fill: colour("--ground") },
      // The last value, until the pointer chooses one; of cases there is no last.
      value: (plot, value) => shown(value ?? (plot && plot.cursor.idx == null && !chart.names ? last(one.values) : null)),
    }));
    const named = (plot, value) => value == null ? (plot && plot.cursor.idx == null && !chart.names ? shown(last(view.at)) : "–")
      : (chart.names && chart.names[value - 1]) || shown(value);
    const plot = new uPlot({
      width: box.clientWidth, height: chart.names ? 300 : 240,
      scales: {
        x: { time: false, ...(chart.names ? { range: [0.4, chart.names.length + 0.6] } : {}) },
        y: log ? { distr: 3 } : {},
      },
      axes: axes(chart, view, box.clientWidth),
      series: [{ label: view.x, value: named }, ...series],
      cursor: { drag: { x: true, y: true, uni: 20 }, focus: { prox: 24 } },
      hooks: chart.has_best ? { draw: [(plot) => rings(plot, view)] } : {},
    }, [view.at, ...view.series.map((one) => one.values)], box);
    if (chart.names) {
      const tip = document.createElement("div");
      tip.className = "tip";
      tip.hidden = true;
      plot.over.append(tip);
      plot.over.addEventListener("mousemove", () => setTimeout(() => tooltip(plot, chart, tip)));
      plot.over.addEventListener("mouseleave", () => { tip.hidden = true; });
      plot.over.addEventListener("click", () => { if (plot.cursor.idx != null) open(chart, box, plot.cursor.idx); });
      plot.over.style.cursor = "pointer";
    }
    plot.root.dataset.drawn = "yes";
    return plot;
  }

  function redraw() {
    drawn.forEach((plot) => plot.destroy());
    drawn = data.map(draw);
  }

  /** Buttons for the axes that the curves have, and the switch of the scale. */
  function switches() {
    const place = document.getElementById("views"), log = document.getElementById("log");
    if (!place) return;
    const names = [...new Set(data.filter((chart) => chart.others).flatMap((chart) => [chart.x, ...chart.others.map((view) => view.x)]))];
    seen.axis = names[0] || null;
    const buttons = names.map((name) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = `by ${name.replace(" in minutes", "")}`;
      button.dataset.axis = name;
      button.addEventListener("click", () => { seen.axis = name; mark(); redraw(); });
      place.append(button);
      return button;
    });
    const mark = () => buttons.forEach((button) => button.setAttribute("aria-pressed", button.dataset.axis === seen.axis));
    mark();
    log.addEventListener("change", () => { seen.log = log.checked; redraw(); });
  }

  /** Paints the pictures of a section, again whenever a window or a label is chosen. */
  async function paintings(section) {
    const all = JSON.parse(section.dataset.pictures), canvases = [...section.querySelectorAll("canvas")];
    const hidden = new Set();
    let chosen = null;
    for (const [at, picture] of all.entries()) {
      const { width, height } = canvases[at];
      const values = new Int16Array(width * height);
      voxels.undo(await voxels.unpacked(picture.values), values, 0);
      const maps = await Promise.all(picture.maps.map(async (map) =>
        ({ ...map, data: await voxels.unpacked(map.data), colours: picture.colours, shown: true })));
      picture.slice = { width, height, values, maps };
      const ends = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
      picture.all = ends.map((value) => value * picture.scale.slope + picture.scale.offset);
    }
    const paint = () => all.forEach((picture, at) => {
      const range = chosen === "all" ? picture.all : chosen || picture.window;
      const image = new ImageData(picture.slice.width, picture.slice.height);
      canvases[at].getContext("2d").putImageData(voxels.paint(picture.slice, voxels.greys(range, picture.scale), image, hidden, false), 0, 0);
    });
    section.querySelectorAll("[data-window]").forEach((button) => button.addEventListener("click", () => {
      chosen = button.dataset.window === "all" ? "all" : button.dataset.window.split(",").map(Number);
      section.querySelectorAll("[data-window]").forEach((other) => other.setAttribute("aria-pressed", other === button));
      paint();
    }));
    section.querySelectorAll("[data-label]").forEach((box) => box.addEventListener("change", () => {
      if (box.checked) hidden.delete(Number(box.dataset.label)); else hidden.add(Number(box.dataset.label));
      paint();
    }));
    canvases.forEach((canvas) => canvas.addEventListener("click", () => canvas.closest("figure").classList.toggle("large")));
    paint();
    section.dataset.painted = "yes";
  }

  function sortable(table) {
    const body = table.tBodies[0];
    table.querySelectorAll("thead th").forEach((head, column) => {
      const sort = () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const compare = (a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return (x === "") - (y === ""); // nothing goes last, either way
          const order = x - y || (isNaN(x) || isNaN(y) ? x.localeCompare(y, undefined, { numeric: true }) : 0);
          return down ? -order : order;
        };
        [...body.rows].sort(compare).forEach((row) => body.append(row));
      };
      head.tabIndex = 0;
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); sort(); }
      });
    });
  }

  document.querySelectorAll("table.sortable").forEach(sortable);
  document.querySelectorAll("section.painted").forEach(paintings);
  switches();
  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = document.body.clientWidth;
  addEventListener("resize", () => {
    if (document.body.clientWidth !== width) { width = document.body.clientWidth; redraw(); }
  });
})();
