//! Messages where a device cannot be used: each trouble in its own words, before any work where
//! a device is named, and never a silent training on the processor.

use crate::lab::Lab;
use crate::lab::pretend_cuda::{self, Counts};
use crate::{VOLUMES, run, training};

/// Settings that make a trouble, and words that must be said.
type Trouble = (&'static str, Vec<(&'static str, String)>, &'static str);

fn lab_with(settings: &[(&'static str, String)]) -> Option<Lab> {
    let mut lab = pretend_cuda::lab()?;
    settings.iter().for_each(|(name, value)| lab.set(name, value.clone()));
    Some(lab)
}

fn troubles() -> Option<Vec<Trouble>> {
    let driver = ("LD_LIBRARY_PATH", pretend_cuda::folder()?.join("driver").display().to_string());
    let none = ("PRETEND_CUDA_DEVICES", "0".to_string());
    let card = |capability: &str| ("PRETEND_DRIVER_CAPABILITY", capability.to_string());
    let libraries = |folder: &str| ("VOXFLOW_LIBTORCH_CUDA", folder.to_string());
    Some(vec![
        ("cuda", vec![libraries("/nowhere")], "no 'libtorch_cuda.so' in '/nowhere', which VOXFLOW"),
        ("cuda", vec![none.clone()], "the NVIDIA driver's library 'libcuda.so.1' cannot be loaded"),
        (
            "cuda",
            vec![none, driver.clone(), ("PRETEND_DRIVER_CUDA", "12040".into())],
            "serves CUDA up to 12.4, and this libtorch needs 13.0; install driver 580 or newer",
        ),
        (
            "cuda",
            vec![driver.clone(), ("CUDA_VISIBLE_DEVICES", "-1".into())],
            "CUDA_VISIBLE_DEVICES is '-1', which leaves no device",
        ),
        ("cuda:2", vec![("PRETEND_CUDA_DEVICES", "2".into())], "libtorch sees 2 CUDA devices"),
        (
            "cuda",
            vec![driver.clone(), ("PRETEND_DRIVER_CARD", "Tesla V100".into()), card("70")],
            "Tesla V100 has compute capability 7.0, and this libtorch has kernels from 7.5 on",
        ),
    ])
}

#[test]
fn each_trouble_of_a_named_device_is_told_before_any_work() {
    let Some(troubles) = troubles() else { return };
    for (device, settings, words) in troubles {
        let Some(lab) = lab_with(&settings) else { return };
        lab.write("workflow.yaml", &format!("{VOLUMES}{}", training(1, "{}")));
        let shown = lab.voxflow(&["run", "workflow.yaml", "--device", device]);
        assert!(shown.code == 2 && lab.runs().is_empty(), "{words}: {} {}", shown.code, shown.err);
        assert!(shown.err.contains(words), "{words}: {}", shown.err);
    }
}

#[test]
fn a_library_that_is_none_is_told_with_the_linkers_reason() {
    let Some(mut lab) = pretend_cuda::lab() else { return };
    lab.write("broken/libtorch_cuda.so", "no library");
    let folder = lab.path("broken").display().to_string();
    lab.set("VOXFLOW_LIBTORCH_CUDA", folder);
    lab.write("workflow.yaml", &format!("{VOLUMES}{}", training(1, "{}")));
    let shown = lab.voxflow(&["run", "workflow.yaml", "--device", "cuda"]);
    assert!(shown.err.contains("cannot be loaded: ") && shown.code == 2, "{}", shown.err);
}

#[test]
fn auto_takes_the_device_or_says_why_it_does_not_on_a_machine_with_a_card() {
    let Some(folder) = pretend_cuda::folder() else { return };
    let driver = ("LD_LIBRARY_PATH", folder.join("driver").display().to_string());
    let Some(lab) = lab_with(std::slice::from_ref(&driver)) else { return };
    let record = run(&lab, &training(1, "{}"), "auto");
    assert_eq!(record.stage("model")["maker"]["device"], "cuda:0 Pretend GPU");
    assert!(Counts::take(&lab).of("operation") > 0);
    let settings = [
        driver,
        ("PRETEND_CUDA_DEVICES", "0".into()),
        ("PRETEND_DRIVER_CUDA", "12040".into()),
        ("VOXFLOW_NVIDIA_CARD", "1".into()),
    ];
    let Some(lab) = lab_with(&settings) else { return };
    let record = run(&lab, &training(1, "{}"), "auto");
    assert_eq!(record.stage("model")["maker"]["device"], "cpu");
    let words = record.stage("model")["warnings"].to_string();
    assert!(words.contains("there is an NVIDIA card, but the processor is used"), "{words}");
    assert!(words.contains("serves CUDA up to 12.4"), "{words}");
}

#[test]
fn bf16_on_a_card_without_it_is_an_error_with_fp16_as_the_way_out() {
    let Some(folder) = pretend_cuda::folder() else { return };
    let driver = ("LD_LIBRARY_PATH", folder.join("driver").display().to_string());
    let card = [
        driver,
        ("PRETEND_DRIVER_CARD", "Tesla T4".into()),
        ("PRETEND_DRIVER_CAPABILITY", "75".into()),
    ];
    let Some(lab) = lab_with(&card) else { return };
    let error = crate::run_to_failure(&lab, &training(1, r#"{ "precision": "bf16" }"#), "cuda");
    assert!(error.contains("cuda:0 Tesla T4 has 7.5; use 'precision: fp16'"), "{error}");
    run(&lab, &training(1, r#"{ "precision": "fp16" }"#), "cuda");
}
