//! The forward pass of a network as a TorchScript program: one line for each operation.

use crate::model::Norm;
use crate::model::graph::{Activation, Conv, Graph, Node, Op};

/// The method `forward` of the class with this name. Of several outputs it gives a tuple.
pub fn forward(graph: &Graph, class: &str) -> String {
    let mut program = Program { text: String::new(), values: 0 };
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

/// Lines, each of which names a value.
struct Program {
    text: String,
    values: usize,
}

impl Program {
    /// A line that gives `expression` a name; the name.
    fn value(&mut self, expression: &str) -> String {
        let name = format!("x{}", self.values);
        self.values += 1;
        self.text += &format!("    {name} = {expression}\n");
        name
    }

    /// Computes a node of its inputs' names; dropout drops nothing in evaluation.
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
            Op::Add => format!("torch.add({})", inputs.join(", ")),
            Op::Cat => format!("torch.cat([{}], 1)", inputs.join(", ")),
        };
        self.value(&expression)
    }
}

fn convolution(node: &Node, conv: &Conv, x: &str) -> String {
    let weight = tensor(&node.path, "weight");
    let bias = if conv.bias { tensor(&node.path, "bias") } else { "None".to_string() };
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
    let of = |name: &str, given: bool| match given {
        true => tensor(&node.path, name),
        false => "None".to_string(),
    };
    let (weight, bias) = (of("weight", affine), of("bias", affine));
    let running = kind == Norm::Batch;
    let (mean, variance) = (of("running_mean", running), of("running_var", running));
    let (function, measured) = match kind {
        Norm::Batch => ("batch_norm", "False"),
        Norm::Instance => ("instance_norm", "True"),
    };
    format!(
        "torch.{function}({x}, {weight}, {bias}, {mean}, {variance}, {measured}, 0.1, 1e-05, True)"
    )
}

/// The expression of a tensor of `self`. Names that begin with a digit are no identifiers.
fn tensor(path: &str, name: &str) -> String {
    path.split('.').chain(name.split('.')).fold("self".to_string(), |owner, part| {
        match part.starts_with(|first: char| first.is_ascii_digit()) {
            true => format!("getattr({owner}, \"{part}\")"),
            false => format!("{owner}.{part}"),
        }
    })
}
