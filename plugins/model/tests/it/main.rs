//! Behaviour of the operations, through a router.

mod download;
mod import;
mod keep;
mod support;
mod waiting;
mod web;
