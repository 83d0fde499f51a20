//! The forward pass of a network as a TorchScript program: one line for each operation.

use crate::model::Norm;
use crate::model::layers::{After, Below, Block, Conv, Convolution, Level, Residual};

/// The method `forward` of the class with this name.
pub fn forward(layers: &Level, class: &str) -> String {
    let mut program = Program {
        text: format!("  def forward(self: {class},\n    x: Tensor) -> Tensor:\n"),
        values: 0,
    };
    let logits = program.level(layers, "x");
    program.text + &format!("    return {logits}\n")
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

    fn level(&mut self, level: &Level, x: &str) -> String {
        let down = self.block(&level.down, x);
        let below = match &level.below {
            Below::Level(level) => self.level(level, &down),
            Below::Bottom(block) => self.block(block, &down),
        };
        let joined = self.value(&format!("torch.cat([{down}, {below}], 1)"));
        let up = self.convolution(&level.up, &joined);
        level
            .up_residual
            .as_ref()
            .map_or_else(|| up.clone(), |residual| self.residual(residual, &up))
    }

    fn block(&mut self, block: &Block, x: &str) -> String {
        match block {
            Block::Plain(convolution) => self.convolution(convolution, x),
            Block::Residual(residual) => self.residual(residual, x),
        }
    }

    fn residual(&mut self, residual: &Residual, x: &str) -> String {
        let around =
            residual.residual.as_ref().map_or_else(|| x.to_string(), |conv| self.conv(conv, x));
        let through =
            residual.units.iter().fold(x.to_string(), |x, unit| self.convolution(unit, &x));
        self.value(&format!("torch.add({through}, {around})"))
    }

    fn convolution(&mut self, convolution: &Convolution, x: &str) -> String {
        let x = self.conv(&convolution.conv, x);
        convolution.after.as_ref().map_or_else(|| x.clone(), |after| self.after(after, &x))
    }

    fn conv(&mut self, conv: &Conv, x: &str) -> String {
        let (weight, bias) = (tensor(&conv.path, "weight"), tensor(&conv.path, "bias"));
        let (stride, padding) = (conv.stride, conv.padding());
        self.value(&match conv.transposed {
            false => format!("torch.conv3d({x}, {weight}, {bias}, {stride:?}, {padding:?}, [1, 1, 1], 1)"),
            true => {
                let output = conv.output_padding();
                format!(
                    "torch.conv_transpose3d({x}, {weight}, {bias}, {stride:?}, {padding:?}, {output:?}, 1, [1, 1, 1])"
                )
            }
        })
    }

    /// Norm and activation; dropout drops nothing in evaluation.
    fn after(&mut self, after: &After, x: &str) -> String {
        let of = |name: &str| tensor(&after.path, name);
        let x = self.value(&match after.norm {
            Norm::Instance => format!("torch.instance_norm({x}, None, None, None, None, True, 0.1, 1e-05, True)"),
            Norm::Batch => {
                let (weight, bias) = (of("N.weight"), of("N.bias"));
                let (mean, variance) = (of("N.running_mean"), of("N.running_var"));
                format!("torch.batch_norm({x}, {weight}, {bias}, {mean}, {variance}, False, 0.1, 1e-05, True)")
            }
        });
        self.value(&format!("torch.prelu({x}, {})", of("A.weight")))
    }
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
