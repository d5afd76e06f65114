//! Behaviour of `infer`, through a router, on workers that are only played.

mod infer;
mod input;
mod workers;
