//! What the grammar asks of words, as it stands in the product.

#[path = "../../src/model/text.rs"]
pub mod text;
