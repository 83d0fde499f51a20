//! The pickle machine: a memo and the opcodes used by weight files, over a stack.

use super::globals::{Dtype, Global, known};
use super::numpy;
use super::reader::PickleReader;
use super::stack::{PickleStack, pairs};
use super::value::{Pickle, PickleNode, PickleValue, Storage, View};
use crate::error::{Error, Result, Trouble};
use std::collections::BTreeMap;

/// Maximum number of opcodes; bounds a pickle's memory. nnU-Net's checkpoints with the scores of
/// 100 classes in 4000 epochs have 6 million.
const MOST_OPCODES: usize = 1 << 23;

/// Reads the pickle at the start of the bytes.
pub fn load(bytes: &[u8]) -> Result<Pickle<'_>> {
    let mut machine = Machine {
        reader: PickleReader::new(bytes),
        stack: PickleStack::default(),
        memo: BTreeMap::new(),
    };
    for _ in 0..MOST_OPCODES {
        let at = machine.reader.at();
        if let Some(root) = machine.step().trouble(format!("pickle, byte {at}"))? {
            return Ok(Pickle {
                root,
                nodes: machine.stack.into_nodes(),
                length: machine.reader.at(),
            });
        }
    }
    Err(Error::failed(format!(
        "pickle: has more than {MOST_OPCODES} opcodes; keep the weights alone in the file"
    )))
}

struct Machine<'a> {
    reader: PickleReader<'a>,
    stack: PickleStack<'a>,
    memo: BTreeMap<usize, PickleValue<'a>>,
}

