//! Model card `MODEL_CARD.md`, structured like NVIDIA's cards for Clara models, filled from the
//! run. Unknown facts are marked as missing.

use super::charts::Chart;
use super::curves::curves;
use super::headline;
use super::subject::RunSubject;
use crate::markdown::plain;
use crate::reference;
use crate::run::StageRecord;
use crate::{humanize, tables};
use plotters::prelude::*;
use serde_json::Value;
use voxflow_stages::image::preparation::AxisOrder;
use voxflow_stages::model::ModelCard;
use voxflow_stages::stage::Yields;

const MISSING: &str = "Not known from this run.";

/// Card as Markdown with its pictures (file name, SVG); `None` for runs without training.
pub fn card(subject: &RunSubject) -> Option<(String, Vec<(String, String)>)> {
    let stage = subject.stages_with(Yields::Curves).last()?;
    let model = subject.model(stage);
    let pictures: Vec<(String, String)> = curves(std::slice::from_ref(subject))
        .iter()
        .filter(|chart| ["loss", "dice"].contains(&chart.id.as_str()))
        .filter_map(|chart| Some((format!("{}.svg", chart.id), picture(chart)?)))
        .collect();
    let sections = [
        ("Overview", overview(subject, stage, model.as_ref())),
        ("Warnings", warnings(subject)),
        ("Workflow", flow(subject)),
        ("Training algorithm", algorithm(stage)),
        ("Data", data(subject, model.as_ref())),
        ("Training configuration", listed(&stage.params, &["network", "inference"])),
        ("Input", input(model.as_ref())),
        ("Output", output(model.as_ref())),
        ("Inference details", listed(&stage.params["inference"], &[])),
        ("Performance", performance(subject, &pictures)),
        (
            "Intended use",
            "Research. Not a medical device: no diagnosis may rest on what this model says.".into(),
        ),
        ("Licence of the data", licence(subject)),
        ("References", references(subject)),
    ];
    Some((text(subject, &sections), pictures))
}

/// The card's text; empty sections are left out.
fn text(subject: &RunSubject, sections: &[(&str, String)]) -> String {
    let body: Vec<String> = sections
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(title, text)| format!("## {title}\n\n{}\n", text.trim_end()))
        .collect();
    let run = &subject.past.record;
    format!(
        "# {}: model card\n\nWritten by voxflow from run `{}`.\n\n{}",
        plain(&run.workflow),
        run.run,
        body.join("\n")
    )
}

fn overview(subject: &RunSubject, stage: &StageRecord, model: Option<&ModelCard>) -> String {
    let what = model.map_or_else(
        || "A 3D U-Net for segmentation.".to_string(),
        |card| {
            format!(
                "A 3D U-Net that segments {} in {} images of the dataset {}.",
                labels(card),
                plain_list(&card.modality),
                plain(&card.dataset)
            )
        },
    );
    let found = headline::words(subject).map(|words| plain(&words));
    let found = found.map(|words| format!(" Scores: {words}.")).unwrap_or_default();
    format!("{what}{found} {}", weights(subject, stage))
}

/// The place of the weights: an ensemble's stage, or a training's.
fn weights(subject: &RunSubject, stage: &StageRecord) -> String {
    let files = "`best.safetensors` and `last.safetensors`";
    let ensemble = subject.past.record.stages.iter().rev().find_map(|stage| {
        let count = subject.model(stage)?.members.len();
        (count > 0).then_some((&stage.stage, count))
    });
    match ensemble {
        Some((stage, count)) => {
            let models = format!("an ensemble of {count} models in folders");
            format!("Weights: stage `{stage}`, {models} with files {files}.")
        }
        None => format!("Weights: stage `{}`, files {files}.", stage.stage),
    }
}

fn labels(card: &ModelCard) -> String {
    let names: Vec<String> = card.names().into_iter().map(str::to_string).collect();
    plain_list(&names)
}

fn plain_list(names: &[String]) -> String {
    names.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ")
}

/// Stage warnings; empty without any.
fn warnings(subject: &RunSubject) -> String {
    subject
        .past
        .record
        .warnings()
        .map(|(stage, words)| format!("- `{stage}`: {}\n", plain(words)))
        .collect()
}

/// Stages in order with their inputs.
fn flow(subject: &RunSubject) -> String {
    subject
        .past
        .record
        .stages
        .iter()
        .map(|stage| {
            let needs: Vec<String> =
                stage.needs.values().flatten().map(|need| format!("`{need}`")).collect();
            let reads = if needs.is_empty() {
                String::new()
            } else {
                format!(", reads {}", needs.join(", "))
            };
            format!("- `{}`: {}{reads}\n", stage.stage, stage.kind)
        })
        .collect()
}

fn algorithm(stage: &StageRecord) -> String {
    format!(
        "MONAI's `UNet` as libtorch operations.\n\n{}\nLoss: {}. Optimizer: {}.",
        listed(&stage.params["network"], &[]),
        reference::flow(&stage.params["loss"]["name"]),
        reference::flow(&stage.params["optimizer"]["name"]),
    )
}

