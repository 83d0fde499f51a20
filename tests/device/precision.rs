//! Inference in each precision on the device beside the same on the processor, and what cuDNN is
//! allowed there.

use crate::lab::pretend_cuda::{self, Counts};
use crate::lab::{Lab, Record};
use crate::{metrics, run, training};

/// Largest difference of a Dice score to the processor's in the same precision.
const DICE: f64 = 2e-3;
const DICE_IN_16_BITS: f64 = 5e-2;

/// The stages that use a model, with parameters.
fn uses(with: &str) -> String {
    format!(
        "  score: {{ uses: validate, needs: [model, cache], with: {{ {with} }} }}
  tested: {{ uses: test, needs: [model, cache, dataset], with: {{ {with} }} }}
  predicted: {{ uses: predict, needs: [model, dataset], with: {{ {with} }} }}
"
    )
}

/// What cuDNN was allowed for the convolutions of a run.
#[derive(Debug, PartialEq)]
struct Allowed {
    tf32: bool,
    search: bool,
    deterministic: bool,
}

impl Allowed {
    fn of(counts: &Counts) -> Allowed {
        let had = |name: &str| counts.0.contains_key(&("convolution".into(), name.into()));
        Allowed { tf32: had("tf32"), search: had("search"), deterministic: had("deterministic") }
    }
}

fn compare(name: &str, found: &Record, wanted: &Record, most: f64) {
    let (found, wanted) = (metrics(found), metrics(wanted));
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{name}");
    let scores = wanted.iter().filter(|(key, _)| key.contains("\"dice\""));
    for (key, wanted) in scores {
        assert!(
            (found[key] - wanted).abs() <= most,
            "{name}: {key} is {}, not {wanted}",
            found[key]
        );
    }
}

#[test]
fn models_are_used_in_each_precision_as_on_the_processor_and_cudnn_is_allowed_what_fits() {
    let Some(gpu) = pretend_cuda::lab() else { return };
    let cpu = Lab::new();
    let model = training(2, "{}");
    run(&gpu, &model, "cuda:0");
    Counts::take(&gpu);
    let (exact, fast) = ((false, false, false), (false, true, false));
    for (with, (tf32, search, deterministic), most) in [
        ("", exact, DICE),
        ("precision: tf32", (true, true, false), DICE),
        ("precision: bf16", fast, DICE_IN_16_BITS),
        ("precision: fp16", fast, DICE_IN_16_BITS),
        ("precision: fp16, deterministic: true", (false, false, true), DICE_IN_16_BITS),
    ] {
        let stages = format!("{model}{}", uses(with));
        let found = run(&gpu, &stages, "cuda:0");
        let counts = Counts::take(&gpu);
        assert_eq!(Allowed::of(&counts), Allowed { tf32, search, deterministic }, "{with}");
        assert!(counts.0.contains_key(&("operation".into(), "aten::convolution".into())), "{with}");
        let wanted = run(&cpu, &stages, "cpu");
        compare(with, &found, &wanted, most);
        let precision = with.split(", ").next().and_then(|with| with.split(": ").nth(1));
        for stage in ["score", "tested", "predicted"] {
            let maker = &found.stage(stage)["maker"]["precision"];
            assert_eq!(maker, precision.unwrap_or("fp32"), "{with}: {stage}");
        }
    }
}

#[test]
fn a_training_computes_in_tf32_if_it_is_asked_to_and_validates_in_what_its_inference_says() {
    let Some(gpu) = pretend_cuda::lab() else { return };
    let more = r#"{ "precision": "tf32", "validate_every": 1 }"#;
    let record = run(&gpu, &training(1, more), "cuda:0");
    let had = |counts: &Counts| {
        let of = |kind: &str, name: &str| counts.0.get(&(kind.into(), name.into())).copied();
        (of("convolution", "tf32").unwrap_or(0), of("operation", "aten::convolution").unwrap_or(0))
    };
    let (tf32, all) = had(&Counts::take(&gpu));
    assert!(tf32 == all && all > 0, "{tf32} of {all} convolutions");
    assert_eq!(record.stage("model")["maker"]["precision"], "tf32");
    let more = r#"{ "validate_every": 1,
        "inference": { "roi": [16, 16, 16], "overlap": 0.25, "precision": "tf32" } }"#;
    run(&gpu, &training(2, more), "cuda:0");
    let (tf32, all) = had(&Counts::take(&gpu));
    assert!(0 < tf32 && tf32 < all, "the validations alone: {tf32} of {all} convolutions");
}
