//! A home that an earlier program made is read, reused and verified by this one. Each archive below
//! `kept/` is a home with its workflow, named after the commit that made it.

mod lab;

use lab::{Lab, Record};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

fn archives() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/kept");
    let entries = fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn unpacked(archive: &Path) -> Lab {
    let lab = Lab::new();
    let text = flate2::read::GzDecoder::new(File::open(archive).unwrap());
    tar::Archive::new(text).unpack(lab.path("")).unwrap();
    lab
}

#[test]
fn a_home_of_an_earlier_program_is_read_reused_and_verified() {
    let archives = archives();
    assert!(!archives.is_empty());
    for archive in archives {
        let lab = unpacked(&archive);
        let before = Record::of(&lab.runs()[0]);
        let verified = lab.voxflow(&["cache", "verify"]);
        assert_eq!(verified.code, 0, "{}: {}", archive.display(), verified.err);
        let shown = lab.voxflow(&["runs"]);
        assert!(shown.out.contains("kept"), "{}", shown.out);
        let again = lab.voxflow(&["run", "workflow.yaml"]);
        assert_eq!(again.code, 0, "{}", again.err);
        let after = lab.last_run();
        assert!(after.made().is_empty(), "{}: {}", archive.display(), after.outcomes());
        assert_eq!(after.sorted_metrics(), before.sorted_metrics());
        for id in ["dataset", "split", "volumes", "cache", "score"] {
            assert_eq!(after.fingerprint(id), before.fingerprint(id), "{id}");
        }
        let compared = lab.voxflow(&[
            "compare",
            "--format",
            "csv",
            &before.folder.display().to_string(),
            "latest",
        ]);
        assert_eq!(compared.code, 0, "{}", compared.err);
    }
}
