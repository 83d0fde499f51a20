//! The ten tasks of the Medical Segmentation Decathlon: what is known before they are downloaded.
//!
//! Counts, modalities and labels are those of the tasks' `dataset.json`; sizes are the medians over
//! the labelled cases that nnU-Net's authors published (Isensee et al., Nature Methods 2021,
//! supplement), rounded; digests are those of the archives as MONAI lists them.

use crate::text_table::{Cell, TextTable};

/// Host of the archives, the one that MONAI uses.
pub(super) const HOST: &str = "https://msd-for-monai.s3-us-west-2.amazonaws.com";

/// A task.
#[derive(Debug)]
pub(super) struct DecathlonTask {
    /// 1 to 10.
    pub number: u8,
    /// "Task09_Spleen".
    pub name: &'static str,
    /// The archive's MD5.
    pub md5: &'static str,
    /// The image channels.
    pub modality: &'static [&'static str],
    /// The labels 1, 2, …
    pub labels: &'static [&'static str],
    /// Cases with a label.
    pub labelled: usize,
    /// Cases without.
    pub unlabelled: usize,
    /// The median size in voxels, along right, front and up.
    pub shape: [usize; 3],
    /// The median voxel in mm.
    pub spacing_mm: [f64; 3],
    /// For CT: the values that matter, in Hounsfield units.
    pub window: Option<[f64; 2]>,
}

impl DecathlonTask {
    /// "Spleen".
    pub fn word(&self) -> &'static str {
        self.name.split_once('_').map_or(self.name, |(_, word)| word)
    }
}

/// All of them.
pub(super) const TASKS: &[DecathlonTask] = &[
    DecathlonTask {
        number: 1,
        name: "Task01_BrainTumour",
        md5: "240a19d752f0d9e9101544901065d872",
        modality: &["FLAIR", "T1w", "t1gd", "T2w"],
        labels: &["edema", "non-enhancing tumor", "enhancing tumour"],
        labelled: 484,
        unlabelled: 266,
        shape: [240, 240, 155],
        spacing_mm: [1.0, 1.0, 1.0],
        window: None,
    },
    DecathlonTask {
        number: 2,
        name: "Task02_Heart",
        md5: "06ee59366e1e5124267b774dbd654057",
        modality: &["MRI"],
        labels: &["left atrium"],
        labelled: 20,
        unlabelled: 10,
        shape: [320, 320, 115],
        spacing_mm: [1.25, 1.25, 1.37],
        window: None,
    },
    DecathlonTask {
        number: 3,
        name: "Task03_Liver",
        md5: "a90ec6c4aa7f6a3d087205e23d4e6397",
        modality: &["CT"],
        labels: &["liver", "cancer"],
        labelled: 131,
        unlabelled: 70,
        shape: [512, 512, 432],
        spacing_mm: [0.77, 0.77, 1.0],
        window: Some([-60.0, 200.0]),
    },
    DecathlonTask {
        number: 4,
        name: "Task04_Hippocampus",
        md5: "9d24dba78a72977dbd1d2e110310f31b",
        modality: &["MRI"],
        labels: &["Anterior", "Posterior"],
        labelled: 260,
        unlabelled: 130,
        shape: [36, 50, 35],
        spacing_mm: [1.0, 1.0, 1.0],
        window: None,
    },
    DecathlonTask {
        number: 5,
        name: "Task05_Prostate",
        md5: "35138f08b1efaef89d7424d2bcc928db",
        modality: &["T2", "ADC"],
        labels: &["PZ", "TZ"],
        labelled: 32,
        unlabelled: 16,
        shape: [320, 320, 20],
        spacing_mm: [0.62, 0.62, 3.6],
        window: None,
    },
    DecathlonTask {
        number: 6,
        name: "Task06_Lung",
        md5: "8afd997733c7fc0432f71255ba4e52dc",
        modality: &["CT"],
        labels: &["cancer"],
        labelled: 63,
        unlabelled: 32,
        shape: [512, 512, 252],
        spacing_mm: [0.79, 0.79, 1.24],
        window: Some([-1000.0, 300.0]),
    },
    DecathlonTask {
        number: 7,
        name: "Task07_Pancreas",
        md5: "4f7080cfca169fa8066d17ce6eb061e4",
        modality: &["CT"],
        labels: &["pancreas", "cancer"],
        labelled: 281,
        unlabelled: 139,
        shape: [512, 512, 93],
        spacing_mm: [0.8, 0.8, 2.5],
        window: Some([-90.0, 220.0]),
    },
    DecathlonTask {
        number: 8,
        name: "Task08_HepaticVessel",
        md5: "641d79e80ec66453921d997fbf12a29c",
        modality: &["CT"],
        labels: &["Vessel", "Tumour"],
        labelled: 303,
        unlabelled: 140,
        shape: [512, 512, 49],
        spacing_mm: [0.8, 0.8, 5.0],
        window: Some([0.0, 240.0]),
    },
    DecathlonTask {
        number: 9,
        name: "Task09_Spleen",
        md5: "410d4a301da4e5b2f6f86ec3ddba524e",
        modality: &["CT"],
        labels: &["spleen"],
        labelled: 41,
        unlabelled: 20,
        shape: [512, 512, 90],
        spacing_mm: [0.79, 0.79, 5.0],
        window: Some([-57.0, 164.0]),
    },
    DecathlonTask {
        number: 10,
        name: "Task10_Colon",
        md5: "bad7a188931dc2f6acf72b08eb6202d0",
        modality: &["CT"],
        labels: &["colon cancer primaries"],
        labelled: 126,
        unlabelled: 64,
        shape: [512, 512, 95],
        spacing_mm: [0.78, 0.78, 5.0],
        window: Some([-60.0, 190.0]),
    },
];

/// The task that a person means: its name, either part of it in any case, or its number.
pub(super) fn find(text: &str) -> Option<&'static DecathlonTask> {
    TASKS.iter().find(|task| {
        text.eq_ignore_ascii_case(task.name)
            || text.eq_ignore_ascii_case(task.word())
            || task.name.split('_').next().is_some_and(|part| text.eq_ignore_ascii_case(part))
            || text.parse() == Ok(task.number)
    })
}

/// The tasks as a table.
pub(super) fn listed() -> String {
    let mut sheet = TextTable::new("", ["task", "images", "labels", "labelled", "unlabelled"]);
    for task in TASKS {
        sheet.push(vec![
            Cell::text(task.word().to_lowercase()),
            Cell::text(task.modality.join(", ")),
            Cell::text(task.labels.join(", ")),
            Cell::Count(task.labelled as u64),
            Cell::Count(task.unlabelled as u64),
        ]);
    }
    sheet.text(crate::console::terminal_width())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_a_name_its_two_parts_and_a_number() {
        for name in ["spleen", "Spleen", "Task09_Spleen", "task09_spleen", "Task09", "9", "09"] {
            assert_eq!(find(name).map(|task| task.number), Some(9), "{name}");
        }
        assert!(find("99").is_none() && find("spl").is_none());
    }

    #[test]
    fn the_numbers_are_in_order_and_the_digests_are_digests() {
        for (at, task) in TASKS.iter().enumerate() {
            assert_eq!(usize::from(task.number), at + 1);
            assert!(task.name.starts_with(&format!("Task{:02}_", task.number)));
            assert!(task.md5.len() == 32 && task.md5.bytes().all(|byte| byte.is_ascii_hexdigit()));
            assert_eq!(task.window.is_some(), task.modality == ["CT"], "{}", task.name);
        }
    }
}
