"""Speed of the pages of `voxflow view` in headless Chromium.

Writes a noisy CT of 512 x 512 x 300 voxels with two label maps, has `voxflow view` make its page,
and opens it. A probe then moves each plane's slider through up to 150 slices, each step awaited
until the script has drawn it and the browser asks for the next frame, once as it comes and once
while the window changes. The numbers come back through a server on this machine, for which the
page's copy is allowed to make that one request.

    python3 tests/bench/viewer.py target/release/voxflow [X Y Z]

Needs numpy and nibabel; the browser is `chromium`.
"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

import nibabel as nib
import numpy as np

PROBE = """
(async () => {
  const seen = document.body.dataset, frame = () => new Promise(requestAnimationFrame);
  while (seen.loaded !== "yes") await frame();
  const result = { loaded_s: performance.now() / 1000 };
  const step = async (slider, at) => {
    const before = seen.drawn;
    slider.value = at;
    slider.dispatchEvent(new Event("input"));
    while (seen.drawn === before) await frame();
  };
  for (const figure of document.querySelectorAll("figure")) {
    const slider = figure.querySelector("input"), count = Math.min(Number(slider.max), 150);
    await step(slider, Number(slider.max));
    const start = performance.now();
    for (let at = 0; at < count; at++) await step(slider, at);
    result[figure.dataset.plane + "_per_s"] = count / (performance.now() - start) * 1000;
  }
  const windows = [...document.querySelectorAll("[data-window]")], start = performance.now();
  for (let at = 0; at < 40; at++) {
    const before = seen.drawn;
    windows[at % windows.length].click();
    while (seen.drawn === before) await frame();
  }
  result.windows_per_s = 40 / (performance.now() - start) * 1000;
  await fetch("http://127.0.0.1:PORT/", { method: "POST", mode: "no-cors", body: JSON.stringify(result) });
})();
"""


def scan(folder, shape):
    """A CT with noise like a scanner's, a liver and a spleen, and a shifted second map."""
    random = np.random.default_rng(0)
    x, y, z = (np.linspace(-1, 1, side, dtype=np.float32) for side in shape)
    body = (x[:, None] ** 2 / 0.7 + y[None, :] ** 2 / 0.4) < 1
    image = np.where(body[:, :, None], 50, -1000).astype(np.int16).repeat(shape[2], 2)
    image += random.normal(0, 12, shape).astype(np.float32).astype(np.int16)

    def ball(centre, radius):
        return ((x[:, None, None] - centre) ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2) < radius * radius

    label = ball(0.4, 0.3).astype(np.uint8) + 2 * ball(-0.45, 0.2).astype(np.uint8)
    affine = np.diag([0.8, 0.8, 1.5, 1])
    paths = [os.path.join(folder, name) for name in ("ct.nii", "label.nii", "prediction.nii")]
    for path, voxels in zip(paths, (image, label, np.roll(label, 4, 0))):
        nib.save(nib.Nifti1Image(voxels, affine), path)
    return paths


def measured(page, folder):
    """The probe's numbers for a page."""
    results = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            results.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    with open(page) as file:
        text = file.read()
    policy = "default-src 'none';"
    assert policy in text, "the page forbids requests"
    text = text.replace(policy, f"{policy} connect-src http://127.0.0.1:{port};")
    text = text.replace("</body>", f"<script>{PROBE.replace('PORT', str(port))}</script></body>")
    copy = os.path.join(folder, "probed.html")
    with open(copy, "w") as file:
        file.write(text)
    browser = subprocess.Popen(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900",
         f"--user-data-dir={folder}/profile", "--remote-debugging-port=0", f"file://{copy}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 180
        while not results and time.monotonic() < end and browser.poll() is None:
            time.sleep(0.2)
    finally:
        browser.terminate()
        browser.wait()
    return results[0] if results else sys.exit("the page sent no numbers within 180 s")


def main():
    program = os.path.abspath(sys.argv[1])
    shape = tuple(int(side) for side in sys.argv[2:5]) or (512, 512, 300)
    with tempfile.TemporaryDirectory() as folder:
        image, label, prediction = scan(folder, shape)
        page = os.path.join(folder, "ct.html")
        start = time.monotonic()
        subprocess.run([program, "-q", "view", image, "-l", label, "-p", prediction, "-o", page],
                       check=True, stdout=subprocess.DEVNULL)
        written = time.monotonic() - start
        numbers = measured(page, folder)
        print(f"{' x '.join(map(str, shape))}: page of {os.path.getsize(page) / 1e6:.0f} MB in {written:.1f} s")
        for name, value in numbers.items():
            print(f"{name}: {value:.1f}")


if __name__ == "__main__":
    main()
