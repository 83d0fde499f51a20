//! The forward pass as a TorchScript program, with a line for each operation.

use crate::model::Norm;
use crate::model::graph::{Activation, Conv, Graph, Node, Op};

/// The method `forward` for the class with this name. Several outputs are returned as a tuple.
pub fn forward(graph: &Graph, class: &str) -> String {
    let mut program = ScriptLines { text: String::new(), values: 0 };
    let mut names = vec![String::new(); graph.nodes.len()];
    for id in graph.order() {
        let node = &graph.nodes[id.0];
        let inputs: Vec<&str> = node.inputs.iter().map(|input| names[input.0].as_str()).collect();
        names[id.0] = program.node(node, &inputs);
    }
    let outputs: Vec<&str> = graph.outputs.iter().map(|id| names[id.0].as_str()).collect();
    let (kind, value) = match outputs[..] {
        [only] => ("Tensor".to_string(), only.to_string()),
        _ => {
            let kinds = vec!["Tensor"; outputs.len()].join(", ");
            (format!("Tuple[{kinds}]"), format!("({})", outputs.join(", ")))
        }
    };
    let head = format!("  def forward(self: {class},\n    x: Tensor) -> {kind}:\n");
    head + &program.text + &format!("    return {value}\n")
}

/// Lines of a program; each assigns a value to a name.
struct ScriptLines {
    text: String,
    values: usize,
}

impl ScriptLines {
    /// Appends a line that assigns `expression`; returns the new name.
    fn value(&mut self, expression: &str) -> String {
        let name = format!("x{}", self.values);
        self.values += 1;
        self.text += &format!("    {name} = {expression}\n");
        name
    }

    /// Appends a node's line from its inputs' names. Dropout does nothing in evaluation.
    fn node(&mut self, node: &Node, inputs: &[&str]) -> String {
        let x = inputs.first().copied().unwrap_or("x");
        let expression = match &node.op {
            Op::Input | Op::Dropout(_) => return x.to_string(),
            Op::Conv(conv) => convolution(node, conv, x),
            Op::Norm { kind, affine } => norm(node, *kind, *affine, x),
            Op::Activation(Activation::PRelu) => {
                format!("torch.prelu({x}, {})", tensor(&node.path, "weight"))
            }
            Op::Activation(Activation::LeakyRelu(slope)) => {
                format!("torch.leaky_relu({x}, {slope:?})")
            }
            Op::AvgPool(sides) => {
                format!("torch.avg_pool3d({x}, {sides:?}, {sides:?}, [0, 0, 0], False, True, None)")
            }
            Op::Add => format!("torch.add({})", inputs.join(", ")),
            Op::Cat => format!("torch.cat([{}], 1)", inputs.join(", ")),
        };
        self.value(&expression)
    }
}

fn convolution(node: &Node, conv: &Conv, x: &str) -> String {
    let weight = tensor(&node.path, "weight");
    let bias = optional(&node.path, "bias", conv.bias);
    let Conv { stride, padding, .. } = conv;
    match conv.transposed {
        None => {
            format!("torch.conv3d({x}, {weight}, {bias}, {stride:?}, {padding:?}, [1, 1, 1], 1)")
        }
        Some(output_padding) => format!(
            "torch.conv_transpose3d({x}, {weight}, {bias}, {stride:?}, {padding:?}, \
             {output_padding:?}, 1, [1, 1, 1])"
        ),
    }
}

/// Batch norms use their running statistics, instance norms the image's.
fn norm(node: &Node, kind: Norm, affine: bool, x: &str) -> String {
    let [weight, bias] = ["weight", "bias"].map(|name| optional(&node.path, name, affine));
    let [mean, variance] =
        ["running_mean", "running_var"].map(|name| optional(&node.path, name, kind == Norm::Batch));
    let (function, measured) = match kind {
        Norm::Batch => ("batch_norm", "False"),
        Norm::Instance => ("instance_norm", "True"),
    };
    format!(
        "torch.{function}({x}, {weight}, {bias}, {mean}, {variance}, {measured}, 0.1, 1e-05, True)"
    )
}

fn optional(path: &str, name: &str, exists: bool) -> String {
    if exists { tensor(path, name) } else { "None".to_string() }
}

/// The expression for a tensor under `self`. Names with a leading digit are not identifiers and
/// need `getattr`.
fn tensor(path: &str, name: &str) -> String {
    path.split('.').chain(name.split('.')).fold("self".to_string(), |owner, part| {
        match part.starts_with(|first: char| first.is_ascii_digit()) {
            true => format!("getattr({owner}, \"{part}\")"),
            false => format!("{owner}.{part}"),
        }
    })
}
