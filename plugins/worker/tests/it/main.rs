//! Behaviour of the operations, through a router, on real processes and a real model.

mod crash;
mod infer;
mod llama;
mod logs;
mod process;
mod room;
mod spawn;
mod support;
