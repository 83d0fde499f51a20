//! The pickle machine: a stack, a memo, and the opcodes used by weight files.

use super::globals::{Dtype, Global, known};
use super::reader::Reader;
use super::value::{Node, Pickle, Storage, Value, View};
use crate::error::{Error, Result, Trouble};
use std::collections::BTreeMap;

/// Maximum number of opcodes, above any weight file's; bounds a pickle's memory.
const MOST_OPCODES: usize = 1 << 20;

/// Reads the pickle at the start of the bytes.
pub fn load(bytes: &[u8]) -> Result<Pickle<'_>> {
    let mut machine = Machine {
        reader: Reader::new(bytes),
        stack: vec![],
        marks: vec![],
        memo: BTreeMap::new(),
        nodes: vec![],
    };
    for _ in 0..MOST_OPCODES {
        let at = machine.reader.at();
        if let Some(root) = machine.step().trouble(format!("pickle, byte {at}"))? {
            return Ok(Pickle { root, nodes: machine.nodes, length: machine.reader.at() });
        }
    }
    Err(Error::failed(format!(
        "pickle: has more than {MOST_OPCODES} opcodes; keep the weights alone in the file"
    )))
}

struct Machine<'a> {
    reader: Reader<'a>,
    stack: Vec<Value<'a>>,
    /// Stack heights at marks.
    marks: Vec<usize>,
    memo: BTreeMap<usize, Value<'a>>,
    nodes: Vec<Node<'a>>,
}

