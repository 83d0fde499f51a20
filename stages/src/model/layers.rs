//! MONAI's `UNet` in three dimensions as plain data: its layers, and the names and shapes of their
//! tensors in the order of MONAI's `state_dict`. What computes with them lives in `voxflow-net`.

use super::{Network, Norm, PerAxis};

/// A convolution with a bias: `<path>.weight`, `<path>.bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Where it is in the network, as MONAI names it.
    pub path: String,
    /// Channels in.
    pub inputs: u32,
    /// Channels out.
    pub outputs: u32,
    /// Sides of the kernel along x, y, z.
    pub kernel: [u32; 3],
    /// Strides along x, y, z.
    pub stride: [u32; 3],
    /// Whether it is transposed, and so enlarges by its strides.
    pub transposed: bool,
}

/// Norm, dropout and PReLU: `<path>.N.*`, `<path>.A.weight`.
#[derive(Clone, Debug, PartialEq)]
pub struct After {
    /// Where it is in the network.
    pub path: String,
    /// Channels in and out.
    pub channels: u32,
    /// The norm.
    pub norm: Norm,
    /// The probability that dropout zeroes an element.
    pub dropout: f64,
}

/// A convolution and what follows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    /// The convolution.
    pub conv: Conv,
    /// What follows; nothing where the values are the network's output.
    pub after: Option<After>,
}

/// Convolutions in a row, and the input added to their output, through `residual` where shapes
/// differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// The row.
    pub units: Vec<Convolution>,
    /// The way around it.
    pub residual: Option<Conv>,
}

/// What a level does on the way down.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// One convolution.
    Plain(Convolution),
    /// A residual unit.
    Residual(Residual),
}

/// What lies below a level.
#[derive(Clone, Debug, PartialEq)]
pub enum Below {
    /// Another level.
    Level(Box<Level>),
    /// The last block.
    Bottom(Block),
}

/// Down, what lies below beside the skip connection, and up again.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The way down.
    pub down: Block,
    /// What lies below.
    pub below: Below,
    /// The way up from both, joined.
    pub up: Convolution,
    /// The unit after it.
    pub up_residual: Option<Residual>,
}

/// A tensor of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// MONAI's name.
    pub name: String,
    /// Its sides.
    pub shape: Vec<usize>,
    /// Whether it is a whole number that counts (`num_batches_tracked`), rather than fp32.
    pub counter: bool,
}

impl Network {
    /// The layers of a network of `inputs` channels and `outputs` classes. The description must
    /// pass [`Network::check`].
    pub fn layers(&self, inputs: usize, outputs: usize) -> Level {
        self.level("model", inputs as u32, outputs as u32, 0)
    }

    fn level(&self, path: &str, inputs: u32, outputs: u32, depth: usize) -> Level {
        let (width, below_width, stride) =
            (self.channels[depth], self.channels[depth + 1], self.strides[depth]);
        let bottom = depth + 2 == self.channels.len();
        let below_path = format!("{path}.1.submodule");
        let below = if bottom {
            Below::Bottom(self.block(&below_path, width, below_width, PerAxis::All(1)))
        } else {
            Below::Level(Box::new(self.level(&below_path, width, width, depth + 1)))
        };
        let joined = width + if bottom { below_width } else { width };
        let (up, up_residual) = self.up(&format!("{path}.2"), joined, outputs, stride, depth == 0);
        Level {
            down: self.block(&format!("{path}.0"), inputs, width, stride),
            below,
            up,
            up_residual,
        }
    }

    fn block(&self, path: &str, inputs: u32, outputs: u32, stride: PerAxis) -> Block {
        let conv = self.conv(path, inputs, outputs, stride);
        match self.residual_units {
            0 => Block::Plain(self.convolution(conv, true)),
            units => Block::Residual(self.residual(conv, units, true)),
        }
    }

    fn up(
        &self,
        path: &str,
        inputs: u32,
        outputs: u32,
        stride: PerAxis,
        top: bool,
    ) -> (Convolution, Option<Residual>) {
        let conv = |path: &str| Conv {
            kernel: self.up_kernel.xyz(),
            transposed: true,
            ..self.conv(path, inputs, outputs, stride)
        };
        if self.residual_units == 0 {
            return (self.convolution(conv(path), !top), None);
        }
        let same = self.conv(&format!("{path}.1"), outputs, outputs, PerAxis::All(1));
        (self.convolution(conv(&format!("{path}.0")), true), Some(self.residual(same, 1, !top)))
    }

    fn conv(&self, path: &str, inputs: u32, outputs: u32, stride: PerAxis) -> Conv {
        let (path, kernel, stride) = (path.to_string(), self.kernel.xyz(), stride.xyz());
        Conv { path, inputs, outputs, kernel, stride, transposed: false }
    }

