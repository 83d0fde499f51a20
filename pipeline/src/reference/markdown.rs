//! Workflow reference as Markdown (`docs/workflow.md`).

use super::{Parameter, count, makes, meaning, roles, runs_in};
use crate::text_table::escaped;
use voxflow_stages::kind::Kind;
use voxflow_stages::stage::Read;

const OPENING: &str = r#"# Workflow reference

<!-- Generated: voxflow kinds --format markdown > docs/workflow.md -->

A workflow is one YAML file: a name, a seed, and stages.

```yaml
name: spleen
seed: 0
stages:
  archive: { uses: download, with: { file: "${DATA_ROOT}/Task09_Spleen.tar" } }
  dataset: { uses: unpack, needs: [archive] }
```

| key | meaning |
| --- | --- |
| `name` | The name of the workflow; part of the names of its runs. |
| `seed` | The default of every stage's own `seed`. `split` is excepted: its seed is its own. |
| `folds` | Optional. Cross-validation in one run: what depends on the split is made for each fold; a stage that takes several takes those of all folds (`docs/cross-validation.md`). |
| `stages` | The stages by id. Their order in the file does not matter. |
| `stages.ID.uses` | The kind of the stage: one of those below. |
| `stages.ID.needs` | The stages whose artifacts it reads: a list of ids, or a mapping of role to id where ids alone are ambiguous. `RUN/STAGE` is what a stage of an earlier run made: see below. |
| `stages.ID.with` | The parameters of the kind: everything that changes what is made. |
| `stages.ID.resources` | Optional. How much of a machine the stage is given: `cpus` (cores, and the stage's threads), `memory` (`32G`), `gpus` (cards; a training splits each batch among them), `time` (`4h`, on a cluster). No part of the fingerprint; `--set STAGE.resources.cpus=4` works too. |
| `sweep` | Optional. Values to try, by dotted path, each combination a run: `model.learning_rate: [0.001, 0.002]`. Several paths change together where a comma joins them: `model.epochs, model.ema: [[20, 0.9], [40, 0.99]]`. |
| `sweep.folds` | Cross-validation: each variant is validated on every fold of the split. |
| `sweep.seeds` | Each variant is trained once with every seed of the list. |
| `extends` | Optional. Another workflow file, of which this one gives changes: see below. |
| `x-NAME` | Optional. Anything, to be marked by an anchor and used elsewhere: `x-train: &train { epochs: 100 }`, then `with: { <<: *train, epochs: 20 }`. |

- Text may hold `${NAME}` or `${NAME:-default}` from the environment; `$$` is a dollar sign.
- YAML's aliases (`*name`) and merge keys (`<<: *name`, or a list of them) are understood: own keys
  win. There are no expressions.
- A need may be `RUN/STAGE`, what a stage of an earlier run made: a model to test or to refine, a
  dataset, volumes. RUN is an id, its beginning, a workflow's name, `latest` (the newest run of
  another workflow that made the stage), or the path of a run's folder. Its content is part of the
  recipe, its name is not; `check` and `plan` say which one is meant. `RUN/STAGE@DIGEST` pins the
  content: the first digits, 8 or more, of the digest that they print. `resolved.yaml` of each run
  is pinned so.
- `extends: base.yaml` (a path from this file's folder) takes everything from another file, which
  may extend one itself. Mappings are merged key by key, and own keys win; a list or a value
  replaces the base's. A stage with another `uses` replaces the base's whole; `score: null` below
  `stages` takes that stage away, and the same below `sweep` an axis. `name` and `x-` keys are not
  inherited: without a `name` the file's own counts. Relative paths in the base (`path`, `file`,
  `datalist`, `manifest`, `scripts`, the file of a `container`) lead from the base's folder, mistakes
  name the file and line in which they stand, and `voxflow check` says which stages come from where:

  ```yaml
  extends: spleen.yaml
  stages:
    model: { with: { epochs: 20, loss: { name: dice } } }
    score: null
  ```

- Relative paths are relative to the current folder.
- `--set STAGE.KEY=VALUE` on the command line replaces a parameter; the value is YAML.
  `--set 'STAGE.needs=[cache, other]'` replaces what a stage needs, `--set STAGE.needs.ROLE=other`
  one role of a mapping, `--set STAGE.needs.0=other` one place of a list.
- A parameter that says only *where* something lies, or how much is allowed (marked below), is not
  part of the fingerprint: what lies there is.
- An editor that knows JSON schemas can check a workflow while it is written:
  `voxflow kinds --format schema > workflow.schema.json`.

"#;

pub fn markdown(kinds: &[&Kind]) -> String {
    let mut out = OPENING.to_string();
    out += "## Kinds\n\n| kind | makes | reads | what it does |\n| --- | --- | --- | --- |\n";
    for kind in kinds {
        let row =
            [format!("[`{0}`](#{0})", kind.name), makes(kind).into(), roles(kind), meaning(kind)];
        out += &line(&row);
    }
    for kind in kinds {
        out += &section(kind);
    }
    out
}

fn section(kind: &Kind) -> String {
    let mut out = format!("\n## {}\n\n{}\n\n", kind.name, meaning(kind));
    out += &format!(
        "Version {} · makes {} · runs in `{}`\n",
        kind.version,
        makes(kind),
        runs_in(kind)
    );
    if !kind.reads.is_empty() {
        out += "\n| role | reads | how many | for |\n| --- | --- | --- | --- |\n";
        out.extend(kind.reads.iter().map(role));
    }
    let parameters = Parameter::all(kind);
    if parameters.is_empty() {
        return out + "\nIt has no parameters.\n";
    }
    out += "\n| parameter | type | default | meaning |\n| --- | --- | --- | --- |\n";
    out.extend(parameters.iter().map(|parameter| row(kind, parameter)));
    out.extend(parameters.iter().map(choices));
    out
}

fn role(read: &Read) -> String {
    line(&[
        format!("`{}`", read.role),
        read.artifact.name().into(),
        count(read.count).into(),
        read.doc.into(),
    ])
}

fn row(kind: &Kind, parameter: &Parameter) -> String {
    let mut doc = parameter.doc.clone();
    if kind.locators.contains(&parameter.path.as_str()) {
        doc += " *Not part of the fingerprint.*";
    }
    let default = match parameter.default_words() {
        words if parameter.required || words.is_empty() => words,
        words => format!("`{words}`"),
    };
    line(&[format!("`{}`", parameter.path), parameter.type_words.clone(), default, doc])
}

fn choices(parameter: &Parameter) -> String {
    if parameter.choices.is_empty() {
        return String::new();
    }
    let mut out = format!("\n`{}` is one of:\n\n", parameter.path);
    for choice in &parameter.choices {
        out += &format!("- `{}`: {}\n", choice.value, choice.doc);
    }
    out
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::KINDS;

    #[test]
    fn the_committed_reference_is_the_generated_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/workflow.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        let kinds: Vec<&Kind> = KINDS.iter().collect();
        assert!(
            committed == markdown(&kinds),
            "docs/workflow.md is out of date: write it anew with `voxflow kinds --format markdown > docs/workflow.md`"
        );
    }

    #[test]
    fn every_parameter_of_every_kind_has_a_meaning() {
        for kind in KINDS {
            for parameter in Parameter::all(kind) {
                assert!(
                    !parameter.doc.is_empty(),
                    "'{}' of '{}' has no doc comment",
                    parameter.path,
                    kind.name
                );
            }
        }
    }
}
