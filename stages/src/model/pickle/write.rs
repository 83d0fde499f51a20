//! Writes pickles of protocol 2 as torch's own readers want them.

/// A pickle in the making.
#[derive(Debug)]
pub struct PickleWriter {
    bytes: Vec<u8>,
}

impl Default for PickleWriter {
    fn default() -> Self {
        PickleWriter { bytes: vec![0x80, 2] }
    }
}

impl PickleWriter {
    /// One opcode without an argument.
    pub fn op(&mut self, opcode: u8) -> &mut PickleWriter {
        self.bytes.push(opcode);
        self
    }

    /// Text.
    pub fn text(&mut self, text: &str) -> &mut PickleWriter {
        self.bytes.push(b'X');
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
        self
    }

    /// A whole number.
    pub fn int(&mut self, number: usize) -> &mut PickleWriter {
        match i32::try_from(number) {
            Ok(number) => self.bytes.extend([&b"J"[..], &number.to_le_bytes()].concat()),
            Err(_) => self.bytes.extend([&[0x8a, 8][..], &(number as i64).to_le_bytes()].concat()),
        }
        self
    }

    /// A truth value.
    pub fn truth(&mut self, truth: bool) -> &mut PickleWriter {
        self.op(if truth { 0x88 } else { 0x89 })
    }

    /// A tuple of whole numbers.
    pub fn ints(&mut self, numbers: &[usize]) -> &mut PickleWriter {
        self.op(b'(');
        for number in numbers {
            self.int(*number);
        }
        self.op(b't')
    }

    /// A name.
    pub fn global(&mut self, module: &str, name: &str) -> &mut PickleWriter {
        self.bytes.extend(format!("c{module}\n{name}\n").into_bytes());
        self
    }

    /// A contiguous tensor of a whole storage.
    pub fn tensor(
        &mut self,
        storage: &str,
        key: &str,
        shape: &[usize],
        learned: bool,
    ) -> &mut PickleWriter {
        let count = shape.iter().product();
        self.global("torch._utils", "_rebuild_tensor_v2").op(b'(');
        self.op(b'(')
            .text("storage")
            .global("torch", storage)
            .text(key)
            .text("cpu")
            .int(count)
            .op(b't')
            .op(b'Q');
        self.int(0).ints(shape).ints(&strides(shape)).truth(learned);
        self.global("collections", "OrderedDict").op(b')').op(b'R').op(b't').op(b'R')
    }

    /// The whole.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.push(b'.');
        self.bytes
    }
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    (1..shape.len()).rev().for_each(|axis| strides[axis - 1] = strides[axis] * shape[axis].max(1));
    strides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pickle::{Dtype, load};

    #[test]
    fn a_tensor_that_is_written_is_read_as_it_was() {
        let mut writer = PickleWriter::default();
        writer.tensor("FloatStorage", "7", &[2, 3, 4], true);
        let bytes = writer.finish();
        let pickle = load(&bytes).unwrap();
        let view = pickle.tensor(pickle.root).unwrap();
        assert_eq!((view.storage.as_str(), view.dtype, view.bytes), ("7", Dtype::F32, 96));
        assert_eq!((&view.shape[..], &view.strides[..]), (&[2, 3, 4][..], &[12, 4, 1][..]));
    }
}
