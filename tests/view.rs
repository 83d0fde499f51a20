//! Volumes looked at through the program: as a picture, as a page, by file and by run.

mod lab;

use lab::browser::{Visit, visit};
use lab::cubes::{CUBES, Dataset};
use lab::{Lab, TINY};
use std::fs;
use std::path::PathBuf;

/// (width, height) of a PNG, from its header.
fn size(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().expect("four bytes"));
    (number(16), number(20))
}

#[test]
fn a_case_is_viewed_as_it_came_and_as_the_network_sees_it() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let shown = lab.voxflow(&[
        "view",
        "latest/dataset/phantom_02",
        "--plane",
        "axial",
        "-n",
        "4",
        "--side",
        "64",
    ]);
    assert_eq!((shown.code, shown.out.as_str()), (0, "phantom_02.png\n"), "{}", shown.err);
    assert!(shown.err.contains("phantom_02: 24 x 24 x 24 voxels"), "{}", shown.err);
    assert!(shown.err.contains("shown from -160 to 240"), "soft tissue for CT: {}", shown.err);
    let (width, height) = size(&fs::read(lab.path("phantom_02.png")).expect("a picture"));
    assert!(width >= 4 * 64 && height > 64, "{width} x {height}");
    let shown =
        lab.voxflow(&["view", "latest/cache/phantom_02", "-o", "seen.png", "--window", "0,1"]);
    assert!(
        shown.err.contains("voxels of 12 x 12 x 12 mm") && shown.err.contains("from 0 to 1"),
        "{}",
        shown.err
    );
}

/// A page of a case with a reference and a prediction.
fn page(lab: &Lab) -> PathBuf {
    let run = lab.run(TINY, &[], 0);
    let file = run.folder.join("outputs/dataset/imagesTr/phantom_01.nii.gz").display().to_string();
    let label = run.folder.join("outputs/dataset/labelsTr/phantom_01.nii.gz").display().to_string();
    let shown = lab.voxflow(&["view", &file, "--label", &label, "-p", &label, "-o", "case.html"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    lab.path("case.html")
}

#[test]
fn a_page_holds_every_voxel_and_asks_nobody_for_anything() {
    let lab = Lab::new();
    let page = fs::read_to_string(page(&lab)).expect("a page");
    assert_eq!(page.matches("<canvas").count(), 3, "a canvas for each plane");
    assert!(page.contains("data-first=\"0\" data-slices=\"24\""), "all slices");
    assert!(page.contains("\"shape\":[24,24,24]"));
    assert!(page.contains("default-src 'none'") && !page.contains("://"), "nothing is fetched");
    assert!(page.contains("reference") && page.contains("prediction"));
    assert!(page.contains("data-window=\"-160,240\"") && page.contains(">Lung<"));
}

/// A person's actions in a viewer; the results are left on the body.
const A_VISIT: &str = "(async () => {
  const seen = document.body.dataset, find = (query) => document.querySelector(query);
  const wait = () => new Promise((done) => setTimeout(done, 150));
  while (seen.loaded !== 'yes') await wait();
  const [axial, coronal] = document.querySelectorAll('figure');
  const canvas = axial.querySelector('canvas'), box = canvas.getBoundingClientRect();
  const key = async (key) => { dispatchEvent(new KeyboardEvent('keydown', { key })); await wait(); };
  const mouse = (type, x, y, button) => canvas.dispatchEvent(new PointerEvent(type,
    { clientX: x, clientY: y, button, buttons: 1, pointerId: 1, bubbles: true, cancelable: true }));
  canvas.setPointerCapture = () => {};
  const [x, y] = [box.left + box.width * 0.27, box.top + box.height * 0.27];
  mouse('pointerdown', x, y, 0); mouse('pointerup', x, y, 0); await wait();
  seen.cross = coronal.querySelector('figcaption').textContent.split(',')[0];
  const slice = axial.querySelector('input').value;
  canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: -1, cancelable: true })); await wait();
  seen.wheel = axial.querySelector('input').value - slice;
  await key('ArrowDown');
  seen.arrow = axial.querySelector('input').value - slice;
  find('[data-window=\"-1350,150\"]').click(); await wait();
  seen.lung = find('#window').textContent;
  const before = find('#window').textContent;
  mouse('pointerdown', x, y, 2); mouse('pointermove', x + 40, y, 2); mouse('pointerup', x, y, 2); await wait();
  seen.dragged = find('#window').textContent !== before;
  await key('0');
  seen.reset = find('#window').textContent;
  seen.labels = find('[data-label]').checked;
  await key('1');
  seen.hidden = !find('[data-label]').checked;
  find('#closer').click(); await wait();
  seen.value = find('#value').textContent;
  seen.fetched = performance.getEntriesByType('resource').length;
  seen.overflows = document.documentElement.scrollWidth > document.documentElement.clientWidth;
})();";

