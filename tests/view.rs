//! Volumes looked at through the program: as a picture, as a page, by file and by run.

mod lab;

use lab::{Lab, TINY};
use std::fs;

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

#[test]
fn a_page_holds_every_slice_and_asks_nobody_for_anything() {
    let lab = Lab::new();
    let run = lab.run(TINY, &[], 0);
    let file = run.folder.join("outputs/dataset/imagesTr/phantom_01.nii.gz").display().to_string();
    let label = run.folder.join("outputs/dataset/labelsTr/phantom_01.nii.gz").display().to_string();
    let shown = lab.voxflow(&[
        "view",
        &file,
        "--label",
        &label,
        "-p",
        &label,
        "-o",
        "case.html",
        "--side",
        "48",
    ]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let page = fs::read_to_string(lab.path("case.html")).expect("a page");
    assert_eq!(page.matches("<img").count(), 3 * 24, "24 slices in three planes");
    assert_eq!(page.matches("\" hidden>").count(), 3 * 23, "one of each plane is seen");
    assert!(page.contains("default-src 'none'") && !page.contains("://"), "nothing is fetched");
    assert!(page.contains("reference") && page.contains("prediction"));
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
}