impl<'a> Machine<'a> {
    /// Executes an opcode; returns the result after the last.
    fn step(&mut self) -> Result<Option<Value<'a>>> {
        let opcode = self.reader.byte()?;
        if opcode == b'.' {
            return self.pop().map(Some);
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
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'J' => Value::Int(i32::from_le_bytes(self.reader.array()?).into()),
            b'K' => Value::Int(self.reader.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.reader.array()?).into()),
            0x8a => self.long()?,
            b'G' => Value::Float(f64::from_be_bytes(self.reader.array()?)),
            b'X' => self.text::<4>()?,
            0x8c => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            b'U' => self.old_text::<1>()?,
            b'T' => self.old_text::<4>()?,
            b'C' => self.bytes::<1>()?,
            b'B' => self.bytes::<4>()?,
            _ => return Ok(false),
        };
        self.stack.push(value);
        Ok(true)
    }

    fn text<const N: usize>(&mut self) -> Result<Value<'a>> {
        let length = self.reader.length::<N>()?;
        self.reader.text(length).map(Value::Text)
    }

    fn bytes<const N: usize>(&mut self) -> Result<Value<'a>> {
        let length = self.reader.length::<N>()?;
        self.reader.take(length).map(Value::Bytes)
    }

    /// A Python 2 string: text if valid UTF-8, else bytes.
    fn old_text<const N: usize>(&mut self) -> Result<Value<'a>> {
        let length = self.reader.length::<N>()?;
        let bytes = self.reader.take(length)?;
        Ok(std::str::from_utf8(bytes).map_or(Value::Bytes(bytes), Value::Text))
    }

    fn long(&mut self) -> Result<Value<'a>> {
        let length = self.reader.length::<1>()?;
        let bytes = self.reader.take(length)?;
        if bytes.len() > 8 {
            return Ok(Value::Long(bytes));
        }
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    /// Tuples, lists and dictionaries.
    fn container(&mut self, opcode: u8) -> Result<bool> {
        match opcode {
            b'(' => self.marks.push(self.stack.len()),
            b')' => self.push(Node::Tuple(vec![])),
            b']' | 0x8f => self.push(Node::List(vec![])),
            b'}' => self.push(Node::Dict(vec![])),
            b't' => self.since_mark().map(|items| self.push(Node::Tuple(items)))?,
            b'l' => self.since_mark().map(|items| self.push(Node::List(items)))?,
            b'd' => {
                let items = self.since_mark()?;
                self.push(Node::Dict(pairs(&items)?));
            }
            0x85..=0x87 => {
                let items = self.pop_many(usize::from(opcode - 0x84))?;
                self.push(Node::Tuple(items));
            }
            b'a' => self.pop().and_then(|item| self.append(vec![item]))?,
            b'e' | 0x90 => self.since_mark().and_then(|items| self.append(items))?,
            b's' => self.pop_many(2).and_then(|items| self.set(&items))?,
            b'u' => self.since_mark().and_then(|items| self.set(&items))?,
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
                .push(value.ok_or_else(|| Error::failed(format!("nothing was kept as {place}")))?);
        } else {
            let value = self.peek()?;
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
            0x93 => match self.pop_many(2)?[..] {
                [Value::Text(module), Value::Text(name)] => self.global(module, name)?,
                _ => return Err(Error::failed("a name is no text")),
            },
            b'R' => self.pop_many(2).and_then(|parts| self.apply(parts[0], parts[1]))?,
            0x81 => match self.pop_many(2)?[..] {
                [Value::Global(Global::Module), _] => self.push(Node::Module(Value::None)),
                _ => {
                    return Err(Error::failed(
                        "makes an object of a class that is none of TorchScript's modules",
                    ));
                }
            },
            b'b' => self.build()?,
            b'Q' => self.pop().and_then(|id| self.storage(id))?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let Some(global) = known(module, name) else {
            let shown = format!("{module}.{name}").escape_debug().to_string();
            return Err(Error::failed(format!(
                "'{shown}' is none of the names that weights need, and nothing is run from a file; save the weights \
                 alone, as torch.save(model.state_dict(), PATH) does"
            )));
        };
        self.stack.push(Value::Global(global));
        Ok(())
    }

    /// Applies a known global to its arguments.
    fn apply(&mut self, callable: Value<'a>, arguments: Value<'a>) -> Result<()> {
        let Value::Global(global) = callable else {
            return Err(Error::failed("calls what is no name"));
        };
        let arguments = self.tuple(arguments)?.to_vec();
        match (global, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Node::Dict(vec![])),
            (Global::Tensor, [storage, offset, shape, strides, ..]) => {
                let view = self.view(*storage, None, *offset, *shape, *strides)?;
                self.push(Node::Tensor(view));
            }
            (
                Global::TypedTensor,
                [storage, offset, shape, strides, _, _, Value::Global(Global::Dtype(dtype)), ..],
            ) => {
                let view = self.view(*storage, Some(*dtype), *offset, *shape, *strides)?;
                self.push(Node::Tensor(view));
            }
            (Global::Parameter | Global::Same, [first, ..]) => self.stack.push(*first),
            _ => {
                return Err(Error::failed(format!(
                    "{global:?} cannot take these {} arguments",
                    arguments.len()
                )));
            }
        }
        Ok(())
    }

    fn view(
        &self,
        storage: Value<'a>,
        dtype: Option<Dtype>,
        offset: Value<'a>,
        shape: Value<'a>,
        strides: Value<'a>,
    ) -> Result<View> {
        let Some(Node::Storage(storage)) = self.node(storage) else {
            return Err(Error::failed("a tensor without a storage"));
        };
        let dtype =
            dtype.or(storage.dtype).ok_or_else(|| Error::failed("a tensor of unknown numbers"))?;
        let (shape, strides) = (self.sides(shape)?, self.sides(strides)?);
        View::new(*storage, dtype, natural(offset)?, shape, strides)
    }

    fn sides(&self, value: Value<'a>) -> Result<Vec<usize>> {
        self.tuple(value)?.iter().map(|side| natural(*side)).collect()
    }

    /// A storage by its persistent id: ('storage', class, key, device, count[, None]).
    fn storage(&mut self, id: Value<'a>) -> Result<()> {
        let storage = match self.tuple(id)? {
            [
                Value::Text("storage"),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                _,
                count,
            ]
            | [
                Value::Text("storage"),
                Value::Global(Global::Storage(dtype)),
                Value::Text(key),
                _,
                count,
                Value::None,
            ] => Storage { key, dtype: *dtype, count: natural(*count)? },
            _ => return Err(Error::failed("a persistent id is none of a storage")),
        };
        self.push(Node::Storage(storage));
        Ok(())
    }

    /// Gives a module its attributes. Attributes of a dictionary (its `_metadata`) are left aside.
    fn build(&mut self) -> Result<()> {
        let state = self.pop()?;
        match self.top_node()? {
            Node::Module(attributes) => *attributes = state,
            Node::Dict(_) => {}
            _ => return Err(Error::failed("sets the state of what has none")),
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Value<'a>>) -> Result<()> {
        match self.top_node()? {
            Node::List(list) => list.extend(items),
            _ => return Err(Error::failed("appends to what is no list")),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Value<'a>]) -> Result<()> {
        let entries = pairs(items)?;
        match self.top_node()? {
            Node::Dict(dict) => dict.extend(entries),
            _ => return Err(Error::failed("sets an entry of what is no dictionary")),
        }
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(Value::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    fn node(&self, value: Value<'a>) -> Option<&Node<'a>> {
        if let Value::Node(place) = value { self.nodes.get(place) } else { None }
    }

    fn tuple(&self, value: Value<'a>) -> Result<&[Value<'a>]> {
        match self.node(value) {
            Some(Node::Tuple(items) | Node::List(items)) => Ok(items),
            _ => Err(Error::failed("a tuple was expected")),
        }
    }

    fn top_node(&mut self) -> Result<&mut Node<'a>> {
        let Value::Node(place) = self.peek()? else {
            return Err(Error::failed("changes what holds nothing"));
        };
        self.nodes.get_mut(place).ok_or_else(|| Error::failed("changes what is not there"))
    }

    /// The height below which this opcode may not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn peek(&self) -> Result<Value<'a>> {
        let above = self.stack.len() > self.floor();
        self.stack
            .last()
            .copied()
            .filter(|_| above)
            .ok_or_else(|| Error::failed("the stack is empty"))
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        let value = self.peek()?;
        self.stack.pop();
        Ok(value)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Value<'a>>> {
        if self.stack.len() < self.floor() + count {
            return Err(Error::failed("the stack is empty"));
        }
        Ok(self.stack.split_off(self.stack.len() - count))
    }

    fn since_mark(&mut self) -> Result<Vec<Value<'a>>> {
        let mark = self.marks.pop().ok_or_else(|| Error::failed("there is no mark"))?;
        Ok(self.stack.split_off(mark))
    }
}

fn pairs<'a>(items: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>> {
    if !items.len().is_multiple_of(2) {
        return Err(Error::failed("a dictionary's key without a value"));
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}

fn natural(value: Value<'_>) -> Result<usize> {
    match value {
        Value::Int(number) => {
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
        assert!(matches!(pickle.node(pickle.root), Some(Node::Tuple(items)) if items.len() == 2));
        let deep: Vec<u8> = std::iter::repeat_n(b']', 1000)
            .chain(std::iter::repeat_n(b'a', 999))
            .chain(*b".")
            .collect();
        assert_eq!(load(&deep).unwrap().nodes.len(), 1000);
    }

    #[test]
    fn a_pickle_without_end_is_given_up() {
        assert!(refusal(&vec![b'N'; MOST_OPCODES + 1]).contains("more than 1048576 opcodes"));
    }
}