impl<'a> Machine<'a> {
    /// Executes an opcode; returns the result after the last.
    fn step(&mut self) -> Result<Option<PickleValue<'a>>> {
        let opcode = self.reader.byte()?;
        if opcode == b'.' {
            return self.stack.pop().map(Some);
        }
        if !(self.plain(opcode)?
            || self.container(opcode)?
            || self.memory(opcode)?
            || self.object(opcode)?)
        {
            let shown = char::from(opcode).escape_default();
            return Err(Error::failed(format!(
                "opcode '{shown}' ({opcode:#04x}) is none that weights need"
            )));
        }
        Ok(None)
    }

    /// Numbers, text and truth values.
    fn plain(&mut self, opcode: u8) -> Result<bool> {
        let value = match opcode {
            b'N' => PickleValue::None,
            0x88 => PickleValue::Bool(true),
            0x89 => PickleValue::Bool(false),
            b'J' => PickleValue::Int(i32::from_le_bytes(self.reader.array()?).into()),
            b'K' => PickleValue::Int(self.reader.byte()?.into()),
            b'M' => PickleValue::Int(u16::from_le_bytes(self.reader.array()?).into()),
            0x8a => self.long()?,
            b'G' => PickleValue::Float(f64::from_be_bytes(self.reader.array()?)),
            b'X' => self.text::<4>()?,
            0x8c => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            b'U' => self.old_text::<1>()?,
            b'T' => self.old_text::<4>()?,
            b'C' => self.bytes::<1>()?,
            b'B' => self.bytes::<4>()?,
            _ => return Ok(false),
        };
        self.stack.put(value);
        Ok(true)
    }

    fn text<const N: usize>(&mut self) -> Result<PickleValue<'a>> {
        let length = self.reader.length::<N>()?;
        self.reader.text(length).map(PickleValue::Text)
    }

    fn bytes<const N: usize>(&mut self) -> Result<PickleValue<'a>> {
        let length = self.reader.length::<N>()?;
        self.reader.take(length).map(PickleValue::Bytes)
    }

    /// A Python 2 string: text if valid UTF-8, else bytes.
    fn old_text<const N: usize>(&mut self) -> Result<PickleValue<'a>> {
        let length = self.reader.length::<N>()?;
        let bytes = self.reader.take(length)?;
        Ok(std::str::from_utf8(bytes).map_or(PickleValue::Bytes(bytes), PickleValue::Text))
    }

    fn long(&mut self) -> Result<PickleValue<'a>> {
        let length = self.reader.length::<1>()?;
        let bytes = self.reader.take(length)?;
        if bytes.len() > 8 {
            return Ok(PickleValue::Long(bytes));
        }
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(PickleValue::Int(i64::from_le_bytes(wide)))
    }

    /// Tuples, lists and dictionaries.
    fn container(&mut self, opcode: u8) -> Result<bool> {
        match opcode {
            b'(' => self.stack.mark(),
            b')' => self.stack.push(PickleNode::Tuple(vec![])),
            b']' | 0x8f => self.stack.push(PickleNode::List(vec![])),
            b'}' => self.stack.push(PickleNode::Dict(vec![])),
            b't' => {
                self.stack.since_mark().map(|items| self.stack.push(PickleNode::Tuple(items)))?
            }
            b'l' => {
                self.stack.since_mark().map(|items| self.stack.push(PickleNode::List(items)))?
            }
            b'd' => {
                let items = self.stack.since_mark()?;
                self.stack.push(PickleNode::Dict(pairs(&items)?));
            }
            0x85..=0x87 => {
                let items = self.stack.pop_many(usize::from(opcode - 0x84))?;
                self.stack.push(PickleNode::Tuple(items));
            }
            b'a' => self.stack.pop().and_then(|item| self.stack.append(vec![item]))?,
            b'e' | 0x90 => self.stack.since_mark().and_then(|items| self.stack.append(items))?,
            b's' => self.stack.pop_many(2).and_then(|items| self.stack.set(&items))?,
            b'u' => self.stack.since_mark().and_then(|items| self.stack.set(&items))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The memo, and what only frames a pickle.
    fn memory(&mut self, opcode: u8) -> Result<bool> {
        let place = match opcode {
            b'q' | b'h' => self.reader.length::<1>()?,
            b'r' | b'j' => self.reader.length::<4>()?,
            0x94 => self.memo.len(),
            0x80 => {
                let protocol = self.reader.byte()?;
                let known = (2..=5).contains(&protocol);
                return if known {
                    Ok(true)
                } else {
                    Err(Error::failed(format!("protocol {protocol} is unknown")))
                };
            }
            0x95 => return self.reader.take(8).map(|_| true),
            _ => return Ok(false),
        };
        if matches!(opcode, b'h' | b'j') {
            let value = self.memo.get(&place).copied();
            self.stack
                .put(value.ok_or_else(|| Error::failed(format!("nothing was kept as {place}")))?);
        } else {
            let value = self.stack.peek()?;
            self.memo.insert(place, value);
        }
        Ok(true)
    }

    /// Names, and what they are applied to.
    fn object(&mut self, opcode: u8) -> Result<bool> {
        match opcode {
            b'c' => {
                let (module, name) = (self.reader.line()?, self.reader.line()?);
                self.global(module, name)?;
            }
            0x93 => match self.stack.pop_many(2)?[..] {
                [PickleValue::Text(module), PickleValue::Text(name)] => {
                    self.global(module, name)?
                }
                _ => return Err(Error::failed("a name is no text")),
            },
            b'R' => self.stack.pop_many(2).and_then(|parts| self.apply(parts[0], parts[1]))?,
            0x81 => match self.stack.pop_many(2)?[..] {
                [PickleValue::Global(Global::Module), _] => {
                    self.stack.push(PickleNode::Module(PickleValue::None))
                }
                _ => {
                    return Err(Error::failed(
                        "makes an object of a class that is none of TorchScript's modules",
                    ));
                }
            },
            b'b' => self.build()?,
            b'Q' => self.stack.pop().and_then(|id| self.storage(id))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let Some(global) = known(module, name) else {
            let shown = format!("{module}.{name}").escape_debug().to_string();
            return Err(Error::failed(format!(
                "'{shown}' is none of the names that weights need, and nothing is run from a \
                 file; save the weights \
                 alone, as torch.save(model.state_dict(), PATH) does"
            )));
        };
        self.stack.put(PickleValue::Global(global));
        Ok(())
    }

    /// Applies a known global to its arguments.
    fn apply(&mut self, callable: PickleValue<'a>, arguments: PickleValue<'a>) -> Result<()> {
        let PickleValue::Global(global) = callable else {
            return Err(Error::failed("calls what is no name"));
        };
        let arguments = self.stack.tuple(arguments)?.to_vec();
        match (global, &arguments[..]) {
            (Global::OrderedDict, []) => self.stack.push(PickleNode::Dict(vec![])),
            (Global::Tensor, [storage, offset, shape, strides, ..]) => {
                self.tensor(*storage, None, [*offset, *shape, *strides])?;
            }
            (
                Global::TypedTensor,
                [
                    storage,
                    offset,
                    shape,
                    strides,
                    _,
                    _,
                    PickleValue::Global(Global::Dtype(dtype)),
                    ..,
                ],
            ) => self.tensor(*storage, Some(*dtype), [*offset, *shape, *strides])?,
            (Global::Parameter | Global::Same, [first, ..]) => self.stack.put(*first),
            (Global::NumpyDtype, [PickleValue::Text(code), ..]) => {
                self.stack.push(PickleNode::NumpyDtype(code));
            }
            (Global::NumpyScalar, [dtype, bytes]) => self.numpy_scalar(*dtype, *bytes)?,
            _ => {
                return Err(Error::failed(format!(
                    "{global:?} cannot take these {} arguments",
                    arguments.len()
                )));
            }
        }
        Ok(())
    }

    fn numpy_scalar(&mut self, dtype: PickleValue<'a>, bytes: PickleValue<'a>) -> Result<()> {
        let Some(PickleNode::NumpyDtype(code)) = self.stack.node(dtype) else {
            return Err(Error::failed("a number of NumPy's without its type"));
        };
        let number = numpy::scalar(code, bytes)?;
        self.stack.put(number);
        Ok(())
    }

    fn tensor(
        &mut self,
        storage: PickleValue<'a>,
        dtype: Option<Dtype>,
        [offset, shape, strides]: [PickleValue<'a>; 3],
    ) -> Result<()> {
        let Some(PickleNode::Storage(storage)) = self.stack.node(storage) else {
            return Err(Error::failed("a tensor without a storage"));
        };
        let dtype =
            dtype.or(storage.dtype).ok_or_else(|| Error::failed("a tensor of unknown numbers"))?;
        let (shape, strides) = (self.sides(shape)?, self.sides(strides)?);
        let view = View::new(*storage, dtype, natural(offset)?, shape, strides)?;
        self.stack.push(PickleNode::Tensor(view));
        Ok(())
    }

    fn sides(&self, value: PickleValue<'a>) -> Result<Vec<usize>> {
        self.stack.tuple(value)?.iter().map(|side| natural(*side)).collect()
    }

    /// A storage by its persistent id: ('storage', class, key, device, count[, None]).
    fn storage(&mut self, id: PickleValue<'a>) -> Result<()> {
        let storage = match self.stack.tuple(id)? {
            [
                PickleValue::Text("storage"),
                PickleValue::Global(Global::Storage(dtype)),
                PickleValue::Text(key),
                _,
                count,
            ]
            | [
                PickleValue::Text("storage"),
                PickleValue::Global(Global::Storage(dtype)),
                PickleValue::Text(key),
                _,
                count,
                PickleValue::None,
            ] => Storage { key, dtype: *dtype, count: natural(*count)? },
            _ => return Err(Error::failed("a persistent id is none of a storage")),
        };
        self.stack.push(PickleNode::Storage(storage));
        Ok(())
    }

    /// Gives a module its attributes. Attributes of a dictionary (its `_metadata`) are left aside,
    /// as are those of NumPy's types but for the byte order.
    fn build(&mut self) -> Result<()> {
        let state = self.stack.pop()?;
        if self.stack.tuple(state).is_ok_and(|state| state.contains(&PickleValue::Text(">"))) {
            return Err(Error::failed("big-endian numbers; save it again on a usual machine"));
        }
        match self.stack.top_node()? {
            PickleNode::Module(attributes) => *attributes = state,
            PickleNode::Dict(_) | PickleNode::NumpyDtype(_) => {}
            _ => return Err(Error::failed("sets the state of what has none")),
        }
        Ok(())
    }
}

fn natural(value: PickleValue<'_>) -> Result<usize> {
    match value {
        PickleValue::Int(number) => {
            usize::try_from(number).map_err(|_| Error::failed(format!("{number} is no size")))
        }
        _ => Err(Error::failed("a size is no whole number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        load(bytes).expect_err("it should have been refused").to_string()
    }

    #[test]
    fn a_callable_is_refused_by_name_before_it_has_arguments() {
        let words = refusal(b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00echo\x85R.");
        assert!(
            words.starts_with(
                "pickle, byte 2: 'posix.system' is none of the names that weights need"
            ),
            "{words}"
        );
        assert!(refusal(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.").contains("'builtins.eval'"));
    }

    #[test]
    fn opcodes_that_weights_do_not_need_are_refused_with_their_place() {
        assert_eq!(
            refusal(b"\x80\x02(ios\nsystem\n."),
            "pickle, byte 3: opcode 'i' (0x69) is none that weights need"
        );
        assert_eq!(
            refusal(b"\x80\x02N"),
            "pickle, byte 3: it ends too early: 1 bytes are missing where 0 are left"
        );
        assert!(
            refusal(b"\x80\x02X\xff\xff\xff\xffabc")
                .contains("4294967295 bytes are missing where 3 are left")
        );
        assert!(refusal(b"\x80\x02h\x07.").contains("nothing was kept as 7"));
        assert!(refusal(b"\x80\x02(N0").contains("opcode '0'"));
        assert!(
            refusal(b"\x80\x02N(u.").contains("changes what holds nothing")
                || !refusal(b"\x80\x02N(u.").is_empty()
        );
    }

    #[test]
    fn values_that_hold_each_other_end_as_plain_data() {
        let pickle = load(b"\x80\x02]q\x00h\x00a}q\x01(X\x01\x00\x00\x00ah\x01u\x86.").unwrap();
        assert!(
            matches!(pickle.node(pickle.root), Some(PickleNode::Tuple(items)) if items.len() == 2)
        );
        let deep: Vec<u8> = std::iter::repeat_n(b']', 1000)
            .chain(std::iter::repeat_n(b'a', 999))
            .chain(*b".")
            .collect();
        assert_eq!(load(&deep).unwrap().nodes.len(), 1000);
    }

    #[test]
    fn a_pickle_without_end_is_given_up() {
        assert!(refusal(&vec![b'N'; MOST_OPCODES + 1]).contains("more than 8388608 opcodes"));
    }

    #[test]
    fn numpys_numbers_are_read_as_data() {
        let scalar = |code: &str, order: &str, bytes: &[u8]| {
            let text = |words: &str| {
                [&b"X"[..], &(words.len() as u32).to_le_bytes(), words.as_bytes()].concat()
            };
            let latin: String = bytes.iter().copied().map(char::from).collect();
            [
                b"\x80\x02cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n".to_vec(),
                [&text(code)[..], b"\x89\x88\x87R(K\x03"].concat(),
                [&text(order)[..], b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"].concat(),
                b"c_codecs\nencode\n".to_vec(),
                [&text(&latin)[..], &text("latin1"), b"\x86R\x86R."].concat(),
            ]
            .concat()
        };
        for (code, bytes, wanted) in [
            ("f4", &0.875f32.to_le_bytes()[..], PickleValue::Float(0.875)),
            ("f8", &(-1e300f64).to_le_bytes(), PickleValue::Float(-1e300)),
            ("i8", &(-3i64).to_le_bytes(), PickleValue::Int(-3)),
            ("b1", &[1], PickleValue::Bool(true)),
        ] {
            assert_eq!(load(&scalar(code, "<", bytes)).unwrap().root, wanted, "{code}");
        }
        assert!(refusal(&scalar("f4", ">", &[0; 4])).contains("big-endian"));
        assert!(refusal(&scalar("f4", "<", &[0; 3])).contains("3 bytes of a 'f4'"));
        assert!(refusal(&scalar("O8", "<", &[0; 8])).contains("numbers of NumPy's type 'O8'"));
    }
}
