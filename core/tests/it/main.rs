//! Behaviour of the crate through its public face.

mod router;
mod support;
