// The viewer: three planes through one volume, with a crosshair that they share. All data is in the
// page; slabs of slices are unpacked one after the other, the first slice shown first.
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("volume").textContent);
  const [nx, ny, nz] = data.shape;
  const stride = [1, nx, nx * ny];
  const count = nx * ny * nz;
  const volume = {
    values: new Int16Array(count).fill(data.empty),
    maps: data.maps.map((map) => ({ ...map, data: new Uint8Array(count), shown: true })),
  };
  const colours = Object.fromEntries(data.labels.map((label) => [label.value, label.colour]));
  volume.maps.forEach((map) => { map.colours = colours; });
  const hash = new URLSearchParams(location.hash.slice(1));
  const numbers = (text) => (text || "").split(",").map(Number);
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const state = {
    at: data.start.slice(),
    window: data.window.slice(),
    tool: hash.get("tool") || "cross",
    hidden: new Set(),
    differences: false,
    crosshair: true,
    opacity: 0.3,
  };
  if (hash.has("at")) state.at = numbers(hash.get("at")).map((value, axis) => clamp(value | 0, 0, data.shape[axis] - 1));
  if (hash.has("window")) {
    const [low, high] = numbers(hash.get("window"));
    if (low < high) state.window = [low, high];
  }
  let grey = voxels.greys(state.window, data.scale);
  const element = (id) => document.getElementById(id);
  const shown = (value) => Number.isInteger(value) ? String(value) : String(+value.toPrecision(4));

  const planes = [...document.querySelectorAll("figure")].map((figure) => {
    const [along, down, through] = JSON.parse(figure.dataset.axes);
    const [width, height] = [data.shape[along], data.shape[down]];
    const back = document.createElement("canvas");
    back.width = width;
    back.height = height;
    return {
      figure, along, down, through, width, height, back,
      name: figure.dataset.plane,
      size: [width * data.spacing[along], height * data.spacing[down]],
      frame: figure.querySelector(".frame"),
      canvas: figure.querySelector("canvas"),
      slider: figure.querySelector("input"),
      caption: figure.querySelector("figcaption"),
      image: new ImageData(width, height),
      zoom: 1, pan: [0, 0], stale: true,
    };
  });
  let active = planes[0], waiting = false, drawn = 0;

  /** The visible canvas in device pixels: scale of a mm, and the place of the slice's corner. */
  function layout(plane) {
    const { canvas, size, zoom, pan } = plane;
    const scale = Math.min(canvas.width / size[0], canvas.height / size[1]) * zoom;
    return {
      scale,
      left: canvas.width / 2 + pan[0] * canvas.width - size[0] * scale / 2,
      top: canvas.height / 2 + pan[1] * canvas.height - size[1] * scale / 2,
    };
  }

  function position(index) {
    return [0, 1, 2].map((row) => data.affine[row].slice(0, 3)
      .reduce((sum, value, axis) => sum + value * index[axis], data.affine[row][3]));
  }

  function render(plane) {
    const { canvas, along, down, through, width, height } = plane;
    const [box, ratio] = [plane.frame, window.devicePixelRatio || 1];
    const wanted = [box.clientWidth, box.clientHeight].map((side) => Math.max(1, Math.round(side * ratio)));
    if (canvas.width !== wanted[0] || canvas.height !== wanted[1]) [canvas.width, canvas.height] = wanted;
    if (plane.stale) {
      // Both axes run against the picture: the patient's right is left, and up is low.
      const start = state.at[through] * stride[through] + (width - 1) * stride[along] + (height - 1) * stride[down];
      const slice = voxels.cut(volume, width, height, start, -stride[along], -stride[down]);
      slice.maps.forEach((map) => { if (map.fill > 0) map.fill = state.opacity; });
      plane.back.getContext("2d").putImageData(
        voxels.paint(slice, grey, plane.image, state.hidden, state.differences), 0, 0);
      plane.stale = false;
    }
    const { scale, left, top } = layout(plane);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(plane.back, left, top, plane.size[0] * scale, plane.size[1] * scale);
    if (state.crosshair) cross(plane, pen, scale, left, top);
    ruler(plane, pen, scale, ratio);
    const middle = data.shape.map((side) => (side - 1) / 2);
    middle[through] = state.at[through];
    plane.caption.textContent = `${plane.name} ${state.at[through]}, ${position(middle)[through].toFixed(1)} mm`;
    plane.slider.value = state.at[through];
  }

  function cross(plane, pen, scale, left, top) {
    const x = left + (plane.width - 0.5 - state.at[plane.along]) / plane.width * plane.size[0] * scale;
    const y = top + (plane.height - 0.5 - state.at[plane.down]) / plane.height * plane.size[1] * scale;
    const gap = 10 * (window.devicePixelRatio || 1);
    pen.strokeStyle = "rgba(120, 200, 255, .75)";
    pen.lineWidth = 1;
    pen.beginPath();
    for (const [x1, y1, x2, y2] of [[0, y, x - gap, y], [x + gap, y, plane.canvas.width, y], [x, 0, x, y - gap], [x, y + gap, x, plane.canvas.height]]) {
      pen.moveTo(x1, Math.round(y1) + 0.5);
      pen.lineTo(x2, Math.round(y2) + 0.5);
    }
    pen.stroke();
  }

  function ruler(plane, pen, scale, ratio) {
    const length = voxels.bar(plane.canvas.width / 3 / scale);
    pen.fillStyle = "#fff";
    pen.fillRect(8 * ratio, plane.canvas.height - 11 * ratio, length * scale, 3 * ratio);
    pen.font = `${11 * ratio}px system-ui, sans-serif`;
    pen.shadowColor = "#000";
    pen.shadowBlur = 3;
    pen.fillText(`${length} mm`, 8 * ratio, plane.canvas.height - 15 * ratio);
    pen.shadowBlur = 0;
  }

  function draw() {
    waiting = false;
    planes.forEach(render);
    const at = state.at[0] + nx * (state.at[1] + ny * state.at[2]);
    const value = volume.values[at] * data.scale.slope + data.scale.offset;
    const words = volume.maps.map((map) => {
      const label = data.labels.find((label) => label.value === map.data[at]);
      return label && `${map.name}: ${label.name}`;
    });
    const world = position(state.at).map((mm) => mm.toFixed(1)).join(", ");
    element("value").textContent =
      [`voxel ${state.at.join(", ")} (${world} mm)`, `value ${shown(value)}${data.unit}`, ...words].filter(Boolean).join(" · ");
    const [low, high] = state.window;
    element("window").textContent = `window ${shown(high - low)}, level ${shown((low + high) / 2)} (${shown(low)} to ${shown(high)})`;
    drawn += 1;
    document.body.dataset.drawn = drawn;
  }

  function ask(stale = []) {
    stale.forEach((plane) => { plane.stale = true; });
    if (!waiting) {
      waiting = true;
      // A browser that paints no frames, as in the background, still gets the words right.
      const due = () => { if (waiting) draw(); };
      requestAnimationFrame(due);
      setTimeout(due, 100);
    }
  }

  function go(axis, index) {
    const next = clamp(Math.round(index), 0, data.shape[axis] - 1);
    if (next === state.at[axis]) return;
    state.at[axis] = next;
    ask(planes.filter((plane) => plane.through === axis));
  }

  function setWindow(low, high) {
    if (!(high > low)) return;
    state.window = [low, high];
    grey = voxels.greys(state.window, data.scale);
    document.querySelectorAll("[data-window]").forEach((button) =>
      button.setAttribute("aria-pressed", button.dataset.window === state.window.join(",")));
    ask(planes);
  }

  function zoom(plane, factor) {
    plane.zoom = clamp(plane.zoom * factor, 1, 32);
    if (plane.zoom === 1) plane.pan = [0, 0];
    ask();
  }

  function reset() {
    planes.forEach((plane) => { plane.zoom = 1; plane.pan = [0, 0]; });
    setWindow(...data.window);
  }

  function point(plane, event) {
    const ratio = window.devicePixelRatio || 1, box = plane.canvas.getBoundingClientRect();
    const { scale, left, top } = layout(plane);
    const [x, y] = [(event.clientX - box.left) * ratio - left, (event.clientY - box.top) * ratio - top];
    go(plane.along, plane.width - 1 - Math.floor(x / scale / plane.size[0] * plane.width));
    go(plane.down, plane.height - 1 - Math.floor(y / scale / plane.size[1] * plane.height));
  }

  function tool(event) {
    if (event.button === 2) return "window";
    return event.button === 1 || event.shiftKey ? "pan" : state.tool;
  }

  function listen(plane) {
    const { canvas } = plane;
    let drag = null;
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerenter", () => { active = plane; });
    canvas.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      active = plane;
      canvas.setPointerCapture(event.pointerId);
      drag = { tool: tool(event), x: event.clientX, y: event.clientY, window: state.window.slice(), pan: plane.pan.slice() };
      if (drag.tool === "cross") point(plane, event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!drag) return;
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (drag.tool === "cross") point(plane, event);
      if (drag.tool === "pan") {
        plane.pan = [drag.pan[0] + dx / canvas.clientWidth, drag.pan[1] + dy / canvas.clientHeight];
        ask();
      }
      if (drag.tool === "window") {
        // To the right is wider, up is darker, as on a workstation.
        const [low, high] = drag.window, unit = Math.max(high - low, data.range * 0.002) / 200;
        const width = Math.max((high - low) + dx * unit * 2, data.scale.slope);
        const level = (low + high) / 2 + dy * unit * 2;
        setWindow(level - width / 2, level + width / 2);
      }
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { drag = null; });
    canvas.addEventListener("dblclick", () => { plane.zoom = 1; plane.pan = [0, 0]; ask(); });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      active = plane;
      if (event.ctrlKey) zoom(plane, event.deltaY < 0 ? 1.2 : 1 / 1.2);
      else go(plane.through, state.at[plane.through] - Math.sign(event.deltaY));
    }, { passive: false });
    plane.slider.max = data.shape[plane.through] - 1;
    plane.slider.addEventListener("input", () => go(plane.through, Number(plane.slider.value)));
    plane.slider.addEventListener("focus", () => { active = plane; });
  }

  function label(value, isShown) {
    if (isShown) state.hidden.delete(value); else state.hidden.add(value);
    ask(planes);
  }

  function toggle(box) {
    if (!box) return;
    box.checked = !box.checked;
    box.dispatchEvent(new Event("change"));
  }

  function leave(id) {
    const link = element(id);
    if (!link || !link.getAttribute("href")) return;
    const kept = new URLSearchParams({ tool: state.tool });
    if (state.window.join() !== data.window.join()) kept.set("window", state.window.join(","));
    location.href = `${link.getAttribute("href")}#${kept}`;
  }

  const KEYS = {
    ArrowUp: () => go(active.through, state.at[active.through] + 1),
    ArrowDown: () => go(active.through, state.at[active.through] - 1),
    PageUp: () => go(active.through, state.at[active.through] + 10),
    PageDown: () => go(active.through, state.at[active.through] - 10),
    n: () => leave("next"), p: () => leave("previous"),
    "+": () => zoom(active, 1.2), "=": () => zoom(active, 1.2), "-": () => zoom(active, 1 / 1.2),
    0: reset,
    l: () => [...document.querySelectorAll("[data-label]")].forEach(toggle),
    r: () => toggle(document.querySelector("[data-map='0']")),
    s: () => toggle(document.querySelector("[data-map='1']")),
    d: () => toggle(element("differences")),
    x: () => toggle(element("crosshair")),
    w: () => {
      const all = [...document.querySelectorAll("[data-window]")];
      const at = all.findIndex((button) => button.getAttribute("aria-pressed") === "true");
      all[(at + 1) % all.length].click();
    },
  };

  function controls() {
    document.querySelectorAll("[data-tool]").forEach((button) => {
      const mark = () => document.querySelectorAll("[data-tool]").forEach((other) =>
        other.setAttribute("aria-pressed", other.dataset.tool === state.tool));
      button.addEventListener("click", () => { state.tool = button.dataset.tool; mark(); });
      mark();
    });
    document.querySelectorAll("[data-window]").forEach((button) =>
      button.addEventListener("click", () => setWindow(...numbers(button.dataset.window))));
    document.querySelectorAll("[data-label]").forEach((box) =>
      box.addEventListener("change", () => label(Number(box.dataset.label), box.checked)));
    document.querySelectorAll("[data-map]").forEach((box) =>
      box.addEventListener("change", () => { volume.maps[box.dataset.map].shown = box.checked; ask(planes); }));
    const bind = (id, event, change) => { const found = element(id); if (found) found.addEventListener(event, () => change(found)); };
    bind("differences", "change", (box) => { state.differences = box.checked; ask(planes); });
    bind("crosshair", "change", (box) => { state.crosshair = box.checked; ask(); });
    bind("opacity", "input", (slider) => { state.opacity = slider.value / 100; ask(planes); });
    bind("reset", "click", reset);
    bind("closer", "click", () => zoom(active, 1.2));
    bind("wider", "click", () => zoom(active, 1 / 1.2));
    bind("case", "change", (list) => { location.href = list.value; });
    for (const id of ["next", "previous"]) {
      bind(id, "click", () => {});
      const link = element(id);
      if (link) link.addEventListener("click", (event) => { event.preventDefault(); leave(id); });
    }
    addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
      const digit = Number(event.key);
      const action = digit >= 1 ? () => toggle(document.querySelectorAll("[data-label]")[digit - 1]) : KEYS[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    });
    addEventListener("resize", () => ask());
  }

  /** Unpacks the slabs, those nearest to the first slice first. */
  async function load() {
    const slabs = [...document.querySelectorAll("script.slab")];
    const far = (slab) => Math.abs(Number(slab.dataset.first) + Number(slab.dataset.slices) / 2 - state.at[2]);
    slabs.sort((one, other) => far(one) - far(other));
    const loading = element("loading");
    let done = 0;
    for (const slab of slabs) {
      const from = Number(slab.dataset.first) * stride[2];
      const [values, ...maps] = slab.textContent.trim().split(" ");
      slab.remove();
      voxels.undo(await voxels.unpacked(values), volume.values, from);
      for (const [at, map] of maps.entries()) volume.maps[at].data.set(await voxels.unpacked(map), from);
      done += 1;
      loading.textContent = done < slabs.length ? `loading ${Math.round(done / slabs.length * 100)} %` : "";
      ask(planes);
    }
    document.body.dataset.loaded = "yes";
  }

  planes.forEach(listen);
  controls();
  setWindow(...state.window);
  load().catch((error) => { element("loading").textContent = `the volume cannot be unpacked: ${error.message}`; });
})();
