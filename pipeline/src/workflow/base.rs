//! A workflow file extended by another.

#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// Path as found from the extending file.
    pub file: String,
    pub text: String,
    /// Stages by origin: "split, volumes as there; model with epochs; without score".
    pub origin: String,
}
