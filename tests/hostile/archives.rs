//! Archives that lead out, lie, swell or break off.

use crate::lab::{Lab, tally};
use crate::refused;
use flate2::write::GzEncoder;
use std::io::Write;
use tar::EntryType;

const WORKFLOW: &str = "name: unpack
stages:
  archive: { uses: download, with: { file: some.tar } }
  dataset: { uses: unpack, needs: [archive] }
";

const LISTING: &str = r#"{"name": "Toy", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "organ"},
 "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]}"#;

/// A member as it stands, whatever its name says.
fn member(tar: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &[u8], bytes: &[u8], size: u64) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append(&header, bytes).unwrap();
}

/// A good small dataset with more members.
fn toy(more: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(vec![]);
    for (name, bytes) in [
        ("T/dataset.json", LISTING.as_bytes()),
        ("T/imagesTr/a.nii.gz", b"i"),
        ("T/labelsTr/a.nii.gz", b"l"),
    ] {
        member(&mut tar, EntryType::Regular, name.as_bytes(), bytes, bytes.len() as u64);
    }
    more(&mut tar);
    tar.into_inner().unwrap()
}

fn file(name: &str) -> Vec<u8> {
    toy(|tar| member(tar, EntryType::Regular, name.as_bytes(), b"x", 1))
}

fn special(kind: EntryType) -> Vec<u8> {
    toy(|tar| member(tar, kind, b"T/evil", b"", 0))
}

/// What is packed of a beginning and then nothing but zeros.
fn swollen(start: &[u8], zeros: usize) -> Vec<u8> {
    let mut gzip = GzEncoder::new(vec![], flate2::Compression::best());
    gzip.write_all(start).unwrap();
    let block = vec![0; 1 << 20];
    (0..zeros >> 20).for_each(|_| gzip.write_all(&block).unwrap());
    gzip.finish().unwrap()
}

/// A member's header alone, as the last of the dataset's.
fn header(kind: EntryType, name: &str, size: u64) -> Vec<u8> {
    let mut bytes = toy(|tar| member(tar, kind, name.as_bytes(), b"", size));
    bytes.truncate(bytes.len() - 1024);
    bytes
}

/// A member that says it is zeros alone, 4 GiB of them, in a header and nothing more.
fn hole() -> Vec<u8> {
    toy(|tar| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(EntryType::GNUSparse);
        header.set_size(0);
        header.set_mode(0o644);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..5].copy_from_slice(b"T/big");
        let size = format!("{:011o}\0", 1u64 << 32);
        gnu.realsize.copy_from_slice(size.as_bytes());
        gnu.sparse[0].offset.copy_from_slice(size.as_bytes());
        gnu.sparse[0].numbytes.copy_from_slice(b"00000000000\0");
        header.set_cksum();
        tar.append(&header, &b""[..]).unwrap();
    })
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    swollen(bytes, 0)
}

#[test]
fn archives_that_mean_harm_are_refused_in_words() {
    let good = toy(|_| ());
    let table: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "a path that climbs out",
            file("T/../../evil"),
            &["archive of stage 'archive'", "'T/../../evil'", "'..'"],
        ),
        ("an absolute path", file("/evil"), &["'/evil'", "absolute"]),
        ("a backslash", file("T\\..\\evil"), &["backslash"]),
        ("a line break in a name", file("T/a\nb"), &["control character"]),
        (
            "a name that is no UTF-8",
            toy(|tar| member(tar, EntryType::Regular, b"T/\xff\xfe", b"x", 1)),
            &["utf-8"],
        ),
        ("a symbolic link", special(EntryType::Symlink), &["'T/evil' is a link"]),
        ("a hard link", special(EntryType::Link), &["'T/evil' is a link"]),
        ("a device", special(EntryType::Char), &["'T/evil' is no plain file"]),
        ("a block device", special(EntryType::Block), &["'T/evil' is no plain file"]),
        ("a pipe", special(EntryType::Fifo), &["'T/evil' is no plain file"]),
        ("a name twice", file("T/imagesTr/a.nii.gz"), &["'T/imagesTr/a.nii.gz' is in it twice"]),
        ("a file where a folder is", file("T/imagesTr"), &["T/imagesTr"]),
        ("a folder where a file is", file("T/dataset.json/x"), &["T/dataset.json"]),
        ("half a header", good[..700].to_vec(), &["ends"]),
        ("half a tar", good[..1300].to_vec(), &["ends", "fetch it again"]),
        ("half a gzip", packed(&good)[..100].to_vec(), &["fetch it again"]),
        (
            "a size beyond the end",
            header(EntryType::Regular, "T/big", 1 << 40),
            &["'T/big'", "fetch it again"],
        ),
        (
            "zeros without end",
            swollen(&header(EntryType::Regular, "T/big", 1 << 40), 200 << 20),
            &["'max_ratio'"],
        ),
        ("a hole of 4 GiB", hole(), &["unpacks to more than", "'max_ratio'"]),
        (
            "a name without end",
            swollen(&header(EntryType::GNULongName, "x", 1 << 40), 200 << 20),
            &["name of more than"],
        ),
        (
            "pax fields without end",
            swollen(&header(EntryType::XHeader, "x", 1 << 40), 200 << 20),
            &["name of more than"],
        ),
        ("another format", b"PK\x03\x04 and so on".to_vec(), &["is zip"]),
        ("no archive", vec![7; 4096], &["neither tar nor tar.gz"]),
        ("nothing", vec![], &["neither tar nor tar.gz"]),
        ("two listings", file("U/dataset.json"), &["more than one dataset.json"]),
        ("a listing that is no JSON", toy_with_listing("{"), &["dataset.json", "is no JSON"]),
        (
            "listed files that are not in it",
            toy_with_listing(&LISTING.replace("a.nii", "b.nii")),
            &["2 listed files"],
        ),
    ];
    for (what, archive, words) in &table {
        let lab = Lab::new();
        std::fs::write(lab.path("some.tar"), archive).unwrap();
        refused(&lab, what, WORKFLOW.as_bytes(), words);
        assert!(!lab.path("evil").exists(), "{what}: wrote outside");
    }
    tally::tell("bad inputs", table.len(), "archives");
}

fn toy_with_listing(listing: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(vec![]);
    member(
        &mut tar,
        EntryType::Regular,
        b"T/dataset.json",
        listing.as_bytes(),
        listing.len() as u64,
    );
    tar.into_inner().unwrap()
}

#[test]
fn an_archive_of_another_content_than_its_digest_says_is_refused() {
    let lab = Lab::new();
    std::fs::write(lab.path("some.tar"), toy(|_| ())).unwrap();
    let digest = "0".repeat(64);
    let workflow = WORKFLOW.replace("some.tar }", &format!("some.tar, sha256: '{digest}' }}"));
    refused(&lab, "a wrong digest", workflow.as_bytes(), &["some.tar", &digest]);
}
