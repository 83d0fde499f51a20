//! A file that a workflow extends.

#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// File as found from the one that extends it.
    pub file: String,
    pub text: String,
    /// Stages by origin: "split, volumes as there; model with epochs; without score".
    pub origin: String,
}
