//! Models come in from other programs' files, are refined, and go out again.

mod lab;

use lab::Lab;
use lab::cubes::{CUBES, Dataset};
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::read_label;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/weights").join(name)
}

const IMPORT: &str = "  pretrained:
    uses: import
    with:
      file: FILE
      network: { channels: [2, 3], strides: [2], residual_units: 1 }
      modality: [MRI]
      labels: [cube]
      preprocess: { spacing: [1.0, 1.0, 1.0], intensity: { zscore: all } }
      inference: { roi: [16, 16, 16], overlap: 0.25 }
";

const REFINE: &str = "  model:
    uses: train
    needs: [cache, pretrained]
    with:
      epochs: 1
      patch: [16, 16, 16]
      volumes_per_step: 2
      patches_per_volume: 1
      network: { channels: [2, 3], strides: [2], residual_units: 1 }
      optimizer: { name: adamw, weight_decay: 0.1 }
      ema: 0.9
      freeze: ['model.0.*', 'model.2.0.adn.N.weight']
";

const EXPORT: &str =
    "  weights: { uses: export, needs: [model], with: { format: safetensors, weights: last } }
  script: { uses: export, needs: [model], with: { format: torchscript } }
  bundle: { uses: export, needs: [model], with: { format: bundle } }
";

/// The bytes of each tensor by name.
fn tensors(path: &Path) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let mut tensors: Vec<(String, Vec<u8>)> =
        file.tensors().into_iter().map(|(name, view)| (name, view.data().to_vec())).collect();
    tensors.sort();
    tensors
}

#[test]
fn imported_weights_are_refined_but_for_frozen_layers_and_go_out_in_every_form() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    let (before_training, _) = CUBES.split_once("  model:").expect("the training");
    let import = IMPORT.replace("FILE", fixture("nested_parallel.pt").to_str().expect("a path"));
    let run = lab.run(&[before_training, &import, REFINE, EXPORT].concat(), &["--threads", "1"], 0);

    let start = tensors(&fixture("plain.safetensors"));
    let refined = tensors(&run.folder.join("outputs/weights/model.safetensors"));
    assert_eq!(refined.len(), start.len());
    for ((name, old), (other, new)) in start.iter().zip(&refined) {
        assert_eq!(name, other);
        let frozen = name.starts_with("model.0.") || name == "model.2.0.adn.N.weight";
        assert_eq!(old == new, frozen, "{name}");
    }
    for name in ["script/model.ts", "bundle/configs/inference.json", "bundle/models/model.pt"] {
        assert!(
            fs::metadata(run.folder.join("outputs").join(name)).expect(name).len() > 1000,
            "{name}"
        );
    }
}

#[test]
fn an_imported_file_is_known_by_its_content_wherever_it_lies() {
    let lab = Lab::new();
    let workflow =
        |file: &str| format!("name: exchange\nstages:\n{}", IMPORT.replace("FILE", file));
    for (name, file) in [("a.pt", "zip.pt"), ("moved/b.pt", "zip.pt"), ("c.pt", "legacy.pth")] {
        lab.write(name, "");
        fs::copy(fixture(file), lab.path(name)).expect("a copy");
    }
    assert_eq!(lab.run(&workflow("a.pt"), &[], 0).outcomes(), "pretrained=made");
    assert_eq!(lab.run(&workflow("moved/b.pt"), &[], 0).outcomes(), "pretrained=reused");
    let other = lab.run(&workflow("c.pt"), &[], 0);
    assert_eq!(other.outcomes(), "pretrained=made");
}