#[test]
fn in_a_browser_the_planes_share_a_crosshair_and_window_labels_and_slices_answer() {
    let lab = Lab::new();
    let page = page(&lab);
    for width in [1280, 500] {
        let Some(visit) = visit(&page, A_VISIT, width) else { return };
        assert!(!visit.console.contains("CONSOLE"), "{}", visit.console);
        for (name, value) in [
            ("cross", "coronal 17"),
            ("wheel", "1"),
            ("arrow", "0"),
            ("lung", "window 1500, level -600 (-1350 to 150)"),
            ("dragged", "true"),
            ("reset", "window 400, level 40 (-160 to 240)"),
            ("labels", "true"),
            ("hidden", "true"),
            ("fetched", "0"),
            ("overflows", "false"),
        ] {
            assert!(visit.saw(name, value), "{name} is {value} in {:?}", body(&visit));
        }
        assert!(body(&visit).contains("voxel 17, 17"), "{}", body(&visit));
    }
}

/// The page's body tag, with the data that the visit left.
fn body(visit: &Visit) -> String {
    let start = visit.page.find("<body").expect("a body");
    visit.page[start..].split('>').next().unwrap_or_default().to_string()
}

#[test]
fn the_pages_of_a_stages_cases_lead_to_one_another() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let shown = lab.voxflow(&["view", "latest/dataset", "-o", "cases"]);
    assert_eq!((shown.code, shown.out.as_str()), (0, "cases\n"), "{}", shown.err);
    let page =
        |name: &str| fs::read_to_string(lab.path(&format!("cases/{name}.html"))).expect(name);
    assert!(shown.err.lines().count() == 7, "a line for each case: {}", shown.err);
    let [first, second, last] = ["phantom_01", "phantom_02", "phantom_07"].map(page);
    assert!(!first.contains("id=\"previous\" href"));
    assert!(first.contains("id=\"next\" href=\"./phantom_02.html\"") && first.contains("1 of 7"));
    assert!(second.contains("id=\"previous\" href=\"./phantom_01.html\""));
    assert!(last.contains("7 of 7") && !last.contains("id=\"next\" href"));
    let shown = lab.voxflow(&["view", "latest/dataset/phantom_01", "-o", "one"]);
    assert_eq!((shown.code, shown.out.as_str()), (0, "one/phantom_01.html\n"), "{}", shown.err);
}