    /// `units` convolutions, the first of which has the channels and strides of `whole`.
    fn residual(&self, whole: Conv, units: u32, last_normalised: bool) -> Residual {
        let path = &whole.path;
        let unit = |index: u32| {
            let first = Conv { path: format!("{path}.conv.unit{index}"), ..whole.clone() };
            let later = || Conv { inputs: whole.outputs, stride: [1; 3], ..first.clone() };
            self.convolution(
                if index == 0 { first } else { later() },
                last_normalised || index + 1 < units,
            )
        };
        let units = (0..units).map(unit).collect();
        let strided = whole.stride != [1; 3];
        let residual = (strided || whole.inputs != whole.outputs).then(|| {
            let kernel = if strided { whole.kernel } else { [1; 3] };
            Conv { path: format!("{path}.residual"), kernel, ..whole.clone() }
        });
        Residual { units, residual }
    }

    fn convolution(&self, conv: Conv, normalised: bool) -> Convolution {
        let after = normalised.then(|| After {
            path: format!("{}.adn", conv.path),
            channels: conv.outputs,
            norm: self.norm,
            dropout: self.dropout,
        });
        Convolution { conv: Conv { path: format!("{}.conv", conv.path), ..conv }, after }
    }
}

impl Conv {
    /// The sides of the weight.
    pub fn weight_shape(&self) -> [u32; 5] {
        let (first, second) =
            if self.transposed { (self.inputs, self.outputs) } else { (self.outputs, self.inputs) };
        let [x, y, z] = self.kernel;
        [first, second, x, y, z]
    }

    /// Voxels added around the image.
    pub fn padding(&self) -> [u32; 3] {
        self.kernel.map(|side| (side - 1) / 2)
    }

    /// Voxels added at the end of an enlarged image.
    pub fn output_padding(&self) -> [u32; 3] {
        self.stride.map(|step| step - 1)
    }

    fn tensors(&self, found: &mut Vec<TensorSpec>) {
        found.push(numbers(&self.path, "weight", &self.weight_shape()));
        found.push(numbers(&self.path, "bias", &[self.outputs]));
    }
}

impl After {
    fn tensors(&self, found: &mut Vec<TensorSpec>) {
        if self.norm == Norm::Batch {
            let each = ["N.weight", "N.bias", "N.running_mean", "N.running_var"];
            found.extend(each.map(|name| numbers(&self.path, name, &[self.channels])));
            found.push(TensorSpec {
                counter: true,
                ..numbers(&self.path, "N.num_batches_tracked", &[])
            });
        }
        found.push(numbers(&self.path, "A.weight", &[1]));
    }
}

fn numbers(path: &str, name: &str, shape: &[u32]) -> TensorSpec {
    let shape = shape.iter().map(|side| *side as usize).collect();
    TensorSpec { name: format!("{path}.{name}"), shape, counter: false }
}

impl Convolution {
    fn tensors(&self, found: &mut Vec<TensorSpec>) {
        self.conv.tensors(found);
        self.after.iter().for_each(|after| after.tensors(found));
    }
}

impl Residual {
    fn tensors(&self, found: &mut Vec<TensorSpec>) {
        self.units.iter().for_each(|unit| unit.tensors(found));
        self.residual.iter().for_each(|conv| conv.tensors(found));
    }
}

impl Block {
    fn tensors(&self, found: &mut Vec<TensorSpec>) {
        match self {
            Block::Plain(convolution) => convolution.tensors(found),
            Block::Residual(residual) => residual.tensors(found),
        }
    }
}

impl Level {
    /// Every tensor, in the order of MONAI's `state_dict`.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let mut found = vec![];
        self.collect(&mut found);
        found
    }

    fn collect(&self, found: &mut Vec<TensorSpec>) {
        self.down.tensors(found);
        match &self.below {
            Below::Level(level) => level.collect(found),
            Below::Bottom(block) => block.tensors(found),
        }
        self.up.tensors(found);
        self.up_residual.iter().for_each(|residual| residual.tensors(found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_network_has_its_published_number_of_parameters() {
        let tensors = Network::default().layers(1, 2).tensors();
        let learned =
            tensors.iter().filter(|tensor| !tensor.counter && !tensor.name.contains("running_"));
        assert_eq!(
            learned.map(|tensor| tensor.shape.iter().product::<usize>()).sum::<usize>(),
            4_808_917
        );
        assert_eq!(tensors[0].name, "model.0.conv.unit0.conv.weight");
        assert_eq!(tensors.last().unwrap().name, "model.2.1.conv.unit0.conv.bias");
    }
}
