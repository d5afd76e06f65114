//! The book, held against the code: its blocks run, its reference is the code's own.

mod block;
mod console;
mod page;
mod reference;
mod skep;
