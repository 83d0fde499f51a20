//! Weights of other programs: every form that torch and safetensors write is read, and what is not
//! what it says is refused. The files are made by `tests/parity/make_weights.py`.

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::Trial;
use voxflow_stages::Result;
use voxflow_stages::model::foreign::Foreign;
use voxflow_stages::model::tensor_spec::TensorSpec;
use voxflow_stages::model::weights::{StateDict, of_foreign, pack};
use voxflow_stages::model::{Network, PerAxis};
use voxflow_stages::random::Draw;

/// The forms that hold the network of `plain.safetensors`, and where in them the weights are.
const GOOD: [(&str, &str); 12] = [
    ("plain.safetensors", ""),
    ("bfloat16.safetensors", ""),
    ("zip.pt", ""),
    ("half.pt", ""),
    ("double.pt", ""),
    ("legacy.pth", ""),
    ("nested_parallel.pt", "state_dict"),
    ("nested_legacy.pt", "network/model"),
    ("parameters.pt", ""),
    ("permuted.pt", ""),
    ("untracked.pt", ""),
    ("traced.ts", ""),
];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/weights").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn network() -> Network {
    Network {
        channels: vec![2, 3],
        strides: vec![PerAxis::All(2)],
        residual_units: 1,
        ..Network::default()
    }
}

fn wanted() -> Vec<TensorSpec> {
    network().graph(1, 2).tensors()
}

fn read(bytes: &[u8]) -> Result<StateDict> {
    of_foreign(&Foreign::open(bytes, None)?, wanted())
}

/// The numbers as safetensors, without the counters, which older files lack.
fn learned(named: StateDict) -> Vec<u8> {
    pack(&named.into_iter().filter(|(spec, _)| !spec.is_counter()).collect()).unwrap()
}

fn refusal(name: &str) -> String {
    read(&bytes(name)).expect_err(name).to_string()
}

