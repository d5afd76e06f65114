//! Operations that keep model files. Linking the crate serves them: `use skep_model as _;`.
//!
//! `model_download` takes a GGUF file from the hub or any server, `model_import` by its path;
//! `model_list`, `model_get` and `model_delete` are what they say. `model_locate` is for other
//! operations: it tells where a model's file lies.
//!
//! - `plugin.rs`: the operations
//! - `catalog.rs`: the models on the disk, one directory each
//! - `import.rs`: from a path of the client's to a model in the catalog
//! - `download.rs`: from an address to one, over whatever breaks off on the way
//! - `gguf.rs`: what the header of a file says
//! - `id.rs`: names that are safe as a directory's
//!
//! What is deliberately absent: a list in memory. The directory is the catalog, so what a person
//! copies there or removes counts at once.

mod catalog;
mod digest;
mod download;
mod gguf;
mod id;
mod import;
mod load;
mod plugin;
