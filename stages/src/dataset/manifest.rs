//! Manifests: CSV or TSV tables with a row for each case.
//!
//! Columns are known by their names: `image` (or `image_NAME` for each channel), `label`, `case`,
//! `patient` and `fold`. Others are told and not used.

use crate::dataset::document;
use crate::dataset::entry::{self, ListEntry};
use crate::dataset::notes::Notes;
use crate::dataset::patterns::Pairs;
use crate::dataset::{Case, Listing, name};
use crate::error::{Error, Result, Trouble};
use crate::image::nifti::suffix;
use std::path::Path;

/// Prefix of a channel's column.
const CHANNEL: &str = "image_";
const IMAGE: [&str; 5] = ["image", "img", "scan", "image_path", "image_file"];
const LABEL: [&str; 6] = ["label", "mask", "seg", "segmentation", "label_path", "mask_path"];
const CASE: [&str; 3] = ["case", "case_id", "id"];
const PATIENT: [&str; 6] =
    ["patient", "patient_id", "subject", "subject_id", "participant", "participant_id"];
const FOLD: [&str; 1] = ["fold"];

/// Places of the known columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManifestColumns {
    /// A column of images for each channel, with the channel's name if the column tells it.
    pub images: Vec<(usize, Option<String>)>,
    /// The label files.
    pub label: Option<usize>,
    /// The cases' names.
    pub case: Option<usize>,
    /// The patients.
    pub patient: Option<usize>,
    /// The folds of a cross-validation.
    pub fold: Option<usize>,
    /// Names of the columns that are not used.
    pub others: Vec<String>,
}

impl ManifestColumns {
    /// Those of a table's head.
    fn of(head: &[String]) -> Result<ManifestColumns> {
        let mut columns = ManifestColumns::default();
        for (at, written) in head.iter().enumerate() {
            let name = written.trim().to_lowercase();
            let role = |words: &[&str]| words.contains(&name.as_str());
            let slot = match () {
                () if role(&IMAGE) => {
                    columns.images.push((at, None));
                    continue;
                }
                () if role(&LABEL) => &mut columns.label,
                () if role(&CASE) => &mut columns.case,
                () if role(&PATIENT) => &mut columns.patient,
                () if role(&FOLD) => &mut columns.fold,
                () if name.starts_with(CHANNEL) && name.len() > CHANNEL.len() => {
                    let channel = written.trim()[CHANNEL.len()..].to_string();
                    columns.images.push((at, Some(channel)));
                    continue;
                }
                () => {
                    columns.others.push(written.trim().to_string());
                    continue;
                }
            };
            if let Some(first) = slot.replace(at) {
                return Err(Error::failed(format!(
                    "columns '{}' and '{}' mean the same: leave one out",
                    head[first], head[at]
                )));
            }
        }
        columns.checked(head)
    }

    fn checked(self, head: &[String]) -> Result<ManifestColumns> {
        let named = self.images.iter().filter(|(_, channel)| channel.is_some()).count();
        match self.images.len() {
            0 if head.iter().any(|cell| suffix::split(cell).is_some()) => Err(Error::failed(
                "has no head: its first line must name the columns, as 'image,label,patient'",
            )),
            0 => Err(Error::failed(format!(
                "has no column 'image'; its columns are {}",
                name::shown(head)
            ))),
            1 => Ok(self),
            count if named == count => Ok(self),
            _ => Err(Error::failed(
                "several columns of images: name one for each channel, as 'image_t1' and \
                 'image_flair'",
            )),
        }
    }

    /// Several columns of images have a channel each.
    fn fit(&self, modality: &[String]) -> Result<()> {
        let (columns, named) = (self.images.len(), modality.len());
        match columns == 1 || named == 0 || columns == named {
            true => Ok(()),
            false => Err(Error::failed(format!(
                "has {columns} columns of images, but 'modality' names {named} channels"
            ))),
        }
    }

    /// The channels' names, if all columns tell them.
    pub fn channels(&self) -> Vec<String> {
        let names: Option<Vec<String>> =
            self.images.iter().map(|(_, channel)| channel.clone()).collect();
        names.unwrap_or_default()
    }
}

/// A row with its line in the file.
struct Row {
    line: usize,
    cells: Vec<String>,
}

impl Row {
    /// A cell's text, if there is any.
    fn cell(&self, at: usize) -> Option<String> {
        Some(self.cells[at].clone()).filter(|text| !text.is_empty())
    }
}

/// The columns of a manifest; an error if it is none.
pub fn columns(path: &Path) -> Result<ManifestColumns> {
    let (head, _) = table(path)?;
    ManifestColumns::of(&head).trouble_at(path)
}

