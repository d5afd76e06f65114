//! Behaviour of the operations, through a router.

mod import;
mod keep;
mod support;