#[test]
fn a_file_that_would_run_a_program_is_refused_in_one_line_that_names_it() {
    let lab = Lab::new();
    let file = fixture("bad_callable.pt");
    let workflow = format!(
        "name: exchange\nstages:\n{}",
        IMPORT.replace("FILE", file.to_str().expect("a path"))
    );
    lab.write("workflow.yaml", &workflow);
    let shown = lab.voxflow(&["run", "workflow.yaml"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert!(
        shown.err.contains("'posix.system' is none of the names that weights need"),
        "{}",
        shown.err
    );
    assert!(!lab.path("executed").exists());
}

#[test]
fn a_frozen_pattern_that_no_parameter_has_is_found_before_any_work() {
    let lab = Lab::new();
    let wrong = CUBES.replace("epochs: 2", "epochs: 2\n      freeze: ['encoder.*']");
    lab.write("workflow.yaml", &wrong);
    let shown = lab.voxflow(&["check", "workflow.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    let said = shown.out + &shown.err;
    assert!(
        said.contains(
            "'encoder.*' is of no parameter; they are named as 'model.0.conv.unit0.conv.weight'"
        ),
        "{said}"
    );
}

/// A command that must succeed.
fn done(lab: &Lab, arguments: &[&str]) -> String {
    let shown = lab.voxflow(arguments);
    assert_eq!(shown.code, 0, "{}", shown.err);
    shown.err
}

#[test]
fn a_model_goes_out_and_comes_in_again_without_a_workflow() {
    let lab = Lab::new();
    let file = fixture("zip.pt").display().to_string();
    let described =
        ["--set", "modality=[MRI]", "--set", "labels=[cube]", "--set", "inference.roi=[16,16,16]"];
    let network = "network={channels: [2, 3], strides: [2], residual_units: 1}";
    let more =
        ["--set", network, "--set", "preprocess={spacing: [1, 1, 1], intensity: {zscore: all}}"];
    let import = ["import", &file, "--out", "price $5"];
    let said = done(&lab, &[&import[..], &described, &more].concat());
    assert!(
        said.contains("best.safetensors, last.safetensors, model.json in 'price $5'"),
        "{said}"
    );
    assert_eq!(
        tensors(&lab.path("price $5/best.safetensors")),
        tensors(&fixture("plain.safetensors"))
    );

    for (format, name) in [("safetensors", "model.safetensors"), ("torchscript", "model.ts")] {
        done(&lab, &["export", "price $5", "--out", "weights", "--format", format]);
        assert!(lab.path("weights").join(name).is_file(), "{name}");
        let again = format!("weights/{name}");
        done(&lab, &["import", &again, "--like", "price $5", "--out", format]);
        for file in ["model.json", "best.safetensors"] {
            let (one, other) = (lab.path("price $5").join(file), lab.path(format).join(file));
            assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{format}: {file} differs");
        }
    }
    assert_eq!(fs::read_dir(lab.path("weights")).unwrap().count(), 2, "nothing else is left there");
    done(&lab, &["export", "price $5", "--out", "bundle"]);
    assert!(lab.path("bundle/configs/inference.json").is_file());
}

#[test]
fn an_import_that_is_not_described_says_what_is_missing_and_writes_nothing() {
    let lab = Lab::new();
    let file = fixture("zip.pt").display().to_string();
    let shown = lab.voxflow(&["import", &file, "--out", "model", "--set", "modalty=[MRI]"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("did you mean 'modality'?"), "{}", shown.err);
    assert!(shown.err.contains("import: ") && shown.err.contains("'labels'"), "{}", shown.err);
    assert!(!lab.path("model").exists());
}

#[test]
fn a_model_never_takes_the_place_of_the_weights_that_it_is_made_of() {
    let lab = Lab::new();
    lab.write("best.safetensors", "weights of a person");
    let flags =
        ["--set", "modality=[MRI]", "--set", "labels=[cube]", "--set", "inference.roi=[16,16,16]"];
    let shown = lab.voxflow(
        &[
            &[
                "import",
                "best.safetensors",
                "--out",
                ".",
                "--set",
                "preprocess={intensity: {zscore: all}}",
            ][..],
            &flags,
        ]
        .concat(),
    );
    assert!(
        shown.code == 2 && shown.err.contains("would take the place of 'best.safetensors'"),
        "{}",
        shown.err
    );
    assert_eq!(fs::read_to_string(lab.path("best.safetensors")).unwrap(), "weights of a person");
}

#[test]
fn a_model_card_shows_names_as_they_are_and_obeys_none_of_them() {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 0);
    let listing = data.folder.join("dataset.json");
    let text = fs::read_to_string(&listing).expect("a listing");
    let bad = "</script><script>alert(3)</script>";
    let named =
        text.replace("\"cube\"", &format!("\"{bad}\"")).replace("Cubes", "[a](javascript:x)");
    fs::write(&listing, named).expect("a listing");
    let workflow = CUBES.replace("name: cubes", "name: '<img src=x onerror=alert(1)>'");
    let run = lab.run(&workflow, &["--threads", "1"], 0);
    done(&lab, &["report", "latest"]);
    let card = fs::read_to_string(run.folder.join("MODEL_CARD.md")).expect("a card");
    for markup in ["<script>", "</script>", "<img", "[a](javascript"] {
        assert!(!card.contains(markup), "'{markup}' in\n{card}");
    }
    for shown in ["&lt;script&gt;alert(3)", "&lt;img src=x", "[a\\](javascript:x)"] {
        assert!(card.contains(shown), "'{shown}' in\n{card}");
    }
}

/// Shares of equal voxels in two label maps, and of labelled voxels in the second.
fn agreement(one: &Path, other: &Path) -> [f64; 2] {
    let read = |path: &Path| read_label(path, "labels", &[1, 2]).unwrap().data;
    let [one, other] = [one, other].map(read);
    assert_eq!(one.len(), other.len());
    let equal = one.iter().zip(&other).filter(|(a, b)| a == b).count();
    let labelled = other.iter().filter(|value| **value > 0).count();
    [equal, labelled].map(|count| count as f64 / other.len() as f64)
}

#[test]
fn a_folder_that_nnu_net_trained_predicts_what_it_predicts_there_and_goes_back() {
    let lab = Lab::new();
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/nnunet_results");
    let [results, image, wanted] = ["model", "image.nii.gz", "wanted.nii.gz"]
        .map(|name| folder.join(name).display().to_string());
    let said = done(&lab, &["import", &results, "--out", "model"]);
    assert!(said.contains("model.json in 'model'"), "{said}");
    done(&lab, &["predict", "--model", "model", "--out", "labels", "--device", "cpu", &image]);
    let [equal, labelled] = agreement(&lab.path("labels/image.nii.gz"), Path::new(&wanted));
    assert!(equal > 0.9999 && labelled > 0.05, "{equal} of {labelled}");

    // And out again: the same numbers, kernels turned back.
    done(&lab, &["export", "model", "--out", "back", "--format", "nnunet"]);
    done(&lab, &["import", "back", "--out", "again"]);
    for file in ["model.json", "best.safetensors"] {
        let [one, other] =
            ["model", "again"].map(|out| fs::read(lab.path(out).join(file)).unwrap());
        assert!(one == other, "{file} differs");
    }

    let shown = lab.voxflow(&["import", &results, "--out", "none", "--checkpoint", "best"]);
    assert!(shown.err.contains("has no fold_*/checkpoint_best.pth"), "{}", shown.err);
    let shown = lab.voxflow(&["import", &results, "--out", "none", "--fold", "3"]);
    assert_eq!(
        (shown.code, shown.err.contains("--fold 3: there is all")),
        (2, true),
        "{}",
        shown.err
    );
    assert!(!lab.path("none").exists());
}
