//! The pickle machine's stack, with marks and an arena of nodes.
//!
//! Opcodes may not reach below the last mark: a pickle that tries is an error, and never takes
//! values that belong to an outer container.

use super::value::{PickleNode, PickleValue};
use crate::error::{Error, Result};

#[derive(Default)]
pub(super) struct PickleStack<'a> {
    values: Vec<PickleValue<'a>>,
    /// Stack heights at marks.
    marks: Vec<usize>,
    nodes: Vec<PickleNode<'a>>,
}

impl<'a> PickleStack<'a> {
    pub(super) fn append(&mut self, items: Vec<PickleValue<'a>>) -> Result<()> {
        match self.top_node()? {
            PickleNode::List(list) => list.extend(items),
            _ => return Err(Error::failed("appends to what is no list")),
        }
        Ok(())
    }

    pub(super) fn set(&mut self, items: &[PickleValue<'a>]) -> Result<()> {
        let entries = pairs(items)?;
        match self.top_node()? {
            PickleNode::Dict(dict) => dict.extend(entries),
            _ => return Err(Error::failed("sets an entry of what is no dictionary")),
        }
        Ok(())
    }

    pub(super) fn put(&mut self, value: PickleValue<'a>) {
        self.values.push(value);
    }

    /// Makes a node and puts it on top.
    pub(super) fn push(&mut self, node: PickleNode<'a>) {
        self.values.push(PickleValue::Node(self.nodes.len()));
        self.nodes.push(node);
    }

    pub(super) fn mark(&mut self) {
        self.marks.push(self.values.len());
    }

    pub(super) fn into_nodes(self) -> Vec<PickleNode<'a>> {
        self.nodes
    }

    pub(super) fn node(&self, value: PickleValue<'a>) -> Option<&PickleNode<'a>> {
        if let PickleValue::Node(place) = value { self.nodes.get(place) } else { None }
    }

    pub(super) fn tuple(&self, value: PickleValue<'a>) -> Result<&[PickleValue<'a>]> {
        match self.node(value) {
            Some(PickleNode::Tuple(items) | PickleNode::List(items)) => Ok(items),
            _ => Err(Error::failed("a tuple was expected")),
        }
    }

    pub(super) fn top_node(&mut self) -> Result<&mut PickleNode<'a>> {
        let PickleValue::Node(place) = self.peek()? else {
            return Err(Error::failed("changes what holds nothing"));
        };
        self.nodes.get_mut(place).ok_or_else(|| Error::failed("changes what is not there"))
    }

    /// The height below which this opcode may not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    pub(super) fn peek(&self) -> Result<PickleValue<'a>> {
        let above = self.values.len() > self.floor();
        self.values
            .last()
            .copied()
            .filter(|_| above)
            .ok_or_else(|| Error::failed("the stack is empty"))
    }

    pub(super) fn pop(&mut self) -> Result<PickleValue<'a>> {
        let value = self.peek()?;
        self.values.pop();
        Ok(value)
    }

    pub(super) fn pop_many(&mut self, count: usize) -> Result<Vec<PickleValue<'a>>> {
        if self.values.len() < self.floor() + count {
            return Err(Error::failed("the stack is empty"));
        }
        Ok(self.values.split_off(self.values.len() - count))
    }

    pub(super) fn since_mark(&mut self) -> Result<Vec<PickleValue<'a>>> {
        let mark = self.marks.pop().ok_or_else(|| Error::failed("there is no mark"))?;
        Ok(self.values.split_off(mark))
    }
}

pub(super) fn pairs<'a>(
    items: &[PickleValue<'a>],
) -> Result<Vec<(PickleValue<'a>, PickleValue<'a>)>> {
    if !items.len().is_multiple_of(2) {
        return Err(Error::failed("a dictionary's key without a value"));
    }
    Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
}
