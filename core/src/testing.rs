//! What plugins and stores are tested with. With the feature `testing`, for `[dev-dependencies]`.

mod faults;
pub mod store;

pub use self::faults::{Fault, FaultyStore, StoreCall};
#[doc(inline)]
pub use crate::__store_conformance as store_conformance;