/// A person's actions on the report of a test.
const A_READING: &str = "(async () => {
  const seen = document.body.dataset, find = (query) => document.querySelector(query);
  const wait = () => new Promise((done) => setTimeout(done, 60));
  const section = find('section.painted');
  while (section.dataset.painted !== 'yes') await wait();
  const canvas = section.querySelector('canvas');
  const sum = () => canvas.toDataURL();
  const before = sum();
  section.querySelector('[data-window=\"all\"]').click(); await wait();
  seen.window = sum() !== before;
  seen.link = [...section.querySelectorAll('h3 a')].every((link) => link.getAttribute('href').startsWith('./cases/final/case_'));
  seen.links = section.querySelectorAll('h3 a').length;
  canvas.click();
  seen.large = canvas.closest('figure').classList.contains('large');
  const buttons = [...document.querySelectorAll('#views button')];
  seen.axes = buttons.map((button) => button.textContent).join();
  buttons[2].click(); await wait();
  seen.time = [...document.querySelectorAll('.u-legend')][0].textContent.includes('training time');
  find('#log').click(); await wait();
  seen.drawn = [...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('[data-drawn]'));
  const table = [...document.querySelectorAll('table')].find((table) => table.textContent.includes('case_'));
  const column = [...table.querySelectorAll('th')].findIndex((head) => head.textContent === 'dice');
  const dice = [...table.tBodies[0].rows].map((row) => Number(row.cells[column].dataset.value));
  seen.ordered = dice.every((value, at) => at === 0 || dice[at - 1] <= value);
  seen.rows = dice.length;
  seen.tiles = document.querySelectorAll('.tile').length;
  seen.fetched = performance.getEntriesByType('resource').length;
  seen.overflows = document.documentElement.scrollWidth > document.documentElement.clientWidth;
})();";

#[test]
fn the_report_of_a_test_paints_its_cases_and_leads_to_their_pages() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 8, 0);
    let run = lab.run(CUBES, &["--threads", "1"], 0);
    let plain = fs::read_to_string(run.folder.join("report.html")).expect("a report");
    assert!(plain.contains("section class=\"painted\""), "also the one that a run writes");
    assert!(plain.contains("voxflow view"), "without pages it says how they are made");
    let shown = lab.voxflow(&["report", "latest", "--cases", "--out", "r.html"]);
    assert_eq!((shown.code, shown.out.as_str()), (0, "r.html\n"), "{}", shown.err);
    for width in [1280, 500] {
        let Some(visit) = visit(&lab.path("r.html"), A_READING, width) else { return };
        assert!(!visit.console.contains("CONSOLE"), "{}", visit.console);
        for (name, value) in [
            ("window", "true"),
            ("link", "true"),
            ("large", "true"),
            ("axes", "by epoch,by iteration,by training time"),
            ("time", "true"),
            ("drawn", "true"),
            ("ordered", "true"),
            ("tiles", "2"),
            ("fetched", "0"),
            ("overflows", "false"),
        ] {
            assert!(visit.saw(name, value), "{name} is {value} in {}", body(&visit));
        }
    }
    let several = lab.voxflow(&["report", "latest", "latest", "--cases"]);
    assert!(several.code == 2 && several.err.contains("name one run"), "{}", several.err);
}

#[test]
fn what_cannot_be_viewed_is_said_with_what_can() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let refused = |arguments: &[&str]| {
        let shown = lab.voxflow(&[&["view"], arguments].concat());
        assert_eq!((shown.code, shown.out.as_str()), (2, ""), "{}", shown.err);
        shown.err
    };
    assert!(refused(&["latest/split/phantom_01"]).contains("keeps no volumes"));
    assert!(
        refused(&["latest/volumes"])
            .contains("say which case of stage 'volumes': phantom_01, phantom_02")
    );
    assert!(refused(&["latest/volumes/phantom_0l"]).contains("did you mean 'phantom_"));
    assert!(refused(&["nothing.nii"]).contains("'nothing.nii' is no file"));
    assert!(
        refused(&["latest/volumes/phantom_01", "-o", "x.jpg"]).contains("ends in .png or .html")
    );
    assert!(
        refused(&["latest/volumes/phantom_01", "--channel", "2"])
            .contains("the image has 1 channel, not 2")
    );
    assert!(refused(&["latest/volumes/phantom_01", "--label", "x.nii"]).contains("brings its own"));
    assert!(
        refused(&["latest/volumes/phantom_01", "-o", "x.html", "--side", "64"])
            .contains("a page holds every voxel")
    );
}
