// Draws the report's charts with uPlot and sorts its tables. All data is in the page.
(() => {
  "use strict";
  const COLOURS = ["--one", "--two", "--three", "--four", "--five", "--six"];
  const WHOLE = [0, 1, 2, 3, 4, 5, 6, 7].flatMap((power) => [1, 2, 5].map((digit) => digit * 10 ** power));
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const data = JSON.parse(document.getElementById("charts").textContent);
  let drawn = [];

  const shown = (value) => value == null ? "–"
    : value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(4));

  function draw(chart) {
    const box = document.getElementById(chart.id);
    const ink = colour("--soft"), line = colour("--line");
    const axis = { stroke: ink, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    const series = chart.series.map((one, index) => ({
      label: one.name,
      stroke: colour(COLOURS[index % COLOURS.length]),
      dash: index < COLOURS.length ? undefined : [6, 4],
      width: 1.6,
      spanGaps: true,
      paths: chart.points ? () => null : undefined,
      points: { show: chart.points || one.few, size: 5 },
      value: (_, value) => shown(value),
    }));
    const plot = new uPlot({
      width: box.clientWidth, height: 240,
      scales: { x: { time: false }, y: chart.range ? { range: chart.range } : {} },
      axes: [
        { ...axis, label: chart.x, labelSize: 18, size: 34, labelFont: "12px system-ui", incrs: WHOLE },
        { ...axis, size: 68, values: (_, ticks) => ticks.map(shown) },
      ],
      series: [{ label: chart.x, value: (_, value) => value == null ? "–" : (chart.names && chart.names[value - 1]) || shown(value) }, ...series],
      cursor: { drag: { x: true, y: true, uni: 20 }, focus: { prox: 24 } },
    }, [chart.at, ...chart.series.map((one) => one.values)], box);
    plot.root.dataset.drawn = "yes";
    return plot;
  }

  function redraw() {
    drawn.forEach((plot) => plot.destroy());
    drawn = data.map(draw);
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
  redraw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  let width = document.body.clientWidth;
  addEventListener("resize", () => {
    if (document.body.clientWidth !== width) { width = document.body.clientWidth; redraw(); }
  });
})();