/// True for a table of images and labels: some row names an image file as its label.
pub fn is_manifest(path: &Path) -> bool {
    let Ok((head, rows)) = table(path) else { return false };
    let Ok(ManifestColumns { label: Some(label), .. }) = ManifestColumns::of(&head) else {
        return false;
    };
    rows.iter().any(|row| name::split_suffix(&row.cells[label]).is_some())
}

/// Reads the cases from a manifest whose paths lie in `folder`: in its order, labelled ones first.
pub fn read(path: &Path, folder: &Path, pairs: &Pairs, notes: &mut Notes) -> Result<Listing> {
    let (head, rows) = table(path)?;
    let columns = ManifestColumns::of(&head).trouble_at(path)?;
    columns.fit(pairs.modality).trouble_at(path)?;
    if !columns.others.is_empty() {
        notes.info(format!("columns that are not used: {}", columns.others.join(", ")));
    }
    cases(&columns, &rows, folder)
        .map(|cases| Listing {
            name: pairs.name.to_string(),
            modality: match pairs.modality {
                [] => columns.channels(),
                names => names.to_vec(),
            },
            labels: pairs.values.clone(),
            numbering: pairs.numbering,
            map_labels: pairs.map_labels.clone(),
            cases,
            ..Listing::default()
        })
        .and_then(|listing| listing.without(pairs.exclude))
        .trouble_at(path)
}

/// A case for each row; all wrong rows are told together.
fn cases(columns: &ManifestColumns, rows: &[Row], folder: &Path) -> Result<Vec<Case>> {
    let mut wrong = vec![];
    let mut entries = vec![];
    for row in rows {
        match columns.entry(row).and_then(|entry| entry.inside(folder)) {
            Ok(entry) => entries.push(entry),
            Err(error) => wrong.push(format!("line {}: {error}", row.line)),
        }
    }
    if !wrong.is_empty() {
        return Err(Error::failed(name::shown(&wrong)));
    }
    let names = match columns.case {
        Some(at) => rows.iter().map(|row| row.cells[at].clone()).collect(),
        None => entry::names(&[&entries]),
    };
    let mut cases = vec![];
    for ((row, entry), name) in rows.iter().zip(entries).zip(names) {
        let patient = columns.patient.map(|at| row.cells[at].clone());
        if name.contains('/') || entry::file_name(&name, folder).ok().as_ref() != Some(&name) {
            return Err(Error::failed(format!(
                "line {}: the case's name '{name}' must be that of a file, without slashes",
                row.line
            )));
        }
        cases.push(Case {
            name,
            images: entry.images,
            label: entry.label,
            patient: patient.filter(|patient| !patient.is_empty()),
            fold: entry.fold,
        });
    }
    cases.sort_by_key(|case| case.label.is_none());
    Ok(cases)
}

impl ManifestColumns {
    /// A row's files and fold, as written.
    fn entry(&self, row: &Row) -> Result<ListEntry> {
        let images: Vec<String> = self.images.iter().filter_map(|(at, _)| row.cell(*at)).collect();
        if images.len() < self.images.len() {
            return Err(Error::failed("has no image in a column of images"));
        }
        let fold = self.fold.and_then(|at| row.cell(at)).map(|text| {
            let number = text.parse::<u64>().ok();
            number.ok_or_else(|| {
                Error::failed(format!("fold '{text}' must be a whole number, or empty"))
            })
        });
        let label = self.label.and_then(|at| row.cell(at));
        Ok(ListEntry { images, label, fold: fold.transpose()?, ..ListEntry::default() })
    }
}

/// The head, and the rows below it.
fn table(path: &Path) -> Result<(Vec<String>, Vec<Row>)> {
    let bytes = document::bytes(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::failed("is no text in UTF-8; save it as UTF-8"))
        .trouble_at(path)?;
    let text = text.trim_start_matches('\u{feff}');
    let mut rows = rows(text).trouble_at(path)?.into_iter();
    let Some(head) = rows.next() else {
        return Err(Error::failed(format!("{}: is empty", path.display())));
    };
    let rows: Vec<Row> = rows.collect();
    if let Some(row) = rows.iter().find(|row| row.cells.len() != head.cells.len()) {
        return Err(Error::failed(format!(
            "{}: line {} has {} cells, and the head has {}",
            path.display(),
            row.line,
            row.cells.len(),
            head.cells.len()
        )));
    }
    Ok((head.cells, rows))
}

/// Separator of the first line: the most frequent.
fn separator(text: &str) -> char {
    let first = text.lines().next().unwrap_or_default();
    // Of equals the last counts.
    ['\t', ';', ',']
        .into_iter()
        .max_by_key(|separator| first.matches(*separator).count())
        .unwrap_or(',')
}