fn data(subject: &RunSubject, model: Option<&ModelCard>) -> String {
    let testing: Vec<String> = subject
        .scored()
        .iter()
        .filter(|place| place.split == "testing")
        .map(|place| {
            format!(
                "- testing: {} (stage `{}`)\n",
                humanize::count(subject.cases(&place.stage) as u64, "case"),
                place.stage
            )
        })
        .take(1)
        .collect();
    match model {
        Some(card) => format!(
            "Dataset: {}.\n\n- training: {}\n- validation: {}\n{}",
            plain(&card.dataset),
            humanize::count(card.training.training_cases as u64, "case"),
            humanize::count(card.training.validation_cases as u64, "case"),
            testing.concat()
        ),
        None => format!(
            "{MISSING} The model's own description is no longer in the store.\n\n{}",
            testing.concat()
        ),
    }
}

fn input(model: Option<&ModelCard>) -> String {
    let Some(card) = model else { return MISSING.into() };
    let prepared = serde_json::to_value(&card.preparation).unwrap_or_default();
    let axes = match card.preparation.orientation {
        AxisOrder::Ras => "turned to RAS",
        AxisOrder::Stored => "its axes as the file stores them",
    };
    format!(
        "{} ({}), {axes}, then prepared as follows.\n\n{}",
        humanize::count(card.modality.len() as u64, "channel"),
        plain_list(&card.modality),
        listed(&prepared, &[])
    )
}

fn output(model: Option<&ModelCard>) -> String {
    let Some(card) = model else { return MISSING.into() };
    let rows =
        card.labels.iter().map(|label| format!("- {}: {}\n", label.value, plain(&label.name)));
    let regions = card.regions.iter().map(|region| {
        let values: Vec<String> = region.labels.iter().map(u8::to_string).collect();
        format!(
            "- {}: the labels {}, written as {}\n",
            plain(&region.name),
            values.join(", "),
            region.value
        )
    });
    let regions: String = regions.collect();
    let united = match regions.is_empty() {
        true => String::new(),
        false => format!("\nThe network segments regions, written in this order:\n\n{regions}"),
    };
    format!(
        "A label map on the grid of the image.\n\n- 0: background\n{}{united}",
        rows.collect::<String>()
    )
}

fn performance(subject: &RunSubject, pictures: &[(String, String)]) -> String {
    let sheet = tables::scores(&subject.tables.metrics);
    let scores = if sheet.rows.is_empty() { format!("{MISSING}\n") } else { sheet.markdown() };
    format!(
        "{scores}{}{}",
        precisions(subject),
        pictures
            .iter()
            .map(|(name, _)| {
                let what = if name.starts_with("loss") {
                    "Training loss by epoch"
                } else {
                    "Validation mean Dice by epoch"
                };
                format!("\n![{what}](card/{name})\n")
            })
            .collect::<String>()
    )
}

/// The numbers that networks computed in, by stage; empty where no maker told them.
fn precisions(subject: &RunSubject) -> String {
    let told = subject.past.record.stages.iter().filter_map(|stage| {
        let precision = stage.maker["precision"].as_str()?;
        Some(format!("- `{}`: {}\n", stage.stage, plain(precision)))
    });
    let told: String = told.collect();
    if told.is_empty() { told } else { format!("\nNumbers that networks computed in:\n\n{told}") }
}

fn licence(subject: &RunSubject) -> String {
    let licence = subject.listing().and_then(|listing| listing.licence);
    licence.map_or_else(|| MISSING.into(), |licence| plain(&licence))
}

fn references(subject: &RunSubject) -> String {
    let data = subject
        .listing()
        .and_then(|listing| listing.reference)
        .map(|from| format!("- The data: {}\n", plain(&from)));
    format!(
        "{}- Kerfoot et al., Left-Ventricle Quantification Using Residual U-Net, STACOM 2018 \
         (the network)\n\
         - Ginsburg et al., Stochastic Gradient Methods with Layer-wise Adaptive Moments, 2019 \
         (Novograd)\n",
        data.unwrap_or_default()
    )
}

/// Parameters as a list with dotted paths.
fn listed(params: &Value, without: &[&str]) -> String {
    let rows = tables::ParamRow::flatten("", "", params);
    let kept =
        rows.iter().filter(|row| !without.iter().any(|key| row.key.split('.').next() == Some(key)));
    let text: String =
        kept.map(|row| format!("- {}: {}\n", plain(&row.key), plain(&row.value))).collect();
    if text.is_empty() { format!("{MISSING}\n") } else { text }
}

/// Chart as SVG; `None` if it cannot be drawn.
fn picture(chart: &Chart) -> Option<String> {
    let chart = &chart.view;
    let points = || chart.series.iter().flat_map(|series| chart.at.iter().zip(&series.values));
    let values: Vec<f64> =
        points().filter_map(|(_, value)| *value).filter(|value| value.is_finite()).collect();
    let (low, high) = values
        .iter()
        .fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(*value), high.max(*value)));
    let (first, last) = (*chart.at.first()?, *chart.at.last()?);
    let room = ((high - low) * 0.05).max(1e-6);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (640, 320)).into_drawing_area();
        area.fill(&WHITE).ok()?;
        let mut builder = ChartBuilder::on(&area);
        builder.margin(10).x_label_area_size(36).y_label_area_size(56);
        let mut plot = builder
            .build_cartesian_2d(first..last.max(first + 1.0), low - room..high + room)
            .ok()?;
        plot.configure_mesh().x_desc(chart.x.as_str()).max_light_lines(1).draw().ok()?;
        for (at, series) in chart.series.iter().enumerate() {
            let line = chart.at.iter().zip(&series.values).filter_map(|(x, y)| Some((*x, (*y)?)));
            plot.draw_series(LineSeries::new(line, Palette99::pick(at).stroke_width(2))).ok()?;
        }
        area.present().ok()?;
    }
    Some(text)
}