#[test]
fn every_form_gives_the_same_numbers() {
    let plain = learned(read(&bytes("plain.safetensors")).unwrap());
    for (name, place) in GOOD {
        let bytes = bytes(name);
        let foreign = Foreign::open(&bytes, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(foreign.place, place, "{name}");
        let named =
            of_foreign(&foreign, wanted()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(learned(named) == plain, "{name} holds other numbers");
    }
}

/// Spaces may follow the header, and its length may begin with the byte of a pickle: 1 of 32 files
/// has such a length by chance.
#[test]
fn safetensors_are_read_whatever_the_length_of_their_header() {
    let plain = bytes("plain.safetensors");
    let (length, rest) = plain.split_first_chunk::<8>().unwrap();
    let (header, numbers) = rest.split_at(u64::from_le_bytes(*length) as usize);
    for more in (0..256).step_by(8) {
        let padded = [header, &vec![b' '; more]].concat();
        let file = [&(padded.len() as u64).to_le_bytes(), &padded[..], numbers].concat();
        let named = read(&file).unwrap_or_else(|error| panic!("{}: {error}", padded.len()));
        assert!(learned(named) == learned(read(&plain).unwrap()));
    }
}

#[test]
fn weights_in_an_unusual_place_are_found_where_they_are_said_to_be() {
    let words = refusal("elsewhere.pt");
    assert_eq!(
        words,
        "there are no tensors; it has 'ema', 'note': name the place of the weights with 'under'"
    );
    let bytes = bytes("elsewhere.pt");
    assert!(
        of_foreign(&Foreign::open(&bytes, Some("ema/weights_of_it")).unwrap(), wanted()).is_ok()
    );
    let words = Foreign::open(&bytes, Some("ema/model")).unwrap_err().to_string();
    assert_eq!(words, "under 'ema/model': there is no 'model'; there is 'weights_of_it'");
}

#[test]
fn callables_are_refused_by_name_and_nothing_is_run() {
    for name in ["bad_callable.pt", "bad_callable_legacy.pt", "bad_pickle.pt"] {
        let words = refusal(name);
        assert!(
            words.contains("'posix.system' is none of the names that weights need"),
            "{name}: {words}"
        );
    }
    assert!(!Path::new("executed").exists());
}

#[test]
fn files_that_are_not_what_they_say_are_refused_with_the_reason() {
    for (name, reason) in [
        ("bad_truncated.pt", "zip archive: "),
        ("bad_truncated_legacy.pt", "it ends too early"),
        ("bad_size.pt", "the weights do not fit the network"),
        ("bad_view.pt", "leave its 54 numbers"),
        ("bad_opcode.pt", "opcode 'i' (0x69) is none that weights need"),
        ("bad_size.safetensors", "safetensors: "),
        ("bad_header.safetensors", "safetensors: "),
    ] {
        let words = refusal(name);
        assert!(words.contains(reason), "{name}: {words}");
    }
    let bytes = bytes("bad_size.pt");
    let lying = Foreign::open(&bytes, None).unwrap();
    let words = lying.floats("w").unwrap_err().to_string();
    assert_eq!(words, "'w': storage '0' has 216 bytes, its tensors say 4398046511104");
    assert!(
        refusal_of(b"GIF89a and more").starts_with("it begins as none of the files that are read")
    );
    assert!(refusal_of(b"").starts_with("it begins as none"));
}

fn refusal_of(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn weights_of_another_network_are_refused_with_all_that_does_not_fit() {
    let bytes = bytes("zip.pt");
    let other = Network { residual_units: 0, ..network() };
    let words =
        of_foreign(&Foreign::open(&bytes, None).unwrap(), other.graph(1, 2).tensors()).unwrap_err();
    let words = words.to_string();
    assert!(
        words.starts_with("the weights do not fit the network; missing: 'model.0.conv.weight'"),
        "{words}"
    );
    assert!(words.contains("left over: 'model.0.conv.unit0."), "{words}");
}

/// Whatever happens to a file, reading it ends in words or in numbers, and where the form has
/// checksums, in the right numbers.
#[test]
fn damaged_files_are_refused_or_read_right_and_never_crash() {
    let plain = learned(read(&bytes("plain.safetensors")).unwrap());
    for (name, _) in GOOD {
        let whole = bytes(name);
        let checked = whole.starts_with(b"PK");
        let known = |named: StateDict| {
            if name == "untracked.pt" || !checked { true } else { learned(named) == plain }
        };
        let mut draw = Draw::new(7, 0, 0, name);
        for _ in 0..400 {
            let mut damaged = whole.clone();
            let at = draw.below(damaged.len() as u64) as usize;
            damaged[at] ^= 1 << draw.below(8);
            assert!(
                read(&damaged).is_ok_and(known) || read(&damaged).is_err(),
                "{name}, byte {at}"
            );
        }
        for length in (0..whole.len()).step_by(13) {
            let read = read(&whole[..length]);
            assert!(read.is_err() || length + 64 > whole.len(), "{name}, {length} bytes");
        }
    }
}

fn import(file: &str) -> Value {
    json!({
        "file": fixture(file),
        "network": { "channels": [2, 3], "strides": [2], "residual_units": 1 },
        "modality": ["CT"],
        "labels": ["spleen"],
        "preprocess": { "spacing": [1.5, 1.5, 2.0], "intensity": { "window": [-57, 164] }, "crop_foreground": true },
        "inference": { "roi": [16, 16, 16], "overlap": 0.25 },
    })
}

#[test]
fn an_imported_model_says_all_that_is_needed_to_predict_and_goes_out_in_every_form() {
    let imported = Trial::new("import", import("nested_parallel.pt"));
    imported.run().unwrap();
    let model = imported.artifact();
    let card: Value =
        serde_json::from_slice(&std::fs::read(&model["model.json"]).unwrap()).unwrap();
    assert_eq!(card["labels"], json!([{ "value": 1, "name": "spleen" }]));
    assert_eq!(card["inference"]["roi"], json!([16, 16, 16]));
    assert_eq!(
        std::fs::read(&model["best.safetensors"]).unwrap(),
        std::fs::read(&model["last.safetensors"]).unwrap()
    );

    for (format, names) in [
        ("safetensors", &["model.safetensors"][..]),
        ("torchscript", &["model.ts"]),
        (
            "bundle",
            &[
                "configs/inference.json",
                "configs/metadata.json",
                "docs/README.md",
                "models/model.pt",
            ],
        ),
    ] {
        let export =
            Trial::new("export", json!({ "format": format })).input("model", "model", &model);
        export.run().unwrap();
        let made = export.artifact();
        assert_eq!(made.keys().collect::<Vec<_>>(), names, "{format}");
        let weights = made.values().last().unwrap();
        let again = read(&std::fs::read(weights).unwrap()).unwrap();
        assert!(learned(again) == learned(read(&bytes("plain.safetensors")).unwrap()), "{format}");
    }
}
