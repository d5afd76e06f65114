//! The engine on real models, through its public face.

mod file;
mod generation;
mod model;
mod reference;
mod together;
