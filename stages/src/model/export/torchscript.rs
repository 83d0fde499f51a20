//! `model.ts`: a TorchScript archive for `torch.jit.load`. Tensors keep their names, so
//! `state_dict()` equals the Python network's. It computes in evaluation mode; `script` writes the
//! program.

use super::archive::{ArchiveWriter, storage};
use super::script;
use crate::error::Result;
use crate::model::graph::Graph;
use crate::model::pickle::PickleWriter;
use crate::model::tensor_spec::TensorSpec;
use crate::model::weights::StateDict;

/// The code file's name, and the namespace for its classes.
const SPACE: &str = "voxflow";

/// The archive for a network and its weights.
pub fn archive(graph: &Graph, tensors: &StateDict) -> Result<Vec<u8>> {
    let mut tree = Module::default();
    for (index, (spec, _)) in tensors.iter().enumerate() {
        tree.insert(&spec.name, Attribute { index, spec });
    }
    let mut classes = vec![];
    let top = tree.declare(&mut classes);
    classes[top].push_str(&script::forward(graph, &class(top)));
    let mut pickle = PickleWriter::default();
    tree.pickle(&mut pickle, &mut 0);
    let mut archive = ArchiveWriter::new(&pickle.finish())?;
    archive.add(&format!("code/__torch__/{SPACE}.py"), classes.concat().as_bytes())?;
    archive.add("constants.pkl", b"\x80\x02).")?;
    archive.finish(tensors)
}

fn class(index: usize) -> String {
    format!("__torch__.{SPACE}.{}", name(index))
}

fn name(index: usize) -> String {
    format!("Module{index}")
}

/// A tensor of a module.
struct Attribute<'a> {
    index: usize,
    spec: &'a TensorSpec,
}

/// A module: tensors and modules by name, in their order.
#[derive(Default)]
struct Module<'a> {
    tensors: Vec<(String, Attribute<'a>)>,
    modules: Vec<(String, Module<'a>)>,
}

impl<'a> Module<'a> {
    /// Inserts a tensor at its dotted path.
    fn insert(&mut self, path: &str, attribute: Attribute<'a>) {
        let Some((head, rest)) = path.split_once('.') else {
            self.tensors.push((path.to_string(), attribute));
            return;
        };
        let place = self.modules.iter().position(|(name, _)| name == head).unwrap_or_else(|| {
            self.modules.push((head.to_string(), Module::default()));
            self.modules.len() - 1
        });
        self.modules[place].1.insert(rest, attribute);
    }

    /// Declares the submodules' classes and then its own, numbered in this order; returns its own
    /// number.
    fn declare(&self, classes: &mut Vec<String>) -> usize {
        let below: Vec<usize> =
            self.modules.iter().map(|(_, module)| module.declare(classes)).collect();
        let own = classes.len();
        let mut text = format!("class {}(Module):\n", name(own));
        text += &format!(
            "  __parameters__ = [{}]\n  __buffers__ = [{}]\n",
            self.names(true),
            self.names(false)
        );
        self.tensors.iter().for_each(|(name, _)| text += &format!("  {name} : Tensor\n"));
        text += "  training : bool\n";
        for ((name, _), index) in self.modules.iter().zip(below) {
            text += &format!("  __annotations__[\"{name}\"] = {}\n", class(index));
        }
        classes.push(text);
        own
    }

    /// The quoted names of its learned tensors (parameters), or the others' (buffers).
    fn names(&self, learned: bool) -> String {
        let tensors = self.tensors.iter();
        let wanted = tensors.filter(|(_, tensor)| tensor.spec.role.is_learned() == learned);
        wanted.map(|(name, _)| format!("\"{name}\", ")).collect()
    }

    /// Writes the module with its classes numbered as [`Module::declare`] does: `next` is the first
    /// number that is free.
    fn pickle(&self, pickle: &mut PickleWriter, next: &mut usize) {
        let own = *next + self.below();
        pickle
            .global(&format!("__torch__.{SPACE}"), &name(own))
            .op(b')')
            .op(0x81)
            .op(b'}')
            .op(b'(');
        for (name, Attribute { index, spec }) in &self.tensors {
            let (storage, learned) = (storage(spec.is_counter()), spec.role.is_learned());
            pickle.text(name).tensor(storage, &index.to_string(), &spec.shape, learned);
        }
        pickle.text("training").truth(false);
        for (name, module) in &self.modules {
            pickle.text(name);
            module.pickle(pickle, next);
        }
        *next = own + 1;
        pickle.op(b'u').op(b'b');
    }

    /// Number of modules below.
    fn below(&self) -> usize {
        self.modules.iter().map(|(_, module)| 1 + module.below()).sum()
    }
}
