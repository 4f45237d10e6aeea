//! Writing messages down: [`view`] decides what is said of a message, the others
//! how: a [`row`], a [`table`], a [`text`] for a terminal, [`json`], [`page`], [`files`].

pub mod files;
pub mod json;
pub mod page;
pub mod picture;
pub mod row;
pub mod table;
pub mod terminal;
pub mod text;
pub mod view;