/// Rows of trimmed cells as in RFC 4180, without empty lines.
fn rows(text: &str) -> Result<Vec<Row>> {
    let separator = separator(text);
    let mut rows = vec![];
    let mut row = Row { line: 1, cells: vec![] };
    let (mut cell, mut line) = (String::new(), 1);
    let mut letters = text.chars().peekable();
    // The line where an open quote began.
    let mut quoted: Option<usize> = None;
    while let Some(letter) = letters.next() {
        line += usize::from(letter == '\n');
        match letter {
            '"' if quoted.is_some() && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' if quoted.is_some() => quoted = None,
            '"' if cell.trim().is_empty() => quoted = Some(line),
            _ if quoted.is_some() => cell.push(letter),
            '\n' => {
                row.cells.push(std::mem::take(&mut cell).trim().to_string());
                rows.push(std::mem::replace(&mut row, Row { line, cells: vec![] }));
            }
            letter if letter == separator => {
                row.cells.push(std::mem::take(&mut cell).trim().to_string());
            }
            letter => cell.push(letter),
        }
    }
    if let Some(line) = quoted {
        return Err(Error::failed(format!("line {line}: a quote is never closed")));
    }
    row.cells.push(cell.trim().to_string());
    rows.push(row);
    rows.retain(|row| row.cells.iter().any(|cell| !cell.is_empty()));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Result<(Listing, Notes)> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cases.csv");
        std::fs::write(&path, text).expect("writes");
        let mut notes = Notes::default();
        let listing = read(&path, folder.path(), &Pairs::default(), &mut notes)?;
        Ok((listing, notes))
    }

    fn trouble(text: &str) -> String {
        listing(text).map(drop).expect_err("a mistake").to_string()
    }

    #[test]
    fn a_row_is_a_case_with_its_files_patient_and_fold() {
        let text = "\u{feff}Image,mask,patient,fold,site\r\n\
                    a/p1_1.nii.gz,l/p1_1.nii.gz,p1,0,\"Bern, CH\"\r\n\r\n\
                    a/p2_1.nii.gz,,p2,,\r\n";
        let (listing, notes) = listing(text).expect("a listing");
        let case = |name: &str| listing.case(name).expect("a case").clone();
        assert_eq!(
            case("p1_1"),
            Case {
                name: "p1_1".into(),
                images: vec!["a/p1_1.nii.gz".into()],
                label: Some("l/p1_1.nii.gz".into()),
                patient: Some("p1".into()),
                fold: Some(0),
            }
        );
        assert_eq!((case("p2_1").label, case("p2_1").fold), (None, None));
        assert!(format!("{notes:?}").contains("not used: site"), "{notes:?}");
    }

    #[test]
    fn channels_are_columns_and_tabs_separate_too() {
        let text = "image_t1\timage_FLAIR\tlabel\tcase\n\
                    1/t1.nii\t1/fl.nii\t1/seg.nii\tx1\n2/t1.nii\t2/fl.nii\t2/seg.nii\tx2\n";
        let (listing, _) = listing(text).expect("a listing");
        assert_eq!(listing.modality, ["t1", "FLAIR"]);
        assert_eq!(listing.case("x2").expect("a case").images, ["2/t1.nii", "2/fl.nii"]);
        let text = "image;label\n1/t1.nii;1/seg.nii\n2/t1.nii;2/seg.nii\n";
        let names = |listing: Listing| listing.cases.into_iter().map(|case| case.name);
        let found = super::tests::listing(text).map(|(listing, _)| names(listing));
        assert_eq!(found.expect("a listing").collect::<Vec<_>>(), ["1", "2"], "by their folders");
    }

    #[test]
    fn mistakes_name_the_line_and_what_is_there() {
        for (text, words) in [
            ("", "is empty"),
            ("scan_date,age\n", "has no column 'image'; its columns are scan_date, age"),
            ("a/x.nii.gz,a/y.nii.gz\n", "its first line must name the columns, as 'image,label"),
            ("image,img\na.nii,b.nii\n", "name one for each channel"),
            ("image,label,seg\n", "columns 'label' and 'seg' mean the same"),
            ("image,label\na.nii\n", "line 2 has 1 cells, and the head has 2"),
            ("image,label\n\"a.nii,b.nii\n", "line 2: a quote is never closed"),
            ("image\na.nii\n../b.nii\nc.dat\n", "line 3: path '../b.nii': leaves"),
            ("image\na.nii\n../b.nii\nc.dat\n", "line 4: 'c.dat'"),
            ("image,fold\na.nii,x\n", "line 2: fold 'x' must be a whole number"),
            ("image,label\n,a.nii\n", "line 2: has no image"),
            ("image,case\na.nii,a/b\n", "line 2: the case's name 'a/b' must be"),
            ("image,case\na.nii,\n", "line 2: the case's name '' must be"),
        ] {
            let trouble = trouble(text);
            assert!(trouble.contains(words), "'{words}' in {trouble}");
        }
    }
}
